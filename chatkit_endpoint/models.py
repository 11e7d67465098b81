"""Conversations, kept: ChatKit's threads, items and attachments."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from observability.encryption import EncryptedTextField
from observability.prepared import Param

if TYPE_CHECKING:
    from datetime import datetime

    from .context import RequestContext

ID_LENGTH = 128

OWNER: Any = SimpleNamespace(
    tenant=Param("tenant", models.CharField()), owner_key=Param("owner_key", models.CharField())
)
"""In place of a context where a statement is prepared: whoever :func:`owner_of` names then."""


def owner_of(context: RequestContext) -> dict[str, str]:
    """What a statement over OWNER is told."""
    return {"tenant": context.tenant, "owner_key": context.owner_key}


class ThreadQuerySet(models.QuerySet["Thread"]):
    def owned_by(self, context: RequestContext) -> ThreadQuerySet:
        """The one place where the isolation of threads is spelled."""
        return self.filter(tenant=context.tenant, owner_key=context.owner_key)

    def idle_since(self, moment: datetime) -> ThreadQuerySet:
        """Threads that nobody has written in since then."""
        return self.filter(updated_at__lt=moment)


class ThreadItemQuerySet(models.QuerySet["ThreadItem"]):
    def owned_by(self, context: RequestContext) -> ThreadItemQuerySet:
        """The one place where the isolation of items is spelled."""
        return self.filter(thread__tenant=context.tenant, thread__owner_key=context.owner_key)


class AttachmentQuerySet(models.QuerySet["Attachment"]):
    def owned_by(self, context: RequestContext) -> AttachmentQuerySet:
        """The one place where the isolation of attachments is spelled."""
        return self.filter(tenant=context.tenant, owner_key=context.owner_key)

    def loose(self) -> AttachmentQuerySet:
        """Attachments of no thread: not sent yet, or left by a purge that could not finish."""
        return self.filter(thread=None)


class Thread(models.Model):
    """A conversation. ``payload`` is ChatKit's own JSON, kept as it came; columns serve queries."""

    class Status(models.TextChoices):
        """What a thread may be, in ChatKit's words."""

        ACTIVE = "active", _("Active")
        LOCKED = "locked", _("Locked")
        CLOSED = "closed", _("Closed")

    key = models.CharField(_("thread"), max_length=ID_LENGTH, unique=True)
    """The id that ChatKit knows it by."""
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        # Not with the account: what goes with it, and what is on hold, is for a purge to know.
        on_delete=models.SET_NULL,
        null=True,
        related_name="+",
        verbose_name=_("user"),
    )
    tenant = models.CharField(_("tenant"), max_length=ID_LENGTH, blank=True)
    owner_key = models.CharField(_("owner"), max_length=ID_LENGTH)
    title = EncryptedTextField(_("title"), blank=True)
    status = models.CharField(
        _("status"), max_length=6, choices=Status.choices, default=Status.ACTIVE
    )
    """As the payload says; see :mod:`.thread_status`."""
    payload = EncryptedTextField(_("payload"))
    created_at = models.DateTimeField(_("created at"))
    updated_at = models.DateTimeField(_("last written at"))

    objects = ThreadQuerySet.as_manager()

    class Meta:
        verbose_name = _("thread")
        verbose_name_plural = _("threads")
        ordering = ("-pk",)
        indexes = (
            # Store.load_threads: an owner's history, by age.
            models.Index("tenant", "owner_key", F("id").desc(), name="thread_owner"),
            # ThreadQuerySet.idle_since, by purge_threads.
            models.Index("updated_at", name="thread_updated"),
            # The admin's list by status, the newest first.
            models.Index("status", F("id").desc(), name="thread_status"),
            # owners.owners_without_account: what a deleted account has left.
            models.Index("owner_key", condition=Q(user=None), name="thread_no_user"),
        )

    def __str__(self) -> str:
        return self.key


