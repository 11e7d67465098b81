"""What was asked of the chat's endpoint in the last days."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db import models
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _

from ..admin_tools import GivenFilter, ReadOnlyAdmin, RecentValuesFilter, list_link
from ..display import UNKNOWN, badge, milliseconds, shorten, time_tag, visible
from ..governance import VIEW
from ..models import EndpointRequest, Turn
from ..turn_page import page_link
from .filters import TimeFilter

ID_CHARS = 10


class StatusFilter(admin.SimpleListFilter):
    """By the hundred: what exactly it was, the rows tell."""

    title = _("HTTP status")
    parameter_name = "status_class"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [
            ("2", _("2xx: answered")),
            ("4", _("4xx: refused")),
            ("5", _("5xx: failed")),
        ]

    def queryset(
        self, request: HttpRequest, queryset: models.QuerySet[EndpointRequest]
    ) -> models.QuerySet[EndpointRequest]:
        if self.value() not in {"2", "4", "5"}:
            return queryset
        least = int(str(self.value())) * 100
        return queryset.filter(status__gte=least, status__lt=least + 100)


@admin.register(EndpointRequest)
class EndpointRequestAdmin(ReadOnlyAdmin):
    """Also what never became a turn: refusals, histories that were read, files."""

    list_display = (
        "shown_time",
        "shown_operation",
        "shown_status",
        "shown_total",
        "shown_owner",
        "shown_turn",
        "shown_session",
        "shown_thread",
        "shown_request",
    )
    list_display_links = None
    list_filter = (
        ("owner_key", GivenFilter),
        ("session_id", GivenFilter),
        ("thread_id", GivenFilter),
        ("request_id", GivenFilter),
        ("started_at", TimeFilter),
        StatusFilter,
        ("operation", RecentValuesFilter),
        ("error_code", RecentValuesFilter),
    )
    # Equal, and as the indexes have it: to look for a part would be to read all rows.
    search_fields = ("request_id__exact", "session_id__exact", "owner_key__exact")
    search_help_text = _("The whole id of a request, a session or an owner.")

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[EndpointRequest]:
        turns = Turn.objects.filter(trace_id=models.OuterRef("trace_id")).order_by()
        if not request.user.has_perm(VIEW):
            turns = turns.none()
        rows: models.QuerySet[EndpointRequest] = super().get_queryset(request)
        return rows.annotate(turn_pk=models.Subquery(turns.values("pk")))

    @admin.display(description=_("time"), ordering="started_at")
    def shown_time(self, row: EndpointRequest) -> str:
        return time_tag(row.started_at)

    @admin.display(description=_("operation"))
    def shown_operation(self, row: EndpointRequest) -> str:
        return visible(row.operation) or UNKNOWN

    @admin.display(description=_("status"))
    def shown_status(self, row: EndpointRequest) -> str:
        kind = "failed" if row.status >= 500 or row.error_code else "completed"
        shown = badge("quiet" if 400 <= row.status < 500 else kind, str(row.status))
        return format_html("{} <bdi>{}</bdi>", shown, shorten(row.error_code, 40))

    @admin.display(description=_("total"))
    def shown_total(self, row: EndpointRequest) -> str:
        return milliseconds(row.total_ms)

    @admin.display(description=_("owner"))
    def shown_owner(self, row: EndpointRequest) -> str:
        return _page_link(row, "owner", row.owner_key) or _narrowing("owner_key", row.owner_key)

    @admin.display(description=_("turn"))
    def shown_turn(self, row: EndpointRequest) -> str:
        turn_pk = _turn_pk(row)
        if turn_pk is None:
            return UNKNOWN
        url = reverse("admin:observability_turn_change", args=(turn_pk,))
        return format_html('<a href="{}">{}…</a>', url, row.trace_id[:8])

    @admin.display(description=_("session"))
    def shown_session(self, row: EndpointRequest) -> str:
        return _narrowing("session_id", row.session_id)

    @admin.display(description=_("thread"))
    def shown_thread(self, row: EndpointRequest) -> str:
        return _page_link(row, "thread", row.thread_id) or _narrowing("thread_id", row.thread_id)

    @admin.display(description=_("request"))
    def shown_request(self, row: EndpointRequest) -> str:
        whole, start = visible(row.request_id), shorten(row.request_id, ID_CHARS)
        return format_html('<bdi title="{}">{}</bdi>', whole, start)


def _turn_pk(row: EndpointRequest) -> int | None:
    """The list's annotation: None also for who may not view turns."""
    turn_pk: int | None = getattr(row, "turn_pk", None)
    return turn_pk


def _page_link(row: EndpointRequest, page: str, value: str) -> str:
    """A link to a page about turns, which is there where there is a turn."""
    if _turn_pk(row) is None or not value:
        return ""
    return page_link(page, value, shorten(value, ID_CHARS))


def _narrowing(parameter: str, value: str) -> str:
    """A link to the requests that share the value."""
    view = "admin:observability_endpointrequest_changelist"
    return list_link(view, parameter, value, shorten(value, ID_CHARS)) or UNKNOWN
