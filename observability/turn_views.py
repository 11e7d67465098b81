"""Pages of the admin about more than one turn: a thread, a session, a user, an export."""

from __future__ import annotations

from typing import Any

from django.contrib.admin import ModelAdmin
from django.contrib.admin.options import IncorrectLookupParameters
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseRedirect,
    StreamingHttpResponse,
)
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.translation import gettext as _

from .display import visible
from .export import exported
from .governance import may_view_content, note_access, note_access_by_id
from .hold_page import holds_of_thread
from .models import Turn
from .together import oldest_first, sessions, shown_totals, shown_turn, totals

TURNS_PER_PAGE = 50
FORMATS = {"jsonl": "application/jsonl", "csv": "text/csv"}


def urls(admin: ModelAdmin[Turn]) -> list[URLPattern]:
    """To stand before the admin's own, which take anything for a primary key."""

    def view(handler: Any) -> Any:
        def guarded(request: HttpRequest, **arguments: str) -> HttpResponse:
            if not admin.has_view_permission(request):
                raise PermissionDenied
            response: HttpResponse = handler(admin, request, **arguments)
            return response

        return admin.admin_site.admin_view(guarded)

    return [
        path("thread/<str:value>/", view(thread_page), name="observability_turn_thread"),
        path("session/<str:value>/", view(session_page), name="observability_turn_session"),
        path("owner/<str:value>/", view(owner_page), name="observability_turn_owner"),
        path("export/<str:form>/", view(export), name="observability_turn_export"),
    ]


def thread_page(admin: ModelAdmin[Turn], request: HttpRequest, value: str) -> HttpResponse:
    """All turns of a thread, as a reader would read them."""
    title = _("Thread %(id)s") % {"id": visible(value)}
    turns = Turn.objects.filter(thread_id=value)
    return _conversation(admin, request, turns, title, is_thread=True)


def session_page(admin: ModelAdmin[Turn], request: HttpRequest, value: str) -> HttpResponse:
    """All turns of one page load of the chat."""
    title = _("Session %(id)s") % {"id": visible(value)}
    return _conversation(admin, request, Turn.objects.filter(session_id=value), title)


def _conversation(
    admin: ModelAdmin[Turn],
    request: HttpRequest,
    turns: QuerySet[Turn],
    title: str,
    *,
    is_thread: bool = False,
) -> HttpResponse:
    shows_content = may_view_content(request.user)
    page = Paginator(oldest_first(turns), TURNS_PER_PAGE).get_page(request.GET.get("p"))
    if not page.paginator.count:
        raise Http404
    if shows_content:
        note_access(request, page)
    return _page(
        admin,
        request,
        "together",
        title=title,
        totals=shown_totals(totals(turns)),
        turns=[shown_turn(turn, shows_content=shows_content) for turn in page],
        page=page,
        shows_content=shows_content,
        hold=_hold_of_thread(request, page[0]) if is_thread else None,
    )


def _hold_of_thread(request: HttpRequest, turn: Turn) -> dict[str, Any]:
    return holds_of_thread(
        request, tenant=turn.tenant, owner_key=turn.owner_key, thread_id=turn.thread_id
    )


def owner_page(admin: ModelAdmin[Turn], request: HttpRequest, value: str) -> HttpResponse:
    """A user: their sessions, their errors, what they cost."""
    turns = Turn.objects.filter(owner_key=value)
    newest = turns.without_texts().select_related("user").first()
    if newest is None:
        raise Http404
    return _page(
        admin,
        request,
        "owner",
        title=_("User %(name)s")
        % {"name": visible(newest.user.get_username() if newest.user else value)},
        totals=shown_totals(totals(turns)),
        sessions=sessions(turns),
        turns_url=reverse("admin:observability_turn_changelist", query={"owner_key": value}),
    )


def export(admin: ModelAdmin[Turn], request: HttpRequest, form: str) -> Any:
    """What the list shows with these filters, as a file."""
    if form not in FORMATS:
        raise Http404
    try:
        turns = admin.get_changelist_instance(request).get_queryset(request)
    except IncorrectLookupParameters:
        return HttpResponseRedirect(reverse("admin:observability_turn_changelist"))
    with_content = may_view_content(request.user)

    def note(trace_ids: list[str]) -> None:
        if with_content:
            note_access_by_id(request, trace_ids)

    name = f"turns-{timezone.now():%Y%m%d-%H%M%S}.{form}"
    return StreamingHttpResponse(
        exported(turns.order_by(), form, with_content=with_content, note=note),
        content_type=f"{FORMATS[form]}; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


def _page(
    admin: ModelAdmin[Turn], request: HttpRequest, name: str, **context: Any
) -> TemplateResponse:
    return TemplateResponse(
        request,
        f"admin/observability/turn/{name}.html",
        {**admin.admin_site.each_context(request), "opts": admin.opts, **context},
    )
