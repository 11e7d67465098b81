"""Feedback: kept, and joined to the turn that made what it is about."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from django.db import transaction

from .models import Feedback, Turn

if TYPE_CHECKING:
    from .recorder import Identity


def record_feedback(identity: Identity, thread_id: str, item_ids: Sequence[str], kind: str) -> None:
    """Keep what this owner says of these items of a thread; a second word replaces the first.

    That the items are the owner's is for the caller to know.
    """
    for item_id in dict.fromkeys(item_ids):
        with transaction.atomic():
            turn = (
                Turn.objects.of_owner(tenant=identity.tenant, owner_key=identity.owner_key)
                .filter(thread_id=thread_id)
                .that_made(item_id)
                .first()
            )
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
