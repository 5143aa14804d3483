"""Conditions on documents as data, for those who may not write SQL: a service's clients, a form on a page.

A filter maps columns of the document table and fields of the metadata (:mod:`factcensus.indexer.storage.fields`) to
the values that they may have. It becomes the ``where`` of a :class:`~factcensus.indexer.counting.scope.Scope`; every
name and value is quoted, so that no text in it can be read as SQL.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from factcensus.indexer.errors import InputError
from factcensus.indexer.storage.fields import quote_name

#: A value as JSON has it; a document without the column has the value "", as in counts by that column.
Value = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Between:
    """Numbers from ``low`` to ``high``, both included; None leaves an end open. What is no number is not between."""

    low: float | None = None
    high: float | None = None

    def __post_init__(self) -> None:
        ends = [end for end in (self.low, self.high) if end is not None]
        if not ends or not all(math.isfinite(end) for end in ends) or ends != sorted(ends):
            raise InputError(
                f"a range has a lower end, an upper end or both, in this order; got {self.low} and {self.high}"
            )


Filter = Mapping[str, Value | Sequence[Value] | Between]


def condition(filter: Filter) -> str | None:
    """A filter in DuckDB's SQL, true where every column has one of its values; None for an empty filter.

    Raises:
        InputError: a column has no values to choose from.
    """
    parts = []
    for column, wanted in filter.items():
        # Which column or field the name stands for is found out where the condition is used.
        name = quote_name(_printable(column) or '""')
        value = f"coalesce(cast({name} AS VARCHAR), '')"
        if isinstance(wanted, Between):
            number = f"try_cast({value} AS DOUBLE)"
            ends = ((">=", wanted.low), ("<=", wanted.high))
            parts += [
                f"coalesce({number} {sign} {float(end)!r}::DOUBLE, false)" for sign, end in ends if end is not None
            ]
            continue
        values = wanted if isinstance(wanted, Sequence) and not isinstance(wanted, str) else [wanted]
        if not values:
            raise InputError(f"the filter names no value for {column!r}, so no document could pass; leave it out")
        parts.append(f"{value} IN ({', '.join(_literal(each) for each in values)})")
    return " AND ".join(parts) or None


def _literal(value: Value) -> str:
    """A value as the text that a document table's or metadata's own value is compared as."""
    if value is None:
        text = ""
    elif isinstance(value, bool):
        text = "true" if value else "false"
    else:
        text = str(value)
    return "'" + _printable(text).replace("'", "''") + "'"


def _printable(text: str) -> str:
    if "\0" in text:
        raise InputError("a filter holds a NUL character, which SQL cannot take; leave it out")
    return text
