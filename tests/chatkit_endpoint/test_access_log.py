"""One line in, one line out, one row to look up, and nothing of what was said."""

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
from observability import requests
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


# -- the rows --------------------------------------------------------------------------------------


def row(site: Server, request_id: str) -> dict[str, Any]:
    """The row of a request, once the worker has written it."""
    return site.wait_for_row(
        "select * from observability_endpointrequest where request_id = %s", request_id, timeout=30
    )


def test_a_stream_has_a_row_that_names_its_turn(site: Server, alice: ChatClient) -> None:
    stream = alice.chat(PROMPT, X_Request_ID="row-of-a-stream")
    kept = row(site, "row-of-a-stream")
    turn = site.wait_for_row("select * from observability_turn where request_id='row-of-a-stream'")
    for name in ("operation", "tenant", "owner_key", "thread_id", "session_id", "trace_id"):
        assert kept[name] == turn[name], name
    assert kept["thread_id"] == stream.thread_id
    assert (kept["status"], kept["error_code"]) == (200, "")
    assert kept["total_ms"] >= turn["total_ms"]


def test_a_turn_that_failed_says_so_in_its_row(site: Server, alice: ChatClient) -> None:
    alice.chat("/error", X_Request_ID="row-of-a-failure")
    kept = row(site, "row-of-a-failure")
    turn = site.wait_for_row("select * from observability_turn where request_id='row-of-a-failure'")
    assert turn["status"] == "failed"
    assert (kept["status"], kept["error_code"]) == (200, turn["error_code"])


def test_who_is_refused_has_a_row_with_the_reason(site: Server, alice: ChatClient) -> None:
    httpx.post(f"{site.url}/chatkit", json={}, headers={"X-Request-ID": "row-of-nobody"})
    alice.post("threads.get_by_id", {"thread_id": "thr_none"}, X_Request_ID="row-of-missing")
    alice.send(b"no JSON", X_Request_ID="row-of-nonsense")
    alice.send(b"x" * 2_000_000, X_Request_ID="row-of-too-much")
    alice.http.get("/chatkit/attachments/atc_none/", headers={"X-Request-ID": "row-of-no-file"})
    found = {
        name: tuple(row(site, f"row-of-{name}")[column] for column in ("operation", "status"))
        for name in ("nobody", "missing", "nonsense", "too-much", "no-file")
    }
    assert found == {
        "nobody": ("", 401),
        "missing": ("threads.get_by_id", 404),
        "nonsense": ("", 400),
        "too-much": ("", 413),
        "no-file": ("attachments.download", 404),
    }
    assert row(site, "row-of-nobody")["error_code"] == "unauthenticated"
    assert row(site, "row-of-nobody")["owner_key"] == ""
    assert row(site, "row-of-missing")["error_code"] == "not_found"
    assert row(site, "row-of-missing")["owner_key"].startswith("user:")


def test_what_browsers_report_and_other_pages_have_no_row(site: Server, alice: ChatClient) -> None:
    reported = alice.send(b"{}", "/observability/api/events/", X_Request_ID="row-of-telemetry")
    assert reported.status_code == 400
    alice.http.get("/", headers={"X-Request-ID": "row-of-a-page"})
    alice.post("threads.list", {}, X_Request_ID="row-of-a-list")
    # Written in the order in which they were answered.
    row(site, "row-of-a-list")
    for name in ("telemetry", "a-page"):
        assert not site.query(
            "select 1 from observability_endpointrequest where request_id = %s", f"row-of-{name}"
        )


def test_a_site_that_ends_writes_the_last_rows_down(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with django_server(tmp_path_factory.mktemp("ending")) as site, ChatClient(site.url) as client:
        client.post("threads.list", {}, X_Request_ID="row-of-the-end")
        site.terminate()
        assert row(site, "row-of-the-end")["status"] == 401


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
        kept = requests._buffer.rows.pop()
        code = "ValueError" if status == 500 else ""
        assert (kept.status, kept.error_code) == (status, code)
