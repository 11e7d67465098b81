"""Turns as JSON Lines or CSV, streamed: memory does not grow with them."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder
from django.db.models import Q, QuerySet

from .database import run_in_database
from .models import FIGURES, TEXTS, Turn

BATCH = 500
COLUMNS = (
    "id",
    "trace_id",
    "started_at",
    "ended_at",
    "status",
    "error_code",
    "owner_key",
    "tenant",
    "user_id",
    "session_id",
    "thread_id",
    "request_id",
    "operation",
    "locale",
    "model",
    *FIGURES,
    "cost_usd",
    "feedback",
)
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet takes for the beginning of a formula; some do so after spaces, too."""

Row = dict[str, Any]


async def exported(
    turns: QuerySet[Turn],
    form: str,
    *,
    with_content: bool,
    note: Callable[[list[str]], None],
) -> AsyncIterator[str]:
    """The turns, newest first, as ``jsonl`` or ``csv``, a batch at a time.

    ``note`` is told, on a database thread, the trace ids of each batch before it goes out.
    """
    columns = (*COLUMNS, *TEXTS) if with_content else COLUMNS
    if form == "csv":
        yield _csv([columns])
    before: Row | None = None
    while True:
        rows = await run_in_database(_batch, turns, columns, before, note)
        if not rows:
            return
        if form == "csv":
            yield _csv(_cells(row) for row in rows)
        else:
            yield "".join(
                json.dumps(row, cls=DjangoJSONEncoder, ensure_ascii=False) + "\n" for row in rows
            )
        before = rows[-1]


def _batch(
    turns: QuerySet[Turn],
    columns: tuple[str, ...],
    before: Row | None,
    note: Callable[[list[str]], None],
) -> list[Row]:
    # By the place in the order and not by a count, so that the last batch is as fast as the first
    # and no row comes twice while new ones are written.
    if before is not None:
        moment, pk = before["started_at"], before["id"]
        turns = turns.filter(Q(started_at__lt=moment) | Q(started_at=moment, pk__lt=pk))
    rows = list(turns.order_by("-started_at", "-pk").values(*columns)[:BATCH])
    note([row["trace_id"] for row in rows])
    return rows


def _csv(rows: Iterable[Iterable[Any]]) -> str:
    written = io.StringIO()
    csv.writer(written).writerows(rows)
    return written.getvalue()


def _cells(row: Row) -> list[Any]:
    return [_defused(value) for value in row.values()]


def _defused(value: Any) -> Any:
    """What somebody wrote must not run in the spreadsheet of who reads it."""
    if isinstance(value, str) and value.lstrip(" \n").startswith(FORMULA_STARTS):
        return f"'{value}"
    if hasattr(value, "isoformat"):
        return value.isoformat()
    return "" if value is None else value
