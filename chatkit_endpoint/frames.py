"""What is between the task that makes a stream's frames and the response that writes them."""

from __future__ import annotations

import asyncio
from collections import deque

WRITE_BYTES = 32_000
"""What is written at once, of frames that are there already."""
WRITE_INTERVAL = 1 / 60
"""Seconds from write to write, of all streams at the same moments: hardly a screen shows more, and
each write has its price."""
WRITES_AT_ONCE = 8
"""How many may follow each other sooner, after a pause."""


class FrameBuffer:
    """Frames in their order, joined for each write; the end is told at once. For one reader, on one
    event loop.
    """

    def __init__(self) -> None:
        self.unread_bytes = 0
        self._frames: deque[tuple[bytes, int]] = deque()
        self._has_ended = False
        self._loop = asyncio.get_running_loop()
        self._reader: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._tick = -WRITES_AT_ONCE
        self._write_at = 0.0

    def put(self, frame: bytes, events: int, *, at_once: bool = False) -> None:
        """Add a frame, which tells of a turn's events up to this one. ``at_once`` it is written,
        with what is before it, whatever was written just now.
        """
        self._frames.append((frame, events))
        self.unread_bytes += len(frame)
        if at_once:
            self._write_at = 0.0
        if self._reader is None:
            return
        if self._is_ready():
            self._wake()
        elif self._timer is None:
            self._timer = self._loop.call_at(self._write_at, self._wake)

    def end(self) -> None:
        """There will be no more."""
        self._has_ended = True
        self._wake()

    def drop(self) -> None:
        """Forget what is not taken yet."""
        self._frames.clear()
        self.unread_bytes = 0

    async def take(self) -> tuple[bytes, int] | None:
        """What is to be written next, and the last event that it tells of; None at the end."""
        while not self._is_ready():
            self._reader = self._loop.create_future()
            if self._frames and self._timer is None:
                self._timer = self._loop.call_at(self._write_at, self._wake)
            try:
                await self._reader
            finally:
                self._reader = None
                if self._timer is not None:
                    self._timer.cancel()
                    self._timer = None
        if not self._frames:
            return None
        now = int(self._loop.time() / WRITE_INTERVAL)
        self._tick = max(self._tick, now + 1 - WRITES_AT_ONCE) + 1
        self._write_at = self._tick * WRITE_INTERVAL
        return self._joined()

    def _is_ready(self) -> bool:
        if self._has_ended:
            return True
        return bool(self._frames) and (
            self.unread_bytes >= WRITE_BYTES or self._loop.time() >= self._write_at
        )

    def _joined(self) -> tuple[bytes, int]:
        frames, events = [], 0
        size = 0
        while self._frames and size < WRITE_BYTES:
            frame, events = self._frames.popleft()
            frames.append(frame)
            size += len(frame)
        self.unread_bytes -= size
        return b"".join(frames), events

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)