class ThreadItem(models.Model):
    """One entry of a thread. ``payload`` is ChatKit's own JSON, kept as it came."""

    thread = models.ForeignKey(
        Thread, on_delete=models.CASCADE, related_name="items", verbose_name=_("thread")
    )
    key = models.CharField(_("item"), max_length=ID_LENGTH)
    """The id that ChatKit knows it by, unique in its thread."""
    type = models.CharField(_("type"), max_length=64)
    payload = EncryptedTextField(_("payload"))
    created_at = models.DateTimeField(_("created at"))

    objects = ThreadItemQuerySet.as_manager()

    class Meta:
        verbose_name = _("item")
        verbose_name_plural = _("items")
        ordering = ("pk",)
        constraints = (models.UniqueConstraint(fields=("thread", "key"), name="chatkit_item_key"),)
        indexes = (
            # Store.load_thread_items: one page of a thread, in order.
            models.Index("thread", "id", name="item_order"),
        )

    def __str__(self) -> str:
        return self.key


class Attachment(models.Model):
    """A file of a visitor. ``payload`` is ChatKit's own JSON, kept as it came."""

    key = models.CharField(_("attachment"), max_length=ID_LENGTH, unique=True)
    """The id that ChatKit knows it by."""
    thread = models.ForeignKey(
        Thread,
        # Not with the row: only a purge deletes the file too, and it finds it by the row.
        on_delete=models.SET_NULL,
        null=True,
        related_name="attachments",
        verbose_name=_("thread"),
    )
    """None until the message that carries it is sent."""
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        related_name="+",
        verbose_name=_("user"),
    )
    tenant = models.CharField(_("tenant"), max_length=ID_LENGTH, blank=True)
    owner_key = models.CharField(_("owner"), max_length=ID_LENGTH)
    name = EncryptedTextField(_("name"))
    mime_type = models.CharField(_("type"), max_length=255)
    file = models.FileField(_("file"), upload_to="chatkit/%Y/%m", max_length=255, blank=True)
    payload = EncryptedTextField(_("payload"))
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)

    objects = AttachmentQuerySet.as_manager()

    class Meta:
        verbose_name = _("attachment")
        verbose_name_plural = _("attachments")
        ordering = ("-pk",)
        indexes = (
            models.Index("tenant", "owner_key", name="attachment_owner"),
            # owners.owners_without_account: what a deleted account has left.
            models.Index("owner_key", condition=Q(user=None), name="attachment_no_user"),
        )

    def __str__(self) -> str:
        return self.key


class RateBucket(models.Model):
    """How much of an allowance somebody has used up. See :mod:`chatkit_endpoint.limits`."""

    key = models.CharField(_("key"), max_length=64, unique=True)
    """A keyed hash of what is counted and for whom: no address is kept."""
    full_at = models.DateTimeField(_("full again at"))
    """When the whole allowance is there again; a row in the past says the same as none."""

    class Meta:
        default_permissions = ()
        verbose_name = _("rate bucket")
        verbose_name_plural = _("rate buckets")
        indexes = (
            # limits.forget: what is full again.
            models.Index("full_at", name="rate_bucket_full"),
        )

    def __str__(self) -> str:
        return self.key


class OpenStreamQuerySet(models.QuerySet["OpenStream"]):
    def owned_by(self, context: RequestContext) -> OpenStreamQuerySet:
        return self.filter(tenant=context.tenant, owner_key=context.owner_key)

    def expired(self) -> OpenStreamQuerySet:
        """Streams whose process died before it could close them."""
        return self.filter(lease_expires_at__lt=Now())


class OpenStream(models.Model):
    """A seat that an answer takes while it streams: each of an owner's has a number of its own."""

    tenant = models.CharField(_("tenant"), max_length=ID_LENGTH, blank=True)
    owner_key = models.CharField(_("owner"), max_length=ID_LENGTH)
    seat = models.PositiveSmallIntegerField(_("seat"))
    lease_expires_at = models.DateTimeField(_("lease expires at"))

    objects = OpenStreamQuerySet.as_manager()

    class Meta:
        default_permissions = ()
        verbose_name = _("open stream")
        verbose_name_plural = _("open streams")
        constraints = (
            models.UniqueConstraint(
                fields=("tenant", "owner_key", "seat"), name="chatkit_open_stream_seat"
            ),
        )
        indexes = (
            # OpenStreamQuerySet.expired, at each new stream.
            models.Index("lease_expires_at", name="open_stream_lease"),
        )

    def __str__(self) -> str:
        return f"{self.owner_key} {self.seat}"
