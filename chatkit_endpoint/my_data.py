"""A visitor's own page: what is stored on their conversations, to take along and to erase.

For who is signed in, by Django's own login: what a guest has goes with the session of a browser.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from functools import wraps
from typing import Concatenate, ParamSpec

from asgiref.sync import sync_to_async
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db import connections, transaction
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.cache import cache_control
from django.views.decorators.http import require_GET, require_http_methods

from .errors import Refused
from .limits import allowances_of, take
from .models import Thread
from .my_threads import thread_of, threads_page, was_passed_on
from .owners import Owner, signed_in_owner
from .retention import PurgeSummary, purge
from .scopes import purge_owner

P = ParamSpec("P")

PAGE = "chatkit-my-data"


def _for_owner(
    view: Callable[Concatenate[HttpRequest, Owner, P], HttpResponseBase],
) -> Callable[..., HttpResponseBase]:
    """A view for who is signed in, of what is theirs alone; no cache keeps it."""

    # A purge commits on its own.
    @transaction.non_atomic_requests
    @cache_control(private=True, no_store=True)
    @login_required
    @wraps(view)
    def owned(request: HttpRequest, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
        return view(request, signed_in_owner(request), *args, **kwargs)

    return owned


@require_GET
@_for_owner
def my_data(request: HttpRequest, owner: Owner) -> HttpResponseBase:
    """The owner's conversations, with what is stored on each."""
    page, threads = threads_page(owner, request.GET.get("page"))
    return render(request, "chatkit_endpoint/my_data.html", {"page": page, "threads": threads})


@require_GET
@_for_owner
def download(request: HttpRequest, owner: Owner) -> HttpResponseBase:
    """All that is held on the owner, as one archive."""
    # Late: what describes turns brings the API's library.
    from .personal_data import Export

    try:
        take(allowances_of(request, kind="export", tenant=owner.tenant, owner_key=owner.owner_key))
    except Refused as refusal:
        said = refusal.message or str(refusal.fault.message)
        messages.error(request, said, fail_silently=True)
        return redirect(PAGE)
    export = Export([owner], request.user.get_username())
    return StreamingHttpResponse(
        _sent(iter(export)),
        content_type="application/zip",
        headers={
            "Content-Disposition": f'attachment; filename="chat-data-{timezone.now():%Y-%m-%d}.zip"'
        },
    )


@require_http_methods(["GET", "POST"])
@_for_owner
def erase_thread(request: HttpRequest, owner: Owner, key: str) -> HttpResponseBase:
    """Ask whether this conversation is to be erased, and erase it."""
    thread = thread_of(owner, key)
    if thread is None:
        raise Http404
    if request.method == "POST":
        # Also while an answer is being written, as in the chat.
        done = purge(owner.own(Thread.objects.filter(key=thread.key)), even_running=True)
        return _erased(request, done)
    shown = {"thread": thread, "was_passed_on": was_passed_on(owner, thread.key)}
    return render(request, "chatkit_endpoint/my_data_erase.html", shown)


@require_http_methods(["GET", "POST"])
@_for_owner
def erase_all(request: HttpRequest, owner: Owner) -> HttpResponseBase:
    """Ask whether all that the owner has is to be erased, and erase it."""
    if request.method == "POST":
        return _erased(request, purge_owner(owner))
    shown = {"was_passed_on": was_passed_on(owner)}
    return render(request, "chatkit_endpoint/my_data_erase.html", shown)


def _erased(request: HttpRequest, done: PurgeSummary) -> HttpResponse:
    if done.threads or not done.held:
        said = ngettext(
            "%(count)d conversation was deleted.",
            "%(count)d conversations were deleted.",
            done.threads,
        )
        messages.success(request, said % {"count": done.threads}, fail_silently=True)
    if done.held:
        said = ngettext(
            "%(count)d conversation is on hold: it has to be kept.",
            "%(count)d conversations are on hold: they have to be kept.",
            done.held,
        )
        messages.warning(request, said % {"count": done.held}, fail_silently=True)
    if done.files_left:
        said = _("Not every file could be deleted. It will be tried again.")
        messages.warning(request, said, fail_silently=True)
    return redirect(PAGE)


async def _sent(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    """The pieces, each made on a thread of its own: the few of the database are not for files."""
    while piece := await sync_to_async(_next, thread_sensitive=False)(pieces):
        yield piece


def _next(pieces: Iterator[bytes]) -> bytes:
    try:
        return next(pieces, b"")
    finally:
        connections.close_all()
