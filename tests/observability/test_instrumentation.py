"""Any ``ChatKitServer`` is recorded: these are not ours, and keep their threads in memory."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from datetime import datetime
from typing import Any

import pytest
from agents import Agent, RunConfig, Runner, Usage
from agents.testing import ScriptedModel, assistant_message
from asgiref.sync import sync_to_async
from chatkit.agents import AgentContext, simple_to_agent_input, stream_agent_response
from chatkit.errors import ErrorCode
from chatkit.server import ChatKitServer, StreamingResult
from chatkit.store import NotFoundError, Store
from chatkit.types import (
    AssistantMessageContent,
    AssistantMessageContentPartTextDelta,
    AssistantMessageItem,
    Attachment,
    ErrorEvent,
    Page,
    ThreadItem,
    ThreadItemAddedEvent,
    ThreadItemDoneEvent,
    ThreadItemUpdatedEvent,
    ThreadMetadata,
    ThreadStreamEvent,
    UserMessageItem,
)
from django.db import OperationalError

from observability import instrument, instrumentation, turns
from observability.instrumentation import settle_all
from observability.models import Turn
from observability.recorder import TurnRecorder

pytestmark = pytest.mark.django_db(transaction=True)

Context = dict[str, Any]
Respond = Callable[[ThreadMetadata], AsyncIterator[ThreadStreamEvent]]
NOW = datetime(2026, 11, 21)  # noqa: DTZ001 - naive, as the SDK makes them


class MemoryStore(Store[Context]):
    """The least that the SDK needs, and nothing of ours."""

    def __init__(self) -> None:
        self.threads: dict[str, ThreadMetadata] = {}
        self.items: dict[str, dict[str, ThreadItem]] = defaultdict(dict)

    async def load_thread(self, thread_id: str, context: Context) -> ThreadMetadata:
        if thread_id not in self.threads:
            raise NotFoundError(thread_id)
        return self.threads[thread_id]

    async def save_thread(self, thread: ThreadMetadata, context: Context) -> None:
        self.threads[thread.id] = thread

    async def load_thread_items(
        self, thread_id: str, after: str | None, limit: int, order: str, context: Context
    ) -> Page[ThreadItem]:
        items = list(self.items[thread_id].values())
        return Page(data=items[::-1][:limit] if order == "desc" else items[:limit])

    async def add_thread_item(self, thread_id: str, item: ThreadItem, context: Context) -> None:
        self.items[thread_id][item.id] = item

    async def save_item(self, thread_id: str, item: ThreadItem, context: Context) -> None:
        self.items[thread_id][item.id] = item

    async def load_item(self, thread_id: str, item_id: str, context: Context) -> ThreadItem:
        return self.items[thread_id][item_id]

    async def delete_thread_item(self, thread_id: str, item_id: str, context: Context) -> None:
        self.items[thread_id].pop(item_id, None)

    async def load_threads(
        self, limit: int, after: str | None, order: str, context: Context
    ) -> Page[ThreadMetadata]:
        return Page(data=list(self.threads.values()))

    async def delete_thread(self, thread_id: str, context: Context) -> None:
        del self.threads[thread_id]

    async def save_attachment(self, attachment: Attachment, context: Context) -> None:
        raise NotImplementedError

    async def load_attachment(self, attachment_id: str, context: Context) -> Attachment:
        raise NotImplementedError

    async def delete_attachment(self, attachment_id: str, context: Context) -> None:
        raise NotImplementedError


class CannedServer(ChatKitServer[Context]):
    """Yields the events that a test gives it."""

    def __init__(self, events: Respond) -> None:
        super().__init__(MemoryStore())
        self._events = events

    def respond(
        self, thread: ThreadMetadata, input_user_message: UserMessageItem | None, context: Context
    ) -> AsyncIterator[ThreadStreamEvent]:
        return self._events(thread)


class ScriptedServer(ChatKitServer[Context]):
    """Runs an agent of the Agents SDK, as the SDK's own samples do."""

    def __init__(self, model: ScriptedModel, *, tracing_disabled: bool = False) -> None:
        super().__init__(MemoryStore())
        self._model = model
        self._config = RunConfig(tracing_disabled=tracing_disabled)

    async def respond(
        self, thread: ThreadMetadata, input_user_message: UserMessageItem | None, context: Context
    ) -> AsyncIterator[ThreadStreamEvent]:
        assert input_user_message is not None
        run = Runner.run_streamed(
            Agent(name="scripted", model=self._model),
            await simple_to_agent_input(input_user_message),
            run_config=self._config,
        )
        agent_context = AgentContext(thread=thread, store=self.store, request_context=context)
        async for event in stream_agent_response(agent_context, run):
            yield event


