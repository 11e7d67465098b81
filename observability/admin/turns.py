"""The list of turns, and the page of one."""

from __future__ import annotations

from typing import Any, cast

from django.contrib import admin
from django.contrib.admin.views.main import SEARCH_VAR, ChangeList
from django.core.paginator import Paginator
from django.db import models
from django.http import HttpRequest
from django.urls import URLPattern
from django.utils.html import format_html
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from .. import encryption, turn_views
from ..admin_tools import CappedPaginator, GivenFilter, PageAdmin, RecentValuesFilter
from ..display import UNKNOWN, badge, milliseconds, number, time_tag, visible
from ..governance import may_view_content, note_access
from ..hold_page import holds_of_turn
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
    request_line,
    site_facts,
    user_name,
)
from ..waterfall import waterfall
from .fact_filter import FactFilter
from .filters import ErrorFilter, SlowerFilter, TimeFilter

FOUND_AT_MOST = 40
"""How many turns a search shows."""


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
        FactFilter,
        ("started_at", TimeFilter),
        "status",
        ErrorFilter,
        SlowerFilter,
        ("model", RecentValuesFilter),
        ("locale", RecentValuesFilter),
        ("operation", RecentValuesFilter),
        "feedback",
    )
    # Others would have to be sorted, all of them, before the first is shown.
    sortable_by = ("shown_time",)
    # The admin shows the field if there are any; what is searched, get_search_results says.
    search_fields = ("trace_id",)
    search_help_text = _(
        "Words of the prompt or the answer, a “phrase in quotes”, the name of a user, or the id of "
        "a trace, a thread, a session, a request or an owner."
    )

    def get_urls(self) -> list[URLPattern]:
        return [*turn_views.urls(self), *super().get_urls()]

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return TurnList

    def get_changelist_instance(self, request: HttpRequest) -> ChangeList:
        changelist = super().get_changelist_instance(request)
        if encryption.is_on():
            changelist.search_help_text = gettext(
                "The name of a user, or the id of a trace, a thread, a session, a request or an "
                "owner. What was said is encrypted: no search finds its words."
            )
        return changelist

    def get_list_display(self, request: HttpRequest) -> tuple[str, ...]:
        if may_view_content(request.user):
            return self.list_display
        return tuple(name for name in self.list_display if name != "shown_prompt")

    def get_paginator(
        self, request: HttpRequest, queryset: models.QuerySet[Turn], *args: Any, **kwargs: Any
    ) -> Paginator[Turn]:
        paginator = cast(
            "CappedPaginator", super().get_paginator(request, queryset, *args, **kwargs)
        )
        # Out of order SQLite would not see that turn_errors has them all.
        paginator.keeps_order = ErrorFilter.parameter_name in request.GET
        if request.GET.get(SEARCH_VAR):
            # Whether a word is in a text takes longer to see than what its status is.
            paginator.at_most = FOUND_AT_MOST
        return paginator

    def get_search_results(
        self, request: HttpRequest, queryset: models.QuerySet[Turn], search_term: str
    ) -> tuple[models.QuerySet[Turn], bool]:
        turns = cast("TurnQuerySet", queryset)
        match = request.resolver_match
        is_page = match is not None and match.url_name == "observability_turn_changelist"
        is_narrowed = bool(turns.query.where)
        found = turns.search(
            search_term,
            # To search what one may not read would be to guess it word by word.
            with_content=may_view_content(request.user),
            at_most=FOUND_AT_MOST if is_page and not is_narrowed else None,
        )
        if is_page and search_term:
            # The page shows no more than the first, which are found once and not for each of its
            # queries anew. An export has all.
            keys = list(found.values_list("pk", flat=True)[: FOUND_AT_MOST + 1])
            found = turns.filter(pk__in=keys)
        return found, False

    @admin.display(description=_("time"), ordering="started_at")
    def shown_time(self, turn: Turn) -> str:
        return time_tag(turn.started_at)

    @admin.display(description=_("user"))
    def shown_user(self, turn: Turn) -> str:
        return format_html("<bdi>{}</bdi>", user_name(turn))

    @admin.display(description=_("prompt"))
    def shown_prompt(self, turn: Turn) -> str:
        return format_html("<bdi>{}</bdi>", prompt_of(turn))

    @admin.display(description=_("status"))
    def shown_status(self, turn: Turn) -> str:
        return badge(turn.status, turn.get_status_display())

    @admin.display(description=_("model"))
    def shown_model(self, turn: Turn) -> str:
        return visible(turn.model) or UNKNOWN

    @admin.display(description=_("first token"))
    def shown_ttft(self, turn: Turn) -> str:
        return milliseconds(turn.ttft_ms)

    @admin.display(description=_("duration"))
    def shown_duration(self, turn: Turn) -> str:
        return milliseconds(turn.duration_ms)

    @admin.display(description=_("total"))
    def shown_total(self, turn: Turn) -> str:
        return milliseconds(turn.total_ms)

    @admin.display(description=_("tokens in / out"))
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
            "request_line": request_line(
                obj, may_view_requests=request.user.has_perm("observability.view_endpointrequest")
            ),
            "site_facts": site_facts(request, obj) if shows_content else [],
            "hold": holds_of_turn(request, obj),
            "may_view_deliveries": request.user.has_perm("observability.view_delivery"),
        }
