"""Feedback: kept, and joined to the turn that made what it is about."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from django.db import transaction

from .models import Feedback, Message, Turn

if TYPE_CHECKING:
    from .recorder import Identity


def record_feedback(identity: Identity, thread_id: str, item_ids: Sequence[str], kind: str) -> None:
    """Keep what this owner says of these items of a thread; a second word replaces the first.

    That the items are the owner's is for the caller to know.
    """
    for item_id in dict.fromkeys(item_ids):
        with transaction.atomic():
            turn = _turn_of(identity, thread_id, item_id)
            Feedback.objects.update_or_create(
                tenant=identity.tenant,
                owner_key=identity.owner_key,
                thread_id=thread_id,
                item_id=item_id,
                defaults={"kind": kind, "turn": turn},
                create_defaults={"kind": kind, "first_kind": kind, "turn": turn},
            )
            if turn is not None:
                Turn.objects.filter(pk=turn.pk).update(feedback=kind)


def _turn_of(identity: Identity, thread_id: str, item_id: str) -> Turn | None:
    message = (
        Message.objects.filter(
            item_id=item_id,
            turn__thread_id=thread_id,
            turn__tenant=identity.tenant,
            turn__owner_key=identity.owner_key,
        )
        .exclude(kind=Message.Kind.PROMPT)
        .select_related("turn")
        .order_by("-pk")
        .first()
    )
    return message.turn if message is not None else None