def message(thread: ThreadMetadata, text: str, item_id: str = "msg_1") -> AssistantMessageItem:
    content = [AssistantMessageContent(text=text)] if text else []
    return AssistantMessageItem(id=item_id, thread_id=thread.id, created_at=NOW, content=content)


def delta(text: str, item_id: str = "msg_1") -> ThreadItemUpdatedEvent:
    update = AssistantMessageContentPartTextDelta(content_index=0, delta=text)
    return ThreadItemUpdatedEvent(item_id=item_id, update=update)


async def hello(thread: ThreadMetadata) -> AsyncIterator[ThreadStreamEvent]:
    yield ThreadItemAddedEvent(item=message(thread, ""))
    yield delta("Hel")
    yield delta("lo")
    yield ThreadItemDoneEvent(item=message(thread, "Hello"))


async def hello_then_wait(thread: ThreadMetadata) -> AsyncIterator[ThreadStreamEvent]:
    yield ThreadItemAddedEvent(item=message(thread, ""))
    yield delta("Hel")
    await asyncio.Event().wait()


async def hello_then_fail(thread: ThreadMetadata) -> AsyncIterator[ThreadStreamEvent]:
    yield ThreadItemAddedEvent(item=message(thread, ""))
    yield delta("Hel")
    raise ZeroDivisionError("by hand")


async def hello_then_error_event(thread: ThreadMetadata) -> AsyncIterator[ThreadStreamEvent]:
    yield delta("Hel")
    yield ErrorEvent(code=ErrorCode.STREAM_ERROR, message="Busy.", allow_retry=True)


async def ask(
    server: ChatKitServer[Context], prompt: str = "Hi", **context: Any
) -> AsyncGenerator[dict[str, Any], None]:
    """The events of one ``threads.create``, as a client would decode them."""
    user_input = {
        "content": [{"type": "input_text", "text": prompt}],
        "attachments": [],
        "inference_options": {},
    }
    body = json.dumps({"type": "threads.create", "params": {"input": user_input}})
    result = await server.process(body, context)
    assert isinstance(result, StreamingResult)
    async for frame in result:
        yield json.loads(frame.removeprefix(b"data: "))


async def read_all(server: ChatKitServer[Context], **context: Any) -> list[dict[str, Any]]:
    return [event async for event in ask(server, **context)]


async def only_turn() -> Turn:
    return await Turn.objects.prefetch_related("messages").aget()


def lines(turn: Turn) -> list[tuple[str, str]]:
    return [(line.kind, line.text) for line in turn.messages.all()]


async def test_a_turn_of_a_foreign_server_is_stored_whole() -> None:
    server = instrument(CannedServer(hello))
    await read_all(server, user_id="u1", session_id="s1", locale="de")
    turn = await only_turn()
    assert turn.status == Turn.Status.COMPLETED
    assert (turn.prompt, turn.response) == ("Hi", "Hello")
    assert (turn.owner_key, turn.session_id, turn.locale) == ("u1", "s1", "de")
    assert turn.thread_id.startswith("thr_")
    assert lines(turn) == [("prompt", "Hi"), ("response", "Hello")]
    assert None not in (turn.ttfp_ms, turn.ttft_ms, turn.duration_ms, turn.total_ms)
    assert turn.lease_expires_at is None
    assert not turns._live


