"""Counting facts in one pass over a corpus, without an index; the numbers equal those of an index.

A pass costs little more than reading and analysing the text, but every fact table needs a separate pass. Building an
index costs two to three passes, once (words of English Wikipedia, one process). Documents are streamed in batches and
only sums are kept, so memory does not grow with the corpus. Files are read in parallel; their order does not change the
sums.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from factcensus.indexer.analyzers import Analyzer, FixedAnalyzer, get_analyzer
from factcensus.indexer.corpus import (
    BadLinePolicy,
    Document,
    SkippedLines,
    SourceFile,
    find_source_files,
    read_documents,
)
from factcensus.indexer.counting.forms import check_length
from factcensus.indexer.errors import EmptyQueryError, InputError
from factcensus.indexer.kernels.pairs import check_windows
from factcensus.indexer.kernels.scan import (
    WHOLE_DOCUMENT,
    Counts,
    FactsByEntity,
    TokenIds,
    Trie,
    build_trie,
    count_documents,
    group_facts,
)
from factcensus.indexer.records import Entity, windows_of
from factcensus.indexer.system.processes import check_main_guard, map_tasks
from factcensus.indexer.tables.added import countable
from factcensus.indexer.tables.counts import count_names, counts_table
from factcensus.indexer.tables.facts import Facts, entities_of

#: Bytes of UTF-8 text that are analysed at once.
BATCH_BYTES = 4 << 20
#: Number of new words after which a word table is replaced by a new one; about 50 bytes each.
MOST_WORDS = 1 << 20
ROLES = ("subject", "object")


def scan_facts(  # noqa: PLR0913 - options, which are given by name
    sources: str | Path | Sequence[str | Path],
    facts: Facts,
    *,
    analyzer: str = "words",
    windows: Sequence[int] = (),
    jobs: int | None = None,
    text_field: str = "text",
    on_bad_line: BadLinePolicy = "fail",
    progress: Callable[[int, int], None] | None = None,
    notice: Callable[[str], None] = lambda _message: None,
) -> pa.Table:
    """Count every fact of a table in corpus files and folders, exactly, without an index.

    Args:
        sources: Files, folders or fsspec URLs.
        facts: A path, a list of records, or a pandas, polars or Arrow table; see :func:`read_facts`.
        analyzer: See :func:`factcensus.indexer.analyzers.get_analyzer`.
        windows: Maximum distances in tokens for which pairs are also counted, in addition to whole documents.
        jobs: Number of processes, each of which reads one file at a time; by default one per processor. The result
            is the same for any number.
        text_field: The field that holds the text of a document.
        on_bad_line: ``fail`` stops at the first bad line, ``skip`` reports bad lines.
        progress: Called with (bytes of files read, all bytes).
        notice: Called with a message about files left out and lines skipped.

    Returns:
        The same counts table as :func:`factcensus.indexer.tables.counts.count_facts` for an index of these sources,
        except for two columns: ``index`` is the text ``scan``, so that a report can name the origin of the numbers,
        and ``index_digest`` is null.

    Raises:
        InputError: A source, line or setting is invalid; the sources have no documents; or the analyzer finds no token
            in a subject or object (the message names the row).
    """
    check_main_guard()
    table = countable(facts)
    distinct_windows = windows_of(windows)
    window_array = np.concatenate([np.array([WHOLE_DOCUMENT]), check_windows(distinct_windows)])
    if on_bad_line not in ("fail", "skip"):
        raise InputError(f"on_bad_line must be 'fail' or 'skip', got {on_bad_line!r}")
    chosen = get_analyzer(analyzer)
    files = find_source_files(sources, notice=notice)
    patterns, entities = make_patterns(table, chosen, window_array)
    totals = FileCounts(patterns.no_counts())
    for file_counts in map_tasks(
        partial(FileScanner, patterns, analyzer, text_field, on_bad_line),
        files,
        [file.size_bytes for file in files],
        jobs=jobs or os.cpu_count() or 1,
        progress=progress or (lambda _done, _all: None),
        notice=notice,
    ):
        totals.add(file_counts)
    if not totals.documents:
        raise InputError("no documents in " + ", ".join(file.name for file in files))
    if totals.skipped_lines:
        notice(f"{totals.skipped_lines:,} bad lines skipped")
    counts = [
        totals.counts.mentions[entities["subject"]],
        totals.counts.mentions[entities["object"]],
        totals.counts.documents[entities["subject"]],
        totals.counts.documents[entities["object"]],
        *totals.counts.together.reshape(table.num_rows, -1).T,
    ]
    named = dict(zip(count_names(distinct_windows), counts, strict=True))
    return counts_table(table, named, index="scan", digest=None, analyzer=chosen.label)


# --- patterns ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Patterns:
    """The forms and facts that a scan counts; picklable.

    Attributes:
        words: The concatenated UTF-8 of all words of the forms; word i has token id i. Empty for an analyzer with fixed
            ids.
        word_starts: int64 (words + 1,): the start of each word in ``words``, and the end of the last.
        trie: The forms of all entities.
        facts: The facts by entity.
        windows: int64 (windows,), including the whole document.
    """

    words: npt.NDArray[np.uint8]
    word_starts: npt.NDArray[np.int64]
    trie: Trie
    facts: FactsByEntity
    windows: npt.NDArray[np.int64]

    def no_counts(self) -> Counts:
        """Return counts of zero, to add to."""
        return Counts.zeros(len(self.facts.starts) - 1, len(self.facts.facts), len(self.windows))


def make_patterns(
    facts: pa.Table, analyzer: Analyzer, windows: npt.NDArray[np.int64]
) -> tuple[Patterns, dict[str, npt.NDArray[np.int64]]]:
    """Return the patterns to scan for, and for each role int64 (facts,), the entity number of each fact.

    Raises:
        EmptyQueryError: A subject or object has no tokens; the message names the row.
        InputError: A name is too long.
    """
    word_ids: dict[str, int] = {}
    forms_of: dict[Entity, tuple[TokenIds, ...]] = {}
    numbers: dict[tuple[TokenIds, ...], int] = {}  # entities with the same forms are counted once
    entities: dict[str, npt.NDArray[np.int64]] = {}
    for role in ROLES:
        column = entities_of(facts, role)
        for row, entity in enumerate(column, 1):
            if entity not in forms_of:
                forms = [_name_ids(name, analyzer, word_ids) for name in (entity.name, *entity.aliases)]
                if not forms[0]:
                    raise EmptyQueryError(
                        f"row {row} of the fact table, {role}: the analyzer {analyzer.name} finds no token in "
                        f"{entity.name!r:.80}; remove the row or change the name"
                    )
                forms_of[entity] = tuple(sorted({form for each in forms for form in each}))
                numbers.setdefault(forms_of[entity], len(numbers))
        entities[role] = np.array([numbers[forms_of[entity]] for entity in column], np.int64)
    check_length(max((len(form) for forms in numbers for form in forms), default=0))
    words = [word.encode() for word in word_ids]
    tokens = len(words) if analyzer.has_vocabulary else cast(FixedAnalyzer, analyzer).vocabulary_size
    patterns = Patterns(
        words=np.frombuffer(b"".join(words), np.uint8),
        word_starts=np.cumsum([0, *map(len, words)], dtype=np.int64),
        trie=build_trie(list(numbers), tokens),
        facts=group_facts(entities["subject"], entities["object"], len(numbers)),
        windows=windows,
    )
    return patterns, entities


def _name_ids(name: str, analyzer: Analyzer, word_ids: dict[str, int]) -> list[TokenIds]:
    """Return the possible token sequences of a name."""
    if analyzer.has_vocabulary:
        ids = tuple(word_ids.setdefault(token, len(word_ids)) for token in analyzer.tokens(name))
        return [ids] if ids else []
    return cast(FixedAnalyzer, analyzer).name_ids(name)


# --- the pass over a file ---------------------------------------------------------------------------------------------


@dataclass(slots=True)
class FileCounts:
    """All counts of one or several corpus files."""

    counts: Counts
    documents: int = 0
    skipped_lines: int = 0

    def add(self, other: FileCounts) -> None:
        """Add the counts of other files."""
        for total, more in zip(self.counts, other.counts, strict=True):
            total += more
        self.documents += other.documents
        self.skipped_lines += other.skipped_lines


class FileScanner:
    """Counts in corpus files, one after another; there is one per process."""

    def __init__(self, patterns: Patterns, analyzer: str, text_field: str, on_bad_line: BadLinePolicy) -> None:
        self._patterns = patterns
        self._analyzer = get_analyzer(analyzer)
        self._text_field = text_field
        self._on_bad_line: BadLinePolicy = on_bad_line
        self._encoder = self._new_encoder()

    def _new_encoder(self) -> Any:
        """Return an encoder that assigns the words of the patterns their ids, and larger ids to all other words."""
        encoder: Any = self._analyzer.encoder()
        if self._analyzer.has_vocabulary:
            encoder.table.extend(self._patterns.words, self._patterns.word_starts)
        return encoder

    def __call__(self, file: SourceFile, on_bytes: Callable[[int], None], notice: Callable[[str], None]) -> FileCounts:
        """Count in one file."""
        found = FileCounts(self._patterns.no_counts())
        skipped = SkippedLines(file, notice)
        documents = read_documents(
            file, text_field=self._text_field, on_bad_line=self._on_bad_line, on_skip=skipped, on_bytes=on_bytes
        )
        for texts in _batches(documents):
            self.count(texts, found.counts)
            found.documents += len(texts)
        found.skipped_lines = skipped.count
        return found

    def count(self, texts: Sequence[bytes], counts: Counts) -> None:
        """Add the counts of documents, given by their texts."""
        if self._analyzer.has_vocabulary and len(self._encoder.table) > len(self._patterns.word_starts) + MOST_WORDS:
            self._encoder = self._new_encoder()
        ids, lengths = self._encoder.encode(texts)
        patterns = self._patterns
        count_documents(
            np.ascontiguousarray(ids, np.uint32),
            np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)]),
            patterns.trie,
            patterns.facts,
            patterns.windows,
            counts,
        )


def _batches(documents: Iterable[Document]) -> Iterator[list[bytes]]:
    """Yield the texts in batches of slightly more than BATCH_BYTES."""
    batch: list[bytes] = []
    size = 0
    for document in documents:
        batch.append(document.text)
        size += len(document.text)
        if size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
