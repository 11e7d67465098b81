"""The HTTP client for collectors: bounded in time and size whatever the other side does."""

from __future__ import annotations

import gc
import socket
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import httpx
import pytest

from observability import http_client
from observability.http_client import Answer as Got
from observability.http_client import BoundedClient, Post, TransportError, retry_after_seconds
from tests.standins.anosys import AnosysStandin, Answer, anosys_standin

SECONDS = 0.5
SLACK_SECONDS = 3.0
"""For a busy machine; what hangs here does so for a minute."""


@pytest.fixture(autouse=True)
def no_proxy_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def standin() -> Iterator[AnosysStandin]:
    with anosys_standin() as standin:
        yield standin


@pytest.fixture
def client() -> Iterator[BoundedClient]:
    client = BoundedClient(seconds=30)
    yield client
    client.close()


@pytest.fixture
def hasty() -> Iterator[BoundedClient]:
    client = BoundedClient(seconds=SECONDS)
    yield client
    client.close()


def send(client: BoundedClient, url: str, content: bytes, headers: dict[str, str]) -> Got:
    """One post; what fails is raised."""
    (answer,) = client.post_all([Post(url, content, headers)])
    if isinstance(answer, TransportError):
        raise answer
    return answer


def post(client: BoundedClient, standin: AnosysStandin, content: bytes = b"{}") -> Got:
    return send(client, standin.ingestion_url, content, {"Content-Type": "application/json"})


def test_it_sends_the_body_and_the_headers(client: BoundedClient, standin: AnosysStandin) -> None:
    content = '{"event_id": "1", "text": "Grüße 👋"}'.encode()
    assert send(client, standin.ingestion_url, content, {"X-One": "1"}).status == 200
    assert standin.events == [{"event_id": "1", "text": "Grüße 👋"}]
    assert standin.headers[0]["x-one"] == "1"
    assert standin.headers[0]["content-length"] == str(len(content))


def test_it_asks_for_bodies_as_they_are(client: BoundedClient, standin: AnosysStandin) -> None:
    post(client, standin)
    assert standin.headers[0]["accept-encoding"] == "identity"


def test_a_name_that_takes_too_long_to_look_up_is_given_up(
    hasty: BoundedClient, standin: AnosysStandin, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = threading.Event()
    with monkeypatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: ended.wait(60))
        started = time.monotonic()
        with pytest.raises(TransportError):
            send(hasty, "http://collector.example/", b"{}", {})
        assert time.monotonic() - started < SECONDS + SLACK_SECONDS
        ended.set()
    hasty._seconds = 30
    assert post(hasty, standin).status == 200


def test_other_users_of_httpx_go_on_logging(
    client: BoundedClient, standin: AnosysStandin, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "httpx")
    post(client, standin)
    assert caplog.text == ""
    httpx.get(standin.url, trust_env=False)
    assert standin.url in caplog.text


def test_a_connection_serves_many_requests(client: BoundedClient, standin: AnosysStandin) -> None:
    for _ in range(20):
        post(client, standin)
    assert standin.ingestion_requests == 20
    assert standin.connections == 1


def test_a_redirect_is_an_answer_and_not_followed(
    client: BoundedClient, standin: AnosysStandin
) -> None:
    standin.answer(Answer(status=307, headers={"Location": f"{standin.url}/elsewhere"}))
    assert post(client, standin).status == 307
    assert standin.ingestion_requests == 1
    assert standin.stray_requests == []


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(Answer(delay=60), id="hangs"),
        pytest.param(Answer(drip=0.1), id="drips its head byte by byte"),
        pytest.param(Answer(drop=True), id="closes the connection"),
        pytest.param(Answer(raw=b"\x00\xff not HTTP \r\n\r\n"), id="talks garbage"),
        pytest.param(Answer(raw=b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000), id="endless head"),
    ],
)
def test_without_an_answer_it_fails_in_time_and_goes_on(
    hasty: BoundedClient, standin: AnosysStandin, answer: Answer
) -> None:
    standin.answer(answer)
    started = time.monotonic()
    with pytest.raises(TransportError) as failure:
        post(hasty, standin)
    assert time.monotonic() - started < SECONDS + SLACK_SECONDS
    assert standin.ingestion_path not in str(failure.value)
    assert failure.value.__cause__ is None
    assert failure.value.__context__ is None
    hasty._seconds = 30
    assert post(hasty, standin).status == 200


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(Answer(body=b"x" * 5_000_000), id="huge"),
        pytest.param(Answer(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx"), id="cut short"),
        pytest.param(Answer(body=b"\xff\x00garbage"), id="garbage"),
    ],
)
def test_the_status_counts_whatever_the_body_is(
    client: BoundedClient, standin: AnosysStandin, answer: Answer
) -> None:
    standin.answer(answer)
    assert post(client, standin).status == 200
    assert post(client, standin).status == 200


def test_a_huge_body_is_left_with_its_connection(
    client: BoundedClient, standin: AnosysStandin
) -> None:
    standin.answer(Answer(body=b"x" * http_client.BODY_BYTES), Answer(body=b"x" * 5_000_000))
    for connections in (1, 1, 2):
        post(client, standin)
        assert standin.connections == connections


