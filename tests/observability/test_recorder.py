"""What the recorder makes of ChatKit's events."""

from __future__ import annotations

from datetime import datetime
from types import SimpleNamespace

import pytest
from chatkit.errors import CustomStreamError, ErrorCode, StreamError
from chatkit.types import (
    AssistantMessageContent,
    AssistantMessageContentPartAdded,
    AssistantMessageContentPartDone,
    AssistantMessageContentPartTextDelta,
    AssistantMessageItem,
    CustomTask,
    ErrorEvent,
    InferenceOptions,
    ProgressUpdateEvent,
    ThoughtTask,
    ThreadItemAddedEvent,
    ThreadItemDoneEvent,
    ThreadItemRemovedEvent,
    ThreadItemUpdatedEvent,
    UserMessageItem,
    UserMessageTagContent,
    UserMessageTextContent,
    WidgetItem,
    Workflow,
    WorkflowItem,
    WorkflowTaskAdded,
    WorkflowTaskUpdated,
)
from chatkit.widgets import Card, Text

from observability.models import Turn
from observability.recorder import Identity, TurnRecorder, Usage

NOW = datetime(2026, 11, 21)  # noqa: DTZ001 - naive, as the SDK makes them


class Clock:
    """``time.perf_counter`` by hand, in seconds."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("observability.recorder.time.perf_counter", clock)
    return clock


def make_recorder(prompt: UserMessageItem | None = None) -> TurnRecorder:
    return TurnRecorder(thread_id="thr_1", identity=Identity(), prompt=prompt)


def message(item_id: str, text: str = "") -> AssistantMessageItem:
    content = [AssistantMessageContent(text=text)] if text else []
    return AssistantMessageItem(id=item_id, thread_id="thr_1", created_at=NOW, content=content)


def delta(item_id: str, text: str, part: int = 0) -> ThreadItemUpdatedEvent:
    update = AssistantMessageContentPartTextDelta(content_index=part, delta=text)
    return ThreadItemUpdatedEvent(item_id=item_id, update=update)


def workflow(*tasks: ThoughtTask | CustomTask) -> WorkflowItem:
    return WorkflowItem(
        id="wf_1",
        thread_id="thr_1",
        created_at=NOW,
        workflow=Workflow(type="reasoning", tasks=list(tasks)),
    )


def texts(recorder: TurnRecorder) -> list[tuple[str, str]]:
    return [(str(line.kind), line.text) for line in recorder.lines()]


def test_deltas_become_one_response_and_the_final_text_wins() -> None:
    recorder = make_recorder()
    recorder.observe(ThreadItemAddedEvent(item=message("msg_1")))
    for word in ("Hello", " wor", "ld"):
        recorder.observe(delta("msg_1", word))
    assert texts(recorder) == [("response", "Hello world")]
    recorder.observe(ThreadItemDoneEvent(item=message("msg_1", "Hello, world!")))
    recorder.finish()
    assert texts(recorder) == [("response", "Hello, world!")]
    assert recorder.status == Turn.Status.COMPLETED


def test_content_parts_keep_their_order_whatever_order_they_come_in() -> None:
    recorder = make_recorder()
    recorder.observe(ThreadItemAddedEvent(item=message("msg_1")))
    recorder.observe(delta("msg_1", "second", part=1))
    recorder.observe(delta("msg_1", "first ", part=0))
    assert texts(recorder) == [("response", "first second")]


def test_a_part_that_is_added_or_done_replaces_what_was_there() -> None:
    recorder = make_recorder()
    recorder.observe(ThreadItemAddedEvent(item=message("msg_1")))
    part = AssistantMessageContent(text="draft")
    added = AssistantMessageContentPartAdded(content_index=0, content=part)
    recorder.observe(ThreadItemUpdatedEvent(item_id="msg_1", update=added))
    done = AssistantMessageContentPartDone(
        content_index=0, content=AssistantMessageContent(text="final")
    )
    recorder.observe(ThreadItemUpdatedEvent(item_id="msg_1", update=done))
    assert texts(recorder) == [("response", "final")]


def test_the_prompt_is_the_first_line_with_tags_by_name() -> None:
    prompt = UserMessageItem(
        id="msg_0",
        thread_id="thr_1",
        created_at=NOW,
        content=[
            UserMessageTextContent(text="Ask "),
            UserMessageTagContent(id="t", text="Ada", data={}),
        ],
        inference_options=InferenceOptions(),
    )
    recorder = make_recorder(prompt)
    recorder.observe(ThreadItemDoneEvent(item=message("msg_1", "Yes.")))
    assert texts(recorder) == [("prompt", "Ask @Ada"), ("response", "Yes.")]


def test_thoughts_grow_with_their_task_even_though_the_sdk_mutates_one_object() -> None:
    recorder = make_recorder()
    recorder.observe(ThreadItemAddedEvent(item=workflow()))
    task = ThoughtTask(content="They")
    added = WorkflowTaskAdded(task=task, task_index=0)
    recorder.observe(ThreadItemUpdatedEvent(item_id="wf_1", update=added))
    sent_so_far = recorder.events_seen
    for content in ("They ask", "They ask why"):
        task.content = content
        updated = WorkflowTaskUpdated(task=task, task_index=0)
        recorder.observe(ThreadItemUpdatedEvent(item_id="wf_1", update=updated))
    assert texts(recorder) == [("thought", "They ask why")]
    recorder.sent(sent_so_far)
    recorder.finish(cancelled=True)
    assert texts(recorder) == [("thought", "They")]


def test_tasks_of_a_workflow_are_paragraphs_of_one_thought() -> None:
    recorder = make_recorder()
    item = workflow(ThoughtTask(content="First."), CustomTask(title="Look up", content="the order"))
    recorder.observe(ThreadItemDoneEvent(item=item))
    assert texts(recorder) == [("thought", "First.\n\nLook up: the order")]


def test_two_messages_under_the_same_fake_id_are_two_lines() -> None:
    recorder = make_recorder()
    for text in ("One.", "Two."):
        recorder.observe(ThreadItemAddedEvent(item=message("__fake_id__")))
        recorder.observe(delta("__fake_id__", text))
        recorder.observe(ThreadItemDoneEvent(item=message("__fake_id__", text)))
    assert texts(recorder) == [("response", "One."), ("response", "Two.")]


def test_a_removed_item_leaves_no_line() -> None:
    recorder = make_recorder()
    recorder.observe(ThreadItemDoneEvent(item=message("msg_1", "Never mind.")))
    recorder.observe(ThreadItemRemovedEvent(item_id="msg_1"))
    assert texts(recorder) == []


def test_a_cancelled_turn_keeps_exactly_what_was_sent() -> None:
    recorder = make_recorder()
    recorder.observe(ThreadItemAddedEvent(item=message("msg_1")))
    numbers = [recorder.events_seen]
    for word in ("one ", "two ", "three "):
        recorder.observe(delta("msg_1", word))
        numbers.append(recorder.events_seen)
    recorder.sent(numbers[2])
    recorder.finish(cancelled=True)
    assert recorder.status == Turn.Status.CANCELLED
    assert texts(recorder) == [("response", "one two ")]


def test_what_was_sent_does_not_cut_a_turn_that_completed() -> None:
    recorder = make_recorder()
    recorder.observe(ThreadItemDoneEvent(item=message("msg_1", "All of it.")))
    recorder.sent(0)
    recorder.finish()
    assert texts(recorder) == [("response", "All of it.")]


def test_the_times_are_measured_from_arrival(clock: Clock) -> None:
    recorder = make_recorder()
    clock.now += 0.2
    recorder.observe(ProgressUpdateEvent(text="Looking…"))
    clock.now += 0.3
    recorder.observe(ThreadItemAddedEvent(item=message("msg_1")))
    clock.now += 0.1
    recorder.observe(delta("msg_1", ""))
    clock.now += 0.1
    recorder.observe(delta("msg_1", "Now"))
    clock.now += 2
    recorder.observe(delta("msg_1", " then"))
    recorder.finish()
    assert recorder.ttfp_ms == 200
    assert recorder.ttft_ms == 700
    assert recorder.duration_ms == 2000
    assert recorder.total_ms == 2700
    assert recorder.ended_at is not None
    assert (recorder.ended_at - recorder.started_at).total_seconds() == 2.7


def test_a_response_that_does_not_stream_has_its_first_token_when_it_is_done(clock: Clock) -> None:
    recorder = make_recorder()
    clock.now += 0.5
    recorder.observe(ThreadItemDoneEvent(item=message("msg_1", "At once.")))
    assert (recorder.ttfp_ms, recorder.ttft_ms) == (500, 500)


def test_without_any_text_there_is_no_time_to_first_token_and_no_duration(clock: Clock) -> None:
    recorder = make_recorder()
    clock.now += 1
    recorder.observe(
        ThreadItemDoneEvent(
            item=WidgetItem(
                id="w_1",
                thread_id="thr_1",
                created_at=NOW,
                widget=Card(children=[Text(value="42")]),
                copy_text="42",
            )
        )
    )
    recorder.finish()
    assert recorder.ttfp_ms == 1000
    assert recorder.ttft_ms is None
    assert recorder.duration_ms is None
    assert texts(recorder) == [("response", "42")]


def test_the_request_clock_is_used_where_the_host_gives_one(clock: Clock) -> None:
    recorder = TurnRecorder(thread_id="thr_1", identity=Identity(), received_tick=99.0)
    recorder.observe(delta("msg_1", "x"))
    assert recorder.ttft_ms == 1000


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (RuntimeError("no route"), "RuntimeError", "no route"),
        (CustomStreamError("Too many questions."), "custom", "Too many questions."),
        (StreamError(ErrorCode.STREAM_ERROR), "stream.error", ""),
    ],
)
def test_an_exception_makes_the_turn_fail(error: Exception, code: str, text: str) -> None:
    recorder = make_recorder()
    recorder.finish(error)
    assert recorder.status == Turn.Status.FAILED
    assert (recorder.error_code, recorder.error_message) == (code, text)


def test_an_error_event_makes_the_turn_fail_though_nothing_was_raised() -> None:
    recorder = make_recorder()
    recorder.observe(ErrorEvent(code=ErrorCode.STREAM_ERROR, message="The model is busy."))
    recorder.finish()
    assert recorder.status == Turn.Status.FAILED
    assert (recorder.error_code, recorder.error_message) == ("stream.error", "The model is busy.")


def test_a_turn_is_answered_when_its_message_is_done_and_nothing_is_open() -> None:
    recorder = make_recorder()
    assert not recorder.is_answered
    recorder.observe(ThreadItemAddedEvent(item=message("msg_1")))
    recorder.observe(delta("msg_1", "x"))
    assert not recorder.is_answered
    recorder.observe(ThreadItemDoneEvent(item=message("msg_1", "x")))
    assert recorder.is_answered


def test_usage_adds_up_and_stays_unknown_until_told() -> None:
    usage = make_recorder().usage
    assert usage == Usage()
    usage.add(input_tokens=10, cached_tokens=None)
    usage.add(input_tokens=5)
    assert usage == Usage(input_tokens=15)


@pytest.mark.parametrize(
    "context",
    [
        SimpleNamespace(owner_key="user:7", tenant="acme", locale="de"),
        {"owner_key": "user:7", "tenant": "acme", "locale": "de"},
    ],
)
def test_identity_is_read_from_objects_and_from_mappings(context: object) -> None:
    identity = Identity.of(context)
    assert (identity.owner_key, identity.tenant, identity.locale) == ("user:7", "acme", "de")


def test_identity_of_the_sdk_samples_context_is_its_user_id() -> None:
    assert Identity.of(SimpleNamespace(user_id="u1")).owner_key == "u1"


def test_identity_of_a_foreign_context_is_empty_and_of_an_endless_one_is_cut() -> None:
    assert Identity.of(None) == Identity()
    assert len(Identity.of({"session_id": "x" * 1000}).session_id) == 128
