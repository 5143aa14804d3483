"""The report's figures: matplotlib drawings as inline SVG, sized for a phone and sharp on paper.

Every panel is drawn 5 inches wide with text in SVG ``<text>``, so that one panel fills a phone's width with readable
letters, and two stand side by side on a wide screen. Methods differ in colour *and* marker; the colours are those of
Okabe and Ito (2008), told apart with any colour vision. In the page every colour is a variable (``--m1`` … and
``--ink``), so that the same drawing is legible on a dark ground.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#B8860B", "#4B4B9F", "#3A9BD1", "#7A4B2A")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
INK, MUTED, GRID, PAPER = "#1b1f24", "#5b6470", "#dfe3e8", "#ffffff"
ORACLE_COLOUR = "#6b7280"
#: Forms of asking, where a plot compares them: colours that no method has.
_FORM_COLOURS = (INK, "#8a3ffc", "#007d79", "#d02670", "#8a6d00")
HIDDEN, BRITTLE = "#7fb2d9", "#f0c27a"
#: The page's variable for each colour.
VARIABLES = {
    INK: "--ink", MUTED: "--muted", GRID: "--line", PAPER: "--paper", ORACLE_COLOUR: "--oracle", HIDDEN: "--hidden",
    BRITTLE: "--brittle", **{colour.lower(): f"--m{number}" for number, colour in enumerate(_COLOURS, 1)},
    **{colour: f"--f{number}" for number, colour in enumerate(_FORM_COLOURS[1:], 2)},
}  # fmt: skip
_STYLE: Any = {  # rc_context wants its keys as literals
    "font.family": "sans-serif", "font.size": 11, "text.color": INK,
    "axes.edgecolor": MUTED, "axes.labelcolor": INK, "axes.labelsize": 11, "axes.spines.top": False,
    "axes.spines.right": False, "axes.axisbelow": True, "axes.grid": True, "grid.color": GRID, "grid.linewidth": 0.8,
    "xtick.color": MUTED, "ytick.color": MUTED, "xtick.labelcolor": INK, "ytick.labelcolor": INK,
    "svg.fonttype": "none", "svg.hashsalt": "factcensus", "legend.frameon": False,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Look:
    """How a method is drawn everywhere."""

    colour: str
    marker: str
    dashes: str


def looks(methods: Sequence[str], oracle: str | None) -> dict[str, Look]:
    """A colour and marker for each method; the oracle is grey and dashed."""
    others = [name for name in methods if name != oracle]
    found = {name: Look(_COLOURS[i % len(_COLOURS)], _MARKERS[i % len(_MARKERS)], "-") for i, name in enumerate(others)}
    if oracle:
        found[oracle] = Look(ORACLE_COLOUR, "d", "--")
    return found


def form_look(place: int) -> Look:
    """How the form of asking with this place among those shown is drawn."""
    return Look(_FORM_COLOURS[place % len(_FORM_COLOURS)], _MARKERS[place % len(_MARKERS)], "--" if place % 2 else "-")


def draw(paint: Callable[[Axes], None], *, alternative: str, height: float = 3.7) -> str:
    """One panel as an ``<svg>`` element with a text alternative."""
    return _embed(_svg(lambda figure: paint(figure.add_subplot()), (5.0, height), layout="constrained"), alternative)


def draw_whole(paint: Callable[[Figure], None], *, alternative: str, height: float = 3.2) -> str:
    """A panel that lays out its own axes."""
    return _embed(_svg(paint, (5.0, height), layout="constrained"), alternative)


@cache
def key_mark(look: Look) -> str:
    """A method's colour and marker, for legends in the text; hidden from screen readers, the name stands beside it."""

    def paint(figure: Figure) -> None:
        axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
        axes.set_axis_off()
        axes.plot([0, 1, 2], [0, 0, 0], color=look.colour, linestyle=look.dashes, linewidth=2)
        axes.plot([1], [0], color=look.colour, marker=look.marker, markersize=8)
        axes.set(xlim=(-0.1, 2.1), ylim=(-1, 1))

    return _embed(_svg(paint, (0.5, 0.2)), None)


