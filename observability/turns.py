"""A turn's life in the database: opened, kept alive, settled, swept."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models import BigAutoField, DurationField, Q
from django.db.models.functions import Now
from django.utils import timezone

from . import outbox, worker
from .conf import conf
from .facts import facts_of
from .models import ID_LENGTH, Message, Turn, TurnFact, TurnQuerySet, TurnSpans
from .prepared import Insert, Param, Ready, Update
from .prices import cost_usd
from .recalls import recalled
from .recorder import Identity, Line, TurnRecorder
from .text_levels import stored

logger = logging.getLogger(__name__)

SWEEP_BATCH = 200
REMOTE_LEASE = timedelta(hours=1)
"""How long the text of a turn that ran elsewhere may take to be read."""

_SETTLED = (
    *("status", "error_code", "ended_at", "lease_expires_at"),
    *("ttfp_ms", "ttft_ms", "duration_ms", "total_ms", "model"),
    *("input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens", "cost_usd"),
    *("prompt", "response", "error_message"),
)
"""The columns of a turn that are known at its end."""
_settle_running = Update(
    Turn.objects.filter(pk=Param("pk", BigAutoField())).running().with_text(),
    **{name: Param(name, Turn._meta.get_field(name)) for name in _SETTLED},
)
_open_turn = Insert(
    Turn, expressions={"lease_expires_at": Now() + Param("lease", DurationField())}, gives_keys=True
)
_add_messages = Insert(Message)
_add_spans = Insert(TurnSpans)

_live: dict[str, Turn] = {}
"""The turns that this process works on, by their trace ids."""


def open_turn(recorder: TurnRecorder) -> None:
    """Write the running turn, so that whatever happens next, there is a row to tell of it."""
    identity = recorder.identity
    turn = Turn(
        trace_id=recorder.trace_id,
        user=identity.user,
        owner_key=identity.owner_key,
        tenant=identity.tenant,
        session_id=identity.session_id,
        thread_id=recorder.thread_id,
        request_id=identity.request_id,
        operation=identity.operation,
        locale=identity.locale,
        prompt=stored(_text_of(recorder.lines(), Message.Kind.PROMPT)),
        started_at=recorder.started_at,
    )
    _create_with_facts(turn, recorder)
    _live[recorder.trace_id] = turn
    worker.ensure_running()  # It renews the lease, where no lifespan has started it.
    if identity.operation == "threads.retry_after_item" and recorder.prompt_id:
        answered = Q(messages__kind=Message.Kind.PROMPT, messages__item_id=recorder.prompt_id)
        # Of one whose process died there are no messages: its row has the prompt alone.
        died = Q(status=Turn.Status.INTERRUPTED, messages=None)
        others = Turn.objects.of_thread(turn).filter(superseded_by=None).exclude(pk=turn.pk)
        prompts = others.filter(died).values_list("pk", "prompt")
        # Not by the database, which can't compare what is encrypted.
        same = [pk for pk, prompt in prompts if prompt and prompt == turn.prompt]
        others.filter(answered | Q(pk__in=same)).order_by().update(superseded_by=turn)


def _create_with_facts(turn: Turn, recorder: TurnRecorder) -> None:
    lease = timedelta(seconds=conf().observability_lease_seconds)
    if recorder.identity.facts is None:
        _open_turn.run([turn], lease=lease)
        return
    # Asked before the transaction: a query of the site's that fails would break it.
    facts = facts_of(recorder.identity.facts, recorder.trace_id)
    with transaction.atomic():
        _open_turn.run([turn], lease=lease)
        for fact in facts:
            fact.turn = turn
        TurnFact.objects.bulk_create(facts)


def settle_turn(recorder: TurnRecorder) -> None:
    """Write the end of a turn with its messages and its deliveries: one transaction.

    The row may be gone (its user was erased meanwhile): then nothing is written. It may have been
    swept as interrupted while this process was stalled: then the truth replaces that.
    """
    turn = _live[recorder.trace_id]
    figures, lines = _figures(recorder), recorder.lines()
    texts = {
        "prompt": turn.prompt or stored(_text_of(lines, Message.Kind.PROMPT)),
        "response": stored(_text_of(lines, Message.Kind.RESPONSE)),
        "error_message": stored(recorder.error_message),
    }
    with transaction.atomic():
        if _settle_running.run(pk=turn.pk, **figures, **texts) or _settle_swept(
            turn, figures | texts
        ):
            for name, value in {**figures, **texts}.items():
                setattr(turn, name, value)
            others = recorder.settles_with() if recorder.settles_with else ()
            _write_lines(turn, lines, *_spans(turn, recorder), *others)
        # Its owner may have deleted the conversation while the answer was being written.
        elif not _unsettled(turn).update(**figures):
            logger.warning("Turn %s was gone before it could be settled.", recorder.trace_id)
    forget(recorder.trace_id)


def _settle_swept(turn: Turn, values: dict[str, Any]) -> bool:
    """Settle what a sweeper has taken for dead. Returns whether it had."""
    swept = _unsettled(turn).exclude(status=Turn.Status.RUNNING)
    is_written = bool(swept.with_text().update(**values))
    if is_written:
        Message.objects.filter(turn=turn).delete()  # What the sweeper had recalled.
    return is_written


def _unsettled(turn: Turn) -> TurnQuerySet:
    return Turn.objects.filter(
        pk=turn.pk, status__in=(Turn.Status.RUNNING, Turn.Status.INTERRUPTED)
    )


def forget(trace_id: str) -> None:
    """This process works on a turn no more, so that the sweeper may have it."""
    _live.pop(trace_id, None)


def _figures(recorder: TurnRecorder) -> dict[str, Any]:
    """The columns of a turn that are known at its end, but for its texts."""
    usage = recorder.usage
    return {
        "status": recorder.status,
        "error_code": recorder.error_code[:ID_LENGTH],
        "ended_at": recorder.ended_at,
        "lease_expires_at": None,
        "ttfp_ms": recorder.ttfp_ms,
        "ttft_ms": recorder.ttft_ms,
        "duration_ms": recorder.duration_ms,
        "total_ms": recorder.total_ms,
        "model": usage.model[:ID_LENGTH],
        "input_tokens": usage.input_tokens,
        "cached_tokens": usage.cached_tokens,
        "output_tokens": usage.output_tokens,
        "reasoning_tokens": usage.reasoning_tokens,
        "cost_usd": cost_usd(usage, recorder.started_at),
    }


def open_remote_turn(identity: Identity, **fields: Any) -> Turn:
    """Write a turn that ran where nobody of ours could watch: its text is yet to be read.

    ``fields`` are columns. Unless :func:`settle_remote_turn` has ended it within REMOTE_LEASE, the
    sweeper will.
    """
    turn = Turn.objects.create(
        user=identity.user,
        owner_key=identity.owner_key,
        tenant=identity.tenant,
        session_id=identity.session_id,
        request_id=identity.request_id,
        locale=identity.locale,
        lease_expires_at=Now() + REMOTE_LEASE,
        **fields,
    )
    transaction.on_commit(worker.wake, robust=True)
    return turn


def settle_remote_turn(
    trace_id: str, status: Turn.Status, lines: Sequence[Line] = (), *, error_code: str = ""
) -> bool:
    """Write the end of such a turn like that of any other. Returns whether it was still running."""
    with transaction.atomic():
        turn = (
            Turn.objects.select_for_update(of=("self",)).running().filter(trace_id=trace_id).first()
        )
        if turn is None:
            return False
        turn.status = status
        turn.error_code = error_code
        turn.lease_expires_at = None
        if turn.is_text_purged:
            turn.save()
        else:
            turn.prompt = turn.prompt or stored(_text_of(lines, Message.Kind.PROMPT))
            turn.response = stored(_text_of(lines, Message.Kind.RESPONSE))
            turn.save()
            _write_lines(turn, lines)
        return True


def _spans(turn: Turn, recorder: TurnRecorder) -> list[Ready]:
    is_error = turn.is_error
    # By the trace id, so that all who sample alike keep the same turns.
    sampled = int(turn.trace_id[:8], 16) < conf().observability_span_sampling * 2**32
    if not sampled and not is_error:
        return []
    spans = recorder.spans.export(
        operation=turn.operation, total_ms=recorder.total_ms or 0, is_error=is_error
    )
    return _add_spans.ready([TurnSpans(turn=turn, spans=spans)])


def _write_lines(turn: Turn, lines: Sequence[Line], *others: Ready) -> None:
    """The last step of every settling: the turn's messages and its deliveries; and what else is to
    be written then.
    """
    messages = [
        Message(
            turn=turn,
            position=position,
            kind=line.kind,
            item_id=line.item_id[:ID_LENGTH],
            text=stored(line.text),
            created_at=line.created_at,
        )
        for position, line in enumerate(lines)
    ]
    outbox.enqueue_turn(turn, *_add_messages.ready(messages), *others)


def renew_live_leases() -> int:
    """Say that this process still works on its turns. Returns how many there were."""
    if not _live:
        return 0
    seconds = conf().observability_lease_seconds
    return Turn.objects.filter(trace_id__in=tuple(_live)).renew_leases(seconds)


def sweep() -> int:
    """Finish the turns that dead processes left running as interrupted, and forward them.

    Returns how many there were.
    """
    # Where the clock was set back, a lease ends in an hour that a dead process can't shorten.
    ahead = Turn.objects.running().filter(lease_expires_at__gt=Now() + REMOTE_LEASE)
    if ahead.exists():
        ahead.renew_leases(conf().observability_lease_seconds)
    swept = 0
    for trace_id in Turn.objects.orphaned().values_list("trace_id", flat=True)[:SWEEP_BATCH]:
        with transaction.atomic():
            # Conditional: another process may sweep, or the turn's own may have come back.
            if not (
                Turn.objects.orphaned()
                .filter(trace_id=trace_id)
                .update(
                    status=Turn.Status.INTERRUPTED, ended_at=timezone.now(), lease_expires_at=None
                )
            ):
                continue
            turn = Turn.objects.without_texts().get(trace_id=trace_id)
            lines = [] if turn.is_text_purged else recalled(turn)
            if response := stored(_text_of(lines, Message.Kind.RESPONSE)):
                Turn.objects.filter(pk=turn.pk).update(response=response)
            _write_lines(turn, lines)
        swept += 1
    if swept:
        logger.warning("%d turns were left running by a process that died.", swept)
    return swept


def _text_of(lines: Sequence[Line], kind: Message.Kind) -> str:
    return "\n\n".join(line.text for line in lines if line.kind == kind)
