"""Fill a database with turns: ``python -m benchmarks.generate --turns 1000000 --database URL``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from tqdm import tqdm

from .history import History, moment
from .site import set_up

BATCH = 5_000
USERS_PER_TURN = 1 / 200


def generate(turns: int, *, until: datetime, shows_progress: bool = False) -> None:
    """Write so many turns of the ninety days before ``until``, and all that belongs to them.

    The database is migrated already, and has no turns and no users yet.
    """
    from django.core.management.color import no_style
    from django.db import connection, transaction

    from observability import search
    from observability.models import (
        ClientEvent,
        Delivery,
        Feedback,
        Message,
        Turn,
        TurnSpans,
    )

    users = max(20, int(turns * USERS_PER_TURN))
    history = History(turns, users=users, until=until)
    _make_users(users)
    indexed = (Turn, Message, ClientEvent, Delivery, Feedback)
    with connection.schema_editor() as editor:
        search.uninstall(editor)
        for model in indexed:
            for index in model._meta.indexes:
                editor.remove_index(model, index)
    with tqdm(total=turns, unit=" turns", disable=not shows_progress) as progress:
        batch = []
        for event in history.events():
            batch.append(event)
            if len(batch) == BATCH or event.number == turns:
                with transaction.atomic():
                    _write(Turn, [each.turn for each in batch])
                    _write(Message, [row for each in batch for row in each.messages], counts=True)
                    _write(TurnSpans, [(each.number, each.spans) for each in batch])
                    _write(ClientEvent, _client_events(batch), counts=True)
                    _write(Feedback, _feedback(batch), counts=True)
                    _write(Delivery, _deliveries(batch, turns), counts=True)
                progress.update(len(batch))
                batch.clear()
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SET maintenance_work_mem = '1GB'")
    with connection.schema_editor() as editor:
        for model in indexed:
            for index in model._meta.indexes:
                editor.add_index(model, index)
        search.install(editor)
    with connection.cursor() as cursor:
        for statement in connection.ops.sequence_reset_sql(no_style(), [*indexed, TurnSpans]):
            cursor.execute(statement)
        # What autovacuum does in time on a live PostgreSQL.
        cursor.execute("VACUUM ANALYZE" if connection.vendor == "postgresql" else "ANALYZE")
    roll_up()


def roll_up() -> None:
    """Compute the rollups that the dashboard reads."""
    from django.core.management import call_command

    call_command("rebuild_rollups", stdout=sys.stderr)


def _make_users(how_many: int) -> None:
    """``visitor1`` and so on, and ``operator``, who may do everything."""
    from django.contrib.auth.models import User

    people = [User(username=f"visitor{number}") for number in range(1, how_many + 1)]
    operator = User(username="operator", is_staff=True, is_superuser=True)
    User.objects.bulk_create([*people, operator], batch_size=1_000)


def _write(model: Any, rows: Sequence[tuple[Any, ...]], *, counts: bool = False) -> None:
    """Write rows with the values of all columns in their order; without the first if it counts."""
    from django.db import connection

    if not rows:
        return
    columns = [field.column for field in model._meta.concrete_fields][1 if counts else 0 :]
    named = ", ".join(f'"{column}"' for column in columns)
    table = model._meta.db_table
    if connection.vendor == "postgresql":
        with (
            connection.cursor() as cursor,
            cursor.copy(f"COPY {table} ({named}) FROM STDIN") as copy,
        ):
            for row in rows:
                copy.write_row(row)
    else:
        places = ", ".join(["%s"] * len(columns))
        with connection.cursor() as cursor:
            cursor.executemany(f"INSERT INTO {table} ({named}) VALUES ({places})", rows)  # noqa: S608


def _client_events(batch: Iterable[Any]) -> list[tuple[Any, ...]]:
    """What the browser told of every third turn."""
    rows = []
    for each in batch:
        if each.number % 3:
            continue
        at = moment(each.started_at + timedelta(seconds=3))
        rows.append(
            (
                each.trace_id,
                "client.timing",
                '{"ttft_ms": 812, "duration_ms": 2345}',
                "[]",
                each.number,
                each.user_id,
                each.owner_key,
                "",
                each.session_id,
                each.thread_id,
                at,
                at,
            )
        )
    return rows


def _feedback(batch: Iterable[Any]) -> list[tuple[Any, ...]]:
    rows = []
    for each in batch:
        if each.feedback:
            at = moment(each.started_at + timedelta(seconds=9))
            rows.append(
                (
                    each.number,
                    "",
                    each.owner_key,
                    each.thread_id,
                    each.item_id,
                    each.feedback,
                    each.feedback,
                    at,
                    at,
                )
            )
    return rows


def _deliveries(batch: Iterable[Any], turns: int) -> list[tuple[Any, ...]]:
    """Of every fifth turn: sent, but for some of the newest, and a few that were given up."""
    rows = []
    for each in batch:
        if each.number % 5:
            continue
        at = moment(each.started_at + timedelta(seconds=9))
        state = "delivered"
        if each.number > turns - 100:
            state = "pending"
        elif each.number % 5_000 == 0:
            state = "dead"
        settled = None if state == "pending" else at
        status = {"delivered": 200, "pending": None, "dead": 422}[state]
        rows.append(
            (
                "anosys",
                each.trace_id,
                "turn",
                each.number,
                None,
                state,
                at,
                at,
                1,
                None,
                None,
                status,
                "422: refused" if state == "dead" else "",
                settled,
            )
        )
    return rows


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.generate", description=__doc__)
    parser.add_argument("--turns", type=int, default=1_000_000)
    parser.add_argument("--database", required=True, help="a DATABASE_URL; an empty database")
    options = parser.parse_args(arguments)
    set_up(options.database)
    from django.core.management import call_command
    from django.utils import timezone

    call_command("migrate", verbosity=0)
    generate(options.turns, until=timezone.now(), shows_progress=True)


if __name__ == "__main__":
    main(sys.argv[1:])
