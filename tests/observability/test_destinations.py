"""The registry: which destinations there are, which are on, and what each takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import pytest
from django.core.checks import CheckMessage
from django.db import transaction
from pytest_django import Settings

from observability import destinations, outbox
from observability.checks import check_forwarding, check_opentelemetry
from observability.courier import Courier
from observability.destinations import PURGED, Destination, Outcome, Verdict
from observability.models import ClientEvent, Delivery, Turn
from tests.factories import make_client_event
from tests.observability.helpers import make_turn

ALL_ON = {
    "ANOSYS_API_KEY": "a-key",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "https://collector.example",
    "OBSERVABILITY_WEBHOOK_URL": "https://hooks.example/in",
    "OBSERVABILITY_WEBHOOK_SECRET": "a-secret",
}


def configure(settings: Settings, values: dict[str, str]) -> None:
    for name, value in values.items():
        setattr(settings, name, value)


class Ledger(Destination):
    """As a site would write one: a class, and a line in the list."""

    name = "ledger"
    kinds = frozenset({Delivery.Kind.ACTION})
    told: ClassVar[list[str]] = []

    @staticmethod
    def is_enabled() -> bool:
        return True

    def is_ready(self) -> bool:
        return True

    def send(self, deliveries: Sequence[Delivery]) -> list[Outcome]:
        return [self.note(subject) for subject in destinations.told(deliveries)]

    def note(self, subject: Turn | ClientEvent | None) -> Outcome:
        if not isinstance(subject, ClientEvent):
            return PURGED
        self.told.append(subject.event_id)
        return Outcome(verdict=Verdict.DELIVERED)

    def cut_off(self, tick: float) -> None: ...

    def close(self) -> None: ...


class TestEnabled:
    def test_by_default_nothing_leaves(self) -> None:
        assert destinations.enabled() == []

    def test_each_is_switched_on_by_its_settings(self, settings: Settings) -> None:
        configure(settings, ALL_ON)
        assert destinations.enabled() == ["anosys", "otlp", "webhook"]

    def test_each_says_which_deliveries_it_takes(self, settings: Settings) -> None:
        configure(settings, ALL_ON)
        assert destinations.enabled(Delivery.Kind.TURN) == ["anosys", "otlp", "webhook"]
        assert destinations.enabled(Delivery.Kind.ACTION) == ["anosys", "webhook"]

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("OBSERVABILITY_WEBHOOK_SECRET", ""),
            ("OBSERVABILITY_WEBHOOK_URL", "hooks.example/in"),
            ("OBSERVABILITY_WEBHOOK_URL", "file:///etc/passwd"),
        ],
    )
    def test_a_webhook_needs_an_address_and_a_secret(
        self, settings: Settings, name: str, value: str
    ) -> None:
        configure(settings, ALL_ON)
        setattr(settings, name, value)
        assert "webhook" not in destinations.enabled()


@pytest.mark.django_db
class TestDeliveries:
    def test_a_turn_has_one_for_each_destination_in_one_query(
        self, settings: Settings, django_assert_num_queries
    ) -> None:
        configure(settings, ALL_ON)
        turn = make_turn()
        with django_assert_num_queries(1):
            outbox.enqueue_turn(turn)
        assert set(Delivery.objects.values_list("destination", "event_id")) == {
            ("anosys", turn.trace_id),
            ("otlp", turn.trace_id),
            ("webhook", turn.trace_id),
        }

    def test_an_action_has_none_where_it_is_not_taken(self, settings: Settings) -> None:
        configure(settings, ALL_ON)
        with transaction.atomic():
            outbox.enqueue_action(make_client_event())
        kinds = set(Delivery.objects.values_list("destination", "kind"))
        assert kinds == {("anosys", "action"), ("webhook", "action")}

    def test_adding_a_destination_is_a_class_and_a_line(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(destinations, "DESTINATIONS", (f"{__name__}.Ledger",))
        destinations.registry.cache_clear()
        try:
            event = make_client_event()
            outbox.enqueue_action(event)
            outbox.enqueue_turn(make_turn())
            courier = Courier()
            assert courier.deliver()
            courier.close()
        finally:
            destinations.registry.cache_clear()
        assert Ledger.told == [event.event_id]
        assert Delivery.objects.get().state == Delivery.State.DELIVERED


def ids(messages: list[CheckMessage]) -> list[str | None]:
    return [message.id for message in messages]


class TestChecks:
    @pytest.mark.parametrize(
        "name", ["ANOSYS_TEXT", "OBSERVABILITY_OTLP_TEXT", "OBSERVABILITY_WEBHOOK_TEXT"]
    )
    def test_a_level_of_text_that_is_none_is_an_error(self, settings: Settings, name: str) -> None:
        setattr(settings, name, "some")
        (error,) = [each for each in check_forwarding() if each.id == "observability.E005"]
        assert name in error.msg

    def test_that_nothing_leaves_is_said_only_while_nothing_does(self, settings: Settings) -> None:
        assert ids(check_forwarding()) == ["observability.I001"]
        settings.OTEL_EXPORTER_OTLP_ENDPOINT = "https://collector.example"
        assert ids(check_forwarding() + check_opentelemetry()) == []

    def test_a_webhook_without_a_secret_is_an_error(self, settings: Settings) -> None:
        configure(settings, ALL_ON)
        assert ids(check_forwarding()) == []
        settings.OBSERVABILITY_WEBHOOK_SECRET = ""
        assert ids(check_forwarding()) == ["observability.E002"]

    def test_a_webhook_in_the_clear_is_an_error_that_does_not_tell_the_address(
        self, settings: Settings
    ) -> None:
        configure(settings, ALL_ON)
        settings.OBSERVABILITY_WEBHOOK_URL = "http://hooks.example/s3cret"
        [message] = check_forwarding()
        assert message.id == "observability.E001"
        assert "s3cret" not in str(message)

    @pytest.mark.parametrize(
        ("endpoint", "expected"),
        [
            ("http://127.0.0.1:4318", []),
            ("https://collector.example:4318", []),
            ("http://collector:4318", ["observability.W002"]),
            ("collector:4318", ["observability.E003"]),
        ],
    )
    def test_an_otlp_endpoint_is_looked_at(
        self, settings: Settings, endpoint: str, expected: list[str]
    ) -> None:
        settings.OTEL_EXPORTER_OTLP_ENDPOINT = endpoint
        assert ids(check_opentelemetry()) == expected

    def test_an_otlp_endpoint_without_the_packages_is_an_error(
        self, settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("observability.otlp.is_installed", lambda: False)
        assert check_opentelemetry() == []
        settings.OTEL_EXPORTER_OTLP_ENDPOINT = "https://collector.example"
        assert ids(check_opentelemetry()) == ["observability.E004"]
