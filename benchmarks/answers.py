"""What both sides of a comparison answer with: plain deltas, a thought and a short answer, and an
agent whose model is a script.

How many words it says stands in the prompt. Each of them lets other streams come in between, as
those of a model do, and none of them waits.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

from agents import (
    Agent,
    AgentOutputSchemaBase,
    Handoff,
    Model,
    ModelResponse,
    ModelSettings,
    ModelTracing,
    Runner,
    Tool,
    TResponseInputItem,
    generation_span,
)
from agents.items import TResponseStreamEvent
from chatkit.agents import AgentContext, simple_to_agent_input, stream_agent_response
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
)
from openai.types.responses import (
    Response,
    ResponseCompletedEvent,
    ResponseContentPartAddedEvent,
    ResponseContentPartDoneEvent,
    ResponseCreatedEvent,
    ResponseOutputItem,
    ResponseOutputItemAddedEvent,
    ResponseOutputItemDoneEvent,
    ResponseOutputMessage,
    ResponseOutputText,
    ResponseReasoningItem,
    ResponseReasoningSummaryTextDoneEvent,
    ResponseTextDeltaEvent,
    ResponseTextDoneEvent,
    ResponseUsage,
)
from openai.types.responses.response_reasoning_item import Summary
from openai.types.responses.response_usage import InputTokensDetails, OutputTokensDetails

from .words import words_for

MODEL = "script"
THOUGHT = "They want some words, so I count them out."
HISTORY_ITEMS = 50


class Deltas(ChatKitServer[Any]):
    """No model at all: the cost of the stream itself."""

    async def respond(
        self, thread: ThreadMetadata, input_user_message: UserMessageItem | None, context: Any
    ) -> AsyncIterator[ThreadStreamEvent]:
        asked = "" if input_user_message is None else input_user_message.content[0].text
        item = AssistantMessageItem(
            id=self.store.generate_item_id("message", thread, context),
            thread_id=thread.id,
            created_at=datetime.now(),  # noqa: DTZ005 (As the SDK itself has it.)
            content=[AssistantMessageContent(text="")],
        )
        yield ThreadItemAddedEvent(item=item)
        words = words_for(asked)
        for word in words:
            await asyncio.sleep(0)
            yield ThreadItemUpdatedEvent(
                item_id=item.id,
                update=AssistantMessageContentPartTextDelta(content_index=0, delta=word),
            )
        item.content = [AssistantMessageContent(text="".join(words))]
        yield ThreadItemDoneEvent(item=item)


class Short(Deltas):
    """A title, a thought and an answer: a turn of six spans and three messages, without a model."""

    async def respond(
        self, thread: ThreadMetadata, input_user_message: UserMessageItem | None, context: Any
    ) -> AsyncIterator[ThreadStreamEvent]:
        thread.title = "Words"
        thought = WorkflowItem(
            id=self.store.generate_item_id("workflow", thread, context),
            thread_id=thread.id,
            created_at=datetime.now(),  # noqa: DTZ005 (As the SDK itself has it.)
            workflow=Workflow(type="reasoning", tasks=[ThoughtTask(content=THOUGHT)]),
        )
        yield ThreadItemAddedEvent(item=thought)
        yield ThreadItemDoneEvent(item=thought)
        async for event in super().respond(thread, input_user_message, context):
            yield event


class Script(Model):
    """Plays a model of the Responses API: one thought, then the words."""

    model = MODEL

    async def get_response(self, *args: Any, **kwargs: Any) -> ModelResponse:
        raise NotImplementedError

    async def stream_response(
        self,
        system_instructions: str | None,
        input: str | list[TResponseInputItem],
        model_settings: ModelSettings,
        tools: list[Tool],
        output_schema: AgentOutputSchemaBase | None,
        handoffs: list[Handoff],
        tracing: ModelTracing,
        **kwargs: Any,
    ) -> AsyncIterator[TResponseStreamEvent]:
        words = words_for(str(input))
        with generation_span(model=MODEL, disabled=tracing.is_disabled()) as span:
            usage = _usage(len(words))
            async for event in _events(words, usage):
                if isinstance(event, ResponseCompletedEvent):
                    span.span_data.usage = usage.model_dump()
                yield event


_agent: Agent[Any] = Agent(name="Assistant", instructions="Say words.", model=Script())


def agent(context: Any) -> Agent[Any]:
    """For CHATKIT_AGENT."""
    return _agent


class Scripted(ChatKitServer[Any]):
    """The agent as the SDK's own samples run one."""

    async def respond(
        self, thread: ThreadMetadata, input_user_message: UserMessageItem | None, context: Any
    ) -> AsyncIterator[ThreadStreamEvent]:
        newest = await self.store.load_thread_items(thread.id, None, HISTORY_ITEMS, "desc", context)
        history = await simple_to_agent_input(newest.data[::-1])
        agent_context = AgentContext(thread=thread, store=self.store, request_context=context)
        run = Runner.run_streamed(_agent, history, context=agent_context)
        async for event in stream_agent_response(agent_context, run):
            yield event


