"""ChatKit's wire format: requests read once, times sent with their zone."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from chatkit.server import ChatKitServer, NonStreamingResult, StreamingResult
from chatkit.types import ChatKitReq, is_streaming_req
from pydantic import TypeAdapter

if TYPE_CHECKING:
    from .context import RequestContext

_adapter: TypeAdapter[ChatKitReq] = TypeAdapter(ChatKitReq)
# Behind an id, as in every thread and item; quotes inside of a text are escaped, so never there.
_NAIVE_TIME = re.compile(
    rb'("(?:thread_)?id":"[^"]*","created_at":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?)"'
)


def parse(body: bytes) -> ChatKitReq:
    """The request in the SDK's types. Raises pydantic's ValidationError for anything else."""
    return _adapter.validate_json(body)


def only_streams(server: ChatKitServer[RequestContext], request: ChatKitReq) -> bool:
    """Whether nothing is done for the request until its stream is asked for the first frame."""
    return type(server).process is ChatKitServer.process and is_streaming_req(request)


async def process(
    server: ChatKitServer[RequestContext], request: ChatKitReq, body: bytes, context: RequestContext
) -> StreamingResult | NonStreamingResult:
    """The server's answer to a request that is parsed already.

    ``ChatKitServer.process`` builds its parser anew for each request, which takes 2.7 ms, more than
    all that we add; so its two next steps are taken here, unless a server has a ``process`` of its
    own.
    """
    if type(server).process is not ChatKitServer.process:
        return await server.process(body, context)
    if is_streaming_req(request):
        return StreamingResult(server._process_streaming(request, context))
    return NonStreamingResult(await server._process_non_streaming(request, context))


def with_zone(message: bytes) -> bytes:
    """The SDK's JSON with a Z behind its naive times, which are UTC and not the browser's."""
    if b'"created_at":"' not in message:
        return message
    return _NAIVE_TIME.sub(rb'\1Z"', message)
