"""Who read what, and what must be kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import models
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseNotAllowed,
    HttpResponseRedirect,
)
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from ..admin_tools import GivenFilter, ReadOnlyAdmin, RecentValuesFilter
from ..display import UNKNOWN, time_tag, visible
from ..hold_page import HoldForm, may_place, may_release
from ..holds import place_on_thread, place_on_turn
from ..models import TEXTS, ContentAccess, Hold
from ..turn_page import page_link
from .about_turns import AboutTurnAdmin, turn_link


@admin.register(ContentAccess)
class ContentAccessAdmin(AboutTurnAdmin):
    """For superusers: who keeps an eye on those who read."""

    list_display = ("accessed_at", "username", "shown_turn", "owner_key", "path")
    list_filter = (("username", RecentValuesFilter), ("trace_id", GivenFilter), "accessed_at")
    search_fields = ("username", "trace_id", "owner_key")
    fields = ("accessed_at", "username", "shown_turn", "trace_id", "owner_key", "path")
    readonly_fields = ("shown_turn",)

    def has_view_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        return bool(request.user.is_active and request.user.is_superuser)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)


@admin.register(Hold)
class HoldAdmin(ReadOnlyAdmin):
    """All holds. They are placed, and mostly released, on the pages of what they hold."""

    list_display = ("shown_time", "shown_what", "shown_owner", "shown_reason", "shown_by")
    list_display_links = None
    list_filter = ("placed_at",)
    search_fields = ("thread_id", "owner_key", "turn__trace_id")
    search_help_text = _("The id of a thread, an owner or a trace.")
    actions = ("release",)

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[Hold]:
        holds = super().get_queryset(request).select_related("turn", "placed_by")
        return holds.defer(*(f"turn__{name}" for name in TEXTS))

    @admin.display(description=_("placed at"), ordering="placed_at")
    def shown_time(self, hold: Hold) -> str:
        return time_tag(hold.placed_at)

    @admin.display(description=_("on hold"))
    def shown_what(self, hold: Hold) -> str:
        if hold.turn is not None:
            return format_html("{} {}", gettext("Turn"), turn_link(hold.turn))
        return format_html("{} {}", gettext("Thread"), page_link("thread", hold.thread_id))

    @admin.display(description=_("owner"))
    def shown_owner(self, hold: Hold) -> str:
        owner_key = hold.turn.owner_key if hold.turn is not None else hold.owner_key
        return page_link("owner", owner_key) or UNKNOWN

    @admin.display(description=_("reason"))
    def shown_reason(self, hold: Hold) -> str:
        return format_html("<bdi>{}</bdi>", visible(hold.reason))

    @admin.display(description=_("placed by"))
    def shown_by(self, hold: Hold) -> str:
        return visible(hold.placed_by.get_username()) if hold.placed_by else UNKNOWN

    # -- placing and releasing --------------------------------------------------------------------

    def get_urls(self) -> list[URLPattern]:
        def view(handler: Any) -> Any:
            return self.admin_site.admin_view(cast("Callable[..., HttpResponse]", handler))

        return [
            path("place/", view(self.place_view), name="observability_hold_place"),
            path("<int:pk>/release/", view(self.release_view), name="observability_hold_release"),
            *super().get_urls(),
        ]

    def place_view(self, request: HttpRequest) -> HttpResponse:
        """Put on hold what the form says, and go back to where it was."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not may_place(request):
            raise PermissionDenied
        form = HoldForm({**request.GET.dict(), **request.POST.dict()})
        if form.is_valid():
            self._place(request, **form.cleaned_data)
        else:
            wrong = (str(error) for errors in form.errors.values() for error in errors)
            self.message_user(request, " ".join(wrong), messages.ERROR)
        return _back(request)

    def _place(self, request: HttpRequest, turn: Any, reason: str, **thread: str) -> None:
        if turn is not None:
            hold = place_on_turn(turn, reason=reason, by=request.user)
            said = gettext("The turn is on hold: every purge spares it until it is released.")
        else:
            hold = place_on_thread(**thread, reason=reason, by=request.user)
            said = gettext("The thread is on hold: every purge spares it until it is released.")
        # Without the reason: it may tell of the conversation, which a purge leaves no word of.
        self.log_addition(request, hold, [{"added": {}}])
        self.message_user(request, said, messages.SUCCESS)

    def release_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Release one hold, and go back to where it was."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not may_release(request):
            raise PermissionDenied
        if not self._release(request, Hold.objects.filter(pk=pk)):
            raise Http404
        return _back(request)

    def has_release_permission(self, request: HttpRequest) -> bool:
        return may_release(request)

    @admin.action(description=_("Release"), permissions=["release"])
    def release(self, request: HttpRequest, queryset: models.QuerySet[Hold]) -> None:
        self._release(request, queryset)

    def _release(self, request: HttpRequest, holds: models.QuerySet[Hold]) -> int:
        self.log_deletions(request, holds)
        count, _by_model = holds.delete()
        said = ngettext(
            "%(count)d hold was released. What it held goes with the next purge that is due.",
            "%(count)d holds were released. What they held goes with the next purge that is due.",
            count,
        )
        if count:
            self.message_user(request, said % {"count": count}, messages.SUCCESS)
        return count


def _back(request: HttpRequest) -> HttpResponse:
    """To the page that had the form."""
    page = request.POST.get("next", "")
    if not url_has_allowed_host_and_scheme(
        page, allowed_hosts={request.get_host()}, require_https=request.is_secure()
    ):
        page = reverse("admin:observability_hold_changelist")
    return HttpResponseRedirect(page)
