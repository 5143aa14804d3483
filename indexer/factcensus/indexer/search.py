"""Compiled search in one shard: a token sequence to its range of the suffix array.

Everything takes the files as they are mapped (uint8 arrays), of any token and entry width, so that a shard built by
infini-gram is searched by the same code.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

Array = npt.NDArray[Any]


@njit(cache=True, nogil=True, inline="always")
def _entry(table: Any, row: Any, width: Any) -> Any:
    value = np.int64(0)
    for i in range(width):
        value |= np.int64(table[row * width + i]) << (8 * i)
    return value


@njit(cache=True, nogil=True)
def _lower_bound(stream: Array, table: Array, width: int, query: Array, low: int, high: int, after: bool) -> int:
    """The first row whose suffix does not precede ``query`` (or, with ``after``, does not start with it either)."""
    while low < high:
        middle = (low + high) // 2
        at = _entry(table, middle, width)
        precedes = after  # a suffix that starts with the query
        for i in range(query.size):
            if at + i >= stream.size:
                precedes = True  # the suffix is a proper prefix of the query
                break
            byte = stream[at + i]
            if byte != query[i]:
                precedes = byte < query[i]
                break
        if precedes:
            low = middle + 1
        else:
            high = middle
    return low


@njit(cache=True, nogil=True)
def find(stream: Array, table: Array, width: int, query: Array) -> tuple[int, int]:
    """The rows [low, high) of the table whose suffixes start with the bytes ``query``."""
    rows = table.size // width
    low = _lower_bound(stream, table, width, query, 0, rows, False)
    return low, _lower_bound(stream, table, width, query, low, rows, True)


@njit(cache=True, nogil=True)
def find_all(stream: Array, table: Array, width: int, queries: Array, starts: Array, ranges: Array) -> None:
    """:func:`find` for many queries (one arena of bytes and its starts); ``ranges`` is int64 (queries, 2)."""
    for i in range(starts.size - 1):
        query = queries[starts[i] : starts[i + 1]]
        low, high = find(stream, table, width, query)
        ranges[i, 0] = low
        ranges[i, 1] = high


@njit(cache=True, nogil=True)
def positions_of(table: Array, width: int, token_bytes: int, low: int, high: int) -> Array:
    """Token positions of the rows [low, high), in table order: one sequential read."""
    positions = np.empty(high - low, np.int64)
    for i in range(positions.size):
        positions[i] = _entry(table, low + i, width) // token_bytes
    return positions


#: Positions a block of :func:`block_documents` stands for; from the block's first document a few steps are left.
BLOCK_BITS = 8


@njit(cache=True, nogil=True)
def block_documents(document_starts: Array, size: int) -> Array:
    """int32: the document that every 256th of ``size`` positions falls into (the rank structure of this shard)."""
    blocks = np.empty((size >> BLOCK_BITS) + 1, np.int32)
    document = 0
    for block in range(blocks.size):
        position = block << BLOCK_BITS
        while document + 1 < document_starts.size and document_starts[document + 1] <= position:
            document += 1
        blocks[block] = document
    return blocks


@njit(cache=True, nogil=True, inline="always")
def _document_of(position: Any, document_starts: Any, blocks: Any) -> Any:
    document = np.int64(blocks[min(position >> BLOCK_BITS, blocks.size - 1)])
    while document + 1 < document_starts.size and document_starts[document + 1] <= position:
        document += 1
    return document


@njit(cache=True, nogil=True)
def documents_of(positions: Array, document_starts: Array, blocks: Array) -> Array:
    """The document of each of many positions, in any order."""
    documents = np.empty(positions.size, np.int64)
    for i in range(positions.size):
        documents[i] = _document_of(positions[i], document_starts, blocks)
    return documents


@njit(cache=True, nogil=True)
def mark_documents(
    table: Array, width: int, token_bytes: int, low: int, high: int, document_starts: Array, blocks: Array, seen: Array
) -> int:
    """Set ``seen`` for the document of each of the rows [low, high); how many were not set before."""
    found = 0
    for row in range(low, high):
        document = _document_of(_entry(table, row, width) // token_bytes, document_starts, blocks)
        if not seen[document]:
            seen[document] = True
            found += 1
    return found


@njit(cache=True, nogil=True)
def first_disorder(stream: Array, table: Array, width: int, rows: Array, most_bytes: int) -> Any:
    """The first of ``rows`` whose suffix does not strictly precede that of the next row; -1 when all do.

    Suffixes that agree in ``most_bytes`` pass: copies of a document would take the square of its length otherwise.
    """
    for i in range(rows.size):
        left = _entry(table, rows[i], width)
        right = _entry(table, rows[i] + 1, width)
        if left >= stream.size or right >= stream.size or left == right:
            return rows[i]
        stop = min(stream.size, max(left, right) + most_bytes)
        while left < stop and right < stop and stream[left] == stream[right]:
            left += 1
            right += 1
        if stop < stream.size and (left == stop or right == stop):
            continue
        if right == stream.size or (left < stream.size and stream[left] > stream[right]):
            return rows[i]
    return -1
