"""Where deliveries go: what every destination is to the outbox and to the courier.

A new one is a class here below :class:`Destination` (or :class:`.collector.Collector`, where it is
one address that takes posts) and its line in ``DESTINATIONS``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cache
from typing import ClassVar

from django.utils.crypto import salted_hmac
from django.utils.module_loading import import_string

from .conf import conf
from .encryption import UndecryptableError
from .models import ClientEvent, Delivery, Turn
from .text_levels import Level, Outgoing

DESTINATIONS = (
    "observability.anosys.Anosys",
    "observability.otlp.OTLP",
    "observability.webhook.Webhook",
)
"""By their paths: they stand on the outbox, which asks here."""

REQUEST_SECONDS = 10.0
"""For one request as a whole. Well below the outbox' lease."""
USER_AGENT = "django-chatkit-observability"


class Verdict(Enum):
    DELIVERED = "delivered"
    RETRY = "retry"
    """Not now: the collector, or the way to it, is at fault."""
    FINAL = "final"
    """Never: the event is at fault."""
    PURGED = "purged"
    """What was to be told is gone; nothing was sent."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one event: ``retry_after`` in seconds, ``error`` without anybody's text."""

    verdict: Verdict
    status: int | None = None
    retry_after: float | None = None
    error: str = ""


PURGED = Outcome(verdict=Verdict.PURGED)


class Destination(ABC):
    """One collector. For one thread; only ``cut_off`` may be called from others."""

    name: ClassVar[str]
    """As the outbox' rows name it: never to be changed."""
    text_setting: ClassVar[str]
    """The field of :class:`.conf.Conf` that says how much of what was said it is told."""
    kinds: ClassVar[frozenset[Delivery.Kind]] = frozenset(Delivery.Kind)
    """Which deliveries are made for it."""

    @staticmethod
    @abstractmethod
    def is_enabled() -> bool:
        """Whether the settings switch it on."""

    @classmethod
    def outgoing(cls) -> Outgoing:
        """What words an event's texts for it. Raises ValueError where the setting is no level."""
        return Outgoing(Level(getattr(conf(), cls.text_setting)))

    @abstractmethod
    def is_ready(self) -> bool:
        """Whether it makes sense to send now. Until then, deliveries wait uncounted."""

    def is_proven(self) -> bool:
        """Whether it is there, as far as is known. One that is not gets one event, to see."""
        return True

    @abstractmethod
    def send(self, deliveries: Sequence[Delivery]) -> list[Outcome]:
        """Tell what these tell, at once, and what became of each. Never raises for what a network
        or a collector does, nor for what can't be put into words.

        What is told is looked up here and not with the claim: what was purged must not go out.
        """

    @abstractmethod
    def cut_off(self, tick: float) -> None:
        """Break off whatever waits at that ``time.monotonic()``, now and from now on."""

    @abstractmethod
    def close(self) -> None: ...


@cache
def registry() -> dict[str, type[Destination]]:
    """All destinations there are, by name."""
    return {kind.name: kind for kind in map(import_string, DESTINATIONS)}


def enabled(kind: Delivery.Kind | None = None) -> list[str]:
    """The names of those that are switched on and, if a kind is given, take such deliveries."""
    return [
        name
        for name, destination in registry().items()
        if destination.is_enabled() and (kind is None or kind in destination.kinds)
    ]


def told(deliveries: Sequence[Delivery]) -> list[Turn | ClientEvent | None]:
    """What each of these tells of; None where that, or its text, is gone. At most two queries."""
    turn_ids = {each.turn_id for each in deliveries if each.kind == Delivery.Kind.TURN}
    event_ids = {each.client_event_id for each in deliveries if each.kind == Delivery.Kind.ACTION}
    turns = Turn.objects.with_text()
    try:
        found = turns.in_bulk(turn_ids - {None})
    except UndecryptableError:
        # Each then says so for itself, when it is put into words.
        found = turns.without_texts().in_bulk(turn_ids - {None})
    events = ClientEvent.objects.select_related("turn").in_bulk(event_ids - {None})
    return [
        found.get(each.turn_id)
        if each.kind == Delivery.Kind.TURN
        else events.get(each.client_event_id)
        for each in deliveries
    ]


def pseudonym(owner_key: str) -> str:
    """A stable name for an owner that tells nothing about them; empty where there is none."""
    if not owner_key:
        return ""
    # With a key of its own, names outlive a change of the site's secret key.
    secret = conf().observability_pseudonym_key or None
    digest = salted_hmac("observability.owner", owner_key, secret=secret, algorithm="sha256")
    return digest.hexdigest()[:32]
