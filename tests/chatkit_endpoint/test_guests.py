"""Guests own their threads through the session, and take them along when they sign in."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.utils import timezone

from chatkit_endpoint.models import Attachment, Thread
from observability.models import ClientEvent, EndpointRequest, Feedback, Hold, Turn
from tests.servers import PASSWORD

from .visitors import CSRF_TOKEN, Visitor, user_of

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("hasty", "guests")]


@pytest.fixture
def guests(settings: Any) -> None:
    settings.CHATKIT_ALLOW_ANONYMOUS = True


async def threads_of(visitor: Visitor) -> list[str]:
    answer = await visitor.ask("threads.list")
    assert answer.status == 200
    return [thread["id"] for thread in answer.json["data"]]


async def test_there_are_no_guests_unless_the_site_says_so(settings: Any) -> None:
    settings.CHATKIT_ALLOW_ANONYMOUS = False
    answer = await Visitor().say("Hello")
    assert (answer.status, answer.code) == (401, "unauthenticated")
    assert not await Session.objects.aexists()


async def test_a_guest_owns_their_threads_and_nobody_else_sees_them() -> None:
    guest, another = Visitor(), Visitor()
    user = await Visitor().sign_in(await user_of("alice"))
    thread_id = (await guest.say("Hello")).thread.id
    assert await threads_of(guest) == [thread_id]
    assert (await guest.say("More", thread_id)).status == 200
    row = await Thread.objects.aget()
    assert row.user_id is None
    assert row.owner_key.startswith("guest:")
    assert (await Turn.objects.afirst()).owner_key == row.owner_key  # type: ignore[union-attr]
    for stranger in (another, user, Visitor()):
        assert await threads_of(stranger) == []
        foreign = await stranger.ask("threads.get_by_id", thread_id=thread_id)
        missing = await stranger.ask("threads.get_by_id", thread_id="thr_0")
        assert (foreign.status, foreign.body) == (404, missing.body)


@pytest.mark.parametrize(
    "headers",
    [{"X-CSRFToken": ""}, {"X-CSRFToken": "d" * 32}, {"Origin": "https://evil.example"}],
)
async def test_a_guest_needs_a_page_of_ours(headers: dict[str, str]) -> None:
    answer = await Visitor(**headers).say("Hello")
    assert (answer.status, answer.code) == (403, "csrf_failed")
    assert not await Thread.objects.aexists()


async def test_on_login_what_was_noted_of_a_guest_goes_over_too() -> None:
    guest = Visitor()
    thread_id = (await guest.say("Hello")).thread.id
    owner_key = (await Thread.objects.aget()).owner_key
    alice = await user_of("alice")
    when = timezone.now()
    twice = {"session_id": "s-1", "occurred_at": when, "received_at": when, "name": "chatkit.ready"}
    await ClientEvent.objects.acreate(owner_key=owner_key, **twice)
    await ClientEvent.objects.acreate(owner_key=f"user:{alice.pk}", user=alice, **twice)
    await ClientEvent.objects.acreate(owner_key=owner_key, **{**twice, "session_id": "s-2"})
    noted = {"status": 200, "total_ms": 1, "started_at": when}
    await EndpointRequest.objects.acreate(owner_key=owner_key, **noted)
    await Hold.objects.acreate(owner_key=owner_key, thread_id=thread_id, reason="An audit")
    await guest.sign_in(alice)
    for model, count in ((ClientEvent, 2), (EndpointRequest, 1), (Hold, 1)):
        rows: Any = model.objects
        keys = [row.owner_key async for row in rows.all()]
        assert keys == [f"user:{alice.pk}"] * count


async def test_on_login_everything_goes_over_to_the_account() -> None:
    """Through the site's real login form, which cycles the session's key."""
    alice = await user_of("alice")
    await _set_password(alice)
    guest = Visitor()
    answer = await guest.say("Hello")
    thread_id, item_id = answer.thread.id, answer.done[-1].id
    rating = {"thread_id": thread_id, "item_ids": [item_id]}
    await guest.ask("items.feedback", kind="positive", **rating)
    owner_key = (await Thread.objects.aget()).owner_key
    await Attachment.objects.acreate(
        key="atc_1", owner_key=owner_key, name="n", mime_type="text/plain", payload="{}"
    )
    session = guest.http.cookies["sessionid"].value

    login: Any = await guest.http.post(
        "/accounts/login/",
        {"username": "alice", "password": PASSWORD, "csrfmiddlewaretoken": CSRF_TOKEN},
    )
    assert login.status_code == 302, login.content
    assert guest.http.cookies["sessionid"].value != session
    guest.headers["X-CSRFToken"] = guest.http.cookies["csrftoken"].value

    assert await threads_of(guest) == [thread_id]
    assert (await guest.say("More", thread_id)).status == 200
    assert (await guest.ask("items.feedback", kind="negative", **rating)).status == 200
    for model in (Thread, Attachment):
        row: Any = await model.objects.aget()
        assert (row.owner_key, row.user_id) == (f"user:{alice.pk}", alice.pk)
    turns = [turn async for turn in Turn.objects.all()]
    assert {(turn.owner_key, turn.user_id) for turn in turns} == {(f"user:{alice.pk}", alice.pk)}
    kept = await Feedback.objects.aget()
    assert kept.owner_key == f"user:{alice.pk}"
    assert kept.has_changed_mind

    await alice.arefresh_from_db()  # The login gave the password a stronger hash.
    elsewhere = await Visitor().sign_in(alice)
    assert await threads_of(elsewhere) == [thread_id]


async def test_after_logout_the_visitor_is_somebody_new() -> None:
    guest = Visitor()
    await guest.say("Hello")
    await guest.sign_in(await user_of("alice"))
    assert len(await threads_of(guest)) == 1
    await guest.sign_out()
    assert await threads_of(guest) == []
    await guest.say("A guest's")
    await guest.sign_in(await user_of("bob"))
    assert len(await threads_of(guest)) == 1
    assert await Thread.objects.filter(user__username="alice").acount() == 1


async def _set_password(user: User) -> None:
    from django.contrib.auth.hashers import PBKDF2PasswordHasher

    user.password = PBKDF2PasswordHasher().encode(PASSWORD, "salt", iterations=1)
    await user.asave()