async def test_instrumenting_changes_no_event() -> None:
    def shape(events: list[dict[str, Any]]) -> list[Any]:
        return [(event["type"], event.get("update"), event.get("item_id")) for event in events]

    bare = await read_all(CannedServer(hello))
    recorded = await read_all(instrument(CannedServer(hello)))
    assert shape(recorded) == shape(bare)


async def test_instrumenting_twice_records_once() -> None:
    server = CannedServer(hello)
    assert instrument(instrument(server)) is server
    await read_all(server)
    assert await Turn.objects.acount() == 1


async def test_a_running_turn_is_there_from_the_start_with_a_lease() -> None:
    server = instrument(CannedServer(hello_then_wait))
    async with aclosing(ask(server)) as events:
        async for event in events:
            if event["type"] == "thread.item.updated":
                break
        turn = await only_turn()
        assert turn.status == Turn.Status.RUNNING
        assert turn.prompt == "Hi"
        assert turn.lease_expires_at is not None
        assert await sync_to_async(turns.renew_live_leases)() == 1


async def test_an_exception_reaches_the_client_as_before_and_fails_the_turn() -> None:
    events = await read_all(instrument(CannedServer(hello_then_fail)))
    assert events[-1]["type"] == "error"
    turn = await only_turn()
    assert turn.status == Turn.Status.FAILED
    assert (turn.error_code, turn.error_message) == ("ZeroDivisionError", "by hand")
    assert turn.response == "Hel"


async def test_an_error_event_fails_the_turn_though_nothing_is_raised() -> None:
    await read_all(instrument(CannedServer(hello_then_error_event)))
    turn = await only_turn()
    assert turn.status == Turn.Status.FAILED
    assert (turn.error_code, turn.error_message) == ("stream.error", "Busy.")


