"""The function that texts are redacted with: the site's own, where it names one."""

from __future__ import annotations

from collections.abc import Callable

from django.utils.module_loading import import_string

from .conf import conf
from .redaction import redact


def redacted(text: str) -> str:
    """The text as it may be kept or sent where it is to be redacted."""
    path = conf().observability_redactor
    chosen: Callable[[str], str] = import_string(path) if path else redact
    return chosen(text)
