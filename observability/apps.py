from __future__ import annotations

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class ObservabilityConfig(AppConfig):
    name = "observability"
    verbose_name = _("Observability")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from . import checks, requests, retention_job, rollups, worker  # noqa: F401

        worker.every(requests.FLUSH_INTERVAL, requests.flush, at_stop=True)
        worker.every(requests.PURGE_INTERVAL, requests.purge_old)
        worker.every(retention_job.INTERVAL, retention_job.tick)
        worker.every(rollups.INTERVAL, rollups.roll_up)
