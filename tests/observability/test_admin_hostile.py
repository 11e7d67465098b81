"""Hostile text in Django's admin."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from observability.models import Delivery, Turn, TurnSpans
from tests.factories import make_client_event, make_delivery, make_operator, make_turn
from tests.pages import Page, html

pytestmark = pytest.mark.django_db

TURNS = "/admin/observability/turn/"
DELIVERIES = "/admin/observability/delivery/"
CLIENT_EVENTS = "/admin/observability/clientevent/"
HOSTILE = (
    "</p></div></details></textarea><script>alert(1)</script>"
    '"><img src=x onerror=alert(1)> javascript:alert(1) {{ 7|add:7 }} %s \u202egpj.exe\x07 '
)


@pytest.fixture
def admin(client: Client) -> Client:
    """The browser of an operator who may do everything."""
    client.force_login(make_operator())
    return client


SHARED_TEXTS = {
    "owner_key": 128,
    "tenant": 128,
    "session_id": 128,
    "thread_id": 128,
    "request_id": 128,
    "model": 128,
    "error_code": 128,
    "operation": 64,
    "locale": 35,
    "error_message": 500,
}


def hostile_span(text: str) -> dict[str, Any]:
    return {
        "id": text,
        "parent_id": "",
        "kind": text,
        "name": text,
        "start_ms": 0,
        "duration_ms": 1,
        "error": {"type": text, "message": text, "where": text},
        "attributes": {"input": text, "list": [text]},
    }


def pages_with(text: str) -> list[tuple[str, dict[str, Any]]]:
    """The pages of two turns and a delivery that have this text everywhere."""
    Turn.objects.all().delete()
    Delivery.objects.all().delete()
    user = User.objects.create(username=text[:150])
    # Without what ends a part of an address: such ids have no page of their own.
    shared: dict[str, Any] = {
        name: text[:length].replace("/", "|") for name, length in SHARED_TEXTS.items()
    }
    failed = Turn.Status.FAILED
    make_turn(text, text, user=user, age=timedelta(minutes=9), **shared)
    turn = make_turn(text, text, thought=text, user=user, status=failed, **shared)
    delivery = make_delivery(
        turn, state=Delivery.State.DEAD, last_error=text[:200], destination=text[:32]
    )
    TurnSpans.objects.create(turn=turn, spans=[hostile_span(text)])
    event = make_client_event(turn, data={text[:20]: text}, dropped=[text])
    given = {name: shared[name] for name in ("thread_id", "session_id", "owner_key")}
    return [
        (TURNS, {}),
        (TURNS, {"q": text[:20]}),
        (TURNS, {"user": user.pk, **given}),
        (TURNS, {"q": "nothing " + text}),
        (reverse("admin:observability_turn_change", args=(turn.pk,)), {}),
        (reverse("admin:observability_turn_thread", args=(turn.thread_id,)), {}),
        (reverse("admin:observability_turn_session", args=(turn.session_id,)), {}),
        (reverse("admin:observability_turn_owner", args=(turn.owner_key,)), {}),
        (CLIENT_EVENTS, {}),
        (reverse("admin:observability_clientevent_change", args=(event.pk,)), {}),
        (DELIVERIES, {}),
        (reverse("admin:observability_delivery_change", args=(delivery.pk,)), {}),
        ("/admin/observability/dashboard/", {}),
    ]


def test_no_text_adds_an_element_or_an_attribute_to_any_page(admin: Client) -> None:
    harmless = [Page(html(admin, url, **query)).elements for url, query in pages_with("harm " * 99)]
    for (url, query), expected in zip(pages_with(HOSTILE * 3), harmless, strict=True):
        assert Page(html(admin, url, **query)).elements == expected, url


def test_characters_that_turn_text_around_reach_no_page(admin: Client) -> None:
    pages = pages_with(HOSTILE)
    # A name from the settings, which the sidebar lists as it is.
    Delivery.objects.update(destination="anosys")
    for url, query in pages:
        if not query:  # The operator's own words come back to them.
            page = html(admin, url, **query)
            assert "\u202e" not in page, url
            assert "\x07" not in page, url
