"""A stand-in for OpenAI on loopback: a real HTTP server that plays ``POST /v1/responses``.

It streams a model with a thought, a tool and an answer, and can also fail in each way that the real
one does. It keeps the requests that it got. As ``HTTPS_PROXY`` it also hears, and refuses, what
would go to the real one.
"""

from __future__ import annotations

import json
import select
import socket
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Event = dict[str, Any]

TOOL = "current_time"
MODEL = "gpt-5-mini-2026-01-15"
USAGE: Event = {
    "input_tokens": 120,
    "input_tokens_details": {"cached_tokens": 100},
    "output_tokens": 30,
    "output_tokens_details": {"reasoning_tokens": 20},
    "total_tokens": 150,
}


@dataclass(kw_only=True)
class Play:
    """How the model behaves from now on; change it between requests."""

    thought: tuple[str, ...] = ("I need ", "the clock.")
    text: tuple[str, ...] = ("It is ", "noon ", "in Berlin.")
    calls_tool: bool = True
    """Call the tool, where it is offered and has not been called since the prompt."""
    tool_arguments: str = '{"time_zone": "Europe/Berlin"}'
    seconds_per_delta: float = 0.0
    hangs_after: str = ""
    """Say nothing more after the first event of this type, until the reader goes away."""
    fails: str = ""
    """End with ``response.failed`` and this message, after the text."""
    status: int = 200
    error: str = ""
    """The message of an answer whose status is an error's."""


@dataclass(frozen=True, kw_only=True)
class Request:
    method: str
    path: str
    body: dict[str, Any]


@dataclass
class OpenAIStandin:
    """What a test sees of the server. All of it may be used from any thread."""

    play: Play = field(default_factory=Play)
    requests: list[Request] = field(default_factory=list)
    port: int = 0
    closing: threading.Event = field(default_factory=threading.Event)
    left: list[Request] = field(default_factory=list)
    """Those whose reader went away before the stream's end."""

    @property
    def base_url(self) -> str:
        """For ``OPENAI_BASE_URL``."""
        return f"{self.url}/v1"

    @property
    def url(self) -> str:
        """For ``HTTPS_PROXY``."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def bodies(self) -> list[dict[str, Any]]:
        """What the model was given, request by request."""
        return [request.body for request in self.requests if request.path == "/v1/responses"]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        content = self.rfile.read(length)
        if len(content) < length:
            self.close_connection = True  # The client went away while it was asking.
            return
        body = json.loads(content) if content else {}
        standin = self.server.standin
        request = Request(method="POST", path=self.path, body=body)
        standin.requests.append(request)
        play = standin.play
        if self.path != "/v1/responses" or not body.get("stream"):
            self._refuse(404, "Not found")
        elif play.status != 200:
            self._refuse(play.status, play.error)
        else:
            self._stream(request, play)

    def do_GET(self) -> None:
        self.server.standin.requests.append(Request(method="GET", path=self.path, body={}))
        self._refuse(404, "Not found")

    def do_CONNECT(self) -> None:
        self.server.standin.requests.append(Request(method="CONNECT", path=self.path, body={}))
        self._refuse(403, "Nothing leaves this machine")

    def _refuse(self, status: int, text: str) -> None:
        error = {"message": text, "type": "server_error", "param": None, "code": "server_error"}
        content = json.dumps({"error": error}).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("x-should-retry", "false")
        self.end_headers()
        self.wfile.write(content)

    def _stream(self, request: Request, play: Play) -> None:
        closing = self.server.standin.closing
        try:
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream; charset=utf-8")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for number, event in enumerate(_events(request.body, play)):
                if "delta" in event and play.seconds_per_delta:
                    closing.wait(play.seconds_per_delta)
                data = json.dumps({**event, "sequence_number": number})
                self._chunk(f"event: {event['type']}\ndata: {data}\n\n".encode())
                if event["type"] == play.hangs_after:
                    self._hang()
            self._chunk(b"")
        except ConnectionError:
            self.server.standin.left.append(request)
            self.close_connection = True

    def _hang(self) -> None:
        """Wait for the end of the connection, which is all that its reader may still send."""
        while not self.server.standin.closing.wait(0.02):
            is_told, _, _ = select.select([self.connection], [], [], 0)
            if is_told and not self.connection.recv(1, socket.MSG_PEEK):
                raise ConnectionAbortedError

    def _chunk(self, content: bytes) -> None:
        self.wfile.write(b"%x\r\n%b\r\n" % (len(content), content))

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the name it has there)
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, standin: OpenAIStandin) -> None:
        self.standin = standin
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is part of many tests, and no news."""


