"""Tables of counted facts, set by the operator, with which the page compares a fact."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from factcensus.api.serving.histogram import Histogram, histogram, shade_of
from factcensus.indexer import read_facts, stratify
from factcensus.indexer.errors import InputError
from factcensus.indexer.tables.columns import STRATUM_COLUMNS

#: Default strata of a table without its own. Quantiles would merge the many facts that never occur with the rare ones.
DEFAULT_BINS = "log10"
DOCUMENTS = "cooccurrence_documents"


@dataclass(frozen=True, slots=True)
class Stratum:
    """A row of the legend: label and shade of the stratum, and its number of facts."""

    label: str
    shade: int
    facts: int


@dataclass(frozen=True, slots=True)
class Spread:
    """The facts of a table by one count.

    Attributes:
        counts: int64 (facts,).
        strata: int64 (facts,), the stratum of each fact.
        labels: Labels of the strata, rarest first.
    """

    counts: npt.NDArray[np.int64]
    strata: npt.NDArray[np.int64]
    labels: tuple[str, ...]

    def picture(self, marked: int | None = None) -> Histogram:
        """Return the histogram, with one count marked."""
        return histogram(self.counts, self.strata, len(self.labels), marked)

    def legend(self) -> list[Stratum]:
        """Return the strata, rarest first."""
        facts = np.bincount(self.strata, minlength=len(self.labels)).tolist()
        return [
            Stratum(label, shade_of(number, len(self.labels)), facts[number])
            for number, label in enumerate(self.labels)
        ]


@dataclass(frozen=True, slots=True)
class Standing:
    """The rank of one fact: how many of ``facts`` have a lower count, and how many the same."""

    table: str
    column: str
    count: int
    facts: int
    below: int
    equal: int
    stratum: str | None
    picture: Histogram
    legend: list[Stratum]


def spread_of(table: pa.Table, by: str, bins: str | None = None) -> Spread:
    """Return the facts of a table by one of its counts.

    Args:
        table: A table of counts or strata.
        by: Column of the count.
        bins: Bins in the form of ``stratify``; None for the strata in the table, if they are strata of this count.

    Raises:
        InputError: The column does not have counts, or the bins are invalid.
    """
    if bins is not None or not _has_strata_of(table, by):
        counts = table.select([by]) if by in table.column_names else table
        table = stratify(counts, by, bins or DEFAULT_BINS)
    numbers = [int(number) for number in table["stratum"].to_pylist()]
    names = dict(zip(numbers, table["stratum_label"].to_pylist(), strict=True))
    order = {number: place for place, number in enumerate(sorted(names))}
    return Spread(
        np.array([int(count) for count in table[by].to_pylist()], np.int64),
        np.array([order[number] for number in numbers], np.int64),
        tuple(str(names[number]) for number in order),
    )


def _has_strata_of(table: pa.Table, by: str) -> bool:
    """Return whether the strata of a table were made by this count: if so, every count fits its stratum."""
    if not {by, *STRATUM_COLUMNS} <= set(table.column_names):
        return False
    columns = (table[name].to_pylist() for name in (by, "stratum", "stratum_low", "stratum_high"))
    return all(
        None not in (count, stratum) and (low is None or low <= count) and (high is None or count <= high)
        for count, stratum, low, high in zip(*columns, strict=True)
    )


class FactTable:
    """One loaded table.

    Raises:
        InputError: The file cannot be read, or is not a table of counts; the message names it and the remedy.
    """

    def __init__(self, path: Path) -> None:
        table = read_facts(path)
        wanted = {DOCUMENTS, "index", "index_digest"}
        if missing := sorted(wanted - set(table.column_names)):
            raise InputError(
                f"{path} is not a counts table (it lacks {', '.join(missing)}); use 'factcensus facts count'"
            )
        digests = set(table["index_digest"].to_pylist())
        if len(digests) != 1:
            raise InputError(f"{path} has facts counted on {len(digests)} indexes; use a table counted on one index")
        self.name = path.stem
        #: Digest of the index on which the facts were counted; None if it has no digest.
        self.digest: str | None = next(iter(digests)) or None
        columns = [name for name in table.column_names if name.startswith(DOCUMENTS)]
        try:
            self._spreads = {column: spread_of(table, column) for column in columns}
        except InputError as error:
            raise InputError(f"{path}: {error}") from error

    def standing(self, count: int, window: int | None) -> Standing | None:
        """Return the rank of a fact with this count; None if the table has no counts for the window."""
        column = DOCUMENTS if window is None else f"{DOCUMENTS}_w{window}"
        spread = self._spreads.get(column)
        if spread is None:
            return None
        stratum = _stratum_at(spread, count)
        return Standing(
            self.name,
            column,
            count,
            len(spread.counts),
            int((spread.counts < count).sum()),
            int((spread.counts == count).sum()),
            stratum,
            spread.picture(count),
            spread.legend(),
        )


def _stratum_at(spread: Spread, count: int) -> str | None:
    """Return the stratum of the facts with this count or with counts on both sides of it; None between two strata."""
    order = np.argsort(spread.counts, kind="stable")
    counts, strata = spread.counts[order], spread.strata[order]
    left = int(np.searchsorted(counts, count, side="left"))
    right = int(np.searchsorted(counts, count, side="right"))
    if left < right:
        return spread.labels[int(strata[left])]
    below, above = int(strata[max(0, left - 1)]), int(strata[min(len(strata) - 1, right)])
    return spread.labels[below] if below == above else None


class FactTables:
    """All loaded tables."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._tables = [FactTable(path) for path in paths]

    def of(self, digest: str | None) -> list[FactTable]:
        """Return the tables counted on the index with this digest; counts on other indexes are not comparable."""
        return [table for table in self._tables if digest is not None and table.digest == digest]

    def standing(self, digest: str | None, count: int, window: int | None) -> dict[str, Any]:
        """Return the rank of a count in the first table that has such counts, or the names of tables without them."""
        tables = self.of(digest)
        found = [standing for table in tables if (standing := table.standing(count, window)) is not None]
        missing = [table.name for table in tables] if tables and not found else []
        return {"standing": found[0] if found else None, "without_window": missing}
