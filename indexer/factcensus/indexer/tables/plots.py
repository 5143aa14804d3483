"""Figures of counts tables for papers: how often facts occur, and how two tables differ. Needs the extra ``plot``."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from factcensus.indexer.errors import InputError
from factcensus.indexer.numbers import counted
from factcensus.indexer.paths import check_output_file
from factcensus.indexer.system.display import on_one_line
from factcensus.indexer.system.files import replaced_file
from factcensus.indexer.tables.columns import STRATUM_COLUMNS
from factcensus.indexer.tables.comparison import Comparison
from factcensus.indexer.tables.facts import Facts, as_counts
from factcensus.indexer.tables.grouped import MARK
from factcensus.indexer.tables.strata import counts_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Endings of figure files.
FIGURES = ("svg", "pdf", "png")
_INK, _MUTED, _GRID = "#1b1f24", "#525c68", "#dfe3e8"
#: A sequence from light to dark that stays ordered in grey and for every type of colour vision (viridis, reversed).
_LIGHTEST, _DARKEST = 0.15, 0.9
_BLUE = "#0072b2"
_STYLE: Any = {  # rc_context wants its keys as literals
    "font.size": 9,
    "text.color": _INK,
    "axes.edgecolor": _MUTED,
    "axes.labelcolor": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": _GRID,
    "grid.linewidth": 0.6,
    "xtick.color": _MUTED,
    "ytick.color": _MUTED,
    "xtick.labelcolor": _INK,
    "ytick.labelcolor": _INK,
    "text.parse_math": False,  # a title with two dollar signs has no formula
    "svg.fonttype": "none",
    "svg.hashsalt": "factcensus",
    "pdf.fonttype": 42,
    "legend.frameon": False,
}


def check_figure(path: Path) -> None:
    """Check that a figure can be written to a path, before the work begins.

    Raises:
        InputError: The ending is unknown, or the path is a folder or below a file.
    """
    if path.suffix.lower().removeprefix(".") not in FIGURES:
        endings = ", ".join(f".{each}" for each in FIGURES)
        raise InputError(f"{path} is not a known kind of figure; give a file that ends in one of {endings}")
    check_output_file(path)


def plot_counts(
    table: Facts,
    path: str | PathLike[str],
    by: str = "cooccurrence_documents",
    title: str | None = None,
    *,
    notice: Callable[[str], None] = warnings.warn,
) -> None:
    """Draw a histogram of one column of counts on a logarithmic axis; facts with 0 have a separate bar.

    All bars have the same width: they hold the counts 1, 2–3, 4–7, 8–15, … They are coloured by stratum if the table
    has strata.

    Args:
        table: A counts or strata table: a path, records, or a pandas, polars or Arrow table.
        path: The figure; its ending chooses SVG, PDF or PNG.
        by: The column of counts.
        title: A title; none by default, because captions belong in the paper.
        notice: Called with a message about characters for which no font is installed.

    Raises:
        InputError: The ending is unknown, or the column is not one of counts.
        ModuleNotFoundError: matplotlib is not installed.
    """
    check_figure(Path(path))
    rows: pa.Table = as_counts(table)
    counts = counts_of(rows, by)
    groups = _groups(rows, counts)

    def paint(axes: Axes) -> None:
        from matplotlib.ticker import MaxNLocator

        edges = _edges(counts)
        below = np.zeros(len(edges) - 1)
        for (label, values), shade in zip(groups, _shades(len(groups)), strict=True):
            heights = np.histogram(np.where(values == 0, _ZERO, values), edges)[0]
            axes.bar(
                edges[:-1],
                heights,
                np.diff(edges),
                below,
                align="edge",
                color=shade,
                edgecolor="white",
                linewidth=0.5,
                label=f"{label} ({counted(len(values), 'fact')})",
            )
            below += heights
        axes.set_xscale("log")
        _mark_zero(axes.xaxis, counts)
        axes.set_xlim(edges[0] / 1.15, edges[-1])
        axes.set_ylim(0, 1.05 * below.max())
        axes.yaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10], integer=True))
        axes.yaxis.set_major_formatter(lambda facts, _: f"{facts:,.0f}")
        axes.grid(visible=False, axis="x")
        axes.set_xlabel(f"{_words(by)} (log scale)")
        axes.set_ylabel("number of facts")
        if len(groups) > 1:
            heading = "stratum" if _strata_are_of(rows, counts) else "stratum (of another count)"
            axes.figure.legend(fontsize=8, loc="outside right upper", title=heading, title_fontsize=8, alignment="left")

    _save(paint, Path(path), title, (5.5, 3.1), notice)


def plot_comparison(
    compared: Comparison,
    path: str | PathLike[str],
    names: tuple[str, str],
    title: str | None = None,
    *,
    notice: Callable[[str], None] = warnings.warn,
) -> None:
    """Draw the counts of each shared fact in both tables, on logarithmic axes with 0 set apart.

    A point is darker if several facts have the same two counts.

    Args:
        compared: The result of :func:`compare`.
        path: The figure; its ending chooses SVG, PDF or PNG.
        names: What the axes are called, such as the names of the corpora.
        title: A title; none by default.
        notice: As in :func:`plot_counts`.

    Raises:
        InputError: The ending is unknown.
        ModuleNotFoundError: matplotlib is not installed.
    """
    check_figure(Path(path))
    counts = compared.counts

    def paint(axes: Axes) -> None:
        places, facts = np.unique(counts, axis=0, return_counts=True)
        shown = np.where(places == 0, _ZERO, places)[np.argsort(facts, kind="stable")]
        least, most = _ZERO * 0.8, max(10, int(counts.max()) * 1.6)
        axes.plot([least, most], [least, most], color=_MUTED, linewidth=0.8, linestyle="--")
        _scatter(axes, shown, np.sort(facts))
        axes.set(xscale="log", yscale="log", xlim=(least, most), ylim=(least, most), aspect="equal")
        for axis in (axes.xaxis, axes.yaxis):
            _mark_zero(axis, counts)
        axes.set_xlabel(_axis(names[0], compared.by[0]))
        axes.set_ylabel(_axis(names[1], compared.by[1]))
        text = f"{counted(compared.facts, 'fact')}; dashed line: equal counts"
        if compared.rank_correlation is not None:
            text += f"\nSpearman's ρ = {compared.rank_correlation:.2f}"
            if compared.interval is not None:
                text += f" [{compared.interval[0]:.2f}, {compared.interval[1]:.2f}]"
        axes.set_title(text, loc="left", fontsize=8)  # above the axes, where it covers no point

    _save(paint, Path(path), title, (4.6, 4.4), notice)


def _scatter(axes: Axes, shown: npt.NDArray[np.float64], facts: npt.NDArray[np.int64]) -> None:
    """Draw a point for each pair of counts, coloured by the number of its facts if there is more than one."""
    most = int(facts.max())
    if most == 1:
        axes.scatter(shown[:, 0], shown[:, 1], s=11, color=_BLUE, linewidths=0)
        return
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap, LogNorm
    from matplotlib.ticker import LogLocator, NullLocator

    shades = ListedColormap(colormaps["viridis_r"](np.linspace(_LIGHTEST + 0.15, 1, 256)))
    points = axes.scatter(
        shown[:, 0], shown[:, 1], s=14, c=facts, cmap=shades, norm=LogNorm(1, most), linewidths=0, zorder=2
    )
    bar = axes.figure.colorbar(points, ax=axes, shrink=0.6, pad=0.02)
    bar.set_label("facts at the same point", fontsize=8)
    bar.ax.tick_params(labelsize=8)
    bar.ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if most < 200 else (1,)))
    bar.ax.yaxis.set_major_formatter(lambda facts, _: f"{facts:,.0f}")
    bar.ax.yaxis.set_minor_locator(NullLocator())
    bar.outline.set_visible(False)


#: Position of facts with a count of 0 on a logarithmic axis, left of 1 after a gap.
_ZERO = 2**-1.5


def _groups(table: pa.Table, counts: npt.NDArray[np.int64]) -> list[tuple[str, npt.NDArray[np.int64]]]:
    """Return (label, counts) of each stratum, rarest first, then of facts without one; of all facts without strata."""
    if not set(STRATUM_COLUMNS) <= set(table.column_names):
        return [("all", counts)]
    strata = table["stratum"].to_pylist()
    labels = dict(zip(strata, table["stratum_label"].to_pylist(), strict=True))
    labels |= {None: "none"} if None in labels else {}
    numbers = sorted(labels, key=lambda number: math.inf if number is None else number)
    return [(str(labels[number]), counts[np.array([each == number for each in strata])]) for number in numbers]


def _strata_are_of(table: pa.Table, counts: npt.NDArray[np.int64]) -> bool:
    """Return whether all counts are within the bounds of their strata; otherwise these are strata of another count."""
    bounds = [table[name].to_pylist() for name in ("stratum_low", "stratum_high")]
    return all(
        (low is None or count >= low) and (high is None or count <= high)
        for count, low, high in zip(counts.tolist(), *bounds, strict=True)
    )


def _shades(number: int) -> Any:
    """Return the colour of each of ``number`` strata, from light to dark; blue for a single one."""
    from matplotlib import colormaps

    return [_BLUE] if number == 1 else colormaps["viridis_r"](np.linspace(_LIGHTEST, _DARKEST, number))


def _edges(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return bounds of bars of equal width on a logarithmic axis: one bar for 0, then 1, 2–3, 4–7, …

    Each bar begins at its lowest count and ends before the lowest count of the next one.
    """
    octaves = int(counts.max()).bit_length()
    return np.concatenate([[0.25, 0.5], 2.0 ** np.arange(octaves + 1)])


