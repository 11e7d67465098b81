"""A part of ``benchmarks.storing``: turns through the recorder's own calls, and plainly.

``python -m benchmarks.recording DATABASE_URL RUNS TURNS``, since one Django knows one database.
Prints turns per second in pairs, as JSON.
"""

from __future__ import annotations

import json
import sys
import time
from datetime import UTC, datetime
from typing import Any

from .site import set_up

WORDS = [f"word{number} " for number in range(8)]
PROMPT = "What does the order of last week cost?"
THOUGHT = "I look at the orders."
STEPS = ("_save_thread", "_save_item", "_save_item", "_save_thread", "_save_item")
"""With the request itself the six spans of a turn."""


def record(turns: int) -> float:
    """Open, observe and settle so many turns, one after the other. Returns the seconds it took."""
    from observability import turns as life
    from observability.recorder import Identity, TurnRecorder
    from observability.span_log import Kind

    prompt, events = _prompt(), _events()
    identity = Identity(owner_key="user:1", operation="threads.create", locale="en")
    started = time.perf_counter()
    for number in range(turns):
        recorder = TurnRecorder(thread_id=f"thr_{number}", identity=identity, prompt=prompt)
        life.open_turn(recorder)
        for event in events:
            recorder.observe(event)
        for step in STEPS:
            with recorder.spans.step(Kind.STORE, step):
                pass
        recorder.finish()
        life.settle_turn(recorder)
    return time.perf_counter() - started


def write_plainly(turns: int) -> float:
    """Rows of the same size through the ORM, one transaction for each turn. Returns seconds."""
    from django.db import transaction

    from observability.models import Message, Turn, TurnSpans
    from observability.models.turns import new_trace_id

    response = "".join(WORDS)
    texts = {"prompt": PROMPT, "thought": THOUGHT, "response": response}
    step = {"parent_id": "request", "kind": "store", "start_ms": 0.0, "duration_ms": 0.0}
    spans = [{"id": f"s{each}", "name": name, **step} for each, name in enumerate(("", *STEPS))]
    now = datetime.now(UTC)
    started = time.perf_counter()
    for number in range(turns):
        with transaction.atomic():
            turn = Turn.objects.create(
                trace_id=new_trace_id(),
                owner_key="user:1",
                thread_id=f"thr_{number}",
                operation="threads.create",
                locale="en",
                status=Turn.Status.COMPLETED,
                started_at=now,
                ended_at=now,
                total_ms=1,
                prompt=PROMPT,
                response=response,
            )
            Message.objects.bulk_create(
                Message(
                    turn=turn,
                    position=position,
                    kind=kind,
                    item_id=f"msg_{position}",
                    text=text,
                    created_at=now,
                )
                for position, (kind, text) in enumerate(texts.items())
            )
            TurnSpans.objects.create(turn=turn, spans=spans)
    return time.perf_counter() - started


def _prompt() -> Any:
    from chatkit.types import InferenceOptions, UserMessageItem, UserMessageTextContent

    return UserMessageItem(
        id="msg_0",
        thread_id="thr_1",
        created_at=datetime.now(),  # noqa: DTZ005 (As the SDK itself has it.)
        content=[UserMessageTextContent(text=PROMPT)],
        inference_options=InferenceOptions(),
    )


def _events() -> list[Any]:
    """Of a thought and an answer."""
    from chatkit.types import (
        AssistantMessageContentPartTextDelta,
        AssistantMessageItem,
        ThoughtTask,
        ThreadItemAddedEvent,
        ThreadItemDoneEvent,
        ThreadItemUpdatedEvent,
        Workflow,
        WorkflowItem,
    )

    now = datetime.now()  # noqa: DTZ005 (As the SDK itself has it.)
    workflow = Workflow(type="reasoning", tasks=[ThoughtTask(content=THOUGHT)])
    thought = WorkflowItem(id="wf_1", thread_id="thr_1", created_at=now, workflow=workflow)
    answer = AssistantMessageItem(id="msg_1", thread_id="thr_1", created_at=now, content=[])
    deltas = [
        ThreadItemUpdatedEvent(
            item_id=answer.id,
            update=AssistantMessageContentPartTextDelta(content_index=0, delta=word),
        )
        for word in WORDS
    ]
    return [
        ThreadItemAddedEvent(item=thought),
        ThreadItemDoneEvent(item=thought),
        ThreadItemAddedEvent(item=answer),
        *deltas,
        ThreadItemDoneEvent(item=answer),
    ]


def in_pairs(runs: int, turns: int) -> list[tuple[float, float]]:
    """Turns per second, ours and plain, after a pair that does not count."""
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    pairs = []
    for run in range(-1, runs):
        ours, plain = record(turns), write_plainly(turns)
        if run >= 0:
            pairs.append((turns / ours, turns / plain))
            sys.stderr.write(f"recorder: {run + 1} of {runs}\n")
    return pairs


if __name__ == "__main__":
    set_up(sys.argv[1])
    sys.stdout.write(json.dumps(in_pairs(*map(int, sys.argv[2:]))))
