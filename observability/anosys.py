"""Anosys: what a turn looks like there, and the client that sends it.

The address that a key resolves to is a credential: whoever knows it may write. So neither it nor
the key is ever in a log, an exception, a ``repr`` or the database. Without one, deliveries wait.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from urllib.parse import urlencode, urlsplit

from .collector import Collector
from .conf import conf
from .destinations import USER_AGENT, Outcome, Verdict, pseudonym
from .encryption import UndecryptableError
from .histories import MESSAGES_AT_MOST, Said, histories, said
from .http_client import Answer, Post, TransportError, is_address
from .models import ClientEvent, Message, Turn
from .outbox import ANOSYS, backoff_seconds
from .text_levels import Outgoing

logger = logging.getLogger(__name__)

FIRST_MESSAGE_SLOT = 10
ADDRESS_SECONDS = 24 * 60 * 60.0
"""How long an address is used before the resolver is asked again."""
COMPLAINT_SECONDS = 60 * 60.0
"""A wrong key is said so often, not with every delivery that waits for a right one."""

_NOT_NOW = frozenset({408, 425, 429, *range(500, 600)})
_ADDRESS_DOUBTED = frozenset({401, 403, 404, 410})


# -- the payload ---------------------------------------------------------------------------------


def turn_payload(turn: Turn, outgoing: Outgoing, history: Sequence[Said]) -> dict[str, object]:
    """The event that tells of a turn: one flat object, as Anosys' reference client sends it.

    ``history`` is what :func:`.histories.histories` found. Times are milliseconds since 1970, UTC.
    A number that is not known is left out; a text is empty.
    """
    ended_ms = _ms(turn.ended_at or turn.started_at)
    payload: dict[str, object] = {
        "event_type": "chatkit chat",
        "event_source_name": "chatkit",
        "event_id": turn.trace_id,
        "timestamp": str(ended_ms),
        "user_timestamp": ended_ms,
        "timestamp_ms": ended_ms,
        "cvs1": outgoing.text(turn.prompt),
        "cvs2": outgoing.text(turn.response),
        "cvs3": turn.session_id,
        "cvs4": turn.thread_id,
        "cvs5": pseudonym(turn.owner_key),
        "cvs6": turn.model,
        "cvs7": turn.locale,
        "cvs8": str(turn.status),
        "cvs9": turn.error_code,
        "chatkit": {"session_id": turn.session_id, "thread_id": turn.thread_id},
    }
    numbers = {
        "cvn1": turn.duration_ms,
        "cvn2": turn.ttft_ms,
        "cvn3": turn.input_tokens,
        "cvn4": turn.output_tokens,
        "cvn5": turn.total_ms,
    }
    payload.update({name: number for name, number in numbers.items() if number is not None})
    own = [message for message in history[::-1] if message.turn_id == turn.pk]
    if len(own) == MESSAGES_AT_MOST:
        own = said(Message.objects.filter(turn=turn).order_by("position"))
    slot = FIRST_MESSAGE_SLOT
    for message in own:
        # The time as a string: the reference client groups by it.
        for value in _told(message, outgoing).values():
            payload[f"cvs{slot}"] = str(value)
            slot += 1
    # The newest first: where there is too much, the oldest is cut.
    payload["messages"] = [_told(message, outgoing) for message in history][::-1]
    return payload


def action_payload(event: ClientEvent) -> dict[str, object]:
    """The event that tells of what a visitor did: copied, rated, asked again."""
    occurred_ms = _ms(event.occurred_at)
    scrubbed = {"name": event.name, "data": event.data, "timestamp": occurred_ms}
    return {
        "event_type": "message.action",
        "event_source_name": "chatkit action",
        "event_id": event.event_id,
        "user_timestamp": occurred_ms,
        "cvs1": event.data.get("action", ""),
        "cvs2": json.dumps(scrubbed, sort_keys=True),
        "cvs3": event.session_id,
        "cvs4": event.thread_id,
    }


def _told(message: Said, outgoing: Outgoing) -> dict[str, object]:
    """A message, in the order of its four flat slots."""
    return {
        "kind": message.kind,
        "item_id": message.item_id,
        "created_at": _ms(message.created_at),
        "text": outgoing.text(message.text),
    }


def _ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


# -- the destination -----------------------------------------------------------------------------


class Anosys(Collector[dict[str, object]]):
    """Turns and user actions, on their way to Anosys: finds the address, and posts there."""

    name = ANOSYS
    text_setting = "anosys_text"
    retried = _NOT_NOW | _ADDRESS_DOUBTED

    def __init__(self) -> None:
        super().__init__()
        self._address = ""
        self._address_tick = 0.0
        self._attempts = 0
        self._next_attempt_tick = 0.0
        self._complaint_tick: float | None = None
        self._histories: dict[int, list[Said]] = {}

    @staticmethod
    def is_enabled() -> bool:
        settings = conf()
        return bool(settings.anosys_api_key or settings.anosys_ingestion_url)

    def is_ready(self) -> bool:
        """Whether there is an address to send to; looks for one where it is time to."""
        return super().is_ready() and self._has_address()

    def events(
        self, subjects: Sequence[Turn | ClientEvent | None]
    ) -> list[dict[str, object] | Outcome]:
        turns = [subject for subject in subjects if isinstance(subject, Turn)]
        try:
            self._histories = histories(turns)
        except UndecryptableError:
            # One of them. Each is then read for itself, and that one says so.
            self._histories = {}
        return super().events(subjects)

    def worded(self, subject: Turn | ClientEvent) -> dict[str, object]:
        if isinstance(subject, ClientEvent):
            return action_payload(subject)
        history = self._histories.pop(subject.pk, None)
        if history is None:
            history = histories([subject])[subject.pk]
        return turn_payload(subject, self.outgoing(), history)

    def post_of(self, event: dict[str, object]) -> Post:
        content = json.dumps(event, separators=(",", ":")).encode()
        headers = {
            "Content-Type": "application/json",
            "Idempotency-Key": str(event["event_id"]),
            "User-Agent": USER_AGENT,
        }
        return Post(self._address, content, headers)

    def tell(self, events: Sequence[dict[str, object]]) -> list[Outcome]:
        if not self._has_address():
            return [Outcome(verdict=Verdict.RETRY, error="no address")] * len(events)
        outcomes = super().tell(events)
        for status in (outcome.status or 0 for outcome in outcomes):
            if status in _ADDRESS_DOUBTED or 300 <= status < 400:
                # Not the event's fault: the address is wrong, or no longer ours. Ask for it anew.
                self._address = ""
                self._postpone(f"its collector answers HTTP {status}")
                break
        return outcomes

    def accepted(self, answer: Answer) -> Outcome:
        self._attempts = 0
        return Outcome(verdict=Verdict.DELIVERED, status=answer.status)

    def _has_address(self) -> bool:
        now = time.monotonic()
        is_known = bool(self._address) and now - self._address_tick < ADDRESS_SECONDS
        if not is_known and now >= self._next_attempt_tick:
            self._resolve()
        return bool(self._address)

    def _resolve(self) -> None:
        settings = conf()
        if settings.anosys_ingestion_url:
            address, problem = settings.anosys_ingestion_url, "ANOSYS_INGESTION_URL is no URL"
        else:
            try:
                answer = self._ask_resolver(settings.anosys_resolver_url, settings.anosys_api_key)
            except TransportError as error:
                # An address that was right until now may be used on: it is no default.
                self._postpone(f"its resolver is out of reach ({error})")
                return
            address = _address_in(answer)
            problem = f"its resolver gives no address for the key (HTTP {answer.status})"
        if not is_address(address):
            self._address = ""
            self._postpone(problem)
            return
        self._address, self._address_tick = address, time.monotonic()

    def _ask_resolver(self, resolver_url: str, key: str) -> Answer:
        query = urlencode({"apikey": key, "type": "chatkit"})
        separator = "&" if urlsplit(resolver_url).query else "?"
        answer = self._http.get(
            f"{resolver_url}{separator}{query}",
            {"Accept": "application/json", "User-Agent": USER_AGENT},
        )
        if answer.status in _NOT_NOW:
            raise TransportError(f"HTTP {answer.status}")
        return answer

    def _postpone(self, problem: str) -> None:
        """Look again after a backoff; if there is no address until then, say so, but not always."""
        now = time.monotonic()
        self._next_attempt_tick = now + backoff_seconds(self._attempts)
        self._attempts += 1
        is_said = (
            self._complaint_tick is not None and now - self._complaint_tick < COMPLAINT_SECONDS
        )
        if not self._address and not is_said:
            self._complaint_tick = now
            logger.warning("Deliveries to Anosys wait: %s.", problem)


def _address_in(answer: Answer) -> Any:
    """What the resolver names: ``apiUrl``, in older answers ``url``. The rest is not looked at."""
    if not 200 <= answer.status < 300:
        return None
    try:
        found = json.loads(answer.body)
    except (ValueError, RecursionError):
        return None
    return (found.get("apiUrl") or found.get("url")) if isinstance(found, dict) else None
