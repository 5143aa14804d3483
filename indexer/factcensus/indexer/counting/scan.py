"""Counting facts in one pass over a corpus, without an index; the numbers equal those of an index.

A pass costs little more than reading and analysing the text, but every fact table needs a separate pass. Building an
index costs two to three passes, once (words of English Wikipedia, one process). Files, and parts of large Parquet
files, are read in parallel; their order does not change the sums.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from factcensus.indexer.analyzers import get_analyzer
from factcensus.indexer.corpus import BadLinePolicy, find_source_files
from factcensus.indexer.counting.order import Order, step_column
from factcensus.indexer.counting.patterns import ROLES, make_patterns
from factcensus.indexer.counting.scanner import ScanCounts, Scanner, ScanSettings, divide, size_of
from factcensus.indexer.counting.step_counts import add_sparse
from factcensus.indexer.counting.steps import NO_STEPS, label_of, steps_of
from factcensus.indexer.errors import InputError
from factcensus.indexer.kernels.pairs import check_windows
from factcensus.indexer.kernels.scan import WHOLE_DOCUMENT, Counts
from factcensus.indexer.system.processes import check_main_guard, map_tasks
from factcensus.indexer.tables.added import countable
from factcensus.indexer.tables.arrow import ArrowTable
from factcensus.indexer.tables.columns import CORPUS_DIGEST
from factcensus.indexer.tables.counts import count_names, counts_table
from factcensus.indexer.tables.facts import Facts

#: Bytes of small files that a process counts together.
_TOGETHER_BYTES = 8 << 20


def scan_facts(  # noqa: PLR0913 - options, which are given by name
    sources: str | Path | Sequence[str | Path],
    facts: Facts,
    *,
    analyzer: str = "words",
    windows: Sequence[int] = (),
    jobs: int | None = None,
    text_field: str = "text",
    on_bad_line: BadLinePolicy = "fail",
    by: str | None = None,
    order: Order | None = None,
    progress: Callable[[int, int], None] | None = None,
    notice: Callable[[str], None] = lambda _message: None,
) -> ArrowTable:
    """Count every fact of a table in corpus files and folders, exactly, without an index.

    Args:
        sources: Files, folders or URLs.
        facts: A path, a list of records, or a pandas, polars or Arrow table; see :func:`read_facts`.
        analyzer: See :func:`factcensus.indexer.analyzers.get_analyzer`.
        windows: Maximum distances in tokens for which pairs are also counted, in addition to whole documents.
        jobs: Number of processes; by default one per processor. The result is the same for any number.
        text_field: The field that holds the text of a document.
        on_bad_line: ``fail`` stops at the first bad line, ``skip`` reports bad lines.
        by: ``step:N`` adds a column ``by_step:N`` with the counts after every N training steps.
        order: The order of training, for ``by``.
        progress: Called with (bytes of files read, all bytes).
        notice: Called with a message about files left out and lines skipped.

    Returns:
        The same counts table as :func:`factcensus.indexer.tables.counts.count_facts` for an index of these sources,
        except for three columns: ``index`` is the text ``scan``, so that a report can name the origin of the numbers,
        ``index_digest`` is null, and ``corpus_digest`` identifies the texts that were counted.

    Raises:
        InputError: A source, line or setting is invalid; the sources have no documents; or the analyzer finds no token
            in a subject or object (the message names the row).
        PlaceError: A file cannot be read.
    """
    check_main_guard()
    scan = Scan(facts, ScanSettings(analyzer, tuple(windows), text_field, on_bad_line, by), order)
    files = find_source_files(sources, notice=notice)
    groups = divide(files, _TOGETHER_BYTES, whole=order is not None and order.by_id)
    totals = scan.no_counts()
    for counts in map_tasks(
        scan.scanner,
        groups,
        [size_of(group) for group in groups],
        jobs=jobs or os.cpu_count() or 1,
        progress=progress or (lambda _done, _all: None),
        notice=notice,
    ):
        totals.add(counts)
    check_documents(totals, [file.name for file in files])
    if totals.skipped_lines:
        notice(f"{totals.skipped_lines:,} bad lines skipped")
    return scan.table(totals)


def check_documents(totals: ScanCounts, names: Sequence[str]) -> None:
    """Check that some files have documents.

    Raises:
        InputError: They have none.
    """
    if not totals.digest.documents:
        raise InputError("no documents in " + ", ".join(names))


class Scan:
    """A fact table and the patterns to scan for.

    Args:
        facts: See :func:`scan_facts`.
        settings: The settings.
        order: The order of training, for ``settings.by``.

    Attributes:
        settings: The settings, with distinct windows.

    Raises:
        InputError: See :func:`scan_facts`.
    """

    def __init__(self, facts: Facts, settings: ScanSettings, order: Order | None = None) -> None:
        self.settings, self._order = settings.checked(), order
        if (order is None) != (settings.by is None):
            raise InputError("--by step:N needs the order of training, and the order needs --by step:N; give both")
        self._facts = countable(facts, settings.by)
        self._analyzer = get_analyzer(settings.analyzer)
        windows = np.concatenate([np.array([WHOLE_DOCUMENT]), check_windows(self.settings.windows)])
        self._patterns, self._entities = make_patterns(self._facts, self._analyzer, windows)

    @property
    def scanner(self) -> Callable[[], Scanner]:
        """A picklable function that returns a scanner for this process."""
        return partial(Scanner, self._patterns, self.settings, self._order)

    def no_counts(self) -> ScanCounts:
        """Return zero counts, to which others are added."""
        return ScanCounts(self._patterns.no_counts())

    def table(self, totals: ScanCounts, *, exact: bool = True) -> pa.Table:
        """Return the counts table for the counts of all files; ``exact`` is false if some are missing."""
        named = dict(zip(self._names, self._numbers(totals.counts).T, strict=True))
        table = counts_table(self._facts, named, index="scan", digest=None, analyzer=self._analyzer.label, exact=exact)
        table = table.append_column(CORPUS_DIGEST, pa.array([totals.digest.hexadecimal] * table.num_rows, pa.string()))
        by = self.settings.by
        if by is None:
            return table
        if not any(True for _ in totals.steps):
            raise InputError(NO_STEPS)
        return table.append_column(f"by_{by}", step_column(by, self._names, table.num_rows, self._as_of_steps(totals)))

    @property
    def _names(self) -> list[str]:
        return count_names(self.settings.windows)

    def _numbers(self, counts: Counts) -> npt.NDArray[np.int64]:
        """Return int64 (facts, names): all counts of each fact."""
        subjects, objects = (self._entities[role] for role in ROLES)
        four = [part[entities] for part in counts[:2] for entities in (subjects, objects)]
        return np.column_stack([*four, counts.together.reshape(self._facts.num_rows, -1)])

    def _as_of_steps(self, totals: ScanCounts) -> Iterator[tuple[str, npt.NDArray[np.int64]]]:
        """Yield each group of steps with the counts of all documents seen by its end."""
        steps = steps_of(self.settings.by)
        assert steps is not None
        counts = self._patterns.no_counts()
        for group, (slots, values) in totals.steps:
            add_sparse(counts, slots, values)
            yield label_of(group, steps), self._numbers(counts)
