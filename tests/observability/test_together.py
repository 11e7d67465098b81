"""Threads, sessions and users end to end in the admin; the export of what a list shows."""

from __future__ import annotations

import csv
import io
import json
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from observability.export import BATCH
from observability.models import ContentAccess, Turn
from tests.factories import make_operator, make_turn, make_user
from tests.pages import Page, html

TURNS = "/admin/observability/turn/"
VIEW = "observability.view_turn"


@pytest.fixture
def admin(client: Client, db: None) -> Client:
    client.force_login(make_operator())
    return client


def hours_ago(hours: int, **fields: Any) -> Turn:
    return make_turn(f"Question {hours}", f"Answer {hours}", age=timedelta(hours=hours), **fields)


def names(admin: Client, **query: Any) -> set[str]:
    return {turn.prompt_start for turn in admin.get(TURNS, query).context["cl"].result_list}


# -- pages -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", ["thread/thr_1/", "session/session-1/"])
def test_a_conversation_reads_from_its_beginning_with_its_totals(admin: Client, page: str) -> None:
    both = {"thread_id": "thr_1", "session_id": "session-1"}
    hours_ago(2, **both, status=Turn.Status.FAILED, input_tokens=1_000, cost_usd=Decimal("0.5"))
    hours_ago(3, **both, input_tokens=234, cost_usd=Decimal("0.25"))
    hours_ago(1, thread_id="thr_2", session_id="session-2")
    content = html(admin, TURNS + page)
    text = Page(content).text
    assert '">' not in text, "What is markup has got into an attribute."
    places = [text.index(words) for words in ("Question 3", "Answer 3", "Question 2", "Answer 2")]
    assert places == sorted(places)
    assert "Question 1" not in text
    for shown in ("Turns 2", "Errors 1", "1,234", "$0.7500"):
        assert shown in text


def test_a_user_has_their_sessions_errors_and_cost(admin: Client) -> None:
    vera = make_user("vera")
    hours_ago(2, user=vera, session_id="session-1", cost_usd=Decimal("0.5"))
    hours_ago(1, user=vera, session_id="session-2", status=Turn.Status.FAILED)
    hours_ago(1, session_id="session-3")
    page = html(admin, f"{TURNS}owner/user:{vera.pk}/")
    text = Page(page).text
    for shown in ("User vera", "session-1", "session-2", "$0.5000", "Errors 1"):
        assert shown in text
    assert "session-3" not in text
    assert f"{TURNS}session/session-1/" in page


@pytest.mark.parametrize("page", ["thread/none/", "session/none/", "owner/none/", "export/xls/"])
def test_what_is_not_there_is_not_found(admin: Client, page: str) -> None:
    assert admin.get(TURNS + page).status_code == 404


def test_a_long_conversation_is_read_in_pages_and_few_queries(
    admin: Client, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    for hour in range(60):
        hours_ago(hour, thread_id="thr_1", user=make_user(f"visitor{hour}"))
    # Session, operator; the count, the turns, their messages; who reads it; the totals, holds.
    with django_assert_num_queries(8):
        first = html(admin, f"{TURNS}thread/thr_1/")
    assert 'href="?p=2"' in first
    assert "Question 5<" in html(admin, f"{TURNS}thread/thr_1/", p="2").replace("\n", "")


@pytest.mark.parametrize("page", ["", "thread/thr_1/", "owner/guest:1/", "export/csv/"])
def test_pages_are_for_who_may_view_turns(client: Client, db: None, page: str) -> None:
    hours_ago(1, thread_id="thr_1", session_id="session-1")
    client.force_login(make_operator("observability.view_delivery"))
    assert client.get(TURNS + page).status_code == 403


def test_a_turn_links_to_its_thread_session_and_user(admin: Client) -> None:
    turn = hours_ago(1, thread_id="thr_1", session_id="session-1", owner_key="user:7")
    page = html(admin, f"{TURNS}{turn.pk}/change/")
    for link in ("thread/thr_1/", "session/session-1/", "owner/user:7/"):
        assert f'href="{TURNS}{link}"' in page


# -- filters ---------------------------------------------------------------------------------------


def test_the_list_narrows_to_errors_and_to_what_took_long(admin: Client) -> None:
    hours_ago(1, status=Turn.Status.FAILED, total_ms=500)
    hours_ago(2, status=Turn.Status.INTERRUPTED, total_ms=None)
    hours_ago(3, total_ms=4_000)
    assert names(admin, has_error="yes") == {"Question 1", "Question 2"}
    assert names(admin, has_error="no") == {"Question 3"}
    assert names(admin, slower_than_ms="3000") == {"Question 3"}
    assert names(admin, slower_than_ms="4000") == set()
    assert len(names(admin, slower_than_ms="soon", has_error="perhaps")) == 3


# -- export ----------------------------------------------------------------------------------------


async def _read(response: Any) -> str:
    return b"".join([part async for part in response]).decode()


def exported(client: Client, form: str, **query: Any) -> str:
    response = client.get(f"{TURNS}export/{form}/", query)
    assert response.status_code == 200
    assert response.streaming
    assert response["Content-Disposition"].endswith(f'.{form}"')
    return async_to_sync(_read)(response)


@pytest.mark.django_db(transaction=True)
def test_the_export_is_what_the_list_shows(client: Client) -> None:
    client.force_login(make_operator())
    hours_ago(1, status=Turn.Status.FAILED)
    kept = hours_ago(2, cost_usd=Decimal("0.25"), model="gpt-5-mini")
    hours_ago(3)
    (line,) = exported(client, "jsonl", model="gpt-5-mini").splitlines()
    told = json.loads(line)
    assert (told["trace_id"], told["prompt"], told["cost_usd"]) == (
        kept.trace_id,
        "Question 2",
        "0.250000",
    )
    rows = list(csv.DictReader(exported(client, "csv", has_error="no").splitlines()))
    assert [row["prompt"] for row in rows] == ["Question 2", "Question 3"]
    assert rows[0]["model"] == "gpt-5-mini"
    assert rows[1]["cost_usd"] == ""
    assert ContentAccess.objects.filter(path__contains="/export/").count() == 3


FORMULAS = (
    "=1+1",
    "+1+1",
    "-1+1",
    "@SUM(1)",
    "\t=1+1",
    "\r=1+1",
    "  =1+1",
    "\n=1+1",
)
PLAIN = ("1+1=2", "a@b.example", "'quoted", "first\n=second", 'say "=1"', "")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("text", FORMULAS)
def test_no_cell_is_a_formula(client: Client, text: str) -> None:
    client.force_login(make_operator())
    make_turn(text, f"{text},2", error_message=f'{text}"', thread_id="=1")
    (row,) = csv.DictReader(io.StringIO(exported(client, "csv"), newline=""))
    assert row["prompt"] == f"'{text}"
    assert row["response"] == f"'{text},2"
    assert row["error_message"] == f"'{text}\""
    assert row["thread_id"] == "'=1"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("text", PLAIN)
def test_what_is_no_formula_comes_out_as_it_is(client: Client, text: str) -> None:
    client.force_login(make_operator())
    make_turn("Question", text, cost_usd=Decimal("-0.5"), ttft_ms=0, input_tokens=1234)
    (row,) = csv.DictReader(io.StringIO(exported(client, "csv"), newline=""))
    assert row["response"] == text
    assert (row["cost_usd"], row["ttft_ms"], row["input_tokens"]) == ("-0.500000", "0", "1234")


@pytest.mark.django_db(transaction=True)
def test_the_export_without_the_permission_has_no_text(client: Client) -> None:
    client.force_login(make_operator(VIEW))
    make_turn("Secret?", "Secret.", error_message="Secret!")
    for form in ("csv", "jsonl"):
        assert "Secret" not in exported(client, form)
    assert not ContentAccess.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_the_export_goes_through_all_batches_without_gap_or_repeat(client: Client) -> None:
    client.force_login(make_operator())
    now = timezone.now()
    # Neighbours that started at the same moment, also across the end of a batch.
    Turn.objects.bulk_create(
        Turn(started_at=now - timedelta(seconds=number // 3), status=Turn.Status.COMPLETED)
        for number in range(2 * BATCH + 5)
    )
    ids = [json.loads(line)["id"] for line in exported(client, "jsonl").splitlines()]
    assert len(ids) == len(set(ids)) == 2 * BATCH + 5
