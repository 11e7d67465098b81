"""Takes due deliveries from the outbox to their collectors, batch by batch. No thread, no loop."""

from __future__ import annotations

import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence

from . import outbox
from .destinations import Destination, Outcome, Verdict, registry
from .models import Delivery

BATCH = 64
AT_ONCE = 16
"""How many requests to one collector are on their way at a time."""
LEASE_MARGIN_SECONDS = 15.0
"""Nothing is sent under a lease that has less left: a request and its settling must fit in."""


class Courier:
    """For one thread; only ``stop_at`` may be called from others."""

    def __init__(self, between: Callable[[], None] | None = None) -> None:
        """``between`` is called before each request: for what can't wait for a slow collector."""
        self.outcomes: Counter[Delivery.State] = Counter()
        """How the attempts of this courier ended; ``PENDING`` are those to be tried again."""
        self._between = between
        self._clients: dict[str, Destination] = {}
        self._token: uuid.UUID | None = None
        self._stop_tick: float | None = None

    def deliver(self) -> int:
        """Send a batch to each destination that has one due. Returns how many were tried."""
        self._release()
        tried = 0
        for destination in outbox.enabled_destinations():
            if not self._is_stopped and outbox.has_due(destination):
                client = self._client(destination)
                if client.is_ready():
                    tried += self._deliver_batch(destination, client)
        return tried

    def stop_at(self, tick: float) -> None:
        """Send nothing after that ``time.monotonic()``, and break off what is on its way then."""
        self._stop_tick = tick
        for client in list(self._clients.values()):
            client.cut_off(tick)

    def close(self) -> None:
        """Close the connections to collectors and give back what is still leased."""
        for client in self._clients.values():
            client.close()
        self._clients.clear()
        self._release()

    def _deliver_batch(self, destination: str, client: Destination) -> int:
        last_tick = time.monotonic() + outbox.LEASE_SECONDS - LEASE_MARGIN_SECONDS
        tried = 0
        left: Sequence[Delivery] = outbox.claim(BATCH, destination)
        while left:
            some = left[: AT_ONCE if client.is_proven() else 1]
            left = left[len(some) :]
            self._token = some[0].lease_token
            if self._between is not None:
                self._between()
            if time.monotonic() > last_tick or self._is_stopped or not client.is_ready():
                self._release()
                return tried
            self._settle(some, client.send(some))
            tried += len(some)
        self._token = None
        return tried

    def _settle(self, deliveries: Sequence[Delivery], outcomes: Sequence[Outcome]) -> None:
        delivered: dict[Outcome, list[Delivery]] = defaultdict(list)
        for delivery, outcome in zip(deliveries, outcomes, strict=True):
            if outcome.verdict is Verdict.DELIVERED:
                delivered[outcome].append(delivery)
            elif (state := _undelivered(delivery, outcome)) is not None:
                self.outcomes[state] += 1
        for outcome, alike in delivered.items():
            count = outbox.delivered(alike, status=outcome.status, error=outcome.error)
            self.outcomes[Delivery.State.DELIVERED] += count

    def _client(self, destination: str) -> Destination:
        if destination not in self._clients:
            client = self._clients[destination] = registry()[destination]()
            if self._stop_tick is not None:
                client.cut_off(self._stop_tick)
        return self._clients[destination]

    @property
    def _is_stopped(self) -> bool:
        return self._stop_tick is not None and time.monotonic() >= self._stop_tick

    def _release(self) -> None:
        """Give back what a batch that was broken off, perhaps by an exception, did not send."""
        if self._token is not None:
            outbox.release(self._token)
            self._token = None


def _undelivered(delivery: Delivery, outcome: Outcome) -> Delivery.State | None:
    if outcome.verdict is Verdict.PURGED:
        return outbox.purged(delivery)
    if outcome.verdict is Verdict.FINAL:
        return outbox.dead(delivery, status=outcome.status, error=outcome.error)
    return outbox.retry(
        delivery,
        status=outcome.status,
        error=outcome.error,
        retry_after=outcome.retry_after,
    )
