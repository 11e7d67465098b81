"""What was retired, and when."""

from __future__ import annotations

from django.contrib import admin
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from ..admin_tools import ReadOnlyAdmin
from ..display import UNKNOWN, number, time_tag
from ..models import RetentionRun

_LABELS = {
    "threads": _("conversations"),
    "items": _("items"),
    "attachments": _("attachments"),
    "files": _("files"),
    "texts": _("texts of turns"),
    "records": _("records"),
    "traces": _("turns"),
    "client_events": _("client events"),
    "deliveries": _("deliveries"),
}


@admin.register(RetentionRun)
class RetentionRunAdmin(ReadOnlyAdmin):
    """The daily runs, the last one first."""

    list_display = ("shown_start", "shown_end", "shown_counts", "error")
    list_display_links = None

    @admin.display(description=_("started at"), ordering="started_at")
    def shown_start(self, run: RetentionRun) -> str:
        return time_tag(run.started_at)

    @admin.display(description=_("finished at"))
    def shown_end(self, run: RetentionRun) -> str:
        return time_tag(run.finished_at) if run.finished_at else gettext("goes on")

    @admin.display(description=_("deleted"))
    def shown_counts(self, run: RetentionRun) -> str:
        told = (f"{_LABELS.get(name, name)}: {number(n)}" for name, n in run.counts.items())
        return " · ".join(told) or UNKNOWN
