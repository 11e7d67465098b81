"""A real HTTP server on loopback that keeps what is posted to it, and answers as it is told."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from unittest import mock

from .anosys import Answer


@dataclass(frozen=True, kw_only=True)
class Post:
    path: str
    headers: dict[str, str]
    """Under lower-case names."""
    body: bytes


class PostStandin:
    """What a test sees of the server. All of it may be used from any thread."""

    usual = Answer()
    """How a post is answered unless a test says otherwise."""

    def __init__(self) -> None:
        self.posts: list[Post] = []
        self.port = 0
        self.busiest = 0
        """How many posts have waited for their answers at one time, at most."""
        self._waiting = 0
        self.closing = threading.Event()
        self._script: deque[Answer] = deque()
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def answer(self, *answers: Answer) -> None:
        """Answer the next posts so, one each; then as usual again."""
        with self._lock:
            self._script.extend(answers)

    def hold(self, answer: Answer) -> None:
        """Wait as long as the answer is to take. Called by the server's threads."""
        with self._lock:
            self._waiting += 1
            self.busiest = max(self.busiest, self._waiting)
        self.closing.wait(answer.delay)
        with self._lock:
            self._waiting -= 1

    def received(self, post: Post) -> Answer:
        """Called by the server's threads. What fails in here is answered with 400."""
        with self._lock:
            self.posts.append(post)
            return self._script.popleft() if self._script else self.usual


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # Connections stay open, as a client should use them.
    server: _Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        post = Post(path=self.path, headers=headers, body=body)
        answer = self.server.standin.received(post)
        self.server.standin.hold(answer)
        if answer.drop:
            self.close_connection = True
            return
        head = [f"HTTP/1.1 {answer.status} As scripted", f"Content-Length: {len(answer.body)}"]
        head += [f"{name}: {value}" for name, value in answer.headers.items()]
        self.wfile.write("\r\n".join([*head, "", ""]).encode("latin-1") + answer.body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the name it has there)
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, standin: PostStandin) -> None:
        self.standin = standin
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is part of some tests, and no news."""


@contextmanager
def serve(standin: PostStandin) -> Iterator[None]:
    """Serve for as long as the block runs."""
    server = _Server(standin)
    standin.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        # A proxy that the machine may need for the outside is not asked for what is on loopback.
        with mock.patch.dict(os.environ, {"no_proxy": "127.0.0.1", "NO_PROXY": "127.0.0.1"}):
            yield
    finally:
        standin.closing.set()
        server.shutdown()
        server.server_close()
        thread.join(5)
