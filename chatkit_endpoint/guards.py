"""What a request may not do though it is well-formed and its owner's: asked before the server."""

from __future__ import annotations

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
    UserMessageInput,
)
from django.utils.translation import gettext as _

from .attachments import check_sendable
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
        _guard_message(request.params.input)
        thread_id = getattr(request.params, "thread_id", None)
        # Before the thread is made, which would stay behind empty.
        await check_sendable(request.params.input.attachments, thread_id, server.store, context)
    elif isinstance(request, ThreadsAddStructuredInputReq):
        answers = request.params.input.answers.values()
        _guard_length(sum(len(value) for answer in answers for value in answer.values))
    elif isinstance(request, ItemsFeedbackReq):
        await server.store.load_thread(request.params.thread_id, context)
        for item_id in dict.fromkeys(request.params.item_ids):
            await server.store.load_item(request.params.thread_id, item_id, context)
    if isinstance(request, _WRITES):
        thread = await server.store.load_thread(request.params.thread_id, context)
        if thread.status.type != "active":
            raise Refused(Fault.LOCKED, thread.status.reason or "")
        has_actions = type(server).action is not ChatKitServer.action
        if isinstance(request, ThreadsCustomActionReq) and not has_actions:
            # Else it would be a turn that failed, and look like a fault of ours.
            raise Refused(Fault.UNSUPPORTED)


def _guard_message(message: UserMessageInput) -> None:
    text = "".join(part.text for part in message.content)
    if not text.strip() and not message.attachments:
        raise Refused(Fault.INVALID, _("The message is empty."))
    _guard_length(len(text) + len(message.quoted_text or ""))


def _guard_length(characters: int) -> None:
    if characters > conf().chatkit_max_prompt_chars:
        raise Refused(Fault.TOO_LARGE)
