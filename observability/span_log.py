"""The timed steps inside a turn, noted while they happen. No database here, no SDK.

Bounded, and cheap: a step is an object and two looks at the clock. What was handed to a tool and
what it returned is cut here, and redacted when it is exported, off the event loop.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from django.db import models
from django.utils.translation import gettext_lazy as _

from .conf import conf
from .database import storable
from .redactor import redacted
from .text_levels import Level

SPANS_AT_MOST = 500
TEXT_CHARS = 2_000
"""What is kept of each text."""
MARGIN_CHARS = 2_000
"""What is looked at besides, so that no secret is cut in two before it is recognised."""
ROOT = "request"
"""The id of the span that all others are in."""


class Kind(models.TextChoices):
    REQUEST = "request", _("request")
    STORE = "store", _("store")
    TITLE = "title", _("title")
    AGENT = "agent", _("agent")
    MODEL = "model", _("model")
    TOOL = "tool", _("tool")
    HANDOFF = "handoff", _("handoff")
    GUARDRAIL = "guardrail", _("guardrail")
    OTHER = "other", _("other")


@dataclass(kw_only=True, slots=True)
class Span:
    """One step; times are ticks of ``time.perf_counter()``."""

    id: str
    parent_id: str
    kind: Kind
    name: str
    start_tick: float
    end_tick: float | None = None
    error: dict[str, str | Text] | None = None
    """``type``, ``message`` and ``where``, as far as they are known."""
    attributes: dict[str, Any] = field(default_factory=dict)


class SpanLog:
    """The spans of one request."""

    def __init__(self, start_tick: float | None = None) -> None:
        self._start_tick = time.perf_counter() if start_tick is None else start_tick
        self._spans: list[Span] = []
        self._known: dict[str, str] = {}
        self.dropped = 0
        """How many spans there were beyond SPANS_AT_MOST."""

    def begin(self, kind: Kind, name: str, *, id: str = "", parent_id: str = "") -> Span:
        """Note that a step begins; a parent that is not known is the request itself."""
        span = Span(
            id=id or f"s{len(self._spans)}",
            parent_id=self._known.get(parent_id, ROOT),
            kind=kind,
            name=name,
            start_tick=time.perf_counter(),
        )
        if len(self._spans) < SPANS_AT_MOST:
            self._spans.append(span)
            self._known[span.id] = span.id
        else:
            self.dropped += 1
        return span

    def pass_over(self, id: str, parent_id: str) -> None:
        """Leave a step out: what is in it counts as being in its parent."""
        if len(self._known) < SPANS_AT_MOST:
            self._known[id] = self._known.get(parent_id, ROOT)

    @contextmanager
    def step(self, kind: Kind, name: str) -> Iterator[None]:
        """A step from here to there. An exception is told by its type: its text may quote."""
        span = self.begin(kind, name)
        try:
            yield
        except Exception as error:
            span.error = {"type": type(error).__name__}
            raise
        finally:
            span.end_tick = time.perf_counter()

    @property
    def failure(self) -> str:
        """The type of the error that the latest step ended in; empty if it did not."""
        latest = self._spans[-1] if self._spans else None
        return str((latest.error or {}).get("type", "")) if latest is not None else ""

    def export(self, *, operation: str, total_ms: int, is_error: bool) -> list[dict[str, Any]]:
        """The spans as they are stored: times in ms from the request's arrival, texts redacted.

        What had not ended when the turn did is told as ``unfinished``.
        """
        root: dict[str, Any] = {
            "id": ROOT,
            "parent_id": "",
            "kind": Kind.REQUEST.value,
            "name": operation,
            "start_ms": 0.0,
            "duration_ms": float(total_ms),
        }
        if is_error:
            root["error"] = {}
        if self.dropped:
            root["attributes"] = {"spans_dropped": self.dropped}
        return [root, *(self._exported(span, total_ms) for span in self._spans)]

    def _exported(self, span: Span, total_ms: int) -> dict[str, Any]:
        start_ms = max(0.0, self._ms(span.start_tick))
        end_ms = self._ms(span.end_tick) if span.end_tick is not None else max(start_ms, total_ms)
        attributes = _told(span.attributes)
        if span.end_tick is None:
            attributes["unfinished"] = True
        exported: dict[str, Any] = {
            "id": span.id,
            "parent_id": span.parent_id,
            "kind": span.kind.value,
            "name": storable(span.name),
            "start_ms": round(start_ms, 1),
            "duration_ms": round(end_ms - start_ms, 1),
        }
        if span.error is not None:
            exported["error"] = _told(span.error)
        if attributes:
            exported["attributes"] = attributes
        return exported

    def _ms(self, tick: float) -> float:
        return (tick - self._start_tick) * 1000


class Text(NamedTuple):
    """The beginning of a text that is to be redacted and shortened, and how long all of it was."""

    head: str
    length: int


def text_of(text: str) -> Text:
    """What a span holds of a text until it is exported."""
    return Text(text[: TEXT_CHARS + MARGIN_CHARS], len(text))


def describe(error: BaseException) -> dict[str, str | Text]:
    """An exception with the place that raised it: for a span, never for a log."""
    frames = traceback.extract_tb(error.__traceback__)
    told: dict[str, str | Text] = {
        "type": type(error).__name__,
        "message": text_of(str(error)),
    }
    if frames:
        last = frames[-1]
        told["where"] = f"{Path(last.filename).name}:{last.lineno} in {last.name}"
    return told


def _told(values: Mapping[str, Any]) -> dict[str, Any]:
    """What is kept of these: texts at the level of traces, but never more than redacted."""
    keeps_texts = conf().observability_text in {Level.FULL, Level.REDACTED}
    return {
        name: _redacted(value)
        for name, value in values.items()
        if keeps_texts or not isinstance(value, Text)
    }


def _redacted(value: Any) -> Any:
    if isinstance(value, Text):
        whole = storable(redacted(value.head))
        if value.length <= TEXT_CHARS:
            return whole
        return f"{whole[:TEXT_CHARS]}… (+{value.length - TEXT_CHARS})"
    if isinstance(value, list):
        return [_redacted(each) for each in value]
    return storable(redacted(value)) if isinstance(value, str) else value
