"""Figures, times and texts as an operator reads them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone, translation

from observability import display

NOW = datetime(2026, 3, 10, 14, 25, 7, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "—"),
        (0, "0 ms"),
        (999, "999 ms"),
        (1000, "1.00 s"),
        (1996, "2.00 s"),
        (12_345, "12.3 s"),
        (65_000, "1 min 5 s"),
        (7_325_000, "122 min 5 s"),
    ],
)
def test_a_time_span_is_shown_in_the_unit_that_reads_best(value: int | None, shown: str) -> None:
    assert display.milliseconds(value) == shown


def test_figures_follow_the_language() -> None:
    with translation.override("de"):
        assert display.number(1234567) == "1.234.567"
        assert display.number(0.5, 1) == "0,5"


def test_figures_are_rounded_and_not_cut_off() -> None:
    assert display.percent(2 / 7) == "28.6%"


def test_an_unknown_figure_is_not_zero() -> None:
    assert display.number(None) == display.percent(None) == "—"
    assert display.number(0) == "0"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(-3, "0 seconds"), (1, "1 second"), (59, "59 seconds"), (190, "3 minutes")],
)
def test_an_age_is_told_roughly(seconds: int, shown: str) -> None:
    age = display.age(NOW - timedelta(seconds=seconds), NOW)
    assert age.replace("\xa0", " ") == shown


def test_times_are_in_the_operators_zone_and_to_the_second() -> None:
    with timezone.override("Asia/Tokyo"):
        assert display.date_and_time(NOW) == "March 10, 2026, 23:25:07"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("invoice_\u202egpj.exe", "invoice_[U+202E]gpj.exe"),
        ("a\u2066b\u2069c", "a[U+2066]b[U+2069]c"),
        ("bell\x07 escape\x1b[31m", "bell[U+0007] escape[U+001B][31m"),
        ("half of a pair \ud83d", "half of a pair [U+D83D]"),
        ("hidden\U000e0041", "hidden[U+E0041]"),
        ("lines\r\nand\n\ttabs", "lines\nand\n\ttabs"),
        ("مرحبا שלום 👩‍👩‍👧 日本", "مرحبا שלום 👩‍👩‍👧 日本"),
    ],
)
def test_characters_that_deceive_are_made_visible_and_others_left_alone(
    text: str, shown: str
) -> None:
    assert display.visible(text) == shown


def test_a_long_text_is_shortened_to_one_line() -> None:
    assert display.shorten("two\n\n  lines") == "two lines"
    assert display.shorten("x" * 81) == "x" * 79 + "…"
    assert display.shorten("x" * 80) == "x" * 80


def test_a_badge_escapes_what_it_says() -> None:
    assert display.badge("failed", "<b>") == (
        '<span class="obs-badge obs-is-failed">&lt;b&gt;</span>'
    )
