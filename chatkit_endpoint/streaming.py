"""A turn as owned work: a task of ours runs it, the HTTP response only drains what it makes.

So a client that goes away is always felt inside the model's await, where the SDK keeps the partial
text, and never inside a write. Measured grounds: the research notes on Django, ASGI and streaming.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import weakref
from collections.abc import AsyncIterable, AsyncIterator, Callable, Sequence
from typing import Any

from chatkit.errors import ErrorCode
from chatkit.types import ErrorEvent
from django.http import StreamingHttpResponse
from django.utils import translation
from django.utils.translation import gettext

from observability.instrumentation import settle_all
from observability.request_ids import current_request_id

from .conf import conf
from .context import RequestContext
from .frames import FrameBuffer
from .limits import Allowance, open_stream
from .protocol import with_zone

logger = logging.getLogger(__name__)

MAX_UNREAD_BYTES = 4_000_000
"""A client that reads so much slower than the model writes is treated as gone."""
MAX_UNREAD_BYTES_OF_ALL = 32_000_000
"""What the process holds for all clients together. Beyond it, those are gone that are behind."""
BEHIND_BYTES = 100_000
SEND_SECONDS = 60.0
"""A client that takes nothing for so long, though there is something to take, is gone too. So is
one that has not taken all of the answer so long after the longest turn."""
GRACE_SECONDS = 1.0
"""How long a turn whose answer stands complete may take to end when its client has left."""
TURN_WAIT_SECONDS = 0.05
TURNS_UNTIL_TOLD = 8
"""Turns of the event loop, more than enough of them, from a connection's loss until the server has
cancelled the task that writes to it."""

_live: set[OwnedStream] = set()
_made: weakref.WeakSet[OwnedStream] = weakref.WeakSet()
"""Also those whose turn has ended, and whose client has yet to read."""


class NothingStreamed(Exception):
    """The server ended without a single event: what it was asked about is not there."""


class TurnTooLong(Exception):
    """The turn took longer than CHATKIT_TURN_TIMEOUT. Its text is for the visitor."""

    def __init__(self, locale: str) -> None:
        # Now: the response, which shows it, has the page's language and not the turn's.
        with translation.override(locale):
            super().__init__(gettext("The answer took too long, so it was stopped."))


class ReaderTooSlow(Exception):
    """The client left too much unread; what it has not read is dropped."""


class OwnedStream:
    """The frames of one streaming request, made by a task that no disconnect kills in a write.

    Who asks is looked at when the request comes in. Whoever signs out meanwhile, or loses their
    account, gets this answer to its end, and no other.
    """

    def __init__(
        self,
        frames: AsyncIterable[bytes],
        context: RequestContext,
        allowances: Sequence[Allowance] = (),
    ) -> None:
        """``allowances`` are what it takes from, with a seat, before the first frame is made."""
        self._frames = frames
        self._context = context
        self._allowances = allowances
        context.is_streamed = True
        self._buffer = FrameBuffer()
        self._sent_events = 0
        self._failure: Exception | None = None
        self._is_unread = False
        self._has_token = False
        self._first: tuple[bytes, int] | None = None
        # A fresh context: with the request's own, the task would keep its database connection.
        self._task = asyncio.create_task(self._run(), context=contextvars.Context())
        _live.add(self)
        _made.add(self)
        loop = asyncio.get_running_loop()
        turn_ends_at = loop.time() + conf().chatkit_turn_timeout
        self._timer = loop.call_at(turn_ends_at, self._time_out)
        self._all_sent_at = turn_ends_at + SEND_SECONDS

    async def begin(self) -> None:
        """Wait for the first frame.

        Raises what the server raised before it, Refused where a limit is reached, and
        NothingStreamed where there is none.
        """
        try:
            self._first = await self._buffer.take()
        except asyncio.CancelledError:
            self.client_left()
            raise
        if self._first is None:
            raise self._failure or NothingStreamed

    async def drain(self) -> AsyncIterator[bytes]:
        """The frames, as they come. A failure after the first of them ends as an error event."""
        loop = asyncio.get_running_loop()
        reader = asyncio.current_task()
        entry = self._first
        while entry is not None:
            frames, events = entry
            deadline = min(loop.time() + SEND_SECONDS, self._all_sent_at)
            sending = loop.call_at(deadline, self._stop_sending, reader)
            waited: list[bool] = []
            loop.call_soon(waited.append, True)
            try:
                yield frames
            finally:
                sending.cancel()
            if waited:
                # For a client that takes little, or that is gone: a lost connection ends the wait
                # too, and takes whatever it is given. That it is lost we are told a little later.
                for _ in range(TURNS_UNTIL_TOLD):
                    await asyncio.sleep(0)
            # Asked for more: these were sent.
            self._sent_events = events
            entry = await self._buffer.take()
        if self._failure is not None:
            yield _error_frame(self._failure)

    def when_over(self, callback: Callable[[], None]) -> None:
        """Call back as soon as the turn has ended, however it does."""
        self._task.add_done_callback(lambda _task: callback())

    def client_left(self) -> None:
        """Nobody reads any more: cancel the turn, unless it is about to end by itself."""
        if self._task.done():
            return
        if conf().chatkit_on_disconnect == "finish":
            self._is_unread = True
            return
        turn = self._context.turn
        loop = asyncio.get_running_loop()
        if turn is None:
            # Not yet begun. Cancelled now, it would leave no record.
            loop.call_later(TURN_WAIT_SECONDS, self.client_left)
        elif turn.is_answered:
            loop.call_later(GRACE_SECONDS, self.stop)
        else:
            self.stop()

    def stop(self) -> None:
        """Cancel the turn; its record is cut back to what was sent."""
        turn = self._context.turn
        if self._task.cancelling() or (turn is not None and turn.has_ended):
            # A second cancellation would hit the SDK while it keeps the partial text, and one
            # after the end would have it note that the visitor stopped a whole answer.
            return
        if turn is not None:
            turn.sent(self._sent_events)
        self._task.cancel()

    def _stop_sending(self, reader: asyncio.Task[Any] | None) -> None:
        """End the task that waits for a client to take a frame: no ASGI server does that."""
        logger.warning("A client took nothing for too long; its connection is given up.")
        self._drop_unread()
        if reader is not None:
            reader.cancel()

    def _drop_unread(self) -> None:
        self._is_unread = True
        if self._first is None:
            return  # It is what begin() waits for.
        self._buffer.drop()

    def _time_out(self) -> None:
        turn = self._context.turn
        if self._task.cancelling() or (turn is not None and turn.has_ended):
            return
        self._failure = TurnTooLong(self._context.locale)
        if turn is not None:
            turn.abort("timeout", str(self._failure))
        self._task.cancel()

    async def _run(self) -> None:
        current_request_id.set(self._context.request_id)
        translation.activate(self._context.locale)
        try:
            # Within: who may ask for the next answer is not told that this one still runs.
            async with open_stream(self._context, self._allowances):
                async for frame in self._frames:
                    self._put(with_zone(frame))
        except asyncio.CancelledError:
            if self._failure is None:
                raise
        except Exception as error:
            self._failure = error
        finally:
            self._timer.cancel()
            self._buffer.end()
            _live.discard(self)

    def _put(self, frame: bytes) -> None:
        if self._is_unread:
            return
        turn = self._context.turn
        if turn is None:
            self._buffer.put(frame, 0)
        else:
            is_first_token = turn.ttft_ms is not None and not self._has_token
            self._has_token |= is_first_token
            self._buffer.put(frame, turn.events_seen, at_once=is_first_token)
        unread_bytes = self._buffer.unread_bytes
        if unread_bytes > MAX_UNREAD_BYTES or (
            unread_bytes > BEHIND_BYTES
            and sum(each._buffer.unread_bytes for each in _made) > MAX_UNREAD_BYTES_OF_ALL
        ):
            logger.warning("A client read too slowly; its turn is cancelled.")
            self._failure = ReaderTooSlow()
            self._drop_unread()
            self.stop()


class EventStreamResponse(StreamingHttpResponse):
    """Server-sent events of an owned stream. Tells the stream at once when the client is gone."""

    def __init__(self, stream: OwnedStream) -> None:
        super().__init__(
            stream.drain(),
            content_type="text/event-stream; charset=utf-8",
            headers={
                "Cache-Control": "no-cache, no-transform",
                "X-Accel-Buffering": "no",  # nginx
                "Content-Encoding": "identity",  # GZipMiddleware
            },
        )
        self._stream = stream
        self.when_over = stream.when_over

    async def __aiter__(self) -> AsyncIterator[Any]:
        try:
            async for part in super().__aiter__():
                yield part
        finally:
            self._stream.client_left()


async def shut_down(timeout: float) -> None:
    """Cancel all live turns and wait until they are settled, ``timeout`` seconds at most."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout
    streams = list(_live)
    for stream in streams:
        stream.stop()
    if streams:
        await asyncio.wait([stream._task for stream in streams], timeout=timeout)
    if not await settle_all(max(0.0, deadline - loop.time())):
        logger.warning("Some turns were not settled in time; the sweeper will finish them.")


def _error_frame(error: Exception) -> bytes:
    if isinstance(error, TurnTooLong):
        event = ErrorEvent(code="custom", message=str(error), allow_retry=True)
    else:
        event = ErrorEvent(code=ErrorCode.STREAM_ERROR, allow_retry=True)
    return b"data: " + event.model_dump_json(exclude_none=True).encode() + b"\n\n"
