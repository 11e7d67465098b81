"""CHATKIT_SERVER: a hotel's own ChatKitServer, with widgets and actions, over our store.

It answers without a model, by a keyword, so that each of ChatKit's features can be seen at work.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

from chatkit.actions import Action
from chatkit.server import ChatKitServer, stream_widget
from chatkit.store import StoreItemType
from chatkit.types import (
    AssistantMessageContent,
    AssistantMessageItem,
    ClientToolCallItem,
    CustomTask,
    StructuredInputFreeform,
    StructuredInputItem,
    SyncCustomActionResponse,
    ThreadItem,
    ThreadItemAddedEvent,
    ThreadItemDoneEvent,
    ThreadItemReplacedEvent,
    ThreadItemUpdatedEvent,
    ThreadMetadata,
    ThreadStreamEvent,
    UserMessageItem,
    WidgetItem,
    Workflow,
    WorkflowItem,
    WorkflowTaskAdded,
)
from chatkit.widgets import DynamicWidgetRoot, WidgetTemplate

from chatkit_endpoint.context import RequestContext
from observability.recorder import user_text

ROOM = WidgetTemplate(
    {
        "version": "1.0",
        "name": "room",
        "template": """{
            "type": "Card",
            "children": [
                {"type": "Text", "value": {{ state | tojson }}},
                {"type": "Button", "label": "Book",
                 "onClickAction": {"type": "book", "payload": {"room": 12}}}
            ]
        }""",
    }
)


class Concierge(ChatKitServer[RequestContext]):
    """A subclass is all that the setting wants: it is called with our two stores."""

    async def respond(
        self,
        thread: ThreadMetadata,
        input_user_message: UserMessageItem | None,
        context: RequestContext,
    ) -> AsyncIterator[ThreadStreamEvent]:
        if input_user_message is None:
            # After the output of a client tool, or the answers to a structured input.
            yield self._say(await self._what_came_in(thread, context), thread, context)
            return
        prompt = user_text(input_user_message)
        if "room" in prompt:
            async for event in stream_widget(
                thread,
                room("Free"),
                copy_text="Room 12: free",
                generate_id=lambda kind: self.store.generate_item_id(kind, thread, context),
            ):
                yield event
        elif "where" in prompt:
            yield ThreadItemDoneEvent(
                item=ClientToolCallItem(
                    **self._base("tool_call", thread, context),
                    call_id="call_1",
                    name="get_location",
                    arguments={"precise": False},
                )
            )
        elif "table" in prompt:
            question = StructuredInputFreeform(id="time", question="At what time?")
            yield ThreadItemDoneEvent(
                item=StructuredInputItem(
                    **self._base("message", thread, context), inputs=[question]
                )
            )
        elif "plan" in prompt:
            async for event in self._plan(thread, context):
                yield event
        else:
            yield self._say(f"You said: {prompt}", thread, context)

    async def action(
        self,
        thread: ThreadMetadata,
        action: Action[str, Any],
        sender: WidgetItem | None,
        context: RequestContext,
    ) -> AsyncIterator[ThreadStreamEvent]:
        if sender is not None:
            yield ThreadItemReplacedEvent(item=sender.model_copy(update={"widget": room("Booked")}))
        yield self._say("Your room is booked.", thread, context)

    async def sync_action(
        self,
        thread: ThreadMetadata,
        action: Action[str, Any],
        sender: WidgetItem | None,
        context: RequestContext,
    ) -> SyncCustomActionResponse:
        if sender is None:
            return SyncCustomActionResponse()
        updated = sender.model_copy(update={"widget": room("Held for you")})
        await self.store.save_item(thread.id, updated, context)
        return SyncCustomActionResponse(updated_item=updated)

    async def _plan(
        self, thread: ThreadMetadata, context: RequestContext
    ) -> AsyncIterator[ThreadStreamEvent]:
        item = WorkflowItem(
            **self._base("workflow", thread, context), workflow=Workflow(type="custom", tasks=[])
        )
        yield ThreadItemAddedEvent(item=item)
        task = CustomTask(title="Museum", content="at ten")
        yield ThreadItemUpdatedEvent(
            item_id=item.id, update=WorkflowTaskAdded(task_index=0, task=task)
        )
        done = item.model_copy(update={"workflow": Workflow(type="custom", tasks=[task])})
        yield ThreadItemDoneEvent(item=done)

    async def _what_came_in(self, thread: ThreadMetadata, context: RequestContext) -> str:
        items = await self.store.load_thread_items(thread.id, None, 1, "desc", context)
        newest: ThreadItem = items.data[0]
        if isinstance(newest, ClientToolCallItem):
            return f"You are in {newest.output['city']}." if newest.output else "Nowhere."
        if isinstance(newest, StructuredInputItem) and newest.inputs[0].answer is not None:
            return f"A table for {', '.join(newest.inputs[0].answer.values)}."
        return "Nothing came in."

    def _say(
        self, text: str, thread: ThreadMetadata, context: RequestContext
    ) -> ThreadItemDoneEvent:
        return ThreadItemDoneEvent(
            item=AssistantMessageItem(
                **self._base("message", thread, context),
                content=[AssistantMessageContent(text=text)],
            )
        )

    def _base(
        self, kind: StoreItemType, thread: ThreadMetadata, context: RequestContext
    ) -> dict[str, Any]:
        return {
            "id": self.store.generate_item_id(kind, thread, context),
            "thread_id": thread.id,
            # Naive, as the SDK makes them: the process runs in UTC.
            "created_at": datetime.now(),  # noqa: DTZ005
        }


def room(state: str) -> DynamicWidgetRoot:
    """The card of a room, built from its template."""
    return ROOM.build({"state": state})
