"""The read API: turns, threads, sessions, figures; for the staff, with and without the texts."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.cache import cache
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries
from rest_framework.authtoken.models import Token

from observability.api import views
from observability.models import Turn
from observability.rollups import roll_up
from tests.factories import make_client_event, make_operator, make_turn, make_user

pytestmark = pytest.mark.django_db

API = "/observability/api/"
VIEW = "observability.view_turn"
VIEW_CONTENT = "observability.view_content"
PATHS = (
    "turns/",
    "turns/{turn.pk}/",
    "turns/{turn.trace_id}/",
    "threads/thr_1/",
    "sessions/session-1/",
    "metrics/",
    "schema/",
)


@pytest.fixture(autouse=True)
def _unthrottled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views, "RATE", None)


@pytest.fixture
def api(client: Client) -> Client:
    client.force_login(make_operator())
    return client


def get(client: Client, path: str, **query: Any) -> Any:
    response = client.get(API + path, query)
    assert response.status_code == 200, response.content
    return response.json()


def results(client: Client, **query: Any) -> list[int]:
    return [turn["id"] for turn in get(client, "turns/", **query)["results"]]


# -- who may read ----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PATHS)
def test_only_staff_with_the_permission_may_read(client: Client, path: str) -> None:
    turn = make_turn("Secret?", "Secret.", thread_id="thr_1", session_id="session-1")
    path = API + path.format(turn=turn)
    visitor = make_user("visitor", is_superuser=True)
    staff = make_operator("observability.view_delivery", username="staff")
    reader = make_operator(VIEW, username="reader")
    for user, status in ((None, 403), (visitor, 403), (staff, 403), (reader, 200)):
        client.logout()
        if user is not None:
            client.force_login(user)
        response = client.get(path)
        assert response.status_code == status, user
        assert b"Secret" not in response.content


@pytest.mark.parametrize("path", ["turns/", "turns/{turn.pk}/", "threads/thr_1/"])
def test_what_was_said_is_for_who_may_read_content(client: Client, path: str) -> None:
    turn = make_turn("Secret?", "Secret.", thread_id="thr_1", error_message="Secret!")
    client.force_login(make_operator(VIEW, VIEW_CONTENT))
    content = client.get(API + path.format(turn=turn)).content
    assert content.count(b"Secret") == (3 if path == "turns/" else 5)


def test_a_token_is_as_good_as_a_login(client: Client) -> None:
    user: User = make_operator(VIEW)
    token = Token.objects.create(user=user)
    answer = client.get(API + "turns/", headers={"Authorization": f"Token {token.key}"})
    assert answer.status_code == 200
    answer = client.get(API + "turns/", headers={"Authorization": "Token wrong"})
    assert answer.status_code == 403


def test_reading_is_throttled(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views, "RATE", "2/min")
    cache.clear()
    client.force_login(make_operator())
    assert [client.get(API + "turns/").status_code for _ in range(3)] == [200, 200, 429]


@pytest.mark.parametrize("method", ["post", "put", "patch", "delete"])
def test_nothing_can_be_changed(api: Client, method: str) -> None:
    turn = make_turn()
    assert getattr(api, method)(f"{API}turns/{turn.pk}/").status_code == 405


# -- what there is ---------------------------------------------------------------------------------


def test_a_turn_is_told_with_its_messages_and_client_events(api: Client) -> None:
    user = make_user("vera")
    turn = make_turn("Noon?", "Yes.", thought="A clock.", user=user, model="gpt-5-mini")
    make_client_event(turn, name="message.action", data={"action": "copy"})
    told = get(api, f"turns/{turn.trace_id}/")
    assert told == get(api, f"turns/{turn.pk}/")
    assert (told["trace_id"], told["user"], told["model"]) == (turn.trace_id, user.pk, "gpt-5-mini")
    assert (told["ttft_ms"], told["total_ms"], told["cost_usd"]) == (400, 2000, None)
    kinds = [(message["kind"], message["text"]) for message in told["messages"]]
    assert kinds == [("prompt", "Noon?"), ("thought", "A clock."), ("response", "Yes.")]
    (event,) = told["client_events"]
    assert (event["name"], event["data"]) == ("message.action", {"action": "copy"})


@pytest.mark.parametrize(
    "path",
    ["turns/0/", "turns/999999/", "turns/x/", "turns/9999999999999999999999/", "threads/none/"],
)
def test_what_is_not_there_is_not_found(api: Client, path: str) -> None:
    assert api.get(API + path).status_code == 404


def test_a_thread_and_a_session_are_told_from_their_beginning(api: Client) -> None:
    turns = [
        make_turn(
            f"{age}?", thread_id="thr_1", session_id=f"session-{age}", age=timedelta(hours=age)
        )
        for age in (3, 2, 1)
    ]
    told = get(api, "threads/thr_1/")["results"]
    assert [turn["id"] for turn in told] == [turn.pk for turn in turns]
    assert [turn["id"] for turn in get(api, "sessions/session-2/")["results"]] == [turns[1].pk]


def test_pages_follow_each_other_without_gap_or_repeat(api: Client) -> None:
    now = timezone.now()
    # Pairs that started at the same moment.
    turns = [make_turn(started_at=now - timedelta(minutes=number // 2)) for number in range(7)]
    seen: list[int] = []
    page = get(api, "turns/", page_size=3)
    while True:
        seen += [turn["id"] for turn in page["results"]]
        if page["next"] is None:
            break
        page = api.get(page["next"]).json()
    assert sorted(seen) == [turn.pk for turn in turns]
    assert len(seen) == 7


def test_lists_narrow_as_in_the_admin(api: Client) -> None:
    vera = make_user("vera")
    failed = make_turn(status=Turn.Status.FAILED, user=vera, age=timedelta(hours=1), total_ms=9_000)
    done = make_turn(model="gpt-5-mini", locale="de", thread_id="thr_2", age=timedelta(hours=2))
    bound = (timezone.now() - timedelta(minutes=90)).isoformat()
    for query, expected in (
        ({}, [failed, done]),
        ({"has_error": "true"}, [failed]),
        ({"has_error": "false"}, [done]),
        ({"status": "completed"}, [done]),
        ({"user": vera.pk}, [failed]),
        ({"model": "gpt-5-mini"}, [done]),
        ({"locale": "de", "thread_id": "thr_2"}, [done]),
        ({"since": bound}, [failed]),
        ({"until": bound}, [done]),
        ({"slower_than_ms": 2_000}, [failed]),
        ({"slower_than_ms": 9_000}, []),
    ):
        assert results(api, **query) == [turn.pk for turn in expected], query


@pytest.mark.parametrize(
    "query",
    [
        {"since": "yesterday"},
        {"status": "odd"},
        {"slower_than_ms": "x"},
        {"slower_than_ms": "1e400"},
        {"user": "x"},
    ],
)
def test_a_filter_that_makes_no_sense_is_refused(api: Client, query: dict[str, str]) -> None:
    assert api.get(API + "turns/", query).status_code == 400


def test_a_page_takes_as_many_queries_for_many_turns_as_for_few(
    api: Client, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    for path in ("turns/", "threads/thr_1/"):
        make_turn(thread_id="thr_1")
        expected = 4 if path == "turns/" else 8
        with django_assert_num_queries(expected):
            get(api, path)
        for _ in range(5):
            make_client_event(make_turn("?", "!", thread_id="thr_1"))
        with django_assert_num_queries(expected):
            get(api, path)


def test_the_figures_are_those_of_the_dashboard(api: Client) -> None:
    make_turn(ttft_ms=100, input_tokens=30, cost_usd="0.25", feedback="positive")
    make_turn(ttft_ms=300, status=Turn.Status.FAILED)
    make_turn(age=timedelta(hours=4))
    told = get(api, "metrics/", hours=2)
    assert (told["turns"], told["errors"], told["error_rate"]) == (2, 1, 0.5)
    assert told["ttft"] == pytest.approx({"p50": 200, "p95": 290, "p99": 298}, rel=0.02)
    assert (told["input_tokens"], told["cost_usd"], told["priced"]) == (30, "0.250000", 1)
    assert (told["positive"], told["negative"], told["gap"]) == (1, 0, None)
    assert (told["bars"], told["by"]) == ([], [])
    assert get(api, "metrics/")["turns"] == 3
    for refused in ({"hours": 0}, {"hours": 10**9}, {"range": "2h"}, {"by": "prompt"}):
        assert api.get(API + "metrics/", refused).status_code == 400


def test_figures_of_long_ago_come_from_rollups(api: Client) -> None:
    make_turn(age=timedelta(days=200))
    make_turn(age=timedelta(days=3))
    roll_up()
    Turn.objects.all().delete()
    assert get(api, "metrics/", hours=24 * 30)["turns"] == 1
    assert get(api, "metrics/", hours=24 * 365)["turns"] == 2


def test_a_range_is_told_bar_by_bar_and_by_model_locale_or_user(api: Client) -> None:
    make_turn(model="a", owner_key="user:7", age=timedelta(minutes=1))
    make_turn(model="b", locale="de", age=timedelta(minutes=1))
    make_turn(model="b", age=timedelta(minutes=2))
    for range_, bars in (("1h", 12), ("24h", 24), ("30d", 30), ("90d", 13)):
        told = get(api, "metrics/", range=range_, by="model")
        assert [len(told["bars"]), told["bars"][0]["starts_at"]] == [bars, told["since"]]
        assert sum(bar["figures"]["turns"] for bar in told["bars"]) == told["turns"]
        shares = [(share["value"], share["figures"]["turns"]) for share in told["by"]]
        assert shares == [("b", 2), ("a", 1)]
    assert {share["value"] for share in get(api, "metrics/", by="user")["by"]} == {
        "user:7",
        "guest:1",
    }
