"""Every operation × everyone who may ask: what is somebody else's answers as what is not there."""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any, NamedTuple, get_args

import pytest
from asgiref.sync import sync_to_async
from chatkit.store import NotFoundError, Store
from chatkit.types import (
    AssistantMessageContent,
    AssistantMessageItem,
    FileAttachment,
    NonStreamingReq,
    Page,
    StreamingReq,
    ThreadMetadata,
)
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.utils import timezone

from chatkit_endpoint.context import RequestContext
from chatkit_endpoint.models import Attachment
from chatkit_endpoint.store import DjangoStore

from .conversations import rows_of_all_tables
from .visitors import Visitor, message

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("site")]


class Ids(NamedTuple):
    """What a request points at: a whole conversation with one thing of each kind."""

    thread: str = "thr_00000000000000000000000000000000"
    prompt: str = "msg_00000000000000000000000000000000"
    widget: str = "msg_00000000000000000000000000000000"
    question: str = "msg_00000000000000000000000000000000"
    attachment: str = "atc_00000000000000000000000000000000"


MISSING = Ids()
BOOK = {"type": "book", "payload": {"room": 12}}
AUDIO = base64.b64encode(b"sound").decode()


class Row(NamedTuple):
    """One operation: its parameters, and the status where all that they name, or none, exists."""

    operation: str
    params: Callable[[Ids], dict[str, Any]]
    existing: int = 200
    missing: int = 404


# In an order in which the owner can do all of it, one after the other.
TABLE = [
    Row(
        "threads.add_client_tool_output",
        lambda ids: {"thread_id": ids.thread, "result": {"city": "Berlin"}},
    ),
    Row(
        "threads.add_structured_input",
        lambda ids: {
            "thread_id": ids.thread,
            "item_id": ids.question,
            "input": {"answers": {"time": {"values": ["eight"]}}},
        },
    ),
    Row(
        "threads.custom_action",
        lambda ids: {"thread_id": ids.thread, "item_id": ids.widget, "action": BOOK},
    ),
    Row("threads.custom_action", lambda ids: {"thread_id": ids.thread, "action": BOOK}),
    Row(
        "threads.sync_custom_action",
        lambda ids: {"thread_id": ids.thread, "item_id": ids.widget, "action": BOOK},
    ),
    Row("threads.sync_custom_action", lambda ids: {"thread_id": ids.thread, "action": BOOK}),
    Row(
        "threads.add_user_message",
        lambda ids: {"thread_id": ids.thread, "input": message("Hello")},
    ),
    Row(
        "threads.add_user_message",
        lambda ids: {
            "thread_id": ids.thread,
            "input": message("Hello", attachments=[ids.attachment]),
        },
    ),
    # By now the file is one of that thread's, and goes with it: no other may show it.
    Row(
        "threads.create",
        lambda ids: {"input": message("Hello", attachments=[ids.attachment])},
        existing=400,
    ),
    Row("threads.create", lambda ids: {"input": message("Hello")}, missing=200),
    Row("threads.get_by_id", lambda ids: {"thread_id": ids.thread}),
    Row("threads.list", lambda ids: {"after": ids.thread}),
    Row("threads.update", lambda ids: {"thread_id": ids.thread, "title": "Mine"}),
    # The SDK's contract: the items of a thread that is not there are none.
    Row("items.list", lambda ids: {"thread_id": ids.thread}, missing=200),
    Row("items.list", lambda ids: {"thread_id": ids.thread, "after": ids.prompt}),
    Row(
        "items.feedback",
        lambda ids: {"thread_id": ids.thread, "item_ids": [ids.widget], "kind": "positive"},
    ),
    Row(
        "items.feedback",
        lambda ids: {"thread_id": ids.thread, "item_ids": [], "kind": "positive"},
    ),
    Row(
        "threads.retry_after_item",
        lambda ids: {"thread_id": ids.thread, "item_id": ids.prompt},
    ),
    Row("attachments.delete", lambda ids: {"attachment_id": ids.attachment}),
    Row("threads.delete", lambda ids: {"thread_id": ids.thread}),
    Row(
        "attachments.create",
        lambda ids: {"name": "a.txt", "size": 1, "mime_type": "text/plain"},
        missing=200,
    ),
    # The sample site's server takes no dictation.
    Row(
        "input.transcribe",
        lambda ids: {"audio_base64": AUDIO, "mime_type": "audio/webm"},
        existing=501,
        missing=501,
    ),
]
PATHS = ["/chatkit/attachments/{}/", "/chatkit/attachments/{}/preview"]


