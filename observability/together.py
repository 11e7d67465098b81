"""Turns that belong together, end to end: a thread, a session, a user. Words and sums, no HTTP."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db.models import Count, Max, Min, Prefetch, Q, QuerySet, Sum
from django.utils.translation import gettext as _

from .display import UNKNOWN, badge, milliseconds, number, time_tag, visible
from .models import ERRORS, Message, Turn
from .turn_page import conversation, user_name

SESSIONS_AT_MOST = 50


@dataclass(frozen=True, kw_only=True)
class Totals:
    """What turns come to; sums are of what is known."""

    turns: int
    errors: int
    input_tokens: int | None
    output_tokens: int | None
    cost_usd: Decimal | None
    first_at: datetime | None
    last_at: datetime | None


def totals(turns: QuerySet[Turn]) -> Totals:
    """In one query."""
    return Totals(**turns.order_by().aggregate(**_SUMS))


_SUMS: dict[str, Any] = {
    "turns": Count("pk"),
    "errors": Count("pk", filter=Q(status__in=ERRORS)),
    "input_tokens": Sum("input_tokens"),
    "output_tokens": Sum("output_tokens"),
    "cost_usd": Sum("cost_usd"),
    "first_at": Min("started_at"),
    "last_at": Max("started_at"),
}


def shown_totals(of: Totals) -> list[tuple[str, str]]:
    """Names and values."""
    return [
        (_("Turns"), number(of.turns)),
        (_("Errors"), number(of.errors)),
        (_("Tokens in"), number(of.input_tokens)),
        (_("Tokens out"), number(of.output_tokens)),
        (_("Cost"), dollars(of.cost_usd)),
        (_("First turn"), time_tag(of.first_at) if of.first_at else UNKNOWN),
        (_("Last turn"), time_tag(of.last_at) if of.last_at else UNKNOWN),
    ]


def dollars(cost: Decimal | None) -> str:
    return UNKNOWN if cost is None else f"${number(float(cost), 4)}"


def oldest_first(turns: QuerySet[Turn]) -> QuerySet[Turn]:
    """For reading: with users and messages, in as many queries however many there are."""
    messages = Message.objects.order_by("position")
    return (
        turns.select_related("user")
        .prefetch_related(Prefetch("messages", messages))
        .order_by("started_at", "pk")
    )


def shown_turn(turn: Turn, *, shows_content: bool) -> dict[str, Any]:
    """A turn as one part of a longer conversation."""
    return {
        "pk": turn.pk,
        "time": time_tag(turn.started_at),
        "user": user_name(turn),
        "badge": badge(turn.status, turn.get_status_display()),
        "lines": conversation(turn) if shows_content else [],
        "error": visible(
            ": ".join(filter(None, (turn.error_code, turn.error_message if shows_content else "")))
        ),
        "ttft": milliseconds(turn.ttft_ms),
        "total": milliseconds(turn.total_ms),
        "is_purged": turn.is_text_purged,
    }


def sessions(turns: QuerySet[Turn]) -> list[dict[str, Any]]:
    """The newest page loads in which these turns were, with what they came to."""
    found = (
        turns.order_by()
        .values("session_id")
        .annotate(
            turns=_SUMS["turns"],
            errors=_SUMS["errors"],
            cost_usd=_SUMS["cost_usd"],
            last_at=_SUMS["last_at"],
        )
        .order_by("-last_at")[:SESSIONS_AT_MOST]
    )
    return [
        {
            "session_id": visible(row["session_id"]),
            "turns": number(row["turns"]),
            "errors": number(row["errors"]),
            "cost": dollars(row["cost_usd"]),
            "last": time_tag(row["last_at"]),
        }
        for row in found
    ]
