"""The process that children of these tests are forked from, with the project loaded once.

So a worker is up at once, however often one is killed; and it is what ``gunicorn --preload`` does.
It reads orders, one JSON object a line: ``{"poll": pid}`` is answered with the child's exit code,
or null while it runs; any other forks a child that does it, and is answered with the child's pid.
"""

from __future__ import annotations

import gc
import json
import logging
import os
import sys
from importlib import import_module
from typing import Any

import django

Order = dict[str, Any]


def main() -> None:
    django.setup()
    # All that a worker imports: a child of a process that is importing could never do so.
    from observability import destinations, turns  # noqa: F401

    from . import outbox_children, outbox_deaths, outbox_processes  # noqa: F401

    destinations.registry()

    gc.freeze()  # Else each child's first collection copies all that it was born with.
    print(os.getpid(), flush=True)  # noqa: T201
    for line in sys.stdin:
        order = json.loads(line)
        if "poll" in order:
            print(json.dumps(_exit_code(order["poll"])), flush=True)  # noqa: T201
            continue
        pid = os.fork()
        if not pid:
            # Left by returning, so that the child ends as processes do.
            _be_child(order)
            return
        print(pid, flush=True)  # noqa: T201


def _exit_code(pid: int) -> int | None:
    ended, status = os.waitpid(pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if ended else None


def _be_child(order: Order) -> None:
    from django.conf import settings
    from django.core.signals import setting_changed

    from . import outbox_children, outbox_deaths

    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    for name, value in order["settings"].items():
        setattr(settings, name, value)
        setting_changed.send(_be_child, setting=name, value=value, enter=True)
    for path, value in order["values"].items():
        module, _, name = path.rpartition(".")
        setattr(import_module(module), name, value)
    if "dies" in order:
        outbox_deaths.POINTS[order["dies"]](order["passes"])
    logging.captureWarnings(True)
    getattr(outbox_children, order["does"])(*order["with"])


if __name__ == "__main__":
    main()
