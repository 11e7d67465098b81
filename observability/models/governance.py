"""Who read what, and what must be kept."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from .turns import ID_LENGTH, Turn


class ContentAccess(models.Model):
    """That somebody of the staff was shown what was said in a turn, or in a whole conversation.

    Nobody changes it.
    """

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        related_name="+",
        verbose_name=_("user"),
    )
    username = models.CharField(_("user name"), max_length=150)
    """As it was then: an account may go, what it did stays."""
    turn = models.ForeignKey(
        Turn, on_delete=models.SET_NULL, null=True, related_name="+", verbose_name=_("turn")
    )
    trace_id = models.CharField(_("trace"), max_length=32, blank=True)
    owner_key = models.CharField(_("owner"), max_length=ID_LENGTH, blank=True)
    path = models.CharField(_("path"), max_length=200)
    """Of the page that showed it."""
    accessed_at = models.DateTimeField(_("accessed at"), auto_now_add=True)

    class Meta:
        verbose_name = _("content access")
        verbose_name_plural = _("content accesses")
        ordering = ("-pk",)
        default_permissions = ()
        indexes = (models.Index("trace_id", name="content_access_trace"),)

    def __str__(self) -> str:
        return f"{self.username} {self.trace_id}"


class HoldQuerySet(models.QuerySet["Hold"]):
    def of_threads(self) -> HoldQuerySet:
        return self.filter(turn=None)


class Hold(models.Model):
    """Spares a turn, or a whole thread with its turns, from every purge until it is released.

    Releasing it deletes the row; the admin's log tells who did.
    """

    turn = models.ForeignKey(
        Turn,
        # A purge that forgets to look fails instead of deleting.
        on_delete=models.PROTECT,
        null=True,
        related_name="holds",
        verbose_name=_("turn"),
    )
    """None where it holds a thread."""
    tenant = models.CharField(_("tenant"), max_length=ID_LENGTH, blank=True)
    owner_key = models.CharField(_("owner"), max_length=ID_LENGTH, blank=True)
    thread_id = models.CharField(_("thread"), max_length=ID_LENGTH, blank=True)
    reason = models.CharField(_("reason"), max_length=200)
    placed_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        related_name="+",
        verbose_name=_("placed by"),
    )
    placed_at = models.DateTimeField(_("placed at"), auto_now_add=True)

    objects = HoldQuerySet.as_manager()

    class Meta:
        verbose_name = _("hold")
        verbose_name_plural = _("holds")
        ordering = ("-pk",)
        constraints = (
            models.CheckConstraint(
                condition=Q(turn__isnull=False, thread_id="") | (Q(turn=None) & ~Q(thread_id="")),
                name="observability_hold_of_one_thing",
            ),
            models.UniqueConstraint(
                fields=("turn",), condition=Q(turn__isnull=False), name="observability_hold_turn"
            ),
            models.UniqueConstraint(
                fields=("tenant", "owner_key", "thread_id"),
                condition=Q(turn=None),
                name="observability_hold_thread",
            ),
        )

    def __str__(self) -> str:
        return self.thread_id or str(self.turn_id)
