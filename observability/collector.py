"""A destination that is one address: events are posted there, unless it is down."""

from __future__ import annotations

import logging
import time
from abc import abstractmethod
from collections.abc import Mapping

from .conf import conf
from .destinations import REQUEST_SECONDS, USER_AGENT, Destination, Outcome, Verdict
from .http_client import Answer, BoundedClient, TransportError, retry_after_seconds
from .outbox import BACKOFF_CAP_SECONDS, backoff_seconds

logger = logging.getLogger(__name__)

PAUSE_CAP_SECONDS = 60.0
"""How long a collector that is down is left alone, unless it asks for more."""

_DOWN = frozenset({429, 502, 503, 504})
"""Not about the event: any other would be answered likewise."""


class Collector(Destination):
    """Posts, and judges the answers. A collector that is down costs one attempt for each pause,
    and not a time-out for each delivery.
    """

    retried: frozenset[int]
    """The statuses from 400 on after which an event is to be sent again."""

    def __init__(self) -> None:
        # The thread that sends also renews the leases of running turns: it may not stay away long.
        seconds = min(REQUEST_SECONDS, conf().observability_lease_seconds / 3)
        self._http = BoundedClient(seconds=seconds)
        self._failures = 0
        self._resume_tick = 0.0

    def is_ready(self) -> bool:
        return time.monotonic() >= self._resume_tick

    @abstractmethod
    def accepted(self, answer: Answer) -> Outcome:
        """What an answer of 2xx means."""

    def post(self, url: str, content: bytes, headers: Mapping[str, str]) -> Outcome:
        """Post one event. Never raises for what the network or the collector does."""
        try:
            answer = self._http.post(url, content, {"User-Agent": USER_AGENT, **headers})
        except TransportError as error:
            outcome = Outcome(verdict=Verdict.RETRY, error=str(error))
        else:
            outcome = self._judge(answer)
        if outcome.status is None or outcome.status in _DOWN:
            self._pause(outcome)
        else:
            self._failures = 0
        return outcome

    def cut_off(self, tick: float) -> None:
        self._http.cut_off(tick)

    def close(self) -> None:
        self._http.close()

    def _judge(self, answer: Answer) -> Outcome:
        status = answer.status
        if 200 <= status < 300:
            return self.accepted(answer)
        error = f"HTTP {status}"
        if status >= 400 and status not in self.retried:
            return Outcome(verdict=Verdict.FINAL, status=status, error=error)
        retry_after = retry_after_seconds(answer)
        return Outcome(verdict=Verdict.RETRY, status=status, retry_after=retry_after, error=error)

    def _pause(self, outcome: Outcome) -> None:
        if not self._failures:
            logger.warning("Deliveries to %s wait: %s.", self.name, outcome.error)
        wish = min(outcome.retry_after or 0.0, BACKOFF_CAP_SECONDS)
        seconds = max(wish, min(backoff_seconds(self._failures), PAUSE_CAP_SECONDS))
        self._resume_tick = time.monotonic() + seconds
        self._failures += 1
