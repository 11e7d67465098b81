"""The wire format."""

from __future__ import annotations

from datetime import UTC, datetime

from chatkit.types import (
    AssistantMessageContent,
    AssistantMessageItem,
    Page,
    Thread,
    ThreadCreatedEvent,
    ThreadItemDoneEvent,
)

from chatkit_endpoint.protocol import with_zone

NAIVE = datetime(2026, 11, 21, 22, 6, 42, 708911)  # noqa: DTZ001 - naive, as the SDK makes them


def test_the_times_of_items_and_threads_are_sent_with_their_zone() -> None:
    quoting = '"id":"msg_2","created_at":"2026-11-21T22:06:42"'
    item = AssistantMessageItem(
        id="msg_1",
        thread_id="thr_1",
        created_at=NAIVE,
        content=[AssistantMessageContent(text=quoting)],
    )
    done = ThreadItemDoneEvent.model_validate_json(
        with_zone(ThreadItemDoneEvent(item=item).model_dump_json().encode())
    )
    assert done.item.created_at == NAIVE.replace(tzinfo=UTC)
    assert isinstance(done.item, AssistantMessageItem)
    assert done.item.content[0].text == quoting

    thread = Thread(id="thr_1", title="T", created_at=NAIVE, items=Page(data=[item]))
    created = ThreadCreatedEvent.model_validate_json(
        with_zone(ThreadCreatedEvent(thread=thread).model_dump_json().encode())
    )
    assert created.thread.created_at == NAIVE.replace(tzinfo=UTC)
    assert created.thread.items.data[0].created_at == NAIVE.replace(tzinfo=UTC)


def test_a_time_that_has_a_zone_is_left_as_it_is() -> None:
    message = b'{"id":"x","created_at":"2026-11-21T22:06:42Z"}'
    assert with_zone(message) == message
