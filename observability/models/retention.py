"""That what is too old was retired, and what went."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _


class RetentionRunQuerySet(models.QuerySet["RetentionRun"]):
    def unfinished(self) -> RetentionRunQuerySet:
        return self.filter(finished_at=None)

    def abandoned(self) -> RetentionRunQuerySet:
        """Runs whose process no longer goes on with them."""
        return self.unfinished().filter(lease_expires_at__lt=Now())


class RetentionRun(models.Model):
    """One retirement of what is too old. The one that is unfinished belongs to who holds its lease.

    ``counts`` tells how much of what went, or had to stay.
    """

    started_at = models.DateTimeField(_("started at"), auto_now_add=True)
    finished_at = models.DateTimeField(_("finished at"), null=True)
    lease_token = models.UUIDField(_("lease token"))
    lease_expires_at = models.DateTimeField(_("lease expires at"))
    counts = models.JSONField(_("counts"), default=dict)
    error = models.CharField(_("error"), max_length=100, blank=True)
    """The kind of what broke it off."""

    objects = RetentionRunQuerySet.as_manager()

    class Meta:
        verbose_name = _("retention run")
        verbose_name_plural = _("retention runs")
        ordering = ("-pk",)
        default_permissions = ("view",)
        constraints = (
            models.UniqueConstraint(
                models.Value(1),
                condition=Q(finished_at=None),
                name="observability_one_retention_run",
            ),
        )

    def __str__(self) -> str:
        return f"{self.started_at:%Y-%m-%d %H:%M}"
