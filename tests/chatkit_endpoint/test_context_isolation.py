"""Who may do what: what belongs to somebody else is answered exactly like what does not exist."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4

import pytest
from chatkit.store import NotFoundError
from chatkit.types import Page
from django.contrib.auth.models import User
from pydantic import BaseModel

from chatkit_endpoint.context import RequestContext
from chatkit_endpoint.models import Attachment, Thread, ThreadItem
from chatkit_endpoint.store import DjangoStore
from observability.database import run_in_database
from tests.chatkit_endpoint.conversations import context_of, rows_of_all_tables
from tests.chatkit_endpoint.samples import a_message, a_thread, an_attachment, rows, text_of

pytestmark = pytest.mark.django_db(transaction=True)

store = DjangoStore()


@dataclass(frozen=True, kw_only=True)
class Things:
    """The ids of a thread, of an item in it, and of an attachment; and whose thread to try from."""

    thread: str
    item: str
    attachment: str
    own_thread: str = ""

    def anonymous(self, text: str) -> str:
        for name in ("thread", "item", "attachment"):
            text = text.replace(getattr(self, name), f"<{name}>")
        return text


def new_things(own_thread: str = "") -> Things:
    names = ("thr", "msg", "atc")
    thread, item, attachment = (f"{name}_{uuid4().hex}" for name in names)
    return Things(thread=thread, item=item, attachment=attachment, own_thread=own_thread)


Call = Callable[[Things, RequestContext], Awaitable[Any]]

READS_AND_DELETIONS: dict[str, Call] = {
    "load_thread": lambda of, by: store.load_thread(of.thread, by),
    "load_threads behind it": lambda of, by: store.load_threads(9, of.thread, "asc", by),
    "load_threads before it": lambda of, by: store.load_threads(9, of.thread, "desc", by),
    "delete_thread": lambda of, by: store.delete_thread(of.thread, by),
    "load_thread_items": lambda of, by: store.load_thread_items(of.thread, None, 9, "asc", by),
    "load_thread_items behind one": lambda of, by: store.load_thread_items(
        of.thread, of.item, 9, "asc", by
    ),
    "load_thread_items of the own thread behind one": lambda of, by: store.load_thread_items(
        of.own_thread, of.item, 9, "desc", by
    ),
    "load_item": lambda of, by: store.load_item(of.thread, of.item, by),
    "load_item in the own thread": lambda of, by: store.load_item(of.own_thread, of.item, by),
    "delete_thread_item": lambda of, by: store.delete_thread_item(of.thread, of.item, by),
    "delete_thread_item in the own thread": lambda of, by: store.delete_thread_item(
        of.own_thread, of.item, by
    ),
    "load_attachment": lambda of, by: store.load_attachment(of.attachment, by),
    "delete_attachment": lambda of, by: store.delete_attachment(of.attachment, by),
}
WRITES: dict[str, Call] = {
    "add_thread_item": lambda of, by: store.add_thread_item(
        of.thread, a_message(of.item, "overwritten", of.thread), by
    ),
    "save_item": lambda of, by: store.save_item(
        of.thread, a_message(of.item, "overwritten", of.thread), by
    ),
    "save_attachment in it": lambda of, by: store.save_attachment(
        an_attachment("atc_new", thread_id=of.thread), by
    ),
}
COLLISIONS: dict[str, Call] = {
    "save_thread": lambda of, by: store.save_thread(a_thread(of.thread, title="taken"), by),
    "save_attachment": lambda of, by: store.save_attachment(
        an_attachment(of.attachment, name="taken"), by
    ),
}


async def outcome(call: Call, things: Things, context: RequestContext) -> str:
    """What the caller learns, with the ids it asked for made equal."""
    try:
        told = await call(things, context)
    except NotFoundError as error:
        return things.anonymous(f"NotFoundError: {error}")
    if isinstance(told, Page):
        told = told.model_dump()
    elif isinstance(told, BaseModel):
        told = told.model_dump_json()
    return things.anonymous(f"returned {told}")


async def make_things(context: RequestContext, own_thread: str = "") -> Things:
    """A thread with an item and an attachment, which belong to the one who makes them."""
    things = new_things(own_thread)
    await store.save_thread(a_thread(things.thread), context)
    await store.add_thread_item(
        things.thread, a_message(things.item, "secret", things.thread), context
    )
    await store.save_attachment(an_attachment(things.attachment, thread_id=things.thread), context)
    return things


@pytest.fixture
def alice() -> RequestContext:
    return context_of(User.objects.create_user("alice"))


@pytest.fixture(params=["another user", "the same user elsewhere", "a guest", "a guest elsewhere"])
def stranger(request: pytest.FixtureRequest, alice: RequestContext) -> RequestContext:
    if request.param == "another user":
        return context_of(User.objects.create_user("bob"))
    if request.param == "the same user elsewhere":
        return context_of(alice.user, tenant="acme")
    tenant = "acme" if request.param == "a guest elsewhere" else ""
    return RequestContext(user=None, owner_key="guest:1", tenant=tenant)


@pytest.mark.parametrize("call", [*READS_AND_DELETIONS, *WRITES])
async def test_what_is_a_stranger_s_is_as_good_as_missing(
    alice: RequestContext, stranger: RequestContext, call: str
) -> None:
    own_thread = (await make_things(stranger)).thread
    foreign = await make_things(alice, own_thread)
    before = await run_in_database(rows_of_all_tables)
    ask = {**READS_AND_DELETIONS, **WRITES}[call]
    answered = await outcome(ask, foreign, stranger)
    assert answered == await outcome(ask, new_things(own_thread), stranger)
    assert await run_in_database(rows_of_all_tables) == before


@pytest.mark.parametrize("call", COLLISIONS)
async def test_an_id_that_collides_with_a_stranger_s_overwrites_nothing(
    alice: RequestContext, stranger: RequestContext, call: str
) -> None:
    foreign = await make_things(alice)
    before = await run_in_database(rows_of_all_tables)
    assert (await outcome(COLLISIONS[call], foreign, stranger)).startswith("NotFoundError: ")
    assert await run_in_database(rows_of_all_tables) == before


async def test_an_item_s_id_that_collides_with_a_stranger_s_is_another_item(
    alice: RequestContext, stranger: RequestContext
) -> None:
    theirs = await make_things(alice)
    mine = await make_things(stranger)
    await store.save_item(mine.thread, a_message(theirs.item, "mine", mine.thread), stranger)
    assert text_of(await store.load_item(theirs.thread, theirs.item, alice)) == "secret"
    assert text_of(await store.load_item(mine.thread, theirs.item, stranger)) == "mine"


async def test_each_lists_their_own_threads_and_no_others(
    alice: RequestContext, stranger: RequestContext
) -> None:
    for context in (alice, stranger):
        made = [(await make_things(context)).thread for _ in range(2)]
        for order, expected in (("asc", made), ("desc", made[::-1])):
            page = await store.load_threads(9, None, order, context)
            assert [thread.id for thread in page.data] == expected


async def test_each_may_do_everything_with_their_own(
    alice: RequestContext, stranger: RequestContext
) -> None:
    await make_things(alice)
    for context in (stranger, alice):
        things = await make_things(context)
        assert (await store.load_thread(things.thread, context)).id == things.thread
        await store.save_thread(a_thread(things.thread, title="New"), context)
        assert (await store.load_thread(things.thread, context)).title == "New"
        page = await store.load_thread_items(things.thread, None, 9, "asc", context)
        assert [item.id for item in page.data] == [things.item]
        await store.save_item(things.thread, a_message(things.item, "New", things.thread), context)
        assert text_of(await store.load_item(things.thread, things.item, context)) == "New"
        assert (await store.load_attachment(things.attachment, context)).thread_id == things.thread
        await store.delete_attachment(things.attachment, context)
        await store.delete_thread_item(things.thread, things.item, context)
        await store.delete_thread(things.thread, context)
    assert [len(await rows(model)) for model in (Thread, ThreadItem, Attachment)] == [1, 1, 1]


async def test_one_guest_is_not_another() -> None:
    guests = [RequestContext(user=None, owner_key=f"guest:{number}") for number in (1, 2)]
    things = await make_things(guests[0])
    for name, call in READS_AND_DELETIONS.items():
        foreign = replace(things, own_thread="thr_own")
        missing = new_things("thr_own")
        assert await outcome(call, foreign, guests[1]) == await outcome(call, missing, guests[1]), (
            name
        )
    assert (await store.load_thread(things.thread, guests[0])).id == things.thread


async def test_a_user_s_owner_key_alone_opens_nothing_in_another_tenant(
    alice: RequestContext,
) -> None:
    """The user object is for the record; the store asks for tenant and owner key alone."""
    things = await make_things(alice)
    same = RequestContext(user=None, owner_key=alice.owner_key, tenant=alice.tenant)
    assert (await store.load_thread(things.thread, same)).id == things.thread
    for other in (replace(alice, owner_key="user:0"), replace(alice, tenant="acme")):
        with pytest.raises(NotFoundError):
            await store.load_thread(things.thread, other)
