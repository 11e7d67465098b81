"""What browsers reported."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import F
from django.utils.translation import gettext_lazy as _

from .turns import ID_LENGTH, Turn, new_trace_id


class ClientEvent(models.Model):
    """What a browser reported: a ChatKit log, an error, a user action, a timing. No text, ever."""

    class Name(models.TextChoices):
        """The events that are kept; a browser may report nothing else."""

        READY = "chatkit.ready", _("chat is ready")
        ERROR = "chatkit.error", _("error")
        RESPONSE_START = "chatkit.response.start", _("response starts")
        RESPONSE_END = "chatkit.response.end", _("response ends")
        THREAD_CHANGE = "chatkit.thread.change", _("another thread")
        THREAD_LOAD_START = "chatkit.thread.load.start", _("thread loads")
        THREAD_LOAD_END = "chatkit.thread.load.end", _("thread is loaded")
        TOOL_CHANGE = "chatkit.tool.change", _("another tool")
        EFFECT = "chatkit.effect", _("effect")
        DEEPLINK = "chatkit.deeplink", _("deep link")
        HISTORY_OPEN = "chatkit.history.open", _("history opens")
        HISTORY_CLOSE = "chatkit.history.close", _("history closes")
        LOG = "chatkit.log", _("log")
        SUBMIT = "composer.submit", _("message sent")
        ACTION = "message.action", _("user action")
        FIRST_TEXT = "response.first_text", _("first text")
        TIMING = "client.timing", _("timing")
        FALLBACK = "client.fallback", _("built-in element instead of OpenAI’s")

    event_id = models.CharField(
        _("event"), max_length=32, unique=True, default=new_trace_id, editable=False
    )
    name = models.CharField(_("name"), max_length=32, choices=Name.choices)
    data = models.JSONField(_("data"), default=dict)
    """Ids, codes and numbers, by the names that :mod:`.client_events` allows."""
    dropped = models.JSONField(_("left out"), default=list)
    """The names of what the browser sent besides."""
    turn = models.ForeignKey(
        Turn,
        on_delete=models.CASCADE,
        null=True,
        related_name="client_events",
        verbose_name=_("turn"),
    )
    """The turn that it is about, where that is known."""
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        related_name="+",
        verbose_name=_("user"),
    )
    owner_key = models.CharField(_("owner"), max_length=ID_LENGTH)
    tenant = models.CharField(_("tenant"), max_length=ID_LENGTH, blank=True)
    session_id = models.CharField(_("session"), max_length=ID_LENGTH)
    thread_id = models.CharField(_("thread"), max_length=ID_LENGTH, blank=True)
    occurred_at = models.DateTimeField(_("occurred at"))
    """By the browser's clock."""
    received_at = models.DateTimeField(_("received at"))

    class Meta:
        verbose_name = _("client event")
        verbose_name_plural = _("client events")
        ordering = ("-received_at", "-pk")
        constraints = (
            # A batch whose answer was lost comes again.
            models.UniqueConstraint(
                fields=("tenant", "owner_key", "session_id", "name", "occurred_at"),
                name="observability_client_event_once",
            ),
        )
        indexes = (
            models.Index(F("received_at").desc(), F("id").desc(), name="client_event_newest"),
            models.Index("session_id", "occurred_at", name="client_event_session"),
        )

    def __str__(self) -> str:
        return f"{self.name} {self.event_id}"
