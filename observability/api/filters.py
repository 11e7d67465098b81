"""What lists of turns can be narrowed to: the same as in the admin."""

from __future__ import annotations

from decimal import Decimal

from django.utils.translation import gettext_lazy as _
from django_filters import rest_framework as filters

from observability.governance import may_view_content
from observability.models import Turn, TurnQuerySet


class TurnFilter(filters.FilterSet):
    """By time, by person, by place, by outcome."""

    since = filters.IsoDateTimeFilter("started_at", "gte", label=_("started at or after (UTC)"))
    until = filters.IsoDateTimeFilter("started_at", "lt", label=_("started before (UTC)"))
    slower_than_ms = filters.NumberFilter(
        method="by_time", min_value=0, max_value=2**31 - 1, label=_("took longer, in ms")
    )
    has_error = filters.BooleanFilter(method="by_error", label=_("ended in an error"))

    search = filters.CharFilter(
        method="by_search", label=_("words that were said, an id, or the name of a user")
    )

    class Meta:
        model = Turn
        fields = (
            "status",
            "user",
            "owner_key",
            "tenant",
            "thread_id",
            "session_id",
            "request_id",
            "model",
            "locale",
            "operation",
            "feedback",
        )

    def by_error(self, turns: TurnQuerySet, name: str, value: bool) -> TurnQuerySet:
        return turns.with_errors() if value else turns.without_errors()

    def by_time(self, turns: TurnQuerySet, name: str, value: Decimal) -> TurnQuerySet:
        return turns.slower_than(int(value))

    def by_search(self, turns: TurnQuerySet, name: str, value: str) -> TurnQuerySet:
        request = self.request
        return turns.search(
            value, with_content=request is not None and may_view_content(request.user)
        )
