"""Facts that resisted unlearning and facts that were over-forgotten, with corpus passages if a service is given.

A fact *resisted* a method if it was known before and the model still gives the answer. It was *over-forgotten* if its
answer is more than three standard deviations less probable than the mean answer about never-seen people. A model that
never read about these people would not rule out the answer so firmly, so over-forgetting reveals what was removed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from factcensus.eval.names import BEFORE, COUNT, ORACLE, ORIGINAL
from factcensus.eval.report.columns import Column, Fields, keyed, table_of
from factcensus.eval.report.formatting import NONE, count_unit, number, percent
from factcensus.eval.report.section import ReportData, Section
from factcensus.eval.statistics.outcomes import pair_outcomes, with_defaults

if TYPE_CHECKING:
    from factcensus.eval.passages import Passages
    from factcensus.eval.runs import Run

SHOWN = 12
OVER_DEVIATIONS = 3.0
_CELL = ["seed", "relation", "form", "variant"]


def extreme_facts(data: ReportData) -> Section | None:
    """Build the section on extreme facts: two tables over all methods except the oracle."""
    run, summary = data.run, data.summary
    if not any(method["name"] != ORACLE for method in summary["methods"]):
        return None
    rows = _rows(run)
    form = "cloze" if (rows["form"] == "cloze").any() else next(iter(rows["form"]), None)
    if form is None:
        return None
    rows = rows[rows["form"] == form]
    resisted = _by_fact(rows, "resisted")
    over = _by_fact(rows, "over_forgotten")
    shares = rows.groupby("method", sort=False)["over_forgotten"].mean()
    counted = count_unit(summary)
    tables = [
        table_of(caption, _columns(agree, counted, run.passages), found.to_dict("records"), open=True)
        for caption, agree, found in (
            ("Facts that resisted the most methods", "still answered by", resisted),
            ("Facts that were over-forgotten", "over-forgotten by", over),
        )
    ]
    said = ", ".join(f"{name} {percent(None if pd.isna(share) else float(share))}" for name, share in shares.items())
    return Section(
        "facts",
        "Which facts resisted, and which were over-forgotten",
        f"Asked as a {form}. A fact resisted if the model still gives the answer. It was over-forgotten if its answer "
        f"is more than {OVER_DEVIATIONS:g} standard deviations less probable than answers about never-seen people; "
        "that reveals what was removed.",
        tables=[table for table in tables if table.rows],
        note=(f"Share over-forgotten of the facts known before: {said}." if shares.notna().any() else "")
        + ("" if run.passages else " Add --service URL to show corpus passages next to the facts."),
    )


def _rows(run: Run) -> pd.DataFrame:
    """Return the known forget facts of every method, flagged as resisted or over-forgotten."""
    facts = with_defaults(run.facts)
    outcomes = pair_outcomes(facts)
    known = outcomes["known_before"].fillna(False).astype(bool) & (outcomes["group"] == "forget")
    rows = outcomes[known & (outcomes["method"] != ORACLE)]
    original = facts[(facts["method"] == ORIGINAL) & (facts["point"] == BEFORE) & (facts["group"] == "phantom")]
    level = original.groupby(_CELL)["log_probability_mean"].agg(["mean", "std"]).reset_index()
    rows = rows.merge(level, on=_CELL, how="left")
    limit = rows["mean"] - OVER_DEVIATIONS * rows["std"]
    over = (rows["log_probability_mean_after"] < limit).astype("boolean").mask(limit.isna())
    resisted = rows["match_after"].fillna(False).astype(bool)
    return rows.assign(over_forgotten=over.astype("Float64"), resisted=resisted.astype(float))


def _by_fact(rows: pd.DataFrame, what: str) -> pd.DataFrame:
    """Return facts by the number of methods that agree, then by the remaining log-probability."""
    found = rows.groupby(["seed", "fact_id"], sort=False).agg(
        subject=("subject", "first"),
        object=("object", "first"),
        relation=("relation", "first"),
        count=(COUNT, "first"),
        before=("log_probability_before", "mean"),
        after=("log_probability_after", "mean"),
        agree=(what, "sum"),
        methods=(what, "count"),
    )
    found = found[found["agree"].astype(float) > 0]
    by_rest = what == "over_forgotten"
    return found.sort_values(["agree", "after"], ascending=[False, by_rest], kind="stable").head(SHOWN)


def _columns(agree: str, counted: str, passages: Passages | None) -> list[Column[Fields]]:
    columns: list[Column[Fields]] = [
        keyed("subject"),
        keyed("object"),
        keyed("relation"),
        keyed(counted, "count", _count),
        keyed("before, nats", "before", _nats),
        keyed("after, mean", "after", _nats),
        Column(agree, lambda row: f"{row['agree']:.0f} of {row['methods']:.0f}"),
    ]
    if passages:
        columns.append(Column("corpus passage", lambda row: passages.of(str(row["subject"]), str(row["object"]))))
    return columns


def _count(value: Any) -> str:
    return NONE if pd.isna(value) else f"{value:,.0f}"


def _nats(value: Any) -> str:
    return NONE if pd.isna(value) else number(float(value))
