"""What a process does before its first visitor comes, so that no stream waits for it later."""

from __future__ import annotations

import gc
from typing import Any

from django.urls import get_resolver
from openai.types.responses import ResponseCompletedEvent, ResponseOutputItemDoneEvent

from .assistant import openai_client
from .conf import conf
from .server import get_server

YOUNG_OBJECTS = 10_000
"""How many are made from one search for garbage to the next; a turn makes thousands."""

_ITEM: dict[str, Any] = {
    "type": "message",
    "id": "msg",
    "role": "assistant",
    "status": "completed",
    "content": [{"type": "output_text", "text": "a", "annotations": [], "logprobs": []}],
}
_RESPONSE: dict[str, Any] = {
    "id": "resp",
    "object": "response",
    "created_at": 0,
    "status": "completed",
    "model": "none",
    "output": [_ITEM],
    "parallel_tool_calls": True,
    "tool_choice": "auto",
    "tools": [],
}


def warm_up() -> None:
    """Import and build what else the first requests would, for seconds, on the event loop."""
    get_server()
    _ = get_resolver().url_patterns
    if conf().openai_api_key:
        _ = openai_client().responses
        read_an_answer()
    spare_collector()


def spare_collector() -> None:
    """Take what is loaded now, and stays, out of what is searched for garbage: the SDK's types
    above all. Each search of them takes a hundred milliseconds, for which all streams stand still.

    And search more rarely: next to nothing of what a turn makes is garbage of the kind meant.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS)


def read_an_answer() -> None:
    """OpenAI's library builds the types of an answer when it reads the end of the first."""
    ResponseOutputItemDoneEvent.construct(
        type="response.output_item.done", item=_ITEM, output_index=0, sequence_number=0
    )
    ResponseCompletedEvent.construct(
        type="response.completed", response=_RESPONSE, sequence_number=1
    )
