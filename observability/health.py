"""Is chat healthy right now? A verdict in words, with why."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import models
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from .display import age, milliseconds, number, percent
from .metrics import Outbox, Running
from .tallies import Figures

FAILING_RATE = 0.20
FAILING_ERRORS = 3
"""One error among three turns of a quiet night is no outage."""
WORRYING_RATE = 0.05
SLOW_TTFT_MS = 10_000
"""A visitor who has seen nothing for so long thinks that it is broken."""
SLOW_TURNS = 5
"""Of fewer turns, the slowest says nothing about the others."""
LATE = timedelta(minutes=15)
"""As long as the outbox waits at most between two attempts."""


class Health(models.TextChoices):
    GOOD = "good", gettext_lazy("Chat is healthy")
    WORRYING = "worrying", gettext_lazy("Chat works, but needs a look")
    FAILING = "failing", gettext_lazy("Chat is failing")
    QUIET = "quiet", gettext_lazy("Nobody is chatting")
    """No turns to judge by."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    health: Health
    reasons: tuple[str, ...]
    """What is wrong or, where nothing is, what was judged by."""


@dataclass(frozen=True, kw_only=True)
class Situation:
    """All that a verdict is about."""

    hour: Figures
    day: Figures
    running: Running
    outbox: Outbox
    forwards: bool
    """Whether any collector is configured."""
    now: datetime


def judge(situation: Situation) -> Verdict:
    """The last hour decides; the last 24 hours do where nothing has settled in it."""
    if situation.hour.settled:
        judged, when = situation.hour, _("in the last hour")
    else:
        judged, when = situation.day, _("in the last 24 hours")
    worries = [
        *_about_errors(judged, when),
        *_about_speed(judged, when),
        *_about_orphans(situation.running),
        *_about_outbox(situation),
    ]
    if (judged.error_rate or 0) >= FAILING_RATE and judged.errors >= FAILING_ERRORS:
        return Verdict(health=Health.FAILING, reasons=tuple(worries))
    if worries:
        return Verdict(health=Health.WORRYING, reasons=tuple(worries))
    if not judged.settled:
        return Verdict(health=Health.QUIET, reasons=(_("No turn has ended in the last 24 hours."),))
    return Verdict(health=Health.GOOD, reasons=tuple(_about_success(judged, when)))


def _about_errors(judged: Figures, when: str) -> Iterator[str]:
    if (judged.error_rate or 0) >= WORRYING_RATE:
        yield ngettext(
            "%(errors)s of %(settled)s turn %(when)s ended in an error: %(rate)s.",
            "%(errors)s of %(settled)s turns %(when)s ended in an error: %(rate)s.",
            judged.settled,
        ) % {
            "errors": number(judged.errors),
            "settled": number(judged.settled),
            "when": when,
            "rate": percent(judged.error_rate),
        }


def _about_speed(judged: Figures, when: str) -> Iterator[str]:
    if judged.settled >= SLOW_TURNS and (judged.ttft.p95 or 0) > SLOW_TTFT_MS:
        yield _("One visitor in twenty waited %(time)s or longer for the first word %(when)s.") % {
            "time": milliseconds(judged.ttft.p95),
            "when": when,
        }


def _about_orphans(running: Running) -> Iterator[str]:
    if running.orphaned:
        yield ngettext(
            "%(count)s running turn was left behind by its process and waits for the worker.",
            "%(count)s running turns were left behind by their process and wait for the worker.",
            running.orphaned,
        ) % {"count": number(running.orphaned)}


def _about_outbox(situation: Situation) -> Iterator[str]:
    outbox = situation.outbox
    if outbox.oldest_at is not None and situation.now - outbox.oldest_at > LATE:
        yield ngettext(
            "%(count)s delivery has been waiting to be sent for %(age)s.",
            "%(count)s deliveries are waiting to be sent, the oldest for %(age)s.",
            outbox.waiting,
        ) % {"count": number(outbox.waiting), "age": age(outbox.oldest_at, situation.now)}
        if not situation.forwards:
            yield _("Forwarding is off: no key of a collector is set.")
    if outbox.dead_lately:
        yield ngettext(
            "%(count)s delivery was given up in the last 24 hours.",
            "%(count)s deliveries were given up in the last 24 hours.",
            outbox.dead_lately,
        ) % {"count": number(outbox.dead_lately)}


def _about_success(judged: Figures, when: str) -> Iterator[str]:
    yield ngettext(
        "%(settled)s turn %(when)s, %(rate)s with an error.",
        "%(settled)s turns %(when)s, %(rate)s with an error.",
        judged.settled,
    ) % {
        "settled": number(judged.settled),
        "when": when,
        "rate": percent(judged.error_rate),
    }
    if judged.ttft.p50 is not None:
        yield _("Half of the visitors saw the first word within %(time)s.") % {
            "time": milliseconds(judged.ttft.p50)
        }
