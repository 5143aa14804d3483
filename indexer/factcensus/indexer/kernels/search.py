"""Compiled search in one shard, from a token sequence to its range in the suffix array.

All functions work on the mapped files with any token and entry width, so the same code searches shards built by
infini-gram.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from factcensus.indexer.arrays import Array
from factcensus.indexer.kernels.compiled import compiled
from factcensus.indexer.storage.layout import STEP_BITS


class SuffixArray(NamedTuple):
    """The text of one shard and its suffix array, as compiled code searches them.

    Attributes:
        stream: ``tokenized.N`` as uint8.
        table: ``table.N``, ``width`` elements per entry (see :func:`entry`).
        width: Elements per entry.
        token_bytes: Bytes of a token id: 1, 2 or 4.
        first: ``first.N``, or of size 0 without one; it saves about the first ten steps of a search.
        types: Number of token ids covered by ``first``; larger ids do not occur in the shard.
    """

    stream: Array
    table: Array
    width: int
    token_bytes: int
    first: Array
    types: int


class Rows(NamedTuple):
    """The rows of one suffix array, and the arrays for finding the document of a row.

    Attributes:
        table: See :class:`SuffixArray`, also for ``width`` and ``token_bytes``.
        document_starts: int64 (documents,): the separator of each document, as a byte offset like the entries; mapped,
            so that it takes no memory. With ``token_bytes`` 1, these are positions.
        blocks: int32: rank structure over the positions (:func:`block_documents`).
        size: Number of tokens of the shard, including separators.
        block_bits: Logarithm of the number of positions per block (:func:`block_bits`).
    """

    table: Array
    width: int
    token_bytes: int
    document_starts: Array
    blocks: Array
    size: int
    block_bits: int = 8


@compiled(inline="always")
def entry(table: Any, row: Any, width: Any) -> Any:
    """Return the byte offset in a row of the suffix array; an entry has ``width`` elements, the lowest first."""
    value = np.int64(0)
    for i in range(width):
        value |= np.int64(table[row * width + i]) << (8 * i)
    return value


@compiled(inline="always")
def first_eight(content: Any, begin: Any, end: Any) -> Any:
    """Return the first eight bytes of ``content[begin:end]``, padded with zeros, as a number that sorts like them.

    A range outside of ``content``, which a damaged file may give, returns any number.
    """
    number = np.uint64(0)
    if begin < 0 or begin + 8 > content.size:
        begin = max(0, begin)
        for i in range(begin, begin + 8):
            byte = np.uint64(content[i]) if i < min(end, content.size) else np.uint64(0)
            number = number << np.uint64(8) | byte
        return number
    # Without branches, so that the next calls need not wait for this one; unsigned, because Numba checks other signs.
    for i in range(8):
        number = number << np.uint64(8) | np.uint64(content[np.uint64(begin) + np.uint64(i)])
    missing = np.uint64(max(0, 8 - (end - begin)) * 8 & 63)
    return number >> missing << missing if end > begin else np.uint64(0)


@compiled()
def _side(stream: Array, at: Any, query: Array) -> Any:
    """Compare the suffix at an offset with ``query``: -1 if smaller, 0 if it starts with ``query``, 1 if larger."""
    for i in range(query.size):
        if at + i >= stream.size:
            return -1  # a proper prefix of the query
        if stream[at + i] != query[i]:
            return -1 if stream[at + i] < query[i] else 1
    return 0


@compiled()
def _bound(stream: Array, table: Array, width: int, query: Array, low: Any, high: Any, behind: int) -> Any:
    """Return the first row in [low, high] not below ``query``; with ``behind`` = 1, the first after its matches."""
    while low < high:
        middle = (low + high) // 2
        if _side(stream, entry(table, middle, width), query) < behind:
            low = middle + 1
        else:
            high = middle
    return low


@compiled()
def byte_order_rank(token_id: Any, types: Any, token_bytes: Any) -> Any:
    """Return how many of the ids 0 … types - 1 precede an id when compared as little-endian bytes."""
    rank: Any = 0
    below: Any = np.int64(1)  # 256 ** i, the distance between ids that agree in the previous bytes
    same = np.int64(0)  # the value of the previous bytes
    for i in range(token_bytes):
        byte = (token_id >> (8 * i)) & 0xFF
        # Of the ids with the same previous bytes, same + below * q, those with a smaller q % 256 come first.
        alike = max(np.int64(0), (types - same + below - 1) // below)
        rank += alike // 256 * byte + min(alike % 256, byte)
        same += below * byte
        below *= 256
    return rank


@compiled()
def _rows_of_first(suffixes: SuffixArray, query: Array, low: Any, high: Any) -> Any:
    """Return the rows in [low, high) to which ``first`` narrows a query."""
    if suffixes.first.size and query.size >= suffixes.token_bytes:
        token_id = np.int64(0)
        for i in range(suffixes.token_bytes):
            token_id |= np.int64(query[i]) << (8 * i)
        if token_id >= suffixes.types:
            return low, low
        bits = STEP_BITS  # the size of ``first`` shows how many types an entry stands for (layout.first_step_bits)
        while (suffixes.types + (np.int64(1) << bits) >> bits) + 1 > suffixes.first.size:
            bits += 1
        group = byte_order_rank(token_id, suffixes.types, suffixes.token_bytes) >> bits
        low, high = max(low, np.int64(suffixes.first[group])), min(high, np.int64(suffixes.first[group + 1]))
        high = max(low, high)
    return low, high


@compiled()
def find(suffixes: SuffixArray, query: Array) -> tuple[int, int]:
    """Return the rows [low, high) of the table whose suffixes start with the bytes ``query`` (uint8)."""
    stream, table, width = suffixes.stream, suffixes.table, suffixes.width
    low, high = _rows_of_first(suffixes, query, np.int64(0), np.int64(table.size // width))
    low = _bound(stream, table, width, query, low, high, 0)
    # Most queries have few rows or none, so the end is searched from the beginning, in doubling steps.
    step = 1
    while low + step - 1 < high and _side(stream, entry(table, low + step - 1, width), query) == 0:
        step *= 2
    return low, _bound(stream, table, width, query, low + step // 2, min(high, low + step - 1), 1)


#: Number of interleaved searches. Each step waits for memory, so interleaving makes these waits overlap.
SIDE_BY_SIDE = 32
_BEGIN, _DOUBLE, _END, _DONE = 0, 1, 2, 3


@compiled()
def find_all(suffixes: SuffixArray, queries: Array, starts: Array, order: Array, ranges: Array) -> None:  # noqa: C901, PLR0912, PLR0915 - compiled: one loop that keeps its state in local variables
    """Run :func:`find` for many queries (concatenated bytes and their starts) and fill ``ranges``, int64 (queries, 2).

    Args:
        order: The order of the searches. If consecutive queries are close in the table, the cache works better.

    An empty query has an empty range.
    """
    stream, table, width = suffixes.stream, suffixes.table, suffixes.width
    rows = table.size // width
    stage, row, at = np.empty((3, SIDE_BY_SIDE), np.int64)
    low, high, limit, step = np.empty((4, SIDE_BY_SIDE), np.int64)
    head, wanted = np.empty((2, SIDE_BY_SIDE), np.int64)  # the first byte of the suffix and of the query
    for block in range(0, order.size, SIDE_BY_SIDE):
        chosen = order[block : block + SIDE_BY_SIDE]
        waiting = 0
        for k in range(chosen.size):
            query = queries[starts[chosen[k]] : starts[chosen[k] + 1]]
            low[k], limit[k] = _rows_of_first(suffixes, query, 0, rows if query.size else 0)
            high[k], stage[k] = limit[k], _BEGIN
            if low[k] == limit[k]:
                ranges[chosen[k]] = low[k]
                stage[k] = _DONE
            else:
                wanted[k] = query[0]
                waiting += 1
        while waiting:
            for k in range(chosen.size):
                if stage[k] == _DOUBLE:
                    row[k] = low[k] + step[k] - 1
                elif stage[k] != _DONE:
                    row[k] = (low[k] + high[k]) // 2
                else:
                    continue
                at[k] = entry(table, row[k], width)
            for k in range(chosen.size):
                if stage[k] != _DONE:
                    head[k] = stream[min(at[k], stream.size - 1)]
            for k in range(chosen.size):
                if stage[k] == _DONE:
                    continue
                i = chosen[k]
                side = -1 if head[k] < wanted[k] else 1
                if head[k] == wanted[k]:
                    side = _side(stream, at[k], queries[starts[i] : starts[i + 1]])
                if stage[k] == _DOUBLE:
                    if side == 0:
                        step[k] *= 2
                    if side != 0 or low[k] + step[k] - 1 >= limit[k]:
                        high[k] = min(limit[k], low[k] + step[k] - 1)
                        low[k] += step[k] // 2
                        stage[k] = _END
                elif side < (stage[k] == _END):
                    low[k] = row[k] + 1
                else:
                    high[k] = row[k]
                if low[k] == high[k] and stage[k] == _BEGIN:
                    ranges[i] = low[k]
                    stage[k], step[k] = _DOUBLE, 1
                if (stage[k] == _END and low[k] == high[k]) or (stage[k] == _DOUBLE and low[k] == limit[k]):
                    ranges[i, 1] = low[k]
                    stage[k] = _DONE
                    waiting -= 1


@compiled()
def positions_of(table: Array, width: int, token_bytes: int, low: int, high: int) -> Array:
    """Return the token positions of the rows [low, high) in table order, by one sequential read."""
    positions = np.empty(high - low, np.int64)
    for i in range(positions.size):
        positions[i] = entry(table, low + i, width) >> (token_bytes >> 1)
    return positions


@compiled()
def positions_between(rows: Rows, low: int, high: int, begin: int, end: int) -> Array:
    """Return the positions in [begin, end) of the rows [low, high), as distances from ``begin``, in table order."""
    count = 0
    for row in range(low, high):
        count += begin <= position_of(rows, row) < end
    found = np.empty(count, np.int64)
    count = 0
    for row in range(low, high):
        position = position_of(rows, row)
        if begin <= position < end:
            found[count] = position - begin
            count += 1
    return found


#: Logarithm of the least number of positions per block of :func:`block_documents`.
BLOCK_BITS = 8
#: A shard has at most this many blocks, or one per this many documents, so that memory does not grow with its size.
MOST_BLOCKS, DOCUMENTS_PER_BLOCK = 1 << 21, 4
#: Maximum number of documents in a block that are visited one by one.
_VISITED = 8


def block_bits(size: int, documents: int) -> int:
    """Return the logarithm of the number of positions per block of a shard."""
    bits = BLOCK_BITS
    while size >> bits > max(MOST_BLOCKS, documents // DOCUMENTS_PER_BLOCK):
        bits += 1
    return bits


@compiled()
def block_documents(document_starts: Array, size: int, bits: int = BLOCK_BITS, shift: int = 0) -> Array:
    """Return int32, the document at the beginning of each block of ``size`` positions (the rank structure of a shard).

    Args:
        document_starts: int64 (documents,): the separator of each document, as a position shifted left by ``shift``.
        size: Number of positions.
        bits: Logarithm of the number of positions per block.
        shift: See ``document_starts``.
    """
    blocks = np.empty((size >> bits) + 1, np.int32)
    document = 0
    for block in range(blocks.size):
        offset = np.int64(block) << bits << shift
        while document + 1 < document_starts.size and document_starts[document + 1] <= offset:
            document += 1
        blocks[block] = document
    return blocks


@compiled()
def ascends(document_starts: Array) -> bool:
    """Return whether every number is greater than the one before."""
    for document in range(1, document_starts.size):  # noqa: SIM110 - compiled
        if document_starts[document] <= document_starts[document - 1]:
            return False
    return True


@compiled(inline="always")
def position_of(rows: Any, row: Any) -> Any:
    """Return the token position of a row."""
    return entry(rows.table, row, rows.width) >> (rows.token_bytes >> 1)


@compiled(inline="always")
def document_of(rows: Any, position: Any) -> Any:
    """Return the document that contains a position."""
    block = min(position >> rows.block_bits, rows.blocks.size - 1)
    document = np.int64(rows.blocks[block])
    offset = position << (rows.token_bytes >> 1)
    if rows.block_bits > BLOCK_BITS:  # a large shard, in which a block may have many documents
        last = np.int64(rows.blocks[block + 1]) if block + 1 < rows.blocks.size else rows.document_starts.size - 1
        while last - document > _VISITED:
            middle = (document + last) // 2
            if rows.document_starts[middle] <= offset:
                document = middle
            else:
                last = middle
    while document + 1 < rows.document_starts.size and rows.document_starts[document + 1] <= offset:
        document += 1
    return document


#: Number of rows whose documents are found together.
CHUNK = 256


@compiled()
def documents_of_rows(rows: Rows, low: Any, high: Any, documents: Array) -> None:
    """Write the document of each of the rows [low, high), at most :data:`CHUNK`, to ``documents``, int64.

    Every step waits for memory, so each is done for all rows before the next, and the waits overlap.
    """
    last_block, last_document = rows.blocks.size - 1, rows.document_starts.size - 1
    if rows.block_bits > BLOCK_BITS:
        for i in range(high - low):
            documents[i] = document_of(rows, position_of(rows, low + i))
        return
    for i in range(high - low):
        documents[i] = position_of(rows, low + i) >> BLOCK_BITS
    for i in range(high - low):
        documents[i] = rows.blocks[min(documents[i], last_block)]
    for i in range(high - low):  # most blocks have at most one start of a document
        offset = position_of(rows, low + i) << (rows.token_bytes >> 1)
        following = documents[i] + 1
        if following <= last_document and rows.document_starts[following] <= offset:
            while following < last_document and rows.document_starts[following + 1] <= offset:
                following += 1
            documents[i] = following


@compiled(inline="always")
def document_start(rows: Any, document: Any) -> Any:
    """Return the position of the separator of a document."""
    return rows.document_starts[document] >> (rows.token_bytes >> 1)


@compiled(inline="always")
def document_end(rows: Any, document: Any) -> Any:
    """Return the position after the last token of a document."""
    return document_start(rows, document + 1) if document + 1 < rows.document_starts.size else rows.size


@compiled()
def documents_of(rows: Rows, positions: Array) -> Array:
    """Return the document of each position, int64; positions may be in any order."""
    documents = np.empty(positions.size, np.int64)
    for i in range(positions.size):
        documents[i] = document_of(rows, positions[i])
    return documents


@compiled()
def first_disorder(stream: Array, table: Array, width: int, rows: Array, most_bytes: int) -> Any:
    """Return the first of ``rows`` whose suffix does not strictly precede the next one; -1 if all do.

    Suffixes that agree in ``most_bytes`` pass; otherwise copies of a document would take time quadratic in its length.
    """
    for i in range(rows.size):
        left = entry(table, rows[i], width)
        right = entry(table, rows[i] + 1, width)
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


@compiled()
def first_wrong_row(stream: Array, table: Array, width: int, token_bytes: int, row_of: Array) -> Any:
    """Return the first row of the table in the wrong place; -1 proves in one pass that the whole table is right.

    A table with every position exactly once is sorted if this holds for every row: either its first token is smaller
    than that of the next row, or both are equal and the suffix after this token precedes, according to the table, the
    suffix after the other.

    Args:
        stream: ``tokenized.N`` as uint8; for the other arguments, see :class:`SuffixArray`.
        row_of: uint32 or uint64 (rows + 1,), scratch.
    """
    rows = table.size // width
    row_of[:] = 0
    row_of[:] = ~row_of[0]
    unseen = row_of[0]
    for row in range(rows):
        at = entry(table, row, width)
        if at >= stream.size or at % token_bytes or row_of[at // token_bytes] != unseen:
            return row
        row_of[at // token_bytes] = row
    for row in range(rows - 1):
        left, right = entry(table, row, width), entry(table, row + 1, width)
        i = 0
        while i < token_bytes and stream[left + i] == stream[right + i]:
            i += 1
        if i < token_bytes:
            if stream[left + i] > stream[right + i]:
                return row
        elif right + i == stream.size or (
            left + i < stream.size and row_of[(left + i) // token_bytes] > row_of[(right + i) // token_bytes]
        ):
            return row
    return -1
