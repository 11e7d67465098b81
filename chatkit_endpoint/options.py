"""ChatKitOptions, those of npm's ``@openai/chatkit`` 1.9, in Django's spelling.

Names are in snake_case and nested as there: ``start_screen={"greeting": "Hello"}``. The common ones
also stand by themselves, ``greeting="Hello"``: see :data:`SHORTCUTS`. Functions can't come from a
template or a setting: a script adds them when ``chatkit.configure`` is sent.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from django.utils.functional import Promise

Kind = Callable[[str, Any], Any]
"""Makes of a value, named by the first argument, what ChatKit takes. Raises OptionError."""


class OptionError(ValueError):
    """An option that there isn't, or a value that can't be meant. Its text quotes names only."""


class Record(dict[str, Any]):
    """A dict whose keys are data and not options: one given later takes its place whole."""


def chatkit_options(given: Mapping[str, Any]) -> dict[str, Any]:
    """ChatKitOptions as JSON, without ``api``. What is None or empty counts as not given.

    Raises OptionError.
    """
    found: dict[str, Any] = {}
    for name, value in given.items():
        check_name(name, NAMES)
        if value is None or value == "":
            continue
        option, *path = SHORTCUTS.get(name, (name,))
        if name == "thread" and isinstance(value, str):
            option = "initial_thread"
        nested = value
        for step in reversed(path):
            nested = {step: nested}
        found = merged(found, {camel_case(option): OPTIONS[option](option, nested)})
    return found


def merged(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """Both options in one, at every depth; where they differ, ``second`` wins."""
    result = dict(first)
    for name, value in second.items():
        before = result.get(name)
        if isinstance(before, dict) and isinstance(value, dict) and not isinstance(value, Record):
            result[name] = merged(before, value)
        else:
            result[name] = value
    return result


def check_name(name: Any, known: Iterable[str], where: str = "") -> None:
    """Raises OptionError for a name that is not among the known ones, with the nearest that is."""
    known = sorted(known)
    if name in known:
        return
    prefix = f"{where}." if where else ""
    if not where and name in SCRIPT_ONLY:
        raise OptionError(
            f"'{name}' can't be given here: a script sets it when 'chatkit.configure' is sent."
        )
    near = get_close_matches(snake_case(str(name)), known, n=1, cutoff=0.5)
    hint = f"Did you mean '{prefix}{near[0]}'?" if near else f"There are {', '.join(known)}."
    raise OptionError(f"There is no option '{prefix}{name}'. {hint}")


def camel_case(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.title() for word in rest)


def snake_case(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


def chatkit_locale(locale: str) -> str | None:
    """The nearest language that OpenAI's element has, spelled as there; None if there is none."""
    parts = locale.split("-")
    known = {each.lower(): each for each in LOCALES}
    candidates = ("-".join(parts[:length]).lower() for length in range(len(parts), 0, -1))
    return next((known[each] for each in candidates if each in known), None)


# -- kinds of values -------------------------------------------------------------------------------


def flag(where: str, value: Any) -> bool:
    if isinstance(value, bool):
        return value
    raise OptionError(f"'{where}' is True or False.")


def text(where: str, value: Any) -> str:
    if isinstance(value, (str, Promise)):
        return str(value)
    raise OptionError(f"'{where}' is a text.")


def number(where: str, value: Any) -> float:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return value
    raise OptionError(f"'{where}' is a number.")


