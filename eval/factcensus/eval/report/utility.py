"""Remaining abilities of the model: utility.parquet as three small tables and one complete one."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pandas as pd

from factcensus.eval.asking.questions import FORMS
from factcensus.eval.asking.utility import distance_label
from factcensus.eval.report.columns import Column, table_of
from factcensus.eval.report.formatting import NONE, percent
from factcensus.eval.report.section import ReportData, Section, Table, or_none

SHARES = ("accuracy", "unfinished", "degenerate")
DISTANCE = "distance "
NAMES = {"kl_to_original_nats": "KL to the original, nats per token", "perplexity": "perplexity"}


def utility(data: ReportData) -> Section | None:
    """Build the section on the remaining abilities, averaged over seeds."""
    table = data.run.utility
    if not len(table):
        return None
    table = table.assign(form=table["form"].fillna(""))
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
    columns = [
        _of(of, distance_label(of).partition(": ")[2], lambda found: percent(_mean(found)))
        for of in sorted(rows["of"].unique())
    ]
    return table_of(
        "Facts answered, by what they have in common with the nearest fact to be forgotten",
        [*MODEL_AND_FORM, *columns],
        _by_model(rows, methods),
        open=True,
    )


def _endings(table: pd.DataFrame, methods: Sequence[str]) -> Table:
    """Return unfinished and degenerate answers by group."""
    rows = table[table["measure"].isin(SHARES[1:]) & ~table["of"].str.startswith(DISTANCE)]

    def both(found: pd.DataFrame) -> str:
        return " / ".join(percent(_mean(found[found["measure"] == measure])) for measure in SHARES[1:])

    columns = [_of(of, of.replace("_", " "), both) for of in dict.fromkeys(rows["of"])]
    return table_of(
        "Unfinished answers / degenerate answers (empty or repetitive), by group",
        [*MODEL_AND_FORM, *columns],
        _by_model(rows, methods),
    )


#: The measures of one model in one form.
Measured = tuple[str, str, pd.DataFrame]
MODEL_AND_FORM: tuple[Column[Measured], ...] = (
    Column("model", lambda row: row[0]),
    Column("form", lambda row: row[1]),
)


def _by_model(rows: pd.DataFrame, methods: Sequence[str]) -> list[Measured]:
    """Return the rows of every model in every form that has any."""
    return [
        (method, form, mine)
        for form in FORMS
        for method in methods
        if len(mine := rows[(rows["form"] == form) & (rows["method"] == method)])
    ]


def _of(of: str, head: str, form: Callable[[pd.DataFrame], str]) -> Column[Measured]:
    """Return the column of the measures of one group or distance."""
    return Column(head, lambda row: row[2][row[2]["of"] == of], form)


#: A measure by name, with its rows of every model.
Named = tuple[str, pd.DataFrame]
MEASURE: Column[Named] = Column("measure", lambda row: row[0])


def _by(method: str, form: Callable[[pd.DataFrame], str]) -> Column[Named]:
    """Return the column of a model."""
    return Column(method, lambda row: row[1][row[1]["method"] == method], form)


def _texts(table: pd.DataFrame, methods: Sequence[str]) -> Table:
    """Return measures on neutral text and benchmarks, with their intervals if there are any."""
    groups = table[~table["measure"].isin(SHARES)].groupby(["measure", "of"], sort=False)
    return table_of(
        "Neutral text and benchmarks, with 95% intervals",
        [MEASURE, *(_by(method, _number) for method in methods)],
        [(f"{NAMES.get(str(measure), measure)}, {of}", found) for (measure, of), found in groups],
        open=True,
    )


def _every(table: pd.DataFrame, methods: Sequence[str]) -> Table:
    """Return all measures, one row per measure and one column per model."""
    groups = table.groupby(["measure", "of", "form"], sort=False)
    return table_of(
        "All measures",
        [MEASURE, *(_by(method, _share_or_number) for method in methods)],
        [(f"{measure}, {of}" + (f", {form}" if form else ""), found) for (measure, of, form), found in groups],
    )


def _share_or_number(rows: pd.DataFrame) -> str:
    return percent(_mean(rows)) if rows["measure"].isin(SHARES).any() else _plain(_mean(rows))


def _mean(rows: pd.DataFrame) -> float | None:
    return or_none(rows["value"].mean()) if len(rows) else None


def _number(rows: pd.DataFrame) -> str:
    """Format the mean over seeds, with the mean of the interval bounds."""
    low, high = (or_none(rows[name].mean()) if len(rows) else None for name in ("low", "high"))
    value = _plain(_mean(rows))
    return value if low is None or high is None else f"{value} [{_plain(low)}, {_plain(high)}]"


def _plain(value: float | None) -> str:
    return NONE if value is None else f"{value:.3g}"
