"""What a browser's bridge sends, checked. With pydantic, which the SDK needs anyway: what Django
REST framework brings to do the same takes 15 MB, in every process that chats.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from django.utils.dateparse import parse_datetime
from pydantic import AfterValidator, BaseModel, Field, PlainValidator, WithJsonSchema

from observability.client_events import EVENTS_AT_MOST, Report
from observability.models import ID_LENGTH

SESSION_ID = r"^[A-Za-z0-9-]{8,64}$"
MS_AT_MOST = 253_402_300_799_999
"""The last millisecond that a datetime can hold."""


def _moment(told: Any) -> datetime:
    """Milliseconds since 1970 as a number, or ISO 8601 with a zone. Raises ValueError."""
    if isinstance(told, str):
        moment = parse_datetime(told)
        if moment is not None and moment.tzinfo is not None:
            return moment
    elif isinstance(told, int | float) and not isinstance(told, bool) and 0 <= told <= MS_AT_MOST:
        return datetime.fromtimestamp(told / 1000, tz=UTC)
    raise ValueError("Milliseconds since 1970, or ISO 8601 with a zone.")


def _without_nul(text: str) -> str:
    if "\x00" in text:
        raise ValueError("NUL")
    return text


Text = Annotated[str, AfterValidator(_without_nul)]
Moment = Annotated[
    datetime,
    PlainValidator(_moment),
    WithJsonSchema(
        {"oneOf": [{"type": "number", "minimum": 0}, {"type": "string", "format": "date-time"}]}
    ),
]


class Event(BaseModel):
    """One event of a browser. What it may say beyond its name: :mod:`..client_events`."""

    name: Annotated[Text, Field(min_length=1, max_length=64)]
    data: dict[str, Any] | None = None
    thread_id: Annotated[Text, Field(max_length=ID_LENGTH)] | None = None
    occurred_at: Moment | None = None


class Batch(BaseModel):
    """A browser's session, and what happened in it."""

    session_id: str = Field(pattern=SESSION_ID)
    events: list[Event] = Field(min_length=1, max_length=EVENTS_AT_MOST)

    def reports(self) -> list[Report]:
        return [
            Report(
                name=event.name,
                data=event.data or {},
                thread_id=event.thread_id or "",
                occurred_at=event.occurred_at,
            )
            for event in self.events
        ]
