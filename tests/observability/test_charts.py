"""Charts: SVG that a strict policy lets through."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

import pytest
from django.test.utils import override_settings

from observability.charts import Axis, Series, lines, stacked_bars
from observability.display import milliseconds, number

TIMES = ["10:00", "11:00", "12:00"]
AXIS = Axis(label="Turns", times=TIMES, names=["ten", "", "twelve"], width=400)
DRAWN = {
    "bars": lambda values: stacked_bars(
        AXIS,
        [Series(label="fine", values=values), Series(label="<failed>", values=[1, 0, 0])],
        number,
    ),
    "lines": lambda values: lines(AXIS, [Series(label="<p50>", values=values)], milliseconds),
}


@pytest.fixture(params=DRAWN)
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def tree(svg: str) -> ET.Element:
    return ET.fromstring(svg)  # noqa: S314 (our own)


def tags(svg: str) -> set[str]:
    return {element.tag.rpartition("}")[2] for element in tree(svg).iter()}


def titles(svg: str) -> list[str | None]:
    return [element.text for element in tree(svg).iter("{http://www.w3.org/2000/svg}title")]


def test_nothing_of_it_needs_a_script_or_an_inline_style(kind: str) -> None:
    svg = DRAWN[kind]([1, 2, 3])
    assert not tags(svg) & {"style", "script", "defs", "desc"}
    attributes = {name for element in tree(svg).iter() for name in element.attrib}
    assert not {name for name in attributes if name == "style" or name.startswith("on")}
    assert "http" not in svg.replace("http://www.w3.org/2000/svg", "")
    assert "<!--" not in svg


def test_what_it_is_given_is_escaped(kind: str) -> None:
    assert "&lt;" in DRAWN[kind]([1, 2, 3])
    assert not re.search("<failed>|<p50>", DRAWN[kind]([1, 2, 3]))


def test_a_screen_reader_is_told_what_it_is(kind: str) -> None:
    root = tree(DRAWN[kind]([1, 2, 3]))
    assert (root.get("role"), bool(root.get("aria-label"))) == ("img", True)


def test_pointed_at_it_tells_its_figures(kind: str) -> None:
    told = titles(DRAWN[kind]([1, 2000, 3]))
    label, figure = ("fine", "2,000") if kind == "bars" else ("<p50>", "2.00 s")
    assert f"11:00: {figure}, {label}" in told


@pytest.mark.parametrize(
    "values",
    [[0, 0, 0], [None, None, None], [None, 7, None], [1, 1, 1], [10**12, 1, None], [0.5, 2, 3]],
)
def test_any_values_can_be_drawn(kind: str, values: list[float | None]) -> None:
    svg = DRAWN[kind](values)
    for name in ("x", "y", "width", "height", "cx", "cy", "d"):
        drawn = " ".join(element.get(name, "") for element in tree(svg).iter())
        assert not re.search(r"nan|inf", drawn, re.IGNORECASE)


def test_there_are_no_halves_of_turns_on_the_axis() -> None:
    texts = {element.text for element in tree(DRAWN["bars"]([0, 1, 0])).iter()}
    assert {"0", "1"} <= texts
    assert not {text for text in texts if text and "." in text}


@override_settings(LANGUAGE_CODE="de", USE_THOUSAND_SEPARATOR=True)
def test_it_is_drawn_in_any_language(kind: str) -> None:
    drawn = [
        element.get(name)
        for element in tree(DRAWN[kind]([1000, 2000.5, 3])).iter()
        for name in ("x", "y", "width", "height", "cx", "cy", "r")
        if element.get(name) is not None
    ]
    assert drawn
    assert all(re.fullmatch(r"-?\d+(\.\d+)?(e-\d+)?", value or "") for value in drawn), drawn
