"""Where browsers report to: from whom, how much, and in which shape."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from observability.models import ClientEvent, Turn

from .visitors import Answer, Visitor, user_of

pytestmark = pytest.mark.django_db(transaction=True)

PATH = "/observability/api/events/"
SESSION = "0b7f6f0e-93f2-4b7c-8a53-5a1c1b0f6a11"
READY = {"name": "chatkit.ready", "occurred_at": 1_795_000_000_000}


async def report(visitor: Visitor, *events: Any, session_id: Any = SESSION) -> Answer:
    return await visitor.post(json.dumps({"session_id": session_id, "events": events}), PATH)


async def test_a_batch_is_kept_for_its_sender() -> None:
    alice = await user_of("alice")
    before = (timezone.now() - timedelta(hours=1)).isoformat()
    answer = await report(
        await Visitor().sign_in(alice),
        READY,
        {"name": "chatkit.thread.change", "thread_id": "thr_1", "data": None},
        {"name": "chatkit.thread.change", "thread_id": None, "occurred_at": before},
        {"name": "something.else", "data": {"text": "secret"}},
    )
    assert (answer.status, answer.json) == (202, {"recorded": 3})
    async for event in ClientEvent.objects.all():
        assert (event.user_id, event.owner_key) == (alice.pk, f"user:{alice.pk}")
        assert event.session_id == SESSION
    assert await ClientEvent.objects.filter(thread_id="thr_1").acount() == 1


async def test_a_guest_may_report_where_guests_may_chat(settings: Any) -> None:
    assert (await report(Visitor(), READY)).status == 401
    settings.CHATKIT_ALLOW_ANONYMOUS = True
    guest = Visitor()
    assert (await report(guest, READY)).status == 202
    event = await ClientEvent.objects.aget()
    assert event.owner_key.startswith("guest:")
    assert event.user_id is None


async def test_another_sites_page_may_not_report() -> None:
    alice = await Visitor().sign_in(await user_of("alice"))
    del alice.headers["X-CSRFToken"]
    answer = await report(alice, READY)
    assert (answer.status, answer.code) == (403, "csrf_failed")
    assert not await ClientEvent.objects.aexists()


async def test_half_of_a_surrogate_pair_in_what_is_not_kept_costs_nothing() -> None:
    alice = await Visitor().sign_in(await user_of("alice"))
    answer = await report(alice, {**READY, "data": {"note": "\ud83d", "\ud83d": 1}})
    assert (answer.status, answer.json) == (202, {"recorded": 1})


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff",
        b"[" * 30_000,
        b'{"session_id": "short", "events": [{"name": "chatkit.ready"}]}',
        json.dumps({"session_id": SESSION, "events": []}).encode(),
        json.dumps({"session_id": SESSION, "events": {}}).encode(),
        json.dumps({"session_id": SESSION, "events": ["chatkit.ready"]}).encode(),
        json.dumps({"session_id": SESSION, "events": [READY] * 51}).encode(),
        json.dumps({"session_id": SESSION, "events": [{"name": "a" * 65}]}).encode(),
        json.dumps({"session_id": SESSION, "events": [{**READY, "data": []}]}).encode(),
        json.dumps({"session_id": SESSION, "events": [{**READY, "data": "text"}]}).encode(),
        json.dumps({"session_id": SESSION, "events": [{**READY, "occurred_at": -1}]}).encode(),
        json.dumps({"session_id": SESSION, "events": [{**READY, "occurred_at": 1e99}]}).encode(),
        json.dumps({"session_id": SESSION, "events": [{**READY, "occurred_at": True}]}).encode(),
        json.dumps({"session_id": SESSION, "events": [{**READY, "occurred_at": "noon"}]}).encode(),
        b'{"session_id": "%s", "events": [{"name": "a", "occurred_at": NaN}]}' % SESSION.encode(),
        json.dumps({"session_id": SESSION, "events": [{**READY, "name": "a\0b"}]}).encode(),
        json.dumps({"session_id": SESSION, "events": [{**READY, "name": 7}]}).encode(),
        json.dumps({"session_id": SESSION, "events": [{**READY, "thread_id": "\0"}]}).encode(),
        json.dumps({"session_id": SESSION, "events": [{**READY, "thread_id": "t" * 129}]}).encode(),
        json.dumps({"session_id": f"{SESSION}\n", "events": [READY]}).encode(),
    ],
)
async def test_anything_else_is_refused_and_not_quoted(body: bytes) -> None:
    alice = await Visitor().sign_in(await user_of("alice"))
    answer = await alice.post(body, PATH)
    assert (answer.status, answer.code) == (400, "invalid_request")
    assert not await ClientEvent.objects.aexists()


async def test_a_body_has_a_limit() -> None:
    alice = await Visitor().sign_in(await user_of("alice"))
    events = [{"name": "chatkit.ready", "data": {"text": "x" * 40_000}}]
    answer = await report(alice, *events)
    assert (answer.status, answer.code) == (413, "too_large")


async def test_reports_have_a_rate_of_their_own(settings: Any) -> None:
    settings.CHATKIT_RATE_LIMIT = "2/h"
    alice = await Visitor().sign_in(await user_of("alice"))
    assert [(await report(alice, READY)).status for _ in range(3)] == [202, 202, 429]
    assert (await alice.say("Hello")).status == 200
    answer = await report(alice, READY)
    assert int(answer.headers["Retry-After"]) > 0


async def test_only_post_is_answered() -> None:
    alice = await Visitor().sign_in(await user_of("alice"))
    response = await alice.http.get(PATH)
    assert (response.status_code, response.headers["Allow"]) == (405, "POST")


async def test_a_browsers_timing_reaches_the_turn_of_its_request() -> None:
    alice = await Visitor(**{"X-ChatKit-Session": SESSION}).sign_in(await user_of("alice"))
    answer = await alice.say("Hello")
    data = {"request_id": answer.headers["X-Request-ID"], "ttft_ms": 31.5, "duration_ms": 50}
    assert (await report(alice, {"name": "client.timing", "data": data})).status == 202
    turn = await Turn.objects.aget()
    assert (turn.client_ttft_ms, turn.client_duration_ms) == (32, 50)
    assert (await ClientEvent.objects.aget()).turn_id == turn.pk
