"""A client that goes away, at every point of a stream.

Over real sockets, with a model that hangs at the very point, so that nothing more can happen there.
And in this process, where it shows which tasks are left behind.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import update_wrapper
from typing import Any

import httpx
import pytest
from asgiref.testing import ApplicationCommunicator
from chatkit.types import (
    AssistantMessageContentPartAdded,
    ThreadItemUpdatedEvent,
    ThreadStreamEvent,
)
from django.core.asgi import get_asgi_application
from django.test import Client

from chatkit_endpoint import demo_model, store, streaming
from chatkit_endpoint.models import ThreadItem
from observability import turns
from observability.database import THREADS
from observability.models import Message, Turn
from tests.chatkit_client import (
    ChatClient,
    asgi_scope,
    is_answer,
    is_text,
    is_thought,
    message,
    request,
)
from tests.factories import make_user
from tests.servers import PostgresDatabase, Server, django_server, wait_until
from tests.standins.openai import OpenAIStandin, Play, openai_standin

# -- over real sockets -----------------------------------------------------------------------------

MANY = 12
"""More than a process' pool of connections holds."""
CLOSERS = 200
CLOSERS_AT_ONCE = 8
PATIENCE = 10.0


@dataclass(frozen=True, kw_only=True)
class Site:
    server: Server
    openai: OpenAIStandin

    def turn(self, request_id: str) -> dict[str, Any]:
        """The turn that answered this request, as soon as it is settled."""
        return self.server.wait_for_row(
            "select * from observability_turn where request_id = %s and status <> 'running'",
            request_id,
        )

    def said(self, turn: dict[str, Any]) -> list[tuple[str, str]]:
        rows = self.server.query(
            "select kind, text from observability_message where turn_id = %s order by position",
            turn["id"],
        )
        return [(row["kind"], row["text"]) for row in rows]

    def notes_of_cancellation(self, thread_id: str) -> int:
        """How often the thread tells the model that its user stopped it."""
        [row] = self.server.query(
            "select count(*) as n from chatkit_endpoint_threaditem item"
            " join chatkit_endpoint_thread thread on thread.id = item.thread_id"
            " where thread.key = %s and item.type = 'sdk_hidden_context'",
            thread_id,
        )
        return int(row["n"])


@pytest.fixture(scope="module")
def _site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with (
        openai_standin() as openai,
        django_server(
            tmp_path_factory.mktemp("site"), OPENAI_API_KEY="x", OPENAI_BASE_URL=openai.base_url
        ) as server,
    ):
        yield Site(server=server, openai=openai)


@pytest.fixture(scope="module")
def _alice(_site: Site) -> Iterator[ChatClient]:
    with ChatClient(_site.server.url) as client:
        yield client.sign_in("alice")


@pytest.fixture
def site(_site: Site) -> Site:
    _site.openai.play = Play()
    _site.openai.requests.clear()
    _site.openai.left.clear()
    return _site


@pytest.fixture
def alice(site: Site, _alice: ChatClient) -> ChatClient:
    return _alice


@dataclass(frozen=True, kw_only=True)
class Point:
    """A point at which to leave."""

    hangs_after: str
    """The model's last event."""
    reached: Callable[[ThreadStreamEvent], bool]
    """Whether this is the last event that the client then sees."""
    kept: tuple[tuple[str, str], ...] = ()
    """What there is to keep of the answer."""
    waits_for_model: bool = False


def is_stream_options(event: ThreadStreamEvent) -> bool:
    return event.type == "stream_options"


def is_empty_text(event: ThreadStreamEvent) -> bool:
    return isinstance(event, ThreadItemUpdatedEvent) and isinstance(
        event.update, AssistantMessageContentPartAdded
    )


