"""What the site knows of a turn: kept in bounds, gone with the text, found by key."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

from observability import facts, turns
from observability.models import Turn, TurnFact
from observability.recorder import Identity, TurnRecorder
from tests.factories import make_operator, make_turn, make_user
from tests.pages import Page, html

TURNS = "/admin/observability/turn/"
HOSTILE = '"><script>alert(1)</script>\u202egpj\x07'


def kept(told: Any) -> dict[str, str]:
    """What is kept of a dict that the site gives."""
    return {fact.key: fact.value for fact in facts.facts_of(lambda: told, "trace")}


class TestBounds:
    def test_small_values_are_kept_as_text(self) -> None:
        told = {"plan": "gold", "seats": 3, "ratio": 0.5, "trial": True, "coupon": None}
        assert kept(told) == {
            "plan": "gold",
            "seats": "3",
            "ratio": "0.5",
            "trial": "True",
            "coupon": "",
        }

    def test_an_object_is_kept_as_its_name_its_model_and_its_key(self) -> None:
        (fact,) = facts.facts_of(lambda: {"buyer": User(pk=7, username="vera")}, "trace")
        assert (fact.value, fact.object_model, fact.object_id) == ("vera", "auth.user", "7")

    def test_an_object_without_a_key_or_with_a_long_one_is_a_mere_name(self) -> None:
        for pk in (None, "x" * 65):
            user = User(username="vera")
            user.pk = pk
            (fact,) = facts.facts_of(partial(dict, buyer=user), "trace")
            assert (fact.value, fact.object_model, fact.object_id) == ("vera", "", "")

    def test_a_long_value_is_cut_and_what_no_database_takes_is_replaced(self) -> None:
        assert kept({"a": "x" * 1000, "b": "a\x00\ud800"}) == {"a": "x" * 200, "b": "a\ufffd?"}

    @pytest.mark.parametrize("key", ["", "Plan", "1st", "a-b", "a" * 65, "é", "a\n", 7, None])
    def test_a_key_is_a_plain_word(self, key: Any, caplog: pytest.LogCaptureFixture) -> None:
        assert kept({key: "secret", "plan": "gold"}) == {"plan": "gold"}
        (record,) = caplog.records
        assert record.getMessage() == "A fact of a turn was not kept."
        assert record.fields == {"turn": "trace", "error": "ValueError"}  # type: ignore[attr-defined]

    @pytest.mark.parametrize(
        "value",
        [["secret"], {"a": "secret"}, b"secret", object(), pytest.param(10**5000, id="huge")],
    )
    def test_other_values_are_left_out(self, value: Any, caplog: pytest.LogCaptureFixture) -> None:
        assert kept({"odd": value, "plan": "gold"}) == {"plan": "gold"}
        assert "secret" not in caplog.text

    def test_beyond_twenty_there_are_no_more_and_one_line_says_so(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        assert len(kept({f"key_{number}": number for number in range(500)})) == 20
        assert len(caplog.records) == 1

    def test_an_object_that_fails_costs_itself_only(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        def fail(user: User) -> str:
            raise LookupError("secret")

        monkeypatch.setattr(User, "__str__", fail)
        assert kept({"buyer": User(pk=1), "plan": "gold"}) == {"plan": "gold"}
        assert caplog.records[0].fields["error"] == "LookupError"  # type: ignore[attr-defined]
        assert "secret" not in caplog.text

    @pytest.mark.parametrize("told", [None, "plan", ["plan"], 7])
    def test_what_is_no_dict_is_nothing(self, told: Any) -> None:
        assert kept(told) == {}

    def test_a_function_that_fails_is_told_by_its_type(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        def fail() -> Mapping[str, Any]:
            raise LookupError("secret")

        assert facts.facts_of(fail, "trace") == []
        assert caplog.records[0].fields == {"turn": "trace", "error": "LookupError"}  # type: ignore[attr-defined]
        assert "secret" not in caplog.text


def recorder(**context: Any) -> TurnRecorder:
    return TurnRecorder(thread_id="thr_1", identity=Identity.of(SimpleNamespace(**context)))


@pytest.mark.django_db
class TestATurn:
    @pytest.fixture(autouse=True)
    def live(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Turns that nobody settles are of no matter to the tests that come after."""
        monkeypatch.setattr(turns, "_live", {})

    def test_it_is_opened_with_its_facts(self) -> None:
        user = make_user()
        turns.open_turn(recorder(facts=lambda: {"plan": "gold", "buyer": user}))
        stored = TurnFact.objects.filter(turn=Turn.objects.get()).order_by("pk")
        assert [(fact.key, fact.value, fact.object_id) for fact in stored] == [
            ("plan", "gold", ""),
            ("buyer", "vera", str(user.pk)),
        ]

    def test_the_function_may_query(self) -> None:
        make_user()
        turns.open_turn(recorder(facts=lambda: {"users": User.objects.count()}))
        assert TurnFact.objects.get().value == "1"

    def test_a_function_that_fails_costs_the_turn_nothing(self) -> None:
        turns.open_turn(recorder(facts=lambda: {"all": 1 / 0}))
        assert Turn.objects.get().status == Turn.Status.RUNNING
        assert not TurnFact.objects.exists()

    @pytest.mark.parametrize("context", [{}, {"facts": None}, {"facts": {"plan": "gold"}}])
    def test_without_a_function_it_costs_nothing(
        self, context: dict[str, Any], django_assert_num_queries: DjangoAssertNumQueries
    ) -> None:
        with django_assert_num_queries(1):
            turns.open_turn(recorder(**context))

    def test_other_servers_contexts_may_bring_one_too(self) -> None:
        assert Identity.of({"facts": dict}).facts is dict
        assert Identity.of(None).facts is None


