"""What is asked of the chat's endpoint: noted in memory, written down by the worker.

No request waits for it, and none fails by it. The price: what a process has noted in its last
seconds is lost if it is killed, and what it can't hold is counted and left out.
"""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from datetime import datetime, timedelta

from django.db import InterfaceError, OperationalError
from django.utils import timezone

from .conf import conf
from .database import storable
from .models import ID_LENGTH, EndpointRequest

logger = logging.getLogger(__name__)

FLUSH_INTERVAL = 1.0
"""How often, in seconds, the worker writes them down; one that is idle looks more rarely."""
PURGE_INTERVAL = 600.0
"""How often, in seconds, each process deletes those that are old."""
PURGE_SECONDS = 2.0
"""How long it does so at a time: the worker has other things to do."""
CAPACITY = 10_000
BATCH_SIZE = 500
TELL_SECONDS = 60.0
"""How often, at most, the log says that some were dropped."""
OPERATION_LENGTH = 64


class _Buffer:
    """What one process has noted and not yet written. Any thread may append."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.rows: deque[EndpointRequest] = deque()
        self.dropped = 0
        self.told_tick = -TELL_SECONDS


_buffer = _Buffer()


def note(
    *,
    started_at: datetime,
    status: int,
    total_ms: int,
    operation: str = "",
    error_code: str = "",
    tenant: str = "",
    owner_key: str = "",
    thread_id: str = "",
    session_id: str = "",
    request_id: str = "",
    trace_id: str = "",
) -> None:
    """Have a request kept. Never waits, never fails; for any thread.

    It is written by the process' worker: in one that has none, when it is started.
    """
    buffer = _of_this_process()
    if len(buffer.rows) >= CAPACITY:
        buffer.dropped += 1
        return
    try:
        row = EndpointRequest(
            started_at=started_at,
            status=status,
            total_ms=max(0, total_ms),
            operation=storable(operation)[:OPERATION_LENGTH],
            error_code=storable(error_code)[:ID_LENGTH],
            tenant=storable(tenant)[:ID_LENGTH],
            owner_key=storable(owner_key)[:ID_LENGTH],
            thread_id=storable(thread_id)[:ID_LENGTH],
            session_id=storable(session_id)[:ID_LENGTH],
            request_id=storable(request_id)[:ID_LENGTH],
            trace_id=trace_id,
        )
    except Exception as error:
        # By its type: the text of an exception may quote what was asked.
        logger.error("A request was not kept: %s", type(error).__name__)
        return
    buffer.rows.append(row)


def flush() -> int:
    """Write down what this process has noted. Returns how many there were.

    Raises what the database does; where it could not be asked, the next flush tries again.
    """
    buffer = _of_this_process()
    written = 0
    while rows := _taken(buffer):
        try:
            EndpointRequest.objects.bulk_create(rows)
        except (InterfaceError, OperationalError):
            buffer.rows.extendleft(reversed(rows))
            raise
        except Exception:
            buffer.dropped += len(rows)
            raise
        written += len(rows)
    _tell_dropped(buffer)
    return written


def purge_old() -> int:
    """Delete requests older than their retention, for so long as PURGE_SECONDS.

    Returns how many there were; what is left is for the next time.
    """
    days = conf().observability_request_retention_days
    if days <= 0:
        return 0
    old = EndpointRequest.objects.filter(started_at__lt=timezone.now() - timedelta(days=days))
    keys = old.order_by("started_at", "pk").values_list("pk", flat=True)
    until = time.monotonic() + PURGE_SECONDS
    deleted = 0
    while time.monotonic() < until and (batch := list(keys[:BATCH_SIZE])):
        deleted += EndpointRequest.objects.filter(pk__in=batch).delete()[0]
    return deleted


def _taken(buffer: _Buffer) -> list[EndpointRequest]:
    # Only the worker takes, and at its end nobody else does: what is counted is there.
    return [buffer.rows.popleft() for _ in range(min(BATCH_SIZE, len(buffer.rows)))]


def _tell_dropped(buffer: _Buffer) -> None:
    now = time.monotonic()
    if buffer.dropped and now >= buffer.told_tick + TELL_SECONDS:
        logger.warning("%d requests were not kept: there were too many.", buffer.dropped)
        buffer.dropped, buffer.told_tick = 0, now


def _of_this_process() -> _Buffer:
    """In a forked child a new one: what the parent has noted, the parent writes."""
    global _buffer
    if _buffer.pid != os.getpid():
        _buffer = _Buffer()
    return _buffer
