"""Visitors who send real JSON to the endpoint, in this process, and decode what comes back."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from chatkit.types import (
    AssistantMessageItem,
    ErrorEvent,
    Page,
    Thread,
    ThreadCreatedEvent,
    ThreadItem,
    ThreadItemDoneEvent,
    ThreadStreamEvent,
)
from django.contrib.auth.models import User
from django.test import AsyncClient
from pydantic import TypeAdapter

from chatkit_endpoint.server import get_server

CSRF_TOKEN = "c" * 32

_event: TypeAdapter[ThreadStreamEvent] = TypeAdapter(ThreadStreamEvent)
_items: TypeAdapter[Page[ThreadItem]] = TypeAdapter(Page[ThreadItem])


@dataclass
class Answer:
    """A status with what was said: a stream's events, or a JSON body."""

    status: int
    body: bytes
    headers: Any
    events: list[ThreadStreamEvent] = field(default_factory=list)

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The endpoint's word for why it refused."""
        return str(self.json["error"]["code"])

    @property
    def items(self) -> Page[ThreadItem]:
        """The body as a page of items."""
        return _items.validate_json(self.body)

    @property
    def thread(self) -> Thread:
        """The thread that the body is, or that the stream made."""
        for event in self.events:
            if isinstance(event, ThreadCreatedEvent):
                return event.thread
        return Thread.model_validate_json(self.body)

    @property
    def done(self) -> list[ThreadItem]:
        return [event.item for event in self.events if isinstance(event, ThreadItemDoneEvent)]

    @property
    def text(self) -> str:
        """What the assistant's finished messages say."""
        return "".join(
            part.text
            for item in self.done
            if isinstance(item, AssistantMessageItem)
            for part in item.content
        )

    @property
    def errors(self) -> list[ErrorEvent]:
        return [event for event in self.events if isinstance(event, ErrorEvent)]


class _Browser(AsyncClient):
    """Django's client, which otherwise always asks ``testserver``."""

    host = "testserver"

    async def request(self, **request: Any) -> Any:
        others = [header for header in request["headers"] if header[0] != b"host"]
        request["headers"] = [(b"host", self.host.encode()), *others]
        return await super().request(**request)


class Visitor:
    """One browser with its cookies; CSRF is enforced, and its token is sent unless told not to."""

    def __init__(self, host: str = "testserver", **headers: str) -> None:
        self.http = _Browser(enforce_csrf_checks=True)
        self.http.host = host
        self.http.cookies["csrftoken"] = CSRF_TOKEN
        self.headers = {"X-CSRFToken": CSRF_TOKEN, **headers}

    async def sign_in(self, user: User) -> Visitor:
        await self.http.aforce_login(user)
        return self

    async def sign_out(self) -> None:
        """All cookies go, and the page that is shown next brings a new token."""
        await self.http.alogout()
        self.http.cookies["csrftoken"] = CSRF_TOKEN

    async def post(self, body: bytes | str, path: str = "/chatkit") -> Answer:
        """Send these bytes; a stream is read to its end."""
        response: Any = await self.http.post(
            path, data=body, content_type="application/json", headers=self.headers
        )
        if not response.streaming:
            return Answer(response.status_code, response.content, response.headers)
        body = b"".join([bytes(part) async for part in response])
        frames = body.split(b"\n\n")
        assert frames.pop() == b"", "A stream ends with a whole frame."
        events = [_event.validate_json(frame.removeprefix(b"data: ")) for frame in frames]
        return Answer(response.status_code, body, response.headers, events)

    async def ask(self, operation: str, **params: Any) -> Answer:
        return await self.post(json.dumps({"type": operation, "params": params}))

    async def say(self, text: str, thread_id: str | None = None, **more: Any) -> Answer:
        """Write a message, in a new thread where none is named."""
        if thread_id is None:
            return await self.ask("threads.create", input=message(text, **more))
        return await self.ask(
            "threads.add_user_message", thread_id=thread_id, input=message(text, **more)
        )


def message(text: str, **more: Any) -> dict[str, Any]:
    """A user's input as the client sends it."""
    return {
        "content": [{"type": "input_text", "text": text}],
        "attachments": [],
        "inference_options": {},
        **more,
    }


def use_server(settings: Any, path: str) -> None:
    """Have the endpoint ask this server, or our own where the path is empty."""
    settings.CHATKIT_SERVER = path
    get_server.cache_clear()


async def user_of(name: str) -> User:
    """A user without a password, whom nobody can sign in as but by force."""
    return await User.objects.acreate(username=name)
