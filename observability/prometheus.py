"""The text that Prometheus scrapes, computed from the database: any process gives the same.

All of it are gauges of the last minutes and none are counters: a purge takes turns away, and a
counter in memory would be one process' own. Nobody's text or id is in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Count, F, Max, Min, Q, QuerySet, Sum
from django.http import Http404, HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.crypto import constant_time_compare
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeHistogramMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector

from . import destinations
from .conf import conf
from .governance import VIEW
from .models import Delivery, EndpointRequest, Turn

WINDOW = timedelta(minutes=15)
TURNS_AT_MOST = 5_000
REQUESTS_AT_MOST = 20_000
"""Where more than these started in it, the window is shorter, and says so."""
OPERATIONS_AT_MOST = 40
"""More than ChatKit has."""
MODELS_AT_MOST = 20
OTHER = "other"
"""What is told as the model of a turn whose model is none of the newest."""
UNKNOWN = "unknown"
BUCKETS_MS = (100, 250, 500, 1_000, 2_000, 3_000, 5_000, 10_000, 20_000, 30_000, 60_000, 120_000)

_TIMES = {
    "ttfp_ms": ("time_to_first_progress", "From the request to the first sign of work"),
    "ttft_ms": ("time_to_first_token", "From the request to the first text"),
    "duration_ms": ("duration", "From the first text to the end"),
    "total_ms": ("total", "From the request to the end"),
}
_TOKENS = {
    "input": "input_tokens",
    "cached": "cached_tokens",
    "output": "output_tokens",
    "reasoning": "reasoning_tokens",
}


@never_cache
@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """``/metrics``: for the bearer of the token, or for staff. Where neither is set up: 404."""
    settings = conf()
    if not settings.observability_metrics_token and not settings.observability_metrics:
        raise Http404
    if not (
        _bears(request, settings.observability_metrics_token)
        or (settings.observability_metrics and _may_view(request.user))
    ):
        return HttpResponse(status=401, headers={"WWW-Authenticate": "Bearer"})
    return HttpResponse(exposition(timezone.now()), content_type=CONTENT_TYPE_PLAIN_0_0_4)


def exposition(now: datetime) -> bytes:
    """The metrics as of ``now``, in Prometheus' text format."""
    registry = CollectorRegistry()
    registry.register(DatabaseCollector(now))
    return generate_latest(registry)


class DatabaseCollector(Collector):
    """Eight queries, each bounded by the window or by an index of what is not settled yet."""

    def __init__(self, now: datetime) -> None:
        self._now = now

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterator[Metric]:
        since = self._since()
        yield _gauge(
            "chatkit_window_seconds",
            "What “recent” means here: what started so many seconds ago or later",
            (self._now - since).total_seconds(),
        )
        recent = Turn.objects.filter(started_at__gte=since).order_by()
        yield from _by_model(recent)
        yield from _histograms(recent)
        running = Turn.objects.running().order_by().count()
        yield _gauge("chatkit_turns_running", "Turns that have not ended yet", running)
        yield _requests(EndpointRequest.objects.filter(started_at__gte=since).order_by())
        yield from self._outbox()

    def _since(self) -> datetime:
        turns, requests = Turn.objects.all(), EndpointRequest.objects.all()
        beyond = (_start(turns, TURNS_AT_MOST), _start(requests, REQUESTS_AT_MOST))
        return max((self._now - WINDOW, *filter(None, beyond)))

    def _outbox(self) -> Iterator[Metric]:
        per_destination = Delivery.objects.order_by().values("destination")
        waiting = {
            row["destination"]: row
            for row in per_destination.filter(settled_at=None).annotate(
                count=Count("pk"), oldest_at=Min("created_at")
            )
        }
        dead = {
            row["destination"]: row["count"]
            for row in per_destination.filter(state=Delivery.State.DEAD).annotate(count=Count("pk"))
        }
        deliveries = GaugeMetricFamily(
            "chatkit_deliveries", "Deliveries in the outbox", labels=("destination", "state")
        )
        age = GaugeMetricFamily(
            "chatkit_oldest_delivery_age_seconds",
            "For how long the oldest unsettled delivery has been waiting; 0 where none is",
            labels=("destination",),
        )
        # Those that are idle too: a series that comes and goes can't be watched.
        for name in sorted({*destinations.enabled(), *waiting, *dead}):
            row = waiting.get(name)
            deliveries.add_metric((name, "waiting"), row["count"] if row else 0)
            deliveries.add_metric((name, "dead"), dead.get(name, 0))
            seconds = (self._now - row["oldest_at"]).total_seconds() if row else 0.0
            age.add_metric((name,), max(0.0, seconds))
        yield deliveries
        yield age


