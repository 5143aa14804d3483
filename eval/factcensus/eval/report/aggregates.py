"""Means reported by other code, in a separate section because no statistics can be computed from them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd

from factcensus.eval.names import AFTER, BEFORE
from factcensus.eval.report import figures
from factcensus.eval.report.section import Panel, Section, Table, csv_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from factcensus.eval.run_folder import Run


def aggregates(run: Run, summary: Mapping[str, Any], look: Mapping[str, figures.Look]) -> Section | None:  # noqa: ARG001
    """Build the section on imported means: each measure before and after by split, with plots of forget measures."""
    table = run.aggregates
    if not len(table):
        return None
    kept = table[(table["point"] == BEFORE) | table["is_last"].astype(bool)]
    rows = []
    for (method, seed, split, measure), found in kept.groupby(["method", "seed", "split", "measure"], sort=False):
        values = {point: _shown(found.loc[found["point"] == point, "value"]) for point in (BEFORE, AFTER)}
        rows.append([str(method), str(seed), str(split), str(measure), values[BEFORE], values[AFTER]])
    panels = []
    forget = kept[kept["measure"].str.startswith("forget") & kept["stratum"].notna()]
    for measure, of_measure in forget.groupby("measure", sort=False):
        columns = ["method", "seed", "point", "checkpoint", "split", "stratum_label", "value", "source"]
        panels.append(
            Panel(
                str(measure).replace("_", " "),
                _draw(of_measure, str(measure)),
                csv_text([columns, *of_measure[columns].itertuples(index=False, name=None)]),
            )
        )
    return Section(
        "aggregates",
        "Imported means",
        "Scores that other code reported over all facts of a split, for comparison with the runs above. Without single "
        "facts there are no intervals and no slopes, and it is unknown which facts were known before.",
        panels,
        [
            Table(
                "Imported means before unlearning and at the last checkpoint",
                ["method", "seed", "split", "measure", "before", "after"],
                rows,
                open=len(rows) <= 20,
            )
        ],
        note="Open marks: before unlearning. Filled: at the last checkpoint.",
    )


def _shown(values: pd.Series[float]) -> str:
    return f"{values.iloc[-1]:.3g}" if len(values) else "-"


def _draw(rows: pd.DataFrame, measure: str) -> str:
    look = figures.looks(list(dict.fromkeys(rows["method"])), None)

    def paint(axes: Axes) -> None:
        labels = dict(zip(rows["stratum"].astype(int), rows["stratum_label"].astype(str), strict=True))
        for place, (name, style) in enumerate(look.items()):
            for point, face in ((BEFORE, figures.PAPER), (AFTER, style.colour)):
                found = rows[(rows["method"] == name) & (rows["point"] == point)].groupby("stratum")["value"].mean()
                x = found.index.to_numpy(float) + (place - (len(look) - 1) / 2) * 0.1
                axes.plot(
                    x,
                    found,
                    style.marker,
                    color=style.colour,
                    markerfacecolor=face,
                    markersize=8,
                    linestyle="-",
                    linewidth=0.9,
                    label=name if point == AFTER else None,
                )
        axes.set_xticks(sorted(labels), [labels[each] for each in sorted(labels)])
        axes.set(ylim=(-0.03, 1.03), xlabel="count of the split", ylabel="score")
        axes.grid(visible=False, axis="x")
        axes.legend(loc="best")

    return figures.draw(paint, alternative=f"{measure} before and after, by split and method.")
