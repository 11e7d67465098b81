from __future__ import annotations

import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils.translation import gettext as _
from tqdm import tqdm

from observability import outbox
from observability.courier import Courier
from observability.management.base import INTERRUPTED
from observability.models import Delivery


class Command(BaseCommand):
    help = (
        "Send the deliveries that are due to their collectors, in the foreground, and end: for "
        "cron, or for a host where the server's background thread can't run. It may run beside "
        "that thread and beside itself; nothing is sent twice while a lease holds. What a "
        "collector won't take now is left for a later run. The exit code is 0 when nothing is "
        "left undelivered, and 1 when something is."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--retry-dead",
            action="store_true",
            help="first make deliveries that were given up due again, as if they were new",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["retry_dead"]:
            count = outbox.send_again(Delivery.objects.all())
            self.stdout.write(_("%(count)d that were given up are due again.") % {"count": count})
        waiting = Delivery.objects.outstanding()
        courier = Courier()
        with (
            _ending_on_ctrl_c(courier) as was_interrupted,
            tqdm(total=waiting.count(), desc=_("Forwarding"), unit="", disable=None) as bar,
        ):
            try:
                while courier.deliver():
                    bar.update(_settled(courier.outcomes) - bar.n)
                    # Once what still waits has been tried, the rest is for a later run.
                    retried = courier.outcomes[Delivery.State.PENDING]
                    if retried and retried >= waiting.count():
                        break
            finally:
                courier.close()
        if was_interrupted():
            sys.exit(INTERRUPTED)
        self._report(courier.outcomes, waiting.count())

    def _report(self, outcomes: Counter[Delivery.State], left: int) -> None:
        """Raises CommandError, for its exit code, where something was left undelivered."""
        summary = _(
            "%(delivered)d delivered, %(purged)d purged, %(dead)d given up, %(left)d left."
        ) % {
            "delivered": outcomes[Delivery.State.DELIVERED],
            "purged": outcomes[Delivery.State.PURGED],
            "dead": outcomes[Delivery.State.DEAD],
            "left": left,
        }
        if left and not outbox.enabled_destinations():
            raise CommandError(
                _("%s No collector is set up: set ANOSYS_API_KEY, or see docs/forwarding.md.")
                % summary
            )
        if left or outcomes[Delivery.State.DEAD]:
            raise CommandError(summary)
        self.stdout.write(summary)


@contextmanager
def _ending_on_ctrl_c(courier: Courier) -> Iterator[Callable[[], bool]]:
    """Have Ctrl-C stop the courier, and no exception: Python drops one that is raised in a callback
    of its own. Yields what tells whether that has happened.
    """
    interrupted = threading.Event()

    def stop(signal_number: int, frame: FrameType | None) -> None:
        interrupted.set()
        courier.stop_at(time.monotonic())

    if threading.current_thread() is not threading.main_thread():
        yield interrupted.is_set  # Only the main thread hears signals.
        return
    before = signal.signal(signal.SIGINT, stop)
    try:
        yield interrupted.is_set
    finally:
        signal.signal(signal.SIGINT, before)


def _settled(outcomes: Counter[Delivery.State]) -> int:
    return outcomes.total() - outcomes[Delivery.State.PENDING]
