"""The dashboard in Django's admin."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client
from django.test.utils import override_settings
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from observability.models import Delivery, Turn
from observability.rollups import roll_up
from observability.trend_page import KEPT_SECONDS, kept_seconds
from observability.trends import Range
from tests.factories import make_delivery, make_operator, make_turn, make_user
from tests.pages import Page, html

DASHBOARD = "/admin/observability/dashboard/"
HOUR = timedelta(hours=1)
QUERIES = 19


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


def test_a_new_site_is_told_that_there_is_nothing_yet(admin: Client) -> None:
    shown = text(admin)
    assert "Nobody is chatting" in shown
    assert "There was no turn in this time." in shown
    assert "Last 60 minutes 0 0 — — — — — — — 0 0 — 0 0" in shown
    assert "Slowest" not in shown


def test_it_tells_the_last_minutes_the_last_hour_and_the_range(admin: Client) -> None:
    make_turn(age=timedelta(minutes=1), ttft_ms=100, duration_ms=1_000, input_tokens=7)
    make_turn(age=timedelta(minutes=30), ttft_ms=300, duration_ms=3_000, cost_usd="0.5")
    make_turn(status=Turn.Status.FAILED, ttft_ms=None, duration_ms=None, age=timedelta(hours=3))
    make_turn(age=timedelta(hours=25), feedback="positive")
    shown = text(admin)
    assert "Chat is healthy 2 turns in the last hour, 0.0% with an error." in shown
    assert re.search(r"Last 5 minutes 1 0 0.0% (\d+ ms ){3}(\d\.\d\d s ){3}7 0 — 0 0", shown)
    assert re.search(r"Last 60 minutes 2 0 0.0% .* 7 0 \$0.5000 0 0", shown)
    assert "All turns 3 1 33.3%" in shown
    assert "All turns 4 1 25.0%" in Page(html(admin, DASHBOARD, range="7d")).text


def test_it_tells_a_range_by_model_locale_and_user(admin: Client) -> None:
    vera = make_user("vera")
    make_turn(user=vera, model="gpt-<b>", locale="de")
    make_turn(owner_key="guest:1", model="", locale="en", age=timedelta(hours=3))
    response = admin.get(DASHBOARD)
    rows = {
        group.title: [(name, figures[0]) for name, url, figures in group.rows]
        for group in response.context["groups"]
    }
    assert rows == {
        "By model": [("—", "1"), ("gpt-<b>", "1")],
        "By locale": [("de", "1"), ("en", "1")],
        "By user": [("guest:1", "1"), ("vera", "1")],
    }
    page = response.content.decode()
    assert "gpt-&lt;b&gt;" in page
    assert f'href="/admin/observability/turn/owner/user:{vera.pk}/"' in page


@pytest.mark.parametrize("of", Range)
def test_the_range_is_chosen_by_a_link(admin: Client, of: Range) -> None:
    make_turn(age=timedelta(minutes=1))
    page = html(admin, DASHBOARD, range=of.value)
    marked = re.findall(r'<a href="(\?[^"]*)" aria-current="page">', page)
    assert marked == [f"?range={of.value}#obs-trends"]
    assert page.count('class="obs-svg"') == 3


@pytest.mark.parametrize("range_", ["", "nonsense", "2h"])
def test_an_unknown_range_is_a_day(admin: Client, range_: str) -> None:
    page = html(admin, DASHBOARD, range=range_)
    assert '<a href="?range=24h#obs-trends" aria-current="page">' in page


def test_outliers_are_marked(admin: Client) -> None:
    for number in range(30):
        make_turn(total_ms=1_000 + number)
    slow = make_turn(total_ms=60_000)
    response = admin.get(DASHBOARD)
    rows = response.context["slowest"]
    assert len(rows) == 10
    assert [row.pk for row in rows if row.is_outlier] == [slow.pk]
    assert "outlier" in response.content.decode()


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


def test_each_chart_has_a_label_and_a_table_with_the_same_figures(admin: Client) -> None:
    now = timezone.now()
    make_turn(started_at=now, input_tokens=1234)
    make_turn(started_at=now, status=Turn.Status.FAILED, ttft_ms=None)
    charts = {chart.title: chart for chart in admin.get(DASHBOARD).context["charts"]}
    assert [len(chart.rows) for chart in charts.values()] == [24, 24, 24]
    assert charts["Turns"].rows[-1] == (f"{now:%H}:00", ["2", "1", "50.0%", "0", "0"])
    assert charts["Tokens"].rows[-1][1] == ["1,234", "0", "—"]
    assert charts["Time to first token"].rows[0][1] == ["—"] * 6
    assert charts["Time to first token"].columns[4] == "Duration, p95"
    for chart in charts.values():
        label = f'aria-label="{chart.title}, 24 hours; a table with the figures follows."'
        assert label in chart.svg
    assert "(not over yet) 2 1" in text(admin)


def test_it_works_without_script_and_inline_style(admin: Client) -> None:
    make_turn()
    page = html(admin, DASHBOARD)
    main = page[page.index('class="obs-dashboard"') :]
    assert "<style" not in main
    assert " style=" not in main
    assert "<script" not in main[: main.index("obs-slowest")]


def test_huge_numbers_fit(admin: Client) -> None:
    make_turn(input_tokens=2**31 - 1, cost_usd="999999.999999", total_ms=2**31 - 1)
    make_turn(input_tokens=2**31 - 1, cost_usd="999999.999999")
    shown = text(admin)
    assert "4,294,967,294" in shown
    assert "$1,999,999.9999" in shown or "$2,000,000.0000" in shown


def test_what_no_worker_summed_up_is_told_to_be_missing(admin: Client) -> None:
    make_turn(age=timedelta(days=5))
    assert (
        "are not counted: no worker has summed them up"
        in Page(html(admin, DASHBOARD, range="7d")).text
    )
    assert "are not counted" not in text(admin)


@pytest.mark.usefixtures("german")
def test_it_is_drawn_in_any_language(admin: Client) -> None:
    make_turn(status=Turn.Status.FAILED, ttft_ms=1234)
    page = admin.get(DASHBOARD).content.decode()
    drawn = re.findall(r'<rect [^>]*(?:width|height)="([^"]*)"', page)
    assert drawn
    assert all(re.fullmatch(r"[\d.]+", value) for value in drawn), drawn


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
    make_turn(age=3 * HOUR)
    # Session, operator, seven of the trend, the last hour, two of running turns, three of the
    # outbox, names of users, three of the lists.
    roll_up()
    with django_assert_num_queries(QUERIES):
        text(admin)
    for number in range(30):
        user = make_user(f"v{number}")
        make_delivery(make_turn(user=user, status=Turn.Status.FAILED, age=number * HOUR))
    roll_up()
    cache.clear()
    with django_assert_num_queries(QUERIES):
        text(admin)


def test_what_it_tells_of_a_range_is_kept_for_some_seconds(
    admin: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_turn("The first")
    assert "All turns 1 " in text(admin)
    make_turn("The second", status=Turn.Status.FAILED)
    shown = text(admin)
    assert "All turns 1 " in shown
    assert "Last 60 minutes 2 1 " in shown
    assert "The second" in shown
    assert "All turns 2 " in Page(html(admin, DASHBOARD, range="7d")).text
    german = admin.get(DASHBOARD, headers={"Accept-Language": "de"}).content.decode()
    assert "Alle Runden 2 " in Page(german).text
    later = timezone.now() + timedelta(seconds=KEPT_SECONDS + 1)
    monkeypatch.setattr(timezone, "now", lambda: later)
    assert "All turns 2 " in text(admin)


def test_a_long_range_is_kept_longer_but_no_bar_is_far_behind() -> None:
    assert [round(kept_seconds(each)) for each in Range] == [20, 20, 60, 259, 778]


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
