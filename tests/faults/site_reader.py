"""A client over a bare socket, that takes as much of an answer as it is told to."""

from __future__ import annotations

import array
import fcntl
import json
import socket
import struct
import termios
import time
from http.client import HTTPResponse
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from tests.chatkit_client import ChatClient, message, request
from tests.servers import Server

from .site_speaker import Order

PATIENCE = 20.0


class SlowReader:
    """A client whose kernel takes little, and that takes as much as it is told to."""

    def __init__(self, site: Server, client: ChatClient, order: Order, request_id: str) -> None:
        parts = urlsplit(site.url)
        self._socket = socket.socket()
        # Else the two kernels of a loopback would hold 4 MB of it.
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
        self._socket.settimeout(PATIENCE)
        self._socket.connect((parts.hostname, parts.port))
        self._answer = HTTPResponse(self._socket)
        self._is_begun = False
        body = request("threads.create", {"input": message(order.prompt)})
        headers = {
            **client.headers,
            "Host": parts.netloc,
            "Content-Length": str(len(body)),
            "Cookie": "; ".join(f"{name}={value}" for name, value in client.http.cookies.items()),
            "X-Request-ID": request_id,
        }
        lines = [f"{name}: {value}" for name, value in headers.items()]
        self._socket.sendall("\r\n".join(["POST /chatkit HTTP/1.1", *lines, "", ""]).encode())
        self._socket.sendall(body)

    def take(self, texts: int) -> str:
        """That many pieces of the answer. One piece is one event, and one line."""
        taken: list[str] = []
        while len(taken) < texts:
            if not self._is_begun:
                self._answer.begin()
                self._is_begun = True
            line = self._answer.readline()
            assert line, "The answer ended too soon."
            if b'"delta":' in line:
                taken.append(json.loads(line.removeprefix(b"data: "))["update"]["delta"])
        return "".join(taken)

    def wait_until_nothing_comes(self) -> None:
        """The kernel's buffer is as full as it was a quarter of a second ago."""
        before = -1
        while (unread := self._unread()) != before or not unread:
            before = unread
            time.sleep(0.25)

    def _unread(self) -> int:
        count = array.array("i", [0])
        fcntl.ioctl(self._socket, termios.FIONREAD, count)
        return count[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # With bytes that nobody reads, and none that were promised: a reset.
        linger = struct.pack("ii", 1, 0)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self._answer.close()
        self._socket.close()