@pytest.fixture
def site(settings: Any, concierge: None) -> None:
    """Many tenants, guests allowed, and no limit but those that are looked at here."""
    settings.ALLOWED_HOSTS = [".example.com"]
    settings.CHATKIT_TENANT = "tests.sites.tenants.tenant_of"
    settings.CHATKIT_ALLOW_ANONYMOUS = True
    settings.CHATKIT_RATE_LIMIT = ""
    settings.CHATKIT_ADDRESS_RATE_LIMIT = ""


async def visitor_of(user: User | None, tenant: str = "acme") -> Visitor:
    visitor = Visitor(f"{tenant}.example.com")
    return visitor if user is None else await visitor.sign_in(user)


async def furnish(
    visitor: Visitor, owner_key: str, user: User | None, tenant: str, place: str = ""
) -> Ids:
    """A conversation with one thing of each kind; last a tool call that awaits its output."""
    booked = await visitor.say("a room")
    assert booked.status == 200, booked.body
    thread_id = booked.thread.id
    asked = await visitor.say("a table", thread_id)
    await visitor.say("where am I?", thread_id)
    attachment = FileAttachment(
        id=f"atc_{tenant}{owner_key}{place}", name="a", mime_type="text/plain"
    )
    await Attachment.objects.acreate(
        key=attachment.id,
        owner_key=owner_key,
        user=user,
        tenant=tenant,
        name="a",
        mime_type="text/plain",
        payload=attachment.model_dump_json(),
    )
    prompt, widget = booked.done
    return Ids(thread_id, prompt.id, widget.id, asked.done[-1].id, attachment.id)


def kept_rows() -> set[tuple[str, tuple[Any, ...]]]:
    """What conversations and their records consist of."""
    return {
        (table, row)
        for table, rows in rows_of_all_tables().items()
        if table.startswith(("chatkit_endpoint_", "observability_"))
        and not table.endswith(("ratebucket", "openstream"))
        for row in rows
    }


async def _victim() -> tuple[User, Ids]:
    owner = await User.objects.acreate(username="alice")
    ids = await furnish(await visitor_of(owner), f"user:{owner.pk}", owner, "acme")
    return owner, ids


def test_the_table_names_every_operation() -> None:
    requests = (*get_args(StreamingReq), *get_args(NonStreamingReq))
    operations = {request.model_fields["type"].default for request in requests}
    assert {row.operation for row in TABLE} == operations
    assert len(operations) == 16


async def test_the_owner_can_do_all_of_it() -> None:
    owner, ids = await _victim()
    visitor = await visitor_of(owner)
    for row in TABLE:
        missing = await visitor.ask(row.operation, **row.params(MISSING))
        assert missing.status == row.missing, (row.operation, missing.body)
        existing = await visitor.ask(row.operation, **row.params(ids))
        assert existing.status == row.existing, (row.operation, existing.body)
        assert not existing.errors, row.operation


