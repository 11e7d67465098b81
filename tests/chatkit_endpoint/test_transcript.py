"""A thread's items as a conversation."""

from __future__ import annotations

import pytest

from chatkit_endpoint.models import Thread
from chatkit_endpoint.transcript import transcript
from observability.display import Line
from tests.factories import make_answer, make_item, make_prompt, make_thread

pytestmark = pytest.mark.django_db


@pytest.fixture
def thread() -> Thread:
    return make_thread()


def lines(thread: Thread) -> list[Line]:
    return transcript(thread.items.order_by("pk"), "vera")


def only_line(thread: Thread) -> Line:
    (line,) = lines(thread)
    return line


def test_messages_are_bubbles_in_their_order(thread: Thread) -> None:
    make_prompt(thread, "What time is it?")
    make_answer(thread, "Noon.")
    make_item(thread, "end_of_turn")
    assert [(line.kind, line.label, line.text) for line in lines(thread)] == [
        ("prompt", "vera", "What time is it?"),
        ("response", "Assistant", "Noon."),
    ]


def test_tags_quotes_and_attachments_are_told(thread: Thread) -> None:
    make_prompt(
        thread,
        "",
        content=[
            {"type": "input_text", "text": "Ask "},
            {"type": "input_tag", "id": "1", "text": "olga", "data": {}},
        ],
        quoted_text="you said",
        attachments=[{"id": "atc_1", "name": "plan\u202efdp.exe", "mime_type": "image/png"}],
    )
    line = only_line(thread)
    assert line.text == "Ask @olga"
    assert line.notes == ("Quoted: you said", "Attached: plan[U+202E]fdp.exe")


def test_the_sources_of_an_answer_are_told(thread: Thread) -> None:
    source = {"type": "url", "title": "A page", "url": "https://example.com"}
    annotations = [{"type": "annotation", "source": source, "index": 0}]
    make_item(
        thread,
        "assistant_message",
        content=[{"type": "output_text", "text": "It is so.", "annotations": annotations}],
    )
    assert only_line(thread).notes == ("Source: A page",)


def test_thoughts_and_tasks_are_folded(thread: Thread) -> None:
    tasks = [
        {"type": "thought", "title": "Time", "content": "Look at the clock."},
        {"type": "web_search", "title": None, "queries": ["clock"], "sources": []},
        {"type": "image", "title": None},
    ]
    make_item(thread, "workflow", workflow={"type": "reasoning", "tasks": tasks})
    make_item(thread, "task", task={"type": "custom", "title": "Done", "content": None})
    assert [(line.kind, line.text) for line in lines(thread)] == [
        ("thought", "Time\nLook at the clock.\n\nclock"),
        ("thought", "Done"),
    ]


def test_a_tool_call_is_a_box_with_what_went_in_and_out(thread: Thread) -> None:
    make_item(
        thread,
        "client_tool_call",
        status="completed",
        call_id="call_1",
        name="open_page",
        arguments={"page": "über uns"},
        output={"ok": True},
    )
    line = only_line(thread)
    assert (line.kind, line.label, line.text) == ("box", "Tool call: open_page", "completed")
    assert '"page": "über uns"' in line.data
    assert '"ok": true' in line.data


def test_widgets_images_questions_and_hidden_context_are_boxes(thread: Thread) -> None:
    make_item(thread, "widget", widget={"type": "Card"}, copy_text="A card")
    make_item(thread, "generated_image", image={"id": "i", "url": "https://example.com/i.png"})
    make_item(
        thread,
        "structured_input",
        status="answered",
        inputs=[{"id": "1", "question": "Which?", "answer": {"values": ["red", "blue"]}}],
    )
    make_item(thread, "hidden_context_item", content={"page": 7})
    make_item(thread, "sdk_hidden_context", content="cancelled")
    assert [(line.kind, line.label, line.text) for line in lines(thread)] == [
        ("box", "Widget", "A card"),
        ("box", "Generated image", ""),
        ("box", "Question", "Which? red, blue"),
        ("box", "Context that only the model sees", ""),
        ("box", "Context that only the model sees", ""),
    ]
    assert all(line.data for line in lines(thread))


def test_an_item_of_an_unknown_kind_is_shown_as_it_is(thread: Thread) -> None:
    make_item(thread, "hologram", depth=3)
    line = only_line(thread)
    assert (line.kind, line.label) == ("box", "hologram")
    assert '"depth": 3' in line.data


@pytest.mark.parametrize(
    "payload", ["{broken", "[]", '{"content": 3}', '{"content": [{}]}', "null"]
)
@pytest.mark.parametrize("kind", ["user_message", "assistant_message", "workflow", "widget"])
def test_a_payload_that_makes_no_sense_is_shown_as_it_is(
    thread: Thread, kind: str, payload: str
) -> None:
    item = make_item(thread, kind)
    item.payload = payload
    item.save()
    line = only_line(thread)
    assert (line.kind, line.label, line.data) == ("box", kind, payload)


def test_half_a_character_can_be_shown(thread: Thread) -> None:
    item = make_item(thread, "hidden_context_item")
    item.payload = '{"content": "\\ud83d"}'
    item.save()
    only_line(thread).data.encode()


def test_the_types_are_those_that_chatkit_has(thread: Thread) -> None:
    """So that a new one is noticed and given a line of its own."""
    from typing import get_args

    from chatkit.types import ThreadItem

    union, *_ = get_args(ThreadItem)
    assert {kind.model_fields["type"].default for kind in get_args(union)} == {
        "assistant_message",
        "client_tool_call",
        "end_of_turn",
        "generated_image",
        "hidden_context_item",
        "sdk_hidden_context",
        "structured_input",
        "task",
        "user_message",
        "widget",
        "workflow",
    }
