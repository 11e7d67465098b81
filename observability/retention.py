"""What goes when its time is over: first the text of turns, later the turns; what browsers
reported, and deliveries that are settled. The rollups stay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from .holds import held_turns, on_held_thread
from .models import ClientEvent, Delivery, Message, Turn, TurnFact, TurnSpans
from .pace import Pace

IDS_AT_ONCE = 500
"""Databases limit the parameters of a statement."""


def purge_text(turns: QuerySet[Turn], *, even_running: bool = False) -> int:
    """Remove the text of these turns for good: one transaction, at most eight queries per 500
    turns.

    Blanks prompt, response and error message, deletes messages, spans and facts, and settles what
    was still to be sent as purged, also where a worker is sending it right now. Turns on hold are
    spared, whoever asks. Running turns are left: they would only write anew. With ``even_running``
    they lose what is stored of them so far, and ``text_purged_at`` says that no more of it is
    wanted; only for an owner who deletes.

    Returns how many turns lost their text; those without it are not counted again. The ids of all
    are held in memory: hand it a batch.
    """
    with_text = Turn.objects.with_text().filter(pk__in=turns.values("pk"))
    if not even_running:
        with_text = with_text.exclude(status=Turn.Status.RUNNING)
    purged = 0
    with transaction.atomic():
        # Fixed and locked first: a turn that settles meanwhile is whole in the batch or not at all.
        ids = list(with_text.order_by("pk").select_for_update().values_list("pk", flat=True))
        for start in range(0, len(ids), IDS_AT_ONCE):
            some = ids[start : start + IDS_AT_ONCE]
            # Asked under the lock, which who places a hold waits for: see holds.
            held = set(Turn.objects.filter(held_turns(), pk__in=some).values_list("pk", flat=True))
            some = [pk for pk in some if pk not in held]
            purged += len(some)
            erase_text(some)
    return purged


def erase_text(turns: Sequence[int]) -> None:
    """Remove the text of the turns with these keys: six queries per 500.

    For a transaction that has locked them and then seen that none is on hold; all others call
    :func:`purge_text`.
    """
    now = timezone.now()
    for start in range(0, len(turns), IDS_AT_ONCE):
        some = turns[start : start + IDS_AT_ONCE]
        Message.objects.filter(turn__in=some).delete()
        TurnSpans.objects.filter(turn__in=some).delete()
        TurnFact.objects.filter(turn__in=some).delete()
        unsent = Delivery.objects.outstanding().filter(turn__in=some)
        unsent.lock()
        unsent.update(
            state=Delivery.State.PURGED,
            lease_token=None,
            lease_expires_at=None,
            settled_at=now,
        )
        Turn.objects.filter(pk__in=some).update(
            prompt="", response="", error_message="", text_purged_at=now
        )


def delete_turns(before: datetime, report: Callable[[Mapping[str, int]], None]) -> None:
    """Delete turns that started before then, with all that hangs on them, batch by batch.

    Running turns and those on hold stay.
    """
    old = Turn.objects.filter(started_at__lt=before).exclude(status=Turn.Status.RUNNING)
    pace = Pace()
    for keys in _batches(old.exclude(held_turns()).order_by("started_at", "pk")):
        for some in pace.portions(keys):
            turns = Turn.objects.filter(pk__in=some)
            with transaction.atomic():
                # Asked again under the lock, which who places a hold waits for: see holds.
                list(turns.order_by("pk").select_for_update().values_list("pk", flat=True))
                Delivery.objects.filter(turn__in=some).lock()
                _, deleted = turns.exclude(held_turns()).only("pk").delete()
            report({"traces": deleted.get(Turn._meta.label, 0)})


def delete_client_events(before: datetime, report: Callable[[Mapping[str, int]], None]) -> None:
    """Delete what browsers reported before then, but of turns on hold."""
    old = ClientEvent.objects.filter(received_at__lt=before).exclude(turn__holds__isnull=False)
    old = old.exclude(on_held_thread())
    for keys in _batches(old.order_by("received_at", "pk")):
        with transaction.atomic():
            Delivery.objects.filter(client_event__in=keys).lock()
            _, deleted = ClientEvent.objects.filter(pk__in=keys).delete()
        report({"client_events": deleted.get(ClientEvent._meta.label, 0)})


def delete_deliveries(before: datetime, report: Callable[[Mapping[str, int]], None]) -> None:
    """Delete deliveries that were settled before then."""
    old = Delivery.objects.filter(settled_at__lt=before)
    for keys in _batches(old.order_by("settled_at", "pk")):
        # Asked again: an operator may have it sent anew right now.
        some = old.filter(pk__in=keys)
        with transaction.atomic():
            some.lock()
            _, deleted = some.delete()
        report({"deliveries": deleted.get(Delivery._meta.label, 0)})


def _batches(rows: QuerySet[Any]) -> Iterator[list[int]]:
    """Primary keys, so many at a time, until none are left: each batch has to be gone before the
    next is wanted.
    """
    keys = rows.values_list("pk", flat=True)
    while batch := list(keys[:IDS_AT_ONCE]):
        yield batch
