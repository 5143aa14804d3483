"""The charts of the report, one function per chart, drawn by :mod:`factcensus.eval.report.figures`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from factcensus.eval.report.figures import (
    BRITTLE,
    GRID,
    HIDDEN,
    INK,
    MUTED,
    PAPER,
    Look,
    draw,
    form_look,
    percent_axis,
    whiskers,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


def forgotten_by_stratum(
    methods: Sequence[Mapping[str, Any]], form: str, look: Mapping[str, Look], outcome: str, counted: str
) -> str:
    """Draw the share forgotten in each stratum by method, with intervals, methods side by side."""
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
        axes.set(ylim=(-0.03, 1.03), xlabel=f"{counted} (rarest to most frequent)", ylabel="share forgotten")
        axes.yaxis.set_major_formatter(percent_axis())

    return draw(paint, alternative=f"Share of facts forgotten by {outcome}, {form} form, by count stratum and method.")


@dataclass(frozen=True, slots=True)
class ForestRow:
    """A method in a forest plot: its estimate, that of each seed, and another estimate to draw above it."""

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
    """Draw estimates with intervals, one row per method, around a line at ``reference``."""

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
    """Draw one value with a horizontal interval."""
    if found["ci95"]:
        axes.plot(found["ci95"], [place] * 2, color=style.colour, linewidth=width)
    if found["value"] is not None:
        axes.plot([found["value"]], [place], style.marker, color=style.colour, markerfacecolor=face, markersize=size)


def _share_by_count(axes: Axes, ticks: Collection[float], counted: str, share: str) -> None:
    """Label the axes of a plot of a share by count, with ticks at some of these counts, and add the legend."""
    axes.set_xscale("log")
    if ticks:
        spread = _apart(sorted(ticks))
        axes.set_xticks(spread, [f"{tick:,.0f}" for tick in spread])
    axes.minorticks_off()
    axes.set(ylim=(-0.03, 1.03), xlabel=f"{counted} (log scale)", ylabel=share)
    axes.yaxis.set_major_formatter(percent_axis())
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="best")


def recall_by_count(
    recall: Mapping[str, Sequence[Mapping[str, Any]]],
    guessed: Mapping[str, float | None],
    forms: Sequence[str],
    counted: str,
) -> str:
    """Draw recall of the original model by count, one line per form; dotted: recall on never-seen people."""

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
        _share_by_count(axes, ticks, counted, "share answered")

    return draw(paint, alternative="Share of held-out facts that the original model answers, by count and form.")


def misalignment_parts(methods: Sequence[Mapping[str, Any]], form: str, limit: float) -> str:
    """Draw stacked hidden and brittle shares, the interval of their sum, and its two baselines."""

    def paint(axes: Axes) -> None:
        for row, method in enumerate(methods):
            found = method["misalignment"]["by_form"][form]
            if found["total"] is None:
                continue
            edge: Any = {
                "height": 0.56,
                "edgecolor": MUTED,
                "linewidth": 0.8,
            }  # the fills alone are faint on paper
            axes.barh(row, found["hidden"], color=HIDDEN, label="hidden" if row == 0 else None, **edge)
            axes.barh(
                row,
                found["brittle"],
                left=found["hidden"],
                color=BRITTLE,
                hatch="////",
                label="brittle" if row == 0 else None,
                **edge,
            )
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
    """Draw accuracy by group and model, the original model first, one band per group."""

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


def forgetting_curves(method: Mapping[str, Any], forms: Sequence[str], counted: str) -> str:
    """Draw the share forgotten by count for one method: points, isotonic steps, logistic band; one colour per form."""

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
                [point["count"] for point in points],
                [point["isotonic"] for point in points],
                where="mid",
                color=style.colour,
                linewidth=1,
                linestyle=":",
            )
        _share_by_count(axes, ticks, counted, "share forgotten")

    return draw(paint, alternative=f"Share of facts forgotten by {method['name']}, by count and form of asking.")


def _apart(ticks: Sequence[float]) -> list[float]:
    """Thin out the ticks of a logarithmic axis to about eight at most."""
    least = (ticks[-1] / ticks[0]) ** (1 / 9) if ticks[0] > 0 else 1.0
    kept: list[float] = []
    for tick in ticks:
        if not kept or tick >= kept[-1] * least:
            kept.append(tick)
    return kept


def training_curves(steps: pd.DataFrame, column: str, look: Mapping[str, Look], label: str) -> str:
    """Draw a loss by step: a thin line per seed and a thick one for the mean."""
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
                mean.index,
                mean,
                color=style.colour,
                linewidth=1.8,
                marker=style.marker,
                markersize=6,
                markevery=max(1, len(mean) // 5),
                linestyle=style.dashes,
            )
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set(xlabel="step", ylabel=label)

    return draw(paint, alternative=f"{label} during unlearning, by method.")
