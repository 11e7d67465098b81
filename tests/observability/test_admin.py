"""Turns in Django's admin."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from observability.admin_tools import CappedPaginator, RecentValuesFilter
from observability.feedback import record_feedback
from observability.models import ERRORS, Delivery, Message, Turn, TurnSpans, turns
from observability.recorder import Identity
from tests.factories import (
    make_client_event,
    make_delivery,
    make_message,
    make_operator,
    make_turn,
    make_user,
)
from tests.pages import Page, html

pytestmark = pytest.mark.django_db

TURNS = "/admin/observability/turn/"
DELIVERIES = "/admin/observability/delivery/"

SPANS: list[dict[str, Any]] = [
    {
        "id": "request",
        "parent_id": "",
        "kind": "request",
        "name": "threads.create",
        "start_ms": 0,
        "duration_ms": 1_000,
        "error": {},
    },
    {
        "id": "s2",
        "parent_id": "s1",
        "kind": "tool",
        "name": "a_tool",
        "start_ms": 200.5,
        "duration_ms": 300,
        "error": {
            "type": "LookupError",
            "message": "no such zone",
            "where": "tools.py:12 in current_time",
        },
        "attributes": {"input": "Berlin"},
    },
    {
        "id": "s1",
        "parent_id": "request",
        "kind": "agent",
        "name": "an_agent",
        "start_ms": 100,
        "duration_ms": 800,
        "attributes": {"unfinished": True},
    },
]


@pytest.fixture
def admin(client: Client) -> Client:
    """The browser of an operator who may do everything."""
    client.force_login(make_operator())
    return client


def page_of(turn: Turn) -> str:
    return reverse("admin:observability_turn_change", args=(turn.pk,))


# -- the list of turns -----------------------------------------------------------------------------


def test_the_list_shows_a_turn_with_its_figures(admin: Client) -> None:
    make_turn(
        "What is new?",
        user=make_user("vera"),
        model="gpt-5-mini",
        ttft_ms=812,
        duration_ms=2_345,
        total_ms=3_157,
        input_tokens=1_204,
        output_tokens=56,
    )
    text = Page(html(admin, TURNS)).text
    for shown in ("vera", "What is new?", "completed", "gpt-5-mini", "812 ms", "2.35 s", "3.16 s"):
        assert shown in text
    assert "1,204 / 56" in text


def test_the_list_shows_what_is_unknown_as_unknown_and_not_as_zero(admin: Client) -> None:
    make_turn(status=Turn.Status.INTERRUPTED, ttft_ms=None, duration_ms=None, total_ms=None)
    page = html(admin, TURNS)
    for column in ("shown_ttft", "shown_duration", "shown_total", "shown_tokens", "shown_model"):
        assert f'<td class="field-{column}">—</td>' in page


def test_the_list_takes_as_many_queries_for_fifty_turns_as_for_two(
    admin: Client, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    for number in range(2):
        make_turn(user=make_user(f"visitor{number}"), thread_id=f"thr_{number}")
    # Session, operator, the count, the page, and the values of three filters.
    with django_assert_num_queries(7):
        html(admin, TURNS)
    for number in range(2, 50):
        make_turn(user=make_user(f"visitor{number}"), thread_id=f"thr_{number}")
    with django_assert_num_queries(7):
        html(admin, TURNS)


def test_the_list_does_not_read_the_long_texts(admin: Client) -> None:
    make_turn("p" * 5_000, "r" * 5_000)
    response = admin.get(TURNS)
    (turn,) = response.context["cl"].result_list
    assert turn.get_deferred_fields() == {"prompt", "response", "error_message"}
    assert "p" * 79 + "…" in response.content.decode()


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"status__exact": "failed"}, {"failed"}),
        ({"status__exact": ["failed", "interrupted"]}, {"failed", "interrupted"}),
        ({"model": "demo"}, {"interrupted"}),
        ({"locale": "de"}, {"failed"}),
        ({"operation": "threads.create"}, {"positive"}),
        ({"feedback__exact": "positive"}, {"positive"}),
        ({"feedback__exact": ""}, {"failed", "interrupted", "old"}),
        ({"thread_id": "thr_1"}, {"failed", "old"}),
        ({"session_id": "s-1"}, {"interrupted"}),
        ({"request_id": "r-1"}, {"positive"}),
        ({"owner_key": "guest:7"}, {"positive"}),
        ({"q": "LANDLORD"}, {"failed"}),
        ({"q": "heating noon"}, {"old"}),
        ({"q": "thr_1"}, {"failed", "old"}),
        ({"q": "s-1"}, {"interrupted"}),
        ({"q": "r-1"}, {"positive"}),
        ({"q": "yusuf"}, {"interrupted"}),
        ({"q": "nothing like it"}, set()),
    ],
)
def test_the_list_is_filtered_and_searched(
    admin: Client, query: dict[str, Any], found: set[str]
) -> None:
    failed, interrupted = Turn.Status.FAILED, Turn.Status.INTERRUPTED
    make_turn("failed: my landlord", "", status=failed, locale="de", thread_id="thr_1")
    make_turn(
        "interrupted: hello",
        user=make_user("yusuf"),
        status=interrupted,
        model="demo",
        session_id="s-1",
    )
    make_turn(
        "positive: hello",
        "hi",
        feedback="positive",
        operation="threads.create",
        request_id="r-1",
        owner_key="guest:7",
    )
    make_turn("old: the heating", "since noon", thread_id="thr_1", age=timedelta(days=40))
    response = admin.get(TURNS, query)
    assert {turn.prompt_start.partition(":")[0] for turn in response.context["cl"].result_list} == (
        found
    )


def test_the_list_is_narrowed_to_a_user_a_trace_and_a_time(admin: Client) -> None:
    vera = make_user("vera")
    mine = make_turn(user=vera)
    old = make_turn(user=vera, age=timedelta(days=2))
    make_turn(user=make_user("yusuf"))

    def found(**query: Any) -> set[Turn]:
        return set(admin.get(TURNS, query).context["cl"].result_list)

    assert found(user=vera.pk) == {mine, old}
    assert found(trace_id=old.trace_id) == {old}
    since = str(timezone.now() - timedelta(days=1))
    assert found(user=vera.pk, started_at__gte=since) == {mine}


def test_the_list_is_narrowed_to_a_time_from_to(admin: Client) -> None:
    for minute in (4, 5, 6):
        make_turn(f"at {minute}", started_at=datetime(2026, 3, 1, 14, minute, tzinfo=UTC))
    query = {"started_at__gte": "2026-03-01T14:05", "started_at__lt": "2026-03-01T14:06"}

    def found(**query: str) -> set[str]:
        turns = admin.get(TURNS, query).context["cl"].result_list
        return {turn.prompt_start for turn in turns}

    assert found(**query) == {"at 5"}
    # A field that is left empty says nothing.
    assert found(**{**query, "started_at__lt": ""}) == {"at 5", "at 6"}
    with timezone.override("Asia/Tokyo"):
        assert found(started_at__gte="2026-03-01T14:05") == {"at 4", "at 5", "at 6"}
    assert found(started_at__gte="2026-03-01T14:05:00+00:00") == {"at 5", "at 6"}


def test_the_form_of_the_time_keeps_what_else_narrows_the_list(admin: Client) -> None:
    make_turn()
    since = "2026-03-01T14:05"
    page = html(admin, TURNS, status__exact=["failed", "completed"], started_at__gte=since, p=1)
    form = page.partition('<form method="get" class="obs-range">')[2].partition("</form>")[0]
    for status in ("failed", "completed"):
        assert f'<input type="hidden" name="status__exact" value="{status}">' in form
    assert form.count('type="hidden"') == 2
    assert f'type="datetime-local" name="started_at__gte" value="{since}"' in form
    assert 'type="datetime-local" name="started_at__lt" value=""' in form


@pytest.mark.parametrize("time", ["yesterday", "2026-02-30", "\x00", "9" * 30])
def test_a_time_that_is_none_is_refused_without_an_error(admin: Client, time: str) -> None:
    assert admin.get(TURNS, {"started_at__gte": time}).status_code == 302


def test_the_list_counts_no_further_than_it_shows(
    admin: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CappedPaginator, "at_most", 3)
    for _ in range(3):
        make_turn()
    assert "There are more than these" not in html(admin, TURNS)
    make_turn()
    page = html(admin, TURNS)
    assert "There are more than these 3." in page
    assert admin.get(TURNS).context["cl"].result_count == 3


def test_only_what_an_index_orders_can_be_sorted_by(admin: Client) -> None:
    make_turn()
    page = html(admin, TURNS)
    assert re.findall(r'class="sortable[^"]*column-(\w+)', page) == ["shown_time"]


@pytest.mark.parametrize("few", [0, 1_000])
def test_the_list_is_narrowed_to_slower_turns(
    admin: Client, monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    monkeypatch.setattr(turns, "FEW", few)
    make_turn("quick", total_ms=1_000)
    make_turn("slow", total_ms=1_001)
    make_turn("unknown", total_ms=None)
    found = admin.get(TURNS, {"slower_than_ms": "1000"}).context["cl"].result_list
    assert [turn.prompt_start for turn in found] == ["slow"]


@pytest.mark.parametrize("status", Turn.Status.values)
def test_what_ended_in_an_error_is_told_apart(admin: Client, status: str) -> None:
    make_turn(status=status)
    for value, is_listed in (("yes", status in ERRORS), ("no", status not in ERRORS)):
        assert bool(admin.get(TURNS, {"has_error": value}).context["cl"].result_count) is is_listed


@pytest.mark.skipif(connection.vendor != "sqlite", reason="PostgreSQL decides by statistics")
@pytest.mark.parametrize(
    ("query", "index"),
    [
        ({}, "turn_newest"),
        ({"status__exact": "failed"}, "turn_status"),
        ({"has_error": "yes"}, "turn_errors"),
        ({"model": "demo"}, "turn_model"),
        ({"locale": "de"}, "turn_locale"),
        ({"operation": "threads.create"}, "turn_operation"),
        ({"feedback__exact": "negative"}, "turn_feedback"),
        ({"user": "1"}, "turn_user"),
        ({"owner_key": "guest:1"}, "turn_owner"),
        ({"started_at__gte": "2026-03-01", "started_at__lt": "2026-03-02"}, "turn_newest"),
        ({"status__exact": "failed", "started_at__gte": "2026-03-01"}, "turn_status"),
    ],
)
def test_the_list_is_read_in_the_order_of_an_index(
    admin: Client, query: dict[str, str], index: str
) -> None:
    plan = admin.get(TURNS, query).context["cl"].queryset.explain()
    assert f"INDEX {index}" in plan
    assert "TEMP B-TREE" not in plan


def test_a_search_takes_as_many_queries_for_many_turns_as_for_few(
    admin: Client, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    make_turn("apple")
    # Those of the list; two looks for a name, the keys of what is found, and the words: on
    # PostgreSQL after two looks at how many there may be.
    queries = 7 + 2 + 1 + (1 if connection.vendor == "sqlite" else 3)
    with django_assert_num_queries(queries):
        html(admin, TURNS, q='"apple"')
    for _ in range(20):
        make_turn("apple", user=make_user(f"visitor{_}"))
    with django_assert_num_queries(queries):
        html(admin, TURNS, q='"apple"')


def test_a_given_filter_is_shown_while_it_narrows_and_only_then(admin: Client) -> None:
    vera = make_user("vera")
    make_turn(user=vera, thread_id="thr_1")
    assert "By thread" not in html(admin, TURNS)
    page = html(admin, TURNS, thread_id="thr_1", user=vera.pk)
    assert "By thread" in page
    assert "By user" in page
    assert "Clear all filters" in page
    assert f'<a href="?user={vera.pk}">All</a>' in page


def test_the_filters_offer_what_the_newest_turns_have(
    admin: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RecentValuesFilter, "ROWS", 2)
    make_turn(model="old-model", age=timedelta(days=9))
    make_turn(model="new-model", locale="de")
    make_turn(model="", locale="de")
    page = html(admin, TURNS)
    assert '<a href="?model=new-model">new-model</a>' in page
    assert '<a href="?model=">—</a>' in page
    assert page.count('<a href="?locale=de">de</a>') == 1
    assert "?model=old-model" not in page
    # What is chosen stays in sight.
    assert '<a href="?model=old-model">old-model</a>' in html(admin, TURNS, model="old-model")


def test_a_filter_that_makes_no_sense_is_refused_without_an_error(admin: Client) -> None:
    response = admin.get(TURNS, {"user": "nobody"})
    assert response.status_code == 302
    assert admin.get(TURNS, {"user": "999"}).status_code == 200


def test_an_empty_list_says_why(admin: Client) -> None:
    assert "No turn has been recorded yet." in html(admin, TURNS)
    assert "Nothing matches." in html(admin, TURNS, q="landlord")
    assert "Nothing matches." in html(admin, TURNS, thread_id="thr_1")


# -- the page of a turn ----------------------------------------------------------------------------


def test_a_turn_reads_like_a_conversation(admin: Client) -> None:
    turn = make_turn("What time?", "Noon.", thought="Look at the clock.", user=make_user("vera"))
    page = html(admin, page_of(turn))
    positions = [page.index(text) for text in ("What time?", "Look at the clock.", "Noon.")]
    assert positions == sorted(positions)
    assert '<details class="obs-folded"><summary>Thought' in page
    assert 'name="_save"' not in page


def test_a_turn_shows_its_figures_and_what_is_unknown(admin: Client) -> None:
    turn = make_turn(
        ttfp_ms=150,
        ttft_ms=812,
        input_tokens=1_204,
        cached_tokens=1_000,
        output_tokens=56,
        reasoning_tokens=40,
    )
    assert admin.get(page_of(turn)).context["figures"] == [
        ("First progress", "150 ms", ""),
        ("First token", "812 ms", ""),
        ("Duration", "1.60 s", "from the first token"),
        ("Total", "2.00 s", ""),
        ("Tokens in", "1,204", "1,000 cached"),
        ("Tokens out", "56", "40 for thinking"),
        ("Cost", "—", ""),
    ]


def test_a_turn_shows_what_the_browser_measured_where_it_did(admin: Client) -> None:
    turn = make_turn(client_ttft_ms=900, client_duration_ms=1_700, cost_usd="0.0123")
    figures = admin.get(page_of(turn)).context["figures"]
    assert figures[-3:] == [
        ("Cost", "$0.0123", ""),
        ("First token", "900 ms", "in the browser"),
        ("Duration", "1.70 s", "in the browser"),
    ]


def test_the_ids_of_a_turn_link_to_the_turns_that_share_them(admin: Client) -> None:
    turn = make_turn(thread_id="thr_a&b", session_id="s-1", request_id="r-1")
    other = make_turn("other", thread_id="thr_a&b")
    page = html(admin, page_of(turn))
    for query in ("request_id=r-1", f"trace_id={turn.trace_id}"):
        assert f'href="{TURNS}?{query}"' in page
    for path in ("session/s-1/", "thread/thr_a&b/"):
        assert f'href="{TURNS}{path}"' in page.replace("&amp;", "&")
    found = admin.get(f"{TURNS}?thread_id=thr_a%26b").context["cl"].result_list
    assert set(found) == {turn, other}


def test_a_failed_turn_says_what_went_wrong_and_what_to_look_for_in_the_logs(
    admin: Client,
) -> None:
    turn = make_turn(
        "Hello?",
        "",
        status=Turn.Status.FAILED,
        error_code="model_error",
        error_message="The model is overloaded.",
        request_id="r-1",
    )
    text = Page(html(admin, page_of(turn))).text
    assert "This turn ended in an error: model_error" in text
    assert "The model is overloaded." in text
    assert "bears the id r-1" in text


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (Turn.Status.RUNNING, "The assistant is still answering."),
        (Turn.Status.CANCELLED, "The visitor stopped the answer or went away."),
        (Turn.Status.INTERRUPTED, "Its process ended before the answer did"),
    ],
)
def test_a_turn_that_did_not_complete_says_so(
    admin: Client, status: Turn.Status, said: str
) -> None:
    text = Page(html(admin, page_of(make_turn("Hello?", "", status=status)))).text
    assert said in text
    assert "Hello?" in text


def test_a_purged_turn_says_since_when_its_text_is_gone(admin: Client) -> None:
    turn = make_turn("", "", text_purged_at=timezone.now().replace(2026, 3, 10))
    assert "Text was purged on March 10, 2026" in html(admin, page_of(turn))
    assert "(purged)" in html(admin, TURNS)


def test_a_turn_leads_to_its_neighbours_in_the_thread(admin: Client) -> None:
    ages = {"first": 9, "second": 6, "third": 3}
    turns = {
        name: make_turn(name, thread_id="thr_1", age=timedelta(minutes=age))
        for name, age in ages.items()
    }
    make_turn("of somebody else", thread_id="thr_1", owner_key="guest:2", age=timedelta(minutes=7))

    def neighbours(name: str) -> dict[str, Any]:
        shown: dict[str, Any] = admin.get(page_of(turns[name])).context["neighbours"]
        return shown

    assert neighbours("first") == {"before": None, "after": (turns["second"].pk, "second")}
    assert neighbours("second") == {
        "before": (turns["first"].pk, "first"),
        "after": (turns["third"].pk, "third"),
    }


def test_turns_without_a_thread_are_no_neighbours(admin: Client) -> None:
    make_turn("before", age=timedelta(minutes=9))
    turn = make_turn("after")
    assert admin.get(page_of(turn)).context["neighbours"] == {}


def test_a_turn_shows_its_deliveries(admin: Client) -> None:
    turn = make_turn()
    assert "was sent to no collector" in html(admin, page_of(turn))
    delivery = make_delivery(
        turn, state=Delivery.State.DEAD, attempts=4, last_error="422: refused <b>"
    )
    page = html(admin, page_of(turn))
    assert reverse("admin:observability_delivery_change", args=(delivery.pk,)) in page
    text = Page(page).text
    assert "anosys dead" in text
    assert "4 attempts" in text
    assert "422: refused <b>" in text


def test_the_page_takes_as_many_queries_for_many_messages_as_for_few(
    admin: Client, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    turn = make_turn(user=make_user(), thread_id="thr_1")
    html(admin, page_of(turn))  # Content types are looked up once in a process.
    # Session, operator; turn, user, messages, spans, feedback, client events, deliveries,
    # two neighbours, facts, holds; who reads it is noted.
    with django_assert_num_queries(14):
        html(admin, page_of(turn))
    for _ in range(20):
        make_client_event(turn)
        make_message(turn, Message.Kind.RESPONSE, "And on.")
        make_delivery(turn, event_id=f"event {_}")
    with django_assert_num_queries(14):
        html(admin, page_of(turn))


def test_the_page_shows_what_the_visitor_thinks_and_thought_at_first(admin: Client) -> None:
    turn = make_turn()
    owner = Identity(owner_key=turn.owner_key)
    make_message(turn, Message.Kind.RESPONSE, "And on.")
    item_id = turn.messages.latest("position").item_id
    record_feedback(owner, turn.thread_id, [item_id], "positive")
    assert "at first" not in html(admin, page_of(turn))
    record_feedback(owner, turn.thread_id, [item_id], "negative")
    page = Page(html(admin, page_of(turn)))
    assert "negative at first positive" in page.text
    assert item_id in page.text
    listed = html(admin, TURNS, feedback__exact="negative")
    assert page_of(turn) in listed
    assert page_of(turn) not in html(admin, TURNS, feedback__exact="positive")


def test_the_page_shows_the_steps_and_what_failed_in_them(admin: Client) -> None:
    turn = make_turn(status=Turn.Status.FAILED, ttft_ms=500, total_ms=1_000)
    TurnSpans.objects.create(turn=turn, spans=SPANS)
    page = Page(html(admin, page_of(turn)))
    for shown in ("LookupError: no such zone", "tools.py:12 in current_time", "input: Berlin"):
        assert shown in page.text
    assert "The first token reached the visitor after 500 ms." in page.text
    names = [row["name"] for row in SPANS]
    places = [page.text.index(name, page.text.index("Steps")) for name in names]
    # The tree's order, and not that of the rows.
    assert sorted(places) == [places[0], places[2], places[1]]


def test_the_page_of_a_turn_without_spans_has_no_steps(admin: Client) -> None:
    assert "Steps" not in Page(html(admin, page_of(make_turn()))).text


def test_the_page_shows_what_the_browser_told(admin: Client) -> None:
    turn = make_turn(client_ttft_ms=431, client_duration_ms=1_700)
    make_client_event(
        turn, name="message.action", data={"action": "copy"}, dropped=["selectedText"]
    )
    text = Page(html(admin, page_of(turn))).text
    for shown in ("431 ms", "user action", "action: copy", "left out: selectedText"):
        assert shown in text


# -- client events ---------------------------------------------------------------------------------


def test_the_list_of_client_events_links_to_their_turns(admin: Client) -> None:
    turn = make_turn(user=make_user("vera"))
    event = make_client_event(turn, name="chatkit.error", data={"code": "network"})
    make_client_event(None, name="chatkit.ready")
    page = html(admin, "/admin/observability/clientevent/")
    assert page_of(turn) in page
    assert "code: network" in page
    opened = html(admin, f"/admin/observability/clientevent/{event.pk}/change/")
    assert event.event_id in opened


def test_the_list_of_client_events_takes_as_many_queries_for_many_as_for_few(
    admin: Client, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    url = "/admin/observability/clientevent/"
    make_client_event(make_turn())
    html(admin, url)
    with django_assert_num_queries(4):
        html(admin, url)
    for _ in range(10):
        make_client_event(make_turn(user=make_user(f"visitor{_}")))
    with django_assert_num_queries(4):
        html(admin, url)


# -- who may do what -------------------------------------------------------------------------------


def test_nobody_adds_changes_or_deletes_a_turn(admin: Client) -> None:
    turn = make_turn()
    assert admin.get(f"{TURNS}add/").status_code == 403
    assert admin.get(f"{TURNS}{turn.pk}/delete/").status_code == 403
    assert admin.post(page_of(turn), {"prompt": "changed"}).status_code == 403
    admin.post(TURNS, {"action": "delete_selected", "_selected_action": turn.pk, "post": "yes"})
    assert Turn.objects.get() == turn


def test_an_operator_needs_the_permission_to_see_turns(client: Client) -> None:
    turn = make_turn()
    client.force_login(make_operator("observability.view_delivery"))
    assert client.get(TURNS).status_code == 403
    assert client.get(page_of(turn)).status_code == 403
    client.force_login(make_operator("observability.view_turn", username="olga"))
    assert client.get(TURNS).status_code == 200
    assert client.get(page_of(turn)).status_code == 200


def test_a_visitor_sees_nothing_of_it(client: Client) -> None:
    client.force_login(make_user())
    assert client.get(TURNS).status_code == 302


def test_who_may_not_see_deliveries_gets_no_link_to_them(client: Client) -> None:
    turn = make_turn()
    make_delivery(turn)
    client.force_login(make_operator("observability.view_turn"))
    page = html(client, page_of(turn))
    assert "anosys" in page
    assert DELIVERIES not in page
