"""The list of turns, and the page of one."""

from __future__ import annotations

from typing import Any, cast

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.contrib.auth import get_user_model
from django.db import models
from django.http import HttpRequest
from django.urls import URLPattern
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _

from .. import turn_views
from ..admin_tools import GivenFilter, PageAdmin, RecentValuesFilter
from ..display import UNKNOWN, badge, milliseconds, number, time_tag, visible
from ..governance import may_view_content, note_access
from ..metrics import brief
from ..models import Turn, TurnQuerySet
from ..turn_page import (
    client_events,
    conversation,
    deliveries,
    facts,
    figures,
    neighbours,
    prompt_of,
    ratings,
    user_name,
)
from ..waterfall import waterfall
from .filters import ErrorFilter, SlowerFilter


class TurnList(ChangeList):
    def get_queryset(
        self, request: HttpRequest, exclude_parameters: list[str | None] | None = None
    ) -> models.QuerySet[Turn]:
        return brief(cast("TurnQuerySet", super().get_queryset(request, exclude_parameters)))


@admin.register(Turn)
class TurnAdmin(PageAdmin):
    list_display = (
        "shown_time",
        "shown_user",
        "shown_prompt",
        "shown_status",
        "shown_model",
        "shown_ttft",
        "shown_duration",
        "shown_total",
        "shown_tokens",
    )
    list_display_links = ("shown_time", "shown_prompt")
    list_select_related = ("user",)
    list_filter = (
        ("thread_id", GivenFilter),
        ("session_id", GivenFilter),
        ("request_id", GivenFilter),
        ("trace_id", GivenFilter),
        ("user", GivenFilter),
        ("owner_key", GivenFilter),
        "status",
        ErrorFilter,
        SlowerFilter,
        "started_at",
        ("model", RecentValuesFilter),
        ("locale", RecentValuesFilter),
        ("operation", RecentValuesFilter),
        "feedback",
    )
    search_help_text = _(
        "Words of the prompt or the answer, the name of a user, or the id of a trace, a thread, "
        "a session or a request."
    )

    def get_urls(self) -> list[URLPattern]:
        return [*turn_views.urls(self), *super().get_urls()]

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return TurnList

    def get_list_display(self, request: HttpRequest) -> tuple[str, ...]:
        if may_view_content(request.user):
            return self.list_display
        return tuple(name for name in self.list_display if name != "shown_prompt")

    def get_search_fields(self, request: HttpRequest) -> tuple[str, ...]:
        # To search what one may not read would be to guess it word by word.
        texts = ("prompt", "response") if may_view_content(request.user) else ()
        return (
            *texts,
            "trace_id",
            "thread_id",
            "session_id",
            "request_id",
            f"user__{get_user_model().USERNAME_FIELD}",
        )

    @admin.display(description=_("time"), ordering="started_at")
    def shown_time(self, turn: Turn) -> str:
        return time_tag(turn.started_at)

    @admin.display(description=_("user"), ordering="user")
    def shown_user(self, turn: Turn) -> str:
        return format_html("<bdi>{}</bdi>", user_name(turn))

    @admin.display(description=_("prompt"))
    def shown_prompt(self, turn: Turn) -> str:
        return format_html("<bdi>{}</bdi>", prompt_of(turn))

    @admin.display(description=_("status"), ordering="status")
    def shown_status(self, turn: Turn) -> str:
        return badge(turn.status, turn.get_status_display())

    @admin.display(description=_("model"), ordering="model")
    def shown_model(self, turn: Turn) -> str:
        return visible(turn.model) or UNKNOWN

    @admin.display(description=_("first token"), ordering="ttft_ms")
    def shown_ttft(self, turn: Turn) -> str:
        return milliseconds(turn.ttft_ms)

    @admin.display(description=_("duration"), ordering="duration_ms")
    def shown_duration(self, turn: Turn) -> str:
        return milliseconds(turn.duration_ms)

    @admin.display(description=_("total"), ordering="total_ms")
    def shown_total(self, turn: Turn) -> str:
        return milliseconds(turn.total_ms)

    @admin.display(description=_("tokens in / out"), ordering="output_tokens")
    def shown_tokens(self, turn: Turn) -> str:
        if turn.input_tokens is None and turn.output_tokens is None:
            return UNKNOWN
        return f"{number(turn.input_tokens)} / {number(turn.output_tokens)}"

    def page_context(self, request: HttpRequest, obj: Turn) -> dict[str, Any]:
        shows_content = may_view_content(request.user)
        if shows_content:
            note_access(request, [obj])
        return {
            "turn": obj,
            "shows_content": shows_content,
            "time": time_tag(obj.started_at),
            "status": badge(obj.status, obj.get_status_display()),
            "user_name": user_name(obj),
            "lines": conversation(obj) if shows_content else [],
            "error_code": visible(obj.error_code),
            "error": visible(obj.error_message) if shows_content else "",
            "request_id": visible(obj.request_id),
            "is_error": obj.is_error,
            "figures": figures(obj),
            "facts": facts(obj),
            "neighbours": neighbours(obj, shows_content=shows_content),
            "waterfall": waterfall(obj, shows_content=shows_content),
            "ratings": ratings(obj),
            "client_events": client_events(obj),
            "deliveries": deliveries(obj),
            "may_view_deliveries": request.user.has_perm("observability.view_delivery"),
        }
