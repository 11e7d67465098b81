"""Observes any ``ChatKitServer`` from outside, by its public methods ``respond`` and ``action``."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, TypeVar

from chatkit.types import FeedbackKind, ThreadMetadata, ThreadStreamEvent, UserMessageItem
from django.db import InterfaceError, OperationalError

from . import spans, turns
from .database import run_in_database
from .feedback import record_feedback
from .recorder import Identity, TurnRecorder

if TYPE_CHECKING:
    from agents import Trace
    from chatkit.server import ChatKitServer

ServerT = TypeVar("ServerT", bound="ChatKitServer[Any]")

logger = logging.getLogger(__name__)

SETTLE_AGAIN_SECONDS = (1.0, 5.0, 15.0, 30.0, 60.0)
"""After how long each a turn that could not be settled is tried again."""

_INSTRUMENTED = "_observability_instrumented"

_settling: set[asyncio.Task[None]] = set()
"""Strong references: the event loop itself keeps only weak ones."""


def instrument_server(server: ServerT) -> ServerT:
    """Wrap the server's ``respond`` and ``action``, so that each call is recorded as a turn, and
    its ``add_feedback``, so that the turn shows what its visitor thinks of it.

    Events pass as they are and when they come. A context object with an attribute ``turn`` is
    given the :class:`~observability.recorder.TurnRecorder`; one that has a
    :class:`~observability.span_log.SpanLog` as ``spans`` brings the steps before the turn, and one
    that has a function ``settles_with`` what is to be written in one transaction with its end: the
    first turn to begin, which is the outermost, takes it off the context.
    Instrumenting twice changes nothing.
    """
    if getattr(server, _INSTRUMENTED, False):
        return server
    spans.install_processor()
    respond, action, add_feedback = server.respond, server.action, server.add_feedback

    def recorded_respond(
        thread: ThreadMetadata, input_user_message: UserMessageItem | None, context: Any
    ) -> AsyncIterator[ThreadStreamEvent]:
        return _recorded(
            lambda: respond(thread, input_user_message, context),
            thread=thread,
            prompt=input_user_message,
            context=context,
        )

    def recorded_action(
        thread: ThreadMetadata, action_: Any, sender: Any, context: Any
    ) -> AsyncIterator[ThreadStreamEvent]:
        return _recorded(
            lambda: action(thread, action_, sender, context),
            thread=thread,
            prompt=None,
            context=context,
        )

    async def recorded_feedback(
        thread_id: str, item_ids: list[str], feedback: FeedbackKind, context: Any
    ) -> None:
        await add_feedback(thread_id, item_ids, feedback, context)
        identity = Identity.of(context)
        await run_in_database(record_feedback, identity, thread_id, item_ids, feedback)

    server.add_feedback = recorded_feedback  # type: ignore[method-assign]
    server.respond = recorded_respond  # type: ignore[method-assign]
    server.action = recorded_action  # type: ignore[method-assign, assignment]
    setattr(server, _INSTRUMENTED, True)
    return server


async def _recorded(
    stream: Callable[[], AsyncIterator[ThreadStreamEvent]],
    *,
    thread: ThreadMetadata,
    prompt: UserMessageItem | None,
    context: Any,
) -> AsyncIterator[ThreadStreamEvent]:
    recorder = TurnRecorder(
        thread_id=thread.id,
        identity=Identity.of(context),
        prompt=prompt,
        received_at=getattr(context, "received_at", None),
        received_tick=getattr(context, "received_tick", None),
        spans=getattr(context, "spans", None),
        settles_with=getattr(context, "settles_with", None),
    )
    if recorder.settles_with is not None:
        context.settles_with = None  # Once; a turn within this one is not its end.
    outer = getattr(context, "turn", None)
    if hasattr(context, "turn"):
        context.turn = recorder
    opening = asyncio.ensure_future(run_in_database(turns.open_turn, recorder))
    trace: Trace | None = None
    same_context = True
    error: Exception | None = None
    cancelled = False
    try:
        # Inside: who is cancelled here has a row all the same, and it must be settled.
        await asyncio.shield(opening)
        trace = spans.start_trace(recorder)
        events = stream()
        if hasattr(events, "aclose"):
            async with aclosing(events):  # type: ignore[type-var]
                async for event in events:
                    recorder.observe(event)
                    yield event
        else:
            async for event in events:
                recorder.observe(event)
                yield event
    except asyncio.CancelledError:
        cancelled = True
        raise
    except GeneratorExit:
        # Closed from outside: nobody may await here, and perhaps this is another context.
        cancelled, same_context = True, False
        if recorder.spans.failure:
            # Not by the visitor: the SDK drops a stream that it can't keep an item of.
            recorder.abort(recorder.spans.failure, "")
        raise
    except Exception as caught:
        error = caught
        raise
    finally:
        recorder.finish(error, cancelled=cancelled)
        if isinstance(outer, TurnRecorder) and not outer.has_ended:
            context.turn = outer  # Who stops the answer means that one again.
        if trace is not None:
            spans.end_trace(recorder, trace, same_context=same_context)
        settling = _settle(recorder, opening)
        if same_context:
            # Shielded: a client that leaves now must not cost the turn its end.
            await asyncio.shield(settling)


def _settle(recorder: TurnRecorder, opening: asyncio.Future[None]) -> asyncio.Task[None]:
    return _hold(_settle_or_say(recorder, opening))


async def _settle_or_say(recorder: TurnRecorder, opening: asyncio.Future[None]) -> None:
    """A turn that can't be stored must not cost the visitor the answer, nor its end."""
    try:
        await opening
        await run_in_database(turns.settle_turn, recorder)
    except (OperationalError, InterfaceError) as error:
        logger.warning("Turn %s is settled later: %s.", recorder.trace_id, type(error).__name__)
        if opening.exception() is None:
            _hold(_settle_later(recorder, error))
    except Exception as error:
        _give_up(recorder, error)


async def _settle_later(recorder: TurnRecorder, error: Exception) -> None:
    """While its database is locked, full or away. Its lease is renewed meanwhile."""
    for seconds in SETTLE_AGAIN_SECONDS:
        await asyncio.sleep(seconds)
        try:
            await run_in_database(turns.settle_turn, recorder)
        except (OperationalError, InterfaceError) as caught:
            error = caught
        except Exception as caught:
            error = caught
            break
        else:
            return
    _give_up(recorder, error)


def _give_up(recorder: TurnRecorder, error: Exception) -> None:
    logger.error(
        "Turn %s could not be settled; the sweeper will finish it.",
        recorder.trace_id,
        exc_info=error,
    )
    turns.forget(recorder.trace_id)


def _hold(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    task = asyncio.get_running_loop().create_task(work)
    _settling.add(task)
    task.add_done_callback(_settling.discard)
    return task


async def settle_all(timeout: float) -> bool:
    """Wait for the settling of turns that have ended; for shutdown. Returns whether all were done.

    ``timeout`` is in seconds.
    """
    loop = asyncio.get_running_loop()
    # A loop that was closed too early, in a test or a command, leaves tasks that never end.
    ours = [task for task in _settling if task.get_loop() is loop]
    if not ours:
        return True
    _, pending = await asyncio.wait(ours, timeout=timeout)
    return not pending
