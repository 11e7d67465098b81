"""Conversations, as an operator reads, shuts and deletes them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.contrib.admin.views.main import ChangeList
from django.contrib.auth import get_user_model
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db import transaction
from django.db.models import Count, Model, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseNotAllowed,
    HttpResponseRedirect,
)
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.text import capfirst
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from observability.admin_tools import GivenFilter, PageAdmin, list_link
from observability.display import number, shorten, time_tag, visible
from observability.encryption import beginning, is_on
from observability.governance import note_conversation_access
from observability.hold_page import holds_of_thread
from observability.holds import on_held_thread
from observability.models import Turn

from .models import Attachment, Thread, ThreadItem
from .retention import purge
from .thread_status import REASON_LENGTH, Status, set_status, status_of
from .transcript import transcript

if TYPE_CHECKING:
    from django.contrib.auth.models import User

ITEMS_PER_PAGE = 100


class StatusForm(forms.Form):
    """What an operator makes of a thread."""

    status = forms.ChoiceField(label=_("Status"), choices=Status.choices)
    reason = forms.CharField(
        label=_("Reason"),
        max_length=REASON_LENGTH,
        required=False,
        widget=forms.Textarea(attrs={"cols": 30, "rows": 3}),
        help_text=_("The visitor reads it, where the thread is locked or closed."),
    )


class StatusFilter(admin.SimpleListFilter):
    title = _("status")
    parameter_name = "status"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return list(Status.choices)

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value()
        return queryset.filter(status=value) if value in Status.values else queryset


class ThreadList(ChangeList):
    def get_queryset(
        self, request: HttpRequest, exclude_parameters: list[str | None] | None = None
    ) -> QuerySet[Thread]:
        items = (
            ThreadItem.objects.filter(thread=OuterRef("pk"))
            .order_by()
            .values("thread")
            .values_list(Count("pk"))
        )
        threads: QuerySet[Thread] = super().get_queryset(request, exclude_parameters)
        return threads.defer("title", "payload").annotate(
            title_start=beginning("title", 200),
            number_of_items=Coalesce(Subquery(items), 0),
        )


@admin.register(Thread)
class ThreadAdmin(PageAdmin):
    """Read-only but for two things: who may change a thread sets its status, and who may delete
    one leaves nothing of the conversation behind.
    """

    list_display = (
        "shown_title",
        "shown_user",
        "shown_status",
        "shown_items",
        "shown_created",
        "shown_updated",
    )
    list_select_related = ("user",)
    list_filter = (
        ("user", GivenFilter),
        ("owner_key", GivenFilter),
        StatusFilter,
        "updated_at",
        "created_at",
    )
    search_help_text = _("Words of the title, the name of a user, or the id of a thread.")

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return request.user.has_perm("chatkit_endpoint.delete_thread")

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return ThreadList

    def get_changelist_instance(self, request: HttpRequest) -> ChangeList:
        changelist = super().get_changelist_instance(request)
        if is_on():
            changelist.search_help_text = gettext(
                "The name of a user, or the id of a thread. Titles are encrypted: no search finds "
                "their words."
            )
        return changelist

    def get_search_fields(self, request: HttpRequest) -> tuple[str, ...]:
        rest = ("key", f"user__{get_user_model().USERNAME_FIELD}")
        # What is encrypted has random letters, and any short word is somewhere in them.
        return rest if is_on() else ("title", *rest)

    @admin.display(description=_("title"))
    def shown_title(self, thread: Thread) -> str:
        # ThreadList's annotation.
        title = shorten(getattr(thread, "title_start", "")) or gettext("(untitled)")
        return format_html("<bdi>{}</bdi>", title)

    @admin.display(description=_("user"), ordering="user")
    def shown_user(self, thread: Thread) -> str:
        return format_html("<bdi>{}</bdi>", user_name(thread))

    @admin.display(description=_("status"), ordering="status")
    def shown_status(self, thread: Thread) -> str:
        status = Status(thread.status)
        return "" if status == Status.ACTIVE else str(status.label)

    @admin.display(description=_("items"), ordering="number_of_items")
    def shown_items(self, thread: Thread) -> str:
        return number(getattr(thread, "number_of_items", None))

    @admin.display(description=_("created at"), ordering="pk")
    def shown_created(self, thread: Thread) -> str:
        return time_tag(thread.created_at)

    @admin.display(description=_("last written at"), ordering="updated_at")
    def shown_updated(self, thread: Thread) -> str:
        return time_tag(thread.updated_at)

    def page_context(self, request: HttpRequest, obj: Thread) -> dict[str, Any]:
        note_conversation_access(request, obj.owner_key)
        pages = Paginator(obj.items.order_by("pk"), ITEMS_PER_PAGE)
        page = pages.get_page(request.GET.get("p"))
        may_view_turns = request.user.has_perm("observability.view_turn")
        status, reason = status_of(obj.payload)
        reason = visible(reason)
        return {
            "thread": obj,
            "thread_title": visible(obj.title) or gettext("(untitled)"),
            "lines": transcript(page.object_list, user_name(obj)),
            "page": page,
            "facts": [
                (gettext("User"), _threads_link("user", obj.user_id, user_name(obj))),
                (gettext("Owner"), _threads_link("owner_key", obj.owner_key)),
                (gettext("Tenant"), visible(obj.tenant)),
                (gettext("Thread"), visible(obj.key)),
                (gettext("Status"), status.label),
                (gettext("Reason"), reason),
                (gettext("Items"), number(pages.count)),
                (gettext("Created at"), time_tag(obj.created_at)),
                (gettext("Last written at"), time_tag(obj.updated_at)),
            ],
            "turns_url": reverse(
                "admin:observability_turn_changelist", query={"thread_id": obj.key}
            )
            if may_view_turns
            else "",
            "hold": holds_of_thread(
                request, tenant=obj.tenant, owner_key=obj.owner_key, thread_id=obj.key
            ),
            "status_form": StatusForm(initial={"status": status, "reason": reason})
            if _may_change(request)
            else None,
        }

    # -- locking and closing ----------------------------------------------------------------------

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(cast("Callable[..., HttpResponse]", self.status_view))
        name = "chatkit_endpoint_thread_status"
        return [path("<path:object_id>/status/", view, name=name), *super().get_urls()]

    def status_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Set the thread's status as the form says, and go back to its page."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not _may_change(request):
            raise PermissionDenied
        thread = self.get_object(request, unquote(object_id))
        if thread is None:
            raise Http404
        form = StatusForm(request.POST)
        if form.is_valid():
            self._set_status(request, thread, **form.cleaned_data)
        else:
            wrong = (f"{form[name].label}: {error[0]}" for name, error in form.errors.items())
            self.message_user(request, " ".join(wrong), messages.ERROR)
        url = reverse("admin:chatkit_endpoint_thread_change", args=(thread.pk,))
        return HttpResponseRedirect(url)

    def _set_status(self, request: HttpRequest, thread: Thread, status: str, reason: str) -> None:
        wanted = Status(status)
        set_status(thread.pk, wanted, reason)
        # Without the reason: it may tell of the conversation, which a purge is to leave no word of.
        said = gettext("Status: %(status)s") % {"status": wanted.label}
        self.log_change(request, thread, said)
        self.message_user(request, capfirst(said), messages.SUCCESS)

    # -- deleting ---------------------------------------------------------------------------------

    def delete_model(self, request: HttpRequest, obj: Thread) -> None:
        self._purge(request, [obj.pk])

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Thread]) -> None:
        self._purge(request, list(queryset.values_list("pk", flat=True)))

    def _purge(self, request: HttpRequest, keys: list[int]) -> None:
        def work() -> None:
            done = purge(Thread.objects.filter(pk__in=keys), even_running=True)
            if done.held:
                self.message_user(
                    request,
                    ngettext(
                        "%(count)d thread is on hold, and was left.",
                        "%(count)d threads are on hold, and were left.",
                        done.held,
                    )
                    % {"count": done.held},
                    messages.WARNING,
                )
            if done.files_left:
                self.message_user(
                    request,
                    ngettext(
                        "%(count)d file could not be deleted. The next purge tries again.",
                        "%(count)d files could not be deleted. The next purge tries again.",
                        done.files_left,
                    )
                    % {"count": done.files_left},
                    messages.WARNING,
                )

        # A purge commits on its own, and Django's delete view is one transaction.
        transaction.on_commit(work)

    def get_deleted_objects(
        self, objs: Any, request: HttpRequest
    ) -> tuple[list[Any], dict[str, int], set[str], list[Any]]:
        """What a purge takes with it, counted: a thread may have thousands of items.

        Those on hold are in Django's words protected: it offers no deletion that would not happen.
        """
        keys = [thread.key for thread in objs]
        items = ThreadItem.objects.filter(thread__key__in=keys)
        attachments = Attachment.objects.filter(thread__key__in=keys)
        turns = Turn.objects.with_text().filter(thread_id__in=keys)
        counts = {
            gettext("threads"): len(keys),
            gettext("items"): items.count(),
            gettext("attachments"): attachments.count(),
            gettext("texts of turns"): turns.count(),
        }
        held = Thread.objects.filter(on_held_thread("key"), key__in=keys)
        protected = [
            gettext("Thread on hold: %(id)s") % {"id": visible(key)}
            for key in held.order_by("pk").values_list("key", flat=True)
        ]
        return keys, counts, set(), protected


def _may_change(request: HttpRequest) -> bool:
    return cast("User", request.user).has_perm("chatkit_endpoint.change_thread")


def user_name(thread: Thread) -> str:
    return visible(thread.user.get_username() if thread.user else thread.owner_key)


def _threads_link(parameter: str, value: Any, label: str | None = None) -> str:
    return list_link("admin:chatkit_endpoint_thread_changelist", parameter, value, label)
