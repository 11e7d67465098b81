"""Hosted mode: the chat of a site whose workflow still lives at OpenAI.

OpenAI ends hosted workflows on 2026-11-30; this module goes with them. Until then the browser
talks to OpenAI, with a client secret that is made here, so that no key ever reaches a browser.
"""

from __future__ import annotations

import logging

from django.http import HttpRequest, JsonResponse
from django.utils import translation
from django.utils.crypto import salted_hmac
from django.views.decorators.csrf import csrf_exempt

from observability.models import Turn

from .access_log import tells_access, visit_of
from .authentication import context_of
from .conf import conf
from .context import RequestContext
from .errors import Fault, Refused
from .limits import spend
from .locales import locale_of

logger = logging.getLogger(__name__)


# Checked with the session, as in views.chatkit.
@csrf_exempt
@tells_access
async def session(request: HttpRequest) -> JsonResponse:
    """Make a client secret for this visitor: ``{"client_secret", "expires_at"}``, a UNIX time.

    404 unless CHATKIT_WORKFLOW_ID is set, 501 without a key. Each counts like a message would,
    against a rate of its own.
    """
    with translation.override(locale_of(request)):
        try:
            return await _session(request)
        except Refused as refusal:
            return refusal.response()


async def _session(request: HttpRequest) -> JsonResponse:
    settings = conf()
    if not settings.chatkit_workflow_id:
        raise Refused(Fault.NOT_FOUND)
    if request.method != "POST":
        response = Fault.METHOD.response()
        response.headers["Allow"] = "POST"
        return response
    context = await context_of(request)
    context.operation = "hosted.session"
    visit_of(request).come_in(context)
    if not settings.openai_api_key:
        raise Refused(Fault.UNSUPPORTED)
    await spend(request, context, kind="session")
    # Late: the SDKs take more than a second to import.
    from openai import OpenAIError

    from .assistant import openai_client

    try:
        made = await openai_client().beta.chatkit.sessions.create(
            user=pseudonym(context),
            workflow={"id": settings.chatkit_workflow_id},
        )
    except OpenAIError as error:
        logger.error("No hosted session: %s", type(error).__name__, exc_info=error)
        raise Refused(Fault.SERVER) from error
    return JsonResponse({"client_secret": made.client_secret, "expires_at": made.expires_at})


def pseudonym(owner: RequestContext | Turn) -> str:
    """A stable name for the owner that tells OpenAI nothing about them."""
    name = f"{owner.tenant}\n{owner.owner_key}"
    return salted_hmac("chatkit_endpoint.hosted.owner", name, algorithm="sha256").hexdigest()[:32]
