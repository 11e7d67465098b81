"""Whose conversations go, and what earlier purges left behind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.utils import timezone
from pytest_django import Settings

from chatkit_endpoint.models import Attachment, Thread
from chatkit_endpoint.retention import (
    PurgeSummary,
    Scope,
    purge_scope,
    survey,
)
from observability.models import Turn
from tests.chatkit_endpoint.conversations import (
    A_MONTH_AGO,
    ONE,
    found,
    is_gone,
    is_whole,
    plant,
    plant_attachment,
    plant_many,
    plant_turn,
    rows_of_all_tables,
)

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def media(settings: Settings, tmp_path: Path) -> Path:
    settings.MEDIA_ROOT = tmp_path / "media"
    return tmp_path / "media"


@pytest.fixture
def alice() -> User:
    return User.objects.create_user("alice")


@pytest.fixture
def bob() -> User:
    return User.objects.create_user("bob")


def test_everything_is_not_a_scope() -> None:
    with pytest.raises(ValueError, match="a time or a user"):
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
    assert purge_scope(Scope(user=alice)) == ONE + ONE
    assert all(is_gone(each, media) for each in going)
    assert is_whole(kept, media)


def test_by_both_only_what_is_old_and_theirs_goes(alice: User, bob: User, media: Path) -> None:
    going = plant(alice)
    kept = [plant(alice, written_at=timezone.now()), plant(bob)]
    assert purge_scope(Scope(idle_since=A_MONTH_AGO, user=alice)) == ONE
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
    summary = purge_scope(Scope(idle_since=A_MONTH_AGO, user=alice))
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
    assert purge_scope(Scope(idle_since=A_MONTH_AGO, user=alice)) == PurgeSummary(turns=1)
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
    for scope in (Scope(idle_since=A_MONTH_AGO), Scope(user=alice), Scope(user=bob)):
        expected = survey(scope)
        assert expected != PurgeSummary()
        assert (rows_of_all_tables(), sorted(media.rglob("*"))) == (before, files)
        assert purge_scope(scope) == expected
        before, files = rows_of_all_tables(), sorted(media.rglob("*"))


def test_what_the_deletion_of_an_account_leaves_goes_by_age(alice: User, media: Path) -> None:
    conversation = plant(alice)
    alice.delete()
    assert not Thread.objects.exists()
    summary = purge_scope(Scope(idle_since=A_MONTH_AGO))
    assert summary == PurgeSummary(attachments=1, files=1, turns=1)
    assert is_gone(conversation, media)


@pytest.mark.skipif(connection.vendor != "sqlite", reason="SQLite counts its steps.")
def test_the_work_of_a_survey_grows_as_the_threads_do(alice: User) -> None:
    """It took minutes when every thread looked at every turn of its owner."""
    plant_many(alice, 100, turns=5)
    plant_turn(alice, {}, "thr_0", running=True)
    steps_for_100 = steps(lambda: survey(Scope(user=alice)))
    Thread.objects.all().delete()
    Turn.objects.all().delete()
    plant_many(alice, 1000, turns=5)
    plant_turn(alice, {}, "thr_0", running=True)
    assert steps(lambda: survey(Scope(user=alice))) < 20 * steps_for_100


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