def _mark_zero(axis: Any, counts: npt.NDArray[np.int64]) -> None:
    """Label the ticks 0, 1, 10, 100, …"""
    from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

    powers = range(len(str(int(counts.max()))))
    axis.set_major_locator(FixedLocator([_ZERO, *(10.0**power for power in powers)]))
    axis.set_major_formatter(FixedFormatter(["0", *(f"{10**power:,}" for power in powers)]))
    axis.set_minor_locator(NullLocator())


def _axis(name: str, by: str) -> str:
    return _words(by) if name == by else f"{_words(by)}\n{on_one_line(name)}"


def _words(column: str) -> str:
    """Return the name of a column of counts as words for an axis."""
    known = {
        "cooccurrence_documents": "documents with subject and object",
        "cooccurrence_pairs": "pairs of subject and object",
        "subject_documents": "documents with the subject",
        "object_documents": "documents with the object",
        "subject_mentions": "mentions of the subject",
        "object_mentions": "mentions of the object",
    }
    column, _, group = column.partition(MARK)
    base, _, window = column.partition("_w")
    words = known.get(column, column)
    if window.isdecimal() and base in known:
        words = f"{known[base]}\nat most {window} tokens apart"
    return f"{words}\n{on_one_line(group)}" if group else words


def _save(
    paint: Callable[[Axes], None],
    path: Path,
    title: str | None,
    size_inches: Sequence[float],
    notice: Callable[[str], None],
) -> None:
    """Draw and write a figure; equal drawings give equal bytes."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from factcensus.indexer.tables.fonts import describe_missing, give_fonts

    with mpl.rc_context(_STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph \d+ .*missing from")  # one message names all of them
        figure = Figure(figsize=(size_inches[0], size_inches[1]), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        paint(axes)
        if title:
            figure.suptitle(on_one_line(title), x=0.01, ha="left", fontsize=10)
        missing = give_fonts(figure)
        format = path.suffix.lower().removeprefix(".")
        dates: dict[str, Any] = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {}}
        path.parent.mkdir(parents=True, exist_ok=True)
        with replaced_file(path) as partial:
            figure.savefig(partial, format=format, dpi=200, metadata=dates[format])
    if missing and format != "svg":
        notice(describe_missing(missing))
