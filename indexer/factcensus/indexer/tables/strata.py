"""Frequency strata: facts binned by a count, with equal counts always in the same bin."""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import Decimal
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from factcensus.indexer.errors import InputError
from factcensus.indexer.names import suggestion
from factcensus.indexer.numbers import whole_cell, whole_number
from factcensus.indexer.tables.added import check_one_analyzer, without_strata
from factcensus.indexer.tables.arrow import ArrowTable
from factcensus.indexer.tables.facts import Facts, as_counts
from factcensus.indexer.tables.grouped import grouped_counts


def stratify(table: Facts, by: str = "cooccurrence_documents", bins: str = "quantile:3") -> ArrowTable:
    """Add the stratum of each row, determined by the count in one column.

    Args:
        table: A counts table: a path, records, or a pandas, polars or Arrow table.
        by: The column, with non-negative integers; or a column and a group, as ``cooccurrence_documents@wikipedia``.
        bins: ``quantile:K`` – K bins of nearly equal size, which ties may make unequal or fewer; ``log10`` – 0, 1 to 9,
            10 to 99, …; ``edges:A,B,…`` – below A, from A to below B, …

    Returns:
        The table with ``stratum`` (0 = rarest), ``stratum_label``, ``stratum_low`` and ``stratum_high`` (inclusive;
        null if open-ended). Bounds of quantiles are counts in the table; the other bins have fixed bounds.

    Raises:
        InputError: The column does not exist, a value is not a count, the bins are invalid, the counts come from
            different analyzers, or the user's table has columns that stratifying adds.
    """
    strata: pa.Table = without_strata(as_counts(table))
    check_one_analyzer(strata)
    counts = counts_of(strata, by)
    bounds = _bounds(counts, bins)
    lows = np.array([low for low, _ in bounds])
    stratum = np.searchsorted(lows, counts, side="right") - 1
    labels = [_label(low, high) for low, high in bounds]
    columns: dict[str, Any] = {
        "stratum": pa.array(stratum, pa.int64()),
        "stratum_label": pa.array([labels[s] for s in stratum]),
        "stratum_low": pa.array([bounds[s][0] for s in stratum], pa.int64()),
        "stratum_high": pa.array([bounds[s][1] for s in stratum], pa.int64()),
    }
    for name, values in columns.items():
        strata = strata.append_column(name, values)
    return strata


Bounds = list[tuple[int, int | None]]


def check_bins(bins: str) -> None:
    """Check the text of bins before counting starts.

    Raises:
        InputError: The bins are invalid.
    """
    _bounds(np.zeros(1, np.int64), bins)


def _bounds(counts: npt.NDArray[np.int64], bins: str) -> Bounds:
    kind, _, argument = bins.partition(":")
    numbers = _positive(argument)
    if kind == "quantile" and len(numbers) == 1:
        return _quantile_bounds(counts, numbers[0])
    if kind == "edges" and numbers and all(low < high for low, high in pairwise(numbers)):
        return _edge_bounds(numbers)
    if bins == "log10":
        digits = len(str(int(counts.max())))
        edges = [10**power for power in range(digits)]
        return _edge_bounds(edges)
    raise InputError(f"invalid bins {bins!r}; give quantile:K, log10 or edges:A,B,… (ascending, from 1)")


def _positive(argument: str) -> list[int]:
    """Return the positive integers of a comma-separated list; empty if it contains anything else."""
    try:
        return [whole_number(number.strip(), least=1) for number in argument.split(",")]
    except ValueError:
        return []


def _edge_bounds(edges: Sequence[int]) -> Bounds:
    bounds: Bounds = [(low, high - 1) for low, high in pairwise([0, *edges])]
    return [*bounds, (edges[-1], None)]


def _quantile_bounds(counts: npt.NDArray[np.int64], bins: int) -> Bounds:
    """Return bounds whose cumulative sizes are as close to equal shares as ties allow."""
    values, sizes = np.unique(counts, return_counts=True)
    reached = np.cumsum(sizes)
    bins = min(bins, len(counts))  # more bins make no difference: every count may already end a bin
    wanted = len(counts) * np.arange(1, bins) / bins
    # The last value of each bin is the one whose cumulative share is closest to the wanted share.
    cuts = {int(np.abs(reached - share).argmin()) for share in wanted} - {len(values) - 1}
    firsts = [0, *(cut + 1 for cut in sorted(cuts))]
    lasts = [*(first - 1 for first in firsts[1:]), len(values) - 1]
    return [(int(values[first]), int(values[last])) for first, last in zip(firsts, lasts, strict=True)]


def _label(low: int, high: int | None) -> str:
    if high is None:
        return f"{low:,}+"
    return f"{low:,}" if low == high else f"{low:,}–{high:,}"


def counts_of(table: pa.Table, by: str) -> npt.NDArray[np.int64]:
    """Return int64 (rows,), the counts in one column, or of one group in it (``cooccurrence_documents@wikipedia``).

    Raises:
        InputError: The column does not exist, a value is not a count, or the table has no rows.
    """
    values = grouped_counts(table, by)
    if values is None and by not in table.column_names:
        raise InputError(f"no column {by!r} of counts{suggestion(by, table.column_names)}")
    counts = []
    for row, value in enumerate(table[by].to_pylist() if values is None else values, 1):
        count = _count(value)
        if count is None:
            raise InputError(f"row {row}: {by} must be an integer of at least 0, got {value!r}")
        counts.append(count)
    if not counts:
        raise InputError("the table has no rows; add at least one fact")
    return np.array(counts, np.int64)


def _count(value: Any) -> int | None:
    """Convert an integer, a whole float, or the text of either, such as ``12.0``, to a count.

    Returns:
        None for any other value, such as true, false, ``1_000`` or ``007``.
    """
    if isinstance(value, (float, Decimal)):
        value = int(value) if math.isfinite(value) and value == int(value) else None
    elif isinstance(value, str):
        try:
            value = whole_cell(value.strip())
        except ValueError:
            return None
    is_count = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 63
    return value if is_count else None
