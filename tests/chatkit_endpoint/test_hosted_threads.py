"""Hosted mode read back: a browser tells that an answer has ended, the worker reads it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from chatkit_endpoint import hosted_threads
from chatkit_endpoint.hosted import pseudonym
from chatkit_endpoint.hosted_threads import note_ended_answers, read_due_threads
from observability import turns, worker
from observability.client_events import Report, record
from observability.models import Delivery, Message, Turn
from observability.recorder import Identity
from tests.factories import make_user

from .visitors import Visitor, user_of

pytestmark = pytest.mark.django_db

THREAD = "cthr_1"
TIMINGS = {"ttft_ms": 700, "duration_ms": 1_300, "total_ms": 2_000}


class _OpenAI(ThreadingHTTPServer):
    """Its thread of one visitor, told two items at a time."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.user = ""
        self.items: list[dict[str, Any]] = []
        self.status = 200
        self.asked: list[tuple[str, str, str]] = []

    def say(self, kind: str, **fields: Any) -> None:
        number = len(self.items)
        self.items.append(
            {
                "id": f"cti_{number}",
                "object": "chatkit.thread_item",
                "type": f"chatkit.{kind}",
                "thread_id": THREAD,
                "created_at": 1_795_000_000 + number,
                **fields,
            }
        )

    def exchange(self, prompt: str, answer: str) -> None:
        parts = [{"type": "input_text", "text": prompt}]
        self.say("user_message", content=parts, attachments=[], inference_options=None)
        self.say(
            "assistant_message",
            content=[{"type": "output_text", "text": answer, "annotations": []}],
        )


class _Handler(BaseHTTPRequestHandler):
    server: _OpenAI

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        self.server.asked.append(
            (url.path, self.headers["OpenAI-Beta"], self.headers["Authorization"])
        )
        answer = self._thread() if url.path.endswith(THREAD) else self._items(parse_qs(url.query))
        content = json.dumps(answer if self.server.status == 200 else {}).encode()
        self.send_response(self.server.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _thread(self) -> dict[str, Any]:
        return {
            "id": THREAD,
            "object": "chatkit.thread",
            "created_at": 1_795_000_000,
            "status": {"type": "active"},
            "title": None,
            "user": self.server.user,
        }

    def _items(self, query: dict[str, list[str]]) -> dict[str, Any]:
        assert query["order"] == ["asc"]
        ids = [item["id"] for item in self.server.items]
        start = ids.index(query["after"][0]) + 1 if "after" in query else 0
        page = self.server.items[start : start + 2]
        return {
            "object": "list",
            "data": page,
            "has_more": start + 2 < len(ids),
            "first_id": page[0]["id"] if page else None,
            "last_id": page[-1]["id"] if page else None,
        }

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the name it has there)
        pass


@pytest.fixture
def openai(settings: Any) -> Iterator[_OpenAI]:
    hosted_threads._retries.clear()
    server = _OpenAI()
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    settings.CHATKIT_WORKFLOW_ID = "wf_1"
    settings.OPENAI_API_KEY = "a-key"
    settings.OPENAI_BASE_URL = f"http://127.0.0.1:{server.server_port}/v1"
    yield server
    server.shutdown()
    server.server_close()
    thread.join(5)


@pytest.fixture
def alice(openai: _OpenAI) -> User:
    user = make_user("alice")
    openai.user = pseudonym(Turn(owner_key=f"user:{user.pk}"))
    return user


def tell_end(user: User, *, seconds_ago: float = 0, **timings: int) -> Turn:
    """What the endpoint does when the user's browser tells that an answer has ended."""
    identity = Identity(user=user, owner_key=f"user:{user.pk}", session_id="session-1", locale="de")
    at = timezone.now() - timedelta(seconds=seconds_ago)
    reports = [Report(name="chatkit.response.end", thread_id=THREAD, occurred_at=at)]
    if timings:
        reports.append(
            Report(name="client.timing", thread_id=THREAD, occurred_at=at, data=dict(timings))
        )
    note_ended_answers(identity, record(identity, reports))
    return Turn.objects.latest("pk")


def messages_of(turn: Turn) -> list[tuple[str, str, str]]:
    return list(turn.messages.order_by("position").values_list("kind", "item_id", "text"))


