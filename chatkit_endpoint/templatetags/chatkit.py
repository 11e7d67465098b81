"""``{% load chatkit %}{% chatkit %}``: a chat, on any page of a Django site."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

from django import template
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.middleware.csrf import get_token
from django.shortcuts import resolve_url
from django.template import Context, TemplateSyntaxError
from django.urls import reverse
from django.utils import translation
from django.utils.http import urlencode

from chatkit_endpoint.conf import conf
from chatkit_endpoint.labels import labels

register = template.Library()

ARGUMENTS = (
    "autofocus",
    "greeting",
    "height",
    "id",
    "locale",
    "placeholder",
    "prompts",
    "theme",
    "thread",
)


@register.inclusion_tag("chatkit_endpoint/chatkit.html", takes_context=True)
def chatkit(context: Context, **arguments: Any) -> dict[str, Any]:
    """Render the chat and its scripts, none of them inline.

    * ``height``: a number of pixels or a CSS length; "36rem" by default.
    * ``theme``: "light" or "dark"; by default what the visitor's browser prefers.
    * ``locale``: a language code; by default the language of the page.
    * ``greeting``, ``placeholder``: the start screen's headline, the empty composer's text.
    * ``prompts``: what the start screen suggests: a string with one prompt per line, or a list of
      strings or of ``{"label": …, "prompt": …}``.
    * ``thread``: id of the thread to open; by default the one that this tab had open.
    * ``autofocus``: whether the composer takes the focus when the page opens.
    * ``id``: the element's id; a page with several chats gives each its own.

    Raises TemplateSyntaxError for an argument that it doesn't know or can't use.
    """
    refuse_unknown(arguments)
    request = getattr(context, "request", None)
    if request is None:
        raise ImproperlyConfigured("{% chatkit %} needs the request: use render(request, …).")
    config = conf()
    locale = arguments.get("locale") or translation.get_language() or settings.LANGUAGE_CODE
    element_id = arguments.get("id", "chatkit")
    data: dict[str, Any] = {
        "options": chatkit_options(arguments, locale),
        "height": css_length(arguments.get("height", "36rem")),
        "csrf": csrf(request),
    }
    with translation.override(locale):
        bidi = translation.get_language_bidi()
        if config.client == "builtin":
            here = urlencode({"next": request.get_full_path()})
            login = f"{resolve_url(settings.LOGIN_URL)}?{here}"
            data["builtin"] = {"labels": labels(), "loginUrl": login}
    return {
        "autofocus": arguments.get("autofocus", False),
        "data": data,
        "data_id": f"{element_id}-data",
        "direction": "rtl" if bidi else "ltr",
        "element_id": element_id,
        "locale": data["options"]["locale"],
        "script_url": None if config.client == "builtin" else config.script_url,
    }


def refuse_unknown(arguments: Iterable[str]) -> None:
    for name in arguments:
        if name not in ARGUMENTS:
            near = get_close_matches(name, ARGUMENTS, n=1, cutoff=0.5)
            hint = f"Did you mean '{near[0]}'?" if near else f"It takes {', '.join(ARGUMENTS)}."
            raise TemplateSyntaxError(f"{{% chatkit %}} has no argument '{name}'. {hint}")


def chatkit_options(arguments: dict[str, Any], locale: str) -> dict[str, Any]:
    """ChatKitOptions and nothing else: OpenAI's element refuses keys that it doesn't know."""
    options: dict[str, Any] = {
        "api": {"url": reverse("chatkit"), "domainKey": conf().domain_key},
        "locale": bcp47(locale),
    }
    if theme := arguments.get("theme"):
        if theme not in ("light", "dark"):
            raise TemplateSyntaxError(f"{{% chatkit %}}: theme is light or dark, not '{theme}'.")
        options["theme"] = theme
    start_screen: dict[str, Any] = {}
    if greeting := arguments.get("greeting"):
        start_screen["greeting"] = str(greeting)
    if prompts := arguments.get("prompts"):
        start_screen["prompts"] = starter_prompts(prompts)
    if start_screen:
        options["startScreen"] = start_screen
    if placeholder := arguments.get("placeholder"):
        options["composer"] = {"placeholder": str(placeholder)}
    if thread := arguments.get("thread"):
        options["initialThread"] = str(thread)
    return options


def starter_prompts(prompts: Any) -> list[Any]:
    if not isinstance(prompts, (list, tuple)):
        prompts = [line.strip() for line in str(prompts).splitlines() if line.strip()]
    return [
        prompt if isinstance(prompt, dict) else {"label": str(prompt), "prompt": str(prompt)}
        for prompt in prompts
    ]


def css_length(value: Any) -> str:
    text = str(value)
    if re.fullmatch(r"\d+", text):
        return f"{text}px"
    if re.fullmatch(r"\d+(\.\d+)?(px|rem|em|%|vh|svh|dvh|cqh)", text):
        return text
    raise TemplateSyntaxError(f"{{% chatkit %}}: height is a CSS length, not '{text}'.")


def csrf(request: Any) -> dict[str, str]:
    """Where the browser finds the CSRF token; the token itself only where it can't look.

    Reading the cookie for each request outlives a login in another tab, which changes the token.
    """
    token = get_token(request)  # Also has the cookie sent.
    found = {
        "cookie": settings.CSRF_COOKIE_NAME,
        "header": settings.CSRF_HEADER_NAME.removeprefix("HTTP_").replace("_", "-"),
    }
    if settings.CSRF_USE_SESSIONS or settings.CSRF_COOKIE_HTTPONLY:
        found["token"] = token
    return found


def bcp47(language: str) -> str:
    """A language code of Django's as browsers and ChatKit spell it: ``pt-BR``, ``zh-Hant``."""
    primary, *rest = language.replace("_", "-").split("-")
    spelled = [part.title() if len(part) == 4 else part.upper() for part in rest]
    return "-".join([primary.lower(), *spelled])