def _start(rows: QuerySet[Any], number: int) -> datetime | None:
    """When the newest but so many started."""
    newest = rows.order_by("-started_at", "-pk").values_list("started_at", flat=True)
    start: datetime | None = newest[number : number + 1].first()
    return start


def _requests(recent: QuerySet[EndpointRequest]) -> Metric:
    grouped = recent.annotate(hundred=F("status") / 100).values("operation", "hundred")
    rows = grouped.annotate(count=Count("pk")).order_by("-count", "operation")
    operations: dict[str, str] = {}
    counts: dict[tuple[str, str], int] = {}
    for row in rows:
        name = row["operation"] or UNKNOWN
        name = operations.setdefault(name, name if len(operations) < OPERATIONS_AT_MOST else OTHER)
        key = (name, f"{row['hundred']}xx")
        counts[key] = counts.get(key, 0) + row["count"]
    # With their zeros: an alert on failures needs something to compare while there are none.
    for name in {*operations.values()}:
        counts = {(name, hundred): 0 for hundred in ("2xx", "4xx", "5xx")} | counts
    return _family(
        "chatkit_requests",
        "Recent requests to the endpoint, as far as they are written down; unknown: unreadable",
        ("operation", "status"),
        counts,
    )


def _by_model(recent: QuerySet[Turn]) -> Iterator[Metric]:
    sums = {f"{kind}_sum": Sum(column) for kind, column in _TOKENS.items()}
    grouped = recent.values("status", "model").annotate(
        count=Count("pk"), newest=Max("started_at"), cost=Sum("cost_usd"), **sums
    )
    rows: list[Any] = list(grouped)
    named = _newest_models(rows)
    turns: dict[tuple[str, str], int] = {}
    tokens: dict[tuple[str, str], int] = {}
    costs: dict[str, float] = {}
    for row in rows:
        model = (row["model"] or UNKNOWN) if row["model"] in named else OTHER
        key = (row["status"], model)
        turns[key] = turns.get(key, 0) + row["count"]
        for kind in _TOKENS:
            tokens[model, kind] = tokens.get((model, kind), 0) + (row[f"{kind}_sum"] or 0)
        costs[model] = costs.get(model, 0.0) + float(row["cost"] or 0)
    # With their zeros: an alert on failed turns needs something to compare while there are none.
    turns = {(status, model): 0 for status in Turn.Status.values for model in costs} | turns
    yield _family(
        "chatkit_recent_turns", "Recent turns, as they stand now", ("status", "model"), turns
    )
    yield _family(
        "chatkit_recent_tokens",
        "Tokens of recent turns, as far as known; input includes cached",
        ("model", "type"),
        tokens,
    )
    yield _family(
        "chatkit_recent_cost_usd",
        "Cost of recent turns, as far as known",
        ("model",),
        {(model,): cost for model, cost in costs.items()},
    )


def _newest_models(rows: list[Any]) -> list[str]:
    newest: dict[str, datetime] = {}
    for row in rows:
        seen = newest.get(row["model"], row["newest"])
        newest[row["model"]] = max(seen, row["newest"])
    return sorted(newest, key=lambda model: newest[model], reverse=True)[:MODELS_AT_MOST]


def _histograms(recent: QuerySet[Turn]) -> Iterator[Metric]:
    counted: dict[str, Any] = {}
    for column in _TIMES:
        for limit in BUCKETS_MS:
            counted[f"{column}_{limit}"] = Count("pk", filter=Q(**{f"{column}__lte": limit}))
        counted[f"{column}_count"] = Count(column)
        counted[f"{column}_sum"] = Sum(column)
    row = recent.aggregate(**counted)
    for column, (name, documentation) in _TIMES.items():
        buckets = [(str(limit / 1000), float(row[f"{column}_{limit}"])) for limit in BUCKETS_MS]
        buckets.append(("+Inf", float(row[f"{column}_count"])))
        yield GaugeHistogramMetricFamily(
            f"chatkit_recent_turn_{name}_seconds",
            f"{documentation}, of recent turns",
            buckets=buckets,
            gsum_value=(row[f"{column}_sum"] or 0) / 1000,
        )


def _gauge(name: str, documentation: str, value: float) -> Metric:
    return GaugeMetricFamily(name, documentation, value=value)


def _family(
    name: str, documentation: str, labels: tuple[str, ...], values: Mapping[Any, float]
) -> Metric:
    family = GaugeMetricFamily(name, documentation, labels=labels)
    for key, value in sorted(values.items()):
        family.add_metric(key, value)
    return family


def _bears(request: HttpRequest, token: str) -> bool:
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    return (
        bool(token) and scheme.lower() == "bearer" and constant_time_compare(given.strip(), token)
    )


def _may_view(user: Any) -> bool:
    return bool(user.is_active and user.is_staff and user.has_perm(VIEW))
