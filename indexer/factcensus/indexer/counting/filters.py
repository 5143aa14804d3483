"""Filters: conditions on documents as data instead of SQL, for clients of the service and forms on its pages.

A filter maps document columns and metadata fields (:mod:`factcensus.indexer.storage.fields`) to their allowed values.
It becomes the ``where`` of a :class:`~factcensus.indexer.counting.scope.Scope`. Every name and value is quoted, so no
text can be interpreted as SQL.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from factcensus.indexer.errors import InputError
from factcensus.indexer.storage.fields import quote_name

#: A JSON value; a document without the column has the value "", as in counts by that column.
Value = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Between:
    """Numbers from ``low`` to ``high``, inclusive; None leaves an end open. Other values do not match."""

    low: float | None = None
    high: float | None = None

    def __post_init__(self) -> None:
        ends = [end for end in (self.low, self.high) if end is not None]
        if not ends or not all(math.isfinite(end) for end in ends) or ends != sorted(ends):
            raise InputError(
                f"a range needs a lower end, an upper end or both, in ascending order, got {self.low} and {self.high}"
            )


Filter = Mapping[str, Value | Sequence[Value] | Between]


def condition(filter: Filter) -> str | None:
    """Return a filter as DuckDB SQL, true if every column has one of its values; None for an empty filter.

    Raises:
        InputError: The list of values for a column is empty.
    """
    parts = []
    for column, wanted in filter.items():
        # The name is resolved to a column or field where the condition is used.
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
            raise InputError(
                f"the filter has no value for {column!r}, so no document could match; add a value or remove the column"
            )
        parts.append(f"{value} IN ({', '.join(_literal(text) for each in values for text in _texts(each))})")
    return " AND ".join(parts) or None


def _texts(value: Value) -> list[str]:
    """Return the texts that stored values equal to a value may have: 1990 may be stored as ``1990`` or ``1990.0``."""
    if value is None:
        return [""]
    if isinstance(value, bool):
        return ["true" if value else "false"]
    if isinstance(value, str):
        return [value]
    texts = [str(value)]
    with suppress(OverflowError):
        number = float(value)
        if number == value:
            mantissa, _, exponent = repr(number).partition("e")
            texts += [f"{mantissa}e{int(exponent)}", f"{mantissa}e{int(exponent):+}"] if exponent else [mantissa]
    if isinstance(value, float) and value.is_integer():
        texts.append(str(int(value)))
    return list(dict.fromkeys(texts))


def _literal(text: str) -> str:
    """Return a text as an SQL literal."""
    return "'" + _printable(text).replace("'", "''") + "'"


def _printable(text: str) -> str:
    if "\0" in text:
        raise InputError("the filter contains a NUL character, which SQL does not allow; remove it")
    return text
