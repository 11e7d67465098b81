"""What is on hold is spared by every purge until it is released."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.admin.models import ADDITION, DELETION, LogEntry
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

from observability.holds import (
    held_turns,
    hold_of_thread,
    hold_of_turn,
    is_held,
    place_on_thread,
    place_on_turn,
)
from observability.models import Hold, Turn, TurnFact
from observability.retention import purge_text
from tests.factories import make_operator, make_turn, make_user
from tests.pages import Page, html

HOLDS = "/admin/observability/hold/"
PLACE = f"{HOLDS}place/"
HOSTILE = '"></textarea><script>alert(1)</script>\u202egpj\x07'
THREAD = {"tenant": "", "owner_key": "user:7", "thread_id": "thr_1"}

pytestmark = pytest.mark.django_db


def hold_thread(**fields: Any) -> Hold:
    return place_on_thread(**{**THREAD, "reason": "A complaint", "by": None, **fields})


def make_thread_turn(**fields: Any) -> Turn:
    return make_turn(**{**THREAD, **fields})


class TestPurging:
    def test_a_turn_on_hold_keeps_its_text_and_its_facts(self) -> None:
        held, other = make_thread_turn(), make_thread_turn()
        TurnFact.objects.create(turn=held, key="plan", value="gold")
        TurnFact.objects.create(turn=other, key="plan", value="gold")
        place_on_turn(held, reason="A complaint", by=None)
        assert purge_text(Turn.objects.all()) == 1
        held.refresh_from_db()
        assert (held.prompt, held.text_purged_at) == ("What time is it?", None)
        assert held.messages.count() == 2
        assert [fact.turn for fact in TurnFact.objects.all()] == [held]

    def test_not_even_an_owner_who_deletes_gets_at_it(self) -> None:
        held = make_thread_turn(status=Turn.Status.RUNNING)
        place_on_turn(held, reason="A complaint", by=None)
        assert purge_text(Turn.objects.all(), even_running=True) == 0
        held.refresh_from_db()
        assert held.prompt

    def test_a_thread_on_hold_spares_its_turns_and_those_to_come(self) -> None:
        made = [make_thread_turn()]
        hold_thread()
        made.append(make_thread_turn())
        assert purge_text(Turn.objects.all()) == 0
        assert all(is_held(turn) for turn in made)

    @pytest.mark.parametrize(
        "other", [{"owner_key": "user:8"}, {"tenant": "acme"}, {"thread_id": "thr_2"}]
    )
    def test_a_thread_of_another_owner_is_another_thread(self, other: dict[str, str]) -> None:
        turn = make_thread_turn(**other)
        hold_thread()
        assert not is_held(turn)
        assert purge_text(Turn.objects.all()) == 1

    def test_a_hold_of_one_turn_is_none_of_those_without_a_thread(self) -> None:
        held, other = make_turn(thread_id=""), make_turn(thread_id="")
        place_on_turn(held, reason="A complaint", by=None)
        assert list(Turn.objects.filter(held_turns())) == [held]
        assert not is_held(other)

    def test_what_is_released_goes_with_the_next_purge(self) -> None:
        turn = make_thread_turn()
        hold = place_on_turn(turn, reason="A complaint", by=None)
        assert purge_text(Turn.objects.all()) == 0
        hold.delete()
        assert purge_text(Turn.objects.all()) == 1


def test_what_is_on_hold_stays_as_it_was_held_first() -> None:
    turn = make_thread_turn()
    first = place_on_turn(turn, reason="The first", by=make_user())
    assert place_on_turn(turn, reason="The second", by=None) == first
    assert hold_thread(reason="The first") == hold_thread(reason="The second")
    found = hold_of_turn(turn)
    assert found is not None
    assert (found.reason, str(found.placed_by)) == ("The first", "vera")
    found = hold_of_thread(**THREAD)
    assert found is not None
    assert found.reason == "The first"
    assert hold_of_thread(**{**THREAD, "owner_key": "user:8"}) is None


# -- in the admin ----------------------------------------------------------------------------------


@pytest.fixture
def admin(client: Client) -> Client:
    """The browser of an operator who may do everything."""
    client.force_login(make_operator())
    return client


def page_of(turn: Turn) -> str:
    return reverse("admin:observability_turn_change", args=(turn.pk,))


def place(browser: Client, reason: str = "A complaint", **what: Any) -> Any:
    url = reverse("admin:observability_hold_place", query=what)
    return browser.post(url, {"reason": reason, "next": "/admin/"})


def release(browser: Client, hold: Hold) -> Any:
    url = reverse("admin:observability_hold_release", args=(hold.pk,))
    return browser.post(url, {"next": "/admin/"})


class TestTheTurnsPage:
    def test_an_operator_puts_it_on_hold_and_releases_it(self, admin: Client) -> None:
        turn = make_thread_turn()
        url = page_of(turn)
        page = html(admin, url)
        assert "obs-is-leased" not in page
        assert f'action="{PLACE}?turn={turn.pk}"' in page
        answer = admin.post(
            f"{PLACE}?turn={turn.pk}", {"reason": "A complaint <b>", "next": url}, follow=True
        )
        assert answer.redirect_chain == [(url, 302)]
        page = answer.content.decode()
        assert "every purge spares it until it is released" in page
        assert '<span class="obs-badge obs-is-leased">on hold</span>' in page
        assert "A complaint &lt;b&gt;" in page
        assert "<bdi>otto</bdi>" in page
        assert PLACE not in page
        hold = Hold.objects.get()
        assert (hold.turn, str(hold.placed_by)) == (turn, "otto")
        answer = admin.post(f"{HOLDS}{hold.pk}/release/", {"next": url}, follow=True)
        assert "1 hold was released" in answer.content.decode()
        assert not Hold.objects.exists()
        entries = LogEntry.objects.order_by("pk")
        assert [entry.action_flag for entry in entries] == [ADDITION, DELETION]
        assert not any("complaint" in entry.change_message for entry in entries)

    def test_a_hold_of_its_thread_is_shown_too(self, admin: Client) -> None:
        hold_thread(reason="The whole thread")
        page = html(admin, page_of(make_thread_turn()))
        assert "This thread is on hold." in page
        assert "The whole thread" in page
        # The turn itself may be put on hold all the same: the other may be released.
        assert PLACE in page

    def test_who_may_only_view_turns_sees_that_but_not_why(self, client: Client) -> None:
        turn = make_thread_turn()
        hold = place_on_turn(turn, reason="A complaint", by=None)
        client.force_login(make_operator("observability.view_turn"))
        page = html(client, page_of(turn))
        assert "This turn is on hold." in page
        assert "A complaint" not in page
        assert HOLDS not in page
        assert place(client, turn=make_turn().pk).status_code == 403
        assert release(client, hold).status_code == 403
        assert client.get(HOLDS).status_code == 403
        assert Hold.objects.count() == 1

    def test_who_may_place_may_not_release_and_the_other_way_round(self, client: Client) -> None:
        turn = make_turn()
        client.force_login(make_operator("observability.add_hold", username="placer"))
        assert place(client, turn=turn.pk).status_code == 302
        assert release(client, Hold.objects.get()).status_code == 403
        client.force_login(make_operator("observability.delete_hold", username="releaser"))
        assert place(client, turn=make_turn().pk).status_code == 403
        assert release(client, Hold.objects.get()).status_code == 302
        assert not Hold.objects.exists()

    def test_no_reason_adds_an_element(self, admin: Client) -> None:
        turn = make_turn()
        hold = place_on_turn(turn, reason="x", by=None)
        pages = (page_of(turn), HOLDS)
        plain = [Page(html(admin, url)).elements for url in pages]
        Hold.objects.filter(pk=hold.pk).update(reason=HOSTILE)
        for url, elements in zip(pages, plain, strict=True):
            page = html(admin, url)
            assert Page(page).elements == elements
            assert "\u202e" not in page


class TestTheForms:
    @pytest.mark.parametrize(
        "what",
        [{}, {"turn": "0"}, {"turn": "x"}, {"owner_key": "user:7"}, {"thread_id": "x" * 200}],
    )
    def test_what_is_nothing_to_hold_changes_nothing_and_is_told(
        self, admin: Client, what: dict[str, str]
    ) -> None:
        assert place(admin, **what)["Location"] == "/admin/"
        assert 'class="error"' in html(admin, "/admin/")
        assert not Hold.objects.exists()

    def test_a_hold_is_of_one_thing(self, admin: Client) -> None:
        place(admin, turn=make_turn().pk, thread_id="thr_1")
        assert not Hold.objects.exists()

    @pytest.mark.parametrize("reason", ["", "  ", "x" * 201])
    def test_there_is_no_hold_without_a_reason_or_with_a_long_one(
        self, admin: Client, reason: str
    ) -> None:
        place(admin, reason, **THREAD)
        assert not Hold.objects.exists()

    def test_it_leads_to_no_other_site(self, admin: Client) -> None:
        for page in ("https://evil.example/", "//evil.example/", "javascript:alert(1)", ""):
            answer = admin.post(PLACE, {"reason": "x", "next": page})
            assert answer["Location"] == HOLDS

    def test_only_forms_place_and_release(self, admin: Client) -> None:
        hold = hold_thread()
        assert admin.get(PLACE).status_code == 405
        assert admin.get(f"{HOLDS}{hold.pk}/release/").status_code == 405
        assert admin.post(f"{HOLDS}{hold.pk + 1}/release/").status_code == 404
        strict = Client(enforce_csrf_checks=True)
        strict.cookies = admin.cookies
        assert release(strict, hold).status_code == 403
        assert place(strict, turn=make_turn().pk).status_code == 403
        admin.logout()
        assert "/admin/login/" in release(admin, hold)["Location"]
        assert Hold.objects.count() == 1


class TestTheThreadsPage:
    def test_a_thread_is_put_on_hold_and_released_there(self, admin: Client) -> None:
        make_thread_turn(tenant="a b")
        url = "/admin/observability/turn/thread/thr_1/"
        page = html(admin, url)
        action = f"{PLACE}?tenant=a+b&amp;owner_key=user%3A7&amp;thread_id=thr_1"
        assert f'action="{action}"' in page
        place(admin, **{**THREAD, "tenant": "a b"})
        hold = Hold.objects.get()
        assert (hold.turn, hold.tenant, hold.owner_key) == (None, "a b", "user:7")
        page = html(admin, url)
        assert "This thread is on hold." in page
        assert f'action="{HOLDS}{hold.pk}/release/"' in page

    def test_a_session_can_not_be_held(self, admin: Client) -> None:
        make_turn(session_id="session-1")
        assert PLACE not in html(admin, "/admin/observability/turn/session/session-1/")


class TestTheList:
    def test_it_shows_what_is_on_hold_since_when_and_why(self, admin: Client) -> None:
        turn = make_thread_turn()
        place_on_turn(turn, reason="The turn", by=make_user())
        hold_thread(reason="The thread", thread_id="thr_2")
        page = html(admin, HOLDS)
        assert f'href="{page_of(turn)}"' in page
        assert 'href="/admin/observability/turn/thread/thr_2/"' in page
        assert page.count('href="/admin/observability/turn/owner/user:7/"') == 2
        assert "<bdi>The turn</bdi>" in page
        assert "<bdi>The thread</bdi>" in page
        assert "vera" in page

    def test_an_empty_list_says_how_one_is_placed(self, admin: Client) -> None:
        assert "put on hold on its own page" in html(admin, HOLDS)

    def test_some_are_released_at_once(self, admin: Client) -> None:
        going = [hold_thread(thread_id=f"thr_{number}") for number in range(2)]
        kept = hold_thread(thread_id="thr_kept")
        keys = [hold.pk for hold in going]
        admin.post(HOLDS, {"action": "release", "_selected_action": keys})
        assert list(Hold.objects.all()) == [kept]
        assert LogEntry.objects.filter(action_flag=DELETION).count() == 2

    def test_who_may_not_release_has_no_such_action(self, client: Client) -> None:
        client.force_login(make_operator("observability.view_hold"))
        hold = hold_thread()
        assert "Release" not in html(client, HOLDS)
        client.post(HOLDS, {"action": "release", "_selected_action": [hold.pk]})
        assert Hold.objects.exists()

    def test_it_takes_as_many_queries_for_many_as_for_one(
        self, admin: Client, django_assert_num_queries: DjangoAssertNumQueries
    ) -> None:
        def hold_one(number: int) -> None:
            place_on_turn(make_turn(), reason="x", by=make_user(f"user {number}"))

        hold_one(0)
        html(admin, HOLDS)
        # Session, operator, the count and the page.
        with django_assert_num_queries(4):
            html(admin, HOLDS)
        for number in range(1, 20):
            hold_one(number)
        with django_assert_num_queries(4):
            html(admin, HOLDS)