def test_a_body_that_drips_after_the_status_does_not_take_the_whole_deadline(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http_client, "UNWANTED_BODY_SECONDS", 0.2)
    client = BoundedClient(seconds=30)
    with socket.create_server(("127.0.0.1", 0)) as server:
        dripping = threading.Thread(target=_drip_body, args=(server,), daemon=True)
        dripping.start()
        started = time.monotonic()
        answer = send(client, f"http://127.0.0.1:{server.getsockname()[1]}/", b"{}", {})
        assert answer.status == 200
        assert time.monotonic() - started < SLACK_SECONDS
        client.close()
        dripping.join(5)


def _drip_body(server: socket.socket) -> None:
    connection, _ = server.accept()
    with connection:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        try:
            for _ in range(100):
                connection.sendall(b"1\r\nx\r\n")
                time.sleep(0.05)
        except OSError:
            return


def test_a_wanted_body_is_read_whole_but_not_without_end(
    client: BoundedClient, standin: AnosysStandin
) -> None:
    fits = b"x" * http_client.BODY_BYTES
    standin.resolve(Answer(body=fits), Answer(body=fits + b"x"))
    assert client.get(standin.resolver_url, {}).body == fits
    with pytest.raises(TransportError, match="BodyTooLarge"):
        client.get(standin.resolver_url, {})


def test_bodies_left_early_leave_nothing_behind(
    standin: AnosysStandin, caplog: pytest.LogCaptureFixture
) -> None:
    client = BoundedClient(seconds=30)
    standin.resolve(Answer(body=b"x" * 5_000_000))
    with pytest.raises(TransportError):
        client.get(standin.resolver_url, {})
    client.close()
    del client
    gc.collect()
    assert caplog.text == ""


def test_nobody_there_is_a_transport_error(client: BoundedClient) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(TransportError, match="ConnectError"):
        send(client, f"http://127.0.0.1:{port}/secret", b"{}", {})


@pytest.mark.parametrize(
    "url",
    ["http://no-such-host.invalid/", f"http://{'a' * 70}.example/", "http://[::1/", "ftp://x/"],
)
def test_an_address_that_leads_nowhere_is_a_transport_error(
    client: BoundedClient, url: str
) -> None:
    with pytest.raises(TransportError):
        send(client, url, b"{}", {})


def addresses_of(
    monkeypatch: pytest.MonkeyPatch, host: str, addresses: list[str], port: int
) -> None:
    """Let the name lead to these addresses."""
    real = socket.getaddrinfo

    def getaddrinfo(name: str | bytes, *args: Any, **kwargs: Any) -> Any:
        if name not in (host, host.encode()):
            return real(name, *args, **kwargs)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port)) for each in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


def test_dead_addresses_of_a_host_share_one_deadline(
    hasty: BoundedClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A full backlog answers no more: the nearest thing on loopback to a black hole.
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server:
        port = server.getsockname()[1]
        addresses_of(monkeypatch, "collector.example", ["127.0.0.1"] * 20, port)
        with socket.create_connection(("127.0.0.1", port)):
            started = time.monotonic()
            with pytest.raises(TransportError):
                send(hasty, f"http://collector.example:{port}/", b"{}", {})
            assert SECONDS - 0.1 < time.monotonic() - started < SECONDS + SLACK_SECONDS


def test_the_second_address_of_a_host_is_tried_too(
    client: BoundedClient, standin: AnosysStandin, monkeypatch: pytest.MonkeyPatch
) -> None:
    addresses_of(monkeypatch, "collector.example", ["127.0.0.77", "127.0.0.1"], standin.port)
    url = f"http://collector.example:{standin.port}{standin.ingestion_path}"
    assert send(client, url, b"{}", {}).status == 200


def test_a_wait_in_progress_can_be_cut_off_from_another_thread(standin: AnosysStandin) -> None:
    client = BoundedClient(seconds=60)
    standin.answer(Answer(delay=60))

    def cut_off() -> None:
        standin.wait_for(1)
        client.cut_off(time.monotonic())

    cutter = threading.Thread(target=cut_off)
    cutter.start()
    started = time.monotonic()
    with pytest.raises(TransportError):
        post(client, standin)
    assert time.monotonic() - started < 5
    cutter.join(5)
    with pytest.raises(TransportError):
        post(client, standin)
    client.close()


def test_the_environment_s_proxy_is_used_and_its_exceptions_heeded(
    standin: AnosysStandin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", standin.url)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    client = BoundedClient(seconds=30)
    assert post(client, standin).status == 200
    assert send(client, "http://collector.example/in", b"{}", {}).status == 404
    assert standin.stray_requests == ["http://collector.example/in"]
    client.close()


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("5", 5),
        (" 120 ", 120),
        ("0", 0),
        ("999999", 999_999),
        ("9" * 400, 999_999_999),
        ("-5", None),
        ("+5", None),
        ("1.5", None),
        ("1e309", None),
        ("abc", None),
        ("", None),
        ("٣", None),
        ("Wed, 21 Oct 2015 07:28:00 GMT", None),
        ("Wed, 21 Oct 99999 07:28:00 GMT", None),
        ("Wed, 21 Oct 2015 07:28:00 +99999999999999", None),
        ("inf", None),
        ("nan", None),
    ],
)
def test_retry_after(value: str, seconds: float | None) -> None:
    assert retry_after_seconds(Got(status=429, headers={"retry-after": value})) == seconds


def test_retry_after_as_a_date() -> None:
    moment = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    seconds = retry_after_seconds(Got(status=503, headers={"retry-after": moment}))
    assert seconds is not None
    assert 80 < seconds <= 90


def test_no_retry_after() -> None:
    assert retry_after_seconds(Got(status=503, headers={})) is None
