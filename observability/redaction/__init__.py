"""Personal data and secrets out of texts: what names a person or opens a door becomes a label.

Pure functions without settings. A text is read in a folded copy, in which the digits of all scripts
are ASCII and nothing hides a character (JSON and URL escapes, invisible marks); the labels go into
the text as it came, so that all else stays as it was.
"""

from __future__ import annotations

import string
from typing import Any

from .numbers import LETTERED, NUMBERS, near_numbers
from .persons import PERSONS
from .secrets import NAMES, SECRETS
from .text import BLANK, INVISIBLE, Rule, Shifts, Span, fold, unfolded

MAX_DEPTH = 32
TOO_DEEP = "[too deep]"
"""What stands for a value that is nested deeper than ``MAX_DEPTH``."""


def redact(text: str) -> str:
    """The text with labels such as ``[email]`` in place of personal data and secrets.

    It wants the whole text: of what was streamed in pieces, redact what they make when joined.
    What is redacted already stays as it is.
    """
    folded, shifts = fold(text)
    lowered = folded.lower()
    unbroken = max(map(len, folded.split()), default=0)
    masks: list[tuple[int, int, str]] = []
    for rule in (*SECRETS, *PERSONS, LETTERED):
        if unbroken >= rule.unbroken and any(mark in lowered for mark in rule.marks):
            folded = _apply(rule, folded, [(0, len(folded))], masks)
    windows = near_numbers(folded)
    for rule in NUMBERS if windows else ():
        folded = _apply(rule, folded, windows, masks)
    return _masked(text, masks, shifts) if masks else text


def redact_value(value: Any, depth: int = 0) -> Any:
    """A JSON-like value with its texts redacted, and the value of a key such as ``password``
    masked whole. A whole number that looks like a card or an id becomes a label.

    Keys are redacted too; of two that become the same the later one stays.
    """
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**40:
        redacted = redact(str(value))
        return redacted if redacted.startswith("[") else value
    if not isinstance(value, dict | list | tuple):
        return value
    if depth >= MAX_DEPTH:
        return TOO_DEEP
    if isinstance(value, dict):
        return {
            redact(key) if isinstance(key, str) else key: _redact_entry(key, each, depth + 1)
            for key, each in value.items()
        }
    return [redact_value(each, depth + 1) for each in value]


def _redact_entry(key: Any, value: Any, depth: int) -> Any:
    # A switch or an empty value keeps no secret, and tells that there was none.
    if isinstance(key, str) and value not in (None, "") and not isinstance(value, bool):
        name = key.lower().rstrip(string.digits)  # password1
        for label, names in NAMES.items():
            if name.endswith(names):
                return label
    return redact_value(value, depth)


def _apply(rule: Rule, folded: str, windows: list[Span], masks: list[tuple[int, int, str]]) -> str:
    """Note what has the rule's shape, and blank it, so that no later rule sees it."""
    pieces: list[str] = []
    done = 0
    for start_of_window, limit in windows:
        position = start_of_window
        while match := rule.pattern.search(folded, position, limit):
            span = rule.check(match)
            if span is None:
                position = match.start() + 1
                continue
            start, end = max(span[0], done), span[1]
            pieces += (folded[done:start], BLANK * (end - start))
            done = position = end
            if rule.label:
                masks.append((start, end, rule.label))
    return "".join((*pieces, folded[done:])) if pieces else folded


def _masked(text: str, masks: list[tuple[int, int, str]], shifts: Shifts) -> str:
    pieces: list[str] = []
    done = 0
    for start, end, label in sorted(masks):
        first, last = unfolded(start, shifts), unfolded(end, shifts)
        last = first + len(text[first:last].rstrip(INVISIBLE))
        if first >= done:
            pieces += (text[done:first], label)
        done = max(done, last)
    return "".join((*pieces, text[done:]))
