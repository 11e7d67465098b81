"""What the lists of rows about a turn share."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db import models
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _

from ..admin_tools import ReadOnlyAdmin
from ..display import UNKNOWN
from ..models import TEXTS, Turn


def turn_link(turn: Turn | None) -> str:
    """The beginning of its trace id, as a link to its page."""
    if turn is None:
        return UNKNOWN
    return format_html(
        '<a href="{}" title="{}">{}…</a>',
        reverse("admin:observability_turn_change", args=(turn.pk,)),
        turn,
        str(turn)[:8],
    )


class AboutTurnAdmin(ReadOnlyAdmin):
    """Rows about a turn, which they show as a link: its text stays where it is."""

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[Any]:
        texts = (f"turn__{name}" for name in TEXTS)
        return super().get_queryset(request).select_related("turn").defer(*texts)

    @admin.display(description=_("turn"))
    def shown_turn(self, row: Any) -> str:
        return turn_link(row.turn)
