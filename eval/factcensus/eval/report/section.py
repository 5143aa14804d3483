"""The building blocks of a report section: plots, tables, and the data of both as CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from factcensus.eval.names import MAIN_FORMS

if TYPE_CHECKING:
    import pandas as pd

    from factcensus.eval.report.figures import Look
    from factcensus.eval.runs import Run


@dataclass(frozen=True, slots=True)
class ReportData:
    """The data of a report: the tables of the run, its summary, and the style of each method in order."""

    run: Run
    summary: Mapping[str, Any]
    look: Mapping[str, Look]


@dataclass(frozen=True, slots=True)
class Panel:
    """A plot with its caption and its data as CSV."""

    caption: str
    svg: str
    csv: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """A table whose first column holds row headings; shown at once if ``open``, otherwise folded."""

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    open: bool = False

    @property
    def of_words(self) -> Sequence[bool]:
        """Whether each column holds words rather than numbers; the template of the page reads it."""
        columns = [[row[place] for row in self.rows if row[place].strip("-")] for place in range(len(self.head))]
        return [2 * sum(cell[0].isalpha() for cell in cells) > len(cells) for cells in columns]

    @property
    def csv(self) -> str:
        """Return the table as CSV."""
        return csv_text([self.head, *self.rows])


@dataclass(frozen=True, slots=True)
class Section:
    """One question of the report, with its lead, terms, plots, reading notes and tables."""

    anchor: str
    title: str
    lead: str
    panels: Sequence[Panel] = ()
    tables: Sequence[Table] = ()
    legend: bool = False
    note: str = ""
    terms: Sequence[tuple[str, str]] = ()


def csv_of(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return records as CSV with a header of all their columns."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    return csv_text([columns, *([row.get(name) for name in columns] for row in rows)]) if rows else ""


def csv_text(rows: Sequence[Sequence[Any]]) -> str:
    """Return rows as CSV with LF line endings."""
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows([[_cell(cell) for cell in row] for row in rows])
    return file.getvalue()


def csv_of_frame(frame: pd.DataFrame, columns: Sequence[str]) -> str:
    """Return columns of a data frame as CSV."""
    return csv_text([columns, *frame[list(columns)].itertuples(index=False, name=None)])


def _cell(value: Any) -> Any:
    """Round a number to six significant digits, as the summary does; a null is empty."""
    if isinstance(value, float):
        return f"{value:.6g}" if math.isfinite(value) else ""
    return "" if value is None else value


def or_none(value: Any) -> float | None:
    """Return a number of a table, or None for a missing value."""
    return None if value is None or value != value else float(value)


def flat(found: Mapping[str, Any], **first: Any) -> dict[str, Any]:
    """Flatten an estimate into one record: value, low, high, n."""
    low, high = found.get("ci95") or (None, None)
    return {**first, "value": found.get("value"), "low": low, "high": high, "n": found.get("n")}


def asked_forms(summary: Mapping[str, Any]) -> list[str]:
    """Return the main forms in which forget facts were asked."""
    return [form for form in every_asked_form(summary) if form in MAIN_FORMS]


def every_asked_form(summary: Mapping[str, Any]) -> list[str]:
    """Return all forms in which forget facts were asked."""
    return [
        form for form in summary["forms"] if any(method["forgotten_by_stratum"][form] for method in summary["methods"])
    ]