# -- in the admin ----------------------------------------------------------------------------------


@pytest.fixture
def admin(client: Client) -> Client:
    """The browser of an operator who may do everything."""
    client.force_login(make_operator())
    return client


def turn_with(**told: Any) -> Turn:
    turn = make_turn()
    for fact in facts.facts_of(lambda: told, turn.trace_id):
        fact.turn = turn
        fact.save()
    return turn


def page_of(turn: Turn) -> str:
    return reverse("admin:observability_turn_change", args=(turn.pk,))


@pytest.mark.django_db
class TestThePage:
    def test_it_shows_them_and_leads_to_the_turns_that_share_them(self, admin: Client) -> None:
        page = html(admin, page_of(turn_with(plan="gold & silver", coupon=None)))
        assert "From the site" in page
        assert f'<a href="{TURNS}?fact=plan"><bdi>plan</bdi></a>' in page
        assert (
            f'<a href="{TURNS}?fact=plan%3Agold+%26+silver"><bdi>gold &amp; silver</bdi></a>'
            in page
        )
        assert f'<a href="{TURNS}?fact=coupon%3A"><bdi>—</bdi></a>' in page

    def test_an_object_leads_to_its_own_page(self, admin: Client) -> None:
        user = make_user()
        page = html(admin, page_of(turn_with(buyer=user)))
        assert f'<a href="/admin/auth/user/{user.pk}/change/"><bdi>vera</bdi></a>' in page
        assert f'<a href="{TURNS}?fact=buyer%3A{user.pk}"><bdi>its turns</bdi></a>' in page

    def test_not_for_who_may_not_view_it_there(self, client: Client) -> None:
        client.force_login(make_operator("observability.view_turn", "observability.view_content"))
        page = html(client, page_of(turn_with(buyer=make_user())))
        assert "<bdi>vera</bdi>" in page
        assert "/admin/auth/" not in page

    @pytest.mark.parametrize("model", ["gone.model", "nonsense", "observability.turnfact"])
    def test_nor_where_it_has_none(self, admin: Client, model: str) -> None:
        turn = turn_with(buyer=make_user())
        TurnFact.objects.update(object_model=model)
        page = html(admin, page_of(turn))
        assert "<bdi>vera</bdi>" in page
        assert "its turns" not in page

    def test_who_may_not_read_what_was_said_sees_none(self, client: Client) -> None:
        client.force_login(make_operator("observability.view_turn"))
        page = html(client, page_of(turn_with(plan="gold")))
        assert "gold" not in page
        assert "From the site" not in page

    def test_no_value_adds_an_element(self, admin: Client) -> None:
        turn = turn_with(plan="x", group=Group.objects.create(name="y"))
        plain = Page(html(admin, page_of(turn))).elements
        TurnFact.objects.update(value=HOSTILE, object_id='7"/x')
        page = html(admin, page_of(turn))
        assert Page(page).elements == plain
        assert "\u202e" not in page


@pytest.mark.django_db
class TestTheFilter:
    @pytest.mark.parametrize(
        ("value", "found"),
        [
            ("plan", {"gold", "silver"}),
            ("plan:gold", {"gold"}),
            ("plan:", set()),
            ("plan:gol", set()),
            ("buyer", {"silver"}),
            ("buyer:vera", {"silver"}),
            ("gold", set()),
            ("time:12:30", {"gold"}),
            ("", {"gold", "silver", "none"}),
        ],
    )
    def test_it_narrows_the_list(self, admin: Client, value: str, found: set[str]) -> None:
        made = {
            "gold": turn_with(plan="gold", time="12:30"),
            "silver": turn_with(plan="silver", buyer=make_user()),
            "none": make_turn(),
        }
        rows = set(admin.get(TURNS, {"fact": value}).context["cl"].result_list)
        assert {name for name, turn in made.items() if turn in rows} == found

    def test_an_object_is_found_by_its_key(self, admin: Client) -> None:
        user = make_user()
        turn = turn_with(buyer=user)
        turn_with(buyer=make_user("other"))
        rows = admin.get(TURNS, {"fact": f"buyer:{user.pk}"}).context["cl"].result_list
        assert list(rows) == [turn]

    def test_it_is_shown_while_it_narrows_and_only_then(self, admin: Client) -> None:
        turn_with(plan="gold")
        assert "By fact" in html(admin, TURNS, fact="plan:gold")
        assert "By fact" not in html(admin, TURNS)

    def test_who_may_not_read_what_was_said_finds_nothing_by_it(self, client: Client) -> None:
        client.force_login(make_operator("observability.view_turn"))
        turn_with(plan="gold")
        for value in ("plan", "plan:gold"):
            assert not client.get(TURNS, {"fact": value}).context["cl"].result_list
