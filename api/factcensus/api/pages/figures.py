"""Figures as SVG: in the page, coloured by its style sheet, and as files that stand alone.

Positions along the width are in percent and heights in pixels, so that letters keep their size on every screen.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from textwrap import wrap
from urllib.parse import quote

#: Width of a downloaded figure in pixels, and the empty space on each side of it.
WIDTH, SIDE = 760, 12
#: Pixels of the width of a letter, of a line of the caption and of a row of the legend; maximum lines of the caption.
_LETTER, _LINE, _ROW, _MOST_LINES = 7, 17, 22, 4
#: The percent of the width left of the plot, for the labels of its axis.
MARGIN = 11.0


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle: style class, position and size, and the text that browsers show when pointing at it."""

    shade: str
    x: float
    width: float
    y: float
    height: float
    title: str


@dataclass(frozen=True, slots=True)
class Line:
    """A line: style class, and its ends."""

    shade: str
    x1: float
    x2: float
    y1: float
    y2: float


@dataclass(frozen=True, slots=True)
class Label:
    """A text: style class, position, and the side on which it is anchored (``start``, ``middle``, ``end``)."""

    shade: str
    x: float
    y: float
    anchor: str
    text: str


@dataclass(frozen=True, slots=True)
class Key:
    """A row of the legend: style class, name, and a remark."""

    shade: str
    name: str
    remark: str = ""


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure with its data.

    Attributes:
        name: Its id on the page, and the name of its files.
        caption: What it shows, which axes are logarithmic included.
        height: In pixels.
        keys: The legend; empty for figures with one kind of bar.
        legend: The name of the legend.
        columns: The names of the columns of its data.
        rows: Its data, for the table below it.
    """

    name: str
    caption: str
    height: int
    boxes: tuple[Box, ...]
    lines: tuple[Line, ...]
    labels: tuple[Label, ...]
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    keys: tuple[Key, ...] = ()
    legend: str = ""

    def file_url(self, markup: str) -> str:
        """Return a data URL of the figure as an SVG file, given the markup of its parts."""
        caption = wrap(self.caption, (WIDTH - 2 * SIDE) // _LETTER, max_lines=_MOST_LINES, placeholder=" …")
        lines = "".join(
            f'<tspan x="{SIDE}" y="{self.height + 14 + _LINE * row}">{_escaped(line)}</tspan>'
            for row, line in enumerate(caption)
        )
        below = self.height + 10 + _LINE * len(caption)
        keys, height = _legend(self.keys, below)
        drawn = (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
            f'viewBox="0 0 {WIDTH} {height}" class="chart" role="img"><title>{_escaped(self.caption)}</title>'
            f'<style>{_style()}</style><rect class="ground" width="100%" height="100%"/>'
            f'<svg x="{SIDE}" width="{WIDTH - 2 * SIDE}" height="{self.height}" overflow="visible">{markup}</svg>'
            f'<text class="caption">{lines}</text>{keys}</svg>'
        )
        return "data:image/svg+xml;charset=utf-8," + quote(drawn, safe="")


def _legend(keys: Sequence[Key], top: int) -> tuple[str, int]:
    """Return the markup of a legend below ``top``, in as many rows as it needs, and the height of the figure."""
    drawn, x, y = "", SIDE, top
    for key in keys:
        text = f"{key.name}: {key.remark}" if key.remark else key.name
        width = 18 + _LETTER * len(text) + 20
        if x > SIDE and x + width > WIDTH:
            x, y = SIDE, y + _ROW
        drawn += (
            f'<g transform="translate({x} {y})"><rect class="{key.shade}" width="12" height="12"/>'
            f'<text x="18" y="11">{_escaped(text)}</text></g>'
        )
        x += width
    return drawn, (y + _ROW if keys else top) + 8


def y_axis(ticks: Sequence[tuple[float, str]], top: float, height: float) -> tuple[list[Line], list[Label]]:
    """Return grid lines and labels of a vertical axis whose plot begins at ``top`` and has this height."""
    lines, labels = [], []
    for place, text in ticks:
        y = round(top + height * (1 - place), 1)
        lines.append(Line("grid", MARGIN - 0.5, 100, y, y))
        labels.append(Label("tick", MARGIN - 1, y + 4, "end", text))
    return lines, labels


def across(place: float) -> float:
    """Return the percent of the width of a position from 0 to 1 in the plot."""
    return round(MARGIN + (100 - MARGIN) * place, 2)


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _style() -> str:
    """Return the rules for figures of the page's style sheet, with the colours of its light mode."""
    style = files("factcensus.api").joinpath("templates/page.css").read_text(encoding="utf-8")
    colours = dict(re.findall(r"(--[a-z0-9-]+): (#[0-9a-f]+);", style.partition("@media")[0]))
    rules = re.findall(r"^\.chart [^\n]*$|^\.s0 [^\n]*$", style, re.MULTILINE)
    filled = re.sub(r"var\((--[a-z0-9-]+)\)", lambda found: colours[found[1]], " ".join(rules))
    ground = f".chart .ground {{ fill: {colours['--card']}; stroke: none; }}"
    return f"text {{ font: 12px system-ui, sans-serif; }} {filled} {ground}"
