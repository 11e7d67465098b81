"""Hosted mode, read back: what was said at OpenAI becomes turns like those that are made here.

OpenAI ends hosted workflows on 2026-11-30; this module goes with :mod:`.hosted`. Off unless
CHATKIT_WORKFLOW_ID is set. The browser tells when an answer has ended and how long it took; the
worker then reads what is new in that thread, if it is that visitor's.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from observability.models import ClientEvent, Message, Turn

from .conf import conf

if TYPE_CHECKING:
    from openai import OpenAI

    from observability.recorder import Identity, Line

logger = logging.getLogger(__name__)

OPERATION = "hosted"
TURNS_AT_ONCE = 20
ITEMS_AT_ONCE = 100
REQUEST_SECONDS = 5.0
READ_SECONDS = 5.0
"""After so long the worker goes on with its other work, and reads the rest the next time."""
POLL_SECONDS = 2.0
RETRY_SECONDS = 5.0
RETRY_SECONDS_AT_MOST = 300.0

_retries: dict[str, tuple[float, float]] = {}
"""Of turns that could not be read: when to try again, and how long that was put off."""


def note_ended_answers(identity: Identity, events: Sequence[ClientEvent]) -> None:
    """Open a turn for each answer of which the visitor's browser tells that it has ended.

    To be called in the transaction that keeps the events.
    """
    from observability.turns import open_remote_turn

    if not conf().chatkit_workflow_id:
        return
    timings = {event.thread_id: event for event in events if event.name == ClientEvent.Name.TIMING}
    for event in events:
        if event.name == ClientEvent.Name.RESPONSE_END and event.thread_id:
            timing = timings.get(event.thread_id)
            figures = _figures(timing.data) if timing is not None else {}
            took = timedelta(milliseconds=figures.get("total_ms", 0))
            open_remote_turn(
                identity,
                operation=OPERATION,
                thread_id=event.thread_id,
                started_at=event.occurred_at - took,
                ended_at=event.occurred_at,
                **figures,
            )


def _figures(told: dict[str, Any]) -> dict[str, int]:
    """The browser's timings as those of the turn: no others can be had."""
    columns = {
        "ttft_ms": ("ttft_ms", "client_ttft_ms"),
        "duration_ms": ("duration_ms", "client_duration_ms"),
        "total_ms": ("total_ms",),
    }
    return {
        column: round(told[name]) for name in columns if name in told for column in columns[name]
    }


def read_due_threads() -> int:
    """Read the threads of answers that have ended. Returns how many turns that settled.

    For the worker: synchronous. What can't be read now is tried again, until its lease ends.
    """
    settings = conf()
    if not settings.chatkit_workflow_id or not settings.openai_api_key:
        return 0
    now = time.monotonic()
    settled = 0
    waiting = Turn.objects.running().filter(operation=OPERATION).order_by("started_at", "pk")
    due = [
        turn
        for turn in waiting[:TURNS_AT_ONCE]
        if _retries.get(turn.trace_id, (0.0, 0.0))[0] <= now
    ]
    if not due:
        return 0
    # Late: the SDK takes more than a second to import.
    from openai import OpenAI, OpenAIError

    with OpenAI(
        api_key=settings.openai_api_key,
        base_url=settings.openai_base_url or None,
        timeout=REQUEST_SECONDS,
        max_retries=0,
    ) as client:
        for turn in due:
            if time.monotonic() - now > READ_SECONDS:
                break
            try:
                is_settled = _read(client, turn)
            except OpenAIError as error:
                logger.warning("A hosted thread could not be read: %s", type(error).__name__)
                is_settled = False
            if is_settled:
                _retries.pop(turn.trace_id, None)
                settled += 1
            else:
                _put_off(turn)
    return settled


def _put_off(turn: Turn) -> None:
    _, before = _retries.get(turn.trace_id, (0.0, 0.0))
    seconds = min(max(RETRY_SECONDS, 2 * before), RETRY_SECONDS_AT_MOST)
    if len(_retries) > 10 * TURNS_AT_ONCE:
        _retries.clear()
    _retries[turn.trace_id] = (time.monotonic() + seconds, seconds)


def _read(client: OpenAI, turn: Turn) -> bool:
    """Read what is new in the turn's thread. Returns whether there was anything."""
    from observability.turns import settle_remote_turn

    from .hosted import pseudonym

    thread = client.beta.chatkit.threads.retrieve(turn.thread_id)
    if thread.user != pseudonym(turn):
        logger.warning("A browser named a hosted thread that is not its visitor's.")
        return settle_remote_turn(turn.trace_id, Turn.Status.FAILED, error_code="foreign_thread")
    lines = _share(turn, list(_new_lines(client, turn)))
    return bool(lines) and settle_remote_turn(turn.trace_id, Turn.Status.COMPLETED, lines)


def _new_lines(client: OpenAI, turn: Turn) -> Iterator[Line]:
    from observability.recorder import Line

    known = set(
        Message.objects.filter(turn__in=Turn.objects.of_thread(turn).order_by()).values_list(
            "item_id", flat=True
        )
    )
    # Iterating over a page of the SDK's follows has_more.
    items = client.beta.chatkit.threads.list_items(turn.thread_id, order="asc", limit=ITEMS_AT_ONCE)
    for item in items:
        kind, text = _said(item)
        if kind and text and item.id not in known:
            yield Line(kind, item.id, text, datetime.fromtimestamp(item.created_at, tz=UTC))


def _share(turn: Turn, lines: list[Line]) -> list[Line]:
    """What of the new lines is this turn's: each later turn that waits needs an exchange too."""
    prompts = [place for place, line in enumerate(lines) if line.kind == Message.Kind.PROMPT]
    later = (
        Turn.objects.of_thread(turn)
        .running()
        .filter(operation=OPERATION, started_at__gt=turn.started_at)
        .count()
    )
    if not later or len(prompts) < 2:
        return lines
    return lines[: prompts[max(1, len(prompts) - later)]]


def _said(item: Any) -> tuple[Message.Kind | None, str]:
    """What a reader sees of an item; nothing of what is not a message."""
    match item.type:
        case "chatkit.user_message":
            return Message.Kind.PROMPT, "".join(part.text for part in item.content)
        case "chatkit.assistant_message":
            return Message.Kind.RESPONSE, "".join(part.text for part in item.content)
        case "chatkit.task":
            return Message.Kind.THOUGHT, item.summary or item.heading or ""
        case "chatkit.task_group":
            told = (task.summary or task.heading or "" for task in item.tasks)
            return Message.Kind.THOUGHT, "\n".join(filter(None, told))
        case _:
            return None, ""
