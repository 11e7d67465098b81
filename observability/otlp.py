"""OTLP: turns as OpenTelemetry spans, over HTTP, to whatever store the operator runs.

From the stored turn through the outbox and not from memory: the official exporter's batch queue
drops what comes faster than it sends, and forgets with its process.
"""

from __future__ import annotations

import logging
from urllib.parse import unquote

from .collector import Collector
from .conf import conf
from .destinations import USER_AGENT, Outcome, Verdict
from .http_client import Answer, Post
from .models import ClientEvent, Delivery, Turn

logger = logging.getLogger(__name__)

PROTOBUF = "application/x-protobuf"


class OTLP(Collector[bytes]):
    """One turn is one request: a trace of at most ``SPANS_AT_MOST`` spans and its root."""

    name = "otlp"
    text_setting = "observability_otlp_text"
    kinds = frozenset({Delivery.Kind.TURN})
    retried = frozenset({429, 502, 503, 504})
    """By OTLP's word: after any other error the same must not be sent again."""

    def __init__(self) -> None:
        super().__init__()
        self._is_installed = is_installed()
        if not self._is_installed:
            logger.error("Deliveries to otlp wait: the extra [otel] is not installed.")

    @staticmethod
    def is_enabled() -> bool:
        return bool(conf().otel_exporter_otlp_endpoint)

    def is_ready(self) -> bool:
        return self._is_installed and super().is_ready()

    def worded(self, subject: Turn | ClientEvent) -> bytes:
        from . import otlp_spans

        if isinstance(subject, ClientEvent):
            raise TypeError("A user action is no trace.")
        return otlp_spans.export_request(subject, self.outgoing()).SerializeToString()

    def post_of(self, event: bytes) -> Post:
        settings = conf()
        headers = {
            "User-Agent": USER_AGENT,
            **parse_headers(settings.otel_exporter_otlp_headers),
            "Content-Type": PROTOBUF,
        }
        url = f"{settings.otel_exporter_otlp_endpoint.rstrip('/')}/v1/traces"
        return Post(url, event, headers)

    def accepted(self, answer: Answer) -> Outcome:
        """All of the trace, or all but some spans: those must not be sent again."""
        from . import otlp_spans

        rejected = 0
        if answer.headers.get("content-type", "").startswith(PROTOBUF):
            rejected = otlp_spans.rejected_spans(answer.body)
        error = f"{rejected} spans were rejected" if rejected else ""
        return Outcome(verdict=Verdict.DELIVERED, status=answer.status, error=error)


def is_installed() -> bool:
    """Whether OpenTelemetry's protobuf classes are here."""
    try:
        from . import otlp_spans  # noqa: F401
    except ImportError:
        return False
    return True


def parse_headers(value: str) -> dict[str, str]:
    """``OTEL_EXPORTER_OTLP_HEADERS``: ``name=value`` pairs with commas between, URL-encoded."""
    pairs = (pair.partition("=") for pair in value.split(","))
    return {unquote(name.strip()): unquote(text.strip()) for name, _, text in pairs if name.strip()}
