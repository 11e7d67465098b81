"""The settings of this app, typed, in one place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from django.conf import settings
from django.core.signals import setting_changed

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

ConfT = TypeVar("ConfT", bound="DataclassInstance")


@dataclass(frozen=True, kw_only=True)
class Conf:
    """What ``settings`` say about traces; a field is the setting of its name in capitals."""

    observability_text: str = "full"
    """What traces keep of what was said: ``full``, ``redacted`` or ``none``. What the chat itself
    keeps of it, for its visitor to come back to, is not meant."""
    anosys_api_key: str = field(default="", repr=False)
    """Empty: no deliveries are made."""
    anosys_resolver_url: str = "https://console.anosys.ai/api/resolveapikeys"
    anosys_ingestion_url: str = field(default="", repr=False)
    """The ingestion URL itself, a credential; empty: resolved from the key."""
    anosys_text: str = "redacted"
    """What Anosys is told of what was said: ``full``, ``redacted`` or ``none``."""
    otel_exporter_otlp_endpoint: str = field(default="", repr=False)
    """Where turns go as OpenTelemetry spans, without ``/v1/traces``; empty: nowhere."""
    otel_exporter_otlp_headers: str = field(default="", repr=False)
    """For that: ``name=value,name=value``, URL-encoded. Credentials, as a rule."""
    observability_otlp_text: str = "none"
    """What goes there of what was said, and of what tools were handed and returned."""
    observability_webhook_url: str = field(default="", repr=False)
    """Where turns and user actions are posted as JSON, a credential; empty: nowhere."""
    observability_webhook_secret: str = field(default="", repr=False)
    """What those posts are signed with; without it there are none."""
    observability_webhook_text: str = "redacted"
    """What goes there of what was said."""
    observability_pseudonym_key: str = field(default="", repr=False)
    """What users' names outside are made with; empty: the site's secret key."""
    observability_metrics_token: str = field(default="", repr=False)
    """The bearer token that opens ``/metrics`` to Prometheus; empty: it opens to none."""
    observability_metrics: bool = False
    """Open ``/metrics`` to those of the staff who may view turns."""
    observability_encryption_keys: list[str] = field(default_factory=list, repr=False)
    """Fernet keys that what was said is encrypted with at rest: the first encrypts, all decrypt."""
    observability_export_to_openai: bool = False
    """Let the Agents SDK send its own traces to OpenAI too."""
    observability_prices: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Of models, by name: ``{"input": USD, "output": USD, "cached": USD}`` per million tokens."""
    observability_redactor: str = ""
    """Dotted path of a function ``(text) -> text``; empty: :func:`.redaction.redact`."""
    observability_span_sampling: float = 1.0
    """Of how many turns the spans are kept, 0 to 1; of those that failed always."""
    trace_retention_days: int = 0
    """After how many days turns are deleted, with all but their rollups; 0: never."""
    observability_event_retention_days: int = 90
    """The same of what browsers reported."""
    observability_delivery_retention_days: int = 30
    """The same of deliveries, counted from when they were settled."""
    observability_request_retention_days: int = 7
    """How long the list of requests goes back; 0: to the first."""
    observability_lease_seconds: int = 30
    """A running turn that was not renewed for so long belongs to a dead process."""
    observability_shutdown_seconds: float = 2.0
    """How long the worker may delay the end of its process."""


def until_settings_change(read: Callable[[], ConfT]) -> Callable[[], ConfT]:
    """Read settings once and not for every text and event; anew when a test changes one."""
    kept = cache(read)
    setting_changed.connect(lambda **_: kept.cache_clear(), weak=False)
    return kept


@until_settings_change
def conf() -> Conf:
    """The current settings."""
    return from_settings(Conf)


def from_settings(kind: type[ConfT]) -> ConfT:
    """A dataclass filled from the settings that bear its fields' names in capitals."""
    return kind(
        **{
            item.name: getattr(settings, item.name.upper())
            for item in fields(kind)
            if hasattr(settings, item.name.upper())
        }
    )
