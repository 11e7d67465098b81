"""ChatKitOptions in Django's spelling, against the types that OpenAI publishes for them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.test import RequestFactory
from django.utils.translation import gettext_lazy
from pytest_django.fixtures import Settings

from chatkit_endpoint.embedding import page_context, site_options
from chatkit_endpoint.options import OPTIONS, OptionError, chatkit_options

FULLEST: dict[str, Any] = {
    "commands": True,
    "composer": {
        "attachments": {
            "max_size": {"image/*": 1_000_000, "*": 5_000_000},
            "max_count": 2,
            "accept": {"image/png": [".png"]},
        },
        "dictation": {"enabled": True},
        "models": [
            {
                "id": "fast",
                "label": "Fast",
                "description": "Answers at once",
                "disabled": False,
                "default": True,
            }
        ],
        "placeholder": "Write",
        "tools": [
            {
                "id": "search",
                "label": "Search",
                "icon": "search",
                "short_label": "Find",
                "placeholder_override": "Look for",
                "pinned": True,
                "persistent": True,
            }
        ],
    },
    "disclaimer": {"text": "May be wrong.", "high_contrast": True},
    "entities": {"show_composer_menu": True},
    "frame_title": "Help",
    "header": {"enabled": True, "title": {"enabled": True, "text": "Help"}},
    "history": {"enabled": True, "show_delete": True, "show_rename": False},
    "initial_thread": "thr_1",
    "locale": "pt-br",
    "start_screen": {
        "greeting": "Hello",
        "prompts": [
            "Hi",
            {"label": "Hi", "prompt": "Hi", "icon": "lucide:hand"},
            {
                "label": "Tag",
                "prompt": [
                    {"type": "input_text", "text": "About "},
                    {
                        "type": "input_tag",
                        "text": "Alice",
                        "id": "1",
                        "group": "People",
                        "data": {"some_key": 1},
                        "interactive": True,
                    },
                ],
            },
        ],
    },
    "theme": {
        "color_scheme": "dark",
        "typography": {
            "base_size": 16,
            "font_sources": [
                {
                    "family": "Inter",
                    "src": "/static/inter.woff2",
                    "weight": 400,
                    "style": "normal",
                    "display": "swap",
                    "unicode_range": "U+0-7F",
                }
            ],
            "font_family": "Inter",
            "font_family_mono": "monospace",
        },
        "radius": "soft",
        "density": "compact",
        "color": {
            "grayscale": {"hue": 210, "tint": 5, "shade": -2},
            "accent": {"primary": "#3366ff", "level": 2},
            "surface": {"background": "#ffffff", "foreground": "#000000"},
        },
    },
    "thread": {"auto_scroll": True},
    "thread_item_actions": {"feedback": True, "retry": True},
}


@pytest.mark.node
def test_the_fullest_options_are_those_of_openais_types(
    node_modules: Path, tmp_path: Path, settings: Settings
) -> None:
    assert FULLEST.keys() == OPTIONS.keys()
    settings.CHATKIT_DOMAIN_KEY = "domain_pk_1"
    context = page_context(RequestFactory().get("/"), FULLEST, height="36rem")
    options = json.dumps(context["data"]["options"])
    assert compile_options(node_modules, tmp_path, options) == ""
    # And that it would have been seen: what isn't an option, and a value that isn't one.
    assert "frameTitel" in compile_options(
        node_modules, tmp_path, options.replace("frameTitle", "frameTitel")
    )
    assert "squishy" in compile_options(
        node_modules, tmp_path, options.replace('"soft"', '"squishy"')
    )


def compile_options(installed: Path, folder: Path, options: str) -> str:
    """What the TypeScript compiler has against the options."""
    types = installed / "@openai" / "chatkit" / "types" / "index.d.ts"
    source = "import type { ChatKitOptions } from '@openai/chatkit';\n"
    source += f"export const options: ChatKitOptions = {options};\n"
    (folder / "options.ts").write_text(source)
    (folder / "tsconfig.json").write_text(
        json.dumps(
            {
                "compilerOptions": {
                    "lib": ["ES2023", "DOM"],
                    "module": "ESNext",
                    "moduleResolution": "Bundler",
                    "noEmit": True,
                    "paths": {"@openai/chatkit": [str(types)]},
                    "skipLibCheck": True,
                    "strict": True,
                    "types": [],
                },
                "files": ["options.ts"],
            }
        )
    )
    done = subprocess.run(
        ["node", installed / "typescript" / "bin" / "tsc", "--project", folder],  # noqa: S607
        capture_output=True,
        check=False,
        text=True,
    )
    assert not done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("given", "options"),
    [
        ({"theme": "dark"}, {"theme": {"colorScheme": "dark"}}),
        ({"history": False}, {"history": {"enabled": False}}),
        (
            {"header": False, "title": "Help"},
            {"header": {"enabled": False, "title": {"text": "Help"}}},
        ),
        ({"title": False}, {"header": {"title": {"enabled": False}}}),
        ({"title": gettext_lazy("Chat")}, {"header": {"title": {"text": "Chat"}}}),
        ({"disclaimer": "Careful."}, {"disclaimer": {"text": "Careful."}}),
        ({"dictation": True}, {"composer": {"dictation": {"enabled": True}}}),
        ({"thread": "thr_1"}, {"initialThread": "thr_1"}),
        ({"thread": {"auto_scroll": True}}, {"thread": {"autoScroll": True}}),
        ({"auto_scroll": True}, {"thread": {"autoScroll": True}}),
        (
            {"start_screen": {"greeting": "Hi"}, "prompts": "One\n  Two\n\n"},
            {
                "startScreen": {
                    "greeting": "Hi",
                    "prompts": [
                        {"label": "One", "prompt": "One"},
                        {"label": "Two", "prompt": "Two"},
                    ],
                }
            },
        ),
        ({"greeting": None, "placeholder": ""}, {}),
    ],
)
def test_the_common_ones_are_brief(given: dict[str, Any], options: dict[str, Any]) -> None:
    assert chatkit_options(given) == options


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"tehme": "dark"}, "'tehme'.*'theme'"),
        ({"startScreen": {}}, "'startScreen'.*'start_screen'"),
        ({"theme": {"colour": {}}}, "'theme.colour'.*'theme.color'"),
        ({"theme": {"colorScheme": "dark"}}, "'theme.color_scheme'"),
        (
            {"theme": {"color": {"accent": {"primary": "red"}}}},
            "'theme.color.accent' lacks 'level'",
        ),
        ({"theme": {"color": {"accent": {"primary": "red", "level": 9}}}}, "level' is one of 0, 1"),
        ({"feedback": "yes"}, "feedback' is True or False"),
        ({"greeting": ["Hi"]}, "greeting' is a text"),
        ({"history": "on"}, "'history' is True or False"),
        ({"models": [{"label": "Fast"}]}, r"models\[0\]' lacks 'id'"),
        ({"tools": {"id": "a"}}, "tools' is a list"),
        ({"prompts": [{"label": "A", "prompt": "B", "icon": "serach"}]}, "'search'"),
        ({"attachments": {"max_count": -1}}, "max_count' is a whole number"),
        ({"attachments": {"max_count": True}}, "max_count' is a whole number"),
        ({"attachments": {"accept": [".png"]}}, "accept' is a dict"),
        ({"on_client_tool": "x"}, "chatkit.configure"),
        ({"api": {}}, "chatkit.configure"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name(given: dict[str, Any], said: str) -> None:
    with pytest.raises(OptionError, match=said):
        chatkit_options(given)


def test_a_refusal_quotes_names_and_never_what_somebody_wrote() -> None:
    for given in ({"prompts": [{"label": "A secret"}]}, {"theme": "A secret"}):
        with pytest.raises(OptionError) as refused:
            chatkit_options(given)
        assert "secret" not in str(refused.value)


def test_a_mistake_in_the_setting_is_a_system_check(settings: Settings) -> None:
    settings.CHATKIT_OPTIONS = {"greetings": "Hello"}
    [found] = [
        each for each in checks.run_checks(tags=["chatkit"]) if each.id == "chatkit_endpoint.E007"
    ]
    assert "'greetings'" in found.msg
    assert "'greeting'" in found.msg
    with pytest.raises(ImproperlyConfigured, match=r"CHATKIT_OPTIONS: .*'greeting'"):
        site_options()
    settings.CHATKIT_OPTIONS = {"greeting": "Hello"}
    assert not [
        each for each in checks.run_checks(tags=["chatkit"]) if each.id == "chatkit_endpoint.E007"
    ]
