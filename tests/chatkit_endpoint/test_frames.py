"""Frames between a stream's task and its response: in order, joined, and never late."""

from __future__ import annotations

import asyncio

import pytest

from chatkit_endpoint import frames
from chatkit_endpoint.frames import WRITES_AT_ONCE, FrameBuffer

AN_HOUR = 3600.0
PATIENCE = 20.0


@pytest.fixture(autouse=True)
def _no_write_is_due(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "WRITE_INTERVAL", AN_HOUR)


async def hurried() -> FrameBuffer:
    """One that has written as often as it may at once."""
    buffer = FrameBuffer()
    for number in range(WRITES_AT_ONCE):
        buffer.put(b"-", number)
        assert await buffer.take() == (b"-", number)
    return buffer


async def waiting(buffer: FrameBuffer) -> asyncio.Task[tuple[bytes, int] | None]:
    """A reader that has found nothing to write yet."""
    reader = asyncio.create_task(buffer.take())
    for _ in range(5):
        await asyncio.sleep(0)
    assert not reader.done()
    return reader


async def test_the_first_frames_are_written_one_by_one() -> None:
    await hurried()


async def test_those_that_follow_in_a_hurry_are_joined_until_the_end() -> None:
    buffer = await hurried()
    reader = await waiting(buffer)
    buffer.put(b"one", 20)
    buffer.put(b"two", 21)
    reader.cancel()
    reader = await waiting(buffer)
    buffer.put(b"three", 22)
    buffer.end()
    assert await reader == (b"onetwothree", 22)
    assert await buffer.take() is None
    assert await buffer.take() is None


async def test_they_are_written_when_it_is_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "WRITE_INTERVAL", 0.05)
    buffer = await hurried()
    reader = await waiting(buffer)
    buffer.put(b"one", 20)
    buffer.put(b"two", 21)
    async with asyncio.timeout(PATIENCE):
        assert await reader == (b"onetwo", 21)


async def test_they_are_written_when_it_is_time_also_where_they_came_before_the_reader(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(frames, "WRITE_INTERVAL", 0.05)
    buffer = await hurried()
    buffer.put(b"one", 20)
    async with asyncio.timeout(PATIENCE):
        assert await buffer.take() == (b"one", 20)


async def test_what_must_not_wait_is_written_at_once_and_only_that() -> None:
    buffer = await hurried()
    reader = await waiting(buffer)
    buffer.put(b"one", 20)
    buffer.put(b"two", 21, at_once=True)
    assert await reader == (b"onetwo", 21)
    buffer.put(b"three", 22, at_once=True)
    assert await buffer.take() == (b"three", 22)
    buffer.put(b"four", 23)
    await waiting(buffer)


async def test_as_much_as_one_write_takes_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "WRITE_BYTES", 6)
    buffer = await hurried()
    reader = await waiting(buffer)
    for number, frame in enumerate((b"one", b"two", b"three"), 20):
        buffer.put(frame, number)
    assert buffer.unread_bytes == 11
    assert await reader == (b"onetwo", 21)
    assert buffer.unread_bytes == 5


async def test_what_is_dropped_is_never_written() -> None:
    buffer = FrameBuffer()
    buffer.put(b"one", 1)
    buffer.drop()
    assert buffer.unread_bytes == 0
    reader = await waiting(buffer)
    buffer.end()
    assert await reader is None
