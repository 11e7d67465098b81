"""Bodies that are too large are refused while they arrive."""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from chatkit_endpoint import body_limit
from chatkit_endpoint.body_limit import takes_body, with_body_limit
from tests.servers import Server, django_server, wait_until

LIMIT = 1_000_000
MEGABYTE = 1_000_000


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with django_server(tmp_path_factory.mktemp("site")) as server:
        yield server


def connect(site: Server) -> socket.socket:
    address = urlsplit(site.url)
    return socket.create_connection((address.hostname, address.port), timeout=30)


def head(path: str, *lines: str) -> bytes:
    return "\r\n".join([f"POST {path} HTTP/1.1", "Host: localhost", *lines, "", ""]).encode()


def answer(connection: socket.socket) -> tuple[int, dict[str, str], Any]:
    """Status, headers and JSON of what comes back, until the server closes."""
    received = b""
    while part := connection.recv(65_536):
        received += part
    top, _, body = received.partition(b"\r\n\r\n")
    status, *lines = top.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    return int(status.split()[1]), headers, json.loads(body)


def pieces(size: int) -> Iterator[bytes]:
    """A body that httpx sends in chunks, without a Content-Length."""
    while size > 0:
        yield b" " * min(size, 50_000)
        size -= 50_000


@pytest.mark.parametrize("path", ["/chatkit", "/chatkit/"])
@pytest.mark.parametrize("is_chunked", [False, True])
def test_the_limit_itself_is_let_through_and_one_byte_more_is_not(
    site: Server, path: str, is_chunked: bool
) -> None:
    statuses = [
        httpx.post(
            site.url + path,
            content=pieces(size) if is_chunked else b" " * size,
            headers={"Content-Type": "application/json"},
        ).status_code
        for size in (LIMIT, LIMIT + 1)
    ]
    # 401: it got as far as to be asked who it is.
    assert statuses == [401, 413]


def test_an_announced_size_is_refused_before_a_byte_of_it_came(site: Server) -> None:
    with connect(site) as connection:
        connection.sendall(head("/chatkit", f"Content-Length: {LIMIT + 1}", "Accept-Language: de"))
        connection.shutdown(socket.SHUT_WR)
        status, headers, said = answer(connection)
    assert status == 413
    assert said["error"]["code"] == "too_large"
    assert headers["connection"] == "close"
    assert headers["content-type"] == "application/json"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-request-id"]


def test_200_mb_cost_neither_memory_nor_disk(site: Server) -> None:
    httpx.post(f"{site.url}/chatkit", content=pieces(LIMIT + 1))
    before = usage(site.pid)
    piece = b" " * MEGABYTE
    chunk = b"%x\r\n%b\r\n" % (len(piece), piece)
    sent = 0
    with connect(site) as connection:
        connection.sendall(head("/chatkit", "Transfer-Encoding: chunked"))
        for _ in range(200):
            connection.sendall(chunk)
            sent += len(piece)
        connection.sendall(b"0\r\n\r\n")
        status, _, said = answer(connection)
    assert (status, said["error"]["code"]) == (413, "too_large")
    assert sent == 200 * MEGABYTE
    after = usage(site.pid)
    assert after["peak"] - before["resident"] < 8 * MEGABYTE
    assert after["written"] - before["written"] < 2 * MEGABYTE


def test_who_never_stops_sending_is_cut_off(site: Server) -> None:
    with connect(site) as connection:
        connection.sendall(head("/chatkit", f"Content-Length: {LIMIT + 1}"))
        # Not a byte follows, and the connection stays open: the answer still ends.
        status, _, _ = answer(connection)
    assert status == 413


@pytest.mark.parametrize(
    ("path", "code", "message"),
    [
        ("/chatkit", "too_large", "The message is too long."),
        ("/chatkit/attachments/", "file_too_large", "The file is too large."),
        ("/accounts/login/", "too_large", "That is more than the server takes."),
    ],
)
def test_what_is_said_fits_what_was_sent(site: Server, path: str, code: str, message: str) -> None:
    refused = httpx.post(site.url + path, content=pieces(12 * MEGABYTE))
    assert refused.status_code == 413
    assert refused.json()["error"] == {"code": code, "message": message}


def test_who_sends_byte_by_byte_holds_up_nobody(site: Server) -> None:
    with ExitStack() as stack:
        slow = [stack.enter_context(connect(site)) for _ in range(60)]
        for number, connection in enumerate(slow):
            path = ("/chatkit", "/chatkit/attachments/", "/accounts/login/")[number % 3]
            connection.sendall(head(path, "Content-Length: 1000") + b"{")
        # Far more than there are threads, and each is still being listened to.
        for _ in range(3):
            for connection in slow:
                connection.sendall(b" ")
            asked = time.monotonic()
            assert httpx.get(f"{site.url}/accounts/login/").status_code == 200
            assert httpx.get(f"{site.url}/readyz").status_code == 200
            assert time.monotonic() - asked < 10
        # The worker's own, and what answered just now.
        wait_until(lambda: site.database.connections(site.pid) <= 6, 10, "few connections")
        for connection in slow:
            connection.setblocking(False)
            with pytest.raises(BlockingIOError):
                connection.recv(1)