def test_what_was_said_becomes_a_turn_with_the_browsers_timings(
    openai: _OpenAI, alice: User, settings: Any
) -> None:
    settings.ANOSYS_API_KEY = "another-key"
    openai.exchange("Noon?", "Almost.")
    openai.say("task", task_type="thought", heading="Clock", summary="A look at the clock.")
    openai.say(
        "task_group",
        tasks=[
            {"type": "thought", "heading": "One", "summary": None},
            {"type": "custom", "heading": None, "summary": "Two."},
        ],
    )
    openai.say("widget", widget="{}")
    turn = tell_end(alice, **TIMINGS)
    assert turn.status == Turn.Status.RUNNING
    assert read_due_threads() == 1
    turn.refresh_from_db()
    assert (turn.status, turn.prompt, turn.response) == ("completed", "Noon?", "Almost.")
    assert messages_of(turn) == [
        ("prompt", "cti_0", "Noon?"),
        ("response", "cti_1", "Almost."),
        ("thought", "cti_2", "A look at the clock."),
        ("thought", "cti_3", "One\nTwo."),
    ]
    assert (turn.client_ttft_ms, turn.client_duration_ms) == (700, 1_300)
    assert (turn.ttft_ms, turn.duration_ms, turn.total_ms) == (700, 1_300, 2_000)
    assert turn.ended_at is not None
    assert turn.ended_at - turn.started_at == timedelta(seconds=2)
    assert (turn.user, turn.session_id, turn.locale) == (alice, "session-1", "de")
    assert Delivery.objects.get().turn == turn
    # First whose thread it is, then page by page.
    paths = [path for path, _beta, _key in openai.asked]
    assert paths == [f"/v1/chatkit/threads/{THREAD}", *3 * [f"/v1/chatkit/threads/{THREAD}/items"]]
    assert {asked[1:] for asked in openai.asked} == {("chatkit_beta=v1", "Bearer a-key")}


def test_the_next_turn_holds_what_is_new_only(openai: _OpenAI, alice: User) -> None:
    openai.exchange("Noon?", "Almost.")
    tell_end(alice, seconds_ago=60)
    assert read_due_threads() == 1
    openai.exchange("Now?", "Yes.")
    turn = tell_end(alice)
    assert read_due_threads() == 1
    turn.refresh_from_db()
    assert (turn.prompt, turn.response) == ("Now?", "Yes.")


def test_turns_that_wait_together_share_what_was_said(openai: _OpenAI, alice: User) -> None:
    first, second = tell_end(alice, seconds_ago=60), tell_end(alice)
    openai.exchange("Noon?", "Almost.")
    openai.exchange("Now?", "Yes.")
    assert read_due_threads() == 2
    for turn, prompt in ((first, "Noon?"), (second, "Now?")):
        turn.refresh_from_db()
        assert turn.prompt == prompt


def test_somebody_elses_thread_is_not_read(openai: _OpenAI, alice: User) -> None:
    openai.user = "somebody else"
    openai.exchange("Secret?", "Secret.")
    turn = tell_end(alice)
    read_due_threads()
    turn.refresh_from_db()
    assert (turn.status, turn.error_code) == ("failed", "foreign_thread")
    assert not Message.objects.exists()
    assert [path for path, _beta, _key in openai.asked] == [f"/v1/chatkit/threads/{THREAD}"]


def test_what_can_not_be_read_now_is_tried_again_until_its_lease_ends(
    openai: _OpenAI, alice: User
) -> None:
    tell_end(alice)
    openai.status = 503
    assert read_due_threads() == 0
    asked = len(openai.asked)
    assert read_due_threads() == 0
    assert len(openai.asked) == asked, "It is put off."
    hosted_threads._retries.clear()
    openai.status = 200
    assert read_due_threads() == 0, "There is nothing new in it yet."
    hosted_threads._retries.clear()
    openai.exchange("Noon?", "Almost.")
    assert read_due_threads() == 1

    late = tell_end(alice)
    Turn.objects.filter(pk=late.pk).update(lease_expires_at=timezone.now() - timedelta(seconds=1))
    assert turns.sweep() == 1
    late.refresh_from_db()
    assert late.status == Turn.Status.INTERRUPTED
    assert read_due_threads() == 0


def test_the_worker_reads_them() -> None:
    assert read_due_threads in [chore.work for chore in worker._chores]


def test_without_a_workflow_nothing_is_noted(openai: _OpenAI, settings: Any) -> None:
    settings.CHATKIT_WORKFLOW_ID = ""
    identity = Identity(owner_key="user:1", session_id="session-1")
    reports = [Report(name="chatkit.response.end", thread_id=THREAD, occurred_at=timezone.now())]
    note_ended_answers(identity, record(identity, reports))
    assert not Turn.objects.exists()
    assert read_due_threads() == 0


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("openai")
async def test_the_same_report_twice_is_one_turn() -> None:
    visitor = await Visitor().sign_in(await user_of("bob"))
    event = {
        "name": "chatkit.response.end",
        "thread_id": THREAD,
        "occurred_at": timezone.now().timestamp() * 1000,
    }
    for _ in range(2):
        body = json.dumps({"session_id": "0b7f6f0e-93f2", "events": [event]})
        answer = await visitor.post(body, "/observability/api/events/")
        assert answer.status == 202
    turn = await Turn.objects.aget()
    assert (turn.operation, turn.thread_id, turn.status) == ("hosted", THREAD, "running")