@contextmanager
def openai_standin() -> Iterator[OpenAIStandin]:
    """Serve for as long as the block runs."""
    standin = OpenAIStandin()
    server = _Server(standin)
    standin.port = server.server_port
    thread = threading.Thread(
        target=server.serve_forever, args=(0.05,), name="openai-standin", daemon=True
    )
    thread.start()
    try:
        yield standin
    finally:
        standin.closing.set()
        server.shutdown()
        server.server_close()
        thread.join(5)


# -- what the model says ---------------------------------------------------------------------------


def _events(body: dict[str, Any], play: Play) -> Iterator[Event]:
    response = {
        "id": _id("resp"),
        "object": "response",
        "created_at": 1_760_000_000,
        "status": "in_progress",
        "model": MODEL,
        "output": [],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": None,
    }
    yield {"type": "response.created", "response": response}
    yield {"type": "response.in_progress", "response": response}
    output: list[Event] = []
    if play.thought:
        yield from _thought(play.thought, output)
    if play.calls_tool and _offers_tool(body) and not _has_result(body):
        yield from _call(play.tool_arguments, output)
    else:
        yield from _message(play.text, output)
    end = {**response, "output": output, "usage": USAGE}
    if play.fails:
        error = {"code": "server_error", "message": play.fails}
        yield {"type": "response.failed", "response": {**end, "status": "failed", "error": error}}
    else:
        yield {"type": "response.completed", "response": {**end, "status": "completed"}}


def _thought(deltas: tuple[str, ...], output: list[Event]) -> Iterator[Event]:
    item: Event = {"id": _id("rs"), "type": "reasoning", "summary": []}
    place = {"item_id": item["id"], "output_index": len(output), "summary_index": 0}
    part: Event = {"type": "summary_text", "text": ""}
    yield {"type": "response.output_item.added", "output_index": len(output), "item": item}
    yield {"type": "response.reasoning_summary_part.added", **place, "part": part}
    for delta in deltas:
        yield {"type": "response.reasoning_summary_text.delta", **place, "delta": delta}
    text = "".join(deltas)
    part = {**part, "text": text}
    yield {"type": "response.reasoning_summary_text.done", **place, "text": text}
    yield {"type": "response.reasoning_summary_part.done", **place, "part": part}
    item = {**item, "summary": [part]}
    yield {"type": "response.output_item.done", "output_index": len(output), "item": item}
    output.append(item)


def _call(arguments: str, output: list[Event]) -> Iterator[Event]:
    item: Event = {
        "id": _id("fc"),
        "type": "function_call",
        "status": "in_progress",
        "call_id": _id("call"),
        "name": TOOL,
        "arguments": "",
    }
    place = {"item_id": item["id"], "output_index": len(output)}
    yield {"type": "response.output_item.added", "output_index": len(output), "item": item}
    yield {"type": "response.function_call_arguments.delta", **place, "delta": arguments}
    yield {"type": "response.function_call_arguments.done", **place, "arguments": arguments}
    item = {**item, "status": "completed", "arguments": arguments}
    yield {"type": "response.output_item.done", "output_index": len(output), "item": item}
    output.append(item)


def _message(deltas: tuple[str, ...], output: list[Event]) -> Iterator[Event]:
    item: Event = {
        "id": _id("msg"),
        "type": "message",
        "status": "in_progress",
        "role": "assistant",
        "content": [],
    }
    place = {"item_id": item["id"], "output_index": len(output), "content_index": 0}
    part: Event = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
    yield {"type": "response.output_item.added", "output_index": len(output), "item": item}
    yield {"type": "response.content_part.added", **place, "part": part}
    for delta in deltas:
        yield {"type": "response.output_text.delta", **place, "delta": delta, "logprobs": []}
    text = "".join(deltas)
    part = {**part, "text": text}
    yield {"type": "response.output_text.done", **place, "text": text, "logprobs": []}
    yield {"type": "response.content_part.done", **place, "part": part}
    item = {**item, "status": "completed", "content": [part]}
    yield {"type": "response.output_item.done", "output_index": len(output), "item": item}
    output.append(item)


def _offers_tool(body: dict[str, Any]) -> bool:
    return any(tool.get("name") == TOOL for tool in body.get("tools", ()))


def _has_result(body: dict[str, Any]) -> bool:
    return bool(body["input"]) and body["input"][-1].get("type") == "function_call_output"


def _id(prefix: str) -> str:
    return f"{prefix}_{uuid.uuid4().hex}"
