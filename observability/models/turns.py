"""What a turn was: the trace, its lines, its steps, and what its visitor thought of it."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import F, Q
from django.db.models.functions import Now
from django.db.models.lookups import Lookup
from django.db.models.sql.compiler import SQLCompiler
from django.utils.translation import gettext_lazy as _

from .. import search
from ..database import storable
from ..encryption import EncryptedJSONField, EncryptedTextField
from ..identifiers import new_id

ID_LENGTH = 128
"""Room for the ids of any ChatKit server: ours have at most 37 characters."""
TEXTS = ("prompt", "response", "error_message")
"""The columns of a turn that hold what was said, or may quote it."""
FIGURES = (
    "ttfp_ms",
    "ttft_ms",
    "duration_ms",
    "total_ms",
    "client_ttft_ms",
    "client_duration_ms",
    "input_tokens",
    "cached_tokens",
    "output_tokens",
    "reasoning_tokens",
)
"""The columns of a turn that are whole numbers or unknown: milliseconds and tokens."""


FEW = 1_000
"""So many turns may be listed by their keys."""
NOWHERE = Q(pk__in=())
_ID = re.compile(r"[\w.:@/+=-]+")
USERS_ALIKE = 50
"""Of so many users at most a search by the beginning of a name shows turns."""


def new_trace_id() -> str:
    """32 hex digits: what OpenTelemetry and, behind ``trace_``, the Agents SDK call a trace id."""
    return new_id()


_NEWEST_FIRST = (F("started_at").desc(), F("id").desc())


class _IsError(Lookup):
    """Spelled like the condition of turn_errors, with which SQLite can match no parameters; and not
    as a list of what is wanted, for which it would sort what turn_status has of each.
    """

    prepare_rhs = False

    def as_sql(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper) -> tuple[str, Any]:
        status, parameters = self.process_lhs(compiler, connection)
        return f"NOT ({status} IN ('running', 'completed', 'cancelled'))", parameters


_IS_ERROR = _IsError(F("status"), True)


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

    def with_errors(self) -> TurnQuerySet:
        return self.filter(_IS_ERROR)

    def without_errors(self) -> TurnQuerySet:
        return self.exclude(_IS_ERROR)

    def slower_than(self, ms: int) -> TurnQuerySet:
        """Turns that took longer in all."""
        slow = Turn.objects.order_by().filter(total_ms__gt=ms)
        keys = list(slow.values_list("pk", flat=True)[: FEW + 1])
        # No database finds the newest of a few among a million by itself: SQLite does not know how
        # many there are. Beyond that they are soon met on the way from the newest turn back.
        return self.filter(pk__in=keys) if len(keys) <= FEW else self.filter(total_ms__gt=ms)

    def without_texts(self) -> TurnQuerySet:
        """For lists: the long columns stay where they are until somebody asks for them."""
        return self.defer(*TEXTS)

    def with_text(self) -> TurnQuerySet:
        """Turns whose text has not been purged."""
        return self.filter(text_purged_at=None)

    def search(self, text: str, *, with_content: bool, at_most: int | None = None) -> TurnQuerySet:
        """Turns with this id, else of the user of this name, else in which these words were said,
        else of users whose names begin so.

        Without ``with_content``, what was said is not looked at. ``at_most``: see
        :func:`search.words <observability.search.words>`.
        """
        text = storable(text).strip()
        if not text:
            return self
        # All ids have a digit or a mark; a word need not be looked for among them.
        if len(text) <= ID_LENGTH and _ID.fullmatch(text) and not text.isalpha():
            for column in ("trace_id", "thread_id", "session_id", "request_id", "owner_key"):
                if Turn.objects.filter(**{column: text}).exists():
                    return self.filter(**{column: text})
        users = get_user_model()._default_manager.order_by()
        name = users.model.USERNAME_FIELD
        if (user := users.filter(**{name: text}).first()) is not None:
            return self.filter(user=user)
        said = search.words(text, using=self.db, at_most=at_most) if with_content else NOWHERE
        alike = users.filter(**{f"{name}__startswith": text})[:USERS_ALIKE]
        if alike and not Turn.objects.filter(said).exists():
            return self.filter(user__in=[user.pk for user in alike])
        return self.filter(said)

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
        db_index=False,  # It begins turn_user.
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
    error_message = EncryptedTextField(_("error message"), blank=True)
    prompt = EncryptedTextField(_("prompt"), blank=True)
    response = EncryptedTextField(_("response"), blank=True)
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
            # The lists of turns: all of them, and by what they are narrowed to. In full order, or
            # SQLite would rather walk through all turns than sort a few.
            models.Index(*_NEWEST_FIRST, name="turn_newest"),
            models.Index("status", *_NEWEST_FIRST, "model", name="turn_status"),
            models.Index("feedback", *_NEWEST_FIRST, name="turn_feedback"),
            models.Index("model", *_NEWEST_FIRST, name="turn_model"),
            models.Index("locale", *_NEWEST_FIRST, name="turn_locale"),
            models.Index("operation", *_NEWEST_FIRST, name="turn_operation"),
            models.Index("tenant", *_NEWEST_FIRST, name="turn_tenant"),
            models.Index("user", *_NEWEST_FIRST, name="turn_user"),
            # "What went wrong for this user at this time?", and a user's purge.
            models.Index("owner_key", *_NEWEST_FIRST, name="turn_owner"),
            # TurnQuerySet.with_errors.
            models.Index(
                *_NEWEST_FIRST,
                condition=~Q(status__in=("running", "completed", "cancelled")),
                name="turn_errors",
            ),
            # The slowest turns of a time, and TurnQuerySet.slower_than.
            models.Index(F("total_ms").desc(), F("started_at").desc(), name="turn_slowest"),
            # The conversation so far, for the Anosys payload and a thread's purge.
            models.Index("thread_id", "started_at", name="turn_thread"),
            models.Index("session_id", "started_at", name="turn_session"),
            # From a log line to its turn.
            models.Index("request_id", name="turn_request"),
            # rollups: what has settled since they were last computed.
            models.Index("ended_at", name="turn_ended"),
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

    @property
    def is_error(self) -> bool:
        return self.status in ERRORS


ERRORS = (Turn.Status.FAILED, Turn.Status.INTERRUPTED)
"""What counts as an error. A visitor who stops an answer is none."""


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
    text = EncryptedTextField(_("text"))
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
    spans = EncryptedJSONField(_("spans"))

    class Meta:
        verbose_name = _("spans of a turn")
        verbose_name_plural = _("spans of turns")

    def __str__(self) -> str:
        return str(self.turn_id)


class TurnFact(models.Model):
    """Something that the site itself knows of a turn: a small value, or one of its own objects.

    See ``CHATKIT_TURN_CONTEXT``. It may tell who somebody is, so it goes with the turn's text.
    """

    turn = models.ForeignKey(
        Turn, on_delete=models.CASCADE, related_name="facts", verbose_name=_("turn")
    )
    key = models.CharField(_("key"), max_length=64)
    value = models.CharField(_("value"), max_length=200, blank=True)
    """The value or, of an object, how it calls itself."""
    object_model = models.CharField(_("model of the object"), max_length=100, blank=True)
    """Such as ``shop.order``; empty for a plain value."""
    object_id = models.CharField(_("object"), max_length=64, blank=True)

    class Meta:
        verbose_name = _("fact")
        verbose_name_plural = _("facts")
        ordering = ("turn_id", "pk")
        constraints = (
            models.UniqueConstraint(fields=("turn", "key"), name="observability_fact_once"),
        )
        indexes = (
            # The list of turns by fact.
            models.Index("key", "value", "turn", name="fact_value"),
            models.Index("key", "object_id", "turn", name="fact_object"),
        )

    def __str__(self) -> str:
        return self.key


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
        indexes = (
            # rollups: of which turns visitors have lately changed their mind.
            models.Index("updated_at", name="feedback_updated"),
        )

    def __str__(self) -> str:
        return f"{self.kind} {self.item_id}"

    @property
    def has_changed_mind(self) -> bool:
        return self.kind != self.first_kind


class Dashboard(Turn):
    """The page at ``/admin/observability/dashboard/``: a proxy, so that the admin guards it."""

    class Meta:
        proxy = True
        default_permissions = ()
        verbose_name = _("dashboard")
        verbose_name_plural = _("dashboard")
