"""Turns that take too long, and turns whose reader goes away."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from chatkit.types import AssistantMessageItem, ErrorEvent, Thread

from chatkit_endpoint.conf import conf
from chatkit_endpoint.models import ThreadItem
from chatkit_endpoint.streaming import OwnedStream
from observability.models import Turn
from tests.chatkit_client import ChatClient
from tests.servers import django_server

from .conversations import context_of
from .visitors import Visitor, message, user_of


@pytest.mark.django_db(transaction=True)
async def test_a_turn_that_takes_too_long_ends_with_a_clear_error(settings: Any) -> None:
    settings.CHATKIT_TURN_TIMEOUT = 1.0
    visitor = await Visitor().sign_in(await user_of("alice"))
    async with asyncio.timeout(30):
        answer = await visitor.say("/long")
    assert answer.status == 200
    last = answer.events[-1]
    assert isinstance(last, ErrorEvent)
    assert (last.code, last.allow_retry) == ("custom", True)
    assert last.message == "The answer took too long, so it was stopped."

    turn = await Turn.objects.aget()
    assert (turn.status, turn.error_code) == ("failed", "timeout")
    assert turn.total_ms is not None
    assert 900 <= turn.total_ms < 20_000
    assert turn.response
    shown = await visitor.ask("threads.get_by_id", thread_id=answer.thread.id)
    *_, partial = shown.thread.items.data
    assert isinstance(partial, AssistantMessageItem)
    assert partial.content[0].text == turn.response

    again = await visitor.ask(
        "threads.retry_after_item", thread_id=answer.thread.id, item_id=answer.done[0].id
    )
    assert isinstance(again.events[-1], ErrorEvent)
    assert await Turn.objects.filter(superseded_by=None).acount() == 1


@pytest.mark.django_db(transaction=True)
async def test_the_error_is_in_the_visitors_language(settings: Any) -> None:
    settings.CHATKIT_TURN_TIMEOUT = 0.5
    headers = {"Accept-Language": "de"}
    visitor = await Visitor(**headers).sign_in(await user_of("alice"))
    answer = await visitor.say("/long")
    assert answer.errors[-1].message
    assert (await Turn.objects.aget()).locale == "de"


@pytest.mark.django_db(transaction=True)
async def test_the_time_limit_does_not_hit_a_turn_that_is_being_cancelled(settings: Any) -> None:
    """A second cancellation would hit the SDK while it keeps the partial text."""
    settings.CHATKIT_TURN_TIMEOUT = 0.05
    reached, kept = asyncio.Event(), asyncio.Event()

    async def frames() -> AsyncIterator[bytes]:
        yield b"data: {}\n\n"
        try:
            reached.set()
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0.3)  # Several times the limit.
            kept.set()
            raise

    stream = OwnedStream(frames(), context_of(await user_of("alice")))
    await stream.begin()
    await reached.wait()
    stream.stop()
    async with asyncio.timeout(10):
        await kept.wait()


def test_a_turn_may_take_five_minutes_by_default() -> None:
    assert conf().chatkit_turn_timeout == 300


def test_a_turn_whose_reader_leaves_runs_to_its_end_where_the_site_says_so(
    tmp_path: Any,
) -> None:
    with (
        django_server(tmp_path, settings_module="tests.settings_finish") as server,
        ChatClient(server.url) as visitor,
    ):
        visitor.sign_in("alice")
        with visitor.ask("What time is it?") as stream:
            stream.until_text()
            stream.leave(abruptly=True)
        row = server.wait_for_row("select * from observability_turn where status <> 'running'")
        assert row["status"] == "completed"
        assert len(row["response"]) > len(stream.text)
        # The page is loaded anew: the whole answer stands in the thread.
        answer = visitor.post("threads.get_by_id", {"thread_id": stream.thread_id})
        reply = Thread.model_validate_json(answer.content).items.data[-1]
        assert isinstance(reply, AssistantMessageItem)
        assert reply.content[0].text == row["response"]


@pytest.mark.django_db(transaction=True)
async def test_a_turn_whose_reader_leaves_is_cancelled_by_default() -> None:
    visitor = await Visitor().sign_in(await user_of("alice"))
    response: Any = await visitor.http.post(
        "/chatkit",
        data=json.dumps({"type": "threads.create", "params": {"input": message("/long")}}),
        content_type="application/json",
        headers=visitor.headers,
    )
    parts = aiter(response)
    async for part in parts:
        if b"text_delta" in part:
            break
    await parts.aclose()
    async with asyncio.timeout(20):
        cancelled = Turn.objects.filter(status="cancelled")
        note = ThreadItem.objects.filter(type="sdk_hidden_context")
        while not (await cancelled.aexists() and await note.aexists()):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
