"""The dashboard in Django's admin."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.test.utils import override_settings
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from observability import dashboard
from observability.metrics import Figures, Hour, Percentiles
from observability.models import Delivery, Turn
from tests.factories import make_delivery, make_operator, make_turn, make_user
from tests.pages import Page, html

DASHBOARD = "/admin/observability/dashboard/"


@pytest.fixture
def admin(client: Client, db: None) -> Client:
    """The browser of an operator who may do everything."""
    client.force_login(make_operator())
    return client


@pytest.fixture
def german() -> Iterator[None]:
    with override_settings(LANGUAGE_CODE="de", USE_THOUSAND_SEPARATOR=True):
        yield


def text(client: Client) -> str:
    return Page(html(client, DASHBOARD)).text


def hour(turns: int, errors: int = 0) -> Hour:
    unknown = Percentiles(p50=None, p95=None, p99=None)
    return Hour(
        starts_at=timezone.now(),
        figures=Figures(turns=turns, settled=turns, errors=errors, ttft=unknown, duration=unknown),
    )


def test_a_new_site_is_told_that_there_is_nothing_yet(admin: Client) -> None:
    shown = text(admin)
    assert "Nobody is chatting" in shown
    assert "There was no turn in the last 24 hours." in shown
    assert "Last 24 hours 0 0 — — — — — — —" in shown
    assert "Slowest" not in shown


def test_it_tells_the_last_hour_and_the_last_day_side_by_side(admin: Client) -> None:
    make_turn(ttft_ms=100, duration_ms=1_000)
    make_turn(ttft_ms=300, duration_ms=3_000)
    make_turn(status=Turn.Status.FAILED, ttft_ms=None, duration_ms=None, age=timedelta(hours=3))
    make_turn(age=timedelta(hours=25))
    shown = text(admin)
    assert "Chat is healthy 2 turns in the last hour, 0.0% with an error." in shown
    assert "Last hour 2 0 0.0% 200 ms 290 ms 298 ms 2.00 s 2.90 s 2.98 s" in shown
    assert "Last 24 hours 3 1 33.3% 200 ms" in shown


def test_it_tells_what_is_the_case_now(admin: Client) -> None:
    now = timezone.now()
    make_turn(status=Turn.Status.RUNNING)
    make_turn(status=Turn.Status.RUNNING, lease_expires_at=now - timedelta(minutes=1))
    make_delivery(created_at=now - timedelta(hours=2))
    make_delivery(state=Delivery.State.DEAD)
    make_delivery(state=Delivery.State.DELIVERED, settled_at=now - timedelta(minutes=5))
    shown = text(admin).replace("&nbsp;", " ").replace("\xa0", " ")
    assert "Running turns 2 1 left behind" in shown
    assert "Deliveries waiting 1 the oldest for 2 hours" in shown
    assert "Deliveries given up 1" in shown
    assert "Last successful delivery 5 minutes ago Forwarding is off." in shown


@override_settings(ANOSYS_API_KEY="a-key")
def test_it_does_not_say_that_forwarding_is_off_when_it_is_on(admin: Client) -> None:
    assert "Forwarding is off" not in text(admin)


def test_its_figures_lead_to_the_lists_that_they_count(admin: Client) -> None:
    make_turn(status=Turn.Status.RUNNING)
    make_turn(status=Turn.Status.FAILED)
    interrupted = make_turn(status=Turn.Status.INTERRUPTED)
    make_turn(status=Turn.Status.FAILED, age=timedelta(days=2))
    waiting = make_delivery()
    make_delivery(state=Delivery.State.DEAD)
    context = admin.get(DASHBOARD).context
    counts = [len(admin.get(tile.url).context["cl"].result_list) for tile in context["tiles"][:3]]
    assert counts == [1, 1, 1]
    assert list(admin.get(context["tiles"][1].url).context["cl"].result_list) == [waiting]
    errors = admin.get(context["failed_url"]).context["cl"].result_list
    assert len(errors) == 2
    assert interrupted in errors


def test_it_lists_errors_and_slow_turns_with_links(admin: Client) -> None:
    failed = make_turn(
        "Where is it?",
        user=make_user("vera"),
        status=Turn.Status.FAILED,
        error_code="model_error",
        error_message="Overloaded",
        total_ms=700,
    )
    make_turn("Explain it all", total_ms=9_000)
    response = admin.get(DASHBOARD)
    (row,) = response.context["failed"]
    assert (row.user, row.prompt, row.error) == ("vera", "Where is it?", "model_error: Overloaded")
    assert [row.total for row in response.context["slowest"]] == ["9.00 s", "700 ms"]
    assert f'href="/admin/observability/turn/{failed.pk}/change/"' in response.content.decode()


def test_its_chart_has_a_table_with_the_same_figures(admin: Client) -> None:
    now = timezone.now()
    make_turn(started_at=now, ttft_ms=250)
    make_turn(started_at=now, ttft_ms=None, status=Turn.Status.FAILED)
    shown = text(admin)
    assert "(not over yet) 2 1 250 ms" in shown
    assert "2 turns in the busiest hour" in shown


def test_the_bars_stand_on_the_ground_and_add_up() -> None:
    hours = [hour(0), hour(1), hour(600, 300), hour(600, 1), hour(3, 3)]
    none, one, half, few, all_failed = dashboard.bars(hours)
    assert (none.others_height, none.errors_height) == (0, 0)
    assert one.others_height >= 2  # What is there is seen, however little it is.
    assert (half.others_height, half.errors_height) == (60, 60)
    assert few.errors_height >= 2
    assert all_failed.others_height == 0
    for bar in (one, half, few, all_failed):
        assert bar.errors_y + bar.errors_height == bar.others_y
        assert bar.others_y + bar.others_height == dashboard.CHART_HEIGHT


@pytest.mark.usefixtures("german")
def test_the_chart_is_drawn_in_any_language(admin: Client) -> None:
    make_turn(status=Turn.Status.FAILED)
    page = admin.get(DASHBOARD).content.decode()
    chart = page.partition("<svg viewBox")[2].partition("</svg>")[0]
    drawn = re.findall(r' (?:x|x1|x2|y|y1|y2|width|height)="([^"]*)"', chart)
    assert drawn
    assert all(re.fullmatch(r"\d+", value) for value in drawn), drawn


def test_times_are_in_the_current_time_zone(admin: Client) -> None:
    turn = make_turn()
    with override_settings(TIME_ZONE="Asia/Tokyo"):
        shown = text(admin)
        here = timezone.localtime(turn.started_at)
    assert "All times are Asia/Tokyo." in shown
    assert f"{here:%H:%M:%S}" in shown


def test_it_takes_as_many_queries_for_many_turns_as_for_few(
    admin: Client, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    make_turn(user=make_user(), status=Turn.Status.FAILED)
    # Session, operator, the samples, two of running turns, three of the outbox, two lists.
    with django_assert_num_queries(10):
        text(admin)
    for number in range(30):
        make_delivery(make_turn(user=make_user(f"v{number}"), status=Turn.Status.FAILED))
    with django_assert_num_queries(10):
        text(admin)


def test_it_is_in_the_admins_index_for_who_may_see_turns(client: Client, db: None) -> None:
    client.force_login(make_operator("observability.view_turn"))
    page = client.get("/admin/").content.decode()
    assert f'href="{DASHBOARD}"' in page
    assert f"{DASHBOARD}add/" not in page
    response = client.get(DASHBOARD)
    assert response.status_code == 200
    assert [tile.url for tile in response.context["tiles"]][1:] == ["", "", ""]


def test_it_is_closed_to_others(client: Client, db: None) -> None:
    client.force_login(make_operator("observability.view_delivery"))
    assert client.get(DASHBOARD).status_code == 403
    assert DASHBOARD not in client.get("/admin/").content.decode()
    client.force_login(make_user())
    assert client.get(DASHBOARD).status_code == 302


@pytest.mark.parametrize("path", ["add/", "1/change/", "1/delete/", "1/history/"])
def test_it_has_no_rows_to_open(admin: Client, path: str) -> None:
    assert admin.get(DASHBOARD + path).status_code == 404


def test_it_does_not_write(admin: Client) -> None:
    turn = make_turn()
    data: dict[str, Any] = {"action": "delete_selected", "_selected_action": turn.pk}
    admin.post(DASHBOARD, {**data, "post": "yes"})
    assert Turn.objects.get() == turn
