"""What a request may not do though it is well-formed and its owner's: asked before the server."""

from __future__ import annotations

from typing import Any

from chatkit.server import ChatKitServer
from chatkit.types import (
    AttachmentsCreateReq,
    AttachmentsDeleteReq,
    ChatKitReq,
    ItemsFeedbackReq,
    ThreadsAddClientToolOutputReq,
    ThreadsAddStructuredInputReq,
    ThreadsAddUserMessageReq,
    ThreadsCreateReq,
    ThreadsCustomActionReq,
    ThreadsRetryAfterItemReq,
    ThreadsSyncCustomActionReq,
)

from .conf import conf
from .context import RequestContext
from .errors import Fault, Refused

_WRITES = (
    ThreadsAddClientToolOutputReq,
    ThreadsAddStructuredInputReq,
    ThreadsAddUserMessageReq,
    ThreadsCustomActionReq,
    ThreadsRetryAfterItemReq,
    ThreadsSyncCustomActionReq,
)


async def guard(
    request: ChatKitReq, server: ChatKitServer[RequestContext], context: RequestContext
) -> None:
    """Let the request pass, or raise Refused; NotFoundError for what is not there.

    The SDK itself enforces none of this: not that a thread is locked, not that an item that is
    rated exists, not how long a prompt is.
    """
    if isinstance(request, AttachmentsCreateReq | AttachmentsDeleteReq):
        if server.attachment_store is None:
            raise Refused(Fault.UNSUPPORTED)
    elif isinstance(request, ThreadsCreateReq | ThreadsAddUserMessageReq):
        await _guard_message(request.params.input, server, context)
    elif isinstance(request, ItemsFeedbackReq):
        for item_id in request.params.item_ids:
            await server.store.load_item(request.params.thread_id, item_id, context)
    if isinstance(request, _WRITES):
        thread = await server.store.load_thread(request.params.thread_id, context)
        if thread.status.type != "active":
            raise Refused(Fault.LOCKED, thread.status.reason or "")


async def _guard_message(
    message: Any, server: ChatKitServer[RequestContext], context: RequestContext
) -> None:
    length = sum(len(part.text) for part in message.content) + len(message.quoted_text or "")
    if length > conf().chatkit_max_prompt_chars:
        raise Refused(Fault.TOO_LARGE)
    for attachment_id in message.attachments:
        # Before the thread is made, which would stay behind empty.
        await server.store.load_attachment(attachment_id, context)
