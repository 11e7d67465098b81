"""Conversations, as an operator reads and deletes them."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.contrib.auth import get_user_model
from django.core.paginator import Paginator
from django.db import transaction
from django.db.models import Count, Model, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce, Left
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from observability.admin_tools import GivenFilter, PageAdmin, list_link
from observability.display import number, shorten, time_tag, visible
from observability.models import Turn

from .models import Attachment, Thread, ThreadItem
from .retention import purge
from .transcript import transcript

ITEMS_PER_PAGE = 100


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
            title_start=Left("title", 200), number_of_items=Coalesce(Subquery(items), 0)
        )


@admin.register(Thread)
class ThreadAdmin(PageAdmin):
    """Read-only but for deleting, which leaves nothing of the conversation behind."""

    list_display = (
        "shown_title",
        "shown_user",
        "shown_items",
        "shown_created",
        "shown_updated",
    )
    list_select_related = ("user",)
    list_filter = (("user", GivenFilter), ("owner_key", GivenFilter), "updated_at", "created_at")
    search_help_text = _("Words of the title, the name of a user, or the id of a thread.")

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return request.user.has_perm("chatkit_endpoint.delete_thread")

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return ThreadList

    def get_search_fields(self, request: HttpRequest) -> tuple[str, ...]:
        return ("title", "key", f"user__{get_user_model().USERNAME_FIELD}")

    @admin.display(description=_("title"))
    def shown_title(self, thread: Thread) -> str:
        # ThreadList's annotation.
        title = shorten(getattr(thread, "title_start", "")) or gettext("(untitled)")
        return format_html("<bdi>{}</bdi>", title)

    @admin.display(description=_("user"), ordering="user")
    def shown_user(self, thread: Thread) -> str:
        return format_html("<bdi>{}</bdi>", user_name(thread))

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
        pages = Paginator(obj.items.order_by("pk"), ITEMS_PER_PAGE)
        page = pages.get_page(request.GET.get("p"))
        may_view_turns = request.user.has_perm("observability.view_turn")
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
                (gettext("Items"), number(pages.count)),
                (gettext("Created at"), time_tag(obj.created_at)),
                (gettext("Last written at"), time_tag(obj.updated_at)),
            ],
            "turns_url": reverse(
                "admin:observability_turn_changelist", query={"thread_id": obj.key}
            )
            if may_view_turns
            else "",
        }

    # -- deleting ---------------------------------------------------------------------------------

    def delete_model(self, request: HttpRequest, obj: Thread) -> None:
        self._purge(request, [obj.pk])

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Thread]) -> None:
        self._purge(request, list(queryset.values_list("pk", flat=True)))

    def _purge(self, request: HttpRequest, keys: list[int]) -> None:
        def work() -> None:
            done = purge(Thread.objects.filter(pk__in=keys), even_running=True)
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
        """What a purge takes with it, counted: a thread may have thousands of items."""
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
        return keys, counts, set(), []


def user_name(thread: Thread) -> str:
    return visible(thread.user.get_username() if thread.user else thread.owner_key)


def _threads_link(parameter: str, value: Any, label: str | None = None) -> str:
    return list_link("admin:chatkit_endpoint_thread_changelist", parameter, value, label)
