"""The API's JSON, checked and typed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django.utils.dateparse import parse_datetime
from rest_framework import serializers

from observability.client_events import EVENTS_AT_MOST, Report
from observability.models import ID_LENGTH

SESSION_ID = r"^[A-Za-z0-9-]{8,64}\Z"
MS_AT_MOST = 253_402_300_799_999
"""The last millisecond that a datetime can hold."""


class MomentField(serializers.Field[datetime, Any, Any, Any]):
    """A moment: milliseconds since 1970 as a number, or ISO 8601 with a zone."""

    def to_internal_value(self, data: Any) -> datetime:
        moment = _moment_in(data)
        if moment is None:
            raise serializers.ValidationError("Milliseconds since 1970, or ISO 8601 with a zone.")
        return moment

    def to_representation(self, value: datetime) -> str:
        return value.isoformat()


def _moment_in(data: Any) -> datetime | None:
    if isinstance(data, str):
        try:
            moment = parse_datetime(data)
        except ValueError:
            return None
        return moment if moment is not None and moment.tzinfo is not None else None
    is_number = isinstance(data, int | float) and not isinstance(data, bool)
    if not is_number or not 0 <= data <= MS_AT_MOST:
        return None
    return datetime.fromtimestamp(data / 1000, tz=UTC)


class ReportSerializer(serializers.Serializer[Report]):
    """One event of a browser. What it may say beyond its name: :mod:`..client_events`."""

    name = serializers.CharField(max_length=64)
    # Not DRF's DictField, which would look at each value: most are dropped unseen.
    data = serializers.JSONField(required=False, allow_null=True)  # type: ignore[assignment]
    thread_id = serializers.CharField(
        max_length=ID_LENGTH, required=False, allow_null=True, allow_blank=True
    )
    occurred_at = MomentField(required=False, allow_null=True)

    def validate_data(self, value: Any) -> dict[str, Any]:
        if value is not None and not isinstance(value, dict):
            raise serializers.ValidationError("An object.")
        return value or {}


class BatchSerializer(serializers.Serializer[Any]):
    """What a browser's bridge sends: its session, and what happened."""

    session_id = serializers.RegexField(SESSION_ID)
    events = serializers.ListField(
        child=ReportSerializer(), allow_empty=False, max_length=EVENTS_AT_MOST
    )

    def reports(self) -> list[Report]:
        """The events, once ``is_valid()`` has said yes."""
        return [
            Report(
                name=event["name"],
                data=event.get("data") or {},
                thread_id=event.get("thread_id") or "",
                occurred_at=event.get("occurred_at"),
            )
            for event in self.validated_data["events"]
        ]
