"""Statements that Django's ORM words once, and that are then only told their values.

To word a query takes the ORM half a millisecond, to run it takes the database a tenth of that, and
a turn needs twenty of them. So what every turn does is declared as a queryset over :class:`Param`,
beside the code that needs it, and worded at its first use, by the ORM as any other. For any thread.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from django.db import connections, models, router, transaction
from django.db.models.constants import OnConflict
from django.db.models.expressions import Expression
from django.db.models.sql import DeleteQuery, InsertQuery, UpdateQuery

from .database import FORGETTABLE, forgettable_transaction

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.models.sql.compiler import SQLCompiler


ROWS_AT_ONCE = 16


_AS_IT_IS: dict[type, type] = {
    models.CharField: str,
    models.TextField: str,
    models.BigAutoField: int,
    models.ForeignKey: int,
}
"""Fields, none of a subclass, and the type of which they hand every value to the database."""


class Param(Expression):
    """A value that is told each time, and made ready for the database as this field does it."""

    def __init__(self, name: str, field: Any) -> None:
        super().__init__(output_field=field)
        self.name = name
        self._as_it_is = _AS_IT_IS.get(type(field))

    def ready(self, value: Any, connection: BaseDatabaseWrapper) -> Any:
        if self._as_it_is and (value is None or type(value) is self._as_it_is):
            return value
        return self.output_field.get_db_prep_save(value, connection)

    def as_sql(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper) -> tuple[str, Any]:
        return "%s", (self,)


class _Worded(NamedTuple):
    sql: str
    parameters: Sequence[Any]
    converters: Sequence[tuple[int, Sequence[Callable[..., Any]], Any]] = ()
    """Of a select: what makes Python's values of the database's, by column."""

    def check(self, told: dict[str, Any]) -> None:
        """Raises TypeError for what is not asked for: an owner, above all, would be overlooked."""
        if told.keys() != {each.name for each in self.parameters if isinstance(each, Param)}:
            raise TypeError(f"This is not what the statement asks for: {', '.join(told)}.")


class Ready(NamedTuple):
    """A statement that writes, with its values."""

    connection: BaseDatabaseWrapper
    sql: str
    values: Sequence[Any]
    rows: Callable[[Any], int]
    """How many there were, by the cursor that has just run it."""

    def run(self) -> int:
        with _writing(self.connection) as cursor:
            cursor.execute(self.sql, self.values)
            return self.rows(cursor)


def run_together(*statements: Ready, is_forgettable: bool = False) -> list[int]:
    """Run them as one transaction, if they are for one database. Returns how many rows each had.

    PostgreSQL is sent all of them at once, and so waited for once. ``is_forgettable`` says of the
    transaction what :func:`.database.forgettable_transaction` says.
    """
    if not statements:
        return []
    connection = statements[0].connection
    if not _are_one_message(statements):
        with _transaction(statements, is_forgettable=is_forgettable):
            return [each.run() for each in statements]
    sql = [each.sql for each in statements]
    is_told_first = is_forgettable and not connection.in_atomic_block
    if is_told_first:
        sql.insert(0, FORGETTABLE)
    with _writing(connection) as cursor:
        # Several statements without a BEGIN are one transaction to PostgreSQL.
        cursor.execute("; ".join(sql), [value for each in statements for value in each.values])
        rows = []
        for number, each in enumerate(statements):
            if number or is_told_first:
                cursor.nextset()
            rows.append(each.rows(cursor))
        return rows


def _are_one_message(statements: Sequence[Ready]) -> bool:
    connection = statements[0].connection
    if connection.vendor != "postgresql" or any(
        each.connection is not connection for each in statements
    ):
        return False
    # With its values in it a message may hold several statements; with values beside it, but one.
    # And psycopg 2 tells the result of the last alone.
    backend: Any = connection
    return backend.Database.__name__ == "psycopg" and not backend.features.uses_server_side_binding


def _transaction(
    statements: Sequence[Ready], *, is_forgettable: bool
) -> AbstractContextManager[None]:
    connection = statements[0].connection
    if is_forgettable and connection.vendor == "postgresql":
        return forgettable_transaction(connection.alias)
    # A single statement is one by itself, and takes SQLite half the time then.
    if len(statements) == 1:
        return nullcontext()
    return transaction.atomic(connection.alias, savepoint=False)


class _Statement(ABC):
    """Worded once for each database and, where they differ by it, number of rows."""

    def __init__(self, model: type[models.Model]) -> None:
        self._model = model
        self._worded: dict[tuple[str, int], _Worded] = {}

    @abstractmethod
    def _word(self, connection: BaseDatabaseWrapper, rows: int) -> _Worded: ...

    def _on(self, alias: str, rows: int = 0) -> tuple[BaseDatabaseWrapper, _Worded]:
        connection: BaseDatabaseWrapper = connections[alias]
        worded = self._worded.get((alias, rows))
        if worded is None:
            worded = self._worded[alias, rows] = self._word(connection, rows)
        return connection, worded


class Select(_Statement):
    """A queryset of ``values_list``. One that locks is for transactions: nothing checks that."""

    def __init__(self, queryset: models.QuerySet[Any, Any]) -> None:
        super().__init__(queryset.model)
        self._queryset = queryset

    def rows(self, **told: Any) -> list[tuple[Any, ...]]:
        connection, worded = self._on(self._queryset.db)
        worded.check(told)
        with connection.cursor() as cursor:
            cursor.execute(worded.sql, _values(worded, told, connection))
            rows = cursor.fetchall()
        return [_converted(row, worded, connection) for row in rows] if worded.converters else rows

    def first(self, **told: Any) -> tuple[Any, ...] | None:
        """The first row, of a queryset that ends there."""
        return next(iter(self.rows(**told)), None)

    def _word(self, connection: BaseDatabaseWrapper, rows: int) -> _Worded:
        # A copy: a compiler changes its query, which another thread may be wording too.
        compiler: Any = self._queryset.query.clone().get_compiler(connection=connection)
        sql, parameters = compiler.as_sql()
        columns = [column for column, _, _ in compiler.select]
        converters = compiler.get_converters(columns)
        return _Worded(
            sql, parameters, [(place, *both) for place, both in sorted(converters.items())]
        )


class _Change(_Statement):
    def ready(self, **told: Any) -> Ready:
        connection, worded = self._on(router.db_for_write(self._model))
        worded.check(told)
        return Ready(connection, worded.sql, _values(worded, told, connection), _row_count)

    def run(self, **told: Any) -> int:
        """Returns how many rows there were."""
        return self.ready(**told).run()


class Update(_Change):
    """A queryset's ``update`` with these values: expressions, and plain ones that never change."""

    def __init__(self, queryset: models.QuerySet[Any, Any], **values: Any) -> None:
        super().__init__(queryset.model)
        query: Any = queryset.query.chain(UpdateQuery)
        query.add_update_values(values)
        self._query = query

    def _word(self, connection: BaseDatabaseWrapper, rows: int) -> _Worded:
        return _Worded(*self._query.clone().get_compiler(connection=connection).as_sql())


