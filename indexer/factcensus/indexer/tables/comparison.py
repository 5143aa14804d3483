"""Comparing two counts tables of the same facts: two corpora, two windows, or two stages of a corpus."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from factcensus.indexer.answers.record import html_table
from factcensus.indexer.errors import InputError
from factcensus.indexer.tables.added import check_one_analyzer
from factcensus.indexer.tables.columns import LIST_COLUMNS
from factcensus.indexer.tables.facts import Facts, as_counts
from factcensus.indexer.tables.strata import counts_of

#: 97.5% quantile of the normal distribution.
_Z = 1.959963984540054
#: Columns that identify a fact, if both tables have them.
_IDENTITY = ("fact_id", "subject", "object", "relation", "subject_aliases", "object_aliases")


@dataclass(frozen=True, slots=True)
class Difference:
    """One fact whose counts differ: its names and both counts."""

    subject: str
    object: str
    first: int
    second: int

    @property
    def log_ratio(self) -> float:
        """The decimal logarithm of (second + 1) / (first + 1)."""
        return math.log10((self.second + 1) / (self.first + 1))


@dataclass(frozen=True, slots=True)
class Comparison:
    """The counts of the facts that two tables share.

    Attributes:
        by: The columns of counts that were compared, one of each table.
        facts: Number of facts in both tables.
        only_first: Number of facts only in the first table.
        only_second: Number of facts only in the second table.
        equal: Number of shared facts with equal counts.
        first_zeros: Number of shared facts that are 0 only in the first table.
        second_zeros: Number of shared facts that are 0 only in the second table.
        repeated: Number of rows, in both tables, that repeat a fact of their table with the same count; left out.
        rank_correlation: Spearman's rank correlation, ties with average ranks; None if all counts of a table are equal.
        interval: Its 95% confidence interval; None with fewer than 5 facts.
        counts: int64 (facts, 2), the counts of the shared facts, in the order of the first table.
        differences: The facts whose counts differ, largest absolute log ratio first.
    """

    by: tuple[str, str]
    facts: int
    only_first: int
    only_second: int
    equal: int
    first_zeros: int
    second_zeros: int
    repeated: int
    rank_correlation: float | None
    interval: tuple[float, float] | None
    counts: npt.NDArray[np.int64]
    differences: tuple[Difference, ...]

    def _repr_html_(self) -> str:
        """Return the numbers and the largest differences as tables, for notebooks."""
        interval = "" if self.interval is None else f" [{self.interval[0]:.3f}, {self.interval[1]:.3f}]"
        correlation = "undefined" if self.rank_correlation is None else f"{self.rank_correlation:.3f}{interval}"
        rows: list[tuple[object, object]] = [
            ("facts in both tables", self.facts),
            ("facts only in the first", self.only_first),
            ("facts only in the second", self.only_second),
            ("equal counts", self.equal),
            ("count 0 only in the first", self.first_zeros),
            ("count 0 only in the second", self.second_zeros),
            ("Spearman's rank correlation", correlation),
        ]
        tables = [html_table(" and ".join(dict.fromkeys(self.by)), ["", "value"], rows)]
        if self.differences:
            found = [(each.subject, each.object, each.first, each.second) for each in self.differences]
            tables.append(html_table("largest differences", ["subject", "object", "first", "second"], found))
        return "".join(tables)

    def to_json(self, most: int | None = None) -> dict[str, Any]:
        """Return the comparison as JSON values, with at most ``most`` differences."""
        return {
            "by": list(self.by),
            "facts": self.facts,
            "only_first": self.only_first,
            "only_second": self.only_second,
            "equal": self.equal,
            "first_zeros": self.first_zeros,
            "second_zeros": self.second_zeros,
            "repeated": self.repeated,
            "rank_correlation": self.rank_correlation,
            "ci95": None if self.interval is None else list(self.interval),
            "differences": [
                {"subject": each.subject, "object": each.object, "first": each.first, "second": each.second}
                for each in self.differences[:most]
            ],
        }


def compare(
    first: Facts, second: Facts, by: str = "cooccurrence_documents", second_by: str | None = None
) -> Comparison:
    """Compare the counts of the facts that two tables share.

    A fact is the same if its ``fact_id``, subject, object, relation and aliases are equal, as far as both tables have
    these columns.

    Args:
        first: A counts table: a path, records, or a pandas, polars or Arrow table.
        second: A counts table; it may be the same one, to compare two of its columns.
        by: The column of counts in the first table; or a column and a group, as ``cooccurrence_documents@wikipedia``.
        second_by: The column of counts in the second table; ``by`` if None.

    Raises:
        InputError: A column does not exist or has a value that is not a count, a fact has two different counts in a
            table, the tables share no fact, or their counts come from different versions of an analyzer.
    """
    second_by = second_by or by
    tables: tuple[pa.Table, pa.Table] = as_counts(first), as_counts(second)
    _check_analyzers(*tables)
    columns = [name for name in _IDENTITY if all(name in each.column_names for each in tables)]
    counts = counts_of(tables[0], by), counts_of(tables[1], second_by)
    places = (
        _places(tables[0], columns, counts[0], "first"),
        _places(tables[1], columns, counts[1], "second"),
    )
    shared = [(row, places[1][key]) for key, row in places[0].items() if key in places[1]]
    if not shared:
        raise InputError(f"the two tables share no fact; facts are the same if {', '.join(columns)} are equal")
    rows = np.array(shared)
    both = np.stack([counts[0][rows[:, 0]], counts[1][rows[:, 1]]], axis=1)
    names = [tables[0][role].to_pylist() for role in ("subject", "object")]
    differences = [
        Difference(names[0][row], names[1][row], *pair)
        for (row, _), pair in zip(shared, both.tolist(), strict=True)
        if pair[0] != pair[1]
    ]
    correlation = _rank_correlation(both)
    return Comparison(
        (by, second_by),
        len(shared),
        len(places[0]) - len(shared),
        len(places[1]) - len(shared),
        len(shared) - len(differences),
        int(((both[:, 0] == 0) & (both[:, 1] > 0)).sum()),
        int(((both[:, 0] > 0) & (both[:, 1] == 0)).sum()),
        tables[0].num_rows + tables[1].num_rows - len(places[0]) - len(places[1]),
        correlation,
        _interval(correlation, len(shared)),
        both,
        tuple(sorted(differences, key=lambda each: -abs(each.log_ratio))),
    )


def _check_analyzers(first: pa.Table, second: pa.Table) -> None:
    """Check that the counts come from one version of each analyzer; counts of tokens and of words may be compared."""
    labels = set()
    for table in (first, second):
        check_one_analyzer(table)
        if "analyzer" in table.column_names:
            labels |= {str(each) for each in table["analyzer"].unique().to_pylist() if each is not None}
    names = Counter(label.partition("/")[0] for label in labels)
    for name, versions in names.items():
        if versions > 1 and not name.startswith("hf:"):
            found = " and ".join(sorted(label for label in labels if label.partition("/")[0] == name))
            raise InputError(
                f"the counts come from different versions of an analyzer ({found}) and cannot be compared; count both "
                "tables again with the same version"
            )


def _places(
    table: pa.Table, columns: list[str], counts: npt.NDArray[np.int64], which: str
) -> dict[tuple[Any, ...], int]:
    """Return the first row of each fact.

    Raises:
        InputError: A later row of the same fact has a different count.
    """
    values = [
        [tuple(cell or ()) for cell in table[name].to_pylist()] if name in LIST_COLUMNS else table[name].to_pylist()
        for name in columns
    ]
    places: dict[tuple[Any, ...], int] = {}
    for row, key in enumerate(zip(*values, strict=True)):
        if counts[row] != counts[places.setdefault(key, row)]:
            named = dict(zip(columns, key, strict=True))
            raise InputError(
                f"the {which} table has the fact {named['subject']!r}, {named['object']!r} twice, with "
                "different counts, so it cannot be matched; give the rows a different fact_id, or remove one"
            )
    return places


def _ranks(values: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return the rank of each value; equal values share their average rank."""
    _, place, sizes = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(sizes)
    return (ends - (sizes - 1) / 2)[place]


def _rank_correlation(both: npt.NDArray[np.int64]) -> float | None:
    ranks = _ranks(both[:, 0]), _ranks(both[:, 1])
    if any(np.ptp(each) == 0 for each in ranks):
        return None
    return float(np.clip(np.corrcoef(*ranks)[0, 1], -1, 1))


def _interval(correlation: float | None, facts: int) -> tuple[float, float] | None:
    """Return the interval of Bonett and Wright (Psychometrika 65, 2000), on Fisher's scale."""
    if correlation is None or facts < 5:
        return None
    if abs(correlation) == 1:
        return correlation, correlation
    middle = math.atanh(correlation)
    half = _Z * math.sqrt((1 + correlation**2 / 2) / (facts - 3))
    return math.tanh(middle - half), math.tanh(middle + half)