def _svg(paint: Callable[[Figure], None], size_inches: tuple[float, float], **options: Any) -> str:
    """An SVG document; the same drawing gives the same text."""
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
    """The ``<svg>`` element of an SVG document: as wide as its place, with a text alternative."""
    svg = document[document.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<svg\b([^>]*?) height="[^"]*"', r"<svg\1", svg, count=1)
    svg = re.sub(r'<svg\b([^>]*?) width="[^"]*"', r"<svg\1", svg, count=1)
    svg = re.sub(r"#[0-9a-f]{6}\b(?=[;\"])", _variable, svg)
    described = 'aria-hidden="true"' if alternative is None else f'role="img" aria-label="{_attribute(alternative)}"'
    return svg.replace("<svg", f'<svg {described} focusable="false"', 1)


def _variable(colour: re.Match[str]) -> str:
    """A colour of a drawing as the page's variable, with itself where the drawing stands elsewhere."""
    name = VARIABLES.get(colour[0])
    return colour[0] if name is None else f"var({name}, {colour[0]})"


def with_ids_of_their_own(page: str) -> str:
    """A page in which no two drawings share an id: each gets its number before its ids."""
    pieces = re.split(r"(<svg\b.*?</svg>)", page, flags=re.DOTALL)
    for number in range(1, len(pieces), 2):
        prefix = f"f{number // 2 + 1}-"
        pieces[number] = re.sub(r'(\bid="|href="#|url\(#)', rf"\1{prefix}", pieces[number])
    return "".join(pieces)