WHOLE_THOUGHT = ("thought", "I need the clock.")
POINTS = {
    "while the turn is opened": Point(hangs_after="response.created", reached=is_stream_options),
    "while the model is silent": Point(
        hangs_after="response.created", reached=is_stream_options, waits_for_model=True
    ),
    "in a thought": Point(
        hangs_after="response.reasoning_summary_text.delta",
        reached=is_thought,
        kept=(("thought", "I need "),),
    ),
    "before the first token": Point(
        hangs_after="response.content_part.added", reached=is_empty_text, kept=(WHOLE_THOUGHT,)
    ),
    "between two deltas": Point(
        hangs_after="response.output_text.delta",
        reached=is_text,
        kept=(WHOLE_THOUGHT, ("response", "It is ")),
    ),
}


@pytest.mark.parametrize("abruptly", [False, True], ids=["FIN", "RST"])
@pytest.mark.parametrize("name", POINTS)
def test_who_leaves_has_a_cancelled_turn_that_keeps_what_they_saw(
    site: Site, alice: ChatClient, name: str, abruptly: bool
) -> None:
    point = POINTS[name]
    site.openai.play = Play(hangs_after=point.hangs_after, calls_tool=False)
    request_id = f"{name}-{abruptly}".replace(" ", "-")
    with alice.ask("What time is it?", X_Request_ID=request_id) as stream:
        stream.until(point.reached)
        if point.waits_for_model:
            wait_until(lambda: site.openai.bodies, 10, "the model's being asked")
        stream.leave(abruptly=abruptly)

    turn = site.turn(request_id)
    assert turn["status"] == "cancelled"
    assert turn["ended_at"] is not None
    assert turn["lease_expires_at"] is None
    assert site.said(turn) == [("prompt", "What time is it?"), *point.kept]
    assert turn["response"] == dict(point.kept).get("response", "")
    # The model is not left speaking to nobody.
    wait_until(lambda: site.openai.left == site.openai.requests, 10, "the model's being left")

    # The thread keeps the text too, tells the model of it, and can be gone on with.
    wait_until(lambda: site.notes_of_cancellation(stream.thread_id) == 1, 10, "the SDK's note")
    texts = [
        part["text"]
        for item in alice.post("items.list", {"thread_id": stream.thread_id}).json()["data"]
        if item["type"] == "assistant_message"
        for part in item["content"]
    ]
    assert texts == [text for kind, text in point.kept if kind == "response"]
    site.openai.play = Play(calls_tool=False)
    assert alice.chat("And now?", stream.thread_id).text == "It is noon in Berlin."


def test_live_streams_hold_no_connection_and_those_that_are_left_leak_none(
    site: Site, alice: ChatClient
) -> None:
    database, pid = site.server.database, site.server.pid
    # With PostgreSQL a connection that is held is missing in the pool: the 9th stream would fail.
    # Of SQLite's, each of the threads that all streams share keeps one, and the worker has one.
    at_rest = 8 if isinstance(database, PostgresDatabase) else THREADS + 2

    def is_at_rest() -> bool:
        return database.connections(pid) <= at_rest

    for round_ in range(2):
        site.openai.play = Play(hangs_after="response.output_text.delta", calls_tool=False)
        with ExitStack() as live:
            streams = [
                live.enter_context(alice.ask("Go", X_Request_ID=f"many-{round_}-{number:02}"))
                for number in range(MANY)
            ]
            for stream in streams:
                stream.until_text()
            wait_until(is_at_rest, 10, "no connection while streaming")
        statuses = [site.turn(f"many-{round_}-{number:02}")["status"] for number in range(MANY)]
        assert statuses == ["cancelled"] * MANY
        wait_until(is_at_rest, 10, "no connection left")
    wait_until(lambda: len(site.openai.left) == 2 * MANY, 10, "the model's being left")
    site.openai.play = Play(calls_tool=False)
    assert alice.chat("And now?").errors == []


