"""The environment is read strictly."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from chatsite import env


@pytest.fixture(autouse=True)
def unset(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SOMETHING", "SOMETHING_FILE"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("value", ["1", "true", "True", "yes", "ON", " on "])
def test_a_flag_is_true(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("SOMETHING", value)
    assert env.flag("SOMETHING") is True


@pytest.mark.parametrize("value", ["0", "false", "no", "Off", ""])
def test_a_flag_is_false(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("SOMETHING", value)
    assert env.flag("SOMETHING", default=True) is False


@pytest.mark.parametrize("value", ["maybe", "2", "$OTHER", "truee"])
def test_a_flag_that_is_neither_stops_the_start(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("SOMETHING", value)
    with pytest.raises(ImproperlyConfigured, match="SOMETHING"):
        env.flag("SOMETHING")


def test_an_unset_flag_is_its_default() -> None:
    assert env.flag("SOMETHING", default=True) is True
    assert env.flag("SOMETHING") is False


def test_a_secret_comes_from_a_file_without_its_last_newline(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "secret"
    file.write_text("s3cret\n", encoding="utf-8")
    monkeypatch.setenv("SOMETHING_FILE", str(file))
    assert env.text("SOMETHING") == "s3cret"


def test_a_value_with_a_dollar_sign_is_taken_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOMETHING", "$ecret")
    assert env.text("SOMETHING") == "$ecret"


def test_a_value_and_a_file_at_once_are_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SOMETHING", "a")
    monkeypatch.setenv("SOMETHING_FILE", str(tmp_path / "b"))
    with pytest.raises(ImproperlyConfigured, match="not both"):
        env.text("SOMETHING")


def test_a_file_that_can_not_be_read_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SOMETHING_FILE", str(tmp_path / "missing"))
    with pytest.raises(ImproperlyConfigured, match="SOMETHING_FILE can't be read"):
        env.text("SOMETHING")


def test_words_are_split_at_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOMETHING", "a.example, b.example,,")
    assert env.words("SOMETHING") == ["a.example", "b.example"]


@pytest.mark.parametrize(("value", "expected"), [("0", 0), (" 12 ", 12), ("007", 7)])
def test_a_whole_number_is_read(monkeypatch: pytest.MonkeyPatch, value: str, expected: int) -> None:
    monkeypatch.setenv("SOMETHING", value)
    assert env.whole("SOMETHING", 5) == expected


@pytest.mark.parametrize("value", ["", "-1", "1.5", "1e3", "ten", "\u0663", "1_000"])
def test_what_is_no_whole_number_stops_the_start(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("SOMETHING", value)
    with pytest.raises(ImproperlyConfigured, match="SOMETHING must be a whole number"):
        env.whole("SOMETHING", 5)


def test_an_unset_number_is_its_default() -> None:
    assert env.whole("SOMETHING", 5) == 5
    assert env.whole("SOMETHING") == 0
