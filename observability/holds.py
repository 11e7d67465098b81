"""What must be kept: turns and threads on hold, which every purge spares until they are released.

A thread on hold is spared whole, with its turns, also those that are yet to come. Its visitor goes
on as before but for one thing: it can't be deleted, and they are told so. Of a turn on hold what
was said stays here; the thread around it may go.
"""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet

from .models import Hold, Turn


def place_on_turn(turn: Turn, *, reason: str, by: Any) -> Hold:
    """Have every purge spare this turn. One that is on hold already stays as it is."""
    return _place(Turn.objects.filter(pk=turn.pk), reason, by, turn=turn)


def place_on_thread(*, tenant: str, owner_key: str, thread_id: str, reason: str, by: Any) -> Hold:
    """Have every purge spare this thread and its turns. One that is on hold stays as it is."""
    turns = Turn.objects.of_owner(tenant=tenant, owner_key=owner_key).filter(thread_id=thread_id)
    return _place(
        turns, reason, by, turn=None, tenant=tenant, owner_key=owner_key, thread_id=thread_id
    )


def _place(turns: QuerySet[Turn], reason: str, by: Any, **what: Any) -> Hold:
    with transaction.atomic():
        # A purge that has these turns already ends first; one that comes later sees the hold.
        list(turns.order_by("pk").select_for_update().values_list("pk", flat=True))
        hold, _ = Hold.objects.get_or_create(**what, defaults={"reason": reason, "placed_by": by})
    return hold


def on_held_thread(column: str = "thread_id") -> Exists:
    """The condition that a row is of a thread on hold; ``column`` has the thread's id.

    The row has a ``tenant`` and an ``owner_key`` too.
    """
    return Exists(
        Hold.objects.of_threads().filter(
            thread_id=OuterRef(column), tenant=OuterRef("tenant"), owner_key=OuterRef("owner_key")
        )
    )


def held_turns() -> Q:
    """The condition that a turn is to be spared: on hold itself, or in a thread on hold."""
    return Q(Exists(Hold.objects.filter(turn=OuterRef("pk")))) | Q(on_held_thread())


def is_held(turn: Turn) -> bool:
    """Whether a purge would spare this turn."""
    return Turn.objects.filter(held_turns(), pk=turn.pk).exists()


def hold_of_turn(turn: Turn) -> Hold | None:
    """The turn's own hold, with who placed it."""
    return Hold.objects.filter(turn=turn).select_related("placed_by").first()


def hold_of_thread(*, tenant: str, owner_key: str, thread_id: str) -> Hold | None:
    """The thread's hold, with who placed it."""
    threads = Hold.objects.of_threads().select_related("placed_by")
    return threads.filter(tenant=tenant, owner_key=owner_key, thread_id=thread_id).first()
