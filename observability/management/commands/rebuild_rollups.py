from __future__ import annotations

import argparse
from collections.abc import Iterator
from datetime import datetime, time
from itertools import groupby
from typing import Any

from django.core.management.base import (
    CommandError,
    CommandParser,
)
from django.utils import timezone
from django.utils.dateparse import parse_date
from tqdm import tqdm

from observability import rollups
from observability.management.base import INTERRUPTED, ExplainedCommand
from observability.models import Turn


class Command(ExplainedCommand):
    help = """\
Computes the rollups anew from the turns: the sums and percentiles of each hour and day that
the dashboard and the API tell. The server's workers keep them by themselves; this is for turns
that were brought in from elsewhere, changed by hand, or recorded where no worker ran.

Hours that are over and have turns are computed; an hour of which turns were deleted keeps the
figures that it has. It may run beside the server, be interrupted at any time and run again.

  rebuild_rollups                       of all turns
  rebuild_rollups --since 2026-03-01    of those from that day on
"""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--since",
            type=midnight,
            metavar="DATE",
            help="from this day of the site's time zone on, as YYYY-MM-DD (default: all turns)",
        )

    def handle(self, *, since: datetime | None, **options: Any) -> None:
        now = timezone.now()
        first = Turn.objects.order_by("started_at").values_list("started_at", flat=True).first()
        until = rollups.open_hour(now)
        since = max(filter(None, (first, since)), default=until)
        hours = days = kept = 0
        # In days, since nobody knows how many of the hours have turns.
        total = max(0, (until - since).days + 1)
        with tqdm(total=total, desc="Rolling up", unit=" days", disable=None) as bar:
            try:
                for day, of_day in self._by_day(since, until):
                    for hour in of_day:
                        if rollups.compute_hour(hour, timezone.now()):
                            hours += 1
                        else:
                            kept += 1
                    if rollups.day_after(day) <= until:
                        days += rollups.compute_day(day, timezone.now())
                    bar.update(max(0, (day - since).days + 1 - bar.n))
            except KeyboardInterrupt:
                bar.close()
                self._report("Computed so far", hours, days, kept)
                raise CommandError(
                    "Interrupted. Run it again to compute the rest.", returncode=INTERRUPTED
                ) from None
        self._report("Computed", hours, days, kept)

    def _by_day(
        self, since: datetime, until: datetime
    ) -> Iterator[tuple[datetime, Iterator[datetime]]]:
        return groupby(rollups.hours_with_turns(rollups.hour_of(since), until), rollups.day_of)

    def _report(self, what: str, hours: int, days: int, kept: int) -> None:
        self.stdout.write(f"{what}: {_count(hours, 'hour')} and {_count(days, 'day')}.")
        if kept:
            self.stdout.write(f"Left as they were: {_count(kept, 'hour')} with fewer turns now.")


def midnight(value: str) -> datetime:
    """The beginning of a day in the site's time zone."""
    try:
        date = parse_date(value)
    except ValueError:
        date = None
    if date is None:
        raise argparse.ArgumentTypeError(f"{value!r} is not a date such as 2026-03-01")
    return datetime.combine(date, time(), tzinfo=timezone.get_default_timezone())


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
