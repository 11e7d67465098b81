"""Log records as lines: JSON for machines, ``name=value`` for people.

Either way a record's values can't look like a line, or a field, of their own. What a record has to
tell in fields it carries in its attribute ``fields``, a dictionary.
"""

from __future__ import annotations

import json
import logging
import re
from datetime import UTC, datetime
from typing import Any

_PLAIN = re.compile(r"[A-Za-z0-9_.:/@+-]+", re.ASCII)


class JSONFormatter(logging.Formatter):
    """One JSON object per record, in ASCII: ``time`` (UTC), ``level``, ``logger``, ``message``,
    ``request_id``, ``exception`` where there is one, and the record's fields.
    """

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            **getattr(record, "fields", {}),
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "request_id": getattr(record, "request_id", "-"),
        }
        if exception := _exception_of(self, record):
            line["exception"] = exception
        return json.dumps(line, default=str)


class LineFormatter(logging.Formatter):
    """The same for a terminal. A traceback follows its line, each line of it behind a bar."""

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(
            sep=" ", timespec="milliseconds"
        )
        request_id = getattr(record, "request_id", "-")
        fields: dict[str, Any] = getattr(record, "fields", {})
        words = [
            f"{moment} {record.levelname} {record.name} [{request_id}]",
            visible(record.getMessage()),
            *(f"{name}={_quoted(value)}" for name, value in fields.items()),
        ]
        bars = [f"  | {visible(line)}" for line in _exception_of(self, record).split("\n") if line]
        return "\n".join([" ".join(words), *bars])


def visible(text: str) -> str:
    """The text with line breaks, terminal codes and all else that is not printed spelled out."""
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode("ascii")
        for each in text
    )


def _quoted(value: Any) -> str:
    text = str(value)
    return text if _PLAIN.fullmatch(text) else json.dumps(text)


def _exception_of(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    """The exception's text: what a filter has left of it, else the traceback."""
    parts = []
    if record.exc_text:
        parts.append(record.exc_text)
    elif record.exc_info and record.exc_info[1] is not None:
        parts.append(formatter.formatException(record.exc_info))
    if record.stack_info:
        parts.append(formatter.formatStack(record.stack_info))
    return "\n".join(parts)
