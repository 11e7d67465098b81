"""What a page hands to the browser so that there is a chat on it."""

from __future__ import annotations

import mimetypes
import re
from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest
from django.middleware.csrf import get_token
from django.shortcuts import resolve_url
from django.templatetags.static import static
from django.urls import reverse
from django.utils import translation
from django.utils.http import urlencode
from django.utils.translation import gettext as _

from .conf import conf
from .labels import labels
from .locales import supported
from .options import (
    NAMES,
    OptionError,
    Record,
    chatkit_locale,
    chatkit_options,
    check_name,
    merged,
)

PAGE_ARGUMENTS = ("autofocus", "height", "id")
"""What is about the place on the page and not about the chat."""


def page_context(
    request: HttpRequest, arguments: Mapping[str, Any], *, height: str
) -> dict[str, Any]:
    """The template's context for one chat. ``height`` is what it has unless an argument says.

    Raises OptionError for an argument that can't be used, and ImproperlyConfigured for a setting.
    """
    for name in arguments:
        check_name(name, NAMES.union(PAGE_ARGUMENTS))
    chosen = {name: value for name, value in arguments.items() if name not in PAGE_ARGUMENTS}
    options = merged(site_options(), chatkit_options(chosen))
    locale = options.pop("locale", None) or translation.get_language() or settings.LANGUAGE_CODE
    element_id = str(arguments.get("id") or "chatkit")
    config = conf()
    data: dict[str, Any] = {
        "client": config.client,
        "csrf": csrf(request),
        "eventsUrl": reverse("observability-events"),
        "height": css_length(arguments.get("height") or height),
        "locale": bcp47(locale),
        "options": completed(options, bcp47(locale)),
    }
    if config.client != "builtin":
        data["scriptUrl"] = config.script_url
    with translation.override(supported(locale) or translation.get_language()):
        words = {"chat": _("Chat"), "close": _("Close"), "script": _("This chat needs JavaScript.")}
        direction = "rtl" if translation.get_language_bidi() else "ltr"
        if config.client != "openai":
            here = urlencode({"next": request.get_full_path()})
            data["builtin"] = {
                "labels": labels(),
                "loginUrl": f"{resolve_url(settings.LOGIN_URL)}?{here}",
                "src": static("chatkit_endpoint/element.js"),
            }
    return {
        "autofocus": bool(arguments.get("autofocus")),
        "data": data,
        "data_id": f"{element_id}-data",
        "direction": direction,
        "element_id": element_id,
        "locale": data["locale"],
        "words": words,
    }


def site_options() -> dict[str, Any]:
    """What CHATKIT_OPTIONS says, as ChatKit takes it. Raises ImproperlyConfigured."""
    try:
        return chatkit_options(conf().chatkit_options)
    except OptionError as error:
        raise ImproperlyConfigured(f"CHATKIT_OPTIONS: {error}") from error


def completed(options: dict[str, Any], locale: str) -> dict[str, Any]:
    """ChatKitOptions and nothing else: OpenAI's element refuses keys that it doesn't know."""
    api: dict[str, Any] = {"url": reverse("chatkit"), "domainKey": conf().domain_key}
    found = {**options, "api": api}
    if known := chatkit_locale(locale):
        found["locale"] = known
    if options.get("composer", {}).get("attachments", {}).get("enabled"):
        found = merged(found, {"composer": {"attachments": allowed(options)}})
        # One request with our cookies and our token. The second of two phases would go to an
        # address that is made for storages, which take neither.
        api["uploadStrategy"] = {"type": "direct", "uploadUrl": reverse("chatkit-attachments")}
    return found


def allowed(options: Mapping[str, Any]) -> dict[str, Any]:
    """The composer's attachments as far as the settings allow them: off where they allow none."""
    config = conf()
    asked: dict[str, Any] = options["composer"]["attachments"]
    if not config.chatkit_attachment_types or config.chatkit_attachment_max_count < 1:
        return {"enabled": False}
    types = {
        kind: sorted(mimetypes.guess_all_extensions(kind, strict=False))
        for kind in config.chatkit_attachment_types
    }
    return {
        "maxSize": config.chatkit_attachment_max_bytes,
        "maxCount": config.chatkit_attachment_max_count,
        "accept": Record(types),
        **asked,
    }


def css_length(value: Any) -> str:
    """Raises OptionError for what is neither a number of pixels nor a CSS length."""
    text = str(value)
    if re.fullmatch(r"\d+", text):
        return f"{text}px"
    if re.fullmatch(r"\d+(\.\d+)?(px|rem|em|%|vh|svh|dvh|cqh)", text):
        return text
    raise OptionError("'height' is a number of pixels or a CSS length such as 36rem.")


def csrf(request: HttpRequest) -> dict[str, str]:
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