async def _events(words: list[str], usage: ResponseUsage) -> AsyncIterator[TResponseStreamEvent]:
    text = "".join(words)
    thought = ResponseReasoningItem(
        id=_id("rs"), type="reasoning", summary=[Summary(type="summary_text", text=THOUGHT)]
    )
    part = ResponseOutputText(type="output_text", text=text, annotations=[])
    empty_part = part.model_copy(update={"text": ""})
    message = ResponseOutputMessage(
        id=_id("msg"), type="message", role="assistant", status="completed", content=[part]
    )
    begun = message.model_copy(update={"content": [], "status": "in_progress"})
    place: dict[str, Any] = {"item_id": message.id, "output_index": 1, "content_index": 0}
    any_number: dict[str, Any] = {"sequence_number": 0}
    yield ResponseCreatedEvent(type="response.created", response=_response([], None), **any_number)
    yield ResponseOutputItemAddedEvent(
        type="response.output_item.added",
        item=thought.model_copy(update={"summary": []}),
        output_index=0,
        **any_number,
    )
    yield ResponseReasoningSummaryTextDoneEvent(
        type="response.reasoning_summary_text.done",
        item_id=thought.id,
        output_index=0,
        summary_index=0,
        text=THOUGHT,
        **any_number,
    )
    yield ResponseOutputItemDoneEvent(
        type="response.output_item.done", item=thought, output_index=0, **any_number
    )
    yield ResponseOutputItemAddedEvent(
        type="response.output_item.added", item=begun, output_index=1, **any_number
    )
    yield ResponseContentPartAddedEvent(
        type="response.content_part.added", part=empty_part, **place, **any_number
    )
    for word in words:
        await asyncio.sleep(0)
        yield ResponseTextDeltaEvent(
            type="response.output_text.delta", delta=word, logprobs=[], **place, **any_number
        )
    yield ResponseTextDoneEvent(
        type="response.output_text.done", text=text, logprobs=[], **place, **any_number
    )
    yield ResponseContentPartDoneEvent(
        type="response.content_part.done", part=part, **place, **any_number
    )
    yield ResponseOutputItemDoneEvent(
        type="response.output_item.done", item=message, output_index=1, **any_number
    )
    yield ResponseCompletedEvent(
        type="response.completed", response=_response([thought, message], usage), **any_number
    )


def _usage(words: int) -> ResponseUsage:
    return ResponseUsage(
        input_tokens=10,
        input_tokens_details=InputTokensDetails(cached_tokens=0, cache_write_tokens=0),
        output_tokens=words,
        output_tokens_details=OutputTokensDetails(reasoning_tokens=0),
        total_tokens=10 + words,
    )


def _response(output: list[ResponseOutputItem], usage: ResponseUsage | None) -> Response:
    return Response(
        id=_id("resp"),
        created_at=time.time(),
        model=MODEL,
        object="response",
        output=output,
        tool_choice="auto",
        tools=[],
        parallel_tool_calls=False,
        usage=usage,
    )


def _id(prefix: str) -> str:
    return f"{prefix}_{uuid.uuid4().hex}"
