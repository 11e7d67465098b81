"""The catalogs under locale/: whole, true to the code, and compiled."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from gettext import GNUTranslations
from pathlib import Path

import pytest
from django.conf import settings
from django.utils.translation import to_locale
from django.utils.translation.template import templatize

from tests.servers import ROOT

LOCALE = ROOT / "locale"
LOCALES = sorted(to_locale(code) for code, _ in settings.LANGUAGES if code != "en")
APPS = ("chatkit_endpoint", "chatsite", "observability")
PLURAL_FORMS = {"ar": 6, "ja": 1}
"""How many a language has, where it isn't two."""

SINGULAR = {"_", "gettext", "gettext_lazy", "gettext_noop"}
PLURAL = {"ngettext", "ngettext_lazy"}
_STRING = r"""(u?'(?:[^'\\]|\\.)*'|u?"(?:[^"\\]|\\.)*")"""
_IN_TEMPLATE = re.compile(rf"\b(n?gettext|_)\({_STRING}(?:, {_STRING})?")
_PLACEHOLDER = re.compile(r"%\(\w+\)[a-z]|%[a-z]|\{\w*\}|</?\w+>")

Key = tuple[str, str]
"""A msgid with its plural, which is empty where there is none."""


@dataclass
class Entry:
    comments: list[str] = field(default_factory=list)
    fields: dict[str, str] = field(default_factory=dict)

    @property
    def key(self) -> Key:
        return self.fields["msgid"], self.fields.get("msgid_plural", "")

    @property
    def forms(self) -> list[str]:
        return [text for name, text in self.fields.items() if name.startswith("msgstr")]


@cache
def entries(locale: str) -> list[Entry]:
    """What the .po file holds; the first is its header."""
    found = []
    for paragraph in po_path(locale).read_text(encoding="utf-8").split("\n\n"):
        entry = Entry()
        name = ""
        for line in paragraph.splitlines():
            if line.startswith("#"):
                entry.comments.append(line)
                continue
            if not line.startswith('"'):
                name, line = line.split(" ", 1)  # noqa: PLW2901 (the rest of the line)
            entry.fields[name] = entry.fields.get(name, "") + ast.literal_eval(line)
        found.append(entry)
    return found


def messages(locale: str) -> list[Entry]:
    return entries(locale)[1:]


def po_path(locale: str) -> Path:
    return LOCALE / locale / "LC_MESSAGES" / "django.po"


@cache
def msgids() -> set[Key]:
    """Everything that the code and the templates have translated."""
    found: set[Key] = set()
    for app in APPS:
        for path in (ROOT / app).rglob("*.py"):
            found.update(_msgids_of_code(ast.parse(path.read_text(encoding="utf-8"))))
    templates = ROOT / "templates"
    for path in (*templates.rglob("*.html"), *templates.rglob("*.txt")):
        found.update(_msgids_of_template(templatize(path.read_text(encoding="utf-8"))))
    return found


def _msgids_of_code(tree: ast.AST) -> Iterator[Key]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
            continue
        texts = [each.value for each in node.args if isinstance(each, ast.Constant)]
        if node.func.id in SINGULAR and node.args:
            assert texts, f"makemessages can't read {ast.unparse(node)}"
            yield str(texts[0]), ""
        elif node.func.id in PLURAL:
            assert len(texts) >= 2, f"makemessages can't read {ast.unparse(node)}"
            yield str(texts[0]), str(texts[1])


def _msgids_of_template(source: str) -> Iterator[Key]:
    for name, singular, plural in _IN_TEMPLATE.findall(source):
        is_plural = name == "ngettext"
        yield ast.literal_eval(singular), ast.literal_eval(plural) if is_plural else ""


def placeholders(text: str) -> set[str]:
    return set(_PLACEHOLDER.findall(text.replace("%%", "")))


def test_every_language_of_the_site_has_a_catalog_and_every_catalog_its_language() -> None:
    assert sorted(path.name for path in LOCALE.iterdir()) == LOCALES


@pytest.mark.parametrize("locale", LOCALES)
class TestCatalog:
    def test_it_has_what_the_code_has_and_nothing_else(self, locale: str) -> None:
        keys = [entry.key for entry in messages(locale)]
        assert set(keys) ^ msgids() == set(), "run makemessages"
        assert len(keys) == len(set(keys))

    def test_everything_is_translated_and_nothing_guessed_or_left_over(self, locale: str) -> None:
        source = po_path(locale).read_text(encoding="utf-8")
        assert "fuzzy" not in source
        assert not re.search(r"^#[~|]", source, re.MULTILINE)
        assert [entry.key for entry in messages(locale) if not all(entry.forms)] == []

    def test_every_form_has_the_placeholders_and_tags_of_the_original(self, locale: str) -> None:
        wrong = [
            (entry.key, form)
            for entry in messages(locale)
            for form in entry.forms
            if placeholders(form) != placeholders(entry.key[1] or entry.key[0])
        ]
        assert wrong == []

    def test_a_text_has_the_lines_and_the_ends_of_the_original(self, locale: str) -> None:
        wrong = [
            (entry.key, form)
            for entry in messages(locale)
            for form in entry.forms
            if form != form.strip() or form.count("\n") != entry.key[0].count("\n")
        ]
        assert wrong == []

    def test_it_has_the_plurals_of_its_language(self, locale: str) -> None:
        count = PLURAL_FORMS.get(locale, 2)
        header = entries(locale)[0].forms[0]
        assert f"Plural-Forms: nplurals={count}; " in header
        plurals = [entry for entry in messages(locale) if entry.key[1]]
        assert plurals
        assert {len(entry.forms) for entry in plurals} == {count}

    def test_the_compiled_catalog_is_up_to_date(self, locale: str) -> None:
        written: dict[object, str] = {"": entries(locale)[0].forms[0]}
        for entry in messages(locale):
            if entry.key[1]:
                written |= {(entry.key[0], at): form for at, form in enumerate(entry.forms)}
            else:
                written[entry.key[0]] = entry.forms[0]
        with po_path(locale).with_suffix(".mo").open("rb") as file:
            compiled = GNUTranslations(file)._catalog  # type: ignore[attr-defined]
        assert compiled == written, "run compilemessages"
