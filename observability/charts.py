"""Charts as SVG for a page whose policy forbids inline styles and scripts; drawn by pygal.

What pygal puts in for its own looks and tooltips goes; colours come from ``admin.css`` by pygal's
class names, and tooltips are SVG's ``<title>``. Nothing of it needs a script.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree as ET

from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

HEIGHT = 200
"""Units of the drawing, which fills whatever place it is given; letters are 10 high."""

Value = float | None


@dataclass(frozen=True, kw_only=True)
class Axis:
    """What the values of a chart stand for."""

    label: str
    """What a screen reader says instead of the drawing."""
    times: Sequence[str]
    """One for each value, as its tooltip tells it."""
    names: Sequence[str]
    """One for each value, as it stands under the axis; empty where there is no room."""
    width: int
    """Of the drawing, in units."""


@dataclass(frozen=True, kw_only=True)
class Series:
    label: str
    values: Sequence[Value]


def stacked_bars(axis: Axis, series: Sequence[Series], shown: Callable[[Value], str]) -> SafeString:
    """Bars of whole numbers that stand on each other."""
    # What is nothing is not drawn: most bars have no error, and each element takes its time.
    seen = [Series(label=each.label, values=[v or None for v in each.values]) for each in series]
    return _drawn(_pygal().StackedBar, axis, seen, shown, order_min=0)


def lines(axis: Axis, series: Sequence[Series], shown: Callable[[Value], str]) -> SafeString:
    """Lines with gaps where there is no value; the axis begins at zero."""
    options = {"allow_interruptions": True, "include_x_axis": True, "dots_size": 2}
    return _drawn(_pygal().Line, axis, series, shown, **options)


def _pygal() -> Any:
    """The library; late, for its import takes a tenth of a second, and no command draws."""
    import pygal

    # Its finder of maps by their old names lacks what Python has asked of finders since 3.4, and
    # has every later import of the process complain.
    sys.meta_path[:] = [
        finder for finder in sys.meta_path if not isinstance(finder, pygal.PluginImportFixer)
    ]
    return pygal


def _drawn(
    kind: Any,
    axis: Axis,
    series: Sequence[Series],
    shown: Callable[[Value], str],
    **options: Any,
) -> SafeString:
    chart = kind(
        width=axis.width,
        height=HEIGHT,
        margin=8,
        margin_right=24,  # For the name of the last bar.
        js=(),
        css=(),
        show_legend=False,
        min_scale=2,
        max_scale=5,
        truncate_label=-1,
        value_formatter=shown,
        classes=("obs-svg",),
        **options,
    )
    chart.x_labels = axis.names
    for each in series:
        told = zip(each.values, axis.times, strict=True)
        chart.add(each.label, [{"value": value, "label": time} for value, time in told])
    drawing = chart.render_tree()
    _undress(drawing, series)
    drawing.set("role", "img")
    drawing.set("aria-label", axis.label)
    return _markup(drawing)


def _undress(drawing: ET.Element, series: Sequence[Series]) -> None:
    """Take out all that a policy forbids or that nobody needs, and make tooltips of the rest."""
    drawing.attrib.pop("id", None)
    for parent in list(drawing.iter()):
        for child in list(parent):
            kinds = str(child.get("class", "")).split()
            # A comment's tag is the function that makes one.
            is_dress = child.tag in (ET.Comment, "defs", "title")
            if is_dress or {"text-overlay", "tooltip-overlay", "titles"} & set(kinds):
                parent.remove(child)
    for group in drawing.iter("g"):
        number = _series_number(group)
        if number is None:
            continue
        for mark in group.iter("g"):
            told = {str(desc.get("class")): desc.text for desc in mark.findall("desc")}
            for desc in mark.findall("desc"):
                mark.remove(desc)
            if "value" in told:
                title = ET.Element("title")
                title.text = _("%(time)s: %(value)s, %(what)s") % {
                    "time": told.get("label") or "",
                    "value": told["value"],
                    "what": series[number].label,
                }
                mark.insert(0, title)


def _series_number(group: ET.Element) -> int | None:
    for kind in str(group.get("class", "")).split():
        if kind.startswith("serie-"):
            return int(kind.removeprefix("serie-"))
    return None


def _markup(drawing: ET.Element) -> SafeString:
    """The drawing for a page: the names are pygal's own, all values and texts are escaped."""
    form: list[str] = []
    values: list[str] = []

    def write(element: ET.Element) -> None:
        name = element.tag.rpartition("}")[2]
        form.append(f"<{name}")
        for key, value in element.items():
            form.append(f' {key}="{{}}"')
            values.append(value)
        form.append(">{}")
        values.append(element.text or "")
        for child in element:
            write(child)
        form.append(f"</{name}>")

    drawing.set("xmlns", "http://www.w3.org/2000/svg")
    write(drawing)
    return format_html("".join(form), *values)
