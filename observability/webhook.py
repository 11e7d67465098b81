"""A webhook: turns and user actions as signed JSON, to whatever wants them.

The address may be a credential: it is never in a log, an exception, a ``repr`` or the database.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from datetime import UTC, datetime
from typing import Any

from .collector import Collector
from .conf import conf
from .destinations import USER_AGENT, Outcome, Verdict, pseudonym
from .http_client import Answer, Post, is_address
from .models import FIGURES, ClientEvent, Message, Turn
from .text_levels import Outgoing

_PLACES = ("tenant", "session_id", "thread_id", "request_id", "operation", "locale", "model")


class Webhook(Collector[dict[str, Any]]):
    """Posts ``{"type", "event_id", …}`` with ``X-Signature`` and ``Idempotency-Key``."""

    name = "webhook"
    text_setting = "observability_webhook_text"
    retried = frozenset({408, 425, 429, *range(500, 600)})

    @staticmethod
    def is_enabled() -> bool:
        settings = conf()
        return bool(
            is_address(settings.observability_webhook_url) and settings.observability_webhook_secret
        )

    def worded(self, subject: Turn | ClientEvent) -> dict[str, Any]:
        if isinstance(subject, ClientEvent):
            return action_payload(subject)
        return turn_payload(subject, self.outgoing())

    def post_of(self, event: dict[str, Any]) -> Post:
        settings = conf()
        body = json.dumps(event, separators=(",", ":")).encode()
        headers = {
            "Content-Type": "application/json",
            "Idempotency-Key": event["event_id"],
            "User-Agent": USER_AGENT,
            "X-Signature": signature(
                settings.observability_webhook_secret, body, timestamp=round(time.time())
            ),
        }
        return Post(settings.observability_webhook_url, body, headers)

    def accepted(self, answer: Answer) -> Outcome:
        return Outcome(verdict=Verdict.DELIVERED, status=answer.status)


def signature(secret: str, body: bytes, *, timestamp: int) -> str:
    """``t=…,v1=…``: the seconds since 1970, and the HMAC-SHA256 of ``{t}.{body}`` in hex.

    With the time in it, so that a receiver can refuse what somebody recorded and plays again.
    """
    signed = f"{timestamp}.".encode() + body
    digest = hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()
    return f"t={timestamp},v1={digest}"


def turn_payload(turn: Turn, outgoing: Outgoing) -> dict[str, Any]:
    """The event that tells of a turn, in the words of the read API. What is not known is null."""
    return {
        "type": "turn",
        "event_id": turn.trace_id,
        "trace_id": turn.trace_id,
        "owner": pseudonym(turn.owner_key),
        **{name: getattr(turn, name) for name in _PLACES},
        "status": str(turn.status),
        "error_code": turn.error_code,
        "error_message": outgoing.text(turn.error_message),
        "started_at": _iso(turn.started_at),
        "ended_at": _iso(turn.ended_at) if turn.ended_at is not None else None,
        **{name: getattr(turn, name) for name in FIGURES},
        "cost_usd": str(turn.cost_usd) if turn.cost_usd is not None else None,
        "prompt": outgoing.text(turn.prompt),
        "response": outgoing.text(turn.response),
        "messages": [
            {
                "kind": message.kind,
                "item_id": message.item_id,
                "created_at": _iso(message.created_at),
                "text": outgoing.text(message.text),
            }
            for message in Message.objects.filter(turn=turn).order_by("position")
        ],
    }


def action_payload(event: ClientEvent) -> dict[str, Any]:
    """The event that tells of what a visitor did, and of which turn where that is known."""
    return {
        "type": "action",
        "event_id": event.event_id,
        "trace_id": event.turn.trace_id if event.turn is not None else None,
        "owner": pseudonym(event.owner_key),
        "tenant": event.tenant,
        "session_id": event.session_id,
        "thread_id": event.thread_id,
        "name": event.name,
        "data": event.data,
        "occurred_at": _iso(event.occurred_at),
    }


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat()
