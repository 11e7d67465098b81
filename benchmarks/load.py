"""Clients that ask one question after the other: ``python -m benchmarks.load``.

What to do comes as JSON on standard input, what was seen goes to standard output. A process of its
own and no HTTP library, so that it takes little from the servers' cores.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import uvloop

from .words import prompt

DELTA = b'"type":"assistant_message.content_part.text_delta"'
FRAME = b"data: {"
END = b"\r\n0\r\n\r\n"
CSRF = "x" * 32


@dataclass(frozen=True, kw_only=True)
class Load:
    """So many turns altogether, each in a new thread with so many deltas."""

    port: int
    sessions: list[str]
    """One client for each."""
    turns: int
    words: int


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What the clients saw; times in ms unless they say otherwise."""

    seconds: float
    turns: int
    events: int
    ttft: float
    """The median of the times from the question to the first delta."""
    turn: float
    """The median of the times from the question to the answer's end."""
    gap_p50: float
    gap_p99: float


class Client(asyncio.Protocol):
    """One browser on one connection. A question is answered before the next is asked."""

    def __init__(self, request: bytes, words: int, run: Run) -> None:
        self._request = request
        self._words = words
        self._run = run

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport
        self._ask()

    def _ask(self) -> None:
        self._tail = b""
        self._deltas = 0
        if not self._run.take_turn():
            self._transport.close()
            return
        self._asked_at = self._latest_at = time.perf_counter()
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        now, run = time.perf_counter(), self._run
        if not self._tail and not data.startswith(b"HTTP/1.1 200"):
            run.fail(AssertionError(data[:2000].decode(errors="replace")))
            return
        whole = self._tail + data
        run.events += whole.count(FRAME) - self._tail.count(FRAME)
        new = whole.count(DELTA)
        self._tail = whole[1 - len(DELTA) :]
        for _ in range(new):
            times = run.gaps if self._deltas else run.ttfts
            times.append(now - self._latest_at)
            self._latest_at = now
            self._deltas += 1
        if whole.endswith(END):
            if self._deltas != self._words:
                run.fail(AssertionError(f"{self._deltas} of {self._words} deltas: {whole!r}"))
                return
            run.durations.append(now - self._asked_at)
            self._ask()

    def connection_lost(self, error: Exception | None) -> None:
        self._run.client_done(error)


class Run:
    """All clients' turns, and what they saw."""

    def __init__(self, turns: int, clients: int) -> None:
        self._left = turns
        self._clients = clients
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.events = 0
        self.ttfts: list[float] = []
        self.durations: list[float] = []
        self.gaps: list[float] = []

    def take_turn(self) -> bool:
        self._left -= 1
        return self._left >= 0

    def client_done(self, error: Exception | None) -> None:
        self._clients -= 1
        if error is not None or self._left >= 0:
            self.fail(error or ConnectionError("The server hung up."))
        elif not self._clients and not self.over.done():
            self.over.set_result(None)

    def fail(self, error: Exception) -> None:
        if not self.over.done():
            self.over.set_exception(error)


async def run(load: Load) -> Seen:
    """Raises AssertionError where an answer is not what it should be, ConnectionError likewise."""
    loop = asyncio.get_running_loop()
    current = Run(load.turns, len(load.sessions))
    begun = time.perf_counter()
    for session in load.sessions:
        question = _request(load.port, session, load.words)
        await loop.create_connection(
            lambda question=question: Client(question, load.words, current),  # type: ignore[misc]
            "127.0.0.1",
            load.port,
        )
    await current.over
    seconds = time.perf_counter() - begun
    gaps = sorted(current.gaps) or [0.0]
    return Seen(
        seconds=seconds,
        turns=len(current.durations),
        events=current.events,
        ttft=median(current.ttfts) * 1000,
        turn=median(current.durations) * 1000,
        gap_p50=median(gaps) * 1000,
        gap_p99=gaps[int(len(gaps) * 0.99)] * 1000,
    )


def _request(port: int, session: str, words: int) -> bytes:
    """As the page asks behind a proxy that does TLS."""
    message = {
        "content": [{"type": "input_text", "text": prompt(words)}],
        "attachments": [],
        "inference_options": {},
    }
    body = json.dumps({"type": "threads.create", "params": {"input": message}}).encode()
    head = {
        "Host": f"127.0.0.1:{port}",
        "Content-Type": "application/json",
        "Content-Length": len(body),
        "Accept-Language": "en",
        "Origin": f"https://127.0.0.1:{port}",
        "X-Forwarded-Proto": "https",
        "X-ChatKit-Session": "6f1f0e0c-5a55-4a41-9a55-2b8a3d0f8c11",
        "X-CSRFToken": CSRF,
        "Cookie": f"csrftoken={CSRF}; sessionid={session}",
    }
    lines = [f"{name}: {value}\r\n" for name, value in head.items()]
    return f"POST /chatkit HTTP/1.1\r\n{''.join(lines)}\r\n".encode() + body


if __name__ == "__main__":
    found = uvloop.run(run(Load(**json.load(sys.stdin))))
    sys.stdout.write(json.dumps(asdict(found)))
