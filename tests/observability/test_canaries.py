"""Two thousand secrets through a whole site, in pieces where it streams: none of them gets out.

They go in by every way there is: a prompt, a title, a thought, an answer, what a tool is handed,
answers and complains of, the error that ends a turn, and what a browser reports. Then everything
that leaves is read: what collectors are sent, the log, the metrics and, where traces keep texts
redacted, every export and every column of a trace.
"""

from __future__ import annotations

import contextlib
import json
import logging
import random
from collections.abc import AsyncIterator, Iterable, Iterator
from datetime import datetime
from typing import Any

import pytest
from agents import Agent, RunConfig, Runner, function_tool
from agents.testing import ScriptedModel, assistant_message, function_call
from asgiref.sync import async_to_sync
from chatkit.agents import AgentContext, stream_agent_response
from chatkit.server import ChatKitServer
from chatkit.types import (
    AssistantMessageContent,
    AssistantMessageContentPartTextDelta,
    AssistantMessageItem,
    ThoughtTask,
    ThreadItemAddedEvent,
    ThreadItemDoneEvent,
    ThreadItemUpdatedEvent,
    ThreadMetadata,
    ThreadStreamEvent,
    UserMessageItem,
    Workflow,
    WorkflowItem,
    WorkflowTaskUpdated,
)
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.utils import timezone
from google.protobuf.json_format import MessageToDict
from pytest_django import Settings

from chatkit_endpoint.context import RequestContext
from chatkit_endpoint.server import get_server
from observability import prometheus, spans
from observability.courier import Courier
from observability.json_log import JSONFormatter, LineFormatter
from observability.logs import NoExceptionTextFilter
from observability.models import ClientEvent, Delivery, Message, Turn
from observability.redaction import redact
from tests.chatkit_endpoint.visitors import Visitor, use_server
from tests.factories import make_operator, make_user
from tests.observability.helpers import eventually
from tests.observability.redaction_samples import canaries
from tests.standins.anosys import anosys_standin
from tests.standins.otlp import otlp_standin
from tests.standins.webhook import webhook_standin

pytestmark = pytest.mark.django_db(transaction=True)

SEED = 61
PLACES = ("prompt", "title", "thought", "answer", "arguments", "output", "complaint", "report")
TURNS = 50
AT_ONCE = 5
"""Canaries in one text."""
COUNT = TURNS * len(PLACES) * AT_ONCE
WINDOW = 12
"""So many characters of a secret in a row give it away; fewer may be in any id or time."""
EXPORT = "/admin/observability/turn/export/"
TRACES = "observability_"


class Planted:
    """The texts of one turn by their places, and the secrets in them."""

    def __init__(self, made: Iterator[tuple[str, str, str]]) -> None:
        self.texts: dict[str, str] = {}
        self.secrets: dict[str, list[str]] = {}
        self.values: list[str] = []
        """The same for a browser to tell as the value of something: where the secret by itself is
        none to anybody, like a password without the word, the text around it."""
        for place in PLACES:
            drawn = [next(made) for _ in range(AT_ONCE)]
            if place == "report":
                self.values = [
                    said if redact(secret) == secret else secret for _, said, secret in drawn
                ]
            self.texts[place] = "\n\n".join(said for _, said, _ in drawn)
            self.secrets[place] = [secret for *_, secret in drawn]


_planted: Planted
_pieces = random.Random(SEED)  # noqa: S311 (to break the same way every time)


class Complaint(Exception):
    """What a tool raises."""


@function_tool
def look_up(text: str) -> str:
    """A tool that answers."""
    return _planted.texts["output"]


@function_tool
def give_up(text: str) -> str:
    """A tool that fails."""
    raise Complaint(_planted.texts["complaint"])


