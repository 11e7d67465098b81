"""How much a purge does at a time, so that those who write meanwhile are not kept waiting.

SQLite has one writer at a time; others look again and again, up to a tenth of a second apart. So a
purge works in short transactions and leaves gaps. Where somebody else has written lately its
transactions are shorter yet, and the gaps are longer than they are. In PostgreSQL nobody waits for
the rows of others: each batch is one portion, and there are no gaps.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TypeVar

from django.db import connection

T = TypeVar("T")

PORTION = 100
"""What to begin with, before it is known how long it takes."""
SECONDS = 0.1
"""What a transaction shall take of the processor: on a busy machine, smaller ones do not help."""
GAP = 0.1
"""The pause behind it, in parts of what it took."""
POLITE_SECONDS = 0.02
POLITE_GAP = 2.0
"""Both where others write."""
POLITE_FOR = 5.0
"""How many seconds after the latest write of somebody else."""


class Pace:
    """Cuts the batches of one purge into portions, each for a transaction of its own.

    For one thread, outside of any transaction.
    """

    def __init__(self) -> None:
        self._size = PORTION
        self._pause = 0.0
        self._is_shared = connection.vendor == "sqlite"
        self._version = self._data_version() if self._is_shared else 0
        self._polite_until = 0.0

    def portions(self, keys: Sequence[T]) -> Iterator[Sequence[T]]:
        """The keys, so many at a time; each portion is to be dealt with when the next is wanted."""
        if not self._is_shared:
            yield keys
            return
        start = 0
        while start < len(keys):
            time.sleep(self._pause)
            portion = keys[start : start + self._size]
            start += len(portion)
            began, began_work = time.monotonic(), time.thread_time()
            yield portion
            worked = time.thread_time() - began_work
            self._adapt(len(portion), worked, took=time.monotonic() - began)

    def _adapt(self, size: int, worked: float, *, took: float) -> None:
        version = self._data_version()
        if version != self._version:
            self._version = version
            self._polite_until = time.monotonic() + POLITE_FOR
        is_polite = time.monotonic() < self._polite_until
        self._pause = took * (POLITE_GAP if is_polite else GAP)
        fitting = size * (POLITE_SECONDS if is_polite else SECONDS) / max(worked, 0.001)
        # Upwards step by step: what is small may have been quick by chance.
        self._size = max(1, min(round(fitting), 2 * size))

    def _data_version(self) -> int:
        """Another number when somebody else has written to SQLite's file."""
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA data_version")
            return int(cursor.fetchone()[0])