def _attribute(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")


# --- panels ---


def forgotten_by_stratum(
    methods: Sequence[Mapping[str, Any]], form: str, look: Mapping[str, Look], outcome: str
) -> str:
    """Share forgotten in each stratum by method, with intervals; methods stand side by side, not on one another."""
    drawn = [method for method in methods if method["forgotten_by_stratum"][form]]

    def paint(axes: Axes) -> None:
        labels: dict[int, str] = {}
        for place, method in enumerate(drawn):
            offset = (place - (len(drawn) - 1) / 2) * 0.8 / max(1, len(drawn))
            rows = [row for row in method["forgotten_by_stratum"][form] if row[outcome]["value"] is not None]
            labels.update({row["stratum"]: f"{row['label']}\nn={row[outcome]['n']}" for row in rows})
            whiskers(
                axes,
                np.array([row["stratum"] for row in rows]) + offset,
                [row[outcome] for row in rows],
                look[method["name"]],
                line=True,
            )
        axes.set_xticks(sorted(labels), [labels[stratum] for stratum in sorted(labels)])
        axes.grid(visible=False, axis="x")
        for edge in sorted(labels)[1:]:
            axes.axvline(edge - 0.5, color=GRID, linewidth=0.8)
        axes.set(
            ylim=(-0.03, 1.03), xlabel="co-occurrence documents (rarest to most frequent)", ylabel="share forgotten"
        )
        axes.yaxis.set_major_formatter(percent_axis())

    return draw(paint, alternative=f"Share of facts forgotten by {outcome}, {form} form, by count stratum and method.")


@dataclass(frozen=True, slots=True)
class ForestRow:
    """A method in a forest plot: its estimate, every seed's own, and another estimate to set above it."""

    method: str
    found: Mapping[str, Any]
    seeds: Sequence[float] = ()
    other: Mapping[str, Any] | None = None


def forest(
    rows: Sequence[ForestRow],
    look: Mapping[str, Look],
    *,
    reference: float,
    limits: tuple[float, float],
    label: str,
    alternative: str,
    percent: bool = False,
) -> str:
    """Estimates with intervals, a row a method, around a line at ``reference``."""

    def paint(axes: Axes) -> None:
        for place, row in enumerate(rows):
            style = look[row.method]
            if len(row.seeds) > 1:
                places = [place + 0.24] * len(row.seeds)
                axes.plot(row.seeds, places, "|", color=style.colour, markersize=9, markeredgewidth=1.6)
            _estimate(axes, row.found, place, style, width=2, size=8, face=style.colour)
            if row.other is not None:
                _estimate(axes, row.other, place - 0.26, style, width=1.2, size=6, face=PAPER)
        axes.axvline(reference, color=INK, linewidth=1)
        axes.set_yticks(range(len(rows)), [row.method for row in rows])
        axes.set(ylim=(len(rows) - 0.4, -0.6), xlim=limits, xlabel=label)
        axes.grid(visible=False, axis="y")
        if percent:
            axes.xaxis.set_major_formatter(percent_axis())

    return draw(paint, alternative=alternative, height=1.3 + 0.5 * max(2, len(rows)))


def _estimate(
    axes: Axes, found: Mapping[str, Any], place: float, style: Look, *, width: float, size: float, face: str
) -> None:
    """One value with its interval, lying."""
    if found["ci95"]:
        axes.plot(found["ci95"], [place] * 2, color=style.colour, linewidth=width)
    if found["value"] is not None:
        axes.plot([found["value"]], [place], style.marker, color=style.colour, markerfacecolor=face, markersize=size)


def recall_by_count(
    recall: Mapping[str, Sequence[Mapping[str, Any]]], guessed: Mapping[str, float | None], forms: Sequence[str]
) -> str:
    """Recall of the original model by count, a line a form; dotted, what it reaches for people it never read about."""

    def paint(axes: Axes) -> None:
        ticks: set[float] = set()
        for place, form in enumerate(forms):
            rows = [row for row in recall[form] if row["value"] is not None and (row["count"] or 0) > 0]
            ticks.update(row["count"] for row in rows)
            shift = 1.0 + 0.06 * (place - (len(forms) - 1) / 2)
            style = form_look(place)
            whiskers(axes, np.array([row["count"] for row in rows]) * shift, rows, style, line=True, label=form)
            if (level := guessed.get(form)) is not None:
                axes.axhline(level, color=style.colour, linestyle=":", linewidth=1.2)
        axes.set_xscale("log")
        if ticks:
            axes.set_xticks(sorted(ticks), [f"{tick:,.0f}" for tick in sorted(ticks)])
        axes.minorticks_off()
        axes.set(ylim=(-0.03, 1.03), xlabel="co-occurrence documents", ylabel="share answered")
        axes.yaxis.set_major_formatter(percent_axis())
        if axes.get_legend_handles_labels()[0]:
            axes.legend(loc="best")

    return draw(paint, alternative="Share of held-out facts that the original model answers, by count and form.")


def misalignment_parts(methods: Sequence[Mapping[str, Any]], form: str, limit: float) -> str:
    """Hidden and brittle shares one after the other, the interval of their sum, and where its two baselines lie."""

    def paint(axes: Axes) -> None:
        for row, method in enumerate(methods):
            found = method["misalignment"]["by_form"][form]
            if found["total"] is None:
                continue
            edge: Any = {"height": 0.56, "edgecolor": MUTED, "linewidth": 0.8}  # the fills alone are faint on paper
            axes.barh(row, found["hidden"], color=HIDDEN, label="hidden" if row == 0 else None, **edge)
            axes.barh(
                row, found["brittle"], left=found["hidden"], color=BRITTLE, hatch="////",
                label="brittle" if row == 0 else None, **edge,
            )  # fmt: skip
            axes.plot(found["ci95"], [row, row], color=INK, linewidth=1.4)
            axes.plot([found["original"]] * 2, [row - 0.4, row + 0.4], color=INK, linewidth=3)
            if found["never_seen"] is not None:
                axes.plot([found["never_seen"]] * 2, [row - 0.4, row + 0.4], color=INK, linewidth=1.6, linestyle=":")
        axes.set_yticks(range(len(methods)), [method["name"] for method in methods])
        axes.set(ylim=(len(methods) - 0.4, -0.6), xlim=(-0.01, limit), xlabel="share of facts known before")
        axes.xaxis.set_major_formatter(percent_axis())
        axes.grid(visible=False, axis="y")
        if axes.get_legend_handles_labels()[0]:
            axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, handlelength=1.2)

    height = 1.5 + 0.42 * max(2, len(methods))
    return draw(paint, alternative=f"Hidden and brittle shares by method, {form} form.", height=height)


def accuracies(
    rows: Sequence[tuple[str, Mapping[str, Mapping[str, Any]]]],
    groups: Sequence[str],
    look: Mapping[str, Look],
    form: str,
) -> str:
    """Accuracy of each group under each model, the original first: a band a group, from top to bottom."""

    def paint(axes: Axes) -> None:
        for order, (name, accuracy) in enumerate(rows):
            offset = (order - (len(rows) - 1) / 2) * 0.8 / max(1, len(rows))
            style = look.get(name, Look(INK, "|", "-"))
            for place, group in enumerate(groups):
                found = accuracy.get(group, {}).get(form, {})
                if found.get("value") is None:
                    continue
                axes.plot(found["ci95"], [place + offset] * 2, color=style.colour, linewidth=1.4)
                axes.plot([found["value"]], [place + offset], style.marker, color=style.colour, markersize=7)
        axes.set_yticks(range(len(groups)), [group.replace("_", "\n") for group in groups])
        for edge in range(1, len(groups)):
            axes.axhline(edge - 0.5, color=GRID, linewidth=0.8)
        axes.grid(visible=False, axis="y")
        axes.set(ylim=(len(groups) - 0.5, -0.5), xlim=(-0.03, 1.03), xlabel="share answered")
        axes.xaxis.set_major_formatter(percent_axis())

    height = 0.9 + max(0.4, 0.12 * len(rows)) * len(groups)
    return draw(paint, alternative=f"Accuracy by group and model, {form} form.", height=height)


