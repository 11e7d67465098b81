"""A ChatKit server without a model that says as much as it is asked for, event by event.

Its prompt is an order in JSON, so that a test knows each event before it comes.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime

from chatkit.server import ChatKitServer
from chatkit.types import (
    AssistantMessageContent,
    AssistantMessageContentPartAdded,
    AssistantMessageContentPartDone,
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
    WorkflowTaskAdded,
    WorkflowTaskUpdated,
)

from chatkit_endpoint.context import RequestContext
from chatkit_endpoint.store import full_length_id
from observability.recorder import user_text

SPEAKER = "tests.faults.site_speaker.Speaker"
"""For the variable SITE_SERVER."""

EVENTS = 60
THOUGHTS = 8
FIRST_TEXT = THOUGHTS + 5
"""The number of the event with the first words of the answer."""
TEXTS = EVENTS - FIRST_TEXT - 1


@dataclass(frozen=True, kw_only=True)
class Order:
    holds_after: int = 0
    """Say nothing more after this event, until cancelled; 0: speak to the end."""
    size: int = 0
    """So many characters more in each piece of text."""
    together: int = 0
    """Begin with the answer when so many turns of the process have come so far."""

    @property
    def prompt(self) -> str:
        return json.dumps(asdict(self))

    def texts(self) -> list[str]:
        """The pieces of the answer."""
        return [f"word {number} {'x' * self.size}" for number in range(1, TEXTS + 1)]

    def said(self, events: int) -> list[tuple[str, str]]:
        """What a turn has to keep of which this many events were sent."""
        thought = "".join(_thoughts()[: max(0, events - 1)])
        response = "".join(self.texts()[: max(0, events - FIRST_TEXT + 1)])
        lines = [("prompt", self.prompt), ("thought", thought), ("response", response)]
        return [line for line in lines if line[1]]


class Speaker(ChatKitServer[RequestContext]):
    """Instances share nothing; a process has one."""

    _here = 0
    _everybody = asyncio.Event()

    async def respond(
        self,
        thread: ThreadMetadata,
        input_user_message: UserMessageItem | None,
        context: RequestContext,
    ) -> AsyncIterator[ThreadStreamEvent]:
        assert input_user_message is not None
        order = Order(**json.loads(user_text(input_user_message)))
        for number, event in enumerate(_events(thread.id, order), 1):
            if number == FIRST_TEXT and order.together:
                await self._wait_for_all(order.together)
            yield event
            if number == order.holds_after:
                await asyncio.Event().wait()
            await asyncio.sleep(0)

    async def _wait_for_all(self, count: int) -> None:
        everybody = self._everybody
        self._here += 1
        if self._here == count:
            self._here, self._everybody = 0, asyncio.Event()
            everybody.set()
        await everybody.wait()


def is_spoken(event: ThreadStreamEvent) -> bool:
    """Whether this is one of the events above, and not one that ChatKit sends before them."""
    if isinstance(event, ThreadItemDoneEvent):
        return event.item.type != "user_message"
    return isinstance(event, ThreadItemAddedEvent | ThreadItemUpdatedEvent)


def _thoughts() -> list[str]:
    return [f"Thought {number}. " for number in range(1, THOUGHTS + 1)]


def _events(thread_id: str, order: Order) -> Iterator[ThreadStreamEvent]:
    workflow = WorkflowItem(
        id=full_length_id("workflow"),
        thread_id=thread_id,
        created_at=datetime.now(),  # noqa: DTZ005 (naive, as the SDK makes them)
        workflow=Workflow(type="reasoning", tasks=[]),
    )
    yield ThreadItemAddedEvent(item=workflow)
    for number in range(1, THOUGHTS + 1):
        task = ThoughtTask(content="".join(_thoughts()[:number]))
        kind = WorkflowTaskAdded if number == 1 else WorkflowTaskUpdated
        yield ThreadItemUpdatedEvent(item_id=workflow.id, update=kind(task_index=0, task=task))
        workflow.workflow.tasks = [task]
    yield ThreadItemDoneEvent(item=workflow)

    message = AssistantMessageItem(
        id=full_length_id("message"),
        thread_id=thread_id,
        created_at=datetime.now(),  # noqa: DTZ005
        content=[],
    )
    yield ThreadItemAddedEvent(item=message)
    empty = AssistantMessageContent(text="")
    added = AssistantMessageContentPartAdded(content_index=0, content=empty)
    yield ThreadItemUpdatedEvent(item_id=message.id, update=added)
    for text in order.texts():
        delta = AssistantMessageContentPartTextDelta(content_index=0, delta=text)
        yield ThreadItemUpdatedEvent(item_id=message.id, update=delta)
    whole = AssistantMessageContent(text="".join(order.texts()))
    done = AssistantMessageContentPartDone(content_index=0, content=whole)
    yield ThreadItemUpdatedEvent(item_id=message.id, update=done)
    yield ThreadItemDoneEvent(item=message.model_copy(update={"content": [whole]}))
