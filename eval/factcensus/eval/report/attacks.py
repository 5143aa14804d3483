"""What attacks bring back, and what else the model can still do: the tables attacks.parquet and utility.parquet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from factcensus.eval.report import figures
from factcensus.eval.report.formatting import NONE, percent
from factcensus.eval.report.section import Panel, Section, Table, csv_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from factcensus.eval.run_folder import Run

#: The measure of each attack that is drawn, and what it is called.
DRAWN = {
    "relearn": ("recall", "Relearning: recall of facts the attack did not show"),
    "quantise": ("recall", "Quantisation: recall"),
    "few_shot": ("recall", "Few-shot prompts: recall"),
    "paraphrase": ("worst", "Paraphrases: any of them answered"),
    "sample": ("leak", "Sampling: at least one of k answers right"),
    "probe": ("accuracy", "Linear probe of hidden states: accuracy"),
    "membership": ("auc_min_k_plus_plus", "Membership inference: area under the curve"),
}


def attacks(run: Run, summary: Mapping[str, Any], look: Mapping[str, figures.Look]) -> Section | None:
    """A panel an attack: by level where it has several, else by stratum."""
    table = run.attacks
    if not len(table) or not summary["methods"]:
        return None
    panels = []
    for attack, (measure, caption) in DRAWN.items():
        part = "held_out" if attack == "relearn" else "forget"
        rows = table[(table["attack"] == attack) & (table["measure"] == measure) & (table["part"] == part)]
        form = "question" if (rows["form"] == "question").any() else next(iter(rows["form"]), None)
        rows = rows[(rows["form"] == form) & rows["method"].isin(list(look))]
        if len(rows):
            columns = [name for name in rows.columns if rows[name].notna().any()]
            panels.append(
                Panel(
                    f"{caption} ({form})",
                    _draw(rows, look, caption),
                    csv_text([columns, *rows[columns].itertuples(index=False, name=None)]),
                )
            )
    whole = table[table["stratum"].isna()]
    cells = [
        [
            str(row["method"]), str(row["seed"]), str(row["attack"]), str(row["level_label"]), str(row["form"]),
            str(row["part"]), str(row["measure"]), _share(row["value"]), _bounds(row), _share(row["reference"]),
            str(row["n"]),
        ]
        for row in whole.to_dict("records")
    ]  # fmt: skip
    head = ["method", "seed", "attack", "level", "form", "part", "measure", "value", "95 % interval", "without", "n"]
    return Section(
        "attacks",
        "What attacks bring back",
        "An attack shows whether a fact is gone or only no longer said. Each value stands beside the same without the "
        "attack (or what guessing gives), and beside what the attack gives on people never seen (part: phantom).",
        panels,
        [Table("Every attack, all strata together", head, cells)],
        legend=True,
        note="Seeds are averaged in the plots; the table has each.",
    )


def utility(run: Run, summary: Mapping[str, Any], look: Mapping[str, figures.Look]) -> Section | None:  # noqa: ARG001
    """What else the model can still do, a row a measure and a column a method."""
    table = run.utility
    if not len(table):
        return None
    table = table.assign(form=table["form"].fillna(""))
    methods = list(dict.fromkeys(table["method"]))
    rows = []
    for (measure, of, form), found in table.groupby(["measure", "of", "form"], sort=False):
        cells = found.groupby("method")["value"].mean()
        show = percent if measure in ("accuracy", "unfinished", "degenerate") else _plain
        rows.append(
            [f"{measure}, {of}" + (f", {form}" if form else ""), *(show(_or_none(cells.get(name))) for name in methods)]
        )
    return Section(
        "utility",
        "What else the model can still do",
        "Facts by their distance to what was unlearned, answers that do not end or repeat themselves, perplexity of "
        "and divergence from the original on neutral text. Seeds are averaged.",
        tables=[Table("Utility by measure and model", ["measure", *methods], rows, open=True)],
    )


def _draw(rows: pd.DataFrame, look: Mapping[str, figures.Look], caption: str) -> str:
    """Against the level where the attack has several, else against the stratum; the phantoms' level is in the table."""
    whole = rows[rows["stratum"].isna()]
    by_level = whole["level"].nunique() > 1
    drawn = whole if by_level else rows[rows["stratum"].notna()]
    drawn = whole if not len(drawn) else drawn
    key, label = (
        ("level", "level_label") if by_level or not drawn["stratum"].notna().any() else ("stratum", "stratum_label")
    )

    def paint(axes: Axes) -> None:
        names: dict[float, str] = {}
        methods = [name for name in look if (drawn["method"] == name).any()]
        for place, name in enumerate(methods):
            of_method = drawn[drawn["method"] == name]
            names.update(zip(of_method[key].astype(float), of_method[label].astype(str), strict=True))
            means = of_method.groupby(key)[["value", "low", "high"]].mean()
            at = sorted({float(each) for each in drawn[key].dropna()})
            x = np.array([at.index(float(str(each))) for each in means.index]) + (place - (len(methods) - 1) / 2) * 0.07
            points: Sequence[dict[str, Any]] = [
                {"value": row["value"], "ci95": None if np.isnan(row["low"]) else (row["low"], row["high"])}
                for row in means.astype(float).to_dict("records")
            ]
            figures.whiskers(axes, x, points, look[name], line=True)
        axes.set_xticks(range(len(names)), [names[each] for each in sorted(names)])
        axes.set(ylim=(-0.03, 1.03), xlabel=key, ylabel="share")
        axes.grid(visible=False, axis="x")
        axes.yaxis.set_major_formatter(figures.percent_axis())

    return figures.draw(paint, alternative=f"{caption}, by {key} and method.")


def _or_none(value: Any) -> float | None:
    return None if value is None or pd.isna(value) else float(value)


def _share(value: Any) -> str:
    return percent(_or_none(value))


def _plain(value: float | None) -> str:
    return NONE if value is None else f"{value:.3g}"


def _bounds(row: Mapping[Any, Any]) -> str:
    low, high = _or_none(row["low"]), _or_none(row["high"])
    return NONE if low is None or high is None else f"[{percent(low)}, {percent(high)}]"
