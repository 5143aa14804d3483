"""The analyzers ``words`` (default) and ``words-cased``: whole words in any script, without punctuation.

:mod:`factcensus.indexer.analyzers.definition` defines these words in plain Python; queries that are not ASCII use it.
Corpora use the compiled scanner, which finds the same words 20 to 30 times faster than a ``regex`` pipeline
(``benchmarks/analysis.py``) and calls the definition only for spans around unsafe code points.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from factcensus.indexer.analyzers.definition import exact_tokens
from factcensus.indexer.analyzers.scanner import Window, find_runs, insert_spans, join_lines, new_window, scan_runs
from factcensus.indexer.analyzers.unicode_tables import UNICODE_VERSION, Normalization, scanner_tables
from factcensus.indexer.analyzers.word_spans import word_spans
from factcensus.indexer.analyzers.word_table import WordTable
from factcensus.indexer.arrays import bytes_of

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["WORDS_VERSION", "WordEncoder", "WordTable", "WordsAnalyzer"]

#: Increased whenever the same text could give different tokens.
WORDS_VERSION = 2
#: Number of bytes scanned at once, small enough that the words are still in the cache when they are looked up.
WINDOW_BYTES = 128 << 10
#: Maximum number of spans whose ids are cached, about 200 bytes each; then the cache is cleared.
SPANS_KEPT = 1 << 18

_SPACE = re.compile(rb"\s")
_ASCII_TOKEN = re.compile(r"[A-Za-z0-9]+(?:[+#]++(?![A-Za-z0-9]))?")


class WordEncoder:
    """Turns batches of texts into ids of a new :class:`WordTable`; each stream of documents has one encoder."""

    def __init__(self, analyzer: Normalization) -> None:
        self._analyzer: Normalization = analyzer
        self._tables = scanner_tables(analyzer)
        self._window: Window = new_window(WINDOW_BYTES * 9 // 8)
        self._span_ids: dict[bytes, list[int]] = {}
        self.table = WordTable()

    def encode(self, texts: pa.LargeBinaryArray) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64]]:
        """Return the concatenated ids of all texts (UTF-8), and the number of ids of each text."""
        content, starts = bytes_of(texts)
        text = np.empty(content.size + len(texts), np.uint8)
        join_lines(content, starts, text)
        document_ends = starts[1:] + np.arange(1, len(texts) + 1)
        lengths = np.zeros(len(texts), np.int64)
        ids = [self._encode_window(text, begin, end, document_ends, lengths) for begin, end in _windows(text)]
        return np.concatenate([np.zeros(0, np.uint32), *ids]), lengths

    def _encode_window(
        self,
        text: npt.NDArray[np.uint8],
        begin: int,
        end: int,
        document_ends: npt.NDArray[np.int64],
        lengths: npt.NDArray[np.int64],
    ) -> npt.NDArray[np.uint32]:
        size = end - begin
        if size > self._window.in_run.size - 1:
            self._window = new_window(size)
        window = self._window
        runs = find_runs(text[begin:end], self._tables.case_bit, window)
        document = int(np.searchsorted(document_ends, begin))
        words, spans, size_bytes = scan_runs(window, size, runs, self._tables, begin, document_ends, document, lengths)
        ids = self.table.intern_many(window.eight, window.places[:words], window.sizes[:words], size_bytes)
        return self._with_spans(text, begin, ids, window.spans[:spans], lengths) if spans else ids

    def _with_spans(
        self,
        text: npt.NDArray[np.uint8],
        offset: int,
        ids: npt.NDArray[np.uint32],
        spans: npt.NDArray[np.int64],
        lengths: npt.NDArray[np.int64],
    ) -> npt.NDArray[np.uint32]:
        """Insert the ids of the spans that the scanner left to Python."""
        if len(self._span_ids) > SPANS_KEPT:
            self._span_ids.clear()
        span_ids = [self._ids_of_span(text[begin:end].tobytes()) for begin, end in (spans[:, :2] + offset).tolist()]
        counts = np.fromiter(map(len, span_ids), np.int64, len(span_ids))
        return insert_spans(ids, spans, counts, np.fromiter(chain.from_iterable(span_ids), np.uint32), lengths)

    def _ids_of_span(self, span: bytes) -> list[int]:
        known = self._span_ids.get(span)
        if known is None:
            words = [token.encode() for token in exact_tokens(span.decode(), self._analyzer)]
            starts = np.cumsum([0, *map(len, words)])
            known = self.table.extend(np.frombuffer(b"".join(words), np.uint8), starts).tolist()
            self._span_ids[span] = known
        return known


def _windows(text: npt.NDArray[np.uint8]) -> Iterator[tuple[int, int]]:
    """Yield begin and end of sections of a text that end before white space, so that no word spans two sections."""
    begin = 0
    content = text.data
    while begin < len(content):
        space = _SPACE.search(content, begin + WINDOW_BYTES)
        end = space.start() if space else len(content)
        yield begin, end
        begin = end


class WordsAnalyzer:
    """The analyzers ``words`` (case folded, NFKC) and ``words-cased`` (as written, NFC)."""

    token_dtype = "u32"
    has_vocabulary = True

    def __init__(self, name: Normalization) -> None:
        self.name: Normalization = name
        #: Name and version, as shown in every response.
        self.label = f"{name}/{WORDS_VERSION}+unicode-{UNICODE_VERSION}"

    def tokens(self, text: str) -> list[str]:
        """Return the tokens of a text."""
        if text.isascii():  # the same tokens, eight times faster
            return _ASCII_TOKEN.findall(text.lower() if self.name == "words" else text)
        return exact_tokens(text, self.name)

    def spans(self, text: str, wanted: Sequence[int]) -> dict[int, tuple[int, int]]:
        """Return the character ranges of the given tokens of a text; see :func:`word_spans`."""
        return word_spans(self, text, wanted)

    def encoder(self) -> WordEncoder:
        """Return a new encoder with an empty word table."""
        return WordEncoder(self.name)
