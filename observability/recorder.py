"""ChatKit's events, as they pass, become the record of a turn. No database here.

What is noted per event is one small tuple, numbered like the event. So when a client goes away,
the record can be cut back to the events that were really sent.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple

from chatkit.errors import CustomStreamError, StreamError
from chatkit.types import (
    AssistantMessageContentPartAdded,
    AssistantMessageContentPartDone,
    AssistantMessageContentPartTextDelta,
    AssistantMessageItem,
    ErrorEvent,
    GeneratedImageItem,
    ProgressUpdateEvent,
    Task,
    TaskItem,
    ThreadItem,
    ThreadItemAddedEvent,
    ThreadItemDoneEvent,
    ThreadItemRemovedEvent,
    ThreadItemReplacedEvent,
    ThreadItemUpdatedEvent,
    ThreadStreamEvent,
    UserMessageItem,
    WidgetItem,
    WorkflowItem,
    WorkflowTaskAdded,
    WorkflowTaskUpdated,
)
from django.utils import timezone

from .facts import Source
from .models import ID_LENGTH, Message, Turn, new_trace_id
from .prepared import Ready
from .span_log import SpanLog


@dataclass(kw_only=True, slots=True)
class Identity:
    """Who asked, for what, from where: the columns of a turn that are known when it starts."""

    user: Any = None
    owner_key: str = ""
    tenant: str = ""
    session_id: str = ""
    request_id: str = ""
    operation: str = ""
    locale: str = ""
    facts: Source | None = None
    """What the site knows of it, to be asked in the database's thread."""

    @classmethod
    def of(cls, context: Any) -> Identity:
        """Read from any server's request context: an object, a mapping, or neither.

        A context that names its user only as ``user_id``, as the SDK's samples do, owns by that.
        """

        def read(name: str) -> Any:
            if isinstance(context, dict):
                return context.get(name)
            return getattr(context, name, None)

        def text(name: str) -> str:
            return str(read(name) or "")[:ID_LENGTH]

        user, facts = read("user"), read("facts")
        return cls(
            user=user if getattr(user, "pk", None) is not None else None,
            owner_key=text("owner_key") or text("user_id"),
            tenant=text("tenant"),
            session_id=text("session_id"),
            request_id=text("request_id"),
            operation=text("operation"),
            locale=text("locale")[:35],
            facts=facts if callable(facts) else None,
        )


@dataclass(kw_only=True, slots=True)
class Usage:
    """Tokens of all model calls of a turn; null until a call has told any."""

    model: str = ""
    input_tokens: int | None = None
    cached_tokens: int | None = None
    output_tokens: int | None = None
    reasoning_tokens: int | None = None

    def add(self, **tokens: int | None) -> None:
        for name, count in tokens.items():
            if count is not None:
                setattr(self, name, (getattr(self, name) or 0) + count)


class Line(NamedTuple):
    """A message of the finished record."""

    kind: Message.Kind
    item_id: str
    text: str
    created_at: datetime


# A plain tuple: a named one takes as long to make as all else that is done for a delta.
_Note = tuple[int, Literal["append", "replace", "remove"], str, int, str]
"""One event's effect on one part of one item: event, effect, item id, part, text."""


@dataclass(slots=True)
class _Item:
    kind: Message.Kind
    created_at: datetime
    parts: dict[int, str] = field(default_factory=dict)
    latest: dict[int, str] = field(default_factory=dict)
    """What was last put in each part as a whole."""

    def text(self) -> str:
        separator = "\n\n" if self.kind == Message.Kind.THOUGHT else ""
        return separator.join(text for _, text in sorted(self.parts.items()) if text)


