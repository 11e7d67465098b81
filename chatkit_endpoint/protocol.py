"""ChatKit's wire format: requests read once, times sent with their zone."""

from __future__ import annotations

import re

from chatkit.types import ChatKitReq
from pydantic import TypeAdapter

_adapter: TypeAdapter[ChatKitReq] = TypeAdapter(ChatKitReq)
# Behind an id, as in every thread and item; quotes inside of a text are escaped, so never there.
_NAIVE_TIME = re.compile(
    rb'("(?:thread_)?id":"[^"]*","created_at":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?)"'
)


def parse(body: bytes) -> ChatKitReq:
    """The request in the SDK's types. Raises pydantic's ValidationError for anything else."""
    return _adapter.validate_json(body)


def with_zone(message: bytes) -> bytes:
    """The SDK's JSON with a Z behind its naive times, which are UTC and not the browser's."""
    if b'"created_at":"' not in message:
        return message
    return _NAIVE_TIME.sub(rb'\1Z"', message)
