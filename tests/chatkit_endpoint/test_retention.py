"""What is to go is gone: every text of a conversation, and nobody else's."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from chatkit_endpoint import retention
from chatkit_endpoint.models import Attachment, Thread, ThreadItem
from chatkit_endpoint.retention import (
    PurgeSummary,
    purge,
    purge_attachments,
    sweep_unsent,
)
from chatkit_endpoint.scopes import Scope, purge_scope, survey
from observability.models import Message, Turn
from tests.chatkit_endpoint.conversations import (
    A_MONTH_AGO,
    ONE,
    found,
    is_gone,
    is_whole,
    owner_of,
    plant,
    plant_attachment,
    plant_turn,
    rows_of_all_tables,
)

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("media")]


class TestProof:
    def test_nothing_of_it_is_left_in_any_column_or_file(
        self, alice: User, bob: User, media: Path
    ) -> None:
        going, kept = plant(alice), plant(bob)
        assert is_whole(going, media)
        assert is_whole(kept, media)
        assert purge(Thread.objects.filter(user=alice)) == ONE
        assert found(going.marks.values(), media) == set()
        assert is_whole(kept, media)

    def test_the_metrics_of_its_turns_stay(self, alice: User) -> None:
        turn = plant(alice).turn
        purge(Thread.objects.all())
        turn.refresh_from_db()
        assert turn.is_text_purged
        assert (turn.status, turn.total_ms) == (Turn.Status.COMPLETED, 1234)

    def test_rows_of_others_are_not_even_written(self, alice: User, bob: User, media: Path) -> None:
        kept = plant(bob)
        before = rows_of_all_tables()
        going = plant(alice)
        purge(Thread.objects.filter(user=alice))
        going.turn.deliveries.all().delete()
        going.turn.delete()
        after = rows_of_all_tables()
        for table in ("thread", "threaditem", "attachment"):
            assert after[f"chatkit_endpoint_{table}"] == before[f"chatkit_endpoint_{table}"]
        for table in ("turn", "message", "delivery"):
            assert after[f"observability_{table}"] == before[f"observability_{table}"]
        assert is_whole(kept, media)

    @pytest.mark.parametrize("other", [{"tenant": "acme"}, {"owner_key": "guest:1"}])
    def test_the_turn_of_another_owner_in_a_thread_of_the_same_name_keeps_its_text(
        self, alice: User, bob: User, other: dict[str, str]
    ) -> None:
        thread = plant(alice).thread
        turn = plant_turn(bob, {}, thread.key)
        Turn.objects.filter(pk=turn.pk).update(
            **{"owner_key": thread.owner_key, "tenant": thread.tenant, **other}
        )
        purge(Thread.objects.filter(pk=thread.pk))
        turn.refresh_from_db()
        assert not turn.is_text_purged
        assert turn.messages.count() == 3


class TestRunningTurns:
    def test_a_thread_with_a_running_turn_is_left_whole_and_counted(
        self, alice: User, media: Path
    ) -> None:
        going, busy = plant(alice), plant(alice, running=True)
        earlier: dict[str, str] = {}
        plant_turn(alice, earlier, busy.thread.key)
        assert purge(Thread.objects.all()) == ONE + PurgeSummary(skipped=1)
        assert is_gone(going, media)
        assert is_whole(busy, media)
        assert found(earlier.values(), media) == set(earlier.values())

    def test_it_goes_when_the_turn_has_ended(self, alice: User, media: Path) -> None:
        busy = plant(alice, running=True)
        purge(Thread.objects.all())
        Turn.objects.update(status=Turn.Status.CANCELLED)
        assert purge(Thread.objects.all()) == ONE
        assert is_gone(busy, media)

    def test_the_running_turn_of_another_owner_does_not_keep_a_thread(
        self, alice: User, bob: User
    ) -> None:
        thread = plant(alice).thread
        plant_turn(bob, {}, thread.key, running=True)
        assert survey(Scope(owner=owner_of(alice))).threads == 1
        assert purge(Thread.objects.all()).threads == 1

    def test_an_owner_who_deletes_need_not_wait_for_it(self, alice: User, media: Path) -> None:
        busy = plant(alice, running=True)
        assert purge(Thread.objects.all(), even_running=True) == ONE
        assert is_gone(busy, media)
        busy.turn.refresh_from_db()
        assert busy.turn.status == Turn.Status.RUNNING
        assert busy.turn.is_text_purged


class TestBatches:
    @pytest.mark.parametrize("batch_size", [1, 2, 500])
    def test_the_size_of_a_batch_changes_nothing(
        self, alice: User, media: Path, batch_size: int
    ) -> None:
        conversations = [plant(alice) for _ in range(3)]
        batches: list[PurgeSummary] = []
        summary = purge(Thread.objects.all(), batch_size=batch_size, on_batch=batches.append)
        assert summary == ONE + ONE + ONE
        assert sum(batches, PurgeSummary()) == summary
        assert max(batch.threads for batch in batches) == min(batch_size, 3)
        assert all(is_gone(each, media) for each in conversations)

    def test_a_batch_of_nothing_is_refused(self) -> None:
        with pytest.raises(ValueError, match="at least one"):
            purge(Thread.objects.all(), batch_size=0)

    def test_it_refuses_to_run_in_a_transaction(self, alice: User, media: Path) -> None:
        """Files would go before anybody knows whether the rows do."""
        conversation = plant(alice)
        with pytest.raises(RuntimeError), transaction.atomic():
            purge(Thread.objects.all())
        assert is_whole(conversation, media)

    def test_its_queries_do_not_grow_with_the_batch(self, alice: User) -> None:
        def queries(count: int) -> list[str]:
            for _ in range(count):
                plant(alice)
            with CaptureQueriesContext(connection) as captured:
                assert purge(Thread.objects.all()).threads == count
            return [query["sql"] for query in captured]

        few, many = queries(1), queries(40)
        assert len(many) == len(few) <= 30
        # Nor does its memory: what is long is deleted unread.
        read = "\n".join(query for query in many if query.startswith("SELECT"))
        for column in ("payload", "title", "prompt", "response", "text"):
            assert f'"{column}"' not in read

    def test_a_thread_that_is_written_in_meanwhile_stays(self, alice: User, media: Path) -> None:
        """Between the look-up of a batch and its lock."""
        idle, woken = plant(alice), plant(alice)
        statements = 0

        def write_before_second(
            execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any
        ) -> Any:
            nonlocal statements
            statements += 1
            if statements == 2:
                Thread.objects.filter(pk=woken.thread.pk).update(updated_at=timezone.now())
            return execute(sql, params, many, context)

        with connection.execute_wrapper(write_before_second):
            assert purge(Thread.objects.idle_since(A_MONTH_AGO)) == ONE
        assert is_gone(idle, media)
        assert is_whole(woken, media)

    def test_two_purges_at_once_share_the_work(self, alice: User, media: Path) -> None:
        conversations = [plant(alice) for _ in range(20)]
        summaries: list[PurgeSummary] = []

        def work() -> None:
            try:
                summaries.append(purge(Thread.objects.all(), batch_size=1))
            finally:
                connection.close()

        threads = [threading.Thread(target=work) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert len(summaries) == 2
        total = sum(summaries, PurgeSummary())
        assert (total.threads, total.items, total.turns, total.files_left) == (20, 40, 20, 0)
        assert all(is_gone(each, media) for each in conversations)


class TestInterruption:
    def test_what_is_done_stays_done_and_the_rest_stays_whole(
        self, alice: User, media: Path
    ) -> None:
        conversations = [plant(alice) for _ in range(3)]
        batches = 0

        def interrupt_after_two(done: PurgeSummary) -> None:
            nonlocal batches
            batches += 1
            if batches == 2:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            purge(Thread.objects.all(), batch_size=1, on_batch=interrupt_after_two)
        assert [is_gone(each, media) for each in conversations] == [True, True, False]
        assert is_whole(conversations[2], media)
        assert purge(Thread.objects.all()) == ONE
        assert is_gone(conversations[2], media)

    def test_it_may_be_interrupted_at_every_statement(self, alice: User, media: Path) -> None:
        """A thread is whole or gone, no file is without a row, and the next purge ends the work."""
        scope = Scope(owner=owner_of(alice))
        interrupted, at = True, 0
        while interrupted:
            at += 1
            conversations = [plant(alice) for _ in range(2)]
            with connection.execute_wrapper(_Interruption(at)):
                try:
                    purge_scope(scope, batch_size=1)
                    interrupted = False
                except KeyboardInterrupt:
                    pass
            for each in conversations:
                if Thread.objects.filter(pk=each.thread.pk).exists():
                    assert is_whole(each, media), f"statement {at}"
                elif each.file.exists():
                    assert Attachment.objects.filter(pk=each.attachment.pk).exists(), at
            purge_scope(scope)
            assert all(is_gone(each, media) for each in conversations), f"statement {at}"
            Turn.objects.all().delete()
        assert at > 20


class _Interruption:
    """Ctrl-C before a given statement."""

    def __init__(self, at: int) -> None:
        self.left = at

    def __call__(
        self, execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any
    ) -> Any:
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt
        return execute(sql, params, many, context)


class TestFiles:
    def test_a_missing_file_is_as_good_as_deleted(self, alice: User, media: Path) -> None:
        conversation = plant(alice)
        conversation.file.unlink()
        assert purge(Thread.objects.all()) == ONE
        assert is_gone(conversation, media)

    def test_what_the_storage_does_not_delete_is_kept_and_said(
        self, alice: User, media: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        stuck, other = plant(alice), plant(alice)
        make_undeletable(stuck.file)
        with caplog.at_level(logging.ERROR):
            summary = purge(Thread.objects.all())
        assert summary == PurgeSummary(
            threads=2, items=4, attachments=1, files=1, turns=2, files_left=1
        )
        assert is_gone(other, media)
        stuck.attachment.refresh_from_db()
        assert stuck.attachment.thread is None
        assert stuck.attachment.key in caplog.text
        assert stuck.marks["file-name"] not in caplog.text

    def test_the_next_purge_of_the_same_age_tries_again(self, alice: User, media: Path) -> None:
        stuck = plant(alice)
        make_undeletable(stuck.file)
        purge(Thread.objects.all())
        (stuck.file / "inside").unlink()
        assert purge_scope(Scope(idle_since=A_MONTH_AGO)) == PurgeSummary(attachments=1, files=1)
        assert is_gone(stuck, media)

    def test_a_purge_counts_a_stuck_file_once(self, alice: User) -> None:
        make_undeletable(plant(alice).file)
        assert purge_scope(Scope(owner=owner_of(alice))).files_left == 1
        assert purge_scope(Scope(owner=owner_of(alice))).files_left == 1

    def test_attachments_go_alone_too(self, alice: User, media: Path) -> None:
        conversation = plant(alice)
        summary = purge_attachments(Attachment.objects.filter(user=alice))
        assert summary == PurgeSummary(attachments=1, files=1)
        assert not conversation.file.exists()
        assert Thread.objects.filter(pk=conversation.thread.pk).exists()


def make_undeletable(file: Path) -> None:
    """A folder that is not empty: for storages that fail, whoever runs the tests."""
    file.unlink()
    file.mkdir()
    (file / "inside").touch()


def test_a_long_list_of_attachments_is_deleted_in_parts(
    alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Databases limit the parameters of a statement."""
    monkeypatch.setattr(retention, "BATCH_SIZE", 2)
    thread = plant(alice).thread
    for _ in range(4):
        plant_attachment(alice, {}, thread=thread)
    assert purge(Thread.objects.all()).attachments == 5
    assert not Attachment.objects.exists()
    assert not ThreadItem.objects.exists()
    assert not Message.objects.exists()


class TestSweeping:
    """What was uploaded and never sent."""

    def test_of_uploads_only_the_forgotten_ones_go(self, alice: User, media: Path) -> None:
        sent = plant(alice)
        marks: dict[str, str] = {}
        plant_attachment(alice, marks, created_at=timezone.now() - timedelta(hours=25))
        kept: dict[str, str] = {}
        plant_attachment(alice, kept, created_at=timezone.now() - timedelta(hours=23))
        assert sweep_unsent() == PurgeSummary(attachments=1, files=1)
        assert not found(marks.values(), media)
        assert found(kept.values(), media) == set(kept.values())
        assert is_whole(sent, media)

    def test_it_costs_one_query_where_there_is_nothing(
        self, django_assert_num_queries: DjangoAssertNumQueries
    ) -> None:
        with django_assert_num_queries(1):
            assert sweep_unsent() == PurgeSummary()

    def test_it_stops_when_its_time_is_over_and_goes_on_the_next_time(
        self, alice: User, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for _ in range(3):
            plant_attachment(alice, {})
        monkeypatch.setattr(retention, "SWEEP_SECONDS", -1.0)
        assert [sweep_unsent(batch_size=2).attachments for _ in range(3)] == [2, 1, 0]
