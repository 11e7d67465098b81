"""What is on its way to a collector."""

from __future__ import annotations

import uuid
from typing import Any

from django.db import connections, models, transaction
from django.db.models import F, Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from .client_events import ClientEvent
from .turns import ID_LENGTH, Turn


class DeliveryQuerySet(models.QuerySet["Delivery"]):
    def due(self) -> DeliveryQuerySet:
        """What may be claimed now: pending and available, or leased by a worker that died."""
        return self.filter(
            Q(state=Delivery.State.PENDING, available_at__lte=Now())
            | Q(state=Delivery.State.LEASED, lease_expires_at__lt=Now())
        )

    def outstanding(self) -> DeliveryQuerySet:
        return self.filter(state__in=(Delivery.State.PENDING, Delivery.State.LEASED))

    def leased_by(self, token: uuid.UUID) -> DeliveryQuerySet:
        return self.filter(state=Delivery.State.LEASED, lease_token=token)

    def change(self, **values: Any) -> int:
        """``update`` that never waits while it holds a row. ``values`` take a row out of these.

        PostgreSQL locks the rows of an update in any order and waits for each, so of two that have
        some rows in common one may end with an error, as a deadlock. So this takes at once what
        nobody else is writing, and then each of the others by itself.
        """
        if not connections[self.db].features.has_select_for_update_skip_locked:
            return self.update(**values)
        free = self.select_for_update(skip_locked=True).values("pk")
        with transaction.atomic():
            count = self.filter(pk__in=free).update(**values)
        for pk in self.values_list("pk", flat=True):
            count += self.filter(pk=pk).update(**values)
        return count

    def lock(self) -> None:
        """Lock these in the order of their keys, as all do who write many in one transaction."""
        if connections[self.db].features.has_select_for_update:
            list(self.order_by("pk").select_for_update().values_list("pk", flat=True))


class Delivery(models.Model):
    """One event on its way to an outside collector: a row of the outbox.

    It refers to the turn or the user action that it tells of; the payload is built when it is
    sent. Delivery is at least once: a collector drops a repeat by ``event_id``.
    """

    class State(models.TextChoices):
        PENDING = "pending", _("pending")
        LEASED = "leased", _("leased")
        DELIVERED = "delivered", _("delivered")
        DEAD = "dead", _("dead")
        """Given up, with the reason; an operator may send it again."""
        PURGED = "purged", _("purged")
        """What it told of was purged before it could be sent."""

    class Kind(models.TextChoices):
        TURN = "turn", _("turn")
        ACTION = "action", _("user action")

    destination = models.CharField(_("destination"), max_length=32)
    event_id = models.CharField(_("event"), max_length=ID_LENGTH)
    kind = models.CharField(_("kind"), max_length=8, choices=Kind.choices)
    turn = models.ForeignKey(
        Turn,
        on_delete=models.SET_NULL,
        null=True,
        related_name="deliveries",
        verbose_name=_("turn"),
    )
    client_event = models.ForeignKey(
        ClientEvent,
        on_delete=models.SET_NULL,
        null=True,
        related_name="deliveries",
        verbose_name=_("client event"),
    )
    state = models.CharField(_("state"), max_length=9, choices=State.choices, default=State.PENDING)
    created_at = models.DateTimeField(_("created at"), db_default=Now())
    available_at = models.DateTimeField(_("available at"), db_default=Now())
    attempts = models.PositiveIntegerField(_("attempts"), default=0)
    lease_token = models.UUIDField(_("lease token"), null=True)
    lease_expires_at = models.DateTimeField(_("lease expires at"), null=True)
    last_status = models.PositiveSmallIntegerField(_("last HTTP status"), null=True)
    last_error = models.CharField(_("last error"), max_length=200, blank=True)
    settled_at = models.DateTimeField(_("settled at"), null=True)

    objects = DeliveryQuerySet.as_manager()

    class Meta:
        verbose_name = _("delivery")
        verbose_name_plural = _("deliveries")
        ordering = ("-pk",)
        constraints = (
            models.UniqueConstraint(
                fields=("destination", "event_id"), name="observability_delivery_event_once"
            ),
            models.CheckConstraint(
                condition=(
                    Q(state="leased", lease_token__isnull=False, lease_expires_at__isnull=False)
                    | (~Q(state="leased") & Q(lease_token__isnull=True))
                ),
                name="observability_delivery_leased_has_lease",
            ),
        )
        indexes = (
            # outbox.claim: what is due, oldest first. By settled_at, since SQLite can't match a
            # condition on states, which come as parameters, with that of the index.
            models.Index(
                "destination",
                "available_at",
                "id",
                condition=Q(settled_at__isnull=True),
                name="delivery_due",
            ),
            # retention.delete_deliveries.
            models.Index(
                "settled_at",
                "id",
                condition=Q(settled_at__isnull=False),
                name="delivery_settled",
            ),
            # The admin's filter by state, newest first.
            models.Index("state", F("id").desc(), name="delivery_state"),
        )

    def __str__(self) -> str:
        return f"{self.destination} {self.event_id}"
