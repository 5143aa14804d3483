"""``frequent.N``: precomputed occurrences and documents of the frequent n-grams of a shard.

The suffix array gives the number of occurrences of an n-gram at once, but counting its documents requires a visit to
every occurrence. For frequent n-grams, this is done when the index is built. Then no count is slow: the range of an
n-gram is either in this table or short.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from factcensus.indexer.arrays import Array
from factcensus.indexer.kernels.compiled import compiled
from factcensus.indexer.kernels.search import Rows, document_of, entry, position_of

if TYPE_CHECKING:
    from factcensus.indexer.storage.suffix_shard import SuffixArrayShard

#: N-grams that occur more often than this are counted in advance, up to a maximum number of tokens.
FREQUENT = 1024
LONGEST = 8


def count_frequent(
    shard: SuffixArrayShard, living: npt.NDArray[np.bool_] | None, distinct: npt.NDArray[np.bool_] | None
) -> npt.NDArray[np.uint32]:
    """Return the table of one shard.

    Args:
        shard: The open shard.
        living: bool (documents,), False for deleted documents; None if there are none.
        distinct: bool (documents,), False for deleted and repeated documents; None if there are none.

    Returns:
        uint32 (n-grams, 6): the range [low, high) of the suffix array, in order of (low, high); occurrences and
        documents without deleted documents; both numbers without repeated documents as well.
    """
    everything = np.zeros(0, np.bool_)
    most = LONGEST * (shard.size // FREQUENT + 1)
    rows = np.empty((most, 6), np.uint32)
    count = _count_frequent(
        shard.stream,
        shard.suffix_rows,
        everything if living is None else living,
        everything if distinct is None else distinct,
        np.zeros(shard.documents, np.uint32),
        np.empty((most, 3), np.int64),
        rows,
        FREQUENT,
    )
    rows = rows[:count]
    return np.ascontiguousarray(rows[np.lexsort((rows[:, 1], rows[:, 0]))])


@compiled()
def _token(stream: Array, token_bytes: int, at: int) -> Any:
    """Return the token at a byte offset; -1 at the end of the stream and for separators, which end n-grams."""
    if at + token_bytes > stream.size:
        return np.int64(-1)
    token = np.int64(0)
    for i in range(token_bytes):
        token |= np.int64(stream[at + i]) << (8 * i)
    return np.int64(-1) if token == (np.int64(1) << (8 * token_bytes)) - 1 else token


@compiled()
def _count_frequent(  # noqa: C901 - compiled: one loop that keeps its state in local variables
    stream: Array, suffixes: Rows, living: Array, distinct: Array, stamps: Array, stack: Array, rows: Array, least: int
) -> int:
    """Fill ``rows``: split the whole table again and again by the next token, keeping ranges over ``least`` rows."""
    table, width, token_bytes = suffixes.table, suffixes.width, suffixes.token_bytes
    count = 0
    stack[0, 0], stack[0, 1], stack[0, 2] = 0, table.size // width, 0
    top = 1
    while top > 0:
        top -= 1
        low, high, depth = stack[top, 0], stack[top, 1], stack[top, 2]
        parent = low
        behind = depth * token_bytes
        probe = low + least
        while probe < high:  # a run of more than ``least`` rows contains one of these rows
            token = _token(stream, token_bytes, entry(table, probe, width) + behind)
            if token < 0:
                probe += least
                continue
            first, last = low, probe
            while first < last:
                middle = (first + last) // 2
                if _token(stream, token_bytes, entry(table, middle, width) + behind) == token:
                    last = middle
                else:
                    first = middle + 1
            begin = first
            first, last = probe, high
            while first < last:
                middle = (first + last) // 2
                if _token(stream, token_bytes, entry(table, middle, width) + behind) == token:
                    first = middle + 1
                else:
                    last = middle
            end = first
            if end - begin > least:
                if depth == 0 or begin > parent or end < high:
                    stamp = np.uint32(2 * count + 1)
                    _count_range(suffixes, begin, end, living, distinct, stamps, stamp, rows[count])
                    count += 1
                if depth + 1 < LONGEST:
                    stack[top, 0], stack[top, 1], stack[top, 2] = begin, end, depth + 1
                    top += 1
            low = end  # no run extends beyond its end
            probe = max(probe + least, end + least)
    return count


@compiled()
def _count_range(
    suffixes: Rows, low: int, high: int, living: Array, distinct: Array, stamps: Array, stamp: Any, row: Array
) -> None:
    """Fill one row of the table with exact counts; documents are marked with ``stamp``."""
    occurrences, documents, distinct_occurrences, distinct_documents = 0, 0, 0, 0
    for i in range(low, high):
        document = document_of(suffixes, position_of(suffixes, i))
        if living.size and not living[document]:
            continue
        new = stamps[document] != stamp
        stamps[document] = stamp
        occurrences += 1
        documents += new
        if distinct.size and not distinct[document]:
            continue
        distinct_occurrences += 1
        distinct_documents += new
    row[0], row[1], row[2], row[3] = low, high, occurrences, documents
    row[4], row[5] = distinct_occurrences, distinct_documents