class Delete(_Change):
    """Deletes the rows of a queryset and nothing that refers to them: no signals, no cascades."""

    def __init__(self, queryset: models.QuerySet[Any, Any]) -> None:
        super().__init__(queryset.model)
        self._query = queryset.query.chain(DeleteQuery)

    def _word(self, connection: BaseDatabaseWrapper, rows: int) -> _Worded:
        return _Worded(*self._query.clone().get_compiler(connection=connection).as_sql())


class Insert(_Statement):
    """Adds rows, like ``bulk_create``: no signals. Columns in ``without`` get their default of the
    database; ``expressions`` say what those columns get, whatever an object has there. With
    ``gives_keys`` objects are added one by one, and know their keys then; None if a row was there.

    ``on_conflict`` may ignore a row that is there already or, with ``update_fields``, overwrite
    these of the one that has the same ``unique_fields``.
    """

    def __init__(
        self,
        model: type[models.Model],
        *,
        without: Sequence[str] = (),
        expressions: dict[str, Any] | None = None,
        gives_keys: bool = False,
        on_conflict: OnConflict | None = None,
        unique_fields: Sequence[str] = (),
        update_fields: Sequence[str] = (),
    ) -> None:
        super().__init__(model)
        self._fields = [
            field
            for field in model._meta.concrete_fields
            if not isinstance(field, models.AutoField) and field.name not in without
        ]
        self._gives_keys = gives_keys
        self._expressions = expressions or {}
        self._on_conflict = on_conflict
        self._unique_fields = unique_fields
        self._update_fields = update_fields

    def ready(self, objects: Iterable[models.Model], **told: Any) -> list[Ready]:
        """In one statement if there are no more than ROWS_AT_ONCE; else in several, and for a
        transaction. ``told`` are the values of the expressions' own parameters.
        """
        rows = list(objects)
        at_once = 1 if self._gives_keys else ROWS_AT_ONCE
        return [
            self._adding(rows[start : start + at_once], told)
            for start in range(0, len(rows), at_once)
        ]

    def run(self, objects: Iterable[models.Model], **told: Any) -> int:
        """Returns how many rows were added or overwritten."""
        return sum(each.run() for each in self.ready(objects, **told))

    def _adding(self, rows: Sequence[models.Model], told: dict[str, Any]) -> Ready:
        connection, worded = self._on(router.db_for_write(self._model), len(rows))
        values = {
            _column(field, number): field.pre_save(row, add=True)
            for number, row in enumerate(rows)
            for field in self._fields
        }
        return Ready(
            connection,
            worded.sql,
            _values(worded, values | told, connection),
            partial(self._give_key, connection, rows[0]) if self._gives_keys else _row_count,
        )

    def _give_key(self, connection: BaseDatabaseWrapper, row: models.Model, cursor: Any) -> int:
        if connection.features.can_return_columns_from_insert:
            found = cursor.fetchone()
            row.pk = found[0] if found else None
        else:  # SQLite before 3.35.
            key: Any = self._model._meta.pk
            table = self._model._meta.db_table
            row.pk = (
                connection.ops.last_insert_id(cursor, table, key.column)
                if cursor.rowcount
                else None
            )
        return int(row.pk is not None)

    def _word(self, connection: BaseDatabaseWrapper, rows: int) -> _Worded:
        objects = [
            self._model(
                **{field.attname: Param(_column(field, each), field) for field in self._fields}
                | self._expressions
            )
            for each in range(rows)
        ]
        columns = self._model._meta.get_field
        query = InsertQuery(
            self._model,
            on_conflict=self._on_conflict,
            unique_fields=[columns(name) for name in self._unique_fields],
            update_fields=[columns(name) for name in self._update_fields],
        )
        query.insert_values(self._fields, objects, raw=True)
        compiler: Any = query.get_compiler(connection=connection)
        if self._gives_keys:
            compiler.returning_fields = [self._model._meta.pk]
        ((sql, parameters),) = compiler.as_sql()
        return _Worded(sql, parameters)


