"""Where an account goes, all text of its conversations goes, however it is deleted."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import transaction
from django.test import Client

from chatkit_endpoint import account_deletion, scopes
from chatkit_endpoint.models import Attachment, Thread
from chatkit_endpoint.owners import Owner
from chatkit_endpoint.scopes import purge_owner, sweep_deleted_accounts
from observability.models import ClientEvent, Delivery, Feedback, Hold, Turn
from tests.chatkit_endpoint.conversations import (
    Conversation,
    found,
    is_gone,
    is_whole,
    plant,
    plant_attachment,
    plant_turn,
)
from tests.factories import make_client_event, make_thread

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("media")]


def hold_thread(conversation: Conversation) -> None:
    thread = conversation.thread
    Hold.objects.create(
        tenant=thread.tenant, owner_key=thread.owner_key, thread_id=thread.key, reason="A claim."
    )


def test_its_threads_files_and_texts_go_in_all_tenants(alice: User, bob: User, media: Path) -> None:
    going = [plant(alice), plant(alice, tenant="acme"), plant(alice, running=True)]
    loose: dict[str, str] = {}
    stray: dict[str, str] = {}
    plant_attachment(alice, loose)
    plant_turn(alice, stray, "thr_gone")
    kept = plant(bob)
    alice.delete()
    assert all(is_gone(each, media) for each in going)
    assert not found([*loose.values(), *stray.values()], media)
    assert is_whole(kept, media)


def test_figures_stay_and_what_they_did_when_goes(alice: User) -> None:
    turn = plant(alice).turn
    event = make_client_event(turn)
    delivery = Delivery.objects.create(
        destination="anosys", event_id=event.event_id, kind="action", client_event=event
    )
    Feedback.objects.create(
        turn=turn,
        owner_key=turn.owner_key,
        thread_id=turn.thread_id,
        item_id="1",
        kind="positive",
        first_kind="positive",
    )
    alice.delete()
    turn.refresh_from_db()
    assert (turn.user, turn.is_text_purged, turn.total_ms) == (None, True, 1234)
    assert not ClientEvent.objects.exists()
    assert not Feedback.objects.exists()
    delivery.refresh_from_db()
    assert delivery.state == Delivery.State.PURGED


def test_many_at_once_go_too(alice: User, bob: User, media: Path) -> None:
    going = [plant(alice), plant(bob)]
    kept = plant(User.objects.create_user("carol"))
    User.objects.filter(username__in=("alice", "bob")).delete()
    assert all(is_gone(each, media) for each in going)
    assert is_whole(kept, media)


def test_the_admin_deletes_as_thoroughly(
    client: Client, admin_user: User, alice: User, media: Path
) -> None:
    going = plant(alice)
    client.force_login(admin_user)
    answer = client.post(f"/admin/auth/user/{alice.pk}/delete/", {"post": "yes"})
    assert answer.status_code == 302
    assert not User.objects.filter(pk=alice.pk).exists()
    assert is_gone(going, media)


def test_a_deletion_that_is_rolled_back_costs_nothing(alice: User, media: Path) -> None:
    planted = plant(alice)
    with pytest.raises(RuntimeError), transaction.atomic():
        alice.delete()
        raise RuntimeError
    assert is_whole(planted, media)
    assert Thread.objects.get().user == User.objects.get()


class TestHolds:
    def test_what_is_on_hold_stays_whole_without_its_account(
        self, alice: User, media: Path
    ) -> None:
        held, going = plant(alice), plant(alice)
        hold_thread(held)
        event = make_client_event(held.turn, thread_id=held.thread.key)
        alice.delete()
        assert is_whole(held, media)
        assert is_gone(going, media)
        thread = Thread.objects.get()
        assert (thread.user, thread.owner_key) == (None, held.thread.owner_key)
        assert ClientEvent.objects.get() == event

    def test_it_goes_when_the_hold_is_released(self, alice: User, media: Path) -> None:
        held = plant(alice)
        hold_thread(held)
        alice.delete()
        sweep_deleted_accounts()
        assert is_whole(held, media)
        Hold.objects.all().delete()
        sweep_deleted_accounts()
        assert is_gone(held, media)


class TestSweep:
    """What a process that died between the deletion and the purge has left."""

    @pytest.fixture
    def _dead(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(account_deletion, "purge_owner", lambda owner: None)

    @pytest.mark.usefixtures("_dead")
    def test_it_is_found_and_removed(self, alice: User, bob: User, media: Path) -> None:
        going, kept = [plant(alice), plant(alice, tenant="acme")], plant(bob)
        alice.delete()
        assert not any(is_gone(each, media) for each in going)
        sweep_deleted_accounts()
        assert all(is_gone(each, media) for each in going)
        assert is_whole(kept, media)

    @pytest.mark.usefixtures("_dead")
    def test_also_where_only_a_file_is_left(self, alice: User, media: Path) -> None:
        marks: dict[str, str] = {}
        plant_attachment(alice, marks)
        alice.delete()
        sweep_deleted_accounts()
        assert not found(marks.values(), media)
        assert not Attachment.objects.exists()

    def test_guests_and_accounts_that_are_there_keep_what_they_have(
        self, alice: User, media: Path
    ) -> None:
        make_thread("A guest's")
        # Not ours to judge: whoever made it names no account, yet there is one.
        planted = plant(alice)
        Thread.objects.filter(pk=planted.thread.pk).update(user=None)
        make_thread("Of another kind", owner_key="user:somebody@example.com")
        sweep_deleted_accounts()
        assert Thread.objects.count() == 3
        assert is_whole(planted, media)

    @pytest.mark.usefixtures("_dead")
    def test_it_takes_no_longer_than_the_worker_can_spare(
        self, alice: User, bob: User, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(scopes, "SWEEP_SECONDS", -1)
        plant(alice)
        plant(bob)
        User.objects.all().delete()
        sweep_deleted_accounts()
        assert Thread.objects.count() == 1


def test_a_purge_that_fails_is_said_and_keeps_nobody_else_s_from_running(
    alice: User,
    bob: User,
    media: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    of_alice, of_bob = plant(alice), plant(bob)

    def fail_for_one(owner: Owner) -> Any:
        if owner.owner_key == of_alice.thread.owner_key:
            raise OSError("secret of a storage")
        return purge_owner(owner)

    monkeypatch.setattr(account_deletion, "purge_owner", fail_for_one)
    with caplog.at_level(logging.ERROR):
        User.objects.all().delete()
    assert "OSError" in caplog.text
    assert "secret" not in caplog.text
    assert is_gone(of_bob, media)
    assert is_whole(of_alice, media)
    monkeypatch.undo()
    sweep_deleted_accounts()
    assert is_gone(of_alice, media)


def test_the_deletion_of_other_models_is_not_watched() -> None:
    """A listener for all would make every deletion read its rows one by one."""
    from django.db.models.signals import pre_delete

    assert pre_delete.has_listeners(User)
    assert not pre_delete.has_listeners(Turn)
