"""The models' answers to every question, before and after unlearning."""

from __future__ import annotations

from typing import Any

import pandas as pd

from factcensus.eval.names import AFTER, BEFORE, COUNT, ORACLE, ORIGINAL
from factcensus.eval.report.columns import Column, Fields, keyed, table_of
from factcensus.eval.report.formatting import NONE, count_unit
from factcensus.eval.report.section import ReportData, Section, Table
from factcensus.eval.statistics.outcomes import with_defaults

#: Maximum rows of a table; the run folder has all of them.
MOST_ROWS = 500
_ASKED = ["seed", "fact_id", "form", "variant"]
#: Groups of facts whose answers are shown: those to forget, and those about people that no model ever saw.
_GROUPS = ("forget", "phantom")


def said(data: ReportData) -> Section | None:
    """Build the section: for each method, one row per question about a fact to forget or a never-seen person."""
    facts = with_defaults(data.run.facts)
    if "generation" not in facts:
        return None
    facts = facts[facts["group"].isin(_GROUPS)]
    before = facts[(facts["method"] == ORIGINAL) & (facts["point"] == BEFORE)]
    after = facts[facts["point"] == AFTER]
    methods = [name for name in after["method"].unique() if name != ORACLE]
    counted = count_unit(data.summary)
    tables = [
        _table(f"Before and after {name}", _paired(before, after[after["method"] == name]), counted) for name in methods
    ]
    if not methods and len(before):
        tables = [
            _table(
                "The model", before.assign(said=before["generation"], answered=before["match"]), counted, paired=False
            )
        ]
    tables = [table for table in tables if table.rows]
    if not tables:
        return None
    most = max([len(before), *(len(after[after["method"] == name]) for name in methods)])
    return Section(
        "said",
        "What the model said",
        "Each answer is the first line that the model generated. Facts that it still answers come first. Answers about "
        "never-seen people show what the model says when it cannot know.",
        tables=tables,
        note=f"A table shows at most {MOST_ROWS:,} questions; facts.parquet has all." if most > MOST_ROWS else "",
    )


def _paired(before: pd.DataFrame, after: pd.DataFrame) -> pd.DataFrame:
    first = before[[*_ASKED, "generation"]].rename(columns={"generation": "said_before"})
    found = after.merge(first, on=_ASKED, how="left")
    return found.assign(said=found["generation"], answered=found["match"])


def _table(title: str, rows: pd.DataFrame, counted: str, *, paired: bool = True) -> Table:
    answered = rows["answered"].fillna(False).astype(bool)
    rows = rows.assign(answered=answered, never=rows["group"] == "phantom")
    by = ["never", "answered", COUNT] if COUNT in rows else ["never", "answered"]
    rows = rows.sort_values(by, ascending=[True, False, False][: len(by)], kind="stable").head(MOST_ROWS)
    return table_of(
        f"{title}: {int(answered.sum()):,} of {len(answered):,} questions answered",
        _columns(counted, paired),
        rows.to_dict("records"),
    )


def _columns(counted: str, paired: bool) -> list[Column[Fields]]:
    before: list[Column[Fields]] = [keyed("said before", "said_before", _text)] if paired else []
    return [  # the answers come first, so that they are visible on a desktop without scrolling
        keyed("subject"),
        Column("prompt", lambda row: row.get("prompt"), _text),  # imported runs may lack these two
        Column("expected", lambda row: row.get("answer"), _text),
        *before,
        keyed("said after" if paired else "said", "said", _text),
        Column("answered", lambda row: "yes" if row["answered"] else "no"),
        Column("group", lambda row: "never seen" if row["never"] else "to forget"),
        Column(counted, lambda row: row.get(COUNT), _count),
        keyed("form"),
    ]


def _text(value: Any) -> str:
    return NONE if value is None or value != value else " ".join(str(value).split()) or "(nothing)"


def _count(value: Any) -> str:
    return NONE if value is None or pd.isna(value) else f"{value:,.0f}"
