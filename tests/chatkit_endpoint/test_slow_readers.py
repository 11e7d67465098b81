"""Clients that read slowly, or not at all: no task, no seat and no memory is theirs for long."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import uvicorn
from django.core.asgi import get_asgi_application
from django.test import Client
from pytest_django import Settings

from chatkit_endpoint import demo_model, frames, streaming
from chatkit_endpoint.context import RequestContext
from chatkit_endpoint.models import OpenStream
from chatkit_endpoint.streaming import OwnedStream
from observability.models import Turn
from tests.chatkit_client import ChatClient, message, request
from tests.factories import make_user
from tests.servers import django_server, wait_until
from tests.sites.flood import FLOOD

PATIENCE = 20.0
SLOW_CLIENTS = 200
MOST_GROWTH = 150 * 1024 * 1024
ENDED = "select count(*) as n from observability_turn where status <> 'running'"


def _socket_that_takes_little(url: str) -> socket.socket:
    """A connection whose two kernels hold 130 kB unread, and not 4 MB as loopback's usually do."""
    parts = urlsplit(url)
    found = socket.socket()
    found.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    found.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
    found.settimeout(PATIENCE)
    found.connect((parts.hostname, parts.port))
    return found


def _raw_request(url: str, cookies: dict[str, str], prompt: str) -> bytes:
    body = request("threads.create", {"input": message(prompt)})
    headers = {
        "Host": urlsplit(url).netloc,
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        "Cookie": "; ".join(f"{name}={value}" for name, value in cookies.items()),
        "X-CSRFToken": cookies["csrftoken"],
    }
    lines = [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join(["POST /chatkit HTTP/1.1", *lines, "", ""]).encode() + body


# -- one, in this process ------------------------------------------------------------------------


@asynccontextmanager
async def _uvicorn() -> AsyncIterator[str]:
    """The site, served over a real socket by this very loop."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        config = uvicorn.Config(get_asgi_application(), lifespan="off", log_config=None)
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = server.force_exit = True
            await serving


@pytest.fixture
def cookies(transactional_db: None) -> dict[str, str]:
    client = Client()
    client.force_login(make_user())
    return {"csrftoken": "t" * 32, "sessionid": client.cookies["sessionid"].value}


@pytest.mark.usefixtures("hasty")
async def test_one_that_reads_nothing_has_no_task_and_no_seat_for_long(
    cookies: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streaming, "SEND_SECONDS", 0.3)
    monkeypatch.setattr(demo_model, "LONG_WORDS", 100_000)
    async with _uvicorn() as url:
        at_rest = asyncio.all_tasks()
        with await asyncio.to_thread(_socket_that_takes_little, url) as reader:
            await asyncio.to_thread(reader.sendall, _raw_request(url, cookies, "/long"))
            async with asyncio.timeout(PATIENCE):
                # Still connected, it still reads nothing; what was begun for it ends all the same.
                while not await Turn.objects.filter(status=Turn.Status.CANCELLED).aexists():  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
                while await OpenStream.objects.aexists() or asyncio.all_tasks() - at_rest:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)


async def _frames(count: int) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield b"data: {}\n\n"


async def _cut_off(stream: OwnedStream, seconds_per_frame: float) -> int:
    """How many frames this reader got until it was given up, which it must be."""
    taken = 0

    async def read() -> None:
        nonlocal taken
        async for _frame in stream.drain():
            taken += 1
            await asyncio.sleep(seconds_per_frame)

    reader = asyncio.create_task(read())
    done, _ = await asyncio.wait([reader], timeout=PATIENCE)
    assert done
    assert reader.cancelled()
    return taken


@pytest.mark.django_db(transaction=True)
async def test_an_answer_that_stands_complete_does_not_wait_for_its_reader_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(streaming, "SEND_SECONDS", 0.3)
    stream = OwnedStream(_frames(3), RequestContext(user=None, owner_key="user:1"))
    await stream.begin()
    assert await _cut_off(stream, seconds_per_frame=10 * PATIENCE) == 1
    assert not stream._buffer.unread_bytes, "What nobody reads is not kept."


@pytest.mark.django_db(transaction=True)
async def test_one_that_reads_in_drops_has_no_more_time_than_the_longest_turn(
    monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    settings.CHATKIT_TURN_TIMEOUT = 0.3
    monkeypatch.setattr(streaming, "SEND_SECONDS", 0.3)
    monkeypatch.setattr(frames, "WRITE_BYTES", 1)
    stream = OwnedStream(_frames(10_000), RequestContext(user=None, owner_key="user:1"))
    await stream.begin()
    assert await _cut_off(stream, seconds_per_frame=0.05) > 1


@pytest.mark.django_db(transaction=True)
async def test_one_that_left_too_much_unread_learns_that_the_rest_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(streaming, "MAX_UNREAD_BYTES", 1000)

    async def many() -> AsyncIterator[bytes]:
        for _ in range(200):
            yield b"data: {}\n\n"
            await asyncio.sleep(0)

    stream = OwnedStream(many(), RequestContext(user=None, owner_key="user:1"))
    await stream.begin()
    await asyncio.wait([stream._task], timeout=PATIENCE)
    taken = [frame async for frame in stream.drain()]
    assert len(taken) == 2
    assert b'"type":"error"' in taken[-1]


# -- many, of a site as it is deployed -----------------------------------------------------------


def _memory(pid: int, name: str) -> int:
    """A line of the process' status, in bytes: VmRSS is what it holds, VmHWM the most it held."""
    found = re.search(rf"{name}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) * 1024


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux tells, others don't.")
def test_200_that_read_nothing_cost_little_memory_and_nobody_else_their_answer(
    tmp_path: Path,
) -> None:
    with (
        django_server(
            tmp_path,
            settings_module="tests.settings_flood",
            CHATKIT_MAX_STREAMS=str(SLOW_CLIENTS),
        ) as server,
        ChatClient(server.url) as alice,
        ChatClient(server.url) as bob,
    ):
        alice.sign_in("alice")
        bob.sign_in("bob")
        assert "progress_update" in bob.chat("Hello").types
        before = _memory(server.pid, "VmRSS")
        asked = _raw_request(server.url, dict(alice.http.cookies), FLOOD)
        with ExitStack() as stack:
            for _ in range(SLOW_CLIENTS):
                slow = stack.enter_context(_socket_that_takes_little(server.url))
                slow.sendall(asked)
            assert "progress_update" in bob.chat("Hello").types
            wait_until(
                lambda: server.query(ENDED)[0]["n"] == SLOW_CLIENTS + 2, 60, "the end of all turns"
            )
            growth = _memory(server.pid, "VmHWM") - before
            assert growth < MOST_GROWTH, f"{growth / 1024 / 1024:.0f} MB"
            # Connected still, all of them.
            assert "progress_update" in bob.chat("Hello").types
            wait_until(
                lambda: not server.query("select 1 from chatkit_endpoint_openstream"),
                10,
                "all seats given back",
            )
