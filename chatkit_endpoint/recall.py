"""What a conversation still knows of a turn whose process died: the items that it had kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .models import ThreadItem

if TYPE_CHECKING:
    from observability.models import Turn
    from observability.recorder import Line


def recall(turn: Turn) -> Sequence[Line]:
    """The messages of a turn, from its thread. What was being written when it died is not there.

    Raises pydantic's ValidationError, a ValueError, for an item that the SDK does not know, and
    :class:`observability.encryption.UndecryptableError`.
    """
    # Late: the SDK takes more than a second to import.
    from chatkit.types import ThreadItemDoneEvent, UserMessageItem

    from observability.recorder import Identity, TurnRecorder

    from .store import item_of

    later = (
        type(turn)
        .objects.of_thread(turn)
        .filter(started_at__gt=turn.started_at)
        .values_list("started_at", flat=True)
        .first()
    )
    rows = ThreadItem.objects.filter(
        thread__key=turn.thread_id,
        thread__tenant=turn.tenant,
        thread__owner_key=turn.owner_key,
        created_at__gte=turn.started_at,
    )
    if later is not None:
        rows = rows.filter(created_at__lt=later)
    created = {row.key: row.created_at for row in rows}
    items = [item_of(row) for row in rows]
    prompt = next((item for item in items if isinstance(item, UserMessageItem)), None)
    recorder = TurnRecorder(thread_id=turn.thread_id, identity=Identity(), prompt=prompt)
    for item in items:
        if item is not prompt:
            recorder.observe(ThreadItemDoneEvent(item=item))
    return [
        line._replace(created_at=created.get(line.item_id, turn.started_at))
        for line in recorder.lines()
    ]
