"""What a log line may say: where and what kind of failure, never the words of a user."""

from __future__ import annotations

import logging
import traceback

# Their exceptions quote what the model's provider said, and that quotes the prompt.
_QUOTING = ("chatkit", "chatkit_endpoint", "observability", "openai")


class NoExceptionTextFilter(logging.Filter):
    """Leaves out the text of exceptions that may quote a user: types and frames stay.

    For a handler, so that it sees what all loggers hand on.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name.partition(".")[0] not in _QUOTING:
            return True
        if isinstance(record.msg, BaseException):
            record.msg, record.args = type(record.msg).__name__, ()
        if record.exc_info and record.exc_info[1] is not None:
            record.exc_text = _frames_of(record.exc_info[1])
        return True


def _frames_of(error: BaseException) -> str:
    """The traceback of an exception and of what it came from, each with its type only."""
    parts = []
    current: BaseException | None = error
    while current is not None:
        frames = "".join(traceback.format_tb(current.__traceback__))
        parts.append(f"{type(current).__qualname__}, most recent call last:\n{frames}".rstrip())
        hidden = None if current.__suppress_context__ else current.__context__
        current = current.__cause__ or hidden
    return "\nwhich came from ".join(parts)
