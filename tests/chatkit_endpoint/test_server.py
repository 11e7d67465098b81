"""Our ChatKit server: titles, ids, what the model is told, and what it leaves behind."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

import pytest
from agents import Agent, Runner
from agents.testing import ModelStep, ScriptedModel, assistant_message
from chatkit.agents import AgentContext
from chatkit.types import (
    AssistantMessageContentPartTextDelta,
    AssistantMessageItem,
    ThreadItemAddedEvent,
    ThreadItemDoneEvent,
    ThreadItemUpdatedEvent,
    ThreadMetadata,
    ThreadStreamEvent,
    UserMessageTagContent,
)
from django.contrib.auth.models import User
from pytest_django import Settings

from chatkit_endpoint.assistant import INSTRUCTIONS, build_agent
from chatkit_endpoint.context import RequestContext
from chatkit_endpoint.demo_model import DemoModel
from chatkit_endpoint.server import (
    DjangoChatKitServer,
    ItemConverter,
    language_note,
    model_name,
    stream_run,
    title_from,
    with_own_ids,
)
from chatkit_endpoint.store import DjangoStore
from observability import spans


@pytest.fixture(autouse=True)
def no_trace_export() -> None:
    """These runs are not instrumented: the SDK would start its exporting thread for them."""
    spans.install_processor()


NOW = datetime(2026, 11, 21)  # noqa: DTZ001 - naive, as the SDK makes them


def make_context(user: User | None = None, **values: Any) -> RequestContext:
    owner = "guest:1" if user is None else f"user:{user.pk}"
    return RequestContext(user=user, owner_key=owner, **values)


@pytest.mark.parametrize(
    ("prompt", "title"),
    [
        ("Hello", "Hello"),
        ("  two\n\nlines ", "two lines"),
        ("", None),
        (" \n", None),
        ("word " * 30, "word word word word word word word word word word word word…"),
        ("x" * 100, "x" * 60 + "…"),
    ],
)
def test_a_title_is_the_beginning_of_the_prompt(prompt: str, title: str | None) -> None:
    assert title_from(prompt) == title


async def test_messages_that_share_the_fake_id_get_their_own() -> None:
    def events() -> list[ThreadStreamEvent]:
        item = AssistantMessageItem(id="__fake_id__", thread_id="thr_1", created_at=NOW, content=[])
        delta = AssistantMessageContentPartTextDelta(content_index=0, delta="x")
        return [
            ThreadItemAddedEvent(item=item.model_copy()),
            ThreadItemUpdatedEvent(item_id="__fake_id__", update=delta),
            ThreadItemDoneEvent(item=item.model_copy()),
        ]

    async def source() -> Any:
        for event in [*events(), *events()]:
            yield event

    ids = [
        event.item_id if isinstance(event, ThreadItemUpdatedEvent) else event.item.id  # type: ignore[union-attr]
        async for event in with_own_ids(source())
    ]
    first, second = ids[:3], ids[3:]
    assert len(set(first)) == len(set(second)) == 1
    assert first != second
    assert all(item_id.startswith("msg_") and len(item_id) == 36 for item_id in ids)


def test_the_language_is_told_in_words_of_the_settings(settings: Settings) -> None:
    settings.LANGUAGES = [("de", "German")]
    note: Any = language_note("de")
    assert note["role"] == "developer"
    assert "German (de)" in note["content"]


async def test_a_tag_reaches_the_model_as_its_text() -> None:
    tag = UserMessageTagContent(id="1", text="Ada", data={"secret": "x"})
    assert await ItemConverter(make_context()).tag_to_message_content(tag) == {
        "type": "input_text",
        "text": "Ada",
    }


def test_without_a_key_the_demo_model_answers(settings: Settings) -> None:
    settings.OPENAI_API_KEY = ""
    agent = build_agent()
    assert isinstance(agent.model, DemoModel)
    assert model_name(agent) == "demo"


@pytest.mark.parametrize(
    ("model", "summary"),
    [("gpt-5-mini", "auto"), ("o4-mini", "auto"), ("gpt-4.1", None), ("gpt-5-chat-latest", None)],
)
def test_only_models_that_reason_are_asked_for_their_thoughts(
    settings: Settings, model: str, summary: str | None
) -> None:
    settings.OPENAI_API_KEY = "a-key"
    settings.CHATKIT_MODEL = model
    agent = build_agent()
    assert model_name(agent) == model
    reasoning = agent.model_settings.reasoning
    assert (reasoning.summary if reasoning else None) == summary


def test_the_instructions_are_static() -> None:
    assert build_agent().instructions == INSTRUCTIONS
    assert "{" not in INSTRUCTIONS


@pytest.mark.django_db(transaction=True)
async def test_a_cancelled_run_leaves_no_task_behind() -> None:
    reached = asyncio.Event()

    async def never_ending(call: Any) -> AsyncIterator[Any]:
        reached.set()
        await asyncio.Event().wait()
        yield

    model = ScriptedModel([ModelStep.stream(never_ending)])
    context = make_context()
    store = DjangoStore()
    thread = ThreadMetadata(id=store.generate_thread_id(context), created_at=NOW)
    await store.save_thread(thread, context)
    before = asyncio.all_tasks()
    run = Runner.run_streamed(Agent(name="scripted", model=model), "Hi")
    agent_context = AgentContext(thread=thread, store=store, request_context=context)

    async def read() -> None:
        async for _ in stream_run(agent_context, run):
            pass

    task = asyncio.create_task(read())
    async with asyncio.timeout(20):
        await reached.wait()
        # The reader, the run, and the SDK's two that wait for what comes.
        while len(asyncio.all_tasks() - before) < 4:  # noqa: ASYNC110 - nothing tells of them
            await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    # They were cancelled too, so they end; without that they would wait for ever.
    left = asyncio.all_tasks() - before
    if left:
        _, pending = await asyncio.wait(left, timeout=5)
        assert not pending


@pytest.mark.django_db(transaction=True)
async def test_the_model_gets_the_newest_items_only(settings: Settings) -> None:
    settings.CHATKIT_HISTORY_ITEMS = 3
    model = ScriptedModel([[assistant_message(f"Answer {n}", item_id=f"m{n}")] for n in range(3)])
    server = DjangoChatKitServer(DjangoStore(), agent=Agent(name="scripted", model=model))
    context = make_context()
    thread_id = ""
    for number in range(3):
        user_input = {
            "content": [{"type": "input_text", "text": f"Question {number}"}],
            "attachments": [],
            "inference_options": {},
        }
        body = (
            {
                "type": "threads.add_user_message",
                "params": {"thread_id": thread_id, "input": user_input},
            }
            if thread_id
            else {"type": "threads.create", "params": {"input": user_input}}
        )
        async for _ in await server.process(json.dumps(body), context):  # type: ignore[union-attr]
            pass
        thread_id = (await server.store.load_threads(1, None, "desc", context)).data[0].id
    assert model.last_call is not None
    told = str(model.last_call.input)
    assert "Question 2" in told
    assert "Answer 1" in told
    assert "Question 1" in told
    assert "Answer 0" not in told