async def test_a_body_that_never_ends_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body_limit, "BODY_SECONDS", 0.2)
    taken, sent = await run_limited([b" "] * 10_000, seconds_apart=0.02, default=1_000_000)
    assert 0 < taken < 100
    assert sent[0]["status"] == 408
    assert json.loads(sent[1]["body"])["error"]["code"] == "too_slow"


async def test_the_time_is_the_bodys_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer may take as long as it likes; who waits for it is not cut off."""
    monkeypatch.setattr(body_limit, "BODY_SECONDS", 0.05)

    async def application(scope: Any, receive: Any, send: Any) -> None:
        assert (await receive())["more_body"] is False
        assert (await receive())["type"] == "http.disconnect"
        await send({"type": "http.response.start", "status": 200, "headers": []})

    messages = [{"type": "http.request", "body": b"{}", "more_body": False}]
    sent: list[Any] = []

    async def receive() -> Any:
        if messages:
            return messages.pop(0)
        await asyncio.sleep(0.2)
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    wrapped: Any = with_body_limit(application, default=100)
    scope: Any = {"type": "http", "method": "POST", "path": "/chatkit", "headers": []}
    await wrapped(scope, receive, send)
    assert [each.get("status") for each in sent] == [200]


def test_other_pages_have_a_limit_too(site: Server) -> None:
    sent = httpx.post(f"{site.url}/accounts/login/", content=pieces(3 * MEGABYTE))
    assert sent.status_code == 413
    assert httpx.get(f"{site.url}/accounts/login/").status_code == 200


def test_a_refused_body_is_in_the_log(site: Server) -> None:
    httpx.post(
        f"{site.url}/chatkit",
        content=b" " * (LIMIT + 1),
        headers={"X-Request-ID": "a-body-too-large"},
    )
    lines = [line for line in site.log.splitlines() if "a-body-too-large" in line]
    assert [re.search(r"chat (in|out)", line)[1] for line in lines] == ["in", "out"]  # type: ignore[index]
    assert "status=413" in lines[1]


async def test_a_lying_content_length_does_not_help() -> None:
    """What no server passes on, but the ASGI specification does not promise that."""
    taken, sent = await run_limited(
        [b" " * 600_000, b" " * 600_000], headers=[(b"content-length", b"10")]
    )
    assert taken == 600_000
    assert sent[0]["status"] == 413


async def test_a_view_says_what_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    from chatsite import views

    path = "/healthz"
    assert (await run_limited([b" " * 100], path=path, default=None))[0] == 100
    monkeypatch.setattr(views.healthz, "max_body_bytes", lambda: 99, raising=False)
    taken, sent = await run_limited([b" " * 100], path=path, default=None)
    assert (taken, sent[0]["status"]) == (0, 413)


def test_it_may_be_said_of_any_view() -> None:
    def view() -> None: ...

    assert takes_body(lambda: 7)(view) is view
    assert view.max_body_bytes() == 7  # type: ignore[attr-defined]


async def run_limited(
    parts: list[bytes],
    *,
    path: str = "/chatkit",
    headers: list[tuple[bytes, bytes]] | None = None,
    default: int | None = None,
    seconds_apart: float = 0.0,
) -> tuple[int, list[Any]]:
    """How many bytes an application is given of such a body, and what is sent back."""
    taken = 0
    sent: list[Any] = []
    waiting = [
        {"type": "http.request", "body": part, "more_body": number < len(parts)}
        for number, part in enumerate(parts, 1)
    ]

    async def application(scope: Any, receive: Any, send: Any) -> None:
        nonlocal taken
        while (message := await receive())["type"] == "http.request":
            taken += len(message["body"])
            if not message["more_body"]:
                return

    async def receive() -> Any:
        await asyncio.sleep(seconds_apart)
        return waiting.pop(0) if waiting else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope: Any = {"type": "http", "method": "POST", "path": path, "headers": headers or []}
    wrapped: Any = with_body_limit(application, default=default)
    await wrapped(scope, receive, send)
    return taken, sent


def usage(pid: int) -> dict[str, int]:
    """Bytes resident, the most since the last call, and written to files so far."""
    process = Path("/proc") / str(pid)
    status = (process / "status").read_text()
    found = {
        name: int(re.search(rf"{key}:\s+(\d+) kB", status)[1]) * 1024  # type: ignore[index]
        for name, key in (("resident", "VmRSS"), ("peak", "VmHWM"))
    }
    (process / "clear_refs").write_text("5")
    # What write() was given, temporary files that have no name included.
    written = re.search(r"wchar: (\d+)", (process / "io").read_text())
    assert written
    return {**found, "written": int(written[1])}


if not os.path.exists("/proc/self/io"):  # noqa: PTH110 - as early as that
    pytestmark = pytest.mark.skip("Memory and files are counted as Linux does.")
