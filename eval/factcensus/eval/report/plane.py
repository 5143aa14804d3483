"""Scatter plot of probability against generation: one point per fact known before, after unlearning.

The x axis is log-probability above the never-seen level, the y axis the share of answers that match. The two quadrants
in which only one of the two evaluations calls a fact forgotten are shaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from factcensus.eval.names import COUNT, MAIN_FORMS, ORIGINAL
from factcensus.eval.report import figures
from factcensus.eval.report.section import Panel, ReportData, Section, csv_of_frame
from factcensus.eval.statistics.agreement import LEAST_SAMPLES
from factcensus.eval.statistics.outcomes import ASKED, pair_outcomes, with_defaults

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from factcensus.eval.runs import Run

#: Points drawn per form. More would be unreadable and take megabytes.
MOST_POINTS = 220


def plane(data: ReportData) -> Section | None:
    """Build the section with the scatter plots, one panel per method."""
    run, summary, look = data.run, data.summary, data.look
    if not summary["methods"]:
        return None
    rows = _rows(run)
    if not len(rows):
        return None
    forms = [form for form in MAIN_FORMS if (rows["form"] == form).any()]
    panels = []
    for name in look:
        of_method = rows[rows["method"] == name]
        if len(of_method):
            columns = ["fact_id", "seed", "form", "count", "above_never_seen_nats", "answered"]
            panels.append(
                Panel(
                    name,
                    _draw(of_method, forms, look[name], name),
                    csv_of_frame(of_method, columns),
                )
            )
    sampled = bool(rows["sampled"].any())
    return Section(
        "plane",
        "Where probability and generation disagree",
        "Each point is a fact known before, shown after unlearning. To the right: its answer is more probable, per "
        "token, than the average answer about never-seen people. Upwards: "
        + ("the share of sampled answers that are right." if sampled else "whether the greedy answer is right."),
        panels,
        note="Shaded, lower right: hidden (no longer given, but still more probable). Shaded, upper left: brittle "
        "(still given, though no more probable). The numbers count facts by their greedy answer."
        + (f" At most {MOST_POINTS} points per form are drawn; the CSV has all." if len(rows) > MOST_POINTS else ""),
    )


def _rows(run: Run) -> pd.DataFrame:
    """Return the facts known before with their coordinates."""
    facts = with_defaults(run.facts)
    outcomes = pair_outcomes(facts)
    known = outcomes["known_before"].fillna(False).astype(bool) & (outcomes["group"] == "forget")
    rows = outcomes[known & outcomes["form"].isin(MAIN_FORMS)].dropna(subset=["never_seen_level", "match_after"])
    if {"samples", "sample_matches"} <= set(facts.columns):
        drawn = facts.loc[facts["method"] != ORIGINAL, ["method", *ASKED, "samples", "sample_matches"]]
        rows = rows.merge(drawn, on=["method", *ASKED], how="left")
        samples = rows["samples"].astype("Float64").to_numpy(dtype=float, na_value=np.nan)
        share = rows["sample_matches"].astype("Float64").to_numpy(dtype=float, na_value=np.nan) / samples
        sampled = samples >= LEAST_SAMPLES
    else:
        share, sampled = np.zeros(len(rows)), np.zeros(len(rows), bool)
    said = rows["match_after"].astype("boolean").to_numpy(dtype=float, na_value=np.nan)
    return rows.assign(
        count=rows[COUNT],
        above_never_seen_nats=rows["log_probability_mean_after"] - rows["never_seen_level"],
        answered=np.where(sampled, share, said),
        said=said,
        sampled=sampled,
    ).dropna(subset=["above_never_seen_nats", "answered"])


def _draw(rows: pd.DataFrame, forms: Sequence[str], look: figures.Look, name: str) -> str:
    reach = float(np.nanquantile(np.abs(rows["above_never_seen_nats"]), 0.995)) * 1.15 + 0.5

    def paint(figure: Figure) -> None:
        sides = figure.subplots(1, len(forms), sharey=True, squeeze=False)[0]
        for axes, form in zip(sides, forms, strict=True):
            of_form = rows[rows["form"] == form]
            x = of_form["above_never_seen_nats"].to_numpy(float)
            y = of_form["answered"].to_numpy(float)
            said = of_form["said"].to_numpy(float) > 0
            axes.axhspan(-0.2, 0.5, xmin=0.5, color=figures.HIDDEN, alpha=0.28, linewidth=0)
            axes.axhspan(0.5, 1.2, xmax=0.5, color=figures.BRITTLE, alpha=0.28, linewidth=0)
            generator = np.random.default_rng(0)
            jitter = generator.uniform(-0.09, 0.09, len(y))
            drawn = generator.permutation(len(y))[:MOST_POINTS]
            axes.plot(
                np.clip(x, -reach, reach)[drawn],
                (y + jitter)[drawn],
                look.marker,
                color=look.colour,
                markersize=3.2,
                alpha=0.5,
                markeredgewidth=0,
            )
            for right, upper in ((True, False), (False, True), (True, True), (False, False)):
                inside = int(((x > 0) == right)[said == upper].sum())
                word = {(True, False): "hidden ", (False, True): "brittle "}.get((right, upper), "")
                axes.text(
                    0.97 if right else 0.03,
                    0.965 if upper else 0.035,
                    f"{word}{inside}",
                    transform=axes.transAxes,
                    ha="right" if right else "left",
                    va="top" if upper else "bottom",
                    fontsize=10,
                    fontweight="bold" if word else "normal",
                )
            axes.axvline(0, color=figures.INK, linewidth=0.9)
            axes.set(xlim=(-reach, reach), ylim=(-0.34, 1.34), yticks=(0, 0.5, 1), xlabel="nats above never seen")
            axes.set_title(form, fontsize=11)
            axes.grid(visible=False)
            axes.yaxis.set_major_formatter(figures.percent_axis())
        sides[0].set_ylabel("answered")

    return figures.draw_whole(
        paint, alternative=f"Facts after {name} by probability and generation, forms side by side."
    )