def test_who_closes_right_after_the_last_event_has_a_completed_turn(
    site: Site, alice: ChatClient
) -> None:
    site.openai.play = Play(thought=(), text=("It is ", "noon."), calls_tool=False)

    def ask_and_close(number: int) -> str:
        with alice.ask("What time is it?", X_Request_ID=f"closer-{number:03}") as stream:
            stream.until(is_answer)
            stream.leave(abruptly=number % 2 == 1)
        return stream.thread_id

    with ThreadPoolExecutor(CLOSERS_AT_ONCE) as pool:
        threads = list(pool.map(ask_and_close, range(CLOSERS)))

    turns_of_closers = "from observability_turn where request_id like 'closer-%%'"
    wait_until(
        lambda: not site.server.query(f"select id {turns_of_closers} and status = 'running'"),
        20,
        "the end of all turns",
    )
    found = site.server.query(
        f"select status, response, count(*) as n {turns_of_closers} group by status, response"
    )
    assert found == [{"status": "completed", "response": "It is noon.", "n": CLOSERS}]
    assert len(set(threads)) == CLOSERS
    assert sum(map(site.notes_of_cancellation, threads)) == 0


class Held(tuple[str, ...]):
    """Deltas of the model, which waits after the first of them until it may go on."""

    def __init__(self, _deltas: tuple[str, ...]) -> None:
        self.may_go_on = threading.Event()

    def __iter__(self) -> Iterator[str]:
        for number, delta in enumerate(super().__iter__()):
            assert number == 0 or self.may_go_on.wait(PATIENCE)
            yield delta


def test_who_signs_out_in_mid_stream_gets_this_answer_to_its_end_and_no_other(site: Site) -> None:
    """The one was asked for by somebody who might. As in another tab: the stream has its own."""
    words = Held(("It is ", "noon ", "in Berlin."))
    site.openai.play = Play(text=words, calls_tool=False)
    with ChatClient(site.server.url) as alice, ChatClient(site.server.url) as other_tab:
        alice.sign_in("alice")
        other_tab.http.cookies = alice.http.cookies
        with alice.ask("What time is it?", X_Request_ID="signed-out") as stream:
            stream.until_text()
            headers = {"X-CSRFToken": alice.headers["X-CSRFToken"]}
            kept = dict(alice.http.cookies)
            assert other_tab.http.post("/accounts/logout/", headers=headers).status_code == 302
            words.may_go_on.set()
            stream.read()
        assert (stream.text, stream.errors) == ("It is noon in Berlin.", [])
        turn = site.turn("signed-out")
        assert (turn["status"], turn["response"]) == ("completed", "It is noon in Berlin.")
        [owner] = site.server.query("select id from auth_user where username = 'alice'")
        assert turn["owner_key"] == f"user:{owner['id']}"

        # Whose cookie is still there, like that of a thief.
        alice.http.cookies = httpx.Cookies(kept)
        for answer in (
            alice.post("threads.get_by_id", {"thread_id": stream.thread_id}),
            alice.post(
                "threads.add_user_message",
                {"thread_id": stream.thread_id, "input": message("And now?")},
            ),
        ):
            assert answer.status_code == 401
            assert answer.json()["error"]["code"] == "unauthenticated"
    assert len(site.openai.bodies) == 1


# -- in this process -------------------------------------------------------------------------------


class Visit:
    """A request to the site's ASGI application, and what has come of the answer so far."""

    def __init__(self, cookies: dict[str, str], prompt: str) -> None:
        self._received = b""
        self._body = request("threads.create", {"input": message(prompt)})
        self._application = ApplicationCommunicator(get_asgi_application(), asgi_scope(cookies))

    async def begin(self) -> None:
        await self._application.send_input({"type": "http.request", "body": self._body})

    async def until(self, text: str) -> None:
        """Read up to a frame that has this in it."""
        while text.encode() not in self._received:
            output = await self._application.receive_output(PATIENCE)
            self._received += output.get("body", b"")

    async def leave(self) -> None:
        await self._application.send_input({"type": "http.disconnect"})
        await self._application.wait(PATIENCE)


@pytest.fixture
def cookies(transactional_db: None) -> dict[str, str]:
    client = Client()
    client.force_login(make_user())
    return {name: morsel.value for name, morsel in client.cookies.items()}