class TurnRecorder:
    """One turn in the making. Feed it each event with :meth:`observe`, then :meth:`finish` it."""

    def __init__(
        self,
        *,
        thread_id: str,
        identity: Identity,
        prompt: UserMessageItem | None = None,
        received_at: datetime | None = None,
        received_tick: float | None = None,
        spans: SpanLog | None = None,
        settles_with: Callable[[], Sequence[Ready]] | None = None,
    ) -> None:
        self.trace_id = new_trace_id()
        self.thread_id = thread_id
        self.identity = identity
        self.usage = Usage()
        self.started_at = received_at or timezone.now()
        self._started_tick = time.perf_counter() if received_tick is None else received_tick
        self.spans = SpanLog(self._started_tick) if spans is None else spans
        self.settles_with = settles_with
        self.ttfp_ms: int | None = None
        self.ttft_ms: int | None = None
        self.total_ms: int | None = None
        self.status = Turn.Status.RUNNING
        self.error_code = ""
        self.error_message = ""
        self.events_seen = 0
        self._events_sent: int | None = None
        self._error_event: ErrorEvent | None = None
        self._aborted: tuple[str, str] | None = None
        self._notes: list[_Note] = []
        self._items: dict[str, _Item] = {}
        self._open_items: set[str] = set()
        self._aliases: dict[str, str] = {}
        self.prompt_id = "" if prompt is None else prompt.id
        if prompt is not None:
            self._start(prompt.id, Message.Kind.PROMPT)
            self._replace(prompt.id, 0, user_text(prompt))

    # -- while it runs ----------------------------------------------------------------------

    def observe(self, event: ThreadStreamEvent) -> None:
        """Take note of an event that is about to be sent."""
        self.events_seen += 1
        if isinstance(event, ThreadItemUpdatedEvent):
            self._observe_update(event)
        elif isinstance(event, ThreadItemAddedEvent):
            self._begin(event.item)
            self._observe_item(event.item)
        elif isinstance(event, ThreadItemDoneEvent | ThreadItemReplacedEvent):
            self._open_items.discard(event.item.id)
            self._observe_item(event.item)
        elif isinstance(event, ProgressUpdateEvent):
            self._mark_progress()
        elif isinstance(event, ErrorEvent):
            self._error_event = event
        elif isinstance(event, ThreadItemRemovedEvent):
            self._open_items.discard(event.item_id)
            self._note("remove", event.item_id, 0, "")

    def sent(self, event: int) -> None:
        """The client was sent everything up to this event (a value that ``events_seen`` had)."""
        self._events_sent = event

    def abort(self, code: str, message: str) -> None:
        """The cancellation that follows is the host's doing and a failure, not the visitor's."""
        self._aborted = code, message

    @property
    def is_answered(self) -> bool:
        """Whether the answer stands complete, so that only the run's own end is still to come."""
        return self.ttft_ms is not None and not self._open_items

    @property
    def has_ended(self) -> bool:
        """Whether :meth:`finish` was called, so that nothing is left to cancel."""
        return self.total_ms is not None

    # -- at its end -------------------------------------------------------------------------

    def finish(self, error: BaseException | None = None, *, cancelled: bool = False) -> None:
        """Fix the end: completed, failed by ``error`` or by an error event, or cancelled."""
        self.total_ms = self._elapsed_ms()
        if self._aborted is not None:
            self.status = Turn.Status.FAILED
            self.error_code, self.error_message = self._aborted
        elif cancelled:
            self.status = Turn.Status.CANCELLED
        elif error is not None:
            self.status = Turn.Status.FAILED
            self.error_code, self.error_message = _describe(error)
        elif self._error_event is not None:
            self.status = Turn.Status.FAILED
            self.error_code = str(getattr(self._error_event.code, "value", self._error_event.code))
            self.error_message = self._error_event.message or ""
        else:
            self.status = Turn.Status.COMPLETED

    @property
    def duration_ms(self) -> int | None:
        """From the first token to the end; None before the end and where there was no token."""
        if self.total_ms is None or self.ttft_ms is None:
            return None
        return self.total_ms - self.ttft_ms

    @property
    def ended_at(self) -> datetime | None:
        """Wall-clock end: the start plus what the monotonic clock measured."""
        if self.total_ms is None:
            return None
        return self.started_at + timedelta(milliseconds=self.total_ms)

    def lines(self) -> list[Line]:
        """The messages, in the order in which they began; of a cancelled turn, what was sent."""
        last_event = self.events_seen
        if self.status == Turn.Status.CANCELLED and self._events_sent is not None:
            last_event = self._events_sent
        for item in self._items.values():
            item.parts.clear()
        for event, effect, item_id, part, text in self._notes:
            if event > last_event:
                break
            parts = self._items[item_id].parts
            if effect == "append":
                parts[part] = parts.get(part, "") + text
            elif effect == "replace":
                parts[part] = text
            else:
                parts.clear()
        return [
            Line(item.kind, item_id, text, item.created_at)
            for item_id, item in self._items.items()
            if (text := item.text())
        ]

    # -- inside -----------------------------------------------------------------------------

    def _elapsed_ms(self) -> int:
        return max(0, round((time.perf_counter() - self._started_tick) * 1000))

    def _mark_progress(self) -> None:
        if self.ttfp_ms is None:
            self.ttfp_ms = self._elapsed_ms()

    def _mark_text(self, text: str) -> None:
        if self.ttft_ms is None and text:
            self.ttft_ms = self._elapsed_ms()
            if self.ttfp_ms is None:
                self.ttfp_ms = self.ttft_ms

    def _begin(self, item: ThreadItem) -> None:
        """A message that begins under a known id is another one: see chat-completions models."""
        if item.type == "assistant_message" and item.id in self._items:
            self._aliases[item.id] = f"{item.id}#{len(self._items)}"
        self._open_items.add(item.id)

    def _start(self, item_id: str, kind: Message.Kind) -> None:
        item_id = self._aliases.get(item_id, item_id)
        if item_id not in self._items:
            self._items[item_id] = _Item(kind, timezone.now())

    def _note(
        self, effect: Literal["append", "replace", "remove"], item_id: str, part: int, text: str
    ) -> None:
        item_id = self._aliases.get(item_id, item_id)
        if item_id in self._items:
            self._notes.append((self.events_seen, effect, item_id, part, text))

    def _replace(self, item_id: str, part: int, text: str) -> None:
        # A thought comes whole, again and again, each time a little longer: note what is new.
        latest = self._items[self._aliases.get(item_id, item_id)].latest
        before = latest.get(part)
        latest[part] = text
        if before and text.startswith(before):
            self._note("append", item_id, part, text[len(before) :])
        else:
            self._note("replace", item_id, part, text)

    def _observe_update(self, event: ThreadItemUpdatedEvent) -> None:
        update = event.update
        if isinstance(update, AssistantMessageContentPartTextDelta):
            # Inline: hundreds of these come where one of any other kind does.
            item_id = self._aliases.get(event.item_id, event.item_id)
            if item_id not in self._items:
                self._start(item_id, Message.Kind.RESPONSE)
            self._notes.append(
                (self.events_seen, "append", item_id, update.content_index, update.delta)
            )
            if self.ttft_ms is None:
                self._mark_text(update.delta)
        elif isinstance(update, AssistantMessageContentPartAdded | AssistantMessageContentPartDone):
            self._start(event.item_id, Message.Kind.RESPONSE)
            self._note("replace", event.item_id, update.content_index, update.content.text)
            self._mark_text(update.content.text)
        elif isinstance(update, WorkflowTaskAdded | WorkflowTaskUpdated):
            self._start(event.item_id, Message.Kind.THOUGHT)
            self._replace(event.item_id, update.task_index, task_text(update.task))
            self._mark_progress()
        else:
            self._mark_progress()

    def _observe_item(self, item: ThreadItem) -> None:
        if isinstance(item, AssistantMessageItem):
            self._start(item.id, Message.Kind.RESPONSE)
            for part, content in enumerate(item.content):
                self._note("replace", item.id, part, content.text)
                self._mark_text(content.text)
        elif isinstance(item, WorkflowItem):
            self._start(item.id, Message.Kind.THOUGHT)
            self._observe_parts(item.id, map(task_text, item.workflow.tasks))
            self._mark_progress()
        elif isinstance(item, TaskItem):
            self._start(item.id, Message.Kind.THOUGHT)
            self._observe_parts(item.id, (task_text(item.task),))
            self._mark_progress()
        elif isinstance(item, WidgetItem):
            if item.copy_text:
                self._start(item.id, Message.Kind.RESPONSE)
                self._observe_parts(item.id, (item.copy_text,))
            self._mark_progress()
        elif isinstance(item, GeneratedImageItem):
            self._mark_progress()

    def _observe_parts(self, item_id: str, texts: Iterable[str]) -> None:
        for part, text in enumerate(texts):
            self._replace(item_id, part, text)


def _describe(error: BaseException) -> tuple[str, str]:
    """An error's code and message; the SDK's own stream errors carry both."""
    if isinstance(error, CustomStreamError):
        return "custom", error.message
    if isinstance(error, StreamError):
        return error.code.value, ""
    return type(error).__name__, str(error)


def user_text(item: UserMessageItem) -> str:
    """What the visitor wrote, tags written as ``@name``."""
    return "".join(
        part.text if part.type == "input_text" else f"@{part.text}" for part in item.content
    )


def task_text(task: Task) -> str:
    """A task as one line or paragraph: its title and its content, where it has them."""
    title = getattr(task, "title", None) or ""
    content = getattr(task, "content", None) or ""
    return f"{title}: {content}" if title and content else title or content
