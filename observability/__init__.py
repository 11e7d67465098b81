"""Traces of ChatKit turns: recorded, stored, shown, forwarded, retired."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from chatkit.server import ChatKitServer

ServerT = TypeVar("ServerT", bound="ChatKitServer[Any]")


def instrument(server: ServerT) -> ServerT:
    """Record every turn of any ``ChatKitServer``; returns the same server.

    Call it once, where the server is made. See :mod:`observability.instrumentation`.
    """
    # Late: a package must stay importable before Django's models are loaded,
    # and the SDK costs more than a second of import time.
    from .instrumentation import instrument_server

    return instrument_server(server)
