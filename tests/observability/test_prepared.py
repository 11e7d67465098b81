"""Prepared statements do what the ORM does, again and again."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from cryptography.fernet import Fernet
from django.core.exceptions import ValidationError
from django.db import IntegrityError, connection, transaction
from django.db.models import BigAutoField, CharField, DateTimeField, DurationField
from django.db.models.constants import OnConflict
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import Settings

from observability.models import Message, Turn, TurnSpans
from observability.prepared import (
    Delete,
    Insert,
    InsertSelect,
    Param,
    Ready,
    Select,
    Update,
    run_together,
)

pytestmark = pytest.mark.django_db

on_postgresql = pytest.mark.skipif(connection.vendor != "postgresql", reason="PostgreSQL's own")

KEY = Param("key", CharField())
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def a_turn(key: str, **values: Any) -> Turn:
    return Turn.objects.create(trace_id=key, status="completed", started_at=NOON, **values)


def test_a_select_finds_what_it_is_told_each_time() -> None:
    one, two = a_turn("1" * 32), a_turn("2" * 32)
    keys = Select(Turn.objects.filter(trace_id=KEY).values_list("pk"))
    assert keys.rows(key=one.trace_id) == [(one.pk,)]
    assert keys.first(key=two.trace_id) == (two.pk,)
    assert keys.first(key="3" * 32) is None


@pytest.mark.parametrize("field", Turn._meta.concrete_fields, ids=lambda field: field.name)
def test_a_parameter_gives_the_database_what_its_field_gives_it(field: Any) -> None:
    for value in (None, "", "1", "text", 0, 1, True, Turn.Status.FAILED, NOON):
        try:
            expected = field.get_db_prep_save(value, connection)
        except (TypeError, ValueError, ArithmeticError, ValidationError, AttributeError) as error:
            with pytest.raises(type(error)):
                Param("value", field).ready(value, connection)
        else:
            ready = Param("value", field).ready(value, connection)
            assert (type(ready), ready) == (type(expected), expected)


def test_a_select_gives_the_values_that_the_orm_gives(settings: Settings) -> None:
    settings.OBSERVABILITY_ENCRYPTION_KEYS = [Fernet.generate_key().decode()]
    turn = a_turn("1" * 32, prompt="What time is it?", cost_usd="0.25")
    TurnSpans.objects.create(turn=turn, spans=[{"id": "s1"}])
    found = Turn.objects.filter(trace_id=KEY).values_list(
        "started_at", "prompt", "cost_usd", "span_row__spans", "ended_at"
    )
    assert Select(found).rows(key=turn.trace_id) == list(
        Turn.objects.values_list("started_at", "prompt", "cost_usd", "span_row__spans", "ended_at")
    )


def test_a_select_may_be_of_a_slice_and_lock() -> None:
    for key in "123":
        a_turn(key * 32)
    newest = Turn.objects.filter(started_at__gte=Param("since", DateTimeField())).order_by("-pk")
    locked = Select(newest.select_for_update().values_list("trace_id")[:2])
    with transaction.atomic():
        assert locked.rows(since=NOON) == [("3" * 32,), ("2" * 32,)]
        assert locked.rows(since=NOON + timedelta(seconds=1)) == []


def test_an_update_writes_what_it_is_told_and_says_how_often() -> None:
    turn, other = a_turn("1" * 32), a_turn("2" * 32)
    change = Update(
        Turn.objects.filter(trace_id=KEY),
        operation="threads.create",
        lease_expires_at=Now() + Param("lease", DurationField()),
    )
    assert change.run(key=turn.trace_id, lease=timedelta(hours=1)) == 1
    assert change.run(key="3" * 32, lease=timedelta(hours=1)) == 0
    turn.refresh_from_db()
    other.refresh_from_db()
    assert turn.operation == "threads.create"
    assert turn.lease_expires_at is not None
    assert abs(turn.lease_expires_at - timezone.now() - timedelta(hours=1)) < timedelta(minutes=1)
    assert other.lease_expires_at is None


def test_an_update_encrypts_what_the_field_encrypts(settings: Settings) -> None:
    settings.OBSERVABILITY_ENCRYPTION_KEYS = [Fernet.generate_key().decode()]
    turn = a_turn("1" * 32)
    change = Update(
        Turn.objects.filter(trace_id=KEY), response=Param("text", Turn._meta.get_field("response"))
    )
    change.run(key=turn.trace_id, text="It is noon.")
    with connection.cursor() as cursor:
        cursor.execute("SELECT response FROM observability_turn")
        assert cursor.fetchone()[0].startswith("fernet:")
    turn.refresh_from_db()
    assert turn.response == "It is noon."


def test_an_insert_adds_whole_rows_and_gives_them_their_keys() -> None:
    lease = Now() + Param("lease", DurationField())
    add = Insert(Turn, expressions={"lease_expires_at": lease}, gives_keys=True)
    turns = [Turn(trace_id=key * 32, started_at=NOON, input_tokens=3) for key in "12"]
    add.run(turns, lease=timedelta(hours=1))
    kept = list(Turn.objects.order_by("trace_id"))
    assert [each.pk for each in kept] == [each.pk for each in turns]
    for each in kept:
        assert (each.status, each.input_tokens, each.cost_usd) == ("running", 3, None)
        assert each.lease_expires_at is not None
        assert each.lease_expires_at > timezone.now() + timedelta(minutes=59)


@pytest.mark.parametrize(("rows", "statements"), [(0, 0), (1, 1), (16, 1), (17, 2)])
def test_an_insert_adds_many_rows_at_once(rows: int, statements: int) -> None:
    turn = a_turn("1" * 32)
    lines = [
        Message(turn=turn, position=each, kind="prompt", text=f"{each}", created_at=NOON)
        for each in range(rows)
    ]
    with CaptureQueriesContext(connection) as queries:
        Insert(Message).run(lines)
    assert len(queries) == statements
    kept = Message.objects.order_by("position").values_list("text", flat=True)
    assert list(kept) == [str(each) for each in range(rows)]


def test_an_insert_may_leave_what_is_there_or_overwrite_it() -> None:
    turn = a_turn("1" * 32)

    def line(text: str) -> Message:
        return Message(turn=turn, position=0, kind="prompt", text=text, created_at=NOON)

    def kept() -> list[str]:
        return list(Message.objects.values_list("text", flat=True))

    put = Insert(
        Message,
        on_conflict=OnConflict.UPDATE,
        unique_fields=("turn", "position"),
        update_fields=("text",),
    )
    put.run([line("one")])
    put.run([line("two")])
    assert kept() == ["two"]
    Insert(Message, on_conflict=OnConflict.IGNORE).run([line("three")])
    assert kept() == ["two"]
    with pytest.raises(IntegrityError), transaction.atomic():
        Insert(Message).run([line("four")])


def test_an_insert_gives_no_key_where_a_row_was_there() -> None:
    add = Insert(Turn, on_conflict=OnConflict.IGNORE, gives_keys=True)
    first, second = (Turn(trace_id="1" * 32, status="completed", started_at=NOON) for _ in "12")
    assert add.run([first]) == 1
    assert add.run([second]) == 0
    assert first.pk == Turn.objects.get().pk
    assert second.pk is None


def test_an_insert_gives_keys_also_where_the_database_returns_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if connection.vendor != "sqlite":
        pytest.skip("SQLite before 3.35")
    monkeypatch.setattr(connection.features, "can_return_columns_from_insert", False)
    turn = Turn(trace_id="1" * 32, status="completed", started_at=NOON)
    Insert(Turn, gives_keys=True).run([turn])
    assert Turn.objects.get().pk == turn.pk


def test_an_insert_of_what_is_found_adds_a_row_for_each_and_none_for_none(
    settings: Settings,
) -> None:
    settings.OBSERVABILITY_ENCRYPTION_KEYS = [Fernet.generate_key().decode()]
    turn = a_turn("1" * 32)
    fields = ("position", "kind", "item_id", "text", "created_at")
    values = [Param(name, Message._meta.get_field(name)) for name in fields]
    found = Turn.objects.filter(trace_id=KEY).order_by().values_list("pk", *values)

    def lines(on_conflict: OnConflict, **others: Any) -> InsertSelect:
        return InsertSelect(Message, ("turn", *fields), found, on_conflict=on_conflict, **others)

    def told(key: str, text: str) -> dict[str, Any]:
        return {
            "key": key,
            "position": 0,
            "kind": Message.Kind.PROMPT,
            "item_id": "",
            "text": text,
            "created_at": NOON,
        }

    add = lines(OnConflict.IGNORE)
    put = lines(OnConflict.UPDATE, unique_fields=("turn", "position"), update_fields=("text",))
    assert [each.ready(**told("2" * 32, "nobody's")).run() for each in (add, put)] == [0, 0]
    assert not Message.objects.exists()
    assert add.ready(**told(turn.trace_id, "one")).run() == 1
    assert add.ready(**told(turn.trace_id, "two")).run() == 0
    assert Message.objects.get().text == "one"
    assert put.ready(**told(turn.trace_id, "three")).run() == 1
    kept = Message.objects.get()
    assert (kept.turn, kept.kind, kept.text, kept.created_at) == (turn, "prompt", "three", NOON)
    with connection.cursor() as cursor:
        cursor.execute("SELECT text FROM observability_message")
        assert cursor.fetchone()[0].startswith("fernet:")


def test_nothing_may_be_told_that_is_not_asked_for() -> None:
    everybodys = Select(Turn.objects.filter(trace_id=KEY).values_list("pk"))
    with pytest.raises(TypeError, match="owner_key"):
        everybodys.rows(key="1" * 32, owner_key="user:1")
    with pytest.raises(TypeError):
        Delete(Turn.objects.all()).run(owner_key="user:1")
    with pytest.raises(TypeError):
        everybodys.rows()


def test_a_delete_takes_what_it_is_told() -> None:
    turn, other = a_turn("1" * 32), a_turn("2" * 32)
    remove = Delete(Turn.objects.filter(pk=Param("pk", BigAutoField())))
    assert remove.run(pk=turn.pk) == 1
    assert remove.run(pk=turn.pk) == 0
    assert list(Turn.objects.all()) == [other]


class TestTogether:
    """Several statements, as one transaction."""

    REMOVE = Delete(Turn.objects.filter(trace_id=KEY))
    ADD = Insert(Turn, gives_keys=True)

    def _statements(self, add: str, *remove: str) -> list[Ready]:
        added = self.ADD.ready([Turn(trace_id=add, status="completed", started_at=NOON)])
        return [*added, *(self.REMOVE.ready(key=key) for key in remove)]

    def test_each_says_how_many_rows_it_had(self) -> None:
        a_turn("1" * 32)
        turn = Turn(trace_id="%s" * 16, status="failed", started_at=NOON, prompt="100 %; %(key)s")
        rows = run_together(
            self.REMOVE.ready(key="1" * 32),
            self.REMOVE.ready(key="1" * 32),
            *self.ADD.ready([turn]),
            *Insert(Message).ready([]),
        )
        assert rows == [1, 0, 1]
        kept = Turn.objects.get()
        assert (kept.pk, kept.trace_id, kept.prompt) == (turn.pk, "%s" * 16, "100 %; %(key)s")

    def test_none_of_them_is_nothing(self) -> None:
        assert run_together() == []

    @pytest.mark.django_db(transaction=True)
    @pytest.mark.parametrize("is_forgettable", [False, True])
    def test_all_of_them_are_kept_or_none(self, *, is_forgettable: bool) -> None:
        turn = a_turn("1" * 32)
        with pytest.raises(IntegrityError):
            run_together(
                self.REMOVE.ready(key=turn.trace_id),
                *self._statements("2" * 32),
                *self._statements("2" * 32),
                is_forgettable=is_forgettable,
            )
        assert list(Turn.objects.all()) == [turn]
        rows = run_together(*self._statements("2" * 32, "1" * 32), is_forgettable=is_forgettable)
        assert rows == [1, 1]
        assert Turn.objects.get().trace_id == "2" * 32

    def test_they_are_part_of_the_transaction_that_they_are_run_in(self) -> None:
        with transaction.atomic():
            run_together(*self._statements("1" * 32, "2" * 32), is_forgettable=True)
            transaction.set_rollback(True)
        assert not Turn.objects.exists()

    @pytest.mark.django_db(transaction=True)
    @on_postgresql
    def test_postgresql_gets_them_in_one_message(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for is_forgettable, expected in ((False, 0), (True, 1)):
            with CaptureQueriesContext(connection) as queries:
                run_together(*self._statements("1" * 32, "1" * 32), is_forgettable=is_forgettable)
            (message,) = (each["sql"] for each in queries.captured_queries)
            assert message.count("synchronous_commit TO off") == expected

    @pytest.mark.django_db(transaction=True)
    @on_postgresql
    @pytest.mark.parametrize("why", ["values go beside it", "psycopg 2"])
    def test_postgresql_gets_one_after_the_other_where_it_takes_no_more(
        self, why: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        if why == "psycopg 2":
            monkeypatch.setattr(cast("Any", connection).Database, "__name__", "psycopg2")
        else:
            monkeypatch.setattr(connection.features, "uses_server_side_binding", True)
        with CaptureQueriesContext(connection) as queries:
            assert run_together(*self._statements("1" * 32, "1" * 32), is_forgettable=True) == [
                1,
                1,
            ]
        texts = [each["sql"] for each in queries.captured_queries]
        assert sum("synchronous_commit TO off" in each for each in texts) == 1
        assert not any("; " in each for each in texts)

    @pytest.mark.django_db(transaction=True)
    @on_postgresql
    def test_each_goes_to_its_own_database(self) -> None:
        other = connection.copy()
        asks: Any = ("SELECT pg_backend_pid()", [], lambda cursor: cursor.fetchone()[0])
        try:
            here, there = run_together(Ready(connection, *asks), Ready(other, *asks))
        finally:
            other.close()
        assert here != there

    @staticmethod
    def _is_on(cursor: Any) -> int:
        return int(cursor.fetchone()[0] == "on")

    @pytest.mark.django_db(transaction=True)
    @on_postgresql
    def test_what_may_be_forgotten_says_so_of_its_own_transaction_only(self) -> None:
        def waits() -> str:
            with connection.cursor() as cursor:
                cursor.execute("SHOW synchronous_commit")
                return str(cursor.fetchone()[0])

        with connection.cursor() as cursor:
            cursor.execute("SET synchronous_commit TO on")
        # In place of a number of rows it says what it found there.
        told = Ready(connection, "SHOW synchronous_commit", [], self._is_on)
        try:
            assert run_together(told, told, is_forgettable=True) == [0, 0]
            assert run_together(told, told) == [1, 1]
            with transaction.atomic():
                assert run_together(told, is_forgettable=True) == [1]
            assert waits() == "on"
        finally:
            with connection.cursor() as cursor:
                cursor.execute("RESET synchronous_commit")


def test_what_fails_in_a_transaction_has_broken_it() -> None:
    turn = a_turn("1" * 32)
    with transaction.atomic():  # A savepoint of the test's own transaction.
        with pytest.raises(IntegrityError):
            Insert(Turn).run([Turn(trace_id=turn.trace_id, started_at=NOON)])
        assert connection.needs_rollback
        transaction.set_rollback(True)


def test_it_is_worded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    words: list[str] = []
    word = Select._word

    def counted(self: Select, connection: Any, rows: int) -> Any:
        words.append(connection.alias)
        return word(self, connection, rows)

    monkeypatch.setattr(Select, "_word", counted)
    keys = Select(Turn.objects.filter(trace_id=KEY).values_list("pk"))
    with CaptureQueriesContext(connection) as queries:
        for key in "123":
            keys.rows(key=key * 32)
    assert len(queries) == 3
    assert words == ["default"]


@pytest.mark.django_db(transaction=True)
def test_any_thread_may_run_what_another_has_worded() -> None:
    turn = a_turn("1" * 32)
    keys = Select(Turn.objects.filter(trace_id=KEY).values_list("started_at"))
    here, there = keys.rows(key=turn.trace_id), []

    def work() -> None:
        there.extend(keys.rows(key=turn.trace_id))
        connection.close()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert there == here == [(NOON,)]
