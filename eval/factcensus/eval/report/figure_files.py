"""Figures of the report as SVG files that stand alone: caption, legend and the colours of a white page."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping
from html import escape

from factcensus.eval.report.figures import INK, PAPER, Look, key_mark

#: Heights of a line of the caption and of the legend, width of a letter, and margin, all in points.
_CAPTION, _LEGEND, _LETTER, _MARGIN = 15, 18, 6.2, 8
_MARK = 40
_VARIABLE = re.compile(r"var\(--[a-z0-9]+, (#[0-9a-f]{6})\)")


def figure_file(drawing: str, caption: str, legend: Mapping[str, Look]) -> str:
    """Return a drawing of the report as an SVG document.

    Args:
        drawing: An ``<svg>`` element of :func:`factcensus.eval.report.figures.draw`.
        legend: The style of each method, for drawings whose legend the page shows once for several drawings.
    """
    width, height = _size(drawing)
    lines = textwrap.wrap(caption, int((width - 2 * _MARGIN) / _LETTER))
    top = _MARGIN + _CAPTION * len(lines)
    words = "".join(
        f'<text x="{_MARGIN}" y="{_MARGIN + _CAPTION * place + 8}" font-weight="600">{escape(line)}</text>'
        for place, line in enumerate(lines)
    )
    keys, rows = _keys(legend, width, top + height)
    whole = top + height + _LEGEND * rows + _MARGIN
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="{width:g}pt" '
        f'height="{whole:g}pt" viewBox="0 0 {width:g} {whole:g}" role="img"><title>{escape(caption)}</title>'
        f'<rect width="100%" height="100%" fill="{PAPER}"/>'
        f'<g fill="{INK}" font-family="sans-serif" font-size="11">{words}</g>'
        f"{_placed(drawing, 0, top, width, height)}"
        f'<g fill="{INK}" font-family="sans-serif" font-size="11">{keys}</g></svg>'
    )


def _keys(legend: Mapping[str, Look], width: float, top: float) -> tuple[str, int]:
    """Return the legend in as many rows as it needs, and their number."""
    x, row, keys = float(_MARGIN), 0, ""
    for name, look in legend.items():
        needed = _MARK + _LETTER * len(name) + 12
        if x > _MARGIN and x + needed > width:
            x, row = float(_MARGIN), row + 1
        y = top + _LEGEND * row
        mark = key_mark(look)
        keys += _placed(mark, x, y, *_size(mark)) + f'<text x="{x + _MARK:g}" y="{y + 11:g}">{escape(name)}</text>'
        x += needed
    return keys, row + bool(legend)


def _size(drawing: str) -> tuple[float, float]:
    """Return width and height of a drawing in points."""
    found = re.search(r'viewBox="0 0 ([0-9.]+) ([0-9.]+)"', drawing)
    assert found is not None, "every drawing has a viewBox"
    return float(found[1]), float(found[2])


def _placed(drawing: str, x: float, y: float, width: float, height: float) -> str:
    """Return a drawing at a place in another one, in colours that need no style sheet."""
    coloured = _VARIABLE.sub(r"\1", drawing)
    return coloured.replace("<svg", f'<svg x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}"', 1)
