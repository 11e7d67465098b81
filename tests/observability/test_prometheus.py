"""``/metrics``: who may scrape it, what it counts, what it costs."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db.models.functions import Now
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families
from pytest_django import DjangoAssertNumQueries, Settings

from observability import prometheus
from observability.models import Delivery, Turn
from tests.factories import (
    make_delivery,
    make_message,
    make_operator,
    make_request,
    make_turn,
    make_user,
)
from tests.observability.helpers import run_python

pytestmark = pytest.mark.django_db

Samples = dict[tuple[str, tuple[str, ...]], float]


def scrape() -> Samples:
    """The samples by name and by the values of their labels, in the order of the labels' names."""
    text = prometheus.exposition(timezone.now()).decode()
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def total(samples: Samples, name: str) -> float:
    return sum(value for (sample, _), value in samples.items() if sample == name)


class TestAccess:
    @pytest.fixture
    def url(self) -> str:
        return reverse("observability-prometheus-metrics")

    def test_it_is_at_the_usual_place(self, url: str) -> None:
        assert url == "/metrics"

    def test_it_is_off_by_default_even_for_a_superuser(self, client: Client, url: str) -> None:
        client.force_login(make_operator())
        headers = {"Authorization": "Bearer "}
        assert client.get(url, headers=headers).status_code == 404

    def test_the_bearer_of_the_token_may(
        self, client: Client, url: str, settings: Settings
    ) -> None:
        settings.OBSERVABILITY_METRICS_TOKEN = "a-token"
        answer = client.get(url, headers={"Authorization": "Bearer a-token"})
        assert answer.status_code == 200
        assert answer["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        assert "no-store" in answer["Cache-Control"]
        assert b"# TYPE chatkit_recent_turns gauge" in answer.content

    @pytest.mark.parametrize(
        "value", ["", "Bearer", "Bearer ", "Bearer a-toke", "Bearer b", "Basic a-token", "a-token"]
    )
    def test_anything_else_may_not(
        self, client: Client, url: str, settings: Settings, value: str
    ) -> None:
        settings.OBSERVABILITY_METRICS_TOKEN = "a-token"
        client.force_login(make_operator())
        answer = client.get(url, headers={"Authorization": value})
        assert (answer.status_code, answer["WWW-Authenticate"]) == (401, "Bearer")
        assert answer.content == b""

    def test_staff_who_may_view_turns_may_where_it_is_switched_on(
        self, client: Client, url: str, settings: Settings
    ) -> None:
        settings.OBSERVABILITY_METRICS = True
        client.force_login(make_operator("observability.view_turn"))
        assert client.get(url).status_code == 200

    @pytest.mark.parametrize("permission", [None, "observability.view_delivery"])
    def test_others_may_not(
        self, client: Client, url: str, settings: Settings, permission: str | None
    ) -> None:
        settings.OBSERVABILITY_METRICS = True
        assert client.get(url).status_code == 401
        client.force_login(make_operator(permission) if permission else make_user())
        # With no token set, an empty one opens nothing.
        assert client.get(url, headers={"Authorization": "Bearer "}).status_code == 401

    def test_it_is_only_read(self, client: Client, url: str, settings: Settings) -> None:
        settings.OBSERVABILITY_METRICS_TOKEN = "a-token"
        assert client.post(url).status_code == 405


class TestTurns:
    def test_recent_turns_are_counted_by_status_and_model(self) -> None:
        for status in ("completed", "completed", "failed"):
            make_turn(status=status, model="gpt-5")
        make_turn(model="gpt-4")
        make_turn(status="running", model="")
        make_turn(model="gpt-5", age=timedelta(minutes=16))
        samples = scrape()
        assert samples["chatkit_recent_turns", ("gpt-5", "completed")] == 2
        assert samples["chatkit_recent_turns", ("gpt-5", "failed")] == 1
        assert samples["chatkit_recent_turns", ("gpt-4", "completed")] == 1
        assert samples["chatkit_recent_turns", ("gpt-4", "failed")] == 0
        assert samples["chatkit_recent_turns", ("unknown", "running")] == 1
        assert total(samples, "chatkit_recent_turns") == 5
        assert samples["chatkit_window_seconds", ()] == 900

    def test_running_turns_are_counted_however_old(self) -> None:
        make_turn(status="running", age=timedelta(hours=2))
        make_turn()
        assert scrape()["chatkit_turns_running", ()] == 1

    def test_tokens_and_cost(self) -> None:
        make_turn(model="m", input_tokens=10, cached_tokens=4, cost_usd=Decimal("0.25"))
        make_turn(model="m", input_tokens=5, output_tokens=7, cost_usd=Decimal("0.50"))
        make_turn(model="m")
        samples = scrape()
        assert samples["chatkit_recent_tokens", ("m", "input")] == 15
        assert samples["chatkit_recent_tokens", ("m", "cached")] == 4
        assert samples["chatkit_recent_tokens", ("m", "output")] == 7
        assert samples["chatkit_recent_tokens", ("m", "reasoning")] == 0
        assert samples["chatkit_recent_cost_usd", ("m",)] == 0.75

    def test_the_newest_twenty_models_have_names_and_the_others_are_counted_together(self) -> None:
        for number in range(23):
            make_turn(model=f"model-{number}", age=timedelta(seconds=number + 1))
        samples = scrape()
        models = {labels[0] for name, labels in samples if name == "chatkit_recent_turns"}
        assert models == {"other", *(f"model-{number}" for number in range(20))}
        assert samples["chatkit_recent_turns", ("other", "completed")] == 3

    @pytest.mark.parametrize(
        ("column", "name"),
        [
            ("ttfp_ms", "time_to_first_progress"),
            ("ttft_ms", "time_to_first_token"),
            ("duration_ms", "duration"),
            ("total_ms", "total"),
        ],
    )
    def test_times_are_histograms_in_seconds(self, column: str, name: str) -> None:
        for value in (100, 101, 900, 500_000, None):
            fields: dict[str, Any] = {column: value}
            make_turn(**fields)
        samples = scrape()
        metric = f"chatkit_recent_turn_{name}_seconds"
        bounds = ("0.1", "0.25", "0.5", "1.0", "120.0", "+Inf")
        assert [samples[f"{metric}_bucket", (bound,)] for bound in bounds] == [1, 2, 2, 3, 3, 4]
        assert samples[f"{metric}_gcount", ()] == 4
        assert samples[f"{metric}_gsum", ()] == pytest.approx(501.101)

    def test_beyond_its_bound_it_looks_at_fewer_minutes_and_says_so(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(prometheus, "TURNS_AT_MOST", 3)
        for minutes in range(1, 9):
            make_turn(age=timedelta(minutes=minutes))
        samples = scrape()
        assert total(samples, "chatkit_recent_turns") == 4
        assert samples["chatkit_window_seconds", ()] == pytest.approx(240, abs=30)


class TestOutbox:
    def test_its_depth_and_age_and_what_was_given_up_by_destination(self) -> None:
        make_delivery()
        make_delivery(state=Delivery.State.LEASED)
        for _ in range(3):
            make_delivery(state=Delivery.State.DEAD, settled_at=timezone.now())
        make_delivery(state=Delivery.State.DELIVERED, settled_at=timezone.now())
        make_delivery(destination="webhook")
        Delivery.objects.filter(state=Delivery.State.LEASED).update(
            created_at=Now() - timedelta(minutes=10)
        )
        samples = scrape()
        assert samples["chatkit_deliveries", ("anosys", "waiting")] == 2
        assert samples["chatkit_deliveries", ("anosys", "dead")] == 3
        assert samples["chatkit_deliveries", ("webhook", "waiting")] == 1
        assert samples["chatkit_deliveries", ("webhook", "dead")] == 0
        age = samples["chatkit_oldest_delivery_age_seconds", ("anosys",)]
        assert age == pytest.approx(600, abs=60)

    def test_a_destination_with_nothing_to_do_is_told_with_zeros(self, settings: Settings) -> None:
        settings.ANOSYS_API_KEY = "a-key"
        samples = scrape()
        assert samples["chatkit_deliveries", ("anosys", "waiting")] == 0
        assert samples["chatkit_oldest_delivery_age_seconds", ("anosys",)] == 0


class TestRequests:
    def test_recent_requests_are_counted_by_operation_and_kind_of_status(self) -> None:
        for status in (200, 202, 409, 429, 499, 500):
            make_request(operation="threads.create", status=status)
        make_request(operation="", status=401)
        make_request(operation="threads.list", age=timedelta(minutes=16))
        samples = scrape()
        assert samples["chatkit_requests", ("threads.create", "2xx")] == 2
        assert samples["chatkit_requests", ("threads.create", "4xx")] == 3
        assert samples["chatkit_requests", ("threads.create", "5xx")] == 1
        assert samples["chatkit_requests", ("unknown", "4xx")] == 1
        assert samples["chatkit_requests", ("unknown", "5xx")] == 0
        assert total(samples, "chatkit_requests") == 7

    def test_operations_that_are_too_many_are_counted_together(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(prometheus, "OPERATIONS_AT_MOST", 2)
        for count, operation in enumerate(("d", "c", "b", "a"), start=1):
            for _ in range(count):
                make_request(operation=operation)
        samples = scrape()
        shown = {labels for name, labels in samples if name == "chatkit_requests"}
        assert {operation for operation, _ in shown} == {"a", "b", "other"}
        assert samples["chatkit_requests", ("other", "2xx")] == 3

    def test_beyond_their_bound_the_window_is_shorter_for_all(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(prometheus, "REQUESTS_AT_MOST", 2)
        for minutes in range(1, 9):
            make_request(age=timedelta(minutes=minutes))
            make_turn(age=timedelta(minutes=minutes))
        samples = scrape()
        assert total(samples, "chatkit_requests") == 3
        assert total(samples, "chatkit_recent_turns") == 3
        assert samples["chatkit_window_seconds", ()] == pytest.approx(180, abs=30)


def test_an_empty_database_is_no_failure() -> None:
    samples = scrape()
    assert samples["chatkit_turns_running", ()] == 0
    assert samples["chatkit_recent_turn_total_seconds_gcount", ()] == 0


def test_it_takes_eight_queries_whatever_there_is(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    for number in range(30):
        make_delivery(make_turn(model=f"model-{number}"))
        make_request(operation=f"operation-{number}")
    with django_assert_num_queries(8):
        prometheus.exposition(timezone.now())


def test_nobody_s_text_or_id_is_in_it() -> None:
    user = make_user("canary-name")
    fields: dict[str, Any] = {
        name: f"canary-{name}"
        for name in ("thread_id", "session_id", "request_id", "tenant", "error_code")
    }
    turn = make_turn("canary-prompt", "canary-answer", user=user, status="failed", **fields)
    make_message(turn, turn.messages.model.Kind.THOUGHT, "canary-thought")
    make_delivery(turn, last_error="canary-error")
    text = prometheus.exposition(timezone.now()).decode()
    assert 'chatkit_recent_turns{model="unknown",status="failed"} 1.0' in text
    assert "canary" not in text
    assert turn.trace_id not in text


@pytest.mark.django_db(transaction=True)
def test_another_process_tells_the_same() -> None:
    make_turn(model="gpt-5", age=timedelta(minutes=1))
    Turn.objects.update(ttft_ms=700)
    printed = run_python(
        """
import django
django.setup()
from django.utils import timezone
from observability import prometheus
print(prometheus.exposition(timezone.now()).decode())
"""
    )
    ours = {key: value for key, value in scrape().items() if key[0].startswith("chatkit_recent")}
    theirs = {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(printed)
        for sample in family.samples
    }
    assert {key: theirs.get(key) for key in ours} == ours
    assert ours["chatkit_recent_turns", ("gpt-5", "completed")] == 1