class Teller(ChatKitServer[RequestContext]):
    """Says what was planted, letter by letter or a few at a time; every fifth turn fails."""

    async def respond(
        self,
        thread: ThreadMetadata,
        input_user_message: UserMessageItem | None,
        context: RequestContext,
    ) -> AsyncIterator[ThreadStreamEvent]:
        texts = _planted.texts
        thread.title = texts["title"]
        now = datetime.now()  # noqa: DTZ005 (As the SDK itself has it.)
        base: dict[str, Any] = {"thread_id": thread.id, "created_at": now}
        thought = WorkflowItem(
            id=self.store.generate_item_id("workflow", thread, context),
            workflow=Workflow(type="reasoning", tasks=[ThoughtTask(content="")]),
            **base,
        )
        yield ThreadItemAddedEvent(item=thought)
        so_far = ""
        for piece in pieces_of(texts["thought"], longest=40):
            so_far += piece
            task = ThoughtTask(content=so_far)
            yield ThreadItemUpdatedEvent(
                item_id=thought.id, update=WorkflowTaskUpdated(task_index=0, task=task)
            )
        thought.workflow.tasks = [ThoughtTask(content=so_far)]
        yield ThreadItemDoneEvent(item=thought)
        async for event in self._call_tools(thread, context):
            yield event
        answer = AssistantMessageItem(
            id=self.store.generate_item_id("message", thread, context),
            content=[AssistantMessageContent(text="")],
            **base,
        )
        yield ThreadItemAddedEvent(item=answer)
        for piece in pieces_of(texts["answer"], longest=5):
            yield ThreadItemUpdatedEvent(
                item_id=answer.id,
                update=AssistantMessageContentPartTextDelta(content_index=0, delta=piece),
            )
        answer.content = [AssistantMessageContent(text=texts["answer"])]
        yield ThreadItemDoneEvent(item=answer)
        if _pieces.random() < 0.2:
            raise Complaint(texts["complaint"])

    async def _call_tools(
        self, thread: ThreadMetadata, context: RequestContext
    ) -> AsyncIterator[ThreadStreamEvent]:
        arguments = {"text": _planted.texts["arguments"]}
        steps = [
            [function_call("look_up", arguments, call_id="call_1")],
            [function_call("give_up", arguments, call_id="call_2")],
            [assistant_message("Done.", item_id="msg_model")],
        ]
        run = Runner.run_streamed(
            Agent(name="Teller", model=ScriptedModel(steps), tools=[look_up, give_up]),
            "Look it up.",
            run_config=RunConfig(tool_error_formatter=spans.note_tool_error),
        )
        agent = AgentContext(thread=thread, store=self.store, request_context=context)
        async for event in stream_agent_response(agent, run):
            yield event


def pieces_of(text: str, *, longest: int) -> Iterator[str]:
    start = 0
    while start < len(text):
        end = start + _pieces.randint(1, longest)
        yield text[start:end]
        start = end


@pytest.fixture
def planted(settings: Settings) -> Iterator[list[Planted]]:
    """What goes in, turn by turn, on a site whose server says it."""
    use_server(settings, f"{__name__}.Teller")
    settings.CHATKIT_RATE_LIMIT = settings.CHATKIT_ADDRESS_RATE_LIMIT = "100000/s"
    made = canaries(SEED, COUNT)
    yield [Planted(made) for _ in range(TURNS)]
    get_server.cache_clear()


async def chat(planted: Iterable[Planted], user: User) -> None:
    """A turn of each, and what its browser tells, in which canaries stand for whatever it may."""
    global _planted
    vera = await Visitor(**{"X-ChatKit-Session": "session-1"}).sign_in(user)
    for number, each in enumerate(planted):
        _planted = each
        answer = await vera.say(each.texts["prompt"])
        assert answer.status == 200
        values, item_id = each.values, answer.done[-1].id
        events = [
            report("chatkit.log", number, log=values[0], **{values[1]: "x", "data": values}),
            report("chatkit.error", number, code=values[2], name=values[3], stack=values[4]),
            report("message.action", number, action=values[number % AT_ONCE], item_id=item_id),
            report("message.action", number + TURNS, action="copy", item_id=item_id, text=values),
            report("chatkit.effect", number, name=values[4]),
        ]
        for event in events:
            event["thread_id"] = answer.thread.id
        body = json.dumps({"session_id": "session-1", "events": events})
        assert (await vera.post(body, "/observability/api/events/")).status == 202


def report(name: str, number: int, /, **data: Any) -> dict[str, Any]:
    """An event of its own second."""
    moment = timezone.now().replace(second=number % 60, microsecond=number)
    return {"name": name, "data": data, "occurred_at": moment.isoformat()}


def deliver() -> None:
    """Everything that is due."""
    courier = Courier()
    try:
        # A collector that did not answer in time, on a busy machine, is left alone for a moment.
        eventually(
            lambda: not courier.deliver() and not Delivery.objects.outstanding().exists(), 60
        )
    finally:
        courier.close()


