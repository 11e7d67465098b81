"""Threads that an operator shuts: locked for now, or closed for good, with a reason to read.

ChatKit keeps a thread's status in the thread's own JSON. A turn that runs holds a copy of that, and
may write it back; so beside the status of a thread that an operator has shut stands who did it,
which no copy of the SDK's knows. :func:`keep_operators` is how the store keeps such a status.
Whoever writes the JSON sets the column ``status`` by it, for lists.

Nothing here needs the ChatKit SDK: an admin page has no second to wait for it.
"""

from __future__ import annotations

import json
from typing import Any

from django.db import transaction

from observability.database import storable

from .models import Thread

REASON_LENGTH = 300
SET_BY = "status_set_by"
OPERATOR = "operator"
Status = Thread.Status


def set_status(pk: Any, status: Status, reason: str = "") -> bool:
    """Have a thread be that. Returns whether it was there.

    Shut, it stays so until an operator opens it; open, it is the site's server's to shut again.
    ``reason`` is what the visitor reads, empty for the usual words. The time at which the thread
    was last written in stays: this is not its visitor's doing, and no reason to keep it longer.
    """
    with transaction.atomic():
        thread = Thread.objects.select_for_update().filter(pk=pk).first()
        if thread is None:
            return False
        payload: dict[str, Any] = json.loads(thread.payload)
        payload["status"] = {"type": str(status)}
        payload.pop(SET_BY, None)
        if status != Status.ACTIVE:
            payload[SET_BY] = OPERATOR
            if reason:
                payload["status"]["reason"] = storable(reason)
        thread.payload, thread.status = _dumped(payload), status
        thread.save(update_fields=["payload", "status"])
    return True


def status_of(payload: str) -> tuple[Status, str]:
    """A thread's status and its reason, read from its JSON."""
    status: dict[str, Any] = json.loads(payload).get("status") or {}
    known = status.get("type") in Status.values
    return Status(status["type"]) if known else Status.ACTIVE, status.get("reason") or ""


def keep_operators(kept: str, new: str) -> str:
    """The new JSON of a thread, with the status of the kept one where an operator has shut it."""
    before: dict[str, Any] = json.loads(kept)
    if before.get(SET_BY) != OPERATOR:
        return new
    return _dumped(json.loads(new) | {"status": before["status"], SET_BY: OPERATOR})


def _dumped(payload: dict[str, Any]) -> str:
    return json.dumps(payload, ensure_ascii=False, separators=(",", ":"))
