"""The compiled scanner of the ``words`` analyzers: UTF-8 to word ids in one pass, one hash look-up a word.

It walks the bytes with the tables of :mod:`unicode_tables`; around an unsafe code point it gives up the span
between two ASCII white spaces (nothing composes across those) and reports it, so that Python decides it exactly.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from factcensus.indexer.analyzers.unicode_tables import DROP, JOINER, SINGLE, UNSAFE, WORD

Array = npt.NDArray[Any]

_K_WORD, _K_SINGLE, _K_JOINER, _K_DROP, _K_UNSAFE = WORD, SINGLE, JOINER, DROP, UNSAFE
_SEED = np.uint64(0x9E3779B97F4A7C15)
_PRIME = np.uint64(0xFF51AFD7ED558CCD)
_SHIFT = np.uint64(32)


@njit(cache=True, nogil=True, inline="always")
def _mix(state: Any, byte: Any) -> Any:
    return (state ^ np.uint64(byte)) * _PRIME


@njit(cache=True, nogil=True)
def intern_word(word: Array, length: int, slots: Array, hashes: Array, starts: Array, arena: Array, used: Array) -> Any:
    """The id of ``word[:length]``, a new one when it was never seen.

    Open addressing with linear probing; ``slots`` holds id + 1 and its length is a power of two. The caller has made
    room for one more word (:meth:`WordTable.reserve`). ``used`` is [words, bytes of arena].
    """
    state = _SEED
    for i in range(length):
        state = _mix(state, word[i])
    state ^= state >> _SHIFT
    mask = np.uint64(slots.size - 1)
    slot = np.int64((state * _PRIME >> np.uint64(20)) & mask)
    while slots[slot] != 0:
        candidate = slots[slot] - 1
        if hashes[candidate] == state and starts[candidate + 1] - starts[candidate] == length:
            first = starts[candidate]
            same = True
            for i in range(length):
                if arena[first + i] != word[i]:
                    same = False
                    break
            if same:
                return candidate
        slot = np.int64((slot + 1) & np.int64(mask))
    new = used[0]
    slots[slot] = new + 1
    hashes[new] = state
    first = used[1]
    for i in range(length):
        arena[first + i] = word[i]
    used[0] = new + 1
    used[1] = first + length
    starts[new + 1] = first + length
    return new


@njit(cache=True, nogil=True)
def rebuild_slots(slots: Array, hashes: Array, words: int) -> None:
    """Fill an empty slot table of a new size from the stored hashes."""
    mask = np.int64(slots.size - 1)
    for word in range(words):
        slot = np.int64((hashes[word] * _PRIME >> np.uint64(20)) & np.uint64(mask))
        while slots[slot] != 0:
            slot = (slot + 1) & mask
        slots[slot] = word + 1


@njit(cache=True, nogil=True)
def scan_document(
    text: Array, begin: int, end: int,
    kind: Array, fold: Array, fold_starts: Array, fold_bytes: Array, ascii_fold: Array,
    slots: Array, hashes: Array, starts: Array, arena: Array, used: Array,
    word: Array, ids: Array, count: int, spans: Array, span_count: int,
) -> tuple[int, int]:  # fmt: skip
    """Append the word ids of ``text[begin:end]`` (UTF-8) to ``ids`` from ``count`` on.

    Args:
        word: scratch of at least 3 bytes a text byte (no fold is longer than three times its code point).
        spans: int64 (rows, 3): begin byte, end byte, and the number of ids before each span left to Python.

    Returns:
        The new numbers of ids and of spans. Ids of spans are missing; the caller splices them.
    """
    position = begin
    length = 0  # bytes of the pending word
    joined = 0  # bytes of the + and # that follow it, not yet known to belong to it
    space = begin  # just after the last ASCII white space
    ids_at_space = count
    while position < end:
        byte = text[position]
        size = 1
        if byte < 128:
            code_point = np.int64(byte)
        elif byte < 0xE0:
            code_point = np.int64(byte & 0x1F) << 6 | np.int64(text[position + 1] & 0x3F)
            size = 2
        elif byte < 0xF0:
            code_point = (
                np.int64(byte & 0x0F) << 12
                | np.int64(text[position + 1] & 0x3F) << 6
                | np.int64(text[position + 2] & 0x3F)
            )
            size = 3
        else:
            code_point = (
                np.int64(byte & 0x07) << 18
                | np.int64(text[position + 1] & 0x3F) << 12
                | np.int64(text[position + 2] & 0x3F) << 6
                | np.int64(text[position + 3] & 0x3F)
            )
            size = 4
        what = kind[code_point]
        if what == _K_DROP:
            position += size
            continue
        if what == _K_UNSAFE:
            stop = position + size
            while stop < end and not (text[stop] == 32 or 9 <= text[stop] <= 13):
                stop += 1
            count = ids_at_space
            spans[span_count, 0] = space
            spans[span_count, 1] = stop
            spans[span_count, 2] = count
            span_count += 1
            position = stop
            length = 0
            joined = 0
            continue
        if length > 0 and what != _K_JOINER and (joined > 0 or what != _K_WORD):
            # The pending word ends here; + and # belong to it unless a letter, mark or number follows them.
            if what in (_K_WORD, _K_SINGLE):
                joined = 0
            ids[count] = intern_word(word, length + joined, slots, hashes, starts, arena, used)
            count += 1
            length = 0
            joined = 0
        if what in (_K_WORD, _K_SINGLE) or (what == _K_JOINER and length > 0):
            at = length + joined
            if byte < 128:
                word[at] = ascii_fold[byte]
                at += 1
            elif fold[code_point] < 0:
                for i in range(size):
                    word[at + i] = text[position + i]
                at += size
            else:
                row = fold[code_point]
                for i in range(fold_starts[row], fold_starts[row + 1]):
                    word[at] = fold_bytes[i]
                    at += 1
            if what == _K_WORD:
                length = at
            elif what == _K_JOINER:
                joined = at - length
            else:
                ids[count] = intern_word(word, at, slots, hashes, starts, arena, used)
                count += 1
        position += size
        if byte == 32 or 9 <= byte <= 13:
            space = position
            ids_at_space = count
    if length > 0:
        ids[count] = intern_word(word, length + joined, slots, hashes, starts, arena, used)
        count += 1
    return count, span_count


@njit(cache=True, nogil=True)
def scan_documents(
    text: Array, document_starts: Array, first: int,
    kind: Array, fold: Array, fold_starts: Array, fold_bytes: Array, ascii_fold: Array,
    slots: Array, hashes: Array, starts: Array, arena: Array, used: Array,
    word: Array, ids: Array, lengths: Array, spans: Array, span_counts: Array, totals: Array,
) -> int:  # fmt: skip
    """Scan documents from ``first`` on while the word table has room; the number of the next document to scan.

    ``document_starts`` is int64 (documents + 1,). Per document ``lengths`` gets the number of ids and
    ``span_counts`` the number of spans; ``totals`` is [ids, spans], carried from call to call.
    """
    documents = document_starts.size - 1
    count = totals[0]
    span_count = totals[1]
    for document in range(first, documents):
        begin = document_starts[document]
        end = document_starts[document + 1]
        new_words = (end - begin) // 2 + 2
        if 2 * (used[0] + new_words) > slots.size or used[0] + new_words >= hashes.size:
            totals[0] = count
            totals[1] = span_count
            return document
        if used[1] + 3 * (end - begin) + 64 > arena.size:
            totals[0] = count
            totals[1] = span_count
            return document
        next_count, next_span_count = scan_document(
            text, begin, end, kind, fold, fold_starts, fold_bytes, ascii_fold,
            slots, hashes, starts, arena, used, word, ids, count, spans, span_count,
        )  # fmt: skip
        lengths[document] = next_count - count
        span_counts[document] = next_span_count - span_count
        count = next_count
        span_count = next_span_count
    totals[0] = count
    totals[1] = span_count
    return documents


@njit(cache=True, nogil=True)
def intern_words(
    words: Array, word_starts: Array, slots: Array, hashes: Array, starts: Array, arena: Array, used: Array
) -> Array:
    """The ids of many words (one arena and its starts), in order; see :func:`intern_word`."""
    ids = np.empty(word_starts.size - 1, np.uint32)
    for i in range(ids.size):
        word = words[word_starts[i] : word_starts[i + 1]]
        ids[i] = intern_word(word, word.size, slots, hashes, starts, arena, used)
    return ids
