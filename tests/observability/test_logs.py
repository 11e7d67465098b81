"""No log line quotes a user."""

from __future__ import annotations

import logging

import pytest

from observability.logs import NoExceptionTextFilter

SECRET = "the visitor's own words"


def written(logger_name: str) -> str:
    """What a handler with the filter writes of an exception that quotes a visitor."""
    try:
        try:
            raise ValueError(SECRET)
        except ValueError as error:
            raise RuntimeError(f"again: {SECRET}") from error
    except RuntimeError as error:
        record = logging.getLogger(logger_name).makeRecord(
            logger_name,
            logging.ERROR,
            __file__,
            1,
            error,
            (),
            (RuntimeError, error, error.__traceback__),
        )
    assert NoExceptionTextFilter().filter(record)
    return logging.Formatter("%(message)s").format(record)


@pytest.mark.parametrize("name", ["chatkit", "openai.agents", "chatkit_endpoint.views"])
def test_of_an_exception_that_may_quote_a_user_type_and_frames_are_written(name: str) -> None:
    text = written(name)
    assert SECRET not in text.replace("raise ValueError(SECRET)", "")
    assert text.startswith("RuntimeError")
    assert "which came from ValueError" in text
    assert "in written" in text


def test_others_are_written_whole() -> None:
    assert SECRET in written("django.db.backends")
