"""What is stored on an owner's threads, in figures and words, for the page that is theirs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.core.paginator import Page, Paginator
from django.db.models import Count, QuerySet
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from observability.database import storable
from observability.display import number, visible
from observability.encryption import beginning
from observability.holds import on_held_thread
from observability.models import ClientEvent, Delivery, Turn

from .models import Attachment, Thread, ThreadItem
from .owners import Owner

PER_PAGE = 20
TITLE_CHARS = 500
_MESSAGES = ("user_message", "assistant_message")


@dataclass(frozen=True, kw_only=True)
class Stored:
    """One thread, as its owner is told of it."""

    key: str
    title: str
    created_at: datetime
    updated_at: datetime
    stored: tuple[str, ...]
    """What is kept of it, in words with figures."""
    is_held: bool
    is_running: bool


def threads_page(owner: Owner, wanted: str | None) -> tuple[Page[Any], list[Stored]]:
    """A page of the owner's threads, the newest first, and what is stored on them.

    Nine queries, however many they are. What is no page is the first or the last.
    """
    threads = owner.own(_listed()).order_by("-pk")
    page = Paginator(threads, PER_PAGE).get_page(wanted)
    return page, list(_told(owner, list(page)))


def thread_of(owner: Owner, key: str) -> Stored | None:
    """The owner's thread with this id; None where there is none or it is somebody else's."""
    rows = owner.own(_listed()).filter(key=storable(key))
    return next(iter(_told(owner, list(rows))), None)


def _listed() -> QuerySet[Any]:
    # Also of a title that no key opens: its owner may still delete the thread.
    threads = Thread.objects.defer("title", "payload")
    return threads.annotate(title_start=beginning("title", TITLE_CHARS))


def was_passed_on(owner: Owner, key: str | None = None) -> bool:
    """Whether another service has been told of the owner's turns, or of those of one thread."""
    turns = owner.own(Turn.objects.all())
    if key is not None:
        turns = turns.filter(thread_id=key)
    told = Delivery.objects.filter(state=Delivery.State.DELIVERED)
    return told.filter(turn__in=turns).exists()


def _told(owner: Owner, rows: list[Any]) -> Iterator[Stored]:
    pks, keys = [row.pk for row in rows], [row.key for row in rows]
    messages = ThreadItem.objects.filter(thread__in=pks, type__in=_MESSAGES)
    turns = owner.own(Turn.objects.filter(thread_id__in=keys))
    events = owner.own(ClientEvent.objects.filter(thread_id__in=keys))
    counted = {
        "messages": _counts(messages, "thread"),
        "files": _counts(Attachment.objects.filter(thread__in=pks), "thread"),
        "turns": _counts(turns, "thread_id"),
        "texts": _counts(turns.with_text(), "thread_id"),
        "events": _counts(events, "thread_id"),
    }
    running = set(turns.running().values_list("thread_id", flat=True))
    held = Thread.objects.filter(on_held_thread("key"), pk__in=pks)
    held_pks = set(held.values_list("pk", flat=True))
    for row in rows:
        counts = {
            name: found.get(row.pk) or found.get(row.key) or 0 for name, found in counted.items()
        }
        yield Stored(
            key=row.key,
            title=visible(row.title_start) or _("(untitled)"),
            created_at=row.created_at,
            updated_at=row.updated_at,
            stored=tuple(_in_words(counts)),
            is_held=row.pk in held_pks,
            is_running=row.key in running,
        )


def _counts(rows: QuerySet[Any], column: str) -> dict[Any, int]:
    """How many of these rows there are, by what is in this column."""
    return dict(rows.order_by().values_list(column).annotate(count=Count("pk")))


def _in_words(counts: dict[str, int]) -> Iterator[str]:
    words = {
        "messages": ngettext("%(count)s message", "%(count)s messages", counts["messages"]),
        "files": ngettext("%(count)s file", "%(count)s files", counts["files"]),
        "texts": ngettext(
            "text of %(count)s recorded answer",
            "text of %(count)s recorded answers",
            counts["texts"],
        ),
        "turns": ngettext(
            "figures of %(count)s answer", "figures of %(count)s answers", counts["turns"]
        ),
        "events": ngettext(
            "%(count)s report of the browser",
            "%(count)s reports of the browser",
            counts["events"],
        ),
    }
    for name, word in words.items():
        if counts[name]:
            yield word % {"count": number(counts[name])}
