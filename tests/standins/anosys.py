"""A stand-in for Anosys on loopback: a real HTTP server with a resolver and an ingestion address.

It can be told how to answer, also badly, and keeps what it was sent.
"""

from __future__ import annotations

import json
import os
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from unittest import mock
from urllib.parse import parse_qs, urlsplit

RESOLVER_PATH = "/api/resolveapikeys"


@dataclass(frozen=True, kw_only=True)
class Answer:
    """How to answer one request."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b"{}"
    delay: float = 0.0
    """Seconds to wait before the answer; a long one makes a server that hangs."""
    drop: bool = False
    """Close the connection instead of answering."""
    raw: bytes | None = None
    """Bytes to send instead of HTTP."""
    drip: float = 0.0
    """Seconds between two bytes of the answer, its head included."""


class AnosysStandin:
    """What a test sees of the server. All of it may be used from any thread."""

    def __init__(self, api_key: str, ingestion_path: str) -> None:
        self.api_key = api_key
        self.ingestion_path = ingestion_path
        self.events: list[dict[str, Any]] = []
        """Every event that was received, in order, whatever was answered."""
        self.ingested: list[dict[str, Any]] = []
        """Those that were answered with a 2xx."""
        self.headers: list[dict[str, str]] = []
        """The headers, under lower-case names, with which the events came."""
        self.resolver_queries: list[dict[str, list[str]]] = []
        self.stray_requests: list[str] = []
        """Requests for any other address: there should be none."""
        self.connections = 0
        self.port = 0
        self._ingestion_script: deque[Answer] = deque()
        self._resolver_script: deque[Answer] = deque()
        self._always = Answer()
        self._changed = threading.Condition()
        self.closing = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def resolver_url(self) -> str:
        return f"{self.url}{RESOLVER_PATH}"

    @property
    def ingestion_url(self) -> str:
        return f"{self.url}{self.ingestion_path}"

    @property
    def resolver_requests(self) -> int:
        return len(self.resolver_queries)

    @property
    def ingestion_requests(self) -> int:
        return len(self.events)

    @property
    def event_ids(self) -> list[str]:
        """Of the events that were received, in order."""
        with self._changed:
            return [event["event_id"] for event in self.events]

    def answer(self, *answers: Answer) -> None:
        """Answer the next events so, one each; then 200 again."""
        with self._changed:
            self._ingestion_script.extend(answers)

    def answer_always(self, answer: Answer) -> None:
        """Answer events so from now on, after what ``answer`` was told."""
        with self._changed:
            self._always = answer

    def resolve(self, *answers: Answer) -> None:
        """Answer the resolver's next requests so, one each; then by the key again."""
        with self._changed:
            self._resolver_script.extend(answers)

    def move(self, ingestion_path: str) -> None:
        """Give the key another address. The old one answers 404."""
        with self._changed:
            self.ingestion_path = ingestion_path

    def wait_for(self, count: int, timeout: float = 10.0) -> None:
        """Wait until so many events came. Raises AssertionError after ``timeout`` seconds."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self.events) >= count, timeout):
                raise AssertionError(f"{len(self.events)} events in {timeout} s, not {count}")

    # -- called by the server's threads ----------------------------------------------------------

    def connected(self) -> None:
        with self._changed:
            self.connections += 1

    def asked(self, query: dict[str, list[str]]) -> Answer:
        with self._changed:
            self.resolver_queries.append(query)
            if self._resolver_script:
                return self._resolver_script.popleft()
            if query.get("apikey") != [self.api_key]:
                return Answer(status=401)
            return Answer(body=json.dumps({"apiUrl": self.ingestion_url}).encode())

    def received(self, path: str, headers: dict[str, str], body: bytes) -> Answer:
        with self._changed:
            if path != self.ingestion_path:
                self.stray_requests.append(path)
                return Answer(status=404)
            event = json.loads(body)
            answer = self._ingestion_script.popleft() if self._ingestion_script else self._always
            self.events.append(event)
            self.headers.append(headers)
            if 200 <= answer.status < 300 and not answer.drop and answer.raw is None:
                self.ingested.append(event)
            self._changed.notify_all()
            return answer


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # Connections stay open, as a client should use them.
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.server.standin.connected()

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        if parts.path == RESOLVER_PATH:
            self._answer(self.server.standin.asked(parse_qs(parts.query)))
        else:
            self.server.standin.stray_requests.append(parts.path)
            self._answer(Answer(status=404))

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self._answer(self.server.standin.received(self.path, headers, body))

    def _answer(self, answer: Answer) -> None:
        self.server.standin.closing.wait(answer.delay)
        if answer.drop:
            self.close_connection = True
            return
        if answer.raw is not None:
            self.wfile.write(answer.raw)
            self.close_connection = True
            return
        head = [f"HTTP/1.1 {answer.status} As scripted", f"Content-Length: {len(answer.body)}"]
        head += [f"{name}: {value}" for name, value in answer.headers.items()]
        self._write("\r\n".join([*head, "", ""]).encode("latin-1") + answer.body, answer.drip)

    def _write(self, content: bytes, drip: float) -> None:
        if not drip:
            self.wfile.write(content)
            return
        for byte in content:
            if self.server.standin.closing.wait(drip):
                return
            self.wfile.write(bytes([byte]))

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the name it has there)
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, standin: AnosysStandin) -> None:
        self.standin = standin
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is part of many tests, and no news."""


@contextmanager
def anosys_standin(
    *, api_key: str = "key-of-the-standin", ingestion_path: str = "/trafficpixel/5ec2e7/ck/0ddba11"
) -> Iterator[AnosysStandin]:
    """Serve for as long as the block runs."""
    standin = AnosysStandin(api_key, ingestion_path)
    # A proxy that the machine may need for the outside is not asked for what is on loopback.
    with mock.patch.dict(os.environ, {"no_proxy": "127.0.0.1", "NO_PROXY": "127.0.0.1"}):
        yield from _serve(standin)


def _serve(standin: AnosysStandin) -> Iterator[AnosysStandin]:
    server = _Server(standin)
    standin.port = server.server_port
    thread = threading.Thread(
        target=server.serve_forever, args=(0.05,), name="anosys-standin", daemon=True
    )
    thread.start()
    try:
        yield standin
    finally:
        standin.closing.set()
        server.shutdown()
        server.server_close()
        thread.join(5)
