"""What a turn was: the trace, its lines, and what is on its way to a collector."""

from __future__ import annotations

import uuid
from datetime import timedelta

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

ID_LENGTH = 128
"""Room for the ids of any ChatKit server: ours have at most 37 characters."""


def new_trace_id() -> str:
    """32 hex digits: what OpenTelemetry and, behind ``trace_``, the Agents SDK call a trace id."""
    return uuid.uuid4().hex


class TurnQuerySet(models.QuerySet["Turn"]):
    def running(self) -> TurnQuerySet:
        """Turns that nobody has settled yet."""
        return self.filter(status=Turn.Status.RUNNING)

    def orphaned(self) -> TurnQuerySet:
        """Running turns whose process no longer renews their lease."""
        return self.running().filter(lease_expires_at__lt=Now())

    def of_owner(self, *, tenant: str, owner_key: str) -> TurnQuerySet:
        return self.filter(tenant=tenant, owner_key=owner_key)

    def of_thread(self, turn: Turn) -> TurnQuerySet:
        """The turns of the same conversation, oldest first."""
        return (
            self.of_owner(tenant=turn.tenant, owner_key=turn.owner_key)
            .filter(thread_id=turn.thread_id)
            .order_by("started_at", "pk")
        )

    def that_made(self, item_id: str) -> TurnQuerySet:
        """Turns that wrote this item of a thread, the latest first. Not those that it prompted."""
        messages = Message.objects.filter(item_id=item_id).exclude(kind=Message.Kind.PROMPT)
        return self.filter(pk__in=messages.values("turn")).order_by("-pk")

    def with_text(self) -> TurnQuerySet:
        """Turns whose text has not been purged."""
        return self.filter(text_purged_at=None)

    def renew_leases(self, seconds: int) -> int:
        """Say that these turns are still being worked on. Returns how many were."""
        return self.running().update(lease_expires_at=Now() + timedelta(seconds=seconds))


class Turn(models.Model):
    """One streaming request and all that the assistant did for it: one trace.

    Times are UTC; ``*_ms`` are whole milliseconds of a monotonic clock, null where unknown.
    """

    class Status(models.TextChoices):
        RUNNING = "running", _("running")
        COMPLETED = "completed", _("completed")
        FAILED = "failed", _("failed")
        CANCELLED = "cancelled", _("cancelled")
        """The visitor stopped it or went away."""
        INTERRUPTED = "interrupted", _("interrupted")
        """Its process died before it could settle."""

    class Feedback(models.TextChoices):
        NONE = "", _("none")
        POSITIVE = "positive", _("positive")
        NEGATIVE = "negative", _("negative")

    trace_id = models.CharField(
        _("trace"), max_length=32, unique=True, default=new_trace_id, editable=False
    )
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        related_name="+",
        verbose_name=_("user"),
    )
    owner_key = models.CharField(_("owner"), max_length=ID_LENGTH, blank=True)
    tenant = models.CharField(_("tenant"), max_length=ID_LENGTH, blank=True)
    session_id = models.CharField(_("session"), max_length=ID_LENGTH, blank=True)
    thread_id = models.CharField(_("thread"), max_length=ID_LENGTH, blank=True)
    request_id = models.CharField(_("request"), max_length=ID_LENGTH, blank=True)
    operation = models.CharField(_("operation"), max_length=64, blank=True)
    locale = models.CharField(_("locale"), max_length=35, blank=True)
    model = models.CharField(_("model"), max_length=ID_LENGTH, blank=True)
    status = models.CharField(
        _("status"), max_length=12, choices=Status.choices, default=Status.RUNNING
    )
    error_code = models.CharField(_("error code"), max_length=ID_LENGTH, blank=True)
    error_message = models.TextField(_("error message"), blank=True)
    prompt = models.TextField(_("prompt"), blank=True)
    response = models.TextField(_("response"), blank=True)
    started_at = models.DateTimeField(_("started at"))
    ended_at = models.DateTimeField(_("ended at"), null=True)
    lease_expires_at = models.DateTimeField(_("lease expires at"), null=True)
    superseded_by = models.ForeignKey(
        "self",
        on_delete=models.SET_NULL,
        null=True,
        related_name="supersedes",
        verbose_name=_("superseded by"),
    )
    """The turn that answered the same prompt anew."""
    text_purged_at = models.DateTimeField(_("text purged at"), null=True)
    ttfp_ms = models.PositiveIntegerField(_("time to first progress (ms)"), null=True)
    ttft_ms = models.PositiveIntegerField(_("time to first token (ms)"), null=True)
    duration_ms = models.PositiveIntegerField(_("duration (ms)"), null=True)
    total_ms = models.PositiveIntegerField(_("total (ms)"), null=True)
    client_ttft_ms = models.PositiveIntegerField(
        _("time to first token in the browser (ms)"), null=True
    )
    client_duration_ms = models.PositiveIntegerField(_("duration in the browser (ms)"), null=True)
    input_tokens = models.PositiveIntegerField(_("input tokens"), null=True)
    cached_tokens = models.PositiveIntegerField(_("cached tokens"), null=True)
    output_tokens = models.PositiveIntegerField(_("output tokens"), null=True)
    reasoning_tokens = models.PositiveIntegerField(_("reasoning tokens"), null=True)
    cost_usd = models.DecimalField(_("cost (USD)"), max_digits=12, decimal_places=6, null=True)
    feedback = models.CharField(
        _("feedback"), max_length=8, choices=Feedback.choices, default=Feedback.NONE, blank=True
    )

    objects = TurnQuerySet.as_manager()

    class Meta:
        verbose_name = _("turn")
        verbose_name_plural = _("turns")
        ordering = ("-started_at", "-pk")
        permissions = (("view_content", "Can read what was said in turns"),)
        constraints = (
            models.CheckConstraint(
                condition=~Q(status="running") | Q(lease_expires_at__isnull=False),
                name="observability_turn_running_has_lease",
            ),
        )
        indexes = (
            # The admin's list, in its order, all of it and by status.
            models.Index(F("started_at").desc(), F("id").desc(), name="turn_newest"),
            models.Index("status", F("started_at").desc(), name="turn_status"),
            # "What went wrong for this user at this time?", and a user's purge.
            models.Index("tenant", "owner_key", F("started_at").desc(), name="turn_owner"),
            # The conversation so far, for the Anosys payload and a thread's purge.
            models.Index("thread_id", "started_at", name="turn_thread"),
            models.Index("session_id", "started_at", name="turn_session"),
            # From a log line to its turn.
            models.Index("request_id", name="turn_request"),
            # TurnQuerySet.orphaned, by the sweeper.
            models.Index(
                "lease_expires_at", condition=Q(status="running"), name="turn_running_lease"
            ),
        )

    def __str__(self) -> str:
        return self.trace_id

    @property
    def is_text_purged(self) -> bool:
        return self.text_purged_at is not None


