"""The figures of the pages: facts by count, documents by value, documents by year, and two indexes compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from unicodedata import east_asian_width

import numpy as np

from factcensus.api.pages.axes import Axis, fitting, linear, logarithmic, short
from factcensus.api.pages.figures import MARGIN, Box, Figure, Key, Label, Line, across, y_axis
from factcensus.api.serving.fact_tables import Stratum
from factcensus.api.serving.histogram import Bin, Histogram, shade_of
from factcensus.indexer.numbers import counted

#: Pixels of a vertical plot, and above it for numbers and the marked fact.
HEIGHT, ABOVE = 150, 34
#: Pixels of a horizontal bar, and of the name above it.
BAR, NAME = 13, 19
#: Percent of the width of the longest horizontal bar; a number of 10 digits fits to the right of it, even on a phone.
_LONGEST = 74
#: Width of the longest name above a bar, in letters.
_LONGEST_NAME = 40
#: Minimum distance of two labels of years, in percent of the width.
_YEARS_APART = 8.0


def facts_by_count(
    picture: Histogram, legend: Sequence[Stratum], caption: str, marked: str = "", *, name: str = "facts-by-count"
) -> Figure:
    """Draw facts by count, one bar for each stratum of a bin, on two logarithmic axes."""
    axis = logarithmic(max([1, *(facts for each in picture.bins for _, facts in each.strata)]))
    lines, labels = y_axis(axis.ticks, ABOVE, HEIGHT)
    labels.append(Label("tick", MARGIN - 1, ABOVE - 12, "end", "facts"))
    boxes = []
    step = 1 / len(picture.bins)
    for place, each in enumerate(picture.bins):
        boxes += _bars_of(each, picture.strata, axis, place * step, step)
        if each.low == 0 or str(each.low).strip("0") == "1":
            labels.append(Label("tick", across((place + 0.5) * step), ABOVE + HEIGHT + 18, "middle", short(each.low)))
    labels += [Label("number", box.x + box.width / 2, box.y - 4, "middle", box.title.split(" ")[0]) for box in boxes]
    if picture.marker is not None:
        x = across(picture.marker)
        lines.append(Line("marker", x, x, 16, ABOVE + HEIGHT))
        anchor = "start" if x < 25 else "end" if x > 80 else "middle"
        labels.append(Label("here", x, 11, anchor, marked))
    rows = tuple((_range_of(each), f"{each.facts:,}") for each in picture.bins if each.facts)
    keys = tuple(Key(f"s{each.shade}", each.label, _facts(each.facts)) for each in legend)
    return Figure(
        name,
        f"{caption}; both axes are logarithmic, and 0 has a separate bar",
        ABOVE + HEIGHT + 26,
        tuple(boxes),
        (*lines, _baseline()),
        tuple(labels),
        ("Documents", "Facts"),
        rows,
        keys,
        "Strata, from the rarest",
    )


def _bars_of(each: Bin, strata: int, axis: Axis, start: float, width: float) -> list[Box]:
    """Draw the strata of a bin side by side: on a logarithmic axis, the parts of a stacked bar would mislead."""
    boxes = []
    for number, (stratum, facts) in enumerate(each.strata):
        part = 0.84 * width / len(each.strata)
        x, height = start + 0.08 * width + number * part, HEIGHT * axis.place(facts)
        boxes.append(
            Box(
                f"s{shade_of(stratum, strata)}",
                across(x),
                round((100 - MARGIN) * part, 2),
                round(ABOVE + HEIGHT - height, 1),
                round(height, 1),
                f"{_facts(facts)} with {_range_of(each)} documents",
            )
        )
    return boxes


def bars(values: Sequence[tuple[str, int]], caption: str, column: str, *, name: str) -> Figure:
    """Draw a horizontal bar for each value, from 0, or on a logarithmic axis if the values differ a lot."""
    shown = [(value or "(none)", [count]) for value, count in values]
    return _horizontal(shown, (Key("s3", "documents"),), caption, (column, "documents"), name)


def compared(
    values: Sequence[tuple[str, Sequence[float]]], indexes: Sequence[str], caption: str, unit: str, *, name: str
) -> Figure:
    """Draw numbers of two indexes, one bar below the other for each kind of number."""
    keys = tuple(Key(shade, index) for shade, index in zip(("s4", "s1"), indexes, strict=True))
    return _horizontal(values, keys, caption, (unit, *indexes), name)


def _horizontal(
    values: Sequence[tuple[str, Sequence[float]]], keys: Sequence[Key], caption: str, columns: Sequence[str], name: str
) -> Figure:
    axis = fitting(list(chain.from_iterable(numbers for _, numbers in values)))
    boxes, labels = list[Box](), list[Label]()
    y = 6
    for value, numbers in values:
        labels.append(Label("name", 0, y + NAME - 6, "start", _shortened(value)))
        y += NAME
        for key, number in zip(keys, numbers, strict=True):
            width = round(_LONGEST * axis.place(number), 2)
            of = f"{value}: {_number(number)}" + (f" ({key.name})" if len(keys) > 1 else "")
            boxes.append(Box(key.shade, 0, width, y, BAR, of))
            labels.append(Label("value", width + 0.7, y + BAR - 2, "start", _number(number)))
            y += BAR + 1
        y += 6
    lines = [Line("grid", _LONGEST * place, _LONGEST * place, 2, y) for place, _ in axis.ticks]
    for place, text in axis.ticks:
        labels.append(Label("tick", round(_LONGEST * place, 2), y + 15, "start" if place < 0.02 else "middle", text))
    return Figure(
        name,
        caption + ("; logarithmic axis" if axis.logarithmic else ""),
        y + 22,
        tuple(boxes),
        tuple(lines),
        tuple(labels),
        tuple(columns),
        tuple((value, *map(_number, numbers)) for value, numbers in values),
        tuple(keys) if len(keys) > 1 else (),
        "Indexes",
    )


@dataclass(frozen=True, slots=True)
class Trend:
    """Documents by year.

    Attributes:
        found: Matching documents of each year.
        every: All documents of each year; empty if they are not known.
        undated: Matching documents without a year.
    """

    found: Mapping[int, int]
    every: Mapping[int, int]
    undated: int

    @property
    def years(self) -> range:
        """All years from the first to the last."""
        known = {*self.found, *self.every}
        return range(min(known), max(known) + 1)


def trend(counted: Trend, subject: str, field: str) -> list[Figure]:
    """Draw the documents of every year, and their share of all documents of that year."""
    years = counted.years
    found = {year: float(counted.found.get(year, 0)) for year in years}
    left_out = f", without {counted.undated:,} that have no year" if counted.undated else ""
    caption = f"Documents with {subject} by year (field {field}){left_out}"
    documents = _by_year(found, caption, "documents", "", "documents-by-year")
    if not counted.every:
        return [documents]
    shares = {year: 100 * found[year] / every for year in years if (every := counted.every.get(year))}
    label = f"Share of all documents of each year that have {subject}"
    return [documents, _by_year(shares, label, "share", "%", "share-by-year")]


def _by_year(values: Mapping[int, float], caption: str, column: str, unit: str, name: str) -> Figure:
    axis = linear(max(values.values()), unit)
    lines, labels = y_axis(axis.ticks, 14, HEIGHT)
    first, last = min(values), max(values)
    step = 1 / (last - first + 1)
    boxes = []
    every = next(n for n in (1, 2, 5, 10, 20, 50, 100, 1000) if n * step * (100 - MARGIN) >= _YEARS_APART)
    for year in range(first, last + 1):
        x = (year - first) * step
        if (value := values.get(year, 0.0)) > 0:
            height = HEIGHT * axis.place(value)
            width = round((100 - MARGIN) * 0.8 * step, 2)
            text = f"{year}: {_number(value)}{unit}"
            boxes.append(
                Box("s3", across(x + 0.1 * step), width, round(14 + HEIGHT - height, 1), round(height, 1), text)
            )
        if year % every == 0 or first == last:
            centre = across(x + 0.5 * step)
            at, anchor = (100.0, "end") if centre > 100 - _YEARS_APART / 2 else (centre, "middle")
            labels.append(Label("tick", at, 14 + HEIGHT + 18, anchor, str(year)))
    rows = tuple((str(year), f"{_number(value)}{unit}") for year, value in values.items())
    height = 14 + HEIGHT + 26
    return Figure(
        name, caption, height, tuple(boxes), (*lines, _baseline(14)), tuple(labels), ("Year", column.capitalize()), rows
    )


def _baseline(top: int = ABOVE) -> Line:
    return Line("axis", MARGIN - 0.5, 100, top + HEIGHT, top + HEIGHT)


def _range_of(each: Bin) -> str:
    return f"{each.low:,}" + (f" to {each.high:,}" if each.high > each.low else "")


def _facts(number: int) -> str:
    return counted(number, "fact")


def _shortened(name: str) -> str:
    """Return a name that fits the width of a phone; characters of East Asian scripts are twice as wide as letters."""
    widths = np.cumsum([2 if east_asian_width(each) in "WF" else 1 for each in name])
    return name if not len(name) or widths[-1] <= _LONGEST_NAME else name[: int((widths < _LONGEST_NAME).sum())] + "…"


def _number(value: float) -> str:
    """Format a whole number with separators, and any other number with three significant digits."""
    if value == int(value):
        return f"{int(value):,}"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
