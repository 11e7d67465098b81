"""The visitor's language."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest
from django.utils.translation import get_language, get_supported_language_variant
from django.utils.translation.trans_real import parse_accept_lang_header


def locale_of(request: HttpRequest) -> str:
    """The best of LANGUAGES for the request.

    ChatKit's client names its one active locale in ``Accept-Language``; a page's own cookie or
    path must not overrule that. Without the header it is the language of the page.
    """
    for code, _quality in parse_accept_lang_header(request.headers.get("Accept-Language", "")):
        try:
            return get_supported_language_variant(code)
        except LookupError:
            continue
    return get_language() or settings.LANGUAGE_CODE
