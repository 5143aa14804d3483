"""What else the model can still do: the table utility.parquet, as three small tables and one of everything."""

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
NAMES = {"kl_to_original_nats": "KL to the original, nats a token", "perplexity": "perplexity"}


def utility(run: Run, summary: Mapping[str, Any], look: Mapping[str, figures.Look]) -> Section | None:  # noqa: ARG001
    """Facts by distance, answers that do not end or repeat themselves, text and benchmarks; seeds averaged."""
    if not len(run.utility):
        return None
    table = run.utility.assign(form=run.utility["form"].fillna(""))
    methods = list(dict.fromkeys(table["method"]))
    tables = [_distances(table, methods), _endings(table, methods), _texts(table, methods), _every(table, methods)]
    return Section(
        "utility",
        "What else the model can still do",
        "Facts by their distance to what was unlearned, answers that do not end or repeat themselves, perplexity of "
        "and divergence from the original on neutral text, benchmarks. Seeds are averaged.",
        tables=[each for each in tables if each.rows],
    )


def _distances(table: pd.DataFrame, methods: Sequence[str]) -> Table:
    """Accuracy by distance to the nearest fact to be forgotten."""
    rows = table[(table["measure"] == "accuracy") & table["of"].str.startswith(DISTANCE)]
    columns = sorted(rows["of"].unique())
    return Table(
        "Facts answered, by what they share with the nearest fact to be forgotten",
        ["model", "form", *(distance_label(each).partition(": ")[2] for each in columns)],
        _grid(rows, methods, columns, lambda found: percent(_mean(found))), open=True,
    )  # fmt: skip


def _endings(table: pd.DataFrame, methods: Sequence[str]) -> Table:
    """Unfinished and degenerate answers by group."""
    rows = table[table["measure"].isin(SHARES[1:]) & ~table["of"].str.startswith(DISTANCE)]
    columns = list(dict.fromkeys(rows["of"]))

    def both(found: pd.DataFrame) -> str:
        return " / ".join(percent(_mean(found[found["measure"] == measure])) for measure in SHARES[1:])

    return Table(
        "Answers that do not end by themselves / that are empty or repeat themselves, by group",
        ["model", "form", *(each.replace("_", " ") for each in columns)],
        _grid(rows, methods, columns, both),
    )


def _grid(rows: pd.DataFrame, methods: Sequence[str], columns: Sequence[str], cell: Any) -> list[list[str]]:
    """A row a form and model, a column each of ``of``."""
    return [
        [method, form, *(cell(mine[mine["of"] == column]) for column in columns)]
        for form in FORMS
        for method in methods
        if len(mine := rows[(rows["form"] == form) & (rows["method"] == method)])
    ]


def _texts(table: pd.DataFrame, methods: Sequence[str]) -> Table:
    """Neutral text and benchmarks, with intervals where one seed has them."""
    rows = table[~table["measure"].isin(SHARES)]
    cells = [
        [f"{NAMES.get(str(measure), measure)}, {of}", *(_number(found[found["method"] == name]) for name in methods)]
        for (measure, of), found in rows.groupby(["measure", "of"], sort=False)
    ]
    return Table("Neutral text and benchmarks, with 95 % intervals", ["measure", *methods], cells, open=True)


def _every(table: pd.DataFrame, methods: Sequence[str]) -> Table:
    """All of it, a row a measure and a column a model."""
    rows = []
    for (measure, of, form), found in table.groupby(["measure", "of", "form"], sort=False):
        means = [_mean(found[found["method"] == name]) for name in methods]
        shown = [percent(each) if measure in SHARES else _plain(each) for each in means]
        rows.append([f"{measure}, {of}" + (f", {form}" if form else ""), *shown])
    return Table("Every measure", ["measure", *methods], rows)


def _mean(rows: pd.DataFrame) -> float | None:
    return or_none(rows["value"].mean()) if len(rows) else None


def _number(rows: pd.DataFrame) -> str:
    """The mean over seeds, with the mean of their intervals."""
    low, high = (or_none(rows[name].mean()) if len(rows) else None for name in ("low", "high"))
    value = _plain(_mean(rows))
    return value if low is None or high is None else f"{value} [{_plain(low)}, {_plain(high)}]"


def _plain(value: float | None) -> str:
    return NONE if value is None else f"{value:.3g}"
