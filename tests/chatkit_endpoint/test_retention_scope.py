"""Whose conversations go, and what earlier purges left behind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.utils import timezone

from chatkit_endpoint.models import Attachment, Thread
from chatkit_endpoint.owners import Owner, owners_of
from chatkit_endpoint.retention import PurgeSummary, purge_attachments
from chatkit_endpoint.scopes import Scope, purge_owner, purge_scope, survey
from observability.models import ClientEvent, Delivery, EndpointRequest, Feedback, Hold, Turn
from tests.chatkit_endpoint.conversations import (
    A_MONTH_AGO,
    ONE,
    Conversation,
    found,
    is_gone,
    is_whole,
    owner_of,
    plant,
    plant_attachment,
    plant_many,
    plant_turn,
    rows_of_all_tables,
)
from tests.factories import make_client_event, make_delivery

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("media")]


def test_everything_is_not_a_scope() -> None:
    with pytest.raises(ValueError, match="a time, an owner or a thread"):
        Scope()


def test_by_age_only_what_nobody_has_written_in_since_goes(
    alice: User, bob: User, media: Path
) -> None:
    old, fresh = plant(bob), plant(alice, written_at=timezone.now())
    assert purge_scope(Scope(idle_since=A_MONTH_AGO)) == ONE
    assert is_gone(old, media)
    assert is_whole(fresh, media)


def test_by_user_all_that_is_theirs_goes_and_nothing_else(
    alice: User, bob: User, media: Path
) -> None:
    going = [plant(alice), plant(alice, tenant="acme", written_at=timezone.now())]
    kept = plant(bob)
    for owner in owners_of(alice):
        assert purge_scope(Scope(owner=owner)) == ONE
    assert all(is_gone(each, media) for each in going)
    assert is_whole(kept, media)


def test_by_both_only_what_is_old_and_theirs_goes(alice: User, bob: User, media: Path) -> None:
    going = plant(alice)
    kept = [plant(alice, written_at=timezone.now()), plant(bob)]
    assert purge_scope(Scope(idle_since=A_MONTH_AGO, owner=owner_of(alice))) == ONE
    assert is_gone(going, media)
    assert all(is_whole(each, media) for each in kept)


def test_attachments_that_were_never_sent_go_by_age_and_user(
    alice: User, bob: User, media: Path
) -> None:
    old: dict[str, str] = {}
    fresh: dict[str, str] = {}
    of_bob: dict[str, str] = {}
    plant_attachment(alice, old)
    plant_attachment(alice, fresh, created_at=timezone.now())
    plant_attachment(bob, of_bob)
    summary = purge_scope(Scope(idle_since=A_MONTH_AGO, owner=owner_of(alice)))
    assert summary == PurgeSummary(attachments=1, files=1)
    assert found(old.values(), media) == set()
    assert found(fresh.values(), media) == set(fresh.values())
    assert found(of_bob.values(), media) == set(of_bob.values())


def test_the_text_of_turns_whose_thread_is_gone_goes_by_age_and_user(
    alice: User, bob: User, media: Path
) -> None:
    old: dict[str, str] = {}
    fresh: dict[str, str] = {}
    of_bob: dict[str, str] = {}
    running: dict[str, str] = {}
    plant_turn(alice, old, "thr_gone")
    plant_turn(alice, fresh, "thr_gone", started_at=timezone.now())
    plant_turn(bob, of_bob, "thr_gone")
    plant_turn(alice, running, "thr_gone", running=True)
    assert purge_scope(Scope(idle_since=A_MONTH_AGO, owner=owner_of(alice))) == PurgeSummary(
        turns=1
    )
    assert found(old.values(), media) == set()
    for kept in (fresh, of_bob, running):
        assert found(kept.values(), media) == set(kept.values())


def test_an_old_turn_of_a_thread_that_lives_keeps_its_text(alice: User, media: Path) -> None:
    conversation = plant(alice)
    Thread.objects.update(updated_at=timezone.now())
    assert purge_scope(Scope(idle_since=A_MONTH_AGO)) == PurgeSummary()
    assert is_whole(conversation, media)


def test_a_survey_tells_what_a_purge_will_do_and_changes_nothing(
    alice: User, bob: User, media: Path
) -> None:
    plant(alice)
    plant(bob, written_at=timezone.now())
    plant(alice, running=True)
    plant(bob)
    plant_attachment(alice, {})
    plant_turn(alice, {}, "thr_gone")
    plant_turn(alice, {}, "thr_gone", running=True)
    Attachment.objects.filter(user=bob).update(file="")
    before, files = rows_of_all_tables(), sorted(media.rglob("*"))
    for scope in (
        Scope(idle_since=A_MONTH_AGO),
        Scope(owner=owner_of(alice)),
        Scope(owner=owner_of(bob)),
    ):
        expected = survey(scope)
        assert expected != PurgeSummary()
        assert (rows_of_all_tables(), sorted(media.rglob("*"))) == (before, files)
        assert purge_scope(scope) == expected
        before, files = rows_of_all_tables(), sorted(media.rglob("*"))


class TestOneThread:
    def test_it_goes_alone(self, alice: User, media: Path) -> None:
        going, kept = plant(alice), plant(alice)
        loose: dict[str, str] = {}
        plant_attachment(alice, loose)
        assert purge_scope(Scope(thread=going.thread.key)) == ONE
        assert is_gone(going, media)
        assert is_whole(kept, media)
        assert found(loose.values(), media) == set(loose.values())

    def test_the_text_of_its_turns_goes_where_it_is_gone_already(
        self, alice: User, media: Path
    ) -> None:
        gone: dict[str, str] = {}
        other: dict[str, str] = {}
        plant_turn(alice, gone, "thr_gone")
        plant_turn(alice, other, "thr_gone_too")
        assert purge_scope(Scope(thread="thr_gone")) == PurgeSummary(turns=1)
        assert not found(gone.values(), media)
        assert found(other.values(), media) == set(other.values())

    def test_of_somebody_else_it_is_not_touched(self, alice: User, bob: User, media: Path) -> None:
        his = plant(bob)
        scope = Scope(owner=owner_of(alice), thread=his.thread.key)
        assert purge_scope(scope) == PurgeSummary()
        assert is_whole(his, media)


class TestRecords:
    """What has no text but tells what somebody did when."""

    def test_of_an_owner_they_go_and_of_nobody_else(self, alice: User, bob: User) -> None:
        for user in (alice, bob):
            make_records(owner_of(user))
            make_records(owner_of(user, "acme"))
        assert survey(Scope(owner=owner_of(alice))) == PurgeSummary(records=3)
        assert purge_scope(Scope(owner=owner_of(alice))) == PurgeSummary(records=3)
        for model in RECORDS:
            owners = set(model._default_manager.values_list("tenant", "owner_key"))
            assert owners == {
                ("acme", f"user:{alice.pk}"),
                ("", f"user:{bob.pk}"),
                ("acme", f"user:{bob.pk}"),
            }

    def test_by_age_alone_they_stay(self, alice: User) -> None:
        """They have limits of their own."""
        make_records(owner_of(alice))
        assert purge_scope(Scope(idle_since=timezone.now())) == PurgeSummary()

    def test_by_both_only_what_is_old_goes(self, alice: User) -> None:
        make_records(owner_of(alice))
        assert purge_scope(Scope(idle_since=A_MONTH_AGO, owner=owner_of(alice))).records == 0

    def test_what_was_to_be_told_of_an_event_is_settled(self, alice: User) -> None:
        make_records(owner_of(alice))
        event = ClientEvent.objects.get()
        delivery = make_delivery(
            kind="action", client_event=event, event_id=event.event_id, state="leased"
        )
        purge_scope(Scope(owner=owner_of(alice)))
        delivery.refresh_from_db()
        assert (delivery.state, delivery.client_event) == (Delivery.State.PURGED, None)
        assert delivery.settled_at is not None

    def test_those_of_a_thread_or_turn_on_hold_stay(self, alice: User) -> None:
        owner = owner_of(alice)
        turn = plant_turn(alice, {}, "thr_gone")
        Hold.objects.create(turn=turn, reason="A claim.")
        Hold.objects.create(
            tenant="", owner_key=owner.owner_key, thread_id="thr_held", reason="A claim."
        )
        make_records(owner)
        make_records(owner, turn=turn)
        make_records(owner, thread_id="thr_held")
        assert survey(Scope(owner=owner)) == PurgeSummary(records=3)
        assert purge_scope(Scope(owner=owner)) == PurgeSummary(records=3)
        for model in RECORDS:
            assert model._default_manager.count() == 2


class TestHolds:
    @pytest.fixture
    def held(self, alice: User) -> Conversation:
        conversation = plant(alice)
        hold(conversation.thread)
        return conversation

    @pytest.mark.parametrize("way", ["age", "owner", "thread"])
    def test_a_thread_on_hold_is_left_whole_and_counted(
        self, held: Conversation, alice: User, media: Path, way: str
    ) -> None:
        going = plant(alice)
        scope, gone = {
            "age": (Scope(idle_since=A_MONTH_AGO), ONE),
            "owner": (Scope(owner=owner_of(alice)), ONE),
            "thread": (Scope(thread=held.thread.key), PurgeSummary()),
        }[way]
        assert survey(scope) == gone + PurgeSummary(held=1)
        assert purge_scope(scope) == gone + PurgeSummary(held=1)
        assert is_whole(held, media)
        assert is_gone(going, media) == (way != "thread")

    def test_also_from_an_owner_who_deletes(
        self, held: Conversation, alice: User, media: Path
    ) -> None:
        assert purge_owner(owner_of(alice)) == PurgeSummary(held=1)
        assert is_whole(held, media)

    def test_one_on_hold_with_a_running_turn_is_counted_once(self, alice: User) -> None:
        hold(plant(alice, running=True).thread)
        scope = Scope(owner=owner_of(alice))
        assert survey(scope) == purge_scope(scope) == PurgeSummary(held=1)

    def test_its_files_can_not_be_deleted_alone(self, held: Conversation, media: Path) -> None:
        assert purge_attachments(Attachment.objects.all()) == PurgeSummary()
        assert is_whole(held, media)

    @pytest.mark.parametrize("other", [{"tenant": "acme"}, {"owner_key": "guest:1"}])
    def test_the_hold_of_another_owner_in_a_thread_of_the_same_name_spares_nothing(
        self, held: Conversation, media: Path, other: dict[str, str]
    ) -> None:
        Hold.objects.update(**other)
        assert purge_scope(Scope(thread=held.thread.key)) == ONE
        assert is_gone(held, media)

    def test_when_it_is_released_it_goes(
        self, held: Conversation, alice: User, media: Path
    ) -> None:
        Hold.objects.all().delete()
        assert purge_owner(owner_of(alice)) == ONE
        assert is_gone(held, media)

    def test_of_a_turn_on_hold_the_text_stays_and_the_thread_goes(
        self, alice: User, media: Path
    ) -> None:
        conversation = plant(alice)
        Hold.objects.create(turn=conversation.turn, reason="A claim.")
        gone = ONE + PurgeSummary(turns=-1)
        scope = Scope(owner=owner_of(alice))
        assert survey(scope) == gone
        assert purge_scope(scope) == gone
        conversation.turn.refresh_from_db()
        assert conversation.turn.prompt == conversation.marks["turn-prompt"]
        assert not Thread.objects.exists()
        # The next purge leaves it too.
        assert survey(scope) == purge_scope(scope) == PurgeSummary()


RECORDS = (ClientEvent, Feedback, EndpointRequest)


def make_records(owner: Owner, *, turn: Turn | None = None, thread_id: str = "thr_1") -> None:
    """One of each kind."""
    whose = {"tenant": owner.tenant, "owner_key": owner.owner_key}
    thread_id = turn.thread_id if turn else thread_id
    make_client_event(turn, **whose, thread_id=thread_id)
    Feedback.objects.create(
        **whose,
        turn=turn,
        thread_id=thread_id,
        item_id="1",
        kind="positive",
        first_kind="positive",
    )
    EndpointRequest.objects.create(
        **whose,
        started_at=timezone.now(),
        status=200,
        total_ms=1,
        thread_id=thread_id,
        trace_id=turn.trace_id if turn else "",
    )


def hold(thread: Thread) -> None:
    Hold.objects.create(
        tenant=thread.tenant, owner_key=thread.owner_key, thread_id=thread.key, reason="A claim."
    )


@pytest.mark.skipif(connection.vendor != "sqlite", reason="SQLite counts its steps.")
def test_the_work_of_a_survey_grows_as_the_threads_do(alice: User) -> None:
    """It took minutes when every thread looked at every turn of its owner."""
    plant_many(alice, 100, turns=5)
    plant_turn(alice, {}, "thr_0", running=True)
    steps_for_100 = steps(lambda: survey(Scope(owner=owner_of(alice))))
    Thread.objects.all().delete()
    Turn.objects.all().delete()
    plant_many(alice, 1000, turns=5)
    plant_turn(alice, {}, "thr_0", running=True)
    assert steps(lambda: survey(Scope(owner=owner_of(alice)))) < 20 * steps_for_100


def steps(work: Callable[[], object]) -> int:
    """How many hundred steps SQLite's machine takes for it."""
    counted = 0

    def count() -> None:
        nonlocal counted
        counted += 1

    connection.connection.set_progress_handler(count, 100)
    work()
    connection.connection.set_progress_handler(None, 0)
    return counted
