"""Who may read what was said, and the record of who did."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth.models import Group
from django.test import Client
from django.urls import reverse

from observability.api import views
from observability.models import ContentAccess, Message, Turn, TurnSpans
from tests.factories import make_message, make_operator, make_thread, make_turn, make_user
from tests.pages import Page, html

pytestmark = pytest.mark.django_db

TURNS = "/admin/observability/turn/"
VIEW = "observability.view_turn"
VIEW_CONTENT = "observability.view_content"
SPANS: list[dict[str, Any]] = [
    {
        "id": "s1",
        "parent_id": "",
        "kind": "tool",
        "name": "search",
        "start_ms": 0,
        "duration_ms": 9,
        "error": {"type": "LookupError", "message": "Secret"},
        "attributes": {"input": "Secret"},
    }
]


@pytest.fixture(autouse=True)
def _unthrottled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views, "RATE", None)


@pytest.fixture
def turn() -> Turn:
    """A failed turn whose every text is a secret; there is another in its thread."""
    make_turn("Secret 0", "Secret", thread_id="thr_1", user=make_user("vera"))
    turn = make_turn(
        "Secret 1",
        "Secret",
        thought="Secret",
        thread_id="thr_1",
        session_id="session-1",
        status=Turn.Status.FAILED,
        error_code="stream.error",
        error_message="Secret",
    )
    TurnSpans.objects.create(turn=turn, spans=SPANS)
    return turn


def pages(turn: Turn) -> list[str]:
    return [
        TURNS,
        reverse("admin:observability_turn_change", args=(turn.pk,)),
        "/admin/observability/dashboard/",
        "/observability/api/turns/",
        f"/observability/api/turns/{turn.pk}/",
        "/observability/api/threads/thr_1/",
        "/observability/api/sessions/session-1/",
    ]


def test_without_the_permission_there_are_figures_and_no_text(client: Client, turn: Turn) -> None:
    client.force_login(make_operator(VIEW))
    for page in pages(turn):
        response = client.get(page)
        assert response.status_code == 200, page
        assert b"Secret" not in response.content, page
    text = Page(html(client, pages(turn)[1])).text
    for shown in ("stream.error", "LookupError", "search", "400 ms"):
        assert shown in text
    assert "not what was said in it" in text
    assert not ContentAccess.objects.exists()


def test_with_the_permission_there_is_text(client: Client, turn: Turn) -> None:
    client.force_login(make_operator(VIEW, VIEW_CONTENT))
    for page in pages(turn):
        assert b"Secret" in client.get(page).content, page


def test_what_may_not_be_read_can_not_be_searched_either(client: Client, turn: Turn) -> None:
    reader = make_operator(VIEW, VIEW_CONTENT)
    analyst = make_operator(VIEW, username="analyst")
    for user, count in ((reader, 2), (analyst, 0)):
        client.force_login(user)
        response = client.get(TURNS, {"q": "Secret"})
        assert len(response.context["cl"].result_list) == count


def test_who_was_shown_a_text_is_kept(client: Client, turn: Turn) -> None:
    operator = make_operator(VIEW, VIEW_CONTENT)
    client.force_login(operator)
    _list, page, _dashboard, api_list, api_turn, api_thread, _session = pages(turn)
    for path, count in ((page, 1), (api_turn, 1), (api_thread, 2), (api_list, 2)):
        ContentAccess.objects.all().delete()
        assert client.get(path).status_code == 200
        kept = ContentAccess.objects.filter(
            user=operator, username="otto", path=path.partition("?")[0]
        )
        assert kept.count() == count, path
        assert kept.filter(trace_id=turn.trace_id, turn=turn).count() == 1


def test_a_turn_without_text_shows_none_to_be_kept(client: Client, turn: Turn) -> None:
    client.force_login(make_operator())
    Turn.objects.update(text_purged_at=turn.started_at, prompt="", response="")
    client.get(pages(turn)[1])
    assert not ContentAccess.objects.exists()


def test_what_was_shown_stays_known_when_turn_and_reader_are_gone(
    client: Client, turn: Turn
) -> None:
    operator = make_operator(VIEW, VIEW_CONTENT)
    client.force_login(operator)
    client.get(pages(turn)[1])
    trace_id = turn.trace_id
    turn.delete()
    operator.delete()
    kept = ContentAccess.objects.get()
    assert (kept.username, kept.trace_id, kept.user, kept.turn) == ("otto", trace_id, None, None)


def test_only_superusers_see_who_read(client: Client, turn: Turn) -> None:
    client.force_login(make_operator(username="root"))
    client.get(pages(turn)[1])
    accesses = "/admin/observability/contentaccess/"
    assert turn.trace_id[:8] in html(client, accesses)
    pk = ContentAccess.objects.get().pk
    assert client.get(f"{accesses}{pk}/change/").status_code == 200
    assert client.post(f"{accesses}{pk}/delete/", {"post": "yes"}).status_code == 403
    client.force_login(make_operator(VIEW, VIEW_CONTENT))
    assert client.get(accesses).status_code == 403


def test_a_migration_makes_the_two_groups() -> None:
    # Anew: tests that empty the database take away what the migration has made in it.
    import_module("observability.migrations.0002_groups").make_groups(apps, None)
    import_module("chatkit_endpoint.migrations.0002_groups").let_operators_in(apps, None)

    def codenames(name: str) -> set[str]:
        group = Group.objects.get(name=name)
        return set(group.permissions.values_list("codename", flat=True))

    analysts, operators = codenames("chat analysts"), codenames("chat operators")
    assert analysts == {"view_turn", "view_clientevent", "view_delivery", "view_endpointrequest"}
    reads = {"view_content", "view_thread", "change_thread", "change_delivery"}
    holds = {"view_hold", "add_hold", "delete_hold"}
    assert operators == analysts | reads | holds


def test_who_opened_a_conversation_is_kept(client: Client) -> None:
    operator = make_operator()
    client.force_login(operator)
    thread = make_thread()
    path = reverse("admin:chatkit_endpoint_thread_change", args=(thread.pk,))
    assert client.get(path).status_code == 200
    kept = ContentAccess.objects.get()
    assert (kept.user, kept.path, kept.owner_key) == (operator, path, thread.owner_key)


def test_messages_of_neighbours_are_not_told(client: Client, turn: Turn) -> None:
    make_message(turn, Message.Kind.RESPONSE, "Secret too")
    client.force_login(make_operator(VIEW))
    assert b"Secret" not in client.get(pages(turn)[1]).content