class Message(models.Model):
    """One line of a turn as a reader sees it."""

    class Kind(models.TextChoices):
        PROMPT = "prompt", _("prompt")
        RESPONSE = "response", _("response")
        THOUGHT = "thought", _("thought")

    turn = models.ForeignKey(
        Turn, on_delete=models.CASCADE, related_name="messages", verbose_name=_("turn")
    )
    position = models.PositiveIntegerField(_("position"))
    kind = models.CharField(_("kind"), max_length=8, choices=Kind.choices)
    item_id = models.CharField(_("item"), max_length=ID_LENGTH, blank=True)
    text = models.TextField(_("text"))
    created_at = models.DateTimeField(_("created at"))

    class Meta:
        verbose_name = _("message")
        verbose_name_plural = _("messages")
        ordering = ("turn_id", "position")
        constraints = (
            models.UniqueConstraint(
                fields=("turn", "position"), name="observability_message_position"
            ),
        )

    def __str__(self) -> str:
        return f"{self.kind} {self.item_id}"


class TurnSpans(models.Model):
    """The timed steps of a turn, all in one row: they are written once and read together.

    In a row of their own, so that no list of turns reads them. See :mod:`.span_log` for the shape.
    """

    turn = models.OneToOneField(
        Turn,
        on_delete=models.CASCADE,
        primary_key=True,
        related_name="span_row",
        verbose_name=_("turn"),
    )
    spans = models.JSONField(_("spans"))

    class Meta:
        verbose_name = _("spans of a turn")
        verbose_name_plural = _("spans of turns")

    def __str__(self) -> str:
        return str(self.turn_id)


class Feedback(models.Model):
    """What a visitor thinks of an item: the latest word, and the first."""

    class Kind(models.TextChoices):
        POSITIVE = "positive", _("positive")
        NEGATIVE = "negative", _("negative")

    turn = models.ForeignKey(
        Turn,
        on_delete=models.CASCADE,
        null=True,
        related_name="ratings",
        verbose_name=_("turn"),
    )
    """The turn that made the item, where that is known."""
    tenant = models.CharField(_("tenant"), max_length=ID_LENGTH, blank=True)
    owner_key = models.CharField(_("owner"), max_length=ID_LENGTH)
    thread_id = models.CharField(_("thread"), max_length=ID_LENGTH)
    item_id = models.CharField(_("item"), max_length=ID_LENGTH)
    kind = models.CharField(_("kind"), max_length=8, choices=Kind.choices)
    first_kind = models.CharField(_("at first"), max_length=8, choices=Kind.choices)
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)
    updated_at = models.DateTimeField(_("updated at"), auto_now=True)

    class Meta:
        verbose_name = _("feedback")
        verbose_name_plural = _("feedback")
        ordering = ("-updated_at", "-pk")
        constraints = (
            models.UniqueConstraint(
                fields=("tenant", "owner_key", "thread_id", "item_id"),
                name="observability_feedback_once_per_item",
            ),
        )

    def __str__(self) -> str:
        return f"{self.kind} {self.item_id}"

    @property
    def has_changed_mind(self) -> bool:
        return self.kind != self.first_kind


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
            # The admin's filter by state, newest first.
            models.Index("state", F("id").desc(), name="delivery_state"),
        )

    def __str__(self) -> str:
        return f"{self.destination} {self.event_id}"


class Dashboard(Turn):
    """The page at ``/admin/observability/dashboard/``: a proxy, so that the admin guards it."""

    class Meta:
        proxy = True
        default_permissions = ()
        verbose_name = _("dashboard")
        verbose_name_plural = _("dashboard")