@pytest.mark.parametrize("who", ["another user", "another tenant", "guest", "staff"])
async def test_a_stranger_is_told_what_they_are_told_of_nothing(who: str) -> None:
    owner, ids = await _victim()
    tenant, user = "acme", None
    if who == "another tenant":
        tenant, user = "globex", owner
    elif who != "guest":
        user = await User.objects.acreate(username="mallory", is_staff=who == "staff")
    stranger = await visitor_of(user, tenant)
    assert (await stranger.ask("threads.list")).json["data"] == []
    before = await sync_to_async(kept_rows)()
    for row in TABLE:
        if row.params(ids) == row.params(MISSING):
            continue
        foreign = await stranger.ask(row.operation, **row.params(ids))
        missing = await stranger.ask(row.operation, **row.params(MISSING))
        assert foreign.status == row.missing, (row.operation, foreign.body)
        assert foreign.body == missing.body, row.operation
        assert _headers(foreign.headers) == _headers(missing.headers), row.operation
    for path in PATHS:
        gone: Any = await stranger.http.get(
            path.format(MISSING.attachment), headers=stranger.headers
        )
        foreign_file: Any = await stranger.http.get(
            path.format(ids.attachment), headers=stranger.headers
        )
        assert (foreign_file.status_code, gone.status_code) == (404, 404), path
        assert foreign_file.content == gone.content
        assert _headers(foreign_file) == _headers(gone), path
    assert await sync_to_async(kept_rows)() == before

    # From a conversation of their own, they reach nothing of the other one either.
    owner_key = f"user:{user.pk}" if user is not None else "guest:0"
    own = await furnish(stranger, owner_key, user, tenant)
    foreign_in_own = ids._replace(thread=own.thread)
    missing_in_own = MISSING._replace(thread=own.thread)
    for row in TABLE:
        if row.params(foreign_in_own) == row.params(missing_in_own):
            continue
        foreign = await stranger.ask(row.operation, **row.params(foreign_in_own))
        missing = await stranger.ask(row.operation, **row.params(missing_in_own))
        assert foreign.status == row.missing, (row.operation, foreign.body)
        assert foreign.body == missing.body, row.operation
        assert _headers(foreign.headers) == _headers(missing.headers), row.operation
    assert before <= await sync_to_async(kept_rows)()
    shown = await stranger.ask("threads.list")
    assert [thread["id"] for thread in shown.json["data"]] == [own.thread]


def _headers(response: Any) -> set[tuple[str, str]]:
    """All but what tells any two requests apart."""
    return {(name, value) for name, value in response.items() if name != "X-Request-ID"}


async def test_nobody_is_told_nothing(settings: Any) -> None:
    _, ids = await _victim()
    settings.CHATKIT_ALLOW_ANONYMOUS = False
    nobody = await visitor_of(None)
    told = set()
    for row in TABLE:
        for each in (ids, MISSING):
            answer = await nobody.ask(row.operation, **row.params(each))
            told.add((answer.status, answer.body))
    for path in PATHS:
        for key in (ids.attachment, MISSING.attachment):
            response: Any = await nobody.http.get(path.format(key), headers=nobody.headers)
            told.add((response.status_code, response.content))
    assert {status for status, _ in told} == {401}
    assert len(told) == 1


async def test_whose_session_has_ended_is_nobody_though_the_cookie_is_still_there() -> None:
    owner, ids = await _victim()
    ended = {
        "expired": lambda rows: rows.aupdate(expire_date=timezone.now() - timedelta(seconds=1)),
        "deleted": lambda rows: rows.adelete(),
    }
    asked = {"thread_id": ids.thread}
    for end in ended.values():
        visitor = await visitor_of(owner)
        assert (await visitor.ask("threads.get_by_id", **asked)).status == 200
        await end(Session.objects.filter(pk=visitor.http.cookies["sessionid"].value))
        # Guests are let in here: as one they see nothing of it.
        answer = await visitor.ask("threads.get_by_id", **asked)
        assert (answer.status, answer.code) == (404, "not_found")


# -- the store itself: the SDK looks before it writes, so the endpoint shows only half of it ------

NAIVE = datetime(2026, 11, 21)  # noqa: DTZ001 - naive, as the SDK makes them
NOT_FOUND = "NotFoundError"
Call = Callable[[DjangoStore, Ids, RequestContext], Awaitable[Any]]


def _thread(ids: Ids) -> ThreadMetadata:
    return ThreadMetadata(id=ids.thread, title="Mine", created_at=NAIVE)


def _item(ids: Ids) -> AssistantMessageItem:
    return AssistantMessageItem(
        id=ids.widget,
        thread_id=ids.thread,
        created_at=NAIVE,
        content=[AssistantMessageContent(text="Mine")],
    )


