"""Deliveries in Django's admin."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from observability.models import Delivery
from tests.factories import make_delivery, make_operator, make_turn
from tests.pages import Page, html

pytestmark = pytest.mark.django_db

DELIVERIES = "/admin/observability/delivery/"


@pytest.fixture
def admin(client: Client) -> Client:
    """The browser of an operator who may do everything."""
    client.force_login(make_operator())
    return client


def test_an_empty_list_says_why(admin: Client) -> None:
    assert "There are no deliveries yet." in html(admin, DELIVERIES)


def test_the_list_of_deliveries_shows_how_each_is_doing(admin: Client) -> None:
    turn = make_turn()
    make_delivery(
        turn,
        state=Delivery.State.DEAD,
        attempts=3,
        last_status=422,
        last_error="the collector refuses it",
    )
    page = html(admin, DELIVERIES)
    assert reverse("admin:observability_turn_change", args=(turn.pk,)) in page
    text = Page(page).text
    for shown in ("anosys", "turn", turn.trace_id[:8], "dead", "422", "the collector refuses it"):
        assert shown in text


def test_deliveries_are_filtered_by_state_and_destination(admin: Client) -> None:
    dead = make_delivery(state=Delivery.State.DEAD)
    other = make_delivery(destination="otlp")
    for query, found in (({"state__exact": "dead"}, dead), ({"destination": "otlp"}, other)):
        assert list(admin.get(DELIVERIES, query).context["cl"].result_list) == [found]


def test_the_list_of_deliveries_takes_a_constant_number_of_queries_and_no_text(
    admin: Client, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    make_delivery(make_turn())
    # Session, operator, the count, the page, the destinations; the actions count nothing.
    with django_assert_num_queries(5) as queries:
        html(admin, DELIVERIES)
    assert not any('"observability_turn"."response"' in query["sql"] for query in queries)
    for _ in range(40):
        make_delivery(make_turn())
    with django_assert_num_queries(5):
        html(admin, DELIVERIES)


def send_again(client: Client, *deliveries: Delivery) -> str:
    response = client.post(
        DELIVERIES,
        {"action": "send_again", "_selected_action": [each.pk for each in deliveries]},
        follow=True,
    )
    return response.content.decode()


def test_what_was_given_up_can_be_sent_again_as_if_it_were_new(admin: Client) -> None:
    long_ago = timezone.now() - timedelta(days=9)
    dead = make_delivery(
        make_turn(),
        state=Delivery.State.DEAD,
        attempts=60,
        created_at=long_ago,
        available_at=long_ago,
        settled_at=long_ago,
    )
    assert "1 delivery will be sent again." in send_again(admin, dead)
    assert list(Delivery.objects.due()) == [dead]
    dead.refresh_from_db()
    assert (dead.attempts, dead.settled_at) == (0, None)
    # By its age it would be given up at the next failure.
    assert dead.created_at > timezone.now() - timedelta(minutes=1)


def test_only_what_was_given_up_is_sent_again(admin: Client) -> None:
    delivered = make_delivery(state=Delivery.State.DELIVERED)
    leased = make_delivery(state=Delivery.State.LEASED)
    assert "nothing to send again" in send_again(admin, delivered, leased)
    delivered.refresh_from_db()
    leased.refresh_from_db()
    assert delivered.state == Delivery.State.DELIVERED
    assert leased.state == Delivery.State.LEASED


def test_sending_again_needs_the_permission_to_change_deliveries(client: Client) -> None:
    dead = make_delivery(state=Delivery.State.DEAD)
    client.force_login(make_operator("observability.view_delivery"))
    send_again(client, dead)
    dead.refresh_from_db()
    assert dead.state == Delivery.State.DEAD
    client.force_login(
        make_operator(
            "observability.view_delivery", "observability.change_delivery", username="olga"
        )
    )
    send_again(client, dead)
    dead.refresh_from_db()
    assert dead.state == Delivery.State.PENDING


def test_a_delivery_is_read_and_not_written(admin: Client) -> None:
    delivery = make_delivery(make_turn())
    url = reverse("admin:observability_delivery_change", args=(delivery.pk,))
    assert delivery.event_id in html(admin, url)
    assert admin.post(url, {"state": "delivered"}).status_code == 403
    assert admin.get(f"{DELIVERIES}add/").status_code == 403
    assert admin.get(f"{DELIVERIES}{delivery.pk}/delete/").status_code == 403
