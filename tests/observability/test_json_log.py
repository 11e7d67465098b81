"""A log record is one line, whatever its values hold."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from observability.json_log import JSONFormatter, LineFormatter
from observability.logs import NoExceptionTextFilter

HOSTILE = [
    "a\r\nFORGED 2026-11-21 ERROR admin logged in",
    "a\nb",
    "\x1b[2K\x1b[1A\x1b[31mFORGED",
    "a\u2028b\u2029c\x85d\x0be\x0cf\x1cg",
    "\u202eFORGED",
    "nul\x00",
    "lone \udc80 surrogate",
    '", "level": "CRITICAL", "x": "',
    "x status=200 user=user:1",
]


def record(message: str = "chat %s", *args: object, **more: Any) -> logging.LogRecord:
    made = logging.LogRecord("a.logger", logging.INFO, __file__, 1, message, args or ("in",), None)
    made.__dict__.update(more)
    return made


@pytest.mark.parametrize("value", HOSTILE)
@pytest.mark.parametrize("formatter", [JSONFormatter(), LineFormatter()])
def test_a_value_forges_no_line(value: str, formatter: logging.Formatter) -> None:
    for made in (
        record("%s", value),
        record(fields={"thread": value}),
        record(request_id="r", fields={"path": value}),
    ):
        line = formatter.format(made)
        assert line.isprintable(), line
        assert len(line.splitlines()) == 1
        line.encode("utf-8")


@pytest.mark.parametrize("value", HOSTILE)
def test_json_tells_the_value_as_it_was(value: str) -> None:
    line = json.loads(JSONFormatter().format(record("%s", value, fields={"path": value})))
    assert line["path"] == line["message"] == value
    assert line["level"] == "INFO"


def test_json_says_when_where_and_what() -> None:
    made = record(request_id="a-request", created=0.25, fields={"status": 200})
    assert json.loads(JSONFormatter().format(made)) == {
        "time": "1970-01-01T00:00:00.250+00:00",
        "level": "INFO",
        "logger": "a.logger",
        "message": "chat in",
        "request_id": "a-request",
        "status": 200,
    }


def test_a_field_takes_no_other_s_place() -> None:
    line = json.loads(JSONFormatter().format(record(fields={"level": "x", "logger": "y"})))
    assert (line["level"], line["logger"]) == ("INFO", "a.logger")


def test_a_value_forges_no_field_of_a_readable_line() -> None:
    line = LineFormatter().format(record(fields={"path": "/x status=200", "status": 404}))
    assert line.endswith('chat in path="/x status=200" status=404')


@pytest.mark.parametrize("formatter", [JSONFormatter(), LineFormatter()])
def test_an_exception_is_told_and_forges_no_line(formatter: logging.Formatter) -> None:
    try:
        raise ValueError("words\n2026-11-21 FORGED")
    except ValueError as error:
        made = record(exc_info=(ValueError, error, error.__traceback__))
    first, *rest = formatter.format(made).split("\n")
    assert "ValueError" in "\n".join([first, *rest])
    assert all(line.startswith("  | ") for line in rest)


def test_what_a_filter_left_of_an_exception_is_all_that_is_told() -> None:
    words = " ".join(["a", "visitor's", "words"])
    try:
        raise ValueError(words)
    except ValueError as error:
        made = record(exc_info=(ValueError, error, error.__traceback__), name="chatkit.server")
    NoExceptionTextFilter().filter(made)
    for formatter in (JSONFormatter(), LineFormatter()):
        said = formatter.format(made)
        assert "ValueError" in said
        assert words not in said