def count(where: str, value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    raise OptionError(f"'{where}' is a whole number, 0 or more.")


def anything(where: str, value: Any) -> Any:
    return value


def choice(*allowed: str | int) -> Kind:
    def convert(where: str, value: Any) -> Any:
        if not isinstance(value, bool) and value in allowed:
            return value
        raise OptionError(f"'{where}' is one of {', '.join(map(str, allowed))}.")

    return convert


def either(first: Kind, second: Kind, *, is_first: type | tuple[type, ...]) -> Kind:
    """What is of one type is the first kind, everything else the second."""

    def convert(where: str, value: Any) -> Any:
        return (first if isinstance(value, is_first) else second)(where, value)

    return convert


def shape(required: tuple[str, ...] = (), /, **fields: Kind) -> Kind:
    """A dict with these keys, of which some may not be missing."""

    def convert(where: str, value: Any) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            raise OptionError(f"'{where}' is a dict with {', '.join(sorted(fields))}.")
        for name in value:
            check_name(name, fields, where)
        for name in required:
            if name not in value:
                raise OptionError(f"'{where}' lacks '{name}'.")
        return {
            camel_case(name): fields[name](f"{where}.{name}", each) for name, each in value.items()
        }

    return convert


def record(kind: Kind) -> Kind:
    """A dict whose keys are anybody's choice."""

    def convert(where: str, value: Any) -> Record:
        if not isinstance(value, Mapping):
            raise OptionError(f"'{where}' is a dict.")
        return Record({str(key): kind(f"{where}.{key}", each) for key, each in value.items()})

    return convert


def items(kind: Kind) -> Kind:
    def convert(where: str, value: Any) -> list[Any]:
        if not isinstance(value, (list, tuple)):
            raise OptionError(f"'{where}' is a list.")
        return [kind(f"{where}[{index}]", each) for index, each in enumerate(value)]

    return convert


def brief(key: str, kind: Kind, full: Kind) -> Kind:
    """A dict of which one key may stand for the whole: ``theme="dark"``."""

    def convert(where: str, value: Any) -> Any:
        return full(where, value) if isinstance(value, Mapping) else {key: kind(where, value)}

    return convert


def switch(**fields: Kind) -> Kind:
    """True, False, or a dict that turns on what it describes, unless it says otherwise."""
    described = shape(enabled=flag, **fields)

    def convert(where: str, value: Any) -> dict[str, Any]:
        if isinstance(value, Mapping):
            return {"enabled": True, **described(where, value)}
        return {"enabled": flag(where, value)}

    return convert


def icon(where: str, value: Any) -> str:
    if isinstance(value, str) and (value in ICONS or value.startswith("lucide:")):
        return str(value)
    near = get_close_matches(str(value), ICONS, n=1)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    raise OptionError(f"'{where}' is an icon of ChatKit's or 'lucide:' and a name.{hint}")


def prompts(where: str, value: Any) -> list[Any]:
    """What the start screen suggests: a text with a prompt in each line, or a list."""
    if isinstance(value, (str, Promise)):
        value = [line.strip() for line in str(value).splitlines() if line.strip()]
    return prompt_list(where, value)  # type: ignore[no-any-return]


def prompt_of_text(where: str, value: Any) -> dict[str, str]:
    return {"label": text(where, value), "prompt": text(where, value)}


# -- the options -----------------------------------------------------------------------------------

_ICONS = """
    agent analytics atom batch bolt book-open book-closed book-clock bug calendar chart check
    check-circle check-circle-filled chevron-left chevron-right circle-question clock compass
    confetti cube desktop document dots-horizontal dots-vertical empty-circle external-link globe
    keys lab images info lifesaver lightbulb mail map-pin maps mobile name notebook notebook-pencil
    page-blank phone play plus profile profile-card reload star star-filled search sparkle
    sparkle-double square-code square-image square-text suitcase settings-slider user wreath write
    write-alt write-alt2
"""
ICONS = tuple(_ICONS.split())

_LOCALES = """
    am ar bg bg-BG bn bn-BD bs bs-BA ca ca-ES cs cs-CZ da da-DK de de-DE el el-GR en es
    es-419 es-ES et et-EE fi fi-FI fr fr-CA fr-FR gu gu-IN hi hi-IN hr hr-HR hu hu-HU hy
    hy-AM id id-ID is is-IS it it-IT ja ja-JP ka ka-GE kk kn kn-IN ko ko-KR lt lv lv-LV mk
    mk-MK ml mn mr mr-IN ms ms-MY my my-MM nb nb-NO nl nl-NL pa pl pl-PL pt pt-BR pt-PT ro
    ro-RO ru ru-RU sk sk-SK sl sl-SI so so-SO sq sq-AL sr sr-RS sv sv-SE sw sw-TZ ta ta-IN
    te te-IN th th-TH tl tr tr-TR uk uk-UA ur vi vi-VN zh zh-CN zh-HK zh-Hant zh-TW
"""
LOCALES = tuple(_LOCALES.split())
"""The languages of OpenAI's element; any other it shows in English."""

content = shape(
    ("type", "text"),
    type=choice("input_text", "input_tag"),
    text=text,
    id=text,
    group=text,
    data=record(anything),
    interactive=flag,
)
prompt_list = items(
    either(
        shape(
            ("label", "prompt"),
            label=text,
            prompt=either(text, items(content), is_first=(str, Promise)),
            icon=icon,
        ),
        prompt_of_text,
        is_first=Mapping,
    )
)
title = either(
    lambda where, value: {"enabled": value},
    brief("text", text, shape(enabled=flag, text=text)),
    is_first=bool,
)
font = shape(
    ("family", "src"),
    family=text,
    src=text,
    weight=either(text, number, is_first=str),
    style=choice("normal", "italic", "oblique"),
    display=choice("auto", "block", "swap", "fallback", "optional"),
    unicode_range=text,
)
theme = shape(
    color_scheme=choice("light", "dark"),
    typography=shape(
        base_size=choice(14, 15, 16, 17, 18),
        font_sources=items(font),
        font_family=text,
        font_family_mono=text,
    ),
    radius=choice("pill", "round", "soft", "sharp"),
    density=choice("compact", "normal", "spacious"),
    color=shape(
        grayscale=shape(
            ("hue", "tint"), hue=number, tint=choice(*range(10)), shade=choice(*range(-4, 5))
        ),
        accent=shape(("primary", "level"), primary=text, level=choice(0, 1, 2, 3)),
        surface=shape(("background", "foreground"), background=text, foreground=text),
    ),
)
tool = shape(
    ("id", "label", "icon"),
    id=text,
    label=text,
    icon=icon,
    short_label=text,
    placeholder_override=text,
    pinned=flag,
    persistent=flag,
)
model = shape(("id", "label"), id=text, label=text, description=text, disabled=flag, default=flag)

OPTIONS: dict[str, Kind] = {
    "commands": switch(),
    "composer": shape(
        attachments=switch(
            max_size=either(record(count), count, is_first=Mapping),
            max_count=count,
            accept=record(items(text)),
        ),
        dictation=switch(),
        models=items(model),
        placeholder=text,
        tools=items(tool),
    ),
    "disclaimer": brief("text", text, shape(("text",), text=text, high_contrast=flag)),
    "entities": shape(show_composer_menu=flag),
    "frame_title": text,
    "header": brief("enabled", flag, shape(enabled=flag, title=title)),
    "history": brief("enabled", flag, shape(enabled=flag, show_delete=flag, show_rename=flag)),
    "initial_thread": text,
    "locale": text,
    "start_screen": shape(greeting=text, prompts=prompts),
    "theme": brief("colorScheme", choice("light", "dark"), theme),
    "thread": shape(auto_scroll=flag),
    "thread_item_actions": shape(feedback=flag, retry=flag),
}
SHORTCUTS: dict[str, tuple[str, ...]] = {
    "attachments": ("composer", "attachments"),
    "auto_scroll": ("thread", "auto_scroll"),
    "dictation": ("composer", "dictation"),
    "feedback": ("thread_item_actions", "feedback"),
    "greeting": ("start_screen", "greeting"),
    "models": ("composer", "models"),
    "placeholder": ("composer", "placeholder"),
    "prompts": ("start_screen", "prompts"),
    "retry": ("thread_item_actions", "retry"),
    "title": ("header", "title"),
    "tools": ("composer", "tools"),
}
"""The common options by their own names, and where ChatKitOptions have them.

``thread`` is the id of the thread to open where it is a text, and ChatKit's ``thread`` else.
"""
NAMES = OPTIONS.keys() | SHORTCUTS.keys()
SCRIPT_ONLY = frozenset({"api", "on_client_tool", "widgets"})
