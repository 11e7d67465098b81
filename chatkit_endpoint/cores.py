"""A processor core for a server process, and no other process of ours on it.

A process' threads take turns at Python's lock. Where the next one waits on another core, that has
to be woken first, again and again: at eight answers at once a third of a process' time. On one core
there is nothing to wake. It is asked for by CHATKIT_OWN_CORE, since programs that the process
starts keep to the core too.
"""

from __future__ import annotations

import logging
import os
import socket
from contextlib import suppress
from pathlib import Path

logger = logging.getLogger(__name__)

_NAME = "chatkit_endpoint.core."
_claims: list[socket.socket] = []
"""What says that a core is ours, until the process ends, however it does."""


def keep_to_a_core() -> int | None:
    """Have all threads of this process run on one core that no process has claimed, and claim it.

    Returns the core's number; None where there is none left, or where the system has no such thing.
    """
    if not hasattr(os, "sched_setaffinity"):
        logger.warning("CHATKIT_OWN_CORE does nothing: this system can't tie a process to a core.")
        return None
    # From the last, for the first has most to do besides.
    for core in sorted(os.sched_getaffinity(0), reverse=True):
        if _claim(core):
            try:
                _tie_to(core)
            except PermissionError:
                _claims.pop().close()
                logger.warning("CHATKIT_OWN_CORE does nothing: the system does not allow it.")
                return None
            logger.info("This process keeps to core %d.", core)
            return core
    logger.warning("CHATKIT_OWN_CORE does nothing: there are more processes than cores.")
    return None


def _tie_to(core: int) -> None:
    for thread in Path("/proc/self/task").iterdir():
        with suppress(ProcessLookupError):  # It has just ended.
            os.sched_setaffinity(int(thread.name), {core})


def _claim(core: int) -> bool:
    # A name in Linux' own space of addresses: no file that is left behind, or that another makes.
    claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        claim.bind(f"\0{_NAME}{core}")
    except OSError:
        claim.close()
        return False
    _claims.append(claim)
    return True
