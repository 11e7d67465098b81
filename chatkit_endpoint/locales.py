"""The visitor's language."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest
from django.utils import translation
from django.utils.translation import get_language, get_supported_language_variant
from django.utils.translation import gettext as _
from django.utils.translation.trans_real import parse_accept_lang_header


def locale_of(request: HttpRequest) -> str:
    """The best of LANGUAGES for the request.

    ChatKit's client names its one active locale in ``Accept-Language``; a page's own cookie or
    path must not overrule that. Without the header, or where it names nothing that there is, it is
    the language of the page.
    """
    header = request.headers.get("Accept-Language", "")
    for code, quality in parse_accept_lang_header(header):  # The most wanted first.
        if code == "*" or quality == 0:
            break
        if found := supported(code):
            return found
    page = get_language() or settings.LANGUAGE_CODE
    return supported(page) or page


def supported(code: str) -> str | None:
    """The nearest of LANGUAGES: ``pt-br`` for ``pt`` or ``pt-PT``; None where there is none."""
    try:
        return get_supported_language_variant(code)
    except LookupError:
        return None


def language_instruction(locale: str) -> str:
    """Tells the model in which language to answer, in words of the catalogs and of LANGUAGES.

    ``locale`` is one that :func:`locale_of` found: nothing that a visitor wrote is part of it.
    """
    with translation.override(locale):
        return _(
            "The user’s language is %(language)s (%(code)s). Answer in it, unless the user writes "
            "in another one."
        ) % {"language": dict(settings.LANGUAGES).get(locale, locale), "code": locale}
