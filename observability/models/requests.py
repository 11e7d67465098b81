"""Every call to the chat endpoint, for a short while."""

from __future__ import annotations

from django.db import models
from django.db.models import F
from django.utils.translation import gettext_lazy as _

from .turns import ID_LENGTH


class EndpointRequest(models.Model):
    """One call to the chat endpoint, also one that never became a turn. No text, ever.

    Kept for days, not months: it answers "what did this visitor's browser just ask for?".
    """

    started_at = models.DateTimeField(_("started at"))
    operation = models.CharField(_("operation"), max_length=64, blank=True)
    """ChatKit's name of what was asked; empty where it could not be read."""
    status = models.PositiveSmallIntegerField(_("HTTP status"))
    error_code = models.CharField(_("error code"), max_length=ID_LENGTH, blank=True)
    total_ms = models.PositiveIntegerField(_("total (ms)"))
    """Until the answer ended, which for a stream is when its turn did."""
    tenant = models.CharField(_("tenant"), max_length=ID_LENGTH, blank=True)
    owner_key = models.CharField(_("owner"), max_length=ID_LENGTH, blank=True)
    """Empty for who was not let in."""
    thread_id = models.CharField(_("thread"), max_length=ID_LENGTH, blank=True)
    session_id = models.CharField(_("session"), max_length=ID_LENGTH, blank=True)
    request_id = models.CharField(_("request"), max_length=ID_LENGTH, blank=True)
    trace_id = models.CharField(_("trace"), max_length=32, blank=True)
    """Of the turn that answered it, where one did."""

    class Meta:
        verbose_name = _("request")
        verbose_name_plural = _("requests")
        ordering = ("-started_at", "-pk")
        indexes = (
            # The admin's list, and what is older than its retention.
            models.Index(F("started_at").desc(), F("id").desc(), name="request_newest"),
            models.Index("owner_key", F("started_at").desc(), name="request_owner"),
            models.Index("session_id", "started_at", name="request_session"),
            models.Index("thread_id", "started_at", name="request_thread"),
            models.Index("request_id", name="request_request"),
        )

    def __str__(self) -> str:
        return self.request_id or str(self.pk)
