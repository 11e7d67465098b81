"""A stream as owned work, without a server: frames in, frames out, and a client that goes away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextvars import ContextVar
from datetime import UTC, datetime

import pytest
from chatkit.types import (
    AssistantMessageContentPartTextDelta,
    AssistantMessageItem,
    ThreadItemAddedEvent,
    ThreadItemDoneEvent,
    ThreadItemUpdatedEvent,
    ThreadStreamEvent,
)
from django.utils import translation
from pydantic import TypeAdapter

from chatkit_endpoint import frames, streaming
from chatkit_endpoint.context import RequestContext
from chatkit_endpoint.streaming import NothingStreamed, OwnedStream, shut_down
from observability.recorder import Identity, TurnRecorder
from observability.request_ids import current_request_id

# A stream takes one of its owner's seats, which are rows.
pytestmark = pytest.mark.django_db(transaction=True)

PATIENCE = 5.0
caller: ContextVar[str] = ContextVar("caller", default="nobody")
A_MESSAGE = AssistantMessageItem(
    id="msg_1", thread_id="thr_1", created_at=datetime(2026, 11, 21, tzinfo=UTC), content=[]
)


class Work:
    """Frames that are said one after the other; then it waits, if it is to wait, until cancelled.

    ``cancellations`` counts how often it was told to stop, ``is_over`` that it came to its end.
    """

    def __init__(self, *frames: bytes, waits: bool = False, takes_seconds: float = 0.0) -> None:
        self._frames = frames
        self._waits = waits
        self._takes_seconds = takes_seconds
        self.cancellations = 0
        self.has_begun = asyncio.Event()
        self.is_over = asyncio.Event()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        self.has_begun.set()
        try:
            for frame in self._frames:
                yield frame
            if self._waits:
                await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancellations += 1
            try:
                # Like the SDK, which now keeps the partial text.
                await asyncio.sleep(self._takes_seconds)
            except asyncio.CancelledError:
                self.cancellations += 1
            raise
        finally:
            self.is_over.set()

    async def ends(self) -> None:
        await asyncio.wait_for(self.is_over.wait(), PATIENCE)


def a_context(turn: TurnRecorder | None = None) -> RequestContext:
    return RequestContext(
        user=None, owner_key="guest:1", request_id="of-this-request", locale="de", turn=turn
    )


def a_turn(*deltas: str) -> TurnRecorder:
    """A turn whose answer has begun with these."""
    turn = TurnRecorder(thread_id="thr_1", identity=Identity())
    turn.observe(ThreadItemAddedEvent(item=A_MESSAGE))
    for delta in deltas:
        observe_text(turn, delta)
    return turn


def observe_text(turn: TurnRecorder, delta: str) -> None:
    update = AssistantMessageContentPartTextDelta(content_index=0, delta=delta)
    turn.observe(ThreadItemUpdatedEvent(item_id=A_MESSAGE.id, update=update))


async def drained(stream: OwnedStream) -> list[bytes]:
    return [frame async for frame in stream.drain()]


async def test_frames_come_out_as_they_went_in() -> None:
    stream = OwnedStream(Work(b"one", b"two", b"three"), a_context())
    await stream.begin()
    assert b"".join(await drained(stream)) == b"onetwothree"


async def test_what_is_there_already_is_written_at_once_but_no_more_than_fits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(frames, "WRITE_BYTES", 6)
    work = Work(b"one", b"two", b"three", b"four", b"five")
    stream = OwnedStream(work, a_context())
    await stream.begin()
    await asyncio.wait([stream._task])
    assert await drained(stream) == [b"onetwo", b"threefour", b"five"]


async def test_a_frame_comes_out_before_the_next_is_made() -> None:
    work = Work(b"one", waits=True)
    stream = OwnedStream(work, a_context(a_turn()))
    await stream.begin()
    assert await anext(aiter(stream.drain())) == b"one"
    assert not work.is_over.is_set()
    stream.stop()
    await work.ends()


async def test_the_first_token_waits_for_no_write_to_be_due(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(frames, "WRITE_INTERVAL", 3600.0)
    turn = a_turn()

    async def speaking() -> AsyncIterator[bytes]:
        for _ in range(2 * frames.WRITES_AT_ONCE):
            yield b"."
            # Time to be written by itself.
            for _ in range(20):
                await asyncio.sleep(0)
        observe_text(turn, "one")
        yield b"one"
        await asyncio.Event().wait()

    stream = OwnedStream(speaking(), a_context(turn))
    await stream.begin()
    read = b""
    async with asyncio.timeout(PATIENCE):
        async for part in stream.drain():
            read += part
            if part.endswith(b"one"):
                break
    assert read.count(b".") == 2 * frames.WRITES_AT_ONCE
    assert not part.startswith(b".one"), "Those before it were to wait."
    stream.stop()


async def test_what_fails_before_the_first_frame_is_raised() -> None:
    async def failing() -> AsyncIterator[bytes]:
        raise LookupError("no such thread")
        yield b""

    stream = OwnedStream(failing(), a_context())
    with pytest.raises(LookupError):
        await stream.begin()


async def test_a_stream_of_nothing_is_told_from_a_stream() -> None:
    with pytest.raises(NothingStreamed):
        await OwnedStream(Work(), a_context()).begin()


async def test_what_fails_later_ends_the_stream_with_an_error_event() -> None:
    async def failing() -> AsyncIterator[bytes]:
        yield b"one"
        raise LookupError("the visitor's own words")

    stream = OwnedStream(failing(), a_context())
    await stream.begin()
    first, last = await drained(stream)
    assert first == b"one"
    assert last.startswith(b"data: ")
    assert last.endswith(b"\n\n")
    adapter: TypeAdapter[ThreadStreamEvent] = TypeAdapter(ThreadStreamEvent)
    assert adapter.validate_json(last.removeprefix(b"data: ")).type == "error"
    assert b"words" not in last


async def test_who_stores_for_it_knows_that_a_turn_is_ahead() -> None:
    context = a_context()
    assert not context.has_turn_ahead
    work = Work(b"frame")
    await OwnedStream(work, context).begin()
    assert context.has_turn_ahead


async def test_the_work_has_a_context_of_its_own() -> None:
    """With the request's it would run ORM calls on the request's thread, and keep a connection."""
    seen = []

    async def looking() -> AsyncIterator[bytes]:
        seen.append((caller.get(), current_request_id.get(), translation.get_language()))
        yield b"one"

    caller.set("the request")
    current_request_id.set("of-another-request")
    stream = OwnedStream(looking(), a_context())
    await stream.begin()
    await drained(stream)
    assert seen == [("nobody", "of-this-request", "de")]
    assert current_request_id.get() == "of-another-request"


async def test_a_client_that_leaves_in_the_middle_cancels_the_work_where_it_waits() -> None:
    work = Work(b"one", waits=True)
    stream = OwnedStream(work, a_context(a_turn("It ")))
    await stream.begin()
    stream.client_left()
    await work.ends()
    assert work.cancellations == 1


async def test_one_that_leaves_before_the_turn_has_begun_cancels_it_when_it_has() -> None:
    context = a_context()
    work = Work(b"one", waits=True)
    stream = OwnedStream(work, context)
    await stream.begin()
    stream.client_left()
    await asyncio.sleep(3 * streaming.TURN_WAIT_SECONDS)
    assert not work.is_over.is_set()
    context.turn = a_turn()
    await work.ends()
    assert work.cancellations == 1


async def test_one_that_leaves_before_the_first_frame_cancels_the_work() -> None:
    work = Work(waits=True)
    stream = OwnedStream(work, a_context(a_turn()))
    beginning = asyncio.create_task(stream.begin())
    await asyncio.wait_for(work.has_begun.wait(), PATIENCE)
    beginning.cancel()
    await work.ends()
    assert work.cancellations == 1
    with pytest.raises(asyncio.CancelledError):
        await beginning


async def test_work_is_cancelled_only_once_while_it_keeps_what_there_is() -> None:
    work = Work(b"one", waits=True, takes_seconds=0.05)
    stream = OwnedStream(work, a_context(a_turn()))
    await stream.begin()
    for _ in range(3):
        stream.client_left()
        stream.stop()
        await asyncio.sleep(0.01)
    await work.ends()
    assert work.cancellations == 1


class TestAfterTheAnswer:
    """All is said, and only the work's own end is still to come."""

    def answered(self) -> TurnRecorder:
        turn = a_turn("It is noon.")
        turn.observe(ThreadItemDoneEvent(item=A_MESSAGE))
        return turn

    async def test_who_leaves_now_cancels_nothing(self) -> None:
        may_end = asyncio.Event()
        ended = []

        async def ending() -> AsyncIterator[bytes]:
            yield b"one"
            await may_end.wait()
            ended.append("by itself")

        stream = OwnedStream(ending(), a_context(self.answered()))
        await stream.begin()
        stream.client_left()
        await asyncio.sleep(0.02)
        may_end.set()
        await drained(stream)
        assert ended == ["by itself"]

    async def test_what_does_not_end_is_cancelled_in_the_end(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(streaming, "GRACE_SECONDS", 0.05)
        work = Work(b"one", waits=True)
        stream = OwnedStream(work, a_context(self.answered()))
        await stream.begin()
        stream.client_left()
        assert work.cancellations == 0
        await work.ends()
        assert work.cancellations == 1


class TestWhatWasSent:
    async def test_of_a_cancelled_turn_only_what_was_sent_is_kept(self) -> None:
        turn = a_turn()
        heard = asyncio.Semaphore()

        async def speaking() -> AsyncIterator[bytes]:
            for word in ("one ", "two ", "three "):
                await heard.acquire()
                observe_text(turn, word)
                yield word.encode()
            await asyncio.Event().wait()

        stream = OwnedStream(speaking(), a_context(turn))
        await stream.begin()
        drain = stream.drain()
        for word in (b"one ", b"two ", b"three "):
            # Asking for the third says that the second was sent.
            assert await anext(drain) == word
            heard.release()
        stream.client_left()
        turn.finish(cancelled=True)
        assert [line.text for line in turn.lines()] == ["one two "]


class TestASlowClient:
    @pytest.fixture(autouse=True)
    def _small_buffer(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(streaming, "MAX_UNREAD_BYTES", 1000)

    async def test_one_that_reads_much_too_slowly_is_treated_as_gone(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        work = Work(*[b"x" * 400] * 3, waits=True)
        stream = OwnedStream(work, a_context(a_turn()))
        await stream.begin()
        await work.ends()
        assert work.cancellations == 1
        assert "too slowly" in caplog.text

    async def test_one_that_keeps_up_may_read_any_amount(self) -> None:
        async def pacing() -> AsyncIterator[bytes]:
            for _ in range(10):
                yield b"x" * 400
                await asyncio.sleep(0)
                await asyncio.sleep(0)

        stream = OwnedStream(pacing(), a_context(a_turn()))
        await stream.begin()
        assert len(b"".join(await drained(stream))) == 4000


class TestShutdown:
    async def test_all_live_work_is_cancelled_and_awaited(self) -> None:
        works = [Work(b"one", waits=True, takes_seconds=0.05) for _ in range(3)]
        for work in works:
            await OwnedStream(work, a_context(a_turn())).begin()
        await shut_down(PATIENCE)
        assert [work.is_over.is_set() for work in works] == [True] * 3
        assert [work.cancellations for work in works] == [1] * 3
        assert not streaming._live

    async def test_it_takes_no_longer_than_it_may(self) -> None:
        loop = asyncio.get_running_loop()
        work = Work(b"one", waits=True, takes_seconds=1.0)
        await OwnedStream(work, a_context(a_turn())).begin()
        began = loop.time()
        await shut_down(0.1)
        assert 0.1 <= loop.time() - began < 0.9
        await work.ends()

    async def test_with_nothing_at_work_it_returns_at_once(self) -> None:
        await asyncio.wait_for(shut_down(PATIENCE), 0.5)