@asynccontextmanager
async def no_task_left() -> AsyncIterator[None]:
    """What the block starts has ended soon after it. Fails with the tasks that have not."""
    before = asyncio.all_tasks()
    yield
    await eventually(lambda: asyncio.all_tasks() <= before, lambda: asyncio.all_tasks() - before)


async def eventually(
    condition: Callable[[], object], state: Callable[[], object] = lambda: ""
) -> None:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + PATIENCE
    while not condition():
        if loop.time() > deadline:
            pytest.fail(f"Not in {PATIENCE} s: {state()}")
        await asyncio.sleep(0.01)


class Gate:
    """Holds up a function of the database threads until it is opened."""

    def __init__(self, held: Callable[..., Any]) -> None:
        update_wrapper(self, held)  # What is called is also named.
        self._held = held
        self._open = threading.Event()
        self.is_reached = threading.Event()

    def __call__(self, *args: Any) -> Any:
        self.is_reached.set()
        assert self._open.wait(PATIENCE)
        return self._held(*args)

    def open(self) -> None:
        self._open.set()


@pytest.mark.parametrize(
    ("prompt", "seen"),
    [
        ("/slow", "stream_options"),
        ("/long", "workflow.task.added"),
        ("/long", "text_delta"),
        ("What time is it?", "progress_update"),
    ],
)
async def test_no_task_outlives_the_stream_that_its_client_left(
    cookies: dict[str, str], monkeypatch: pytest.MonkeyPatch, prompt: str, seen: str
) -> None:
    # So that what is left behind is seen to be left behind.
    monkeypatch.setattr(demo_model, "SLOW_SECONDS", 10 * PATIENCE)
    if seen == "progress_update":
        monkeypatch.setattr(demo_model, "SECONDS_PER_WORD", 1.0)
    async with no_task_left():
        visit = Visit(cookies, prompt)
        await visit.begin()
        await visit.until(seen)
        await visit.leave()
    turn = await Turn.objects.aget()
    assert turn.status == Turn.Status.CANCELLED


async def test_one_who_leaves_while_the_turn_is_opened_has_a_cancelled_turn(
    cookies: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    opening = Gate(turns.open_turn)
    monkeypatch.setattr(turns, "open_turn", opening)
    async with no_task_left():
        visit = Visit(cookies, "Hello")
        await visit.begin()
        await visit.until("stream_options")
        await eventually(opening.is_reached.is_set)
        await visit.leave()
        opening.open()
    turn = await Turn.objects.aget()
    assert (turn.status, turn.prompt) == (Turn.Status.CANCELLED, "Hello")
    said = Message.objects.filter(turn=turn).values_list("kind", "text")
    assert [line async for line in said] == [("prompt", "Hello")]


async def test_one_who_leaves_before_anything_is_answered_has_a_cancelled_turn(
    cookies: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    making = Gate(store._save_thread)
    monkeypatch.setattr(store, "_save_thread", making)
    async with no_task_left():
        visit = Visit(cookies, "/long")
        await visit.begin()
        await eventually(making.is_reached.is_set)
        await visit.leave()
        making.open()
        await eventually(lambda: not turns._live, lambda: turns._live)
    turn = await Turn.objects.aget()
    assert (turn.status, turn.prompt) == (Turn.Status.CANCELLED, "/long")


async def test_a_turn_that_has_ended_stays_completed_while_its_record_is_written(
    cookies: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long that takes: nothing was cancelled, and the thread must not say that it was."""
    monkeypatch.setattr(streaming, "GRACE_SECONDS", 0.02)
    writing = Gate(turns.settle_turn)
    monkeypatch.setattr(turns, "settle_turn", writing)
    async with no_task_left():
        visit = Visit(cookies, "Hello")
        await visit.begin()
        await eventually(writing.is_reached.is_set)
        await visit.leave()
        await asyncio.sleep(0.2)
        writing.open()
    turn = await Turn.objects.aget()
    assert turn.status == Turn.Status.COMPLETED
    assert not await ThreadItem.objects.filter(type="sdk_hidden_context").aexists()
