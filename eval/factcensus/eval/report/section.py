"""What a section of the report is made of: plots, tables, and the numbers behind both as files to take along."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Panel:
    """A plot with its caption, and its data as CSV."""

    caption: str
    svg: str
    csv: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """Numbers in rows; the first column is each row's heading. An open table is shown, others unfold."""

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    open: bool = False

    @property
    def of_words(self) -> Sequence[bool]:
        """Of each column, whether it holds words and not numbers."""
        columns = [[row[place] for row in self.rows if row[place].strip("-")] for place in range(len(self.head))]
        return [2 * sum(cell[0].isalpha() for cell in cells) > len(cells) for cells in columns]

    @property
    def csv(self) -> str:
        """The table as it stands."""
        return csv_text([self.head, *self.rows])


@dataclass(frozen=True, slots=True)
class Section:
    """One question of the report: what it asks, terms used, plots, how to read them, tables."""

    anchor: str
    title: str
    lead: str
    panels: Sequence[Panel] = ()
    tables: Sequence[Table] = ()
    legend: bool = False
    note: str = ""
    terms: Sequence[tuple[str, str]] = ()


def csv_of(rows: Sequence[Mapping[str, Any]]) -> str:
    """Records as CSV with a header; all columns that any of them has."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    return csv_text([columns, *([row.get(name) for name in columns] for row in rows)]) if rows else ""


def csv_text(rows: Sequence[Sequence[Any]]) -> str:
    """Rows as CSV, ends of lines as Unix has them."""
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows([[_cell(cell) for cell in row] for row in rows])
    return file.getvalue()


def _cell(value: Any) -> Any:
    """Six significant digits, as the summary has; empty for null."""
    if isinstance(value, float):
        return f"{value:.6g}" if math.isfinite(value) else ""
    return "" if value is None else value


def or_none(value: Any) -> float | None:
    """A table's number; None for what pandas holds missing."""
    return None if value is None or value != value else float(value)


def flat(found: Mapping[str, Any], **first: Any) -> dict[str, Any]:
    """An estimate as one record: value, low, high, n."""
    low, high = found.get("ci95") or (None, None)
    return {**first, "value": found.get("value"), "low": low, "high": high, "n": found.get("n")}


def asked_forms(summary: Mapping[str, Any]) -> list[str]:
    """The main forms that a forget fact was asked in."""
    return [form for form in every_asked_form(summary) if form in ("question", "cloze")]


def every_asked_form(summary: Mapping[str, Any]) -> list[str]:
    """All forms that a forget fact was asked in."""
    return [
        form for form in summary["forms"]
        if any(method["forgotten_by_stratum"][form] for method in summary["methods"])
    ]  # fmt: skip
