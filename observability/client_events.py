"""What browsers report of the chat: scrubbed, kept, joined to the turn that it is about.

Only what is allowed by name gets in: ids, codes, numbers. So no text of a visitor ever does, also
where a browser, or somebody who plays one, sends it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.utils import timezone

from . import outbox
from .models import ClientEvent, Turn
from .recorder import Identity
from .redactor import redacted

EVENTS_AT_MOST = 50
"""In one batch."""
CLOCK_TOLERANCE = timedelta(days=1)
"""A browser's clock that is further off tells nothing; then the time of arrival counts."""
JOIN_AFTER = timedelta(seconds=30)
"""For so long after a turn's end, what happens in its thread is still about it."""
JOIN_SLACK = timedelta(seconds=2)
"""What the clocks of browser and server may differ by before a turn's start."""
MS_AT_MOST = 24 * 60 * 60 * 1000

_ID = re.compile(r"[A-Za-z0-9_.:-]{1,128}", re.ASCII)
_CODE = re.compile(r"[A-Za-z0-9_.-]{1,64}", re.ASCII)
_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,31}", re.ASCII)


def _is_id(value: Any) -> bool:
    return _is_shaped(_ID, value)


def _is_code(value: Any) -> bool:
    return _is_shaped(_CODE, value)


def _is_shaped(shape: re.Pattern[str], value: Any) -> bool:
    # Keys and addresses may look like codes, too.
    return (
        isinstance(value, str) and shape.fullmatch(value) is not None and redacted(value) == value
    )


def _is_number(value: Any) -> bool:
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and math.isfinite(value)
        and 0 <= value <= MS_AT_MOST
    )


Name = ClientEvent.Name

_ALLOWED: dict[str, dict[str, Callable[[Any], bool]]] = {
    Name.ERROR: {"code": _is_code, "name": _is_code, "status": _is_number},
    Name.TOOL_CHANGE: {"tool_id": _is_id},
    Name.EFFECT: {"name": _is_code},
    Name.DEEPLINK: {"name": _is_code},
    Name.LOG: {"log": _is_code},
    Name.ACTION: {"action": _is_code, "item_id": _is_id},
    Name.FIRST_TEXT: {"item_id": _is_id},
    Name.TIMING: {
        "request_id": _is_id,
        "ttft_ms": _is_number,
        "duration_ms": _is_number,
        "total_ms": _is_number,
    },
}
_ABOUT_A_TURN = frozenset(
    {
        Name.ERROR,
        Name.RESPONSE_START,
        Name.RESPONSE_END,
        Name.SUBMIT,
        Name.ACTION,
        Name.FIRST_TEXT,
        Name.TIMING,
        Name.EFFECT,
    }
)


@dataclass(frozen=True, kw_only=True)
class Report:
    """One event as a browser tells it; nothing of it is to be trusted."""

    name: str
    data: dict[str, Any] = field(default_factory=dict)
    thread_id: str = ""
    occurred_at: datetime | None = None


def record(identity: Identity, reports: Sequence[Report]) -> list[ClientEvent]:
    """Keep what the identity's session reports, and forward its user actions. One transaction.

    What is not on the list is left out, events and data alike; what came before is not kept twice.
    Returns the events that are new. Raises IntegrityError where the same batch is being recorded
    right now.
    """
    received_at = timezone.now()
    events = [
        event
        for number, report in enumerate(reports)
        if (event := _event(identity, report, received_at, number)) is not None
    ]
    with transaction.atomic():
        known = set(
            ClientEvent.objects.filter(
                tenant=identity.tenant,
                owner_key=identity.owner_key,
                session_id=identity.session_id,
                occurred_at__in={event.occurred_at for event in events},
            ).values_list("name", "occurred_at")
        )
        new: dict[tuple[str, datetime], ClientEvent] = {}
        for event in events:
            if (key := (str(event.name), event.occurred_at)) not in known:
                new.setdefault(key, event)
        for event in new.values():
            event.turn = _turn_of(event)
        ClientEvent.objects.bulk_create(new.values())
        for event in new.values():
            _tell(event)
    return list(new.values())


def scrub(name: str, data: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """What of an event's data may be kept, and the names of the rest."""
    allowed = _ALLOWED.get(name, {})
    kept = {key: data[key] for key, is_fit in allowed.items() if key in data and is_fit(data[key])}
    dropped = {key if _is_shaped(_KEY, key) else "?" for key in data if key not in kept}
    return kept, sorted(dropped)


def _event(
    identity: Identity, report: Report, received_at: datetime, number: int
) -> ClientEvent | None:
    if report.name not in Name:
        return None
    data, dropped = scrub(report.name, report.data)
    occurred_at = report.occurred_at
    if occurred_at is None or abs(received_at - occurred_at) > CLOCK_TOLERANCE:
        # Each its own: two of a name at one moment are one that was sent twice.
        occurred_at = received_at + timedelta(microseconds=number)
    return ClientEvent(
        name=report.name,
        data=data,
        dropped=dropped,
        user=identity.user,
        owner_key=identity.owner_key,
        tenant=identity.tenant,
        session_id=identity.session_id,
        thread_id=report.thread_id if _is_id(report.thread_id) else "",
        occurred_at=occurred_at,
        received_at=received_at,
    )


def _turn_of(event: ClientEvent) -> Turn | None:
    """The turn that the event is about: by its request, by its item, else by place and time."""
    if event.name not in _ABOUT_A_TURN:
        return None
    turns = Turn.objects.of_owner(tenant=event.tenant, owner_key=event.owner_key)
    turns = turns.without_texts()
    if request_id := event.data.get("request_id"):
        return turns.filter(request_id=request_id).order_by("-pk").first()
    if item_id := event.data.get("item_id"):
        made = turns.filter(thread_id=event.thread_id).that_made(item_id).first()
        if made is not None:
            return made
    turns = turns.filter(session_id=event.session_id)
    if event.name == Name.SUBMIT:
        # It comes before its turn, and before its thread has a name.
        since, until = event.occurred_at - JOIN_SLACK, event.occurred_at + JOIN_AFTER
        return turns.filter(started_at__range=(since, until)).order_by("started_at").first()
    if event.thread_id:
        turns = turns.filter(thread_id=event.thread_id)
    turn = turns.filter(started_at__lte=event.occurred_at + JOIN_SLACK).first()
    if turn is None or (turn.ended_at and turn.ended_at + JOIN_AFTER < event.occurred_at):
        return None
    return turn


def _tell(event: ClientEvent) -> None:
    """Have the turn know its browser's timings, and the collectors what the visitor did."""
    if event.name == Name.TIMING and event.turn is not None:
        timings = {
            "client_ttft_ms": event.data.get("ttft_ms"),
            "client_duration_ms": event.data.get("duration_ms"),
        }
        told = {name: round(value) for name, value in timings.items() if value is not None}
        if told:
            Turn.objects.filter(pk=event.turn.pk).update(**told)
    elif event.name == Name.ACTION:
        outbox.enqueue_action(event)
