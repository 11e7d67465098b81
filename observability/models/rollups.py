"""What the turns of an hour or a day came to: small, and there when the turns are gone."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from .turns import ID_LENGTH


class RollupQuerySet(models.QuerySet["Rollup"]):
    def of_all(self) -> RollupQuerySet:
        """The rows that stand for every turn of their time."""
        return self.filter(dimension=Rollup.Dimension.ALL)


class Rollup(models.Model):
    """The turns that started in an hour, or in a day of the site's time zone, summed up: all of
    them, or those of one model, locale or user.

    ``sketches`` holds a mergeable :mod:`sketch <observability.sketch>` for each of the three times.
    """

    class Period(models.TextChoices):
        HOUR = "hour", _("hour")
        DAY = "day", _("day")

    class Dimension(models.TextChoices):
        ALL = "", _("all turns")
        MODEL = "model", _("model")
        LOCALE = "locale", _("locale")
        USER = "user", _("user")
        """By owner key; of each period only those with the most turns."""

    period = models.CharField(_("period"), max_length=4, choices=Period.choices)
    starts_at = models.DateTimeField(_("starts at"))
    dimension = models.CharField(
        _("dimension"), max_length=6, choices=Dimension.choices, default=Dimension.ALL, blank=True
    )
    value = models.CharField(_("value"), max_length=ID_LENGTH, blank=True)
    """The model, the locale or the owner key."""
    turns = models.PositiveIntegerField(_("turns"))
    settled = models.PositiveIntegerField(_("settled turns"))
    errors = models.PositiveIntegerField(_("errors"))
    cancelled = models.PositiveIntegerField(_("cancelled turns"))
    input_tokens = models.PositiveBigIntegerField(_("input tokens"))
    cached_tokens = models.PositiveBigIntegerField(_("cached tokens"))
    output_tokens = models.PositiveBigIntegerField(_("output tokens"))
    reasoning_tokens = models.PositiveBigIntegerField(_("reasoning tokens"))
    cost_usd = models.DecimalField(_("cost (USD)"), max_digits=14, decimal_places=6)
    """Of the turns whose cost is known."""
    priced = models.PositiveIntegerField(_("turns of known cost"))
    positive = models.PositiveIntegerField(_("positive feedback"))
    negative = models.PositiveIntegerField(_("negative feedback"))
    sketches = models.JSONField(_("sketches"), default=dict)
    computed_at = models.DateTimeField(_("computed at"))

    objects = RollupQuerySet.as_manager()

    class Meta:
        verbose_name = _("rollup")
        verbose_name_plural = _("rollups")
        default_permissions = ()
        constraints = (
            models.UniqueConstraint(
                fields=("period", "dimension", "starts_at", "value"),
                name="observability_rollup_once",
            ),
        )

    def __str__(self) -> str:
        return (
            f"{self.period} {self.starts_at:%Y-%m-%d %H:%M} {self.dimension} {self.value}".strip()
        )
