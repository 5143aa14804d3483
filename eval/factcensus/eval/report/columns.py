"""The columns of the report's tables: the heading, value, format and definition of each cell in one place."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

from factcensus.eval.report.formatting import detectable, interval
from factcensus.eval.report.section import Table

Record = TypeVar("Record")
#: A record whose values are found by name.
Fields = Mapping[Any, Any]


@dataclass(frozen=True)  # slots do not work with a parametrised call, such as Column[Fields](...)
class Column(Generic[Record]):
    """One column of a table whose rows are made from records.

    Attributes:
        head: The heading.
        get: Returns the value of a record.
        form: Formats the value.
        meaning: A definition for the caption, if the heading needs one.
    """

    head: str
    get: Callable[[Record], Any]
    form: Callable[[Any], str] = str
    meaning: str = ""

    def cell(self, record: Record) -> str:
        """Return the text of a cell."""
        return self.form(self.get(record))


def table_of(title: str, columns: Sequence[Column[Record]], records: Iterable[Record], *, open: bool = False) -> Table:
    """Return a table with one row per record; its caption is the title and the meanings of the columns.

    Args:
        open: Whether the table is shown at once.
    """
    caption = ". ".join([title, *(column.meaning for column in columns if column.meaning)])
    rows = [[column.cell(record) for column in columns] for record in records]
    return Table(caption, [column.head for column in columns], rows, open)


def keyed(head: str, key: str | None = None, form: Callable[[Any], str] = str) -> Column[Fields]:
    """Return the column of a key, by default the heading itself."""
    return Column(head, lambda record: record[key or head], form)


@dataclass(frozen=True, slots=True)
class Asked:
    """A finding about one method, asked in one form."""

    method: str
    form: str
    found: Mapping[str, Any]


METHOD: Column[Asked] = Column("method", lambda row: row.method)
FORM: Column[Asked] = Column("form", lambda row: row.form)
N: Column[Asked] = Column("n", lambda row: row.found["n"])


def minimum_detectable(meaning: str = "") -> Column[Asked]:
    """Return the column of the minimum detectable effect."""
    return Column("detectable", lambda row: row.found["minimum_detectable_effect"], detectable, meaning)


def estimate_columns(
    head: str,
    get: Callable[[Any], Mapping[str, Any]],
    form: Callable[[float | None], str],
    *,
    value: str = "value",
    bounds: str = "ci95",
    meaning: str = "",
) -> tuple[Column[Any], Column[Any]]:
    """Return the columns of an estimate and of its 95% interval.

    Args:
        get: Returns the estimate of a record.
        form: Formats the value and both bounds.
        value, bounds: Keys of the estimate.
        meaning: A definition for the caption.
    """
    return (
        Column(head, lambda record: get(record)[value], form, meaning),
        Column("95% interval", lambda record: get(record)[bounds], partial(interval, form=form)),
    )
