"""Remaining abilities of the model: utility.parquet as three small tables and one complete one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from factcensus.eval.asking.questions import FORMS
from factcensus.eval.asking.utility import distance_label
from factcensus.eval.report import figures
from factcensus.eval.report.formatting import NONE, percent
from factcensus.eval.report.section import Section, Table, or_none

if TYPE_CHECKING:
    from factcensus.eval.run_folder import Run

SHARES = ("accuracy", "unfinished", "degenerate")
DISTANCE = "distance "
NAMES = {"kl_to_original_nats": "KL to the original, nats per token", "perplexity": "perplexity"}


def utility(run: Run, summary: Mapping[str, Any], look: Mapping[str, figures.Look]) -> Section | None:  # noqa: ARG001
    """Build the section on the remaining abilities, averaged over seeds."""
    if not len(run.utility):
        return None
    table = run.utility.assign(form=run.utility["form"].fillna(""))
    methods = list(dict.fromkeys(table["method"]))
    tables = [_distances(table, methods), _endings(table, methods), _texts(table, methods), _every(table, methods)]
    return Section(
        "utility",
        "What the model can still do",
        "Accuracy by distance to the unlearned facts, unfinished and degenerate answers, perplexity and divergence "
        "from the original model on neutral text, and benchmarks. Values are averages over seeds.",
        tables=[each for each in tables if each.rows],
    )


def _distances(table: pd.DataFrame, methods: Sequence[str]) -> Table:
    """Return accuracy by distance to the nearest fact to be forgotten."""
    rows = table[(table["measure"] == "accuracy") & table["of"].str.startswith(DISTANCE)]
    columns = sorted(rows["of"].unique())
    return Table(
        "Facts answered, by what they have in common with the nearest fact to be forgotten",
        ["model", "form", *(distance_label(each).partition(": ")[2] for each in columns)],
        _grid(rows, methods, columns, lambda found: percent(_mean(found))),
        open=True,
    )


def _endings(table: pd.DataFrame, methods: Sequence[str]) -> Table:
    """Return unfinished and degenerate answers by group."""
    rows = table[table["measure"].isin(SHARES[1:]) & ~table["of"].str.startswith(DISTANCE)]
    columns = list(dict.fromkeys(rows["of"]))

    def both(found: pd.DataFrame) -> str:
        return " / ".join(percent(_mean(found[found["measure"] == measure])) for measure in SHARES[1:])

    return Table(
        "Unfinished answers / degenerate answers (empty or repetitive), by group",
        ["model", "form", *(each.replace("_", " ") for each in columns)],
        _grid(rows, methods, columns, both),
    )


def _grid(rows: pd.DataFrame, methods: Sequence[str], columns: Sequence[str], cell: Any) -> list[list[str]]:
    """Return one row per form and model, with one column per value of ``of``."""
    return [
        [method, form, *(cell(mine[mine["of"] == column]) for column in columns)]
        for form in FORMS
        for method in methods
        if len(mine := rows[(rows["form"] == form) & (rows["method"] == method)])
    ]


def _texts(table: pd.DataFrame, methods: Sequence[str]) -> Table:
    """Return measures on neutral text and benchmarks, with their intervals if there are any."""
    rows = table[~table["measure"].isin(SHARES)]
    cells = [
        [f"{NAMES.get(str(measure), measure)}, {of}", *(_number(found[found["method"] == name]) for name in methods)]
        for (measure, of), found in rows.groupby(["measure", "of"], sort=False)
    ]
    return Table("Neutral text and benchmarks, with 95 % intervals", ["measure", *methods], cells, open=True)


def _every(table: pd.DataFrame, methods: Sequence[str]) -> Table:
    """Return all measures, one row per measure and one column per model."""
    rows = []
    for (measure, of, form), found in table.groupby(["measure", "of", "form"], sort=False):
        means = [_mean(found[found["method"] == name]) for name in methods]
        shown = [percent(each) if measure in SHARES else _plain(each) for each in means]
        rows.append([f"{measure}, {of}" + (f", {form}" if form else ""), *shown])
    return Table("All measures", ["measure", *methods], rows)


def _mean(rows: pd.DataFrame) -> float | None:
    return or_none(rows["value"].mean()) if len(rows) else None


def _number(rows: pd.DataFrame) -> str:
    """Format the mean over seeds, with the mean of the interval bounds."""
    low, high = (or_none(rows[name].mean()) if len(rows) else None for name in ("low", "high"))
    value = _plain(_mean(rows))
    return value if low is None or high is None else f"{value} [{_plain(low)}, {_plain(high)}]"


def _plain(value: float | None) -> str:
    return NONE if value is None else f"{value:.3g}"
