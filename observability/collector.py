"""A destination that is one address: events are posted there, unless it is down."""

from __future__ import annotations

import logging
import time
import traceback
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from .conf import conf
from .destinations import PURGED, REQUEST_SECONDS, Destination, Outcome, Verdict, told
from .http_client import Answer, BoundedClient, Post, TransportError, retry_after_seconds
from .models import ClientEvent, Delivery, Turn
from .outbox import BACKOFF_CAP_SECONDS, backoff_seconds

logger = logging.getLogger(__name__)

SourceT = TypeVar("SourceT")
MadeT = TypeVar("MadeT")
EventT = TypeVar("EventT")
"""An event in the collector's own words."""

PAUSE_CAP_SECONDS = 60.0
"""How long a collector that is down is left alone, unless it asks for more."""

_DOWN = frozenset({429, 502, 503, 504})
"""Not about the event: any other would be answered likewise."""
_OF_ONE_EVENT = (
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)
"""What fails to tell one event may still tell the next."""


class Collector(Destination, Generic[EventT]):
    """Posts, and judges the answers. A collector that goes down costs what is on its way to it, and
    then one attempt for each pause, not a time-out for each delivery.
    """

    retried: frozenset[int]
    """The statuses from 400 on after which an event is to be sent again."""

    def __init__(self) -> None:
        # The thread that sends also renews the leases of running turns: it may not stay away long.
        seconds = min(REQUEST_SECONDS, conf().observability_lease_seconds / 3)
        self._http = BoundedClient(seconds=seconds)
        self._failures = 0
        self._resume_tick = 0.0
        self._is_proven = False

    def is_ready(self) -> bool:
        return time.monotonic() >= self._resume_tick

    def is_proven(self) -> bool:
        return self._is_proven

    def send(self, deliveries: Sequence[Delivery]) -> list[Outcome]:
        events = self.events(told(deliveries))
        outcomes = iter(self.tell([each for each in events if not isinstance(each, Outcome)]))
        return [each if isinstance(each, Outcome) else next(outcomes) for each in events]

    def events(self, subjects: Sequence[Turn | ClientEvent | None]) -> list[EventT | Outcome]:
        """What tells of each of these, or why nothing does."""
        return [self._worded(subject) for subject in subjects]

    @abstractmethod
    def worded(self, subject: Turn | ClientEvent) -> EventT:
        """The event that tells of this."""

    @abstractmethod
    def post_of(self, event: EventT) -> Post:
        """How to send it."""

    @abstractmethod
    def accepted(self, answer: Answer) -> Outcome:
        """What an answer of 2xx means."""

    def tell(self, events: Sequence[EventT]) -> list[Outcome]:
        """Post these at once. Never raises for what the network, the collector or an event does."""
        posts = [self._made(self.post_of, event) for event in events]
        good = [each for each in posts if isinstance(each, Post)]
        judged = [self._judge(each) for each in self._http.post_all(good)] if good else []
        down = [each for each in judged if each.status is None or each.status in _DOWN]
        if judged:
            is_taken = any(each.verdict is Verdict.DELIVERED for each in judged)
            self._is_proven = is_taken and not down
        if down:
            self._pause(down)
        elif judged:
            self._failures = 0
        outcomes = iter(judged)
        return [each if isinstance(each, Outcome) else next(outcomes) for each in posts]

    def cut_off(self, tick: float) -> None:
        self._http.cut_off(tick)

    def close(self) -> None:
        self._http.close()

    def _worded(self, subject: Turn | ClientEvent | None) -> EventT | Outcome:
        return PURGED if subject is None else self._made(self.worded, subject)

    def _made(self, make: Callable[[SourceT], MadeT], source: SourceT) -> MadeT | Outcome:
        """One that can't be put into words, or into a request, must not hold up those behind it."""
        try:
            return make(source)
        except _OF_ONE_EVENT as error:
            # Where and what kind of failure: the text of an exception may quote anything.
            kind, where = type(error).__name__, "".join(traceback.format_tb(error.__traceback__))
            logger.error("A delivery can't be told to %s: %s\n%s", self.name, kind, where)
            return Outcome(verdict=Verdict.RETRY, error=kind)

    def _judge(self, answer: Answer | TransportError) -> Outcome:
        if isinstance(answer, TransportError):
            return Outcome(verdict=Verdict.RETRY, error=str(answer))
        status = answer.status
        if 200 <= status < 300:
            return self.accepted(answer)
        error = f"HTTP {status}"
        if status >= 400 and status not in self.retried:
            return Outcome(verdict=Verdict.FINAL, status=status, error=error)
        retry_after = retry_after_seconds(answer)
        return Outcome(verdict=Verdict.RETRY, status=status, retry_after=retry_after, error=error)

    def _pause(self, down: Sequence[Outcome]) -> None:
        if not self._failures:
            logger.warning("Deliveries to %s wait: %s.", self.name, down[0].error)
        wish = min(max(each.retry_after or 0.0 for each in down), BACKOFF_CAP_SECONDS)
        seconds = max(wish, min(backoff_seconds(self._failures), PAUSE_CAP_SECONDS))
        self._resume_tick = time.monotonic() + seconds
        self._failures += 1
