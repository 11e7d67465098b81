"""How much one visitor may ask for, over time and at once."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from threading import Barrier, Event
from typing import Any, cast
from unittest.mock import Mock

import httpx
import pytest
from chatkit.server import ChatKitServer
from chatkit.store import Store
from chatkit.types import ChatKitReq, ProgressUpdateEvent, ThreadMetadata, ThreadStreamEvent
from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from django.db.models import F
from django.db.models.functions import Now
from django.test import RequestFactory
from django.utils import timezone
from pydantic import TypeAdapter
from pytest_django import Settings

from chatkit_endpoint import limits
from chatkit_endpoint.context import RequestContext
from chatkit_endpoint.errors import Refused
from chatkit_endpoint.limits import (
    Allowance,
    Rate,
    address_of,
    allowances_of,
    forget,
    is_costly,
    open_stream,
    take,
)
from chatkit_endpoint.models import OpenStream, RateBucket
from observability import instrument, outbox
from observability.database import run_in_database
from tests.chatkit_client import ChatClient, message
from tests.servers import Server, django_server, wait_until

THREADS = 50
HOURLY = Rate(10, timedelta(hours=1))


def make_context(owner: str = "user:1", **values: Any) -> RequestContext:
    return RequestContext(user=None, owner_key=owner, **values)


# -- rates ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("60/m", Rate(60, timedelta(minutes=1))),
        ("1/s", Rate(1, timedelta(seconds=1))),
        ("5000/d", Rate(5000, timedelta(days=1))),
        ("", None),
    ],
)
def test_a_rate_is_read(text: str, expected: Rate | None) -> None:
    assert Rate.parse(text) == expected


@pytest.mark.parametrize("text", ["60", "0/m", "-1/m", "60/minute", "6 0/m", "60/m\n", "٦/m"])
def test_what_is_no_rate_is_an_error(text: str) -> None:
    with pytest.raises(ImproperlyConfigured):
        Rate.parse(text)


@pytest.mark.django_db(transaction=True)
def test_of_50_at_once_exactly_as_many_get_through_as_may() -> None:
    barrier = Barrier(THREADS)

    def ask(_number: int) -> str:
        try:
            barrier.wait(30)
            take([Allowance("owner", HOURLY), Allowance("address", Rate(1000, HOURLY.period))])
        except Refused as refusal:
            assert refusal.retry_after is not None
            return "refused"
        finally:
            connections.close_all()
        return "taken"

    with ThreadPoolExecutor(THREADS) as pool:
        counted = Counter(pool.map(ask, range(THREADS)))
    assert counted == {"taken": 10, "refused": 40}


@pytest.mark.django_db(transaction=True)
def test_of_those_who_come_at_once_to_a_bucket_that_is_not_there_yet_nobody_is_refused() -> None:
    at_once, buckets = 4, 50
    barrier = Barrier(at_once)

    def take_of_each(_: int) -> None:
        try:
            for number in range(buckets):
                barrier.wait(30)
                take([Allowance(f"new {number}", HOURLY)])
        finally:
            connections.close_all()

    with ThreadPoolExecutor(at_once) as pool:
        list(pool.map(take_of_each, range(at_once)))
    assert RateBucket.objects.count() == buckets


@pytest.mark.django_db(transaction=True)
def test_tokens_come_back_one_by_one() -> None:
    for _ in range(10):
        take([Allowance("x", HOURLY)])
    with pytest.raises(Refused) as refused:
        take([Allowance("x", HOURLY)])
    # Six minutes for one of ten per hour.
    assert 350 < (refused.value.retry_after or 0) <= 360
    RateBucket.objects.update(full_at=F("full_at") - timedelta(minutes=6))
    take([Allowance("x", HOURLY)])
    with pytest.raises(Refused):
        take([Allowance("x", HOURLY)])


@pytest.mark.django_db(transaction=True)
def test_a_bucket_never_holds_more_than_its_rate() -> None:
    take([Allowance("x", HOURLY)])
    RateBucket.objects.update(full_at=F("full_at") - timedelta(days=3))
    for _ in range(10):
        take([Allowance("x", HOURLY)])
    with pytest.raises(Refused):
        take([Allowance("x", HOURLY)])


@pytest.mark.django_db(transaction=True)
def test_a_single_token_is_there_at_once() -> None:
    once = Rate(1, timedelta(hours=1))
    for number in range(20):
        take([Allowance(str(number), once)])


@pytest.mark.django_db(transaction=True)
def test_who_is_refused_by_one_bucket_takes_from_none() -> None:
    once = Rate(1, timedelta(hours=1))
    take([Allowance("full", once)])
    with pytest.raises(Refused):
        take([Allowance("other", HOURLY), Allowance("full", once)])
    assert not RateBucket.objects.filter(key="other").exists()


@pytest.mark.django_db(transaction=True)
def test_buckets_that_nobody_uses_are_forgotten() -> None:
    RateBucket.objects.create(key="old", full_at=Now() - timedelta(days=2))
    RateBucket.objects.create(key="new", full_at=Now() - timedelta(hours=2))
    forget()
    assert list(RateBucket.objects.values_list("key", flat=True)) == ["new"]
    RateBucket.objects.update(full_at=Now() - timedelta(days=2))
    take([Allowance("x", HOURLY)])
    assert list(RateBucket.objects.values_list("key", flat=True)) == ["x"]


def test_owners_tenants_and_kinds_have_buckets_of_their_own(
    rf: RequestFactory, settings: Settings
) -> None:
    settings.CHATKIT_RATE_LIMIT = "60/m"
    request = rf.post("/chatkit")

    def owner_key(tenant: str, owner: str, kind: str = "chat") -> str:
        return allowances_of(request, tenant=tenant, owner_key=owner, kind=kind)[0].key

    keys = [
        owner_key("", "user:1"),
        owner_key("", "user:2"),
        owner_key("a", "user:1"),
        owner_key('a","user:1', ""),
        owner_key("", "user:1", "telemetry"),
    ]
    assert len(set(keys)) == len(keys)
    assert owner_key("", "user:1") == keys[0]
    assert not any("user" in key for key in keys)


def test_without_a_rate_nothing_is_counted(rf: RequestFactory, settings: Settings) -> None:
    settings.CHATKIT_RATE_LIMIT = settings.CHATKIT_ADDRESS_RATE_LIMIT = ""
    assert allowances_of(rf.post("/chatkit"), tenant="", owner_key="user:1") == []


@pytest.mark.parametrize(
    ("operation", "params", "expected"),
    [
        ("threads.create", {"input": message("x")}, True),
        ("threads.retry_after_item", {"thread_id": "t", "item_id": "i"}, True),
        ("threads.sync_custom_action", {"thread_id": "t", "action": {"type": "x"}}, True),
        ("attachments.create", {"name": "a", "size": 1, "mime_type": "text/plain"}, True),
        ("input.transcribe", {"audio_base64": "", "mime_type": "audio/webm"}, True),
        ("threads.list", {}, False),
        ("threads.get_by_id", {"thread_id": "t"}, False),
        ("items.list", {"thread_id": "t"}, False),
        ("threads.update", {"thread_id": "t", "title": "x"}, False),
        ("items.feedback", {"thread_id": "t", "item_ids": [], "kind": "positive"}, False),
    ],
)
def test_what_costs_is_counted(operation: str, params: dict[str, Any], expected: bool) -> None:
    adapter: TypeAdapter[ChatKitReq] = TypeAdapter(ChatKitReq)
    request = adapter.validate_python({"type": operation, "params": params})
    assert is_costly(request) == expected


# -- addresses -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("proxies", "remote", "forwarded", "expected"),
    [
        (0, "192.0.2.1", None, "192.0.2.1"),
        # What a visitor says of itself counts for nothing.
        (0, "192.0.2.1", "198.51.100.7", "192.0.2.1"),
        (1, "10.0.0.1", "198.51.100.7", "198.51.100.7"),
        (1, "10.0.0.1", "203.0.113.9, 198.51.100.7", "198.51.100.7"),
        (2, "10.0.0.1", "203.0.113.9, 198.51.100.7, 10.0.0.2", "198.51.100.7"),
        # It did not come by way of the proxies.
        (2, "192.0.2.1", "198.51.100.7", "192.0.2.1"),
        (1, "192.0.2.1", None, "192.0.2.1"),
        (1, "192.0.2.1", "unknown", "192.0.2.1"),
        (1, "10.0.0.1", "198.51.100.7:4711", "198.51.100.7"),
        (1, "10.0.0.1", "[2001:db8::7]:4711", "2001:db8::/64"),
        (0, "2001:db8::1:2:3:4", None, "2001:db8::/64"),
        (0, "::ffff:192.0.2.1", None, "192.0.2.1"),
        (0, "", "198.51.100.7", ""),
    ],
)
def test_the_address_is_what_our_own_proxies_say(
    rf: RequestFactory,
    settings: Settings,
    proxies: int,
    remote: str,
    forwarded: str | None,
    expected: str,
) -> None:
    settings.CHATKIT_TRUSTED_PROXIES = proxies
    headers = {} if forwarded is None else {"X-Forwarded-For": forwarded}
    request = rf.post("/chatkit", headers=headers, REMOTE_ADDR=remote)
    assert address_of(request) == expected


# -- seats ---------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
async def test_of_20_streams_at_once_as_many_open_as_may(settings: Settings) -> None:
    settings.CHATKIT_MAX_STREAMS = 3
    is_over = asyncio.Event()

    async def stream(context: RequestContext) -> str:
        try:
            async with open_stream(context):
                await is_over.wait()
        except Refused as refusal:
            assert refusal.retry_after
            return "refused"
        return "streamed"

    tasks = [asyncio.create_task(stream(make_context())) for _ in range(20)]
    other = asyncio.create_task(stream(make_context("user:2")))
    neighbour = asyncio.create_task(stream(make_context(tenant="b")))
    refused = [await each for each in islice(asyncio.as_completed(tasks), 17)]
    assert set(refused) == {"refused"}
    is_over.set()
    assert Counter(await asyncio.gather(*tasks)) == {"streamed": 3, "refused": 17}
    assert [await other, await neighbour] == ["streamed", "streamed"]
    assert not await OpenStream.objects.aexists()


@pytest.mark.django_db(transaction=True)
async def test_a_stream_that_fails_or_is_cancelled_gives_its_seat_back(settings: Settings) -> None:
    settings.CHATKIT_MAX_STREAMS = 1
    for failure in (ValueError, asyncio.CancelledError):
        with pytest.raises(failure):
            async with open_stream(make_context()):
                raise failure
    async with open_stream(make_context()):
        pass


@pytest.mark.django_db(transaction=True)
async def test_who_is_cancelled_while_taking_a_seat_does_not_keep_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    is_taking, may_take = Event(), Event()
    take_seat = limits._take_seat

    def taken_slowly(context: RequestContext) -> int:
        is_taking.set()
        assert may_take.wait(10)
        return take_seat(context)

    monkeypatch.setattr(limits, "_take_seat", taken_slowly)

    async def stream() -> None:
        async with open_stream(make_context()):
            raise AssertionError("It never streamed.")

    streaming = asyncio.create_task(stream())
    assert await asyncio.to_thread(is_taking.wait, 10)
    streaming.cancel()
    # Twice: as by a visitor who leaves a site that is shutting down.
    await asyncio.sleep(0)
    streaming.cancel()
    with pytest.raises(asyncio.CancelledError):
        await streaming
    assert limits._leaving
    may_take.set()
    await asyncio.wait_for(asyncio.gather(*limits._leaving), 10)
    assert not await OpenStream.objects.aexists()


@pytest.mark.django_db(transaction=True)
async def test_a_dead_process_keeps_a_seat_no_longer_than_its_lease(settings: Settings) -> None:
    settings.CHATKIT_MAX_STREAMS = 1
    await OpenStream.objects.acreate(
        owner_key="user:1", seat=0, lease_expires_at=Now() + timedelta(seconds=60)
    )
    with pytest.raises(Refused):
        async with open_stream(make_context()):
            pass
    await OpenStream.objects.aupdate(lease_expires_at=Now() - timedelta(seconds=1))
    async with open_stream(make_context()):
        pass


@pytest.mark.django_db(transaction=True)
async def test_who_gets_no_seat_spends_no_token_and_who_has_no_token_gets_no_seat(
    settings: Settings,
) -> None:
    settings.CHATKIT_MAX_STREAMS = 1
    twice = [Allowance("owner", Rate(2, timedelta(days=1)))]
    async with open_stream(make_context(), twice):
        for _ in range(5):
            with pytest.raises(Refused):
                async with open_stream(make_context(), twice):
                    pass
    async with open_stream(make_context(), twice):
        pass
    with pytest.raises(Refused):
        async with open_stream(make_context(), twice):
            pass
    assert not await OpenStream.objects.aexists()


class Nested(ChatKitServer[Any]):
    """One whose actions are answered by ``respond``, a turn within a turn."""

    def __init__(self) -> None:
        super().__init__(store=cast("Store[Any]", None))
        self.seats: list[int] = []
        """How many there were within a turn and, if there was one, after the turn in it."""
        self.turns: list[Any] = []
        """Likewise that of the context."""

    async def respond(self, *_: Any) -> AsyncIterator[ThreadStreamEvent]:
        await self._look(_[-1])
        yield ProgressUpdateEvent(text="")

    async def action(self, thread: ThreadMetadata, *_: Any) -> AsyncIterator[ThreadStreamEvent]:
        self.turns.append(_[-1].turn)
        async for event in self.respond(thread, None, _[-1]):
            yield event
        await self._look(_[-1])

    async def _look(self, context: RequestContext) -> None:
        self.seats.append(await OpenStream.objects.acount())
        self.turns.append(context.turn)


@pytest.fixture
def left(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The seats that were left by themselves, not in a turn's transaction."""
    left: list[int] = []
    leave = limits._leave_seat

    def noted(pk: int) -> None:
        left.append(pk)
        leave(pk)

    monkeypatch.setattr(limits, "_leave_seat", noted)
    return left


