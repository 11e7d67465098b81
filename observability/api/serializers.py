"""The API's JSON as it is read; what browsers send it is in :mod:`.batch`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rest_framework import serializers

from observability.models import FIGURES, TEXTS, ClientEvent, Message, Turn, TurnFact
from observability.span_log import Kind
from observability.tallies import COLUMNS
from observability.trends import Range

HOURS_AT_MOST = 24 * 366 * 10
SPAN_FIGURES = ("id", "parent_id", "kind", "name", "start_ms", "duration_ms")


class RecordedSerializer(serializers.Serializer[Any]):
    """The answer to a batch: how many of its events were new."""

    recorded = serializers.IntegerField(min_value=0)


class MessageSerializer(serializers.ModelSerializer[Message]):
    """One line of a turn as a reader sees it."""

    class Meta:
        model = Message
        fields = ("kind", "item_id", "created_at", "text")


class SpanSerializer(serializers.Serializer[Any]):
    """One timed step of a turn; ``parent_id`` is empty for the request itself."""

    id = serializers.CharField()
    parent_id = serializers.CharField(allow_blank=True)
    kind = serializers.ChoiceField(Kind.choices)
    name = serializers.CharField()
    start_ms = serializers.FloatField()
    duration_ms = serializers.FloatField()
    error = serializers.DictField(child=serializers.CharField(), required=False)
    attributes = serializers.DictField(required=False)


class ClientEventSerializer(serializers.ModelSerializer[ClientEvent]):
    """What the browser reported of a turn."""

    class Meta:
        model = ClientEvent
        fields = ("event_id", "name", "data", "dropped", "occurred_at", "received_at")


class FactSerializer(serializers.ModelSerializer[TurnFact]):
    """What the site told of a turn; ``object_model`` is empty for a plain value."""

    class Meta:
        model = TurnFact
        fields = ("key", "value", "object_model", "object_id")


class TurnSerializer(serializers.ModelSerializer[Turn]):
    """One turn. Times are UTC, ``*_ms`` milliseconds, ``cost_usd`` US dollars; unknown is null.

    What was said is null for who may not read it, and gone once it was purged.
    """

    superseded_by: serializers.SlugRelatedField[Turn] = serializers.SlugRelatedField(
        slug_field="trace_id", read_only=True
    )

    class Meta:
        model = Turn
        fields: Sequence[str] = [
            "id",
            "trace_id",
            "user",
            "owner_key",
            "tenant",
            "session_id",
            "thread_id",
            "request_id",
            "operation",
            "locale",
            "model",
            "status",
            "error_code",
            "error_message",
            "prompt",
            "response",
            "started_at",
            "ended_at",
            "text_purged_at",
            "superseded_by",
            *FIGURES,
            "cost_usd",
            "feedback",
        ]
        # What was said, for who may read it.
        extra_kwargs = {name: {"allow_null": True} for name in TEXTS}

    def to_representation(self, instance: Turn) -> dict[str, Any]:
        shown = super().to_representation(instance)
        if not self.context["may_view_content"]:
            shown |= dict.fromkeys(TEXTS)
        return shown


class TurnDetailSerializer(TurnSerializer):
    """One turn with all that is known of it."""

    messages = serializers.SerializerMethodField()
    spans = serializers.SerializerMethodField()
    client_events = ClientEventSerializer(many=True)
    facts = serializers.SerializerMethodField()

    class Meta(TurnSerializer.Meta):
        fields = (*TurnSerializer.Meta.fields, "messages", "spans", "client_events", "facts")

    def get_messages(self, turn: Turn) -> list[Any]:
        shown = self.context["may_view_content"]
        return list(MessageSerializer(turn.messages.all(), many=True).data) if shown else []

    def get_facts(self, turn: Turn) -> list[Any]:
        shown = self.context["may_view_content"]
        return list(FactSerializer(turn.facts.all(), many=True).data) if shown else []

    def get_spans(self, turn: Turn) -> list[Any]:
        spans: list[dict[str, Any]] = turn.span_row.spans if hasattr(turn, "span_row") else []
        if self.context["may_view_content"]:
            return spans
        # What tools were handed, returned and complained of is content too.
        return [{name: span[name] for name in SPAN_FIGURES} for span in spans]


class PercentilesSerializer(serializers.Serializer[Any]):
    """Milliseconds; null where there was no value."""

    p50 = serializers.FloatField(allow_null=True)
    p95 = serializers.FloatField(allow_null=True)
    p99 = serializers.FloatField(allow_null=True)


class SumsSerializer(serializers.Serializer[Any]):
    """What some turns come to. ``*_tokens`` and ``cost_usd`` are of the turns that told them."""

    turns = serializers.IntegerField()
    settled = serializers.IntegerField()
    errors = serializers.IntegerField()  # type: ignore[assignment]
    error_rate = serializers.FloatField(allow_null=True)
    cancelled = serializers.IntegerField()
    input_tokens = serializers.IntegerField()
    cached_tokens = serializers.IntegerField()
    output_tokens = serializers.IntegerField()
    reasoning_tokens = serializers.IntegerField()
    cost_usd = serializers.DecimalField(max_digits=14, decimal_places=6, allow_null=True)
    priced = serializers.IntegerField(help_text="Turns whose cost is known.")
    positive = serializers.IntegerField(help_text="Turns with positive feedback.")
    negative = serializers.IntegerField(help_text="Turns with negative feedback.")
    ttft = PercentilesSerializer()
    duration = PercentilesSerializer()
    total = PercentilesSerializer()


class BarSerializer(serializers.Serializer[Any]):
    """A part of the range: until the next one begins."""

    starts_at = serializers.DateTimeField()
    figures = SumsSerializer()


class ShareSerializer(serializers.Serializer[Any]):
    """The part of the range that is one model's, locale's or owner's."""

    value = serializers.CharField(allow_blank=True)
    figures = SumsSerializer()


class FiguresSerializer(SumsSerializer):
    """What a range of turns comes to. Percentiles are within one percent."""

    since = serializers.DateTimeField()
    until = serializers.DateTimeField()
    gap = serializers.ListField(
        child=serializers.DateTimeField(),
        allow_null=True,
        help_text="From when until when turns are not counted, as they were not rolled up.",
    )
    bars = BarSerializer(many=True)
    by = ShareSerializer(many=True)


class RangeSerializer(serializers.Serializer[Any]):
    """The range that figures are wanted of: hours back from now, or one of the dashboard's.

    Beyond one hour it begins with a full one.
    """

    hours = serializers.IntegerField(min_value=1, max_value=HOURS_AT_MOST, default=24)
    range = serializers.ChoiceField(
        Range.choices, required=False, help_text="Wins over hours, and is told bar by bar."
    )
    by = serializers.ChoiceField(
        tuple(COLUMNS),
        required=False,
        help_text="Tell those with the most turns apart. A user is an owner key.",
    )
