"""The compiled scanner of the ``words`` analyzers, which finds the words of a UTF-8 text in two passes.

:func:`find_runs` folds ASCII and finds the *runs*, which are the ranges between ASCII separators. Its loops have no
branches: an edge is written at every byte, and overwritten by the next byte unless it was one. :func:`scan_runs` splits
runs into words. A run of ASCII letters and digits (99% of English text) is already a word. All other runs are looked
up code point by code point in the tables of :mod:`unicode_tables`, and their words are written after the text.

Around an unsafe code point, the scanner reports a *span*, which Python analyses exactly. It reaches from the word or
character before the code point to the next one that does not depend on the text before it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from factcensus.indexer.analyzers.unicode_tables import (
    BREAK,
    DROP,
    JOINER,
    ROW_SHIFT,
    SINGLE,
    UNSAFE,
    WORD,
    ScannerTables,
)
from factcensus.indexer.analyzers.word_table import low_bytes, position_dtype
from factcensus.indexer.arrays import EIGHT, Array, eights
from factcensus.indexer.kernels.compiled import compiled

_KIND = (1 << ROW_SHIFT) - 1
# The same bit in each of eight bytes.
_BIT_7 = np.uint64(0x8080808080808080)
_BIT_6 = np.uint64(0x4040404040404040)
_FROM_4_TO_6 = np.uint64(2)
_NONE = np.uint64(0)


class Window(NamedTuple):
    """A buffer for a section of text and the words found in it, reused for one section after another.

    Attributes:
        folded: uint8; the text with ASCII folded, a break, and from 8 bytes after it the words that had to be built.
        eight: ``folded`` by :func:`word_table.eights`.
        in_run: uint8; whether each byte of the text, and the break, is in a run.
        edges: int32 (int64 for huge windows); begin and end of each run.
        places: int32, likewise; the start of each word in ``folded``.
        sizes: int32, likewise; the number of bytes of each word.
        spans: int64 (rows, 4): for each span left to Python its begin byte, end byte, previous words and document.
    """

    folded: Array
    eight: Array
    in_run: Array
    edges: Array
    places: Array
    sizes: Array
    spans: Array


def new_window(size: int) -> Window:
    """Return a window for texts of up to ``size`` bytes; unused memory pages are not touched."""
    # A replacement is at most three times as long as the original.
    folded = np.empty(4 * size + 3 * EIGHT, np.uint8)
    dtype = position_dtype(folded.size)
    words = size // 2 + 1
    return Window(
        folded,
        eights(folded),
        in_run=np.empty(size + 1, np.uint8),
        edges=np.empty(size + 2, dtype),
        places=np.empty(words, dtype),
        sizes=np.empty(words, dtype),
        spans=np.empty((words, 4), np.int64),
    )


@compiled()
def join_lines(content: Array, starts: Array, text: Array) -> None:
    """Copy texts to ``text`` with a line feed after each, because words end between texts; see :func:`bytes_of`."""
    for document in range(starts.size - 1):
        begin, end = starts[document], starts[document + 1]
        text[begin + document : end + document] = content[begin:end]
        text[end + document] = 10


@compiled()
def find_runs(text: Array, case_bit: int, window: Window) -> int:
    """Find the runs of a text, fold its ASCII capitals by setting ``case_bit``, and return the number of runs.

    A run consists of ASCII letters, digits, + and #, and all non-ASCII characters.
    """
    size = text.size
    _classify(text, case_bit, window.folded, window.in_run)
    window.folded[size] = 0
    window.in_run[size] = 0
    return _find_edges(window.in_run, size + 1, window.edges) // 2


@compiled()
def _classify(text: Array, case_bit: int, folded: Array, in_run: Array) -> None:
    # Only 8-bit arithmetic and no table, so that the compiler can vectorise it: 0.1 ns per byte.
    fold = np.uint8(case_bit)
    for i in range(text.size):
        byte = text[i]
        lower = byte | np.uint8(0x20)
        letter = (lower >= np.uint8(97)) & (lower <= np.uint8(122))
        digit = (byte >= np.uint8(48)) & (byte <= np.uint8(57))
        sign = (byte == np.uint8(35)) | (byte == np.uint8(43))
        in_run[i] = letter | digit | sign | (byte >= np.uint8(128))
        folded[i] = byte | (fold if letter else np.uint8(0))


@compiled()
def _find_edges(in_run: Array, size: int, edges: Array) -> int:
    count = 0
    previous = np.uint8(0)
    for i in range(size):
        edges[count] = i
        count += in_run[i] ^ previous
        previous = in_run[i]
    return count


@compiled()
def scan_runs(
    window: Window,
    size: int,
    runs: int,
    tables: ScannerTables,
    offset: int,
    document_ends: Array,
    document: int,
    lengths: Array,
) -> tuple[int, int, int]:
    """Find the words of a window with known runs.

    Args:
        window: A window processed by :func:`find_runs`.
        size: Number of bytes of its text.
        runs: Number of runs.
        tables: The tables of the analyzer.
        offset: The start of the window in the text to which ``document_ends`` refers.
        document_ends: int64 (documents,), ascending; at least one byte is between two documents.
        document: The document of the first run, or an earlier one.
        lengths: int64 (documents,); the number of words of each document is added.

    Returns:
        The number of words, the number of spans (whose words are missing), and an upper bound for the bytes of all
        words.
    """
    edges, eight, places, sizes = window.edges, window.eight, window.places, window.sizes
    tail = size + EIGHT
    # Not a plain 0, which has a different type, for which _scan_run would be compiled again.
    count: Any = np.int64(0)
    span_count: Any = np.int64(0)
    for run in range(runs):
        begin: Any = np.int64(edges[2 * run])
        end: Any = np.int64(edges[2 * run + 1])
        while begin + offset >= document_ends[document]:
            document += 1
        before = count
        if _is_plain(eight, begin, end):
            places[count] = begin
            sizes[count] = end - begin
            count += 1
        else:
            count, span_count, tail = _scan_run(window, begin, end, tables, document, count, span_count, tail)
        lengths[document] += count - before
    return count, span_count, tail


@compiled()
def _is_plain(eight: Array, begin: int, end: int) -> bool:
    """Return whether a run has only ASCII letters and digits: bit 6 or 4 is set, unlike in + and #, but not bit 7."""
    while begin < end:
        byte = eight[begin]
        if (byte & _BIT_7 | ~(byte | byte << _FROM_4_TO_6) & _BIT_6) & low_bytes(end - begin) != _NONE:
            return False
        begin += EIGHT
    return True


