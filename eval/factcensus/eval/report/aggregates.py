"""Means reported by other code, in a separate section because no statistics can be computed from them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd

from factcensus.eval.names import AFTER, BEFORE
from factcensus.eval.report import figures
from factcensus.eval.report.columns import Column, Fields, keyed, table_of
from factcensus.eval.report.formatting import NONE
from factcensus.eval.report.section import Panel, ReportData, Section, csv_of_frame

if TYPE_CHECKING:
    from matplotlib.axes import Axes


KEYS = ("method", "seed", "split", "measure")


def _at(point: str) -> Column[Fields]:
    """Return the column of the last score at an evaluation point."""

    def score(row: Mapping[str, Any]) -> str:
        values = row["found"].loc[row["found"]["point"] == point, "value"]
        return f"{values.iloc[-1]:.3g}" if len(values) else NONE

    return Column(point, score)


COLUMNS = (*map(keyed, KEYS), _at(BEFORE), _at(AFTER))


def aggregates(data: ReportData) -> Section | None:
    """Build the section on imported means: each measure before and after by split, with plots of forget measures."""
    run = data.run
    table = run.aggregates
    if not len(table):
        return None
    kept = table[(table["point"] == BEFORE) | table["is_last"].astype(bool)]
    means = kept.groupby(list(KEYS), sort=False)
    panels = []
    forget = kept[kept["measure"].str.startswith("forget") & kept["stratum"].notna()]
    for measure, of_measure in forget.groupby("measure", sort=False):
        columns = ["method", "seed", "point", "checkpoint", "split", "stratum_label", "value", "source"]
        panels.append(
            Panel(
                str(measure).replace("_", " "),
                _draw(of_measure, str(measure)),
                csv_of_frame(of_measure, columns),
            )
        )
    return Section(
        "aggregates",
        "Imported means",
        "Scores that other code reported over all facts of a split, for comparison with the runs above. Without single "
        "facts there are no intervals and no slopes, and it is unknown which facts were known before.",
        panels,
        [
            table_of(
                "Imported means before unlearning and at the last checkpoint",
                COLUMNS,
                ({**dict(zip(KEYS, key, strict=True)), "found": found} for key, found in means),
                open=means.ngroups <= 20,
            )
        ],
        note="Open marks: before unlearning. Filled: at the last checkpoint.",
    )


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
