"""The compiled scanner of the ``words`` analyzers: where the words of a UTF-8 text are, in two passes.

:func:`find_runs` folds ASCII and finds the *runs*, the stretches between ASCII characters that separate words. Its
loops have no branches: an edge is written at every byte, and the next one goes over it unless it was one.
:func:`scan_runs` splits the runs into words. One of ASCII letters and digits, 99 in 100 of English text, is a word as
it stands; the others go code point by code point through the tables of :mod:`unicode_tables`, and the words are built
behind the text.

Around an unsafe code point the scanner gives up the *span* from the word or character before it to the next one that
begins anew whatever is before it, and reports it, so that Python decides it exactly.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

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
from factcensus.indexer.analyzers.word_table import EIGHT, eights, low_bytes, position_dtype
from factcensus.indexer.kernels.compiled import compiled

Array = npt.NDArray[Any]

_KIND = (1 << ROW_SHIFT) - 1
# One bit of each of eight bytes.
_BIT_7 = np.uint64(0x8080808080808080)
_BIT_6 = np.uint64(0x4040404040404040)
_FROM_4_TO_6 = np.uint64(2)
_NONE = np.uint64(0)


class Window(NamedTuple):
    """A stretch of text and what the scanner finds in it; made once, and used for one stretch after another.

    Attributes:
        folded: uint8; the text with ASCII folded, a break, and from 8 bytes behind it the words that had to be built.
        eight: ``folded`` by :func:`word_table.eights`.
        in_run: uint8; whether each byte of the text, and the break, is in a run.
        edges: int32 (int64 in giants); begin and end of each run.
        places: int32, likewise; where in ``folded`` each word begins.
        sizes: int32, likewise; bytes of each word.
        spans: int64 (rows, 4): begin byte, end byte, words before it, and document of each span left to Python.
    """

    folded: Array
    eight: Array
    in_run: Array
    edges: Array
    places: Array
    sizes: Array
    spans: Array


def new_window(size: int) -> Window:
    """A window for texts of up to ``size`` bytes. Pages that are not used are not touched."""
    # No replacement is longer than three times what it replaces.
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
def find_runs(text: Array, case_bit: int, window: Window) -> int:
    """Find the runs of a text and fold its capital ASCII letters by setting ``case_bit``; the number of runs.

    A run is made of ASCII letters, digits, + and #, and of everything that is not ASCII.
    """
    size = text.size
    _classify(text, case_bit, window.folded, window.in_run)
    window.folded[size] = 0
    window.in_run[size] = 0
    return _find_edges(window.in_run, size + 1, window.edges) // 2


@compiled()
def _classify(text: Array, case_bit: int, folded: Array, in_run: Array) -> None:
    # In 8 bits throughout, and no table: the compiler makes vector instructions of it, 0.1 ns a byte.
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
    window: Window, size: int, runs: int, tables: ScannerTables,
    offset: int, document_ends: Array, document: int, lengths: Array,
) -> tuple[int, int, int]:  # fmt: skip
    """Find the words of a window whose runs have been found.

    Args:
        window: :func:`find_runs` has been here.
        size: bytes of its text.
        runs: their number.
        tables: the analyzer's.
        offset: where the window begins in the text that ``document_ends`` speaks of.
        document_ends: int64 (documents,), ascending; at least one byte lies between two documents.
        document: the one that holds the first run, or one before that.
        lengths: int64 (documents,); the number of words is added to each document's.

    Returns:
        The number of words, of spans (whose words are missing) and of bytes of all words or more.
    """
    edges, eight, places, sizes = window.edges, window.eight, window.places, window.sizes
    tail = size + EIGHT
    # Not a plain 0: that is a type of its own, for which _scan_run would be compiled as well.
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
    """Whether a run has ASCII letters and digits only: all have bit 6 or 4, which + and # have not, and none bit 7."""
    while begin < end:
        byte = eight[begin]
        if (byte & _BIT_7 | ~(byte | byte << _FROM_4_TO_6) & _BIT_6) & low_bytes(end - begin) != _NONE:
            return False
        begin += EIGHT
    return True


@compiled()
def _scan_run(
    window: Window, begin: int, end: int, tables: ScannerTables, document: int, count: int, span_count: int, tail: int
) -> tuple[int, int, int]:
    """Split any run; the new numbers of words and spans and end of the built words."""
    folded, eight, places, sizes, spans = window.folded, window.eight, window.places, window.sizes, window.spans
    length = 0  # bytes of the pending word, which is built at the tail
    joined = 0  # bytes of the + and # that follow it, not yet known to belong to it
    # The word or character that a combining mark would change. Of ASCII outside runs only < = > take one.
    unit = begin - 1 if begin > 0 and 60 <= folded[begin - 1] <= 62 else begin
    unit_count = count
    span = -1  # where the span begins
    position = begin
    while position <= end:  # the break behind the run ends what is pending
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
            # The pending word ends here; + and # belong to it unless more of a word follows them.
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
    """The code point that begins there in UTF-8, and its bytes."""
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
    """The ids of a window's words with those of its spans between them; ``lengths`` grows by them.

    Args:
        ids: uint32 (words,).
        spans: (spans, 4), see :class:`Window`.
        counts: int64 (spans,): the number of ids of each span.
        span_ids: uint32: the ids of all spans, one after another.
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
