"""How a client says how long an answer it wants, and how a server understands it."""

from __future__ import annotations

import re

_NUMBER = re.compile(r"\d+")


def prompt(words: int) -> str:
    """What to ask for an answer of so many deltas."""
    return f"Please say {words} words."


def words_for(asked: str) -> list[str]:
    """As many as the last number in what was asked says."""
    return [f"word{number} " for number in range(int(_NUMBER.findall(asked)[-1]))]
