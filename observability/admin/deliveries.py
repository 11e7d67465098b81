"""The outbox."""

from __future__ import annotations

from django.contrib import admin, messages
from django.http import HttpRequest
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from .. import outbox
from ..display import UNKNOWN, badge, time_tag, visible
from ..models import Delivery, DeliveryQuerySet
from .about_turns import AboutTurnAdmin


@admin.register(Delivery)
class DeliveryAdmin(AboutTurnAdmin):
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

    def has_send_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("observability.change_delivery")

    @admin.action(description=_("Send again what was given up"), permissions=["send"])
    def send_again(self, request: HttpRequest, queryset: DeliveryQuerySet) -> None:
        count = outbox.send_again(queryset)
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

    @admin.display(description=_("state"), ordering="state")
    def shown_state(self, delivery: Delivery) -> str:
        return badge(delivery.state, delivery.get_state_display())

    @admin.display(description=_("available at"), ordering="available_at")
    def shown_available(self, delivery: Delivery) -> str:
        return time_tag(delivery.available_at)

    @admin.display(description=_("last error"))
    def shown_error(self, delivery: Delivery) -> str:
        return visible(delivery.last_error) or UNKNOWN
