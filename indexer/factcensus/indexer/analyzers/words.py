"""The analyzers ``words`` (default) and ``words-cased``: whole words in any script, punctuation dropped.

:func:`exact_tokens` is the definition, in plain Python; queries use it. Text goes through the compiled scanner,
which gives the same ids 11 to 19 times faster than a ``regex`` pipeline (prototype; benchmarks/ measures it anew)
and comes back here only for the spans around unsafe code points.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from factcensus.indexer.analyzers.unicode_tables import (
    FORMAT,
    JOINER,
    SINGLE,
    UNASSIGNED,
    UNICODE_VERSION,
    WORD,
    Normalization,
    character_classes,
    normalize,
    scanner_tables,
)

#: Raised whenever the same text could give other tokens.
WORDS_VERSION = 1


def exact_tokens(text: str, analyzer: Normalization) -> list[str]:
    """The tokens of a text, by the definition: one pass over the normal form, character by character.

    A run of + or # belongs to the word before it unless a letter, mark or number follows: C++ and C# are words,
    a+b is two.
    """
    classes = character_classes()
    kept = []
    for character in text:
        what = classes[ord(character)]
        if what != FORMAT:
            # Unassigned in the frozen Unicode version: a newer Python must not normalise it to something else.
            kept.append(" " if what == UNASSIGNED else character)
    tokens: list[str] = []
    word: list[str] = []
    joined: list[str] = []
    for character in normalize("".join(kept), analyzer):
        what = classes[ord(character)]
        if what == JOINER and word:
            joined.append(character)
            continue
        if word and (joined or what != WORD):
            tokens.append("".join(word if what in (WORD, SINGLE) else word + joined))
            word, joined = [], []
        if what == WORD:
            word.append(character)
        elif what == SINGLE:
            tokens.append(character)
    if word:
        tokens.append("".join(word + joined))
    return tokens


class WordTable:
    """Words and their ids in first-seen order, in flat arrays that the scanner fills.

    Attributes:
        arena: uint8; the UTF-8 of all words, one after another.
        starts: int64 (capacity + 1,); word i is ``arena[starts[i]:starts[i + 1]]``.
    """

    def __init__(self) -> None:
        self.slots = np.zeros(1 << 12, np.int32)
        self.hashes = np.zeros(1 << 11, np.uint64)
        self.starts = np.zeros((1 << 11) + 1, np.int64)
        self.arena = np.zeros(1 << 14, np.uint8)
        self.used = np.zeros(2, np.int64)

    def __len__(self) -> int:
        return int(self.used[0])

    def reserve(self, words: int, size_bytes: int) -> None:
        """Make room for so many more words and bytes."""
        from factcensus.indexer.analyzers.scanner import rebuild_slots

        needed = len(self) + words + 1
        if needed > self.hashes.size:
            capacity = 1 << int(needed - 1).bit_length()
            self.hashes = _grown(self.hashes, capacity)
            self.starts = _grown(self.starts, capacity + 1)
        if 2 * needed > self.slots.size:
            self.slots = np.zeros(1 << int(2 * needed - 1).bit_length(), np.int32)
            rebuild_slots(self.slots, self.hashes, len(self))
        if self.used[1] + size_bytes > self.arena.size:
            self.arena = _grown(self.arena, 1 << int(self.used[1] + size_bytes).bit_length())

    def intern(self, word: str) -> int:
        """The id of a word, a new one when it was never seen."""
        from factcensus.indexer.analyzers.scanner import intern_word

        encoded = np.frombuffer(word.encode(), np.uint8)
        self.reserve(1, len(encoded))
        return int(intern_word(encoded, len(encoded), self.slots, self.hashes, self.starts, self.arena, self.used))

    def extend(self, arena: npt.NDArray[np.uint8], starts: npt.NDArray[np.int64]) -> npt.NDArray[np.uint32]:
        """Intern many words, given as one arena with the start of each and the end; their ids, in order."""
        from factcensus.indexer.analyzers.scanner import intern_words

        self.reserve(len(starts) - 1, int(starts[-1] - starts[0]))
        return intern_words(arena, starts, self.slots, self.hashes, self.starts, self.arena, self.used)


class WordEncoder:
    """Turns batches of texts into ids of its own :class:`WordTable`; one encoder a stream of documents."""

    def __init__(self, analyzer: Normalization) -> None:
        self._analyzer: Normalization = analyzer
        self._tables = scanner_tables(analyzer)
        self._span_ids: dict[bytes, npt.NDArray[np.uint32]] = {}
        self.table = WordTable()

    def encode(self, texts: Sequence[bytes]) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64]]:
        """The ids of all texts (UTF-8), one after another, and the number of ids of each text."""
        from factcensus.indexer.analyzers.scanner import scan_documents

        text = np.frombuffer(b"".join(texts), np.uint8)
        sizes = np.fromiter(map(len, texts), np.int64, len(texts))
        starts = np.concatenate([[0], np.cumsum(sizes)])
        longest = int(sizes.max(initial=0))
        word = np.empty(3 * longest + 64, np.uint8)
        ids = np.empty(len(text) // 2 + len(texts) + 1, np.uint32)
        lengths = np.zeros(len(texts), np.int64)
        spans = np.empty((len(text) // 2 + 1, 3), np.int64)
        span_counts = np.zeros(len(texts), np.int64)
        totals = np.zeros(2, np.int64)
        document = 0
        tables, table = self._tables, self.table
        while document < len(texts):
            size = int(sizes[document])
            table.reserve(size // 2 + 2, 3 * size + 64)
            document = scan_documents(
                text, starts, document,
                tables.kind, tables.fold, tables.fold_starts, tables.fold_bytes, tables.ascii_fold,
                table.slots, table.hashes, table.starts, table.arena, table.used,
                word, ids, lengths, spans, span_counts, totals,
            )  # fmt: skip
        count, span_count = (int(total) for total in totals)
        if span_count:
            return self._splice(text, ids[:count], lengths, spans[:span_count], span_counts)
        return ids[:count], lengths

    def _splice(
        self,
        text: npt.NDArray[np.uint8],
        ids: npt.NDArray[np.uint32],
        lengths: npt.NDArray[np.int64],
        spans: npt.NDArray[np.int64],
        span_counts: npt.NDArray[np.int64],
    ) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64]]:
        """Insert what Python makes of the spans that the scanner left."""
        pieces: list[npt.NDArray[np.uint32]] = []
        document_of_span = np.repeat(np.arange(len(lengths)), span_counts)
        done = 0
        for (begin, end, before), document in zip(spans.tolist(), document_of_span.tolist(), strict=True):
            span_ids = self._ids_of_span(text[begin:end].tobytes())
            pieces += [ids[done:before], span_ids]
            lengths[document] += len(span_ids)
            done = before
        pieces.append(ids[done:])
        return np.concatenate(pieces), lengths

    def _ids_of_span(self, span: bytes) -> npt.NDArray[np.uint32]:
        known = self._span_ids.get(span)
        if known is None:
            tokens = exact_tokens(span.decode(), self._analyzer)
            known = np.array([self.table.intern(token) for token in tokens], np.uint32)
            if len(span) < 200 and len(self._span_ids) < 200_000:
                self._span_ids[span] = known
        return known


class WordsAnalyzer:
    """The analyzers ``words`` and ``words-cased`` (CONTRACT: case folded and NFKC, or as written and NFC)."""

    token_dtype = "u32"
    has_vocabulary = True

    def __init__(self, name: Normalization) -> None:
        self.name: Normalization = name

    @property
    def label(self) -> str:
        """Name and version, as every answer shows them."""
        return f"{self.name}/{WORDS_VERSION}+unicode-{UNICODE_VERSION}"

    def tokens(self, text: str) -> list[str]:
        """The tokens that a text is taken as."""
        return exact_tokens(text, self.name)

    def encoder(self) -> WordEncoder:
        """A new encoder with an empty word table."""
        return WordEncoder(self.name)


def _grown(array: npt.NDArray[Any], size: int) -> npt.NDArray[Any]:
    grown = np.zeros(size, array.dtype)
    grown[: array.size] = array
    return grown
