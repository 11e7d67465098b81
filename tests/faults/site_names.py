"""A name service that a test can take away: it knows one name while a file is there."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

COLLECTOR = "collector.test"

_getaddrinfo = socket.getaddrinfo


def install(path: str) -> None:
    """Look ``COLLECTOR`` up on loopback while there is a file of that path; else fail like DNS."""
    known = Path(path)

    def getaddrinfo(host: Any, *args: Any, **kwargs: Any) -> Any:
        if host not in (COLLECTOR, COLLECTOR.encode()):
            return _getaddrinfo(host, *args, **kwargs)
        if known.exists():
            return _getaddrinfo("127.0.0.1", *args, **kwargs)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    socket.getaddrinfo = getaddrinfo