def strings_of(value: Any) -> Iterator[str]:
    """All texts in what was JSON; also in what is JSON as text."""
    if isinstance(value, dict):
        for key, each in value.items():
            yield key
            yield from strings_of(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from strings_of(each)
    elif value is not None:
        text = str(value)
        yield text
        if text[:1] in {"{", "["}:
            with contextlib.suppress(ValueError):  # It only began like JSON.
                yield from strings_of(json.loads(text))


def left_in(haystack: Iterable[str], planted: Iterable[Planted]) -> list[tuple[str, str]]:
    """The places and secrets of which something is left in any of these texts."""
    whole = "\0".join(haystack)
    return [
        (place, secret)
        for each in planted
        for place, secrets in each.secrets.items()
        for secret in secrets
        if any(
            secret[start : start + WINDOW] in whole
            for start in range(max(1, len(secret) - WINDOW + 1))
        )
    ]


def log_lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The log as production and as development write it."""
    records = [each for each in caplog.records if each.levelno >= logging.INFO]
    assert all(NoExceptionTextFilter().filter(record) for record in records)
    lines = [JSONFormatter().format(each) for each in records]
    lines += [LineFormatter().format(each) for each in records]
    return [*lines, *(text for line in lines for text in strings_of(line))]


def traces() -> Iterator[str]:
    """Every value of every row of every table that is about turns."""
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            if table.startswith(TRACES):
                cursor.execute(f"SELECT * FROM {connection.ops.quote_name(table)}")  # noqa: S608
                for row in cursor.fetchall():
                    yield from strings_of(row)


async def _read(response: Any) -> str:
    return b"".join([part async for part in response]).decode()


def exports(client: Client) -> list[str]:
    """What an operator takes along as a table and as JSON."""
    answers = [client.get(f"{EXPORT}{form}/") for form in ("jsonl", "csv")]
    assert all(answer.status_code == 200 for answer in answers)
    texts = [async_to_sync(_read)(answer) for answer in answers]
    return [*texts, *(each for line in texts[0].splitlines() for each in strings_of(line))]


@pytest.mark.skipif(
    connection.vendor != "sqlite", reason="What leaves is the same; it takes two minutes"
)
@pytest.mark.parametrize("kept", ["full", "redacted"])
@pytest.mark.timeout(300)
def test_of_two_thousand_canaries_none_gets_out(
    planted: list[Planted],
    settings: Settings,
    client: Client,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
    kept: str,
) -> None:
    settings.OBSERVABILITY_TEXT = kept
    settings.OBSERVABILITY_OTLP_TEXT = "redacted"  # By default it is told no text at all.
    with (
        caplog.at_level(logging.INFO),
        anosys_standin() as anosys,
        webhook_standin() as hook,
        otlp_standin() as otlp,
    ):
        settings.ANOSYS_API_KEY = anosys.api_key
        settings.ANOSYS_RESOLVER_URL = anosys.resolver_url
        settings.OBSERVABILITY_WEBHOOK_URL = hook.hook_url
        settings.OBSERVABILITY_WEBHOOK_SECRET = hook.secret
        settings.OTEL_EXPORTER_OTLP_ENDPOINT = otlp.url
        async_to_sync(chat)(planted, make_user())
        deliver()
        client.force_login(make_operator())
        outside = {
            "Anosys": list(strings_of(anosys.events)),
            "webhook": list(strings_of(hook.events)),
            "OTLP": list(strings_of([MessageToDict(each) for each in otlp.requests])),
            "log": log_lines(caplog),
            "metrics": [prometheus.exposition(timezone.now()).decode()],
        }
    if kept == "redacted":
        outside |= {"exports": exports(client), "traces": list(traces())}
    left = {name: left_in(texts, planted) for name, texts in outside.items()}
    with capsys.disabled():
        told = ", ".join(f"{name} {len(found)}" for name, found in left.items())
        print(f"\n{COUNT:,} canaries, traces kept {kept}: left in {told}")  # noqa: T201
    assert left == {name: [] for name in outside}
    # They were there to be found, and what leaves is not simply empty.
    assert Turn.objects.count() == TURNS
    assert not Delivery.objects.outstanding().exists()
    assert len(anosys.events) >= TURNS
    assert len(hook.events) >= TURNS
    for name in ("Anosys", "webhook", "OTLP"):
        assert sum("[email]" in text for text in outside[name]) >= TURNS / 5, name
    assert ClientEvent.objects.filter(name="message.action", data__action="copy").count() == TURNS
    assert Message.objects.filter(kind=Message.Kind.THOUGHT).count() == TURNS
    assert set(Turn.objects.values_list("status", flat=True)) == {"completed", "failed"}
    if kept == "full":
        stored = "\0".join(traces())
        for each in planted:
            for place in ("prompt", "thought", "answer"):
                assert each.texts[place] in stored, place


def test_of_texts_that_are_kept_in_full_an_export_is_for_who_may_read_them(
    planted: list[Planted], client: Client
) -> None:
    """The table that an operator takes along is what they may read on the page."""
    async_to_sync(chat)(planted[:2], make_user())
    client.force_login(make_operator("observability.view_turn", username="blind"))
    assert left_in(exports(client), planted[:2]) == []
    client.force_login(make_operator("observability.view_turn", "observability.view_content"))
    told = "\0".join(exports(client))
    for each in planted[:2]:
        assert each.texts["prompt"] in told
