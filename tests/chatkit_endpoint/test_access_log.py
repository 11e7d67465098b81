"""One line in, one line out, and nothing of what was said."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from django.http import HttpResponse
from django.test import RequestFactory

from chatkit_endpoint.access_log import tells_access, visit_of
from tests.chatkit_client import ChatClient, message
from tests.servers import Server, django_server, wait_until

PROMPT = "my-secret-question"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """As in production, but for TLS."""
    with django_server(
        tmp_path_factory.mktemp("site"), settings_module="tests.settings_json_log"
    ) as server:
        yield server


@pytest.fixture
def alice(site: Server) -> Iterator[ChatClient]:
    with ChatClient(site.url) as client:
        yield client.sign_in("alice")


def lines(site: Server, request_id: str, count: int = 2) -> list[dict[str, Any]]:
    """The access lines of a request, as soon as there are so many."""

    def found() -> list[dict[str, Any]]:
        return [
            line
            for line in map(json.loads, site.log.splitlines())
            if line["request_id"] == request_id and line["logger"].endswith("access_log")
        ]

    wait_until(lambda: len(found()) >= count, 10, f"{count} lines of {request_id}")
    return found()


def test_a_stream_is_told_when_it_comes_and_when_it_ended(site: Server, alice: ChatClient) -> None:
    with alice.ask(PROMPT, X_Request_ID="stream-12345678") as stream:
        stream.until_text()
        (came,) = lines(site, "stream-12345678", 1)
        stream.read()
    _, went = lines(site, "stream-12345678")
    turn = site.wait_for_row("select * from observability_turn where request_id='stream-12345678'")
    assert came["message"] == "chat in"
    assert (
        came.items()
        >= {
            "method": "POST",
            "path": "/chatkit",
            "operation": "threads.create",
            "user": turn["owner_key"],
            "session": alice.session_id,
        }.items()
    )
    assert went["message"] == "chat out"
    assert (
        went.items()
        >= {
            **{name: came[name] for name in ("method", "path", "operation", "user", "session")},
            "thread": stream.thread_id,
            "turn": turn["trace_id"],
            "outcome": "completed",
            "status": 200,
        }.items()
    )
    assert went["ms"] >= turn["total_ms"]


def test_a_visitor_who_leaves_is_told(site: Server, alice: ChatClient) -> None:
    with alice.ask(PROMPT, X_Request_ID="leaves-12345678") as stream:
        stream.until_text()
        stream.leave(abruptly=True)
    assert lines(site, "leaves-12345678")[1]["outcome"] == "cancelled"


def test_who_is_refused_has_both_lines_too(site: Server, alice: ChatClient) -> None:
    httpx.post(f"{site.url}/chatkit", json={}, headers={"X-Request-ID": "nobody-12345678"})
    came, went = lines(site, "nobody-12345678")
    assert (came["path"], went["status"]) == ("/chatkit", 401)
    assert "user" not in went
    alice.post("threads.get_by_id", {"thread_id": "thr_none"}, X_Request_ID="missing-12345678")
    _, went = lines(site, "missing-12345678")
    assert (went["operation"], went["thread"], went["status"]) == (
        "threads.get_by_id",
        "thr_none",
        404,
    )


@pytest.mark.parametrize("value", ["a\r\nFORGED", "\x1b[31mFORGED", "a\u2028FORGED", "x" * 5000])
def test_hostile_values_stay_in_their_line(site: Server, alice: ChatClient, value: str) -> None:
    request_id = f"hostile-{abs(hash(value))}"
    before = len(site.log.splitlines())
    alice.post("items.list", {"thread_id": value}, X_Request_ID=request_id)
    came, went = lines(site, request_id)
    assert came["thread"] == went["thread"] == value[:200]
    # Each line of the log is a JSON object of its own, in printable ASCII.
    new = site.log.split("\n")[before:-1]
    assert all(line.isascii() and line.isprintable() for line in new)
    assert len([line for line in new if request_id in line]) == 2


def test_a_hostile_path_and_headers_stay_in_their_line(site: Server, alice: ChatClient) -> None:
    for path in ("/nowhere%0d%0aFORGED", "/nowhere%E2%80%A8FORGED", "/%1b[31mFORGED"):
        alice.http.get(path)
    alice.http.post(
        "/chatkit",
        content=b"{}",
        headers={
            **alice.headers,
            "X-ChatKit-Session": "a\tFORGED b",
            "X-Request-ID": "x FORGED 12345678",
        },
    )
    for line in site.log.split("\n")[:-1]:
        json.loads(line)
        assert line.isascii() and line.isprintable()
        assert not line.startswith("FORGED")


def test_no_line_holds_what_was_said_or_a_secret(site: Server, alice: ChatClient) -> None:
    answer = alice.chat(PROMPT, X_Request_ID="secrets-12345678").text
    alice.post("threads.add_user_message", {"thread_id": "thr_none", "input": message(PROMPT)})
    alice.post(PROMPT, {"input": PROMPT})
    lines(site, "secrets-12345678")
    log = site.log
    for secret in (
        PROMPT,
        answer[:40],
        alice.http.cookies["sessionid"],
        alice.http.cookies["csrftoken"],
    ):
        assert secret not in log


async def test_a_view_that_fails_or_is_left_is_told(
    rf: RequestFactory, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    for failure, status in ((ValueError("x"), 500), (asyncio.CancelledError(), 499)):
        caplog.clear()

        @tells_access
        async def view(request: Any, failure: BaseException = failure) -> HttpResponse:
            visit_of(request).come_in()
            raise failure

        with pytest.raises(type(failure)):
            await view(rf.post("/chatkit"))
        came, went = caplog.records
        assert (came.message, went.message) == ("chat in", "chat out")
        assert went.fields["status"] == status  # type: ignore[attr-defined]
