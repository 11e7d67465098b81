from __future__ import annotations

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class ChatKitEndpointConfig(AppConfig):
    name = "chatkit_endpoint"
    verbose_name = _("ChatKit")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from observability import recalls, retention_job, worker

        from . import checks, guests, storage_checks  # noqa: F401
        from .account_deletion import watch_accounts
        from .hosted_threads import POLL_SECONDS, read_due_threads
        from .limits import RENEWAL_INTERVAL, renew_seats
        from .recall import recall
        from .retention import SWEEP_INTERVAL, sweep_unsent
        from .scopes import ACCOUNTS_INTERVAL, retire, sweep_deleted_accounts

        watch_accounts()
        recalls.recall_with(recall)
        retention_job.register(retire)
        worker.every(RENEWAL_INTERVAL, renew_seats)
        worker.every(SWEEP_INTERVAL, sweep_unsent)
        worker.every(ACCOUNTS_INTERVAL, sweep_deleted_accounts)
        worker.every(POLL_SECONDS, read_due_threads)