class InsertSelect(_Change):
    """Adds a row for each that a queryset of ``values_list`` finds, those values in these columns;
    and none where it finds none. Otherwise as :class:`Insert`. The queryset has to filter: without
    a WHERE, SQLite takes ON CONFLICT for a part of the SELECT.
    """

    def __init__(
        self,
        model: type[models.Model],
        columns: Sequence[str],
        queryset: models.QuerySet[Any, Any],
        *,
        on_conflict: OnConflict,
        unique_fields: Sequence[str] = (),
        update_fields: Sequence[str] = (),
    ) -> None:
        super().__init__(model)
        self._columns = columns
        self._query = queryset.query
        self._on_conflict = on_conflict
        self._unique_fields = unique_fields
        self._update_fields = update_fields

    def _word(self, connection: BaseDatabaseWrapper, rows: int) -> _Worded:
        select, parameters = self._query.clone().get_compiler(connection=connection).as_sql()
        quoted, operations = connection.ops.quote_name, connection.ops
        fields: Any = self._model._meta.get_field

        def columns(names: Sequence[str]) -> list[str]:
            return [fields(name).column for name in names]

        parts = (
            operations.insert_statement(on_conflict=self._on_conflict),
            quoted(self._model._meta.db_table),
            f"({', '.join(map(quoted, columns(self._columns)))})",
            select,
            operations.on_conflict_suffix_sql(
                [fields(name) for name in self._columns],
                self._on_conflict,
                columns(self._update_fields),
                columns(self._unique_fields),
            ),
        )
        return _Worded(" ".join(filter(None, parts)), parameters)


def _row_count(cursor: Any) -> int:
    count: int = cursor.rowcount
    return count


def _column(field: models.Field[Any, Any], number: int) -> str:
    return f"{field.attname} {number}"


@contextmanager
def _writing(connection: BaseDatabaseWrapper) -> Iterator[Any]:
    # What fails within a transaction has broken it, as it does from the ORM.
    with transaction.mark_for_rollback_on_error(connection.alias), connection.cursor() as cursor:
        yield cursor


def _values(worded: _Worded, told: dict[str, Any], connection: BaseDatabaseWrapper) -> list[Any]:
    return [
        each.ready(told[each.name], connection) if isinstance(each, Param) else each
        for each in worded.parameters
    ]


def _converted(
    row: Sequence[Any], worded: _Worded, connection: BaseDatabaseWrapper
) -> tuple[Any, ...]:
    values = list(row)
    for place, converters, expression in worded.converters:
        for convert in converters:
            values[place] = convert(values[place], expression, connection)
    return tuple(values)
