"""Start and end of an ASGI process, which Django itself takes no part in."""

from __future__ import annotations

import asyncio
import gc
from typing import TYPE_CHECKING, Any

from observability import worker
from observability.conf import conf

if TYPE_CHECKING:
    from asgiref.typing import (
        ASGI3Application,
        ASGIReceiveCallable,
        ASGISendCallable,
        Scope,
    )

SETTLE_SECONDS = 5.0
YOUNG_OBJECTS = 10_000
"""How many are made from one search for garbage to the next; a turn makes thousands."""


def with_lifespan(application: ASGI3Application) -> ASGI3Application:
    """Wrap the site's ASGI application: the worker starts with the process, and live turns are
    cancelled and settled before it ends. Without it nothing is lost, only finished later, by the
    sweeper.
    """

    async def wrapped(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
        else:
            await application(scope, receive, send)

    return wrapped


async def _lifespan(receive: ASGIReceiveCallable, send: Any) -> None:
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            worker.start()
            await asyncio.to_thread(import_sdk)
            spare_collector()
            await send({"type": "lifespan.startup.complete"})
        elif message["type"] == "lifespan.shutdown":
            await _shut_down()
            await send({"type": "lifespan.shutdown.complete"})
            return


def import_sdk() -> None:
    """More than two seconds of work, which the first visitor need not wait for."""
    from .assistant import warm_up
    from .server import get_server

    get_server()
    warm_up()


def spare_collector() -> None:
    """Take what is loaded now, and stays, out of what is searched for garbage: the SDK's types
    above all. Each search of them takes a hundred milliseconds, for which all streams stand still.

    And search more rarely: next to nothing of what a turn makes is garbage of the kind meant.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS)


async def _shut_down() -> None:
    from .streaming import shut_down

    await shut_down(SETTLE_SECONDS)
    await asyncio.to_thread(worker.stop, conf().observability_shutdown_seconds)
