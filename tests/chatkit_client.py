"""A small real ChatKit client: signs in, asks, decodes every event, goes away at any point."""

from __future__ import annotations

import json
import socket
import struct
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

import httpx
from chatkit.types import (
    AssistantMessageContentPartTextDelta,
    ErrorEvent,
    ThreadCreatedEvent,
    ThreadItemDoneEvent,
    ThreadItemUpdatedEvent,
    ThreadStreamEvent,
    WorkflowTaskAdded,
    WorkflowTaskUpdated,
)
from pydantic import TypeAdapter

from tests.servers import PASSWORD

TIMEOUT_SECONDS = 20.0

_adapter: TypeAdapter[ThreadStreamEvent] = TypeAdapter(ThreadStreamEvent)


class ChatClient:
    """One browser: cookies, a chat session, a language. Use it in a ``with`` block."""

    def __init__(self, url: str, *, locale: str = "en") -> None:
        self.session_id = str(uuid.uuid4())
        self.http = httpx.Client(
            base_url=url,
            timeout=TIMEOUT_SECONDS,
            headers={"Accept-Language": locale},
            trust_env=False,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.http.close()

    def sign_in(self, name: str) -> Self:
        """As a person does it: the page, its form with its CSRF token, the redirect."""
        self.http.get("/accounts/login/").raise_for_status()
        answer = self.http.post(
            "/accounts/login/",
            data={
                "username": name,
                "password": PASSWORD,
                "csrfmiddlewaretoken": self.http.cookies["csrftoken"],
            },
        )
        assert answer.status_code == 302, answer.text
        return self

    @property
    def headers(self) -> dict[str, str]:
        """What the page adds to each request of the chat."""
        return {
            "Content-Type": "application/json",
            "X-ChatKit-Session": self.session_id,
            "X-CSRFToken": self.http.cookies.get("csrftoken") or "",
        }

    def post(self, operation: str, params: dict[str, Any], **headers: str) -> httpx.Response:
        """The whole answer to a request; ``headers`` are named with underscores."""
        return self.send(request(operation, params), **headers)

    def send(
        self, content: bytes | Iterator[bytes], path: str = "/chatkit", **headers: str
    ) -> httpx.Response:
        """The whole answer to any body, also one that ChatKit knows nothing of."""
        return self.http.post(path, content=content, headers={**self.headers, **_named(headers)})

    @contextmanager
    def ask(self, text: str, thread_id: str | None = None, **headers: str) -> Iterator[Stream]:
        """Send a message and stream the answer; the connection ends with the block."""
        operation = "threads.create" if thread_id is None else "threads.add_user_message"
        params: dict[str, Any] = {"input": message(text)}
        if thread_id is not None:
            params["thread_id"] = thread_id
        with self.http.stream(
            "POST",
            "/chatkit",
            content=request(operation, params),
            headers={**self.headers, **_named(headers)},
        ) as response:
            assert response.status_code == 200, response.read()
            yield Stream(response, thread_id)

    def chat(self, text: str, thread_id: str | None = None, **headers: str) -> Stream:
        """Send a message and read the answer to its end."""
        with self.ask(text, thread_id, **headers) as stream:
            stream.read()
        return stream


class Stream:
    """An answer as it comes in. Each frame must be an event that ChatKit's own types know."""

    def __init__(self, response: httpx.Response, thread_id: str | None) -> None:
        self.response = response
        self.thread_id = thread_id or ""
        self.events: list[ThreadStreamEvent] = []
        self.frames: list[dict[str, Any]] = []
        """The same as they came, as plain JSON."""
        self._lines = response.iter_lines()

    def __iter__(self) -> Iterator[ThreadStreamEvent]:
        for line in self._lines:
            if not line:
                continue
            field, _, data = line.partition(": ")
            assert field == "data", line
            assert next(self._lines) == "", "A frame is one line of data and an empty one."
            event = _adapter.validate_json(data)
            self.frames.append(json.loads(data))
            self.events.append(event)
            if isinstance(event, ThreadCreatedEvent):
                self.thread_id = event.thread.id
            yield event

    def read(self) -> None:
        for _ in self:
            pass

    def until(self, is_it: Callable[[ThreadStreamEvent], bool], times: int = 1) -> Self:
        """Read up to the ``times``-th event of that kind. Raises AssertionError without one."""
        for event in self:
            times -= is_it(event)
            if times == 0:
                return self
        raise AssertionError("The stream ended before that event.")

    def until_text(self, deltas: int = 1) -> Self:
        return self.until(is_text, deltas)

    def leave(self, *, abruptly: bool = False) -> None:
        """Close the connection in mid-stream; ``abruptly`` with a reset, like a lost network."""
        if abruptly:
            raw: socket.socket = self.response.extensions["network_stream"].get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.response.close()

    @property
    def text(self) -> str:
        """The assistant's text that has come in so far."""
        return "".join(
            event.update.delta
            for event in self.events
            if isinstance(event, ThreadItemUpdatedEvent)
            and isinstance(event.update, AssistantMessageContentPartTextDelta)
        )

    @property
    def errors(self) -> list[ErrorEvent]:
        return [event for event in self.events if isinstance(event, ErrorEvent)]

    @property
    def types(self) -> list[str]:
        return [event.type for event in self.events]


def request(operation: str, params: dict[str, Any]) -> bytes:
    """A request's body."""
    return json.dumps({"type": operation, "params": params}).encode()


def message(text: str) -> dict[str, Any]:
    """A user's input as the client sends it."""
    return {
        "content": [{"type": "input_text", "text": text}],
        "attachments": [],
        "inference_options": {},
    }


def is_text(event: ThreadStreamEvent) -> bool:
    return isinstance(event, ThreadItemUpdatedEvent) and isinstance(
        event.update, AssistantMessageContentPartTextDelta
    )


def is_thought(event: ThreadStreamEvent) -> bool:
    return isinstance(event, ThreadItemUpdatedEvent) and isinstance(
        event.update, WorkflowTaskAdded | WorkflowTaskUpdated
    )


def is_answer(event: ThreadStreamEvent) -> bool:
    """The assistant's message stands complete: the last event of a turn."""
    return isinstance(event, ThreadItemDoneEvent) and event.item.type == "assistant_message"


def _named(headers: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}


def asgi_scope(cookies: dict[str, str]) -> dict[str, Any]:
    """Of a request to the chat, with these cookies, as a server hands it to an ASGI application."""
    token = "t" * 32
    cookie = "; ".join(f"{name}={value}" for name, value in cookies.items())
    headers = {
        "host": "testserver",
        "content-type": "application/json",
        "cookie": f"{cookie}; csrftoken={token}",
        "x-csrftoken": token,
    }
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "path": "/chatkit",
        "raw_path": b"/chatkit",
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }
