"""What was asked of the endpoint: noted without the database, written by the worker, looked up."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError
from django.db.models import QuerySet
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, Settings

from observability import requests, worker
from observability.models import EndpointRequest, Turn
from tests.factories import make_operator, make_request, make_turn
from tests.pages import Page, html

from .helpers import eventually, run_python

REQUESTS = "/admin/observability/endpointrequest/"
HOSTILE = '"><script>alert(1)</script>\u202egpj\x07'


@pytest.fixture(autouse=True)
def _own_buffer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other tests have asked the endpoint too."""
    monkeypatch.setattr(requests, "_buffer", requests._Buffer())


def note(**fields: Any) -> None:
    requests.note(**{"started_at": timezone.now(), "status": 200, "total_ms": 20, **fields})


class TestNoting:
    def test_it_asks_no_database(self) -> None:
        note()  # Without the mark, pytest-django would not let it.
        assert len(requests._buffer.rows) == 1

    @pytest.mark.django_db
    def test_a_flush_writes_what_was_noted(self) -> None:
        note(operation="threads.create", status=409, error_code="thread_locked", owner_key="user:7")
        note(thread_id="thr_1", trace_id="f" * 32, total_ms=-1)
        assert requests.flush() == 2
        first, second = EndpointRequest.objects.order_by("pk")
        assert (
            first.operation,
            first.status,
            first.error_code,
            first.owner_key,
            first.total_ms,
        ) == (
            "threads.create",
            409,
            "thread_locked",
            "user:7",
            20,
        )
        assert (second.thread_id, second.trace_id, second.total_ms) == ("thr_1", "f" * 32, 0)
        assert requests.flush() == 0

    @pytest.mark.django_db
    def test_what_no_column_takes_is_cut(self) -> None:
        note(thread_id="a\x00\ud800" + "x" * 5000, operation="o" * 5000)
        assert requests.flush() == 1
        row = EndpointRequest.objects.get()
        assert (len(row.thread_id), len(row.operation)) == (128, 64)
        assert row.thread_id.startswith("a\ufffd?x")

    def test_it_never_fails(self, caplog: pytest.LogCaptureFixture) -> None:
        note(thread_id=object())
        assert not requests._buffer.rows
        assert caplog.messages == ["A request was not kept: AttributeError"]

    @pytest.mark.django_db
    def test_what_is_too_much_is_dropped_and_told_once_a_minute(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr(requests, "CAPACITY", 2)
        for _ in range(2):
            for _ in range(5):
                note()
            assert requests.flush() == 2
        assert caplog.messages == ["3 requests were not kept: there were too many."]
        monkeypatch.setattr(requests, "TELL_SECONDS", 0)
        requests.flush()
        assert caplog.messages[1:] == ["3 requests were not kept: there were too many."]


@pytest.mark.django_db
def test_while_the_database_is_away_nothing_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise OperationalError

    monkeypatch.setattr(requests, "BATCH_SIZE", 2)
    for number in range(5):
        note(request_id=f"request-{number}")
    with monkeypatch.context() as patch:
        patch.setattr(QuerySet, "bulk_create", fail)
        with pytest.raises(OperationalError):
            requests.flush()
    assert requests.flush() == 5
    ids = EndpointRequest.objects.order_by("pk").values_list("request_id", flat=True)
    assert list(ids) == [f"request-{number}" for number in range(5)]


@pytest.mark.django_db(transaction=True)
def test_rows_that_the_database_refuses_do_not_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    note(status="not a number")
    with pytest.raises(ValueError, match="not a number"):
        requests.flush()
    note()
    assert requests.flush() == 1


@pytest.fixture
def no_worker() -> Iterator[None]:
    yield
    worker.stop(5)


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("no_worker")
def test_the_worker_writes_it_soon_and_the_rest_when_it_stops() -> None:
    worker.start()
    note(request_id="soon")
    eventually(lambda: EndpointRequest.objects.filter(request_id="soon").exists(), 30)
    note(request_id="at last")
    worker.stop(10)
    assert EndpointRequest.objects.filter(request_id="at last").exists()


def test_a_fork_leaves_what_was_noted_to_its_parent() -> None:
    printed = run_python(
        """
import os
import django
django.setup()
from django.utils import timezone
from observability import requests
def note(): requests.note(started_at=timezone.now(), status=200, total_ms=1)
note()
if os.fork() == 0:
    note()
    note()
    print("child", len(requests._buffer.rows), flush=True)
    os._exit(0)
os.wait()
print("parent", len(requests._buffer.rows))
"""
    )
    assert printed.split() == ["child", "2", "parent", "1"]


@pytest.mark.django_db
class TestRetention:
    def test_what_is_older_goes_and_the_rest_stays(
        self, settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(requests, "BATCH_SIZE", 2)
        settings.OBSERVABILITY_REQUEST_RETENTION_DAYS = 3
        for days in (1, 2, 4, 5, 6, 7, 8):
            make_request(age=timedelta(days=days))
        assert requests.purge_old() == 5
        assert EndpointRequest.objects.count() == 2

    def test_a_week_is_kept_where_nothing_is_said(self) -> None:
        for days in (6, 8):
            make_request(age=timedelta(days=days))
        assert requests.purge_old() == 1

    def test_0_keeps_all(self, settings: Settings) -> None:
        settings.OBSERVABILITY_REQUEST_RETENTION_DAYS = 0
        make_request(age=timedelta(days=1000))
        assert requests.purge_old() == 0
        assert EndpointRequest.objects.exists()

    def test_it_stops_when_its_time_is_over(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(requests, "PURGE_SECONDS", 0)
        make_request(age=timedelta(days=8))
        assert requests.purge_old() == 0


# -- in the admin ----------------------------------------------------------------------------------


@pytest.fixture
def admin(client: Client) -> Client:
    """The browser of an operator who may do everything."""
    client.force_login(make_operator())
    return client


@pytest.mark.django_db
class TestList:
    def test_a_request_is_shown_with_its_turn_its_session_and_whose_it_is(
        self, admin: Client
    ) -> None:
        turn = make_turn(owner_key="user:7", thread_id="thr_1")
        make_request(
            operation="threads.create",
            total_ms=2500,
            owner_key="user:7",
            thread_id="thr_1",
            session_id="session-1",
            request_id="request-1",
            trace_id=turn.trace_id,
        )
        page = html(admin, REQUESTS)
        assert "threads.create" in page
        assert '<span class="obs-badge obs-is-completed">200</span>' in page
        assert "2.50 s" in page
        assert f'href="/admin/observability/turn/{turn.pk}/change/"' in page
        assert 'href="/admin/observability/turn/owner/user:7/"' in page
        assert 'href="/admin/observability/turn/thread/thr_1/"' in page
        assert 'href="/admin/observability/endpointrequest/?session_id=session-1"' in page

    def test_one_without_a_turn_leads_to_no_page_that_is_not_there(self, admin: Client) -> None:
        make_request(status=404, error_code="not_found", owner_key="user:7", thread_id="thr_none")
        page = html(admin, REQUESTS)
        assert '<span class="obs-badge obs-is-quiet">404</span> <bdi>not_found</bdi>' in page
        assert "/turn/owner/" not in page
        assert "/turn/thread/" not in page
        assert 'href="/admin/observability/endpointrequest/?owner_key=user%3A7"' in page

    @pytest.mark.parametrize(
        ("query", "found"),
        [
            ({"status_class": "2"}, {"ok"}),
            ({"status_class": "4"}, {"refused"}),
            ({"status_class": "5"}, {"failed"}),
            ({"status_class": "x"}, {"ok", "refused", "failed"}),
            ({"operation": "threads.list"}, {"refused"}),
            ({"owner_key": "user:7"}, {"ok", "failed"}),
            ({"session_id": "session-1"}, {"refused"}),
            ({"thread_id": "thr_1"}, {"failed"}),
            ({"request_id": "ok"}, {"ok"}),
            ({"q": "ok"}, {"ok"}),
            ({"q": "session-1"}, {"refused"}),
            ({"q": "user:7"}, {"ok", "failed"}),
            ({"q": "user"}, set()),
        ],
    )
    def test_it_is_narrowed_and_searched(
        self, admin: Client, query: dict[str, str], found: set[str]
    ) -> None:
        make_request(request_id="ok", owner_key="user:7", operation="threads.create")
        make_request(request_id="refused", status=409, session_id="session-1")
        make_request(
            request_id="failed", status=500, owner_key="user:7", thread_id="thr_1", operation=""
        )
        rows = admin.get(REQUESTS, query).context["cl"].result_list
        assert {row.request_id for row in rows} == found

    def test_it_is_narrowed_to_a_time(self, admin: Client) -> None:
        for minutes in (10, 20, 30):
            make_request(request_id=str(minutes), age=timedelta(minutes=minutes))
        since, until = (timezone.now() - timedelta(minutes=minutes) for minutes in (25, 15))
        query = {"started_at__gte": since.isoformat(), "started_at__lt": until.isoformat()}
        rows = admin.get(REQUESTS, query).context["cl"].result_list
        assert [row.request_id for row in rows] == ["20"]

    def test_an_empty_list_says_why(self, admin: Client) -> None:
        assert "No request has been recorded yet." in html(admin, REQUESTS)
        assert "Nothing matches." in html(admin, REQUESTS, status_class="5")

    def test_the_newest_is_the_first(self, admin: Client) -> None:
        for minutes in (2, 1, 3):
            make_request(request_id=str(minutes), age=timedelta(minutes=minutes))
        rows = admin.get(REQUESTS).context["cl"].result_list
        assert [row.request_id for row in rows] == ["1", "2", "3"]

    def test_it_takes_as_many_queries_for_many_as_for_one(
        self, admin: Client, django_assert_num_queries: DjangoAssertNumQueries
    ) -> None:
        html(admin, REQUESTS)  # What Django caches for the process is asked for once.
        make_request(trace_id=make_turn().trace_id)
        # Session, operator, the count and the page, and what two of the filters offer.
        with django_assert_num_queries(6):
            html(admin, REQUESTS)
        for number in range(30):
            make_request(trace_id=make_turn().trace_id, owner_key=f"user:{number}")
        with django_assert_num_queries(6):
            html(admin, REQUESTS)

    def test_no_value_adds_an_element_to_it(self, admin: Client) -> None:
        texts = ("operation", "error_code", "owner_key", "thread_id", "session_id", "request_id")
        plain_texts: dict[str, Any] = dict.fromkeys(texts, "x")
        make_request(**plain_texts)
        plain = Page(html(admin, REQUESTS)).elements
        EndpointRequest.objects.update(**dict.fromkeys(texts, HOSTILE))
        page = html(admin, REQUESTS)
        assert Page(page).elements == plain
        assert "\u202e" not in page
        assert "[U+202E]" in page

    def test_who_may_not_view_turns_is_led_to_none(self, client: Client) -> None:
        client.force_login(make_operator("observability.view_endpointrequest"))
        make_request(trace_id=make_turn(owner_key="user:7").trace_id, owner_key="user:7")
        assert not re.search("/turn/", html(client, REQUESTS))

    def test_it_needs_its_permission_and_nobody_changes_it(
        self, client: Client, admin: Client
    ) -> None:
        row = make_request()
        assert admin.post(f"{REQUESTS}{row.pk}/delete/", {"post": "yes"}).status_code == 403
        assert admin.get(f"{REQUESTS}add/").status_code == 403
        client.force_login(make_operator("observability.view_turn", username="other"))
        assert client.get(REQUESTS).status_code == 403


@pytest.mark.django_db
class TestTheTurnsPage:
    def page(self, browser: Client, turn: Turn) -> str:
        return html(browser, reverse("admin:observability_turn_change", args=(turn.pk,)))

    def test_it_says_what_was_answered_and_leads_to_what_else_was_asked(
        self, admin: Client
    ) -> None:
        turn = make_turn(request_id="request-1", session_id="session-1")
        session = '<a href="/admin/observability/endpointrequest/?session_id=session-1">'
        page = self.page(admin, turn)
        assert session in page
        assert "HTTP 200" not in page
        make_request(request_id="request-1", trace_id="another turn's", status=409)
        make_request(request_id="request-1", trace_id=turn.trace_id, total_ms=2500)
        assert f"HTTP 200 in 2.50 s · {session}" in self.page(admin, turn)

    def test_not_for_who_may_not_view_requests(self, client: Client) -> None:
        client.force_login(make_operator("observability.view_turn"))
        turn = make_turn(request_id="request-1", session_id="session-1")
        make_request(request_id="request-1", trace_id=turn.trace_id)
        page = self.page(client, turn)
        assert "HTTP 200" not in page
        assert "endpointrequest" not in page