def _attachment(ids: Ids, **fields: Any) -> FileAttachment:
    return FileAttachment(id=ids.attachment, name="Mine", mime_type="text/plain", **fields)


# What a stranger who knows all the ids gets. An attachment of one's own has an id of one's own.
STORE: dict[str, tuple[Call, Any]] = {
    "load_thread": (lambda s, ids, c: s.load_thread(ids.thread, c), NOT_FOUND),
    "save_thread": (lambda s, ids, c: s.save_thread(_thread(ids), c), NOT_FOUND),
    "load_threads": (lambda s, ids, c: s.load_threads(9, None, "asc", c), Page()),
    "load_threads, after": (lambda s, ids, c: s.load_threads(9, ids.thread, "asc", c), NOT_FOUND),
    "delete_thread": (lambda s, ids, c: s.delete_thread(ids.thread, c), NOT_FOUND),
    "load_thread_items": (
        lambda s, ids, c: s.load_thread_items(ids.thread, None, 9, "asc", c),
        Page(),
    ),
    "load_thread_items, after": (
        lambda s, ids, c: s.load_thread_items(ids.thread, ids.prompt, 9, "asc", c),
        NOT_FOUND,
    ),
    "add_thread_item": (lambda s, ids, c: s.add_thread_item(ids.thread, _item(ids), c), NOT_FOUND),
    "save_item": (lambda s, ids, c: s.save_item(ids.thread, _item(ids), c), NOT_FOUND),
    "load_item": (lambda s, ids, c: s.load_item(ids.thread, ids.widget, c), NOT_FOUND),
    "delete_thread_item": (
        lambda s, ids, c: s.delete_thread_item(ids.thread, ids.widget, c),
        None,
    ),
    "save_attachment": (lambda s, ids, c: s.save_attachment(_attachment(ids), c), NOT_FOUND),
    "save_attachment, in a thread": (
        lambda s, ids, c: s.save_attachment(
            _attachment(ids._replace(attachment="atc_new"), thread_id=ids.thread), c
        ),
        NOT_FOUND,
    ),
    "load_attachment": (lambda s, ids, c: s.load_attachment(ids.attachment, c), NOT_FOUND),
    "delete_attachment": (lambda s, ids, c: s.delete_attachment(ids.attachment, c), None),
}


@pytest.mark.parametrize("who", ["another user", "another tenant", "guest"])
async def test_the_store_gives_a_stranger_nothing(who: str) -> None:
    owner, ids = await _victim()
    mallory = await User.objects.acreate(username="mallory")
    stranger = {
        "another user": RequestContext(user=mallory, owner_key=f"user:{mallory.pk}", tenant="acme"),
        "another tenant": RequestContext(user=owner, owner_key=f"user:{owner.pk}", tenant="globex"),
        "guest": RequestContext(user=None, owner_key="guest:0", tenant="acme"),
    }[who]
    store = DjangoStore()
    before = await sync_to_async(kept_rows)()
    for name, (call, expected) in STORE.items():
        try:
            told: Any = await call(store, ids, stranger)
        except NotFoundError:
            told = NOT_FOUND
        assert told == expected, name
        assert await sync_to_async(kept_rows)() == before, name


async def test_an_item_is_found_in_its_own_thread_only() -> None:
    owner, ids = await _victim()
    store = DjangoStore()
    context = RequestContext(user=owner, owner_key=f"user:{owner.pk}", tenant="acme")
    other = _thread(ids._replace(thread="thr_other"))
    await store.save_thread(other, context)
    with pytest.raises(NotFoundError):
        await store.load_item(other.id, ids.widget, context)
    await store.delete_thread_item(other.id, ids.widget, context)
    assert (await store.load_item(ids.thread, ids.widget, context)).id == ids.widget
    with pytest.raises(NotFoundError):
        await store.load_thread_items(other.id, ids.prompt, 9, "asc", context)


def test_every_method_of_the_store_is_looked_at() -> None:
    methods = {name for name in Store.__abstractmethods__ if not name.startswith("generate")}
    assert {name.partition(",")[0] for name in STORE} == methods