def forgetting_curves(method: Mapping[str, Any], forms: Sequence[str]) -> str:
    """Share forgotten at each count under one method: points, monotone steps, logistic band; a colour a form."""

    def paint(axes: Axes) -> None:
        ticks: set[float] = set()
        for place, form in enumerate(forms):
            found = method["forgotten_by_count"][form]
            style = form_look(place)
            points = found["points"]
            ticks.update(point["count"] for point in points)
            shift = 1.0 + 0.05 * (place - (len(forms) - 1) / 2)
            if line := found["logistic"]:
                axes.fill_between(line["count"], line["low"], line["high"], color=style.colour, alpha=0.15, linewidth=0)
                axes.plot(line["count"], line["value"], color=style.colour, linewidth=1.8, linestyle=style.dashes)
            whiskers(
                axes, np.array([point["count"] for point in points]) * shift, points, style, line=False, label=form
            )
            axes.step(
                [point["count"] for point in points], [point["isotonic"] for point in points], where="mid",
                color=style.colour, linewidth=1, linestyle=":",
            )  # fmt: skip
        axes.set_xscale("log")
        if ticks:
            spread = _apart(sorted(ticks))
            axes.set_xticks(spread, [f"{tick:,.0f}" for tick in spread])
        axes.minorticks_off()
        axes.set(ylim=(-0.03, 1.03), xlabel="co-occurrence documents", ylabel="share forgotten")
        axes.yaxis.set_major_formatter(percent_axis())
        if axes.get_legend_handles_labels()[0]:
            axes.legend(loc="best")

    return draw(paint, alternative=f"Share of facts forgotten by {method['name']}, by count and form of asking.")


def _apart(ticks: Sequence[float]) -> list[float]:
    """Ticks of a logarithmic axis with room between them: at most about eight."""
    least = (ticks[-1] / ticks[0]) ** (1 / 9) if ticks[0] > 0 else 1.0
    kept: list[float] = []
    for tick in ticks:
        if not kept or tick >= kept[-1] * least:
            kept.append(tick)
    return kept


def training_curves(steps: pd.DataFrame, column: str, look: Mapping[str, Look], label: str) -> str:
    """One loss against the step: a thin line a seed, a strong one for their mean."""
    from matplotlib.ticker import MaxNLocator

    def paint(axes: Axes) -> None:
        for method, rows in steps.dropna(subset=[column]).groupby("method", sort=False):
            style = look.get(str(method))
            if style is None:
                continue
            for _, of_seed in rows.groupby("seed"):
                axes.plot(of_seed["step"], of_seed[column], color=style.colour, linewidth=0.8, alpha=0.4)
            mean = rows.groupby("step")[column].mean()
            axes.plot(
                mean.index, mean, color=style.colour, linewidth=1.8, marker=style.marker, markersize=6,
                markevery=max(1, len(mean) // 5), linestyle=style.dashes,
            )  # fmt: skip
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set(xlabel="step", ylabel=label)

    return draw(paint, alternative=f"{label} during unlearning, by method.")


def whiskers(
    axes: Axes, x: Any, rows: Sequence[Mapping[str, Any]], look: Look, *, line: bool, label: str | None = None
) -> None:
    """Points with their intervals."""
    values = [row["value"] for row in rows]
    if line:
        axes.plot(x, values, color=look.colour, linestyle=look.dashes, linewidth=1, alpha=0.55)
    for place, row in zip(x, rows, strict=True):
        if row["ci95"]:
            axes.plot([place, place], row["ci95"], color=look.colour, linewidth=1.6)
    axes.plot(x, values, look.marker, color=look.colour, markersize=7, label=label)


def percent_axis() -> Any:
    """An axis of shares."""
    from matplotlib.ticker import PercentFormatter

    return PercentFormatter(1.0, decimals=0)
