"""Where browsers report to. Who asks is known here; what is kept of it, ``observability`` knows."""

from __future__ import annotations

import json
from http import HTTPStatus

from django.db import IntegrityError, transaction
from django.http import HttpRequest, JsonResponse
from django.utils import translation
from django.views.decorators.csrf import csrf_exempt

from observability.database import run_in_database

from .access_log import tells_access, visit_of
from .authentication import context_of
from .body_limit import takes_body
from .context import RequestContext
from .errors import Fault, Refused
from .limits import allowances_of, take
from .locales import locale_of

MAX_BODY_BYTES = 32_768
RETRY_SECONDS = 1


# Checked with the session, as in views.chatkit.
@csrf_exempt
@takes_body(lambda: MAX_BODY_BYTES)
@tells_access
async def events(request: HttpRequest) -> JsonResponse:
    """Take a batch of events: ``{"session_id", "events"}``, answered with 202 and ``recorded``.

    Errors are JSON, ``{"error": {"code", "message"}}``, in the visitor's language.
    """
    with translation.override(locale_of(request)):
        if request.method != "POST":
            response = Fault.METHOD.response()
            response.headers["Allow"] = "POST"
            return response
        try:
            context = await context_of(request)
            context.operation = "telemetry"
            visit_of(request).come_in(context)
            recorded = await run_in_database(_record, request, context)
        except Refused as refusal:
            return refusal.response()
        return JsonResponse({"recorded": recorded}, status=HTTPStatus.ACCEPTED)


def _record(request: HttpRequest, context: RequestContext) -> int:
    # Late: these need the SDK and pydantic, which take more than a second to import.
    from observability.api.batch import Batch
    from observability.client_events import record
    from observability.recorder import Identity

    from .hosted_threads import note_ended_answers

    take(
        allowances_of(request, tenant=context.tenant, owner_key=context.owner_key, kind="telemetry")
    )
    if len(request.body) > MAX_BODY_BYTES:
        raise Refused(Fault.TOO_LARGE)
    try:
        # Not by pydantic, which takes no half of a surrogate pair: a browser that cuts a text can
        # leave one.
        batch = Batch.model_validate(json.loads(request.body))
    except (ValueError, RecursionError):
        # Not from it: an error of pydantic's quotes what was sent.
        raise Refused(Fault.INVALID) from None
    context.session_id = batch.session_id
    identity = Identity.of(context)
    try:
        with transaction.atomic():
            new = record(identity, batch.reports())
            note_ended_answers(identity, new)
    except IntegrityError as error:
        # The same batch, twice at once.
        raise Refused(Fault.RATE, retry_after=RETRY_SECONDS) from error
    return len(new)
