from __future__ import annotations

from collections import Counter
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils.translation import gettext as _
from tqdm import tqdm

from observability import outbox
from observability.courier import Courier
from observability.models import Delivery


class Command(BaseCommand):
    help = (
        "Send the deliveries that are due to their collectors, in the foreground, and end: for "
        "cron, or for a host where the server's background thread can't run. It may run beside "
        "that thread and beside itself; nothing is sent twice while a lease holds. What a "
        "collector won't take now is left for a later run. The exit code is 0 when nothing is "
        "left undelivered, and 1 when something is."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        waiting = Delivery.objects.outstanding()
        courier = Courier()
        with tqdm(total=waiting.count(), desc=_("Forwarding"), unit="", disable=None) as bar:
            try:
                while courier.deliver():
                    bar.update(_settled(courier.outcomes) - bar.n)
                    # Once what still waits has been tried, the rest is for a later run.
                    retried = courier.outcomes[Delivery.State.PENDING]
                    if retried and retried >= waiting.count():
                        break
            finally:
                courier.close()
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
            raise CommandError(_("%s No collector is set up: set ANOSYS_API_KEY.") % summary)
        if left or outcomes[Delivery.State.DEAD]:
            raise CommandError(summary)
        self.stdout.write(summary)


def _settled(outcomes: Counter[Delivery.State]) -> int:
    return outcomes.total() - outcomes[Delivery.State.PENDING]
