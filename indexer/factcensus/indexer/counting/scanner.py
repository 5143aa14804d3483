"""The pass over pieces of a corpus, which adds up the counts of all entities and facts.

Only sums are kept, so memory does not grow with the corpus. The sums of parts are added in any order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from factcensus.indexer.analyzers import get_analyzer
from factcensus.indexer.corpus import BadLinePolicy, Piece, SkippedLines, SourceFile, pieces_of, read_texts
from factcensus.indexer.counting.patterns import Patterns
from factcensus.indexer.errors import InputError
from factcensus.indexer.kernels.pairs import check_windows
from factcensus.indexer.kernels.scan import Counts, Scratch, count_documents
from factcensus.indexer.kernels.text_digest import TextDigest
from factcensus.indexer.records import windows_of

#: Bytes of UTF-8 text that are analysed at once.
BATCH_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class ScanSettings:
    """The settings of a scan that change its result.

    Attributes:
        analyzer: See :func:`factcensus.indexer.analyzers.get_analyzer`.
        windows: Maximum distances in tokens for which pairs are also counted, in addition to whole documents.
        text_field: The field that holds the text of a document.
        on_bad_line: ``fail`` or ``skip``.
    """

    analyzer: str = "words"
    windows: tuple[int, ...] = ()
    text_field: str = "text"
    on_bad_line: BadLinePolicy = "fail"

    def checked(self) -> ScanSettings:
        """Return these settings with distinct windows.

        Raises:
            InputError: A setting is invalid.
        """
        windows = windows_of(self.windows)
        check_windows(windows)
        if self.on_bad_line not in ("fail", "skip"):
            raise InputError(f"on_bad_line must be 'fail' or 'skip', got {self.on_bad_line!r}")
        return ScanSettings(self.analyzer, tuple(windows), self.text_field, self.on_bad_line)


@dataclass(slots=True)
class ScanCounts:
    """All counts of some pieces of a corpus."""

    counts: Counts
    digest: TextDigest = field(default_factory=TextDigest)
    skipped_lines: int = 0

    def add(self, other: ScanCounts) -> None:
        """Add the counts of other pieces."""
        for total, more in zip(self.counts, other.counts, strict=True):
            total += more
        self.digest.add(other.digest)
        self.skipped_lines += other.skipped_lines


#: Pieces that are counted together, one after another.
Pieces = tuple[Piece, ...]


def size_of(pieces: Pieces) -> int:
    """Return the number of bytes of some pieces."""
    return sum(piece.size_bytes for piece in pieces)


def divide(files: Sequence[SourceFile], least_bytes: int) -> list[Pieces]:
    """Divide files into groups of consecutive pieces of at least ``least_bytes``, except for the last group."""
    groups: list[Pieces] = []
    group: list[Piece] = []
    size = 0
    for piece in (piece for file in files for piece in pieces_of(file)):
        group.append(piece)
        size += piece.size_bytes
        if size >= least_bytes:
            groups.append(tuple(group))
            group, size = [], 0
    return [*groups, tuple(group)] if group else groups


class Scanner:
    """Counts in pieces of a corpus, one after another; there is one per process."""

    def __init__(self, patterns: Patterns, settings: ScanSettings) -> None:
        self._patterns, self._settings = patterns, settings
        self._encoder = patterns.encoder(get_analyzer(settings.analyzer))
        self._scratch = Scratch.of(patterns.trie, patterns.entities)

    def __call__(self, pieces: Pieces, on_bytes: Callable[[int], None], notice: Callable[[str], None]) -> ScanCounts:
        """Count in some pieces."""
        found = ScanCounts(self._patterns.no_counts())
        before = 0
        for piece in pieces:
            self._count_piece(piece, found, lambda position, before=before: on_bytes(before + position), notice)  # type: ignore[misc]
            before += piece.size_bytes
        return found

    def _count_piece(
        self, piece: Piece, found: ScanCounts, on_bytes: Callable[[int], None], notice: Callable[[str], None]
    ) -> None:
        skipped = SkippedLines(piece.file, notice)
        texts = read_texts(
            piece,
            text_field=self._settings.text_field,
            on_bad_line=self._settings.on_bad_line,
            on_skip=skipped,
            on_bytes=on_bytes,
        )
        for batch in _batches(texts):
            self.count(batch, found)
        found.skipped_lines += skipped.count

    def count(self, texts: Sequence[bytes], found: ScanCounts) -> None:
        """Add the counts of documents, given by their texts."""
        ids, lengths = self._encoder.encode(texts)
        patterns = self._patterns
        count_documents(
            np.ascontiguousarray(ids, np.uint32),
            np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)]),
            patterns.trie,
            patterns.facts,
            patterns.windows,
            self._scratch,
            found.counts,
        )
        found.digest.add_texts(texts)


def _batches(texts: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Yield texts in batches of slightly more than BATCH_BYTES."""
    batch: list[bytes] = []
    size = 0
    for text in texts:
        batch.append(text)
        size += len(text)
        if size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
