"""Figures of counts tables for papers: how often facts occur, and how two tables differ. Needs the extra ``plot``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from factcensus.indexer.errors import InputError
from factcensus.indexer.paths import check_output_file
from factcensus.indexer.tables.columns import STRATUM_COLUMNS
from factcensus.indexer.tables.comparison import Comparison
from factcensus.indexer.tables.strata import counts_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Endings of figure files.
FIGURES = ("svg", "pdf", "png")
#: Bars of a histogram per factor 10.
BARS_PER_DECADE = 4
_INK, _MUTED, _GRID = "#1b1f24", "#525c68", "#dfe3e8"
#: A sequence from light to dark that stays ordered in grey and for every type of colour vision (viridis, reversed).
_LIGHTEST, _DARKEST = 0.15, 0.9
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


def plot_counts(table: pa.Table, path: Path, by: str = "cooccurrence_documents", title: str | None = None) -> None:
    """Draw a histogram of one column of counts on a logarithmic axis; facts with 0 have a separate bar.

    The bars are coloured by stratum if the table has strata.

    Args:
        table: A counts or strata table.
        path: The figure; its ending chooses SVG, PDF or PNG.
        by: The column of counts.
        title: A title; none by default, because captions belong in the paper.

    Raises:
        InputError: The ending is unknown, or the column is not one of counts.
        ModuleNotFoundError: matplotlib is not installed.
    """
    check_figure(path)
    counts = counts_of(table, by)
    groups = _groups(table, counts)

    def paint(axes: Axes) -> None:
        from matplotlib import colormaps

        edges = _edges(counts)
        shades = colormaps["viridis_r"](np.linspace(_LIGHTEST, _DARKEST, len(groups)))
        below = np.zeros(len(edges) - 1)
        for (label, values), shade in zip(groups, shades, strict=True):
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
                label=f"{label} ({len(values):,} facts)",
            )
            below += heights
        axes.set_xscale("log")
        _mark_zero(axes.xaxis, counts)
        axes.set_xlim(edges[0], edges[-1])
        axes.grid(visible=False, axis="x")
        axes.set_xlabel(f"{_words(by)} (log scale)")
        axes.set_ylabel("facts")
        if len(groups) > 1:
            axes.legend(fontsize=8)

    _save(paint, path, title, (5.0, 3.1))


def plot_comparison(compared: Comparison, path: Path, names: tuple[str, str], title: str | None = None) -> None:
    """Draw the counts of each shared fact in both tables, on logarithmic axes with 0 set apart.

    Args:
        compared: The result of :func:`compare`.
        path: The figure; its ending chooses SVG, PDF or PNG.
        names: What the axes are called, such as the names of the corpora.
        title: A title; none by default.

    Raises:
        InputError: The ending is unknown.
        ModuleNotFoundError: matplotlib is not installed.
    """
    check_figure(path)
    counts = compared.counts

    def paint(axes: Axes) -> None:
        shown = np.where(counts == 0, _ZERO, counts)
        most = max(10, int(counts.max()) * 1.6)
        axes.plot([0.6, most], [0.6, most], color=_MUTED, linewidth=0.8, linestyle="--", label="equal counts")
        axes.scatter(shown[:, 0], shown[:, 1], s=9, alpha=0.55, color="#0072b2", linewidths=0)
        axes.set(xscale="log", yscale="log", xlim=(_ZERO * 0.8, most), ylim=(_ZERO * 0.8, most), aspect="equal")
        for axis in (axes.xaxis, axes.yaxis):
            _mark_zero(axis, counts)
        axes.set_xlabel(_axis(names[0], compared.by[0]))
        axes.set_ylabel(_axis(names[1], compared.by[1]))
        if compared.rank_correlation is not None:
            text = f"Spearman's ρ = {compared.rank_correlation:.2f}"
            if compared.interval is not None:
                text += f" [{compared.interval[0]:.2f}, {compared.interval[1]:.2f}]"
            axes.text(0.03, 0.97, f"{text}\n{compared.facts:,} facts", transform=axes.transAxes, va="top", fontsize=8)
        axes.legend(loc="lower right", fontsize=8)

    _save(paint, path, title, (4.4, 4.4))


#: Position of facts with a count of 0 on a logarithmic axis, left of 1 after a gap.
_ZERO = 0.3


def _groups(table: pa.Table, counts: npt.NDArray[np.int64]) -> list[tuple[str, npt.NDArray[np.int64]]]:
    """Return (label, counts) of each stratum, rarest first; of all facts if there are no strata."""
    if not set(STRATUM_COLUMNS) <= set(table.column_names):
        return [("all", counts)]
    strata = table["stratum"].to_pylist()
    labels = dict(zip(strata, table["stratum_label"].to_pylist(), strict=True))
    numbers = sorted(each for each in labels if each is not None)
    return [(str(labels[number]), counts[np.array([each == number for each in strata])]) for number in numbers]


def _edges(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return bounds of bars that never split an integer: one bar for 0, then one per integer or quarter of a decade."""
    most = int(counts.max())
    steps = 10.0 ** (np.arange(BARS_PER_DECADE * (len(str(most)) + 1) + 1) / BARS_PER_DECADE)
    inner = np.unique(np.ceil(steps)) - 0.5
    inner = inner[: int(np.searchsorted(inner, most, side="right")) + 1]
    return np.concatenate([[_ZERO * 0.75, _ZERO * 1.3], inner])


def _mark_zero(axis: Any, counts: npt.NDArray[np.int64]) -> None:
    """Label the ticks 0, 1, 10, 100, …"""
    from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

    powers = range(len(str(int(counts.max()))))
    axis.set_major_locator(FixedLocator([_ZERO, *(10.0**power for power in powers)]))
    axis.set_major_formatter(FixedFormatter(["0", *(f"{10**power:,}" for power in powers)]))
    axis.set_minor_locator(NullLocator())


def _axis(name: str, by: str) -> str:
    return _words(by) if name == by else f"{_words(by)}\n{name}"


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
    base, _, window = column.partition("_w")
    if window.isdecimal() and base in known:
        return f"{known[base]}\nat most {window} tokens apart"
    return known.get(column, column)


def _save(paint: Callable[[Axes], None], path: Path, title: str | None, size_inches: Sequence[float]) -> None:
    """Draw and write a figure; equal drawings give equal bytes."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(size_inches[0], size_inches[1]), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        paint(axes)
        if title:
            axes.set_title(title, loc="left")
        format = path.suffix.lower().removeprefix(".")
        dates: dict[str, Any] = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {}}
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, format=format, dpi=200, metadata=dates[format])
