"""The pass over pieces of a corpus, which adds up the counts of all entities and facts.

Only sums are kept, so memory does not grow with the corpus. The sums of parts are added in any order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from factcensus.indexer.analyzers import get_analyzer
from factcensus.indexer.corpus import (
    BATCH_BYTES,
    BadLinePolicy,
    LineLimit,
    Piece,
    SkippedLines,
    SourceFile,
    pieces_of,
    read_batches,
)
from factcensus.indexer.counting.patterns import Patterns
from factcensus.indexer.counting.step_counts import StepCounts
from factcensus.indexer.counting.steps import steps_of
from factcensus.indexer.errors import InputError
from factcensus.indexer.kernels.pairs import check_windows
from factcensus.indexer.kernels.scan import Counts, Scratch, count_documents
from factcensus.indexer.kernels.text_digest import TextDigest
from factcensus.indexer.records import windows_of

if TYPE_CHECKING:
    from factcensus.indexer.counting.order import Order


#: Maximum number of bytes of a line in a scan; the same on every machine, so that all count the same documents.
LINE_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class ScanSettings:
    """The settings of a scan that change its result.

    Attributes:
        analyzer: See :func:`factcensus.indexer.analyzers.get_analyzer`.
        windows: Maximum distances in tokens for which pairs are also counted, in addition to whole documents.
        text_field: The field that holds the text of a document.
        on_bad_line: ``fail`` or ``skip``.
        by: ``step:N`` also counts as of every N-th step of an order of training.
    """

    analyzer: str = "words"
    windows: tuple[int, ...] = ()
    text_field: str = "text"
    on_bad_line: BadLinePolicy = "fail"
    by: str | None = None

    def checked(self) -> ScanSettings:
        """Return these settings with distinct windows.

        Raises:
            InputError: A setting is invalid.
        """
        windows = windows_of(self.windows)
        check_windows(windows)
        if self.on_bad_line not in ("fail", "skip"):
            raise InputError(f"on_bad_line must be 'fail' or 'skip', got {self.on_bad_line!r}")
        if self.by is not None and steps_of(self.by) is None:
            raise InputError(f"a scan cannot count by {self.by!r}; give step:N, or count in an index")
        return replace(self, windows=tuple(windows))


@dataclass(slots=True)
class ScanCounts:
    """All counts of some pieces of a corpus."""

    counts: Counts
    digest: TextDigest = field(default_factory=TextDigest)
    skipped_lines: int = 0
    steps: StepCounts = field(default_factory=StepCounts)

    def add(self, other: ScanCounts) -> None:
        """Add the counts of other pieces."""
        for total, more in zip(self.counts, other.counts, strict=True):
            total += more
        self.digest.add(other.digest)
        self.skipped_lines += other.skipped_lines
        self.steps.add(other.steps)


#: Pieces that are counted together, one after another.
Pieces = tuple[Piece, ...]


def size_of(pieces: Pieces) -> int:
    """Return the number of bytes of some pieces."""
    return sum(piece.size_bytes for piece in pieces)


def divide(files: Sequence[SourceFile], least_bytes: int, *, whole: bool = False) -> list[Pieces]:
    """Divide files into groups of consecutive pieces of at least ``least_bytes``, except for the last group.

    Args:
        files: The files.
        least_bytes: The size of a group.
        whole: Do not divide files.
    """
    groups: list[Pieces] = []
    group: list[Piece] = []
    size = 0
    for piece in (piece for file in files for piece in ([Piece(file)] if whole else pieces_of(file))):
        group.append(piece)
        size += piece.size_bytes
        if size >= least_bytes:
            groups.append(tuple(group))
            group, size = [], 0
    return [*groups, tuple(group)] if group else groups


class Scanner:
    """Counts in pieces of a corpus, one after another; there is one per process.

    Args:
        patterns: What to count.
        settings: The settings of the scan.
        order: The order of training, to count by step.
    """

    def __init__(self, patterns: Patterns, settings: ScanSettings, order: Order | None = None) -> None:
        self._patterns, self._settings, self._order = patterns, settings, order
        self._steps = steps_of(settings.by)
        self._encoder = patterns.encoder(get_analyzer(settings.analyzer))
        self._scratch = Scratch.of(patterns.trie, patterns.facts)
        self._of_group = patterns.no_counts()

    def __call__(self, pieces: Pieces, on_bytes: Callable[[int], None], notice: Callable[[str], None]) -> ScanCounts:
        """Count in some pieces."""
        found = ScanCounts(self._patterns.no_counts())
        before = 0
        for piece in pieces:
            self._count_piece(piece, found, lambda position, before=before: on_bytes(before + position), notice)  # type: ignore[misc]
            before += piece.size_bytes
        found.steps.merge()
        return found

    def _count_piece(
        self, piece: Piece, found: ScanCounts, on_bytes: Callable[[int], None], notice: Callable[[str], None]
    ) -> None:
        skipped = SkippedLines(piece.file, notice)
        by_id = self._order is not None and self._order.by_id
        batches = read_batches(
            piece,
            text_field=self._settings.text_field,
            whole=by_id,
            on_bad_line=self._settings.on_bad_line,
            limit=LineLimit(LINE_BYTES),
            batch_bytes=BATCH_BYTES,
            on_skip=skipped,
            on_bytes=on_bytes,
        )
        for batch in batches:
            if self._order is None or self._steps is None:
                self.count(batch["text"], found)
            else:
                steps = self._order.of_ids(batch["id"]) if by_id else self._steps_of(piece.file, batch["record"])
                self._count_by_step(batch["text"], steps // self._steps, found)
        found.skipped_lines += skipped.count

    def _steps_of(self, file: SourceFile, records: pa.Int64Array) -> npt.NDArray[np.int64]:
        assert self._order is not None
        return self._order.of_records(file.name, records.to_numpy())

    def count(self, texts: pa.LargeBinaryArray, found: ScanCounts) -> None:
        """Add the counts of documents, given by their texts."""
        ids, lengths = self._encoder.encode(texts)
        self._add(ids, lengths, found.counts)
        found.digest.add_texts(texts)

    def _count_by_step(self, texts: pa.LargeBinaryArray, groups: npt.NDArray[np.int64], found: ScanCounts) -> None:
        """Add the counts of documents, and those of each group of steps; groups below 0 were never seen."""
        found.digest.add_texts(texts)
        for group in np.unique(groups).tolist():
            ids, lengths = self._encoder.encode(texts.take(pa.array(np.flatnonzero(groups == group))))
            self._add(ids, lengths, self._of_group)
            for total, more in zip(found.counts, self._of_group, strict=True):
                total += more
            if group >= 0:
                found.steps.put(group, self._of_group)
            for part in self._of_group:
                part.fill(0)

    def _add(self, ids: npt.NDArray[Any], lengths: npt.NDArray[np.int64], counts: Counts) -> None:
        patterns = self._patterns
        count_documents(
            np.ascontiguousarray(ids, np.uint32),
            np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)]),
            patterns.trie,
            patterns.facts,
            patterns.windows,
            self._scratch,
            counts,
        )
        self._scratch.take(counts)
