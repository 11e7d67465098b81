"""How much of what was said is kept, and how much of it leaves: as it is, redacted, or nothing."""

from __future__ import annotations

from django.db import models

from .conf import conf
from .database import storable
from .redactor import redacted

TEXT_CHARS = 100_000
"""What leaves of each text; none that a visitor reads is as long."""
PAYLOAD_CHARS = 1_000_000
"""What leaves of all texts of one event: collectors refuse bodies of many megabytes."""


class Level(models.TextChoices):
    FULL = "full"
    REDACTED = "redacted"
    NONE = "none"


def stored(text: str) -> str:
    """The text as traces keep it; where the setting is no level nothing, rather than too much."""
    match conf().observability_text:
        case Level.FULL:
            return storable(text)
        case Level.REDACTED:
            return storable(redacted(text))
    return ""


class Outgoing:
    """The texts of one event as they may leave: at a level, each of bounded length and all of them
    together too, with a mark where something is missing, and encodable, which what JSON escapes is
    not always. What is asked for first is cut last.
    """

    def __init__(self, level: Level) -> None:
        self.level = level
        self._left = PAYLOAD_CHARS
        self._known: dict[str, str] = {}

    def text(self, text: str) -> str:
        if not text or self.level is Level.NONE:
            return ""
        # Redaction takes a millisecond for some pages, and an event says the same twice.
        if text not in self._known:
            told = redacted(text) if self.level is Level.REDACTED else text
            self._known[text] = storable(told)
        whole = self._known[text]
        kept = whole[: min(TEXT_CHARS, self._left)]
        self._left -= len(kept)
        return kept if len(kept) == len(whole) else f"{kept}… (+{len(whole) - len(kept)})"