@compiled()
def _scan_run(  # noqa: C901, PLR0912, PLR0915 - compiled: one loop that keeps its state in local variables
    window: Window, begin: int, end: int, tables: ScannerTables, document: int, count: int, span_count: int, tail: int
) -> tuple[int, int, int]:
    """Split any run and return the new number of words, number of spans, and end of the built words."""
    folded, eight, places, sizes, spans = window.folded, window.eight, window.places, window.sizes, window.spans
    length = 0  # bytes of the pending word, which is built at ``tail``
    joined = 0  # bytes of the following + and #, which may belong to the word
    # The word or character that a combining mark would modify. Outside runs, only < = > can be modified in ASCII.
    unit = begin - 1 if begin > 0 and 60 <= folded[begin - 1] <= 62 else begin
    unit_count = count
    span = -1  # the start of the span
    position = begin
    while position <= end:  # the break after the run ends the pending word
        here = position
        code_point, size = _code_point(folded, position)
        position += size
        action = np.int64(tables.action[code_point])
        what, row = action & _KIND, action >> ROW_SHIFT
        if what == DROP:
            continue
        if what == UNSAFE and span < 0:
            span, count = unit, unit_count
            length = joined = 0
        if span >= 0:
            if what not in (BREAK, SINGLE):
                continue
            spans[span_count, 0] = span
            spans[span_count, 1] = here
            spans[span_count, 2] = count
            spans[span_count, 3] = document
            span_count += 1
            span = -1
        if length > 0 and what != JOINER and (joined > 0 or what != WORD):
            # The pending word ends here. Following + and # belong to it, unless a word continues after them.
            places[count] = tail
            sizes[count] = length if what == WORD else length + joined
            count += 1
            tail += length + joined
            length = joined = 0
        if length == 0:
            unit, unit_count = here, count
        if what == BREAK or (what == JOINER and length == 0):
            continue
        at = tail + length + joined
        if row == 0:
            eight[at] = eight[here]
        else:
            eight[at] = tables.replacement[row]
            size = tables.replacement_size[row]
        if what == WORD:
            length += size
        elif what == JOINER:
            joined += size
        else:
            places[count] = tail
            sizes[count] = size
            count += 1
            tail += size
    return count, span_count, tail


@compiled()
def _code_point(text: Array, position: int) -> tuple[Any, Any]:
    """Return the code point at a position of UTF-8, and its number of bytes."""
    byte = np.int64(text[position])
    if byte < 0x80:
        return byte, 1
    code_point = np.int64(text[position + 1] & 0x3F)
    if byte < 0xE0:
        return (byte & 0x1F) << 6 | code_point, 2
    code_point = code_point << 6 | np.int64(text[position + 2] & 0x3F)
    if byte < 0xF0:
        return (byte & 0x0F) << 12 | code_point, 3
    return (byte & 0x07) << 18 | code_point << 6 | np.int64(text[position + 3] & 0x3F), 4


@compiled()
def insert_spans(ids: Array, spans: Array, counts: Array, span_ids: Array, lengths: Array) -> Array:
    """Merge the ids of the words and of the spans of a window, and add the number of span ids to ``lengths``.

    Args:
        ids: uint32 (words,).
        spans: (spans, 4), see :class:`Window`.
        counts: int64 (spans,): the number of ids of each span.
        span_ids: uint32: the concatenated ids of all spans.
        lengths: int64 (documents,).
    """
    result = np.empty(ids.size + span_ids.size, np.uint32)
    copied = inserted = 0
    for span in range(counts.size):
        while copied < spans[span, 2]:
            result[copied + inserted] = ids[copied]
            copied += 1
        for _ in range(counts[span]):
            result[copied + inserted] = span_ids[inserted]
            inserted += 1
        lengths[spans[span, 3]] += counts[span]
    while copied < ids.size:
        result[copied + inserted] = ids[copied]
        copied += 1
    return result
