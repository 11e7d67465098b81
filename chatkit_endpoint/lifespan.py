"""Start and end of an ASGI process, which Django itself takes no part in."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from observability import worker
from observability.conf import conf as observability_conf

from .conf import conf
from .cores import keep_to_a_core

if TYPE_CHECKING:
    from asgiref.typing import (
        ASGI3Application,
        ASGIReceiveCallable,
        ASGISendCallable,
        Scope,
    )

SETTLE_SECONDS = 5.0


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
            if conf().chatkit_own_core:
                keep_to_a_core()
            worker.start()
            await asyncio.to_thread(_warm_up)
            await send({"type": "lifespan.startup.complete"})
        elif message["type"] == "lifespan.shutdown":
            await _shut_down()
            await send({"type": "lifespan.shutdown.complete"})
            return


def _warm_up() -> None:
    # Late: it takes two seconds to import, which commands need not wait for.
    from .warm_up import warm_up

    warm_up()


async def _shut_down() -> None:
    from .streaming import shut_down

    await shut_down(SETTLE_SECONDS)
    await asyncio.to_thread(worker.stop, observability_conf().observability_shutdown_seconds)