async def test_a_cancelled_task_leaves_a_cancelled_turn_with_its_text() -> None:
    server = instrument(CannedServer(hello_then_wait))
    reached = asyncio.Event()

    async def read() -> None:
        async for event in ask(server):
            if event["type"] == "thread.item.updated":
                reached.set()

    task = asyncio.create_task(read())
    await asyncio.wait_for(reached.wait(), 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await settle_all(10)
    turn = await only_turn()
    assert turn.status == Turn.Status.CANCELLED
    assert lines(turn) == [("prompt", "Hi"), ("response", "Hel")]


async def test_a_generator_that_is_closed_and_not_cancelled_leaves_a_cancelled_turn() -> None:
    server = instrument(CannedServer(hello_then_wait))
    respond = server.respond(ThreadMetadata(id="thr_1", created_at=NOW), None, {})
    async for event in respond:
        if isinstance(event, ThreadItemUpdatedEvent):
            break
    await respond.aclose()  # type: ignore[attr-defined]
    assert await settle_all(10)
    turn = await only_turn()
    assert turn.status == Turn.Status.CANCELLED
    assert turn.response == "Hel"


async def test_a_turn_that_the_locked_database_refuses_is_settled_later_and_holds_nobody_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settle, may_write = turns.settle_turn, threading.Event()

    def refused(recorder: TurnRecorder) -> None:
        if not may_write.is_set():
            raise OperationalError("database is locked")
        settle(recorder)

    monkeypatch.setattr(turns, "settle_turn", refused)
    monkeypatch.setattr(instrumentation, "SETTLE_AGAIN_SECONDS", (0.01,) * 1_000)
    events = await read_all(instrument(CannedServer(hello_then_error_event)))
    assert events[-1]["type"] == "error"
    assert (await only_turn()).status == Turn.Status.RUNNING
    # It is this process's still: its lease is renewed.
    assert await sync_to_async(turns.renew_live_leases)() == 1
    may_write.set()
    assert await settle_all(10)
    turn = await only_turn()
    assert (turn.status, turn.response) == (Turn.Status.FAILED, "Hel")
    assert await sync_to_async(turns.renew_live_leases)() == 0


async def test_a_turn_that_can_never_be_settled_is_left_to_the_sweeper_and_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refused(recorder: TurnRecorder) -> None:
        raise OperationalError("disk is full")

    monkeypatch.setattr(turns, "settle_turn", refused)
    monkeypatch.setattr(instrumentation, "SETTLE_AGAIN_SECONDS", (0.01, 0.01))
    await read_all(instrument(CannedServer(hello_then_error_event)))
    assert await settle_all(10)
    assert "the sweeper will finish it" in caplog.text
    assert await sync_to_async(turns.renew_live_leases)() == 0


async def test_tokens_and_model_come_from_the_agents_sdk() -> None:
    usage = Usage(requests=1, input_tokens=11, output_tokens=7, total_tokens=18)
    usage.input_tokens_details.cached_tokens = 3
    usage.output_tokens_details.reasoning_tokens = 2
    model = TracedModel([{"output": [assistant_message("Done.")], "usage": usage}])
    await read_all(instrument(ScriptedServer(model)))
    turn = await only_turn()
    assert turn.response == "Done."
    assert turn.model == "traced"
    assert (turn.input_tokens, turn.cached_tokens) == (11, 3)
    assert (turn.output_tokens, turn.reasoning_tokens) == (7, 2)


async def test_without_tracing_tokens_are_unknown_and_not_zero() -> None:
    model = TracedModel([[assistant_message("Done.")]])
    await read_all(instrument(ScriptedServer(model, tracing_disabled=True)))
    turn = await only_turn()
    assert turn.status == Turn.Status.COMPLETED
    assert (turn.input_tokens, turn.output_tokens, turn.model) == (None, None, "")


async def test_concurrent_turns_do_not_share_tokens() -> None:
    async def run(tokens: int) -> None:
        usage = Usage(requests=1, input_tokens=tokens, output_tokens=1, total_tokens=tokens + 1)
        model = TracedModel([{"output": [assistant_message("Done.")], "usage": usage}])
        await read_all(instrument(ScriptedServer(model)), owner_key=f"user:{tokens}")

    await asyncio.gather(*(asyncio.create_task(run(tokens)) for tokens in range(1, 6)))
    found = [turn async for turn in Turn.objects.values_list("owner_key", "input_tokens")]
    assert sorted(found) == [(f"user:{tokens}", tokens) for tokens in range(1, 6)]


async def test_a_turn_that_was_swept_while_its_process_stalled_is_completed_after_all() -> None:
    server = instrument(CannedServer(hello))
    async for event in ask(server):
        if event["type"] == "thread.item.added":
            await Turn.objects.aupdate(status=Turn.Status.INTERRUPTED, lease_expires_at=None)
    assert (await only_turn()).status == Turn.Status.COMPLETED


async def test_a_turn_whose_row_is_gone_costs_the_visitor_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = instrument(CannedServer(hello))
    types = []
    async for event in ask(server):
        types.append(event["type"])
        if event["type"] == "thread.item.added":
            await Turn.objects.all().adelete()
    assert types[-1] == "thread.item.done"
    assert "was gone" in caplog.text


class TracedModel(ScriptedModel):
    """The SDK's scripted model, that tells its usage on a span as real models do."""

    async def stream_response(self, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        from agents import generation_span

        tracing = args[6] if len(args) > 6 else kwargs["tracing"]
        with generation_span(model="traced", disabled=tracing.is_disabled()) as span:
            async for event in super().stream_response(*args, **kwargs):
                if event.type == "response.completed" and event.response.usage is not None:
                    span.span_data.usage = event.response.usage.model_dump()
                yield event
