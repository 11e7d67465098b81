"""What browsers reported."""

from __future__ import annotations

from django.contrib import admin
from django.db import models
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _

from ..admin_tools import GivenFilter
from ..display import UNKNOWN, time_tag, visible
from ..models import ClientEvent
from ..turn_page import data_of
from .about_turns import AboutTurnAdmin


@admin.register(ClientEvent)
class ClientEventAdmin(AboutTurnAdmin):
    """Also those that no turn could be found for: a page that never reached the server."""

    list_display = ("shown_time", "name", "shown_data", "shown_owner", "shown_turn")
    list_filter = (
        ("session_id", GivenFilter),
        ("thread_id", GivenFilter),
        ("owner_key", GivenFilter),
        "name",
        "received_at",
    )
    search_fields = ("session_id", "thread_id", "event_id")
    search_help_text = _("The id of a session, a thread or an event.")
    fields = (
        "name",
        "shown_data",
        "shown_dropped",
        "shown_turn",
        "shown_owner",
        "session_id",
        "thread_id",
        "occurred_at",
        "received_at",
        "event_id",
    )
    readonly_fields = ("shown_data", "shown_dropped", "shown_turn", "shown_owner")

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[ClientEvent]:
        return super().get_queryset(request).select_related("user")

    @admin.display(description=_("time"), ordering="received_at")
    def shown_time(self, event: ClientEvent) -> str:
        return time_tag(event.occurred_at)

    @admin.display(description=_("data"))
    def shown_data(self, event: ClientEvent) -> str:
        return data_of(event) or UNKNOWN

    @admin.display(description=_("left out"))
    def shown_dropped(self, event: ClientEvent) -> str:
        return visible(", ".join(event.dropped)) or UNKNOWN

    @admin.display(description=_("user"))
    def shown_owner(self, event: ClientEvent) -> str:
        name = event.user.get_username() if event.user else event.owner_key
        return format_html("<bdi>{}</bdi>", visible(name))
