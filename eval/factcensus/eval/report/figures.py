"""Drawing helpers of the report: matplotlib figures as inline SVG, readable on phones and in print.

Every panel is 5 inches wide with text in SVG ``<text>``: one panel fills the width of a phone with readable letters,
and a wide screen shows two side by side. Methods differ in colour *and* marker. The colours are at least 20 apart in
CIE L*a*b* for every type of colour vision (``tests/eval/test_report_colours.py``; only two of the palette of Okabe and
Ito passed, the others were found by a search). The page defines every colour as a variable (``--m1`` …, ``--ink``), so
the same drawing works on a dark background.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLOURS = ("#0072b2", "#d55e00", "#3f2a56", "#a68959", "#684408", "#b613ec", "#913049", "#1d2ea5")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
INK, MUTED, GRID, PAPER = "#1b1f24", "#525c68", "#dfe3e8", "#ffffff"
ORACLE_COLOUR = "#6b7280"
#: Colours of the forms of asking, distinct from those of the methods.
_FORM_COLOURS = (INK, "#00857c", "#9439ef", "#ec6413", "#713714")
HIDDEN, BRITTLE = "#7fb2d9", "#f0c27a"
#: CSS variable for each colour.
VARIABLES = {
    INK: "--ink",
    MUTED: "--muted",
    GRID: "--line",
    PAPER: "--paper",
    ORACLE_COLOUR: "--oracle",
    HIDDEN: "--hidden",
    BRITTLE: "--brittle",
    **{colour: f"--m{number}" for number, colour in enumerate(_COLOURS, 1)},
    **{colour: f"--f{number}" for number, colour in enumerate(_FORM_COLOURS[1:], 2)},
}
_STYLE: Any = {  # rc_context wants its keys as literals
    "font.family": "sans-serif",
    "font.size": 11,
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.labelsize": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "svg.fonttype": "none",
    "svg.hashsalt": "factcensus",
    "legend.frameon": False,
}


@dataclass(frozen=True, slots=True)
class Look:
    """Colour, marker and line style of a method."""

    colour: str
    marker: str
    dashes: str


def looks(methods: Sequence[str], oracle: str | None) -> dict[str, Look]:
    """Return a style for each method; the oracle is grey and dashed."""
    others = [name for name in methods if name != oracle]
    found = {name: Look(_COLOURS[i % len(_COLOURS)], _MARKERS[i % len(_MARKERS)], "-") for i, name in enumerate(others)}
    if oracle:
        found[oracle] = Look(ORACLE_COLOUR, "d", "--")
    return found


def form_look(place: int) -> Look:
    """Return the style of the form of asking at this position."""
    return Look(_FORM_COLOURS[place % len(_FORM_COLOURS)], _MARKERS[place % len(_MARKERS)], "--" if place % 2 else "-")


def draw(paint: Callable[[Axes], None], *, alternative: str, height: float = 3.7) -> str:
    """Draw one panel as an ``<svg>`` element with a text alternative."""
    return _embed(_svg(lambda figure: paint(figure.add_subplot()), (5.0, height), layout="constrained"), alternative)


def draw_whole(paint: Callable[[Figure], None], *, alternative: str, height: float = 3.2) -> str:
    """Draw a panel that lays out its own axes."""
    return _embed(_svg(paint, (5.0, height), layout="constrained"), alternative)


@cache
def key_mark(look: Look) -> str:
    """Draw a method's line and marker for a legend; hidden from screen readers, because the name follows."""

    def paint(figure: Figure) -> None:
        axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
        axes.set_axis_off()
        axes.plot([0, 1, 2], [0, 0, 0], color=look.colour, linestyle=look.dashes, linewidth=2)
        axes.plot([1], [0], color=look.colour, marker=look.marker, markersize=8)
        axes.set(xlim=(-0.1, 2.1), ylim=(-1, 1))

    return _embed(_svg(paint, (0.5, 0.2)), None)


def _svg(paint: Callable[[Figure], None], size_inches: tuple[float, float], **options: Any) -> str:
    """Return an SVG document; equal drawings give equal text."""
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=size_inches, **options)
        FigureCanvasSVG(figure)
        paint(figure)
        file = io.StringIO()
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    return file.getvalue()


def _embed(document: str, alternative: str | None) -> str:
    """Return the ``<svg>`` element of a document, scaled to its container, with a text alternative."""
    svg = document[document.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"\s*\n\s*", " ", svg)  # a third of the bytes
    svg = re.sub(r'<svg\b([^>]*?) height="[^"]*"', r"<svg\1", svg, count=1)
    svg = re.sub(r'<svg\b([^>]*?) width="[^"]*"', r"<svg\1", svg, count=1)
    svg = re.sub(r"#[0-9a-f]{6}\b(?=[;\"])", _variable, svg)
    described = 'aria-hidden="true"' if alternative is None else f'role="img" aria-label="{_attribute(alternative)}"'
    return svg.replace("<svg", f'<svg {described} focusable="false"', 1)


def _variable(colour: re.Match[str]) -> str:
    """Return a colour as a CSS variable with the colour itself as the fallback."""
    name = VARIABLES.get(colour[0])
    return colour[0] if name is None else f"var({name}, {colour[0]})"


def with_ids_of_their_own(page: str) -> str:
    """Prefix the ids of every drawing with its number, so that ids are unique in the page."""
    pieces = re.split(r"(<svg\b.*?</svg>)", page, flags=re.DOTALL)
    for number in range(1, len(pieces), 2):
        prefix = f"f{number // 2 + 1}-"
        pieces[number] = re.sub(r'(\bid="|href="#|url\(#)', rf"\1{prefix}", pieces[number])
    return "".join(pieces)


def _attribute(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")


# --- what charts are made of ---


def whiskers(
    axes: Axes, x: Any, rows: Sequence[Mapping[str, Any]], look: Look, *, line: bool, label: str | None = None
) -> None:
    """Draw points with their intervals."""
    values = [row["value"] for row in rows]
    if line:
        axes.plot(x, values, color=look.colour, linestyle=look.dashes, linewidth=1, alpha=0.55)
    for place, row in zip(x, rows, strict=True):
        if row["ci95"]:
            axes.plot([place, place], row["ci95"], color=look.colour, linewidth=1.6)
    axes.plot(x, values, look.marker, color=look.colour, markersize=7, label=label)


def percent_axis() -> Any:
    """Return the formatter of an axis of shares."""
    from matplotlib.ticker import PercentFormatter

    return PercentFormatter(1.0, decimals=0)
