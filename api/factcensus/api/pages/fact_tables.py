"""Counted facts that a single fact is compared with: tables that whoever runs the service has loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from factcensus.api.pages.histogram import Histogram, histogram, shade_of
from factcensus.indexer import read_facts, stratify
from factcensus.indexer.errors import InputError
from factcensus.indexer.tables.columns import STRATUM_COLUMNS

#: The strata where a table has none of its own: tables have many facts that never occur, which quantiles would lump
#: together with the rare ones.
DEFAULT_BINS = "log10"
DOCUMENTS = "cooccurrence_documents"


@dataclass(frozen=True, slots=True)
class Stratum:
    """A row of the legend: the stratum's label, its shade, and how many facts it has."""

    label: str
    shade: int
    facts: int


@dataclass(frozen=True, slots=True)
class Spread:
    """A table's facts by one count.

    Attributes:
        counts: int64 (facts,).
        strata: int64 (facts,), of each fact.
        labels: of the strata, from the rarest.
    """

    counts: npt.NDArray[np.int64]
    strata: npt.NDArray[np.int64]
    labels: tuple[str, ...]

    def picture(self, marked: int | None = None) -> Histogram:
        """The histogram, with one count pointed out."""
        return histogram(self.counts, self.strata, len(self.labels), marked)

    def legend(self) -> list[Stratum]:
        """The strata, from the rarest."""
        facts = np.bincount(self.strata, minlength=len(self.labels)).tolist()
        return [
            Stratum(label, shade_of(number, len(self.labels)), facts[number])
            for number, label in enumerate(self.labels)
        ]


@dataclass(frozen=True, slots=True)
class Standing:
    """Where one fact stands: how many of ``facts`` have a lower count, and how many the same."""

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
    """The facts of a counts table by one of its counts.

    Args:
        table: a counts or strata table.
        by: the count's column.
        bins: as ``stratify`` takes them; None for the table's own strata, if these are strata of that count.

    Raises:
        InputError: the column is none of counts, or the bins cannot be read.
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
    """Whether a table's strata are by this count: a strata table does not say, but every count must fit."""
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
        InputError: the file cannot be read, or is not a counts table; the message names it and the remedy.
    """

    def __init__(self, path: Path) -> None:
        table = read_facts(path)
        wanted = {DOCUMENTS, "index", "index_digest"}
        if missing := sorted(wanted - set(table.column_names)):
            raise InputError(
                f"{path} is not a counts table (it lacks {', '.join(missing)}); make one with 'factcensus facts count'"
            )
        digests = set(table["index_digest"].to_pylist())
        if len(digests) != 1:
            raise InputError(f"{path} has facts counted in {len(digests)} indexes; a table to compare with has one")
        self.name = path.stem
        #: Of the index that the facts were counted in; None where that one has no digest.
        self.digest: str | None = next(iter(digests)) or None
        columns = [name for name in table.column_names if name.startswith(DOCUMENTS)]
        try:
            self._spreads = {column: spread_of(table, column) for column in columns}
        except InputError as error:
            raise InputError(f"{path}: {error}") from error

    def standing(self, count: int, window: int | None) -> Standing | None:
        """Where a fact with so many documents stands; None where the table has no counts within that window."""
        column = DOCUMENTS if window is None else f"{DOCUMENTS}_w{window}"
        spread = self._spreads.get(column)
        if spread is None:
            return None
        stratum = _stratum_at(spread, count)
        return Standing(
            self.name, column, count, len(spread.counts),
            int((spread.counts < count).sum()), int((spread.counts == count).sum()),
            stratum, spread.picture(count), spread.legend(),
        )  # fmt: skip


def _stratum_at(spread: Spread, count: int) -> str | None:
    """The stratum of the facts with this count, or whose counts lie on both sides of it; None between two strata."""
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
        """The tables that were counted in the index with this digest; counts of another one cannot be compared."""
        return [table for table in self._tables if digest is not None and table.digest == digest]

    def standing(self, digest: str | None, count: int, window: int | None) -> dict[str, Any]:
        """Where a count stands in the first table that has counts like it, or why there is none to stand in."""
        tables = self.of(digest)
        found = [standing for table in tables if (standing := table.standing(count, window)) is not None]
        missing = [table.name for table in tables] if tables and not found else []
        return {"standing": found[0] if found else None, "without_window": missing}
