"""The conversations that turns are part of, each as it stood with its turn."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import islice
from typing import NamedTuple

from django.db.models import QuerySet

from .models import Message, Turn

MESSAGES_AT_MOST = 200
TURNS_AT_MOST = 500
"""So many turns are read for all conversations together; where there are more, each by itself."""


class Said(NamedTuple):
    """A message, as far as it is told. Less than a row of its model, of which there are many."""

    turn_id: int
    kind: str
    item_id: str
    text: str
    created_at: datetime


def said(messages: QuerySet[Message]) -> list[Said]:
    return list(map(Said._make, messages.values_list(*Said._fields)))


def histories(turns: Sequence[Turn]) -> dict[int, list[Said]]:
    """The newest messages up to each of these turns, by the turn's key: at most MESSAGES_AT_MOST,
    the newest first. Two queries, unless the conversations are long.

    Later turns are left out, so that a delivery that was delayed tells the same.
    """
    in_threads = [turn for turn in turns if turn.thread_id]
    around = (
        Turn.objects.with_text()
        .filter(thread_id__in={turn.thread_id for turn in in_threads})
        .order_by()
        .values_list("tenant", "owner_key", "thread_id", "started_at", "pk")
    )
    rows = list(around[: TURNS_AT_MOST + 1]) if in_threads else []
    if len(rows) > TURNS_AT_MOST:
        return {turn.pk: _history(turn) for turn in turns}
    threads = defaultdict(list)
    for tenant, owner_key, thread_id, started_at, key in rows:
        threads[tenant, owner_key, thread_id].append((started_at, key))
    lines = defaultdict(list)
    keys = {key for places in threads.values() for _, key in places} | {turn.pk for turn in turns}
    for line in said(Message.objects.filter(turn__in=keys).order_by("-position")):
        lines[line.turn_id].append(line)

    def newest_first(turn: Turn) -> Iterator[Said]:
        places: list[tuple[datetime, int]] = [(turn.started_at, turn.pk)]
        if turn.thread_id:
            places = threads[turn.tenant, turn.owner_key, turn.thread_id]
        for started_at, key in sorted(places, reverse=True):
            if started_at <= turn.started_at:
                yield from lines[key]

    return {turn.pk: list(islice(newest_first(turn), MESSAGES_AT_MOST)) for turn in turns}


def _history(turn: Turn) -> list[Said]:
    """The same of one, however long its thread is."""
    messages = Message.objects.filter(turn=turn)
    if turn.thread_id:
        turns = Turn.objects.of_thread(turn).with_text().filter(started_at__lte=turn.started_at)
        messages = Message.objects.filter(turn__in=turns.order_by())
    newest_first = messages.order_by("-turn__started_at", "-turn_id", "-position")
    return said(newest_first[:MESSAGES_AT_MOST])
