"""What goes when its time is over: the text of turns. Their metrics stay."""

from __future__ import annotations

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from .models import Delivery, Message, Turn, TurnSpans

IDS_AT_ONCE = 500
"""Databases limit the parameters of a statement."""


def purge_text(turns: QuerySet[Turn], *, even_running: bool = False) -> int:
    """Remove the text of these turns for good: one transaction, five queries per 500 turns.

    Blanks prompt, response and error message, deletes messages and spans, and settles what was
    still to be sent as purged, also where a worker is sending it right now. Running turns are left:
    they would only write anew. With ``even_running`` they lose what is stored of them so far, and
    ``text_purged_at`` says that no more of it is wanted; only for an owner who deletes.

    Returns how many turns lost their text; those without it are not counted again. The ids of all
    are held in memory: hand it a batch.
    """
    with_text = Turn.objects.with_text().filter(pk__in=turns.values("pk"))
    if not even_running:
        with_text = with_text.exclude(status=Turn.Status.RUNNING)
    now = timezone.now()
    with transaction.atomic():
        # Fixed and locked first: a turn that settles meanwhile is whole in the batch or not at all.
        ids = list(with_text.order_by("pk").select_for_update().values_list("pk", flat=True))
        for start in range(0, len(ids), IDS_AT_ONCE):
            some = ids[start : start + IDS_AT_ONCE]
            Message.objects.filter(turn__in=some).delete()
            TurnSpans.objects.filter(turn__in=some).delete()
            Delivery.objects.outstanding().filter(turn__in=some).update(
                state=Delivery.State.PURGED,
                lease_token=None,
                lease_expires_at=None,
                settled_at=now,
            )
            Turn.objects.filter(pk__in=some).update(
                prompt="", response="", error_message="", text_purged_at=now
            )
    return len(ids)
