"""How redaction reads a text: in a folded copy, by rules that take linear time.

A rule's repeats are bounded, or possessive and entered once per place.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable
from typing import NamedTuple

Span = tuple[int, int]
Shifts = tuple[list[int], list[int]]


class Rule(NamedTuple):
    """A shape, and the label of what has it; without a label it is something to leave alone."""

    label: str
    pattern: re.Pattern[str]
    check: Callable[[re.Match[str]], Span | None] = re.Match.span
    """What is to be masked; None: it only looks so."""
    marks: tuple[str, ...] = ("",)
    """One of them is, in whatever case, in every text that has a match. Marks and the next
    field spare the search in most other texts.
    """
    unbroken: int = 0
    """A text that has a match has so many characters without a space between."""


def before(match: re.Match[str], characters: int = 24) -> str:
    return match.string[max(0, match.start() - characters) : match.start()]


BLANK = "\0"
INVISIBLE = "\xad\u061c\u180e\u2060\ufeff" + "".join(
    map(chr, (*range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2066, 0x206A)))
)
_PLAIN = {
    **{chr(code): str(int(chr(code))) for code in range(0x80, 0x10000) if chr(code).isdecimal()},
    **{chr(code): chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)},  # full width
    **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212\u30fc\ufe58\ufe63", "-"),
    **dict.fromkeys(("\xa0", "\u202f", "\u205f", "\u3000", *map(chr, range(0x2000, 0x200B))), " "),
    **dict.fromkeys(INVISIBLE, ""),
}
_FOLDABLE = re.compile(
    rf"[{''.join(map(re.escape, _PLAIN))}\\%]"
    r"(?:(?<=\\)(?:[nrt]|u[0-9a-fA-F]{4})|(?<=%)[2-7][0-9a-fA-F])?"
)


def fold(text: str) -> tuple[str, Shifts]:
    """The folded text, and where it lost characters: places in it, and how many until there."""
    places: list[int] = []
    lost: list[int] = []
    if text.isascii() and "\\" not in text and "%" not in text:
        return text, (places, lost)

    def plain(match: re.Match[str]) -> str:
        piece = match[0]
        if len(piece) == 2:
            plain_one = " "  # \\n, \\r, \\t
        else:
            character = chr(int(piece.lstrip("\\u%"), 16)) if len(piece) > 2 else piece
            plain_one = _PLAIN.get(character, character)
        if len(piece) != len(plain_one):
            lost.append(len(piece) - len(plain_one) + (lost[-1] if lost else 0))
            places.append(match.end() - lost[-1])
        return plain_one

    return _FOLDABLE.sub(plain, text), (places, lost)


def unfolded(place: int, shifts: Shifts) -> int:
    places, lost = shifts
    count = bisect_right(places, place)
    return place + (lost[count - 1] if count else 0)
