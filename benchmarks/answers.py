"""What both sides of a comparison answer with: plain deltas, a thought and a short answer, and an
agent whose model is a script.

How many words it says stands in the prompt. Each of them lets other streams come in between, as
those of a model do, and none of them waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

from agents import Agent, Runner, Tool, TResponseInputItem
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
from openai.types.responses import ResponseOutputItem, ResponseUsage

from chatkit_endpoint.demo_model import DemoModel, answer, reasoning, usage_of

from .words import words_for

THOUGHT = "Counting."
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


class Script(DemoModel):
    """Plays a model of the Responses API like the demo's: one thought, then the words."""

    def __init__(self) -> None:
        super().__init__(seconds_per_word=0)

    def decide(
        self, input: str | list[TResponseInputItem], tools: list[Tool]
    ) -> tuple[list[ResponseOutputItem], ResponseUsage]:
        words = words_for(str(input))
        return [reasoning(THOUGHT), answer("".join(words))], usage_of(10, len(words))


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
