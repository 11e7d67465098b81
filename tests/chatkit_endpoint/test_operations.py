"""Every operation of the protocol: the real JSON in, the real answer decoded by the SDK's types."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from chatkit.types import (
    AssistantMessageItem,
    ClientToolCallItem,
    ImageAttachment,
    Page,
    SDKHiddenContextItem,
    StructuredInputItem,
    SyncCustomActionResponse,
    Thread,
    ThreadItemReplacedEvent,
    ThreadItemUpdatedEvent,
    UserMessageItem,
    WidgetItem,
    WorkflowItem,
)
from django.utils import timezone

from chatkit_endpoint.models import Attachment as AttachmentRow
from chatkit_endpoint.models import Thread as ThreadRow
from chatkit_endpoint.server import get_server
from chatkit_endpoint.store import DjangoStore
from observability.models import Message, Turn

from .conversations import context_of
from .visitors import Answer, Visitor, user_of

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("hasty")]


@pytest.fixture
async def visitor(transactional_db: None) -> Visitor:
    return await Visitor().sign_in(await user_of("alice"))


async def reload(visitor: Visitor, thread_id: str) -> list[Any]:
    """What a page that is loaded anew is shown of the thread."""
    answer = await visitor.ask("threads.get_by_id", thread_id=thread_id)
    assert answer.status == 200, answer.body
    return answer.thread.items.data


async def test_threads_create(visitor: Visitor) -> None:
    answer = await visitor.say("Hello there")
    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith("text/event-stream")
    assert [event.type for event in answer.events][:3] == [
        "thread.created",
        "thread.item.done",
        "stream_options",
    ]
    assert answer.text
    assert not answer.errors
    prompt, *_, reply = await reload(visitor, answer.thread.id)
    assert isinstance(prompt, UserMessageItem)
    assert isinstance(reply, AssistantMessageItem)
    assert reply.content[0].text == answer.text


async def test_threads_add_user_message(visitor: Visitor) -> None:
    thread = (await visitor.say("Hello")).thread
    answer = await visitor.say("And again", thread.id)
    assert answer.status == 200
    assert answer.text
    prompts = [
        item.content[0].text
        for item in await reload(visitor, thread.id)
        if isinstance(item, UserMessageItem)
    ]
    assert prompts == ["Hello", "And again"]


@pytest.mark.usefixtures("concierge")
async def test_threads_add_client_tool_output(visitor: Visitor) -> None:
    asked = await visitor.say("where am I?")
    thread_id = asked.thread.id
    call = asked.done[-1]
    assert isinstance(call, ClientToolCallItem)
    # The page is loaded anew between the call and its output: the call is still to be answered.
    (*_, replayed) = await reload(visitor, thread_id)
    assert replayed.status == "pending"
    assert (replayed.name, replayed.arguments) == ("get_location", {"precise": False})

    answer = await visitor.ask(
        "threads.add_client_tool_output", thread_id=thread_id, result={"city": "Berlin"}
    )
    assert answer.status == 200
    assert answer.text == "You are in Berlin."
    _, kept, _ = await reload(visitor, thread_id)
    assert (kept.status, kept.output) == ("completed", {"city": "Berlin"})


@pytest.mark.usefixtures("concierge")
async def test_a_turn_that_was_cancelled_after_its_call_still_takes_the_output(
    visitor: Visitor,
) -> None:
    asked = await visitor.say("where am I?")
    thread_id = asked.thread.id
    row = await ThreadRow.objects.select_related("user").aget(key=thread_id)
    store, context = get_server().store, context_of(row.user)
    # What the SDK does when the reader of a stream goes away.
    await get_server().handle_stream_cancelled(
        await store.load_thread(thread_id, context), [], context
    )
    answer = await visitor.ask(
        "threads.add_client_tool_output", thread_id=thread_id, result={"city": "Bonn"}
    )
    assert answer.text == "You are in Bonn."


async def test_a_cancelled_stream_leaves_its_note_where_no_tool_is_awaited(
    visitor: Visitor,
) -> None:
    thread_id = (await visitor.say("Hello")).thread.id
    row = await ThreadRow.objects.select_related("user").aget(key=thread_id)
    store, context = DjangoStore(), context_of(row.user)
    note = SDKHiddenContextItem(
        id="shcx_1", thread_id=thread_id, created_at=timezone.now(), content="Cancelled."
    )
    await store.add_thread_item(thread_id, note, context)
    assert (await store.load_item(thread_id, "shcx_1", context)).type == "sdk_hidden_context"
    assert "shcx_1" not in {item.id for item in await reload(visitor, thread_id)}


async def test_a_tool_output_that_nobody_asked_for_is_refused(visitor: Visitor) -> None:
    thread_id = (await visitor.say("Hello")).thread.id
    answer = await visitor.ask("threads.add_client_tool_output", thread_id=thread_id, result=1)
    assert (answer.status, answer.code) == (400, "invalid_request")


@pytest.mark.usefixtures("concierge")
async def test_threads_add_structured_input(visitor: Visitor) -> None:
    asked = await visitor.say("a table, please")
    thread_id, question = asked.thread.id, asked.done[-1]
    assert isinstance(question, StructuredInputItem)
    assert (await reload(visitor, thread_id))[-1] == question
    answer = await visitor.ask(
        "threads.add_structured_input",
        thread_id=thread_id,
        item_id=question.id,
        input={"status": "answered", "answers": {"time": {"values": ["eight"]}}},
    )
    assert answer.status == 200
    assert answer.text == "A table for eight."
    _, kept, _ = await reload(visitor, thread_id)
    assert kept.status == "answered"
    assert kept.inputs[0].answer.values == ["eight"]


async def test_threads_retry_after_item(visitor: Visitor) -> None:
    first = await visitor.say("Hello")
    thread_id = first.thread.id
    prompt, *_, old = await reload(visitor, thread_id)
    answer = await visitor.ask("threads.retry_after_item", thread_id=thread_id, item_id=prompt.id)
    assert answer.status == 200
    assert answer.text
    kept, *_, new = await reload(visitor, thread_id)
    assert kept.id == prompt.id
    assert new.id != old.id
    one, two = [turn async for turn in Turn.objects.order_by("started_at", "pk")]
    assert one.superseded_by_id == two.pk
    assert two.superseded_by_id is None
    assert one.response == first.text
    assert (two.operation, two.prompt) == ("threads.retry_after_item", "Hello")


async def test_a_retry_supersedes_a_turn_whose_process_died(visitor: Visitor) -> None:
    thread_id = (await visitor.say("Hello")).thread.id
    await visitor.say("And then?", thread_id)
    prompt = (await reload(visitor, thread_id))[0]
    first, second = [turn async for turn in Turn.objects.order_by("pk")]
    # As the sweeper leaves it: nobody was there to keep what was said.
    await Message.objects.filter(turn=first).adelete()
    await Turn.objects.filter(pk=first.pk).aupdate(status=Turn.Status.INTERRUPTED, response="")
    await visitor.ask("threads.retry_after_item", thread_id=thread_id, item_id=prompt.id)
    await first.arefresh_from_db()
    await second.arefresh_from_db()
    newest = await Turn.objects.alatest("pk")
    assert first.superseded_by_id == newest.pk
    assert second.superseded_by_id is None


async def test_only_a_prompt_can_be_retried(visitor: Visitor) -> None:
    thread_id = (await visitor.say("Hello")).thread.id
    *_, reply = await reload(visitor, thread_id)
    refused = await visitor.ask("threads.retry_after_item", thread_id=thread_id, item_id=reply.id)
    assert refused.status == 400
    missing = await visitor.ask("threads.retry_after_item", thread_id=thread_id, item_id="msg_0")
    assert missing.status == 404
    assert (await reload(visitor, thread_id))[-1] == reply


@pytest.mark.usefixtures("concierge")
async def test_threads_custom_action(visitor: Visitor) -> None:
    asked = await visitor.say("a room")
    thread_id, widget = asked.thread.id, asked.done[-1]
    assert isinstance(widget, WidgetItem)
    answer = await visitor.ask(
        "threads.custom_action",
        thread_id=thread_id,
        item_id=widget.id,
        action={"type": "book", "payload": {"room": 12}},
    )
    assert answer.status == 200
    assert answer.text == "Your room is booked."
    replaced = [each for each in answer.events if isinstance(each, ThreadItemReplacedEvent)]
    assert [each.item.id for each in replaced] == [widget.id]
    kept = (await reload(visitor, thread_id))[1]
    assert "Booked" in kept.widget.model_dump_json()
    turn = await Turn.objects.aget(operation="threads.custom_action")
    assert turn.response == "Room 12: free\n\nYour room is booked."


@pytest.mark.usefixtures("concierge")
async def test_threads_sync_custom_action(visitor: Visitor) -> None:
    asked = await visitor.say("a room")
    thread_id, widget = asked.thread.id, asked.done[-1]
    answer = await visitor.ask(
        "threads.sync_custom_action",
        thread_id=thread_id,
        item_id=widget.id,
        action={"type": "hold", "payload": None},
    )
    assert answer.status == 200
    updated = SyncCustomActionResponse.model_validate_json(answer.body).updated_item
    assert isinstance(updated, WidgetItem)
    assert "Held for you" in updated.widget.model_dump_json()
    assert (await reload(visitor, thread_id))[1] == updated


@pytest.mark.usefixtures("concierge")
async def test_a_workflow_is_kept_and_replayed(visitor: Visitor) -> None:
    asked = await visitor.say("plan my day")
    assert any(isinstance(event, ThreadItemUpdatedEvent) for event in asked.events)
    workflow = (await reload(visitor, asked.thread.id))[-1]
    assert isinstance(workflow, WorkflowItem)
    assert workflow.workflow.tasks[0].content == "at ten"  # type: ignore[union-attr]


@pytest.mark.parametrize("operation", ["threads.custom_action", "threads.sync_custom_action"])
async def test_our_own_server_says_that_it_has_no_actions(visitor: Visitor, operation: str) -> None:
    thread_id = (await visitor.say("Hello")).thread.id
    answer = await visitor.ask(operation, thread_id=thread_id, action={"type": "book"})
    assert (answer.status, answer.code) == (501, "not_supported")


async def test_threads_get_by_id(visitor: Visitor) -> None:
    thread = (await visitor.say("Hello")).thread
    answer = await visitor.ask("threads.get_by_id", thread_id=thread.id)
    assert answer.status == 200
    loaded = answer.thread
    assert (loaded.id, loaded.title) == (thread.id, "Hello")
    assert loaded.created_at.tzinfo is not None
    assert loaded.status.type == "active"


async def test_threads_list(visitor: Visitor) -> None:
    made = [(await visitor.say(f"Hello {number}")).thread.id for number in range(3)]
    first = await visitor.ask("threads.list", limit=2, order="desc")
    page = Page[Thread].model_validate_json(first.body)
    assert [thread.id for thread in page.data] == [made[2], made[1]]
    assert page.has_more
    rest = await visitor.ask("threads.list", limit=9999, order="desc", after=page.after)
    page = Page[Thread].model_validate_json(rest.body)
    assert [thread.id for thread in page.data] == [made[0]]
    assert not page.has_more


async def test_threads_update(visitor: Visitor) -> None:
    thread_id = (await visitor.say("Hello")).thread.id
    answer = await visitor.ask("threads.update", thread_id=thread_id, title="Another name")
    assert answer.status == 200
    assert answer.thread.title == "Another name"
    again = await visitor.ask("threads.get_by_id", thread_id=thread_id)
    assert again.thread.title == "Another name"


async def test_threads_delete(visitor: Visitor) -> None:
    thread_id = (await visitor.say("Hello")).thread.id
    answer = await visitor.ask("threads.delete", thread_id=thread_id)
    assert (answer.status, answer.json) == (200, {})
    assert (await visitor.ask("threads.get_by_id", thread_id=thread_id)).status == 404
    assert not await ThreadRow.objects.aexists()


async def test_items_list(visitor: Visitor) -> None:
    thread_id = (await visitor.say("Hello")).thread.id
    everything = await reload(visitor, thread_id)
    newest = await visitor.ask("items.list", thread_id=thread_id, limit=1, order="desc")
    assert newest.status == 200
    assert newest.items.data == everything[-1:]
    assert newest.items.has_more
    older = await visitor.ask(
        "items.list", thread_id=thread_id, order="desc", after=newest.items.after
    )
    assert older.items.data == everything[-2::-1]


async def test_items_feedback(visitor: Visitor) -> None:
    thread_id = (await visitor.say("Hello")).thread.id
    reply = (await reload(visitor, thread_id))[-1]
    answer = await visitor.ask(
        "items.feedback", thread_id=thread_id, item_ids=[reply.id], kind="positive"
    )
    assert (answer.status, answer.json) == (200, {})
    assert (await Turn.objects.aget()).feedback == "positive"


async def test_attachments_create(visitor: Visitor) -> None:
    answer = await visitor.ask(
        "attachments.create", name="../cat.png", size=70, mime_type="image/png"
    )
    assert answer.status == 200
    attachment = ImageAttachment.model_validate_json(answer.body)
    assert (attachment.name, attachment.mime_type) == ("cat.png", "image/png")
    descriptor = attachment.upload_descriptor
    assert descriptor is not None
    assert descriptor.method == "POST"
    assert str(descriptor.url).endswith(f"/chatkit/attachments/{attachment.id}/upload")
    assert (await AttachmentRow.objects.aget()).key == attachment.id


async def test_attachments_delete(visitor: Visitor) -> None:
    made = await visitor.ask("attachments.create", name="a.txt", size=1, mime_type="text/plain")
    key = made.json["id"]
    answer = await visitor.ask("attachments.delete", attachment_id=key)
    assert (answer.status, answer.json) == (200, {})
    assert not await AttachmentRow.objects.aexists()
    again = await visitor.ask("attachments.delete", attachment_id=key)
    assert (again.status, again.code) == (404, "not_found")


async def test_input_transcribe_needs_a_key(visitor: Visitor) -> None:
    answer = await _dictate(visitor)
    assert (answer.status, answer.code) == (501, "not_supported")


async def _dictate(
    visitor: Visitor, mime_type: str = "audio/webm;codecs=opus", data: bytes = b"sound"
) -> Answer:
    return await visitor.ask(
        "input.transcribe", audio_base64=base64.b64encode(data).decode(), mime_type=mime_type
    )


# -- what no operation may be asked with ----------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"type": "threads.explode", "params": {}}',
        b'{"type": "threads.get_by_id"}',
        b'{"type": "threads.get_by_id", "params": {"thread_id": 7}}',
        b'{"type": "threads.get_by_id", "params": {"thread_id": "\\ud800"}}',
        b'{"type": "threads.list", "params": {"order": "sideways"}}',
        b"\xff\xfe",
        b"[" * 100_000,
    ],
)
async def test_what_is_no_request_is_refused(visitor: Visitor, body: bytes) -> None:
    answer = await visitor.post(body)
    assert (answer.status, answer.code) == (400, "invalid_request")


@pytest.mark.parametrize("text", ["", " ", "\n\t "])
async def test_an_empty_prompt_is_refused_and_leaves_nothing(visitor: Visitor, text: str) -> None:
    answer = await visitor.say(text)
    assert (answer.status, answer.code) == (400, "invalid_request")
    assert not await ThreadRow.objects.aexists()
    assert not await Turn.objects.aexists()


async def test_the_method_is_post(visitor: Visitor) -> None:
    answer = await visitor.http.get("/chatkit")
    assert answer.status_code == 405
    assert answer.headers["Allow"] == "POST"
