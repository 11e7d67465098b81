"""Random ids, of which a turn needs several.

Each call of ``os.urandom`` lets go of Python's lock, and a busy event loop waits until a database
thread lets it go in turn: so it is asked for many ids at once.
"""

from __future__ import annotations

import os

BYTES = 16
AT_ONCE = 256

_left: list[bytes] = []
os.register_at_fork(after_in_child=_left.clear)


def new_id() -> str:
    """32 hex digits that nobody can guess, and no other process has. For any thread."""
    while True:
        try:
            return _left.pop().hex()
        except IndexError:
            block = os.urandom(BYTES * AT_ONCE)
            _left.extend(block[start : start + BYTES] for start in range(0, len(block), BYTES))
