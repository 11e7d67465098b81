"""Turns, deliveries and the dashboard, as an operator reads them."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.contrib.auth import get_user_model
from django.core.exceptions import PermissionDenied
from django.db import models, transaction
from django.db.models.functions import Now
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.text import capfirst
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from . import dashboard, turn_views, worker
from .admin_tools import GivenFilter, PageAdmin, ReadOnlyAdmin, RecentValuesFilter
from .display import (
    UNKNOWN,
    badge,
    milliseconds,
    number,
    time_tag,
    visible,
)
from .governance import may_view_content, note_access
from .metrics import ERRORS, brief
from .models import ClientEvent, ContentAccess, Dashboard, Delivery, Turn
from .turn_page import (
    client_events,
    conversation,
    data_of,
    deliveries,
    facts,
    figures,
    neighbours,
    prompt_of,
    ratings,
    user_name,
)
from .waterfall import waterfall


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


class TurnList(ChangeList):
    def get_queryset(
        self, request: HttpRequest, exclude_parameters: list[str | None] | None = None
    ) -> models.QuerySet[Turn]:
        return brief(super().get_queryset(request, exclude_parameters))


class ErrorFilter(admin.SimpleListFilter):
    title = _("error")
    parameter_name = "has_error"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("yes", _("ended in an error")), ("no", _("without an error"))]

    def queryset(
        self, request: HttpRequest, queryset: models.QuerySet[Turn]
    ) -> models.QuerySet[Turn]:
        if self.value() == "yes":
            return queryset.filter(status__in=ERRORS)
        return queryset.exclude(status__in=ERRORS) if self.value() == "no" else queryset


class SlowerFilter(admin.SimpleListFilter):
    title = _("time in all")
    parameter_name = "slower_than_ms"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [
            (str(seconds * 1000), _("more than %(time)s") % {"time": milliseconds(seconds * 1000)})
            for seconds in (1, 3, 10, 30, 60)
        ]

    def queryset(
        self, request: HttpRequest, queryset: models.QuerySet[Turn]
    ) -> models.QuerySet[Turn]:
        value = self.value() or ""
        # Any number will do: a link may name its own.
        is_number = value.isascii() and value.isdigit() and len(value) < 10
        return queryset.filter(total_ms__gt=int(value)) if is_number else queryset


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
            "is_error": obj.status in ERRORS,
            "figures": figures(obj),
            "facts": facts(obj),
            "neighbours": neighbours(obj, shows_content=shows_content),
            "waterfall": waterfall(obj, shows_content=shows_content),
            "ratings": ratings(obj),
            "client_events": client_events(obj),
            "deliveries": deliveries(obj),
            "may_view_deliveries": request.user.has_perm("observability.view_delivery"),
        }


@admin.register(ClientEvent)
class ClientEventAdmin(ReadOnlyAdmin):
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
        # The turn is a link: its text stays where it is.
        return (
            super()
            .get_queryset(request)
            .select_related("turn", "user")
            .defer("turn__prompt", "turn__response", "turn__error_message")
        )

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

    @admin.display(description=_("turn"))
    def shown_turn(self, event: ClientEvent) -> str:
        return turn_link(event.turn)


@admin.register(Delivery)
class DeliveryAdmin(ReadOnlyAdmin):
    list_display = (
        "shown_created",
        "destination",
        "kind",
        "shown_turn",
        "shown_state",
        "attempts",
        "shown_available",
        "last_status",
        "shown_error",
    )
    list_filter = ("state", "destination")
    search_fields = ("event_id",)
    search_help_text = _("The id of an event: for a turn, that of its trace.")
    actions = ("send_again",)
    readonly_fields = ("shown_error",)
    fields = (
        "destination",
        "kind",
        "event_id",
        "turn",
        "state",
        "attempts",
        "last_status",
        "shown_error",
        "created_at",
        "available_at",
        "lease_expires_at",
        "settled_at",
    )

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[Delivery]:
        # The turn is a link: its text stays where it is.
        return (
            super()
            .get_queryset(request)
            .select_related("turn")
            .defer("turn__prompt", "turn__response", "turn__error_message")
        )

    def has_send_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("observability.change_delivery")

    @admin.action(description=_("Send again what was given up"), permissions=["send"])
    def send_again(self, request: HttpRequest, queryset: models.QuerySet[Delivery]) -> None:
        # As if it were new: a delivery is given up by its age.
        count = queryset.filter(state=Delivery.State.DEAD).update(
            state=Delivery.State.PENDING,
            created_at=Now(),
            available_at=Now(),
            attempts=0,
            settled_at=None,
        )
        if count:
            transaction.on_commit(worker.wake, robust=True)
        self.message_user(
            request,
            ngettext(
                "%(count)d delivery will be sent again.",
                "%(count)d deliveries will be sent again.",
                count,
            )
            % {"count": count}
            if count
            else gettext("None of these deliveries was given up: nothing to send again."),
            messages.SUCCESS if count else messages.WARNING,
        )

    @admin.display(description=_("created at"), ordering="created_at")
    def shown_created(self, delivery: Delivery) -> str:
        return time_tag(delivery.created_at)

    @admin.display(description=_("turn"))
    def shown_turn(self, delivery: Delivery) -> str:
        return turn_link(delivery.turn)

    @admin.display(description=_("state"), ordering="state")
    def shown_state(self, delivery: Delivery) -> str:
        return badge(delivery.state, delivery.get_state_display())

    @admin.display(description=_("available at"), ordering="available_at")
    def shown_available(self, delivery: Delivery) -> str:
        return time_tag(delivery.available_at)

    @admin.display(description=_("last error"))
    def shown_error(self, delivery: Delivery) -> str:
        return visible(delivery.last_error) or UNKNOWN


@admin.register(ContentAccess)
class ContentAccessAdmin(ReadOnlyAdmin):
    """For superusers: who keeps an eye on those who read."""

    list_display = ("accessed_at", "username", "shown_turn", "owner_key", "path")
    list_filter = (("username", RecentValuesFilter), ("trace_id", GivenFilter), "accessed_at")
    search_fields = ("username", "trace_id", "owner_key")
    fields = ("accessed_at", "username", "shown_turn", "trace_id", "owner_key", "path")
    readonly_fields = ("shown_turn",)

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[ContentAccess]:
        return (
            super()
            .get_queryset(request)
            .select_related("turn")
            .defer("turn__prompt", "turn__response", "turn__error_message")
        )

    def has_view_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        return bool(request.user.is_active and request.user.is_superuser)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    @admin.display(description=_("turn"))
    def shown_turn(self, access: ContentAccess) -> str:
        return turn_link(access.turn)


@admin.register(Dashboard)
class DashboardAdmin(ReadOnlyAdmin):
    """One page and no rows."""

    def has_view_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        return request.user.has_perm("observability.view_turn")

    def get_urls(self) -> list[URLPattern]:
        return [
            path(
                "",
                self.admin_site.admin_view(self.changelist_view),
                name="observability_dashboard_changelist",
            )
        ]

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        return TemplateResponse(
            request,
            "admin/observability/dashboard/change_list.html",
            {
                **self.admin_site.each_context(request),
                "title": capfirst(self.opts.verbose_name),
                "opts": self.opts,
                "media": self.media,
                **dashboard.context(
                    timezone.now(),
                    shows_content=may_view_content(request.user),
                    may_view_deliveries=request.user.has_perm("observability.view_delivery"),
                ),
                **(extra_context or {}),
            },
        )