A_THREAD = ThreadMetadata(id="thr_1", created_at=datetime(2026, 11, 21, tzinfo=UTC))


@pytest.mark.django_db(transaction=True)
async def test_a_seat_is_left_in_the_transaction_that_settles_its_turn(left: list[int]) -> None:
    server, context = instrument(Nested()), make_context()
    async with open_stream(context):
        seat = await OpenStream.objects.aget()
        async for _ in server.respond(A_THREAD, None, context):
            pass
        assert not await OpenStream.objects.aexists()
        assert seat.pk not in limits._seats
    assert server.seats == [1]
    assert left == []


@pytest.mark.django_db(transaction=True)
async def test_a_seat_is_left_by_itself_where_that_transaction_fails(
    left: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, context = instrument(Nested()), make_context()
    with monkeypatch.context() as patched:
        patched.setattr(outbox, "enqueue_turn", Mock(side_effect=ValueError))
        async with open_stream(context):
            async for _ in server.respond(A_THREAD, None, context):
                pass
            seat = await OpenStream.objects.aget()
            assert seat.pk in limits._seats
    assert left == [seat.pk]
    assert not await OpenStream.objects.aexists()
    assert seat.pk not in limits._seats


@pytest.mark.django_db(transaction=True)
async def test_a_turn_within_a_turn_does_not_leave_its_seat(left: list[int]) -> None:
    server, context = instrument(Nested()), make_context()
    async with open_stream(context):
        async for _ in server.action(A_THREAD, cast("Any", None), None, context):
            pass
        assert not await OpenStream.objects.aexists()
    assert server.seats == [1, 1]
    assert left == []
    outer, inner, after = server.turns
    assert inner is not outer
    assert after is context.turn is outer


@pytest.mark.django_db(transaction=True)
async def test_a_seat_is_renewed_as_long_as_it_is_taken_by_this_process() -> None:
    dead = await OpenStream.objects.acreate(
        owner_key="user:1", seat=1, lease_expires_at=Now() + timedelta(seconds=60)
    )
    async with open_stream(make_context()):
        almost_over = timezone.now() + timedelta(seconds=1)
        await OpenStream.objects.aupdate(lease_expires_at=almost_over)
        await run_in_database(limits.renew_seats)
        renewed = OpenStream.objects.filter(
            lease_expires_at__gt=Now() + timedelta(seconds=limits.SEAT_SECONDS - 10)
        )
        assert [stream.seat async for stream in renewed] == [0]
    await run_in_database(limits.renew_seats)
    await dead.arefresh_from_db()
    assert dead.lease_expires_at == almost_over


# -- the site ------------------------------------------------------------------------------------


@pytest.fixture
def sites(tmp_path: Path) -> Iterator[list[Server]]:
    """Two processes of one site that trust no proxy."""
    with ExitStack() as stack:
        first = stack.enter_context(
            django_server(
                tmp_path,
                CHATKIT_RATE_LIMIT="10/h",
                CHATKIT_ADDRESS_RATE_LIMIT="15/h",
                CHATKIT_MAX_STREAMS="50",
                FORWARDED_ALLOW_IPS="",
            )
        )
        second = Server(tmp_path, first._environment, first.database)
        stack.callback(second.close)
        second.start()
        yield [first, second]


def test_two_processes_count_together_and_no_header_opens_a_new_bucket(sites: list[Server]) -> None:
    with ChatClient(sites[0].url) as alice, ChatClient(sites[0].url) as bob:
        alice.sign_in("alice")
        bob.sign_in("bob")
        answers = asyncio.run(ask_at_once(alice, sites, 50))
        assert Counter(each.status_code for each in answers) == {200: 10, 429: 40}
        for refused in (each for each in answers if each.status_code == 429):
            assert refused.json()["error"]["code"] == "rate_limited"
            assert 0 < int(refused.headers["Retry-After"]) <= 360
        # Reading goes on.
        assert alice.post("threads.list", {}).status_code == 200
        # Another owner has a bucket of his own, but shares the address.
        answers = asyncio.run(ask_at_once(bob, sites, 10))
        assert Counter(each.status_code for each in answers) == {200: 5, 429: 5}


def test_of_50_uploads_at_once_exactly_as_many_get_through_as_may(sites: list[Server]) -> None:
    with ChatClient(sites[0].url) as alice, ChatClient(sites[0].url) as bob:
        alice.sign_in("alice")
        bob.sign_in("bob")
        answers = asyncio.run(upload_at_once(alice, sites, 50))
        assert Counter(each.status_code for each in answers) == {200: 10, 429: 40}
        assert {each.json()["error"]["code"] for each in answers if each.status_code == 429} == {
            "rate_limited"
        }
        # They share the address, and what was uploaded takes nothing from what may be said.
        answers = asyncio.run(upload_at_once(bob, sites, 10))
        assert Counter(each.status_code for each in answers) == {200: 5, 429: 5}
        assert alice.chat("Hello").text
        assert len(sites[0].query("select * from chatkit_endpoint_attachment")) == 15


async def upload_at_once(
    client: ChatClient, sites: list[Server], count: int
) -> list[httpx.Response]:
    headers = {name: value for name, value in client.headers.items() if name != "Content-Type"}
    async with httpx.AsyncClient(
        cookies=client.http.cookies, headers=headers, timeout=60, trust_env=False
    ) as http:
        return await asyncio.gather(
            *(
                http.post(
                    f"{sites[number % 2].url}/chatkit/attachments/",
                    files={"file": ("a.txt", b"some text", "text/plain")},
                )
                for number in range(count)
            )
        )


async def ask_at_once(client: ChatClient, sites: list[Server], count: int) -> list[httpx.Response]:
    async with httpx.AsyncClient(
        cookies=client.http.cookies, headers=client.headers, timeout=60, trust_env=False
    ) as http:
        return await asyncio.gather(
            *(
                http.post(
                    f"{sites[number % 2].url}/chatkit",
                    json={"type": "threads.create", "params": {"input": message("Hello")}},
                    headers={"X-Forwarded-For": f"198.51.100.{number}"},
                )
                for number in range(count)
            )
        )


def test_a_seat_is_free_again_when_its_visitor_left_but_not_when_its_process_died(
    tmp_path: Path,
) -> None:
    with (
        django_server(tmp_path, CHATKIT_MAX_STREAMS="2", CHATKIT_RATE_LIMIT="") as site,
        ChatClient(site.url) as alice,
        ChatClient(site.url) as bob,
    ):
        alice.sign_in("alice")
        bob.sign_in("bob")

        def status() -> int:
            return alice.post("threads.create", {"input": message("Hello")}).status_code

        with alice.ask("What can you do?") as one, alice.ask("What can you do?") as two:
            one.until_text()
            two.until_text()
            assert status() == 429
            assert bob.chat("Hello").text
            one.leave(abruptly=True)
            wait_until(lambda: status() == 200, 10, "a free seat")
            two.leave()
        wait_until(lambda: not seats(site), 10, "no seat taken")

        with alice.ask("What can you do?") as one, alice.ask("What can you do?") as two:
            one.until_text()
            two.until_text()
            site.kill()
        site.start()
        assert status() == 429
        site.manage(
            "shell",
            "-c",
            "from chatkit_endpoint.models import OpenStream; from django.utils import timezone;"
            "OpenStream.objects.update(lease_expires_at=timezone.now())",
        )
        assert status() == 200
        assert seats(site) == []


def seats(site: Server) -> list[dict[str, Any]]:
    return site.query("select * from chatkit_endpoint_openstream")
