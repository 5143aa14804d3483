"""Groups of years: ``year:created`` groups documents by the year of the dates in the column or field ``created``."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from factcensus.indexer.errors import InputError

_PREFIX = "year:"
#: A year, alone or before a month: 2019, 2019-04, 2019-04-25T12:57:54Z, 2019/4/25, 20190425.
_DATE = re.compile(r"\s*([12][0-9]{3})(?:[-/.][01]?[0-9]\b.*|[01][0-9][0-3][0-9](?:T.*)?|\.0+)?\s*", re.DOTALL)


def dates_of(by: str | None) -> str | None:
    """Return the field of ``year:FIELD``; None for any other column.

    Raises:
        InputError: FIELD is missing.
    """
    if by is None or not by.startswith(_PREFIX):
        return None
    if not (field := by.removeprefix(_PREFIX)):
        raise InputError("year: needs the name of a field with dates, such as year:created")
    return field


def year_of(date: str) -> str:
    """Return the year of a date such as 2019 or 2019-04-25T12:57:54Z; empty if the text does not begin with a year."""
    found = _DATE.fullmatch(date)
    return found[1] if found else ""


def group_years(
    names: Sequence[str], codes: Sequence[npt.NDArray[np.int32]]
) -> tuple[list[str], list[npt.NDArray[np.int32]]]:
    """Merge the groups of a field into years, in order; documents without a year are in the group ``""``."""
    years = [year_of(name) for name in names]
    kept = sorted(set(years))
    place = {year: number for number, year in enumerate(kept)}
    merged = np.array([place[year] for year in years], np.int32)
    return kept, [merged[each] if len(each) else each for each in codes]
