"""Statements that Django's ORM words once, and that are then only told their values.

To word a query takes the ORM half a millisecond, to run it takes the database a tenth of that, and
a turn needs twenty of them. So what every turn does is declared as a queryset over :class:`Param`,
beside the code that needs it, and worded at its first use, by the ORM as any other. For any thread.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from django.db import connections, models, router, transaction
from django.db.models.constants import OnConflict
from django.db.models.expressions import Expression
from django.db.models.sql import DeleteQuery, InsertQuery, UpdateQuery

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.models.sql.compiler import SQLCompiler


class Param(Expression):
    """A value that is told each time, and made ready for the database as this field does it."""

    def __init__(self, name: str, field: Any) -> None:
        super().__init__(output_field=field)
        self.name = name

    def as_sql(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper) -> tuple[str, Any]:
        return "%s", (self,)


class _Worded(NamedTuple):
    sql: str
    parameters: Sequence[Any]
    converters: Sequence[tuple[int, Sequence[Callable[..., Any]], Any]] = ()
    """Of a select: what makes Python's values of the database's, by column."""


class _Statement(ABC):
    """Worded once for each database."""

    def __init__(self, model: type[models.Model]) -> None:
        self._model = model
        self._worded: dict[str, _Worded] = {}

    @abstractmethod
    def _word(self, connection: BaseDatabaseWrapper) -> _Worded: ...

    def _on(self, alias: str) -> tuple[BaseDatabaseWrapper, _Worded]:
        connection: BaseDatabaseWrapper = connections[alias]
        worded = self._worded.get(alias)
        if worded is None:
            worded = self._worded[alias] = self._word(connection)
        return connection, worded


class Select(_Statement):
    """A queryset of ``values_list``."""

    def __init__(self, queryset: models.QuerySet[Any, Any]) -> None:
        super().__init__(queryset.model)
        self._queryset = queryset

    def rows(self, **told: Any) -> list[tuple[Any, ...]]:
        connection, worded = self._on(router.db_for_read(self._model))
        with connection.cursor() as cursor:
            cursor.execute(worded.sql, _values(worded, told, connection))
            rows = cursor.fetchall()
        return [_converted(row, worded, connection) for row in rows] if worded.converters else rows

    def first(self, **told: Any) -> tuple[Any, ...] | None:
        """The first row, of a queryset that ends there."""
        return next(iter(self.rows(**told)), None)

    def _word(self, connection: BaseDatabaseWrapper) -> _Worded:
        compiler: Any = self._queryset.query.get_compiler(connection=connection)
        sql, parameters = compiler.as_sql()
        columns = [column for column, _, _ in compiler.select]
        converters = compiler.get_converters(columns)
        return _Worded(
            sql, parameters, [(place, *both) for place, both in sorted(converters.items())]
        )


class _Change(_Statement):
    def run(self, **told: Any) -> int:
        """Returns how many rows there were."""
        connection, worded = self._on(router.db_for_write(self._model))
        with _writing(connection) as cursor:
            cursor.execute(worded.sql, _values(worded, told, connection))
            count: int = cursor.rowcount
        return count


class Update(_Change):
    """A queryset's ``update`` with these values, plain ones and expressions."""

    def __init__(self, queryset: models.QuerySet[Any, Any], **values: Any) -> None:
        super().__init__(queryset.model)
        query: Any = queryset.query.chain(UpdateQuery)
        query.add_update_values(values)
        self._query = query

    def _word(self, connection: BaseDatabaseWrapper) -> _Worded:
        return _Worded(*self._query.get_compiler(connection=connection).as_sql())


class Delete(_Change):
    """Deletes the rows of a queryset and nothing that refers to them: no signals, no cascades."""

    def __init__(self, queryset: models.QuerySet[Any, Any]) -> None:
        super().__init__(queryset.model)
        self._query = queryset.query.chain(DeleteQuery)

    def _word(self, connection: BaseDatabaseWrapper) -> _Worded:
        return _Worded(*self._query.get_compiler(connection=connection).as_sql())


class Insert(_Statement):
    """Adds rows, like ``bulk_create``: no signals. Columns in ``without`` get their default of the
    database; ``expressions`` say what those columns get, whatever an object has there.

    ``on_conflict`` may ignore a row that is there already or, with ``update_fields``, overwrite
    these of the one that has the same ``unique_fields``.
    """

    def __init__(
        self,
        model: type[models.Model],
        *,
        without: Sequence[str] = (),
        expressions: dict[str, Any] | None = None,
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
        key: Any = model._meta.pk
        self._returns_key = on_conflict is None and isinstance(key, models.AutoField)
        self._expressions = expressions or {}
        self._on_conflict = on_conflict
        self._unique_fields = unique_fields
        self._update_fields = update_fields

    def run(self, objects: Iterable[models.Model], **told: Any) -> None:
        """Give the objects their keys, too, as ``create`` does. ``told`` are the values of the
        expressions' own parameters.
        """
        connection, worded = self._on(router.db_for_write(self._model))
        with _writing(connection) as cursor:
            for each in objects:
                values = {field.attname: field.pre_save(each, add=True) for field in self._fields}
                cursor.execute(worded.sql, _values(worded, values | told, connection))
                if self._returns_key:
                    each.pk = cursor.fetchone()[0]

    def _word(self, connection: BaseDatabaseWrapper) -> _Worded:
        row = self._model(**{field.attname: Param(field.attname, field) for field in self._fields})
        for name, expression in self._expressions.items():
            setattr(row, name, expression)
        columns = self._model._meta.get_field
        query = InsertQuery(
            self._model,
            on_conflict=self._on_conflict,
            unique_fields=[columns(name) for name in self._unique_fields],
            update_fields=[columns(name) for name in self._update_fields],
        )
        query.insert_values(self._fields, [row], raw=True)
        compiler: Any = query.get_compiler(connection=connection)
        if self._returns_key:
            compiler.returning_fields = [self._model._meta.pk]
        ((sql, parameters),) = compiler.as_sql()
        return _Worded(sql, parameters)


@contextmanager
def _writing(connection: BaseDatabaseWrapper) -> Iterator[Any]:
    # What fails within a transaction has broken it, as it does from the ORM.
    with transaction.mark_for_rollback_on_error(connection.alias), connection.cursor() as cursor:
        yield cursor


def _values(worded: _Worded, told: dict[str, Any], connection: BaseDatabaseWrapper) -> list[Any]:
    return [
        each.output_field.get_db_prep_save(told[each.name], connection)
        if isinstance(each, Param)
        else each
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
