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


@njit(cache=True, nogil=True)
def documents_of(positions: Array, document_starts: Array) -> Array:
    """The document of each of many sorted positions, by one merge; ``document_starts`` are separators' positions."""
    documents = np.empty(positions.size, np.int64)
    document = -1
    last = document_starts.size - 1
    for i in range(positions.size):
        position = positions[i]
        if document < last and document_starts[document + 1] <= position:
            # Gallop, so that few positions in many documents stay cheap.
            step = 1
            low = document + 1
            while low + step <= last and document_starts[low + step] <= position:
                low += step
                step *= 2
            high = min(last + 1, low + step)
            while low + 1 < high:
                middle = (low + high) // 2
                if document_starts[middle] <= position:
                    low = middle
                else:
                    high = middle
            document = low
        documents[i] = document
    return documents


@njit(cache=True, nogil=True)
def first_disorder(stream: Array, table: Array, width: int, rows: Array) -> Any:
    """The first of ``rows`` whose suffix does not strictly precede that of the next row; -1 when all do."""
    for i in range(rows.size):
        left = _entry(table, rows[i], width)
        right = _entry(table, rows[i] + 1, width)
        if left >= stream.size or right >= stream.size or left == right:
            return rows[i]
        while left < stream.size and right < stream.size and stream[left] == stream[right]:
            left += 1
            right += 1
        if right == stream.size or (left < stream.size and stream[left] > stream[right]):
            return rows[i]
    return -1
