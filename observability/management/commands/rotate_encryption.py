from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import (
    CommandError,
    CommandParser,
)
from django.db import connection
from django.db.models import ExpressionWrapper, F, Model, QuerySet, TextField
from tqdm import tqdm

from observability import encryption
from observability.management.base import FORGET_SECONDS, INTERRUPTED, ExplainedCommand
from observability.search import forget_deleted

BATCH_SIZE = 100
"""How many rows are in memory at once: one may hold a picture that a model made."""
Column = encryption.EncryptedTextField | encryption.EncryptedJSONField


@dataclass(kw_only=True)
class Written:
    """What came of it so far, in values: a turn has three."""

    changed: int = 0
    unreadable: int = 0

    def __str__(self) -> str:
        return f"{self.changed:,} {'value' if self.changed == 1 else 'values'}"


class Command(ExplainedCommand):
    help = """\
Writes what was said anew, with the first of the keys in OBSERVABILITY_ENCRYPTION_KEYS: what is
in the clear, and what another of the keys opens. Run it after encryption was switched on, or
after a new key was put first; when it is through, the other keys may go.

It may run beside the server, be interrupted at any time and run again: what is done is passed
over, and what the server writes meanwhile stands.

  rotate_encryption              with the first key
  rotate_encryption --decrypt    in the clear, while the server is down; then remove the keys
"""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--decrypt", action="store_true", help="write all of it in the clear")

    def handle(self, *, decrypt: bool, **options: Any) -> None:
        try:
            if not encryption.fernets():
                raise CommandError(f"{encryption.SETTING} is not set: there is no key to use.")
        except ImproperlyConfigured as error:
            raise CommandError(str(error)) from error
        what = "Decrypted" if decrypt else "Encrypted"
        written = Written()
        columns = list(_columns())
        total = sum(rows.count() for rows, _ in columns) if sys.stderr.isatty() else None
        with tqdm(total=total, unit=" rows", disable=total is None) as bar:
            try:
                for rows, fields in columns:
                    for batch in _batches(rows, fields):
                        for pk, *stored in batch:
                            for field, value in zip(fields, stored, strict=True):
                                _write(pk, field, value, decrypt, written)
                            bar.update()
                forget_deleted(FORGET_SECONDS)
            except KeyboardInterrupt:
                bar.close()
                self.stdout.write(f"{what} so far: {written}.")
                raise CommandError(
                    "Interrupted. Run it again to go on.", returncode=INTERRUPTED
                ) from None
        self.stdout.write(f"{what}: {written}.")
        if written.unreadable:
            raise CommandError(
                f"No key opens {written.unreadable:,} more, which stay as they are: put the key "
                f"that they were written with into {encryption.SETTING}, and run it again."
            )


def _columns() -> Iterator[tuple[QuerySet[Model], list[Column]]]:
    """All rows of each model, of whatever app, with the fields of it that may be encrypted."""
    for model in apps.get_models():
        fields = [each for each in model._meta.local_concrete_fields if isinstance(each, Column)]
        if fields and not model._meta.proxy:
            yield model._base_manager.order_by("pk"), fields


def _batches(rows: QuerySet[Model], fields: list[Column]) -> Iterator[list[tuple[Any, ...]]]:
    """The keys of the rows, each with the values as they are stored."""
    # By key and not by a cursor, which would hold a transaction open all the while.
    values = rows.values_list("pk", *map(_as_stored, fields))
    batch = list(values[:BATCH_SIZE])
    while batch:
        yield batch
        batch = list(values.filter(pk__gt=batch[-1][0])[:BATCH_SIZE])


def _write(pk: Any, field: Column, stored: str | None, decrypt: bool, written: Written) -> None:
    """Write one value anew unless it is as it should be, or is not what was read any more."""
    if not stored:
        return
    is_encrypted = stored.startswith(encryption.MARK)
    if not is_encrypted if decrypt else encryption.is_of_first_key(stored):
        return
    try:
        text = encryption.opened(stored)
    except encryption.UndecryptableError:
        written.unreadable += 1
        return
    new = encryption.plain(text) if decrypt else encryption.sealed(text)
    name = connection.ops.quote_name
    options = field.model._meta
    key, column = options.pk, name(str(field.column))
    # By hand: of a million values, the ORM would spend most of the time on words.
    with connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE {name(options.db_table)} SET {column} = %s"  # noqa: S608 (Names of ours.)
            f" WHERE {name(str(key.column))} = %s AND {column} = %s",
            (new, key.get_db_prep_value(pk, connection), stored),
        )
        written.changed += cursor.rowcount


def _as_stored(field: Column) -> ExpressionWrapper[Any]:
    return ExpressionWrapper(F(field.attname), output_field=TextField())
