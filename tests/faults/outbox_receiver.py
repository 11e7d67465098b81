"""A collector on loopback that notes down what it is sent before it answers, well or badly."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

PATH = "/in/0ddba11"
TLS_HELLO = b"\x16"

Writing = Callable[[asyncio.StreamWriter], Awaitable[None]]


@dataclass(frozen=True, kw_only=True)
class Conduct:
    """How to answer a post; ``stores`` says whether the event counts as arrived."""

    write: Writing
    stores: bool = False


def answer(status: int, *headers: str, body: bytes = b"{}", delay: float = 0.0) -> Conduct:
    """A whole answer, after ``delay`` seconds. A 2xx stores the event."""
    head = [f"HTTP/1.1 {status} As told", f"Content-Length: {len(body)}", *headers]
    content = "\r\n".join([*head, "", ""]).encode() + body

    async def write(writer: asyncio.StreamWriter) -> None:
        if delay:
            await asyncio.sleep(delay)
        writer.write(content)
        await writer.drain()

    return Conduct(write=write, stores=200 <= status < 300)


def raw(*parts: bytes, pause: float = 0.0, stores: bool = False) -> Conduct:
    """Bytes, with a pause of so many seconds between them, and the end of the connection."""

    async def write(writer: asyncio.StreamWriter) -> None:
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(pause)
        writer.close()

    return Conduct(write=write, stores=stores)


def endless(size: int, part: bytes = b"x" * 65536, *, pause: float = 0.0) -> Conduct:
    """A 200 whose body comes in parts like this one, up to ``size`` bytes."""

    async def write(writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n".encode())
        for _ in range(size // len(part)):
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(pause)

    return Conduct(write=write, stores=True)


def reset(content: bytes = b"", *, stores: bool = False) -> Conduct:
    """These bytes, and then an RST: what was not read of them by then is lost."""

    async def write(writer: asyncio.StreamWriter) -> None:
        writer.write(content)
        await writer.drain()
        raw_socket: socket.socket = writer.get_extra_info("socket")
        raw_socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    return Conduct(write=write, stores=stores)


OK = answer(200)


class Receiver:
    """What a test sees of it. All of it may be read from any thread."""

    def __init__(self) -> None:
        self.port = 0
        self.received: list[tuple[float, str]] = []
        """``time.monotonic()`` and event id of each post that came whole, in order."""
        self.stored: Counter[str] = Counter()
        """How often each event was stored, by its id."""
        self.conduct: Callable[[str], Conduct] = lambda event_id: OK
        """How to answer the post of this event; called in the receiver's thread."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{PATH}"

    @property
    def duplicates(self) -> int:
        """How many copies too many were stored."""
        return self.stored.total() - len(self.stored)

    def always(self, conduct: Conduct) -> None:
        self.conduct = lambda event_id: conduct

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A connection. One that the client ends, however, is part of many tests."""
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while not writer.is_closing():
                if (first := await reader.readexactly(1)) == TLS_HELLO:
                    writer.write(b"HTTP/1.1 400 No TLS here\r\n\r\n")
                    await writer.drain()
                    break
                head = (first + await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
                headers = dict(line.split(": ", 1) for line in head.splitlines()[1:] if line)
                await reader.readexactly(int(headers["content-length"]))
                await self._answer(headers["idempotency-key"], writer)
        writer.transport.abort()

    async def _answer(self, event_id: str, writer: asyncio.StreamWriter) -> None:
        self.received.append((time.monotonic(), event_id))
        conduct = self.conduct(event_id)
        if conduct.stores:
            self.stored[event_id] += 1
        await conduct.write(writer)


@contextmanager
def running_receiver(port: int = 0) -> Iterator[Receiver]:
    """Serve in a thread of its own for as long as the block runs; on any port unless told."""
    receiver = Receiver()
    loop = asyncio.new_event_loop()
    is_up = threading.Event()

    async def serve() -> None:
        server = await asyncio.start_server(receiver.serve, "127.0.0.1", port, backlog=256)
        receiver.port = server.sockets[0].getsockname()[1]
        is_up.set()
        async with server:
            await server.serve_forever()

    async def end() -> None:
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        await asyncio.sleep(0.01)  # The loop closes what was aborted.

    def run() -> None:
        with suppress(asyncio.CancelledError):
            loop.run_until_complete(serving)
        loop.run_until_complete(end())
        loop.close()

    serving = loop.create_task(serve())
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert is_up.wait(10)
    try:
        yield receiver
    finally:
        loop.call_soon_threadsafe(serving.cancel)
        thread.join(10)
