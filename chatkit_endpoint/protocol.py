"""ChatKit's requests, read once."""

from __future__ import annotations

from chatkit.types import ChatKitReq
from pydantic import TypeAdapter

_adapter: TypeAdapter[ChatKitReq] = TypeAdapter(ChatKitReq)


def parse(body: bytes) -> ChatKitReq:
    """The request in the SDK's types. Raises pydantic's ValidationError for anything else."""
    return _adapter.validate_json(body)
