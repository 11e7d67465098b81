"""Streams of 60 events: left at every single one of them, and two hundred at once."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from chatkit.types import ThreadStreamEvent
from django.core.asgi import get_asgi_application
from django.test import Client
from pydantic import TypeAdapter
from pytest_django import Settings

from chatkit_endpoint import streaming
from chatkit_endpoint.server import get_server
from observability.models import Message, Turn
from tests.chatkit_client import ChatClient, asgi_scope, message, request
from tests.factories import make_user
from tests.faults.scale import IS_WHOLE, times
from tests.servers import Server, django_server

from .site_reader import SlowReader
from .site_servers import SETTINGS, said_in, turn_of
from .site_speaker import EVENTS, SPEAKER, TEXTS, Order, is_spoken

POINTS = range(1, EVENTS + 1) if IS_WHOLE else (1, *range(10, EVENTS + 1, 10))
PATIENCE = 20.0
AT_ONCE = times(200, 40)
MOST_GROWTH = 150 * 1024 * 1024
SLOW_SECONDS = 120.0
"""How long the first word of one among many may take."""
BIG = 60_000
"""Characters a piece: all are more than kernels take, and less than the site keeps."""

_adapter: TypeAdapter[ThreadStreamEvent] = TypeAdapter(ThreadStreamEvent)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("site")
    with django_server(folder, settings_module=SETTINGS, SITE_SERVER=SPEAKER) as server:
        yield server


@pytest.fixture(scope="module")
def alice(site: Server) -> Iterator[ChatClient]:
    with ChatClient(site.url) as client:
        yield client.sign_in("alice")


# -- who leaves ------------------------------------------------------------------------------------


@pytest.mark.parametrize("abruptly", [False, True], ids=["FIN", "RST"])
def test_who_leaves_at_any_event_has_a_cancelled_turn_of_what_they_were_sent(
    site: Server, alice: ChatClient, abruptly: bool
) -> None:
    """All at once, so that what one is sent would show in the turn of another."""

    def ask_and_leave(point: int) -> None:
        order = Order(holds_after=point)
        with alice.ask(order.prompt, X_Request_ID=_id(point, abruptly)) as stream:
            stream.until(is_spoken, point).leave(abruptly=abruptly)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(ask_and_leave, POINTS))
    for point in POINTS:
        turn = turn_of(site, _id(point, abruptly))
        assert turn["status"] == "cancelled", point
        assert said_in(site, turn) == Order(holds_after=point).said(point)


def _id(point: int, abruptly: bool) -> str:
    return f"left-at-{point:02}-{'RST' if abruptly else 'FIN'}"


def test_who_drops_a_blocked_connection_has_a_turn_of_what_went_into_it(
    site: Server, alice: ChatClient
) -> None:
    """All of the text waits to be sent, and the client takes nothing any more."""
    order = Order(holds_after=EVENTS - 2, size=BIG)
    texts = order.texts()
    for taken in range(times(6, 3)):
        request_id = f"blocked-after-{taken:02}"
        with SlowReader(site, alice, order, request_id) as reader:
            read = reader.take(taken)
            reader.wait_until_nothing_comes()
        turn = turn_of(site, request_id)
        assert turn["status"] == "cancelled"
        sent = turn["response"]
        assert sent in {"".join(texts[:count]) for count in range(TEXTS + 1)}
        assert sent.startswith(read)
        assert len(sent) < len("".join(texts)), "What was never sent is no part of it."


# -- in this process -------------------------------------------------------------------------------


class BlockedVisit:
    """A request to the site's ASGI application, whose client takes no event from ``point`` on."""

    def __init__(self, cookies: dict[str, str], order: Order, point: int) -> None:
        self.is_blocked = asyncio.Event()
        self._has_left = asyncio.Event()
        self._point = point
        self.taken = 0
        """How many events were written before it was blocked."""
        self._is_asked = False
        self._body = request("threads.create", {"input": message(order.prompt)})
        self._scope = asgi_scope(cookies)

    async def run(self) -> None:
        await get_asgi_application()(self._scope, self._receive, self._send)

    def leave(self) -> None:
        self._has_left.set()

    async def _receive(self) -> Any:
        if not self._is_asked:
            self._is_asked = True
            return {"type": "http.request", "body": self._body}
        await self._has_left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, sent: Any) -> None:
        # One write may hold several events.
        frames = sent.get("body", b"").split(b"\n\n")
        events = [_adapter.validate_json(each.removeprefix(b"data: ")) for each in frames if each]
        spoken = sum(map(is_spoken, events))
        if self.taken + spoken >= self._point:
            self.is_blocked.set()
            await asyncio.Event().wait()
        self.taken += spoken


@pytest.fixture
def cookies(transactional_db: None) -> dict[str, str]:
    client = Client()
    client.force_login(make_user())
    return {name: morsel.value for name, morsel in client.cookies.items()}


@pytest.fixture
def _speaker(settings: Settings) -> Iterator[None]:
    settings.CHATKIT_SERVER = SPEAKER
    get_server.cache_clear()
    yield
    get_server.cache_clear()


@pytest.mark.usefixtures("_speaker")
@pytest.mark.parametrize("point", POINTS)
async def test_an_event_that_waits_for_a_blocked_socket_was_not_sent(
    cookies: dict[str, str], point: int
) -> None:
    """Nor were those behind it, all of which the turn has made long since."""
    order = Order(holds_after=EVENTS)
    visit = BlockedVisit(cookies, order, point)
    running = asyncio.create_task(visit.run())
    async with asyncio.timeout(PATIENCE):
        await visit.is_blocked.wait()
        [stream] = streaming._live
        while stream._context.turn is None or stream._context.turn.events_seen < EVENTS:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        visit.leave()
        await running
        # Its answer stands complete, so it has a second to end by itself; then it is cancelled.
        while await Turn.objects.running().aexists():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    turn = await Turn.objects.aget()
    assert turn.status == Turn.Status.CANCELLED
    said = Message.objects.filter(turn=turn).order_by("position").values_list("kind", "text")
    assert visit.taken < point
    assert [line async for line in said] == order.said(visit.taken)


# -- many ------------------------------------------------------------------------------------------


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux tells, others don't.")
def test_many_streams_at_once_all_complete_in_bounded_memory(
    site: Server, alice: ChatClient
) -> None:
    order = Order(together=AT_ONCE)
    before = _memory(site.pid, "VmRSS")

    def ask(number: int) -> str:
        # Signed in alike, each with a connection of its own.
        with ChatClient(site.url) as client:
            client.http.cookies = alice.http.cookies
            client.http.timeout = httpx.Timeout(SLOW_SECONDS)
            return client.chat(order.prompt, X_Request_ID=f"one-of-many-{number:03}").text

    with ThreadPoolExecutor(AT_ONCE) as pool:
        answers = list(pool.map(ask, range(AT_ONCE)))
    assert answers == ["".join(order.texts())] * AT_ONCE
    growth = _memory(site.pid, "VmHWM") - before
    print(f"{AT_ONCE} streams at once: {growth / 1024 / 1024:.0f} MB more")  # noqa: T201
    assert growth < MOST_GROWTH
    for number in range(AT_ONCE):
        turn = turn_of(site, f"one-of-many-{number:03}")
        assert turn["status"] == "completed"
        assert said_in(site, turn) == order.said(EVENTS)
    assert not site.query("select 1 from chatkit_endpoint_openstream")


def _memory(pid: int, name: str) -> int:
    """A line of the process' status, in bytes: VmRSS is what it holds, VmHWM the most it held."""
    found = re.search(rf"{name}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) * 1024
