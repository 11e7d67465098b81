"""The ChatKit server: a thread's recent items go to the agent, its answer comes back as events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from functools import cache
from typing import Any, cast

from agents import (
    Agent,
    RunConfig,
    Runner,
    RunResultStreaming,
    StreamEvent,
    TResponseInputItem,
)
from chatkit.agents import AgentContext, ThreadItemConverter, stream_agent_response
from chatkit.server import ChatKitServer
from chatkit.store import AttachmentStore
from chatkit.types import (
    Attachment,
    AudioInput,
    ProgressUpdateEvent,
    ThreadItem,
    ThreadItemAddedEvent,
    ThreadItemDoneEvent,
    ThreadItemUpdatedEvent,
    ThreadMetadata,
    ThreadStreamEvent,
    TranscriptionResult,
    UserMessageItem,
    UserMessageTagContent,
)
from django.utils.module_loading import import_string
from openai.types.responses import ResponseInputContentParam, ResponseInputTextParam

from observability import instrument
from observability.recorder import user_text
from observability.span_log import Kind
from observability.spans import note_tool_error

from .assistant import build_agent
from .attachments import DjangoAttachmentStore, as_model_input, left_out, newest_that_fit
from .conf import conf
from .context import RequestContext
from .locales import language_instruction
from .store import FAKE_ITEM_ID, DjangoStore, full_length_id
from .transcription import transcribe

TITLE_LENGTH = 60

ChatAgent = Agent[AgentContext[RequestContext]]


@cache
def get_server() -> ChatKitServer[RequestContext]:
    """This process' server, made at the first request: the SDK is slow to import."""
    make_server: Any = DjangoChatKitServer
    if conf().chatkit_server:
        make_server = import_string(conf().chatkit_server)
    return instrument(make_server(DjangoStore(), DjangoAttachmentStore()))


class ItemConverter(ThreadItemConverter):
    """The asking owner's thread items as input of the model.

    Nothing here becomes a system or developer message.
    """

    def __init__(self, context: RequestContext) -> None:
        self._context = context
        self._fitting: set[str] = set()

    async def to_agent_input(
        self, thread_items: Sequence[ThreadItem] | ThreadItem
    ) -> list[TResponseInputItem]:
        items = [thread_items] if not isinstance(thread_items, Sequence) else thread_items
        self._fitting = newest_that_fit(items)
        return await super().to_agent_input(items)

    async def attachment_to_message_content(
        self, attachment: Attachment
    ) -> ResponseInputContentParam:
        if attachment.id not in self._fitting:
            return left_out(attachment)
        return await as_model_input(attachment, self._context)

    async def tag_to_message_content(self, tag: UserMessageTagContent) -> ResponseInputTextParam:
        return ResponseInputTextParam(type="input_text", text=tag.text)


class DjangoChatKitServer(ChatKitServer[RequestContext]):
    """Answers with an agent of the Agents SDK; ``agent`` None means the one the settings name."""

    def __init__(
        self,
        store: DjangoStore,
        attachment_store: AttachmentStore[RequestContext] | None = None,
        *,
        agent: ChatAgent | None = None,
    ) -> None:
        super().__init__(store, attachment_store)
        self._agent = agent

    async def respond(
        self,
        thread: ThreadMetadata,
        input_user_message: UserMessageItem | None,
        context: RequestContext,
    ) -> AsyncIterator[ThreadStreamEvent]:
        if thread.title is None and input_user_message is not None:
            with context.spans.step(Kind.TITLE, "from_prompt"):
                thread.title = title_from(user_text(input_user_message))
        newest = await self.store.load_thread_items(
            thread.id, None, conf().chatkit_history_items, "desc", context
        )
        history = await ItemConverter(context).to_agent_input(newest.data[::-1])
        agent = self._agent or agent_for(context)
        if context.turn is not None:
            # The spans tell the model only at a call's end, which a cancelled one never reaches.
            context.turn.usage.model = model_name(agent)
        agent_context = AgentContext(thread=thread, store=self.store, request_context=context)
        run = Runner.run_streamed(
            agent,
            [language_note(context.locale), *history],
            context=agent_context,
            run_config=RunConfig(tool_error_formatter=note_tool_error),
        )
        async with aclosing(with_own_ids(stream_run(agent_context, run))) as events:
            async for event in events:
                yield event

    async def transcribe(
        self, audio_input: AudioInput, context: RequestContext
    ) -> TranscriptionResult:
        return await transcribe(audio_input)


def agent_for(context: RequestContext) -> ChatAgent:
    """The agent that the settings name, or the default assistant."""
    if not conf().chatkit_agent:
        return build_agent()
    agent: ChatAgent = import_string(conf().chatkit_agent)(context)
    return agent


def title_from(prompt: str) -> str | None:
    """A title: the beginning of the first prompt, cut at a word; None where that is empty."""
    words = " ".join(prompt.split())
    if len(words) <= TITLE_LENGTH:
        return words or None
    head = words[:TITLE_LENGTH]
    return (head.rpartition(" ")[0] or head) + "…"


def language_note(locale: str) -> TResponseInputItem:
    """Tells the model the user's language, in words of the catalogs, never of a user.

    A message and not part of the instructions, so that a site's own agents are told too.
    """
    return cast(
        "TResponseInputItem",
        {"type": "message", "role": "developer", "content": language_instruction(locale)},
    )


def model_name(agent: ChatAgent) -> str:
    model = agent.model
    return model if isinstance(model, str) else str(getattr(model, "model", "") or "")


async def stream_run(
    context: AgentContext[RequestContext], run: RunResultStreaming
) -> AsyncGenerator[ThreadStreamEvent, None]:
    """``stream_agent_response`` that leaves nothing running behind when it is cancelled.

    The SDK waits for the run and for the tools' own events in two tasks, and on cancellation
    forgets both: the model would write on, for nobody, at our cost.
    """
    attended = _AttendedRun(run)
    finished = False
    try:
        async for event in stream_agent_response(context, cast("RunResultStreaming", attended)):
            yield event
        finished = True
    finally:
        if not finished:
            attended.abandon()
            # Wakes the task that waits for the tools' events; nobody reads this one.
            await context.stream(ProgressUpdateEvent(text=""))


class _AttendedRun:
    """A run's events, and the task that is waiting for the next of them."""

    def __init__(self, run: RunResultStreaming) -> None:
        self._run = run
        self._waiting: asyncio.Task[Any] | None = None

    async def stream_events(self) -> AsyncIterator[StreamEvent]:
        events = self._run.stream_events()
        while True:
            self._waiting = asyncio.current_task()
            try:
                event = await anext(events)
            except StopAsyncIteration:
                return
            yield event

    def abandon(self) -> None:
        self._run.cancel()
        if self._waiting is not None and self._waiting is not asyncio.current_task():
            self._waiting.cancel()


async def with_own_ids(
    events: AsyncGenerator[ThreadStreamEvent, None],
) -> AsyncGenerator[ThreadStreamEvent, None]:
    """Give each message its own id where the model calls them all the same."""
    own_id = FAKE_ITEM_ID
    async with aclosing(events):
        async for event in events:
            if isinstance(event, ThreadItemUpdatedEvent) and event.item_id == FAKE_ITEM_ID:
                event.item_id = own_id
            elif (
                isinstance(event, ThreadItemAddedEvent | ThreadItemDoneEvent)
                and event.item.id == FAKE_ITEM_ID
            ):
                if isinstance(event, ThreadItemAddedEvent):
                    own_id = full_length_id("message")
                event.item.id = own_id
            yield event
