"""The built-in element's modules: few bytes, nothing from elsewhere, nothing parsed as HTML."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.core.management import call_command
from pytest_django import Settings

import chatkit_endpoint

STATIC = Path(chatkit_endpoint.__file__).parent / "static" / "chatkit_endpoint"
MAX_BYTES = 57_000
"""Of the element's modules as they are written."""
MAX_SENT_BYTES = 40_000
"""Of all that a chat loads, as `collectstatic` compresses it."""


def modules(path: Path) -> set[Path]:
    """A module and those that it imports, by and by."""
    found = {path}
    for name in re.findall(r"^import .* from '\./([\w-]+\.js)';$", path.read_text(), re.MULTILINE):
        found |= modules(STATIC / name)
    return found


ELEMENT = sorted(modules(STATIC / "element.js"))


def test_a_page_with_the_element_loads_few_bytes(tmp_path: Path, settings: Settings) -> None:
    assert {"element.js", "protocol.js", "view.js"} <= {path.name for path in ELEMENT}
    assert sum(path.stat().st_size for path in ELEMENT) <= MAX_BYTES
    settings.STATIC_ROOT = tmp_path
    call_command("collectstatic", interactive=False, verbosity=0)
    ours = tmp_path / "chatkit_endpoint"
    compressed = {path.stem: path.stat().st_size for path in ours.glob("*.gz")}
    assert set(compressed) == {path.name for path in STATIC.iterdir()}
    assert sum(compressed.values()) < MAX_SENT_BYTES


@pytest.mark.parametrize("path", ELEMENT, ids=lambda path: path.name)
def test_nothing_is_parsed_as_html_or_run_as_code(path: Path) -> None:
    code = path.read_text()
    for forbidden in (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "DOMParser",
        "setHTML",
        "eval(",
        "new Function",
    ):
        assert forbidden not in code


@pytest.mark.parametrize("path", ELEMENT, ids=lambda path: path.name)
def test_modules_are_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) < 400


def test_styles_read_from_either_side() -> None:
    styles = (STATIC / "element.css").read_text()
    physical = re.findall(
        r"^\s*((?:margin|padding|border)-(?:left|right)|left|right|float|width|height)\s*:",
        styles,
        re.M,
    )
    assert physical == []


def test_each_icon_of_the_styles_is_in_the_picture() -> None:
    styles = (STATIC / "element.css").read_text()
    places = [int(place) for place in re.findall(r"\.icon-[\w-]+ \{ --at: (\d+); \}", styles)]
    assert places == list(range(1, (STATIC / "icons.svg").read_text().count("<path")))
