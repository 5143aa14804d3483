"""Counting a fact table in a corpus, without an index, as a job: a unit counts some pieces of the corpus.

The object of a unit is a Parquet table of the counts that are not zero, so 100,000 facts take a few megabytes in all.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from factcensus.indexer.analyzers import get_analyzer
from factcensus.indexer.corpus import SourceFile, find_source_files
from factcensus.indexer.counting.order import Order
from factcensus.indexer.counting.scan import Scan, check_documents
from factcensus.indexer.counting.scanner import ScanCounts, ScanSettings, divide, size_of
from factcensus.indexer.counting.step_counts import StepCounts, add_sparse, sparse
from factcensus.indexer.errors import InputError
from factcensus.indexer.kernels.text_digest import TextDigest
from factcensus.indexer.numbers import counted
from factcensus.indexer.system.places import Place
from factcensus.indexer.system.processes import check_main_guard
from factcensus.indexer.tables.added import countable
from factcensus.indexer.tables.facts import Facts
from factcensus.indexer.tables.files import check_output, write_table
from factcensus.indexer.work.folder import WorkFolder
from factcensus.indexer.work.job import Run, Runner, RunUnit, Unit, run_job
from factcensus.indexer.work.plan import Plan, check_unchanged

KIND, STAGE = "scan", "count"
#: Version of the objects of units.
FORMAT = 1
FACTS, ORDER = "facts.arrow", "order.arrow"
#: The group of all documents in the object of a unit; other groups are those of steps.
_ALL = -1
#: Bytes of small files that a unit counts together.
UNIT_BYTES = 64 << 20
#: Objects of units that are read at the same time and added together.
_GROUP = 64
_MOST_NAMED = 20


def scan_shared(
    sources: str | Path | Sequence[str | Path],
    facts: Facts,
    *,
    work: str | Path | Place,
    out: str | Path | Place,
    runner: Runner,
    settings: ScanSettings | None = None,
    order: pa.Table | None = None,
    run: Run | None = None,
) -> str:
    """Count every fact of a table in a corpus together with other machines, as far as this runner can.

    Args:
        sources: Files, folders or URLs.
        facts: A path, a list of records, or a pandas, polars or Arrow table; see :func:`read_facts`.
        work: The work folder. If it has unfinished work of the same plan, that work is continued.
        out: The counts table, which is written when all units are done; equal to that of :func:`scan_facts`.
        runner: See :func:`factcensus.indexer.work.runners.load_runner`.
        settings: The settings of the scan.
        order: The table of the training order, for ``settings.by``; see
            :class:`factcensus.indexer.counting.order.Order`.
        run: Callbacks.

    Returns:
        One line about the result, or about how much is done.

    Raises:
        InputError: As in :func:`scan_facts`; or the work folder has another plan.
        PlaceError: A file cannot be read or written; finished units are kept.
    """
    check_main_guard()
    check_output(out)
    run = run or Run()
    folder = WorkFolder(Place.of(work))
    files = find_source_files(sources, notice=run.notice)
    job = ScanJob.planned(countable(facts), settings or ScanSettings(), files, folder, order)
    now = run_job(job, folder, runner, run)
    if now.stage is None:
        return job.finish(folder, Place.of(out))
    return (
        f"{folder}: {now.finished[STAGE]:,} of {now.units[STAGE]:,} units are done; run the other parts, then "
        f"'factcensus work finish {folder} --out {Place.of(out)}'"
    )


class ScanJob:
    """A scan of a corpus for the facts of a table; picklable.

    Args:
        settings: The settings of the scan.
        files: The files of the corpus.
        whole: Do not divide files, because documents are known by their ids.
    """

    stages: Sequence[str] = (STAGE,)

    def __init__(self, settings: ScanSettings, files: Sequence[SourceFile], whole: bool = False) -> None:
        self._settings, self._files, self._whole = settings, files, whole

    def _scan(self, folder: WorkFolder) -> Scan:
        order = None if self._settings.by is None else Order(_from_arrow(folder.input(ORDER)))
        return Scan(_from_arrow(folder.input(FACTS)), self._settings, order)

    @classmethod
    def planned(
        cls,
        facts: pa.Table,
        settings: ScanSettings,
        files: Sequence[SourceFile],
        folder: WorkFolder,
        order: pa.Table | None = None,
    ) -> ScanJob:
        """Return a new job after its plan was written to a work folder, or compared with the plan there.

        Args:
            facts: A checked fact table, see :func:`factcensus.indexer.tables.added.countable`.
            settings: The settings of the scan.
            files: The files of the corpus.
            folder: The work folder.
            order: See :func:`scan_shared`.

        Raises:
            InputError: A setting, fact or step is invalid, or the folder has another plan; the message names it.
        """
        scan = Scan(facts, settings, None if order is None else Order(order))
        label = get_analyzer(settings.analyzer).label
        inputs = {FACTS: _to_arrow(facts)} | ({} if order is None else {ORDER: _to_arrow(order)})
        whole = order is not None and Order(order).by_id
        plan = Plan.of(
            KIND, {**asdict(scan.settings), "analyzer_label": label, "whole_files": whole}, files, inputs, FORMAT
        )
        folder.claim(plan, inputs)
        return cls(scan.settings, files, whole)

    @classmethod
    def of_plan(cls, plan: Plan) -> ScanJob:
        """Return the job for a plan; it can finish but not run."""
        own = ("analyzer_label", "whole_files")
        settings = {name: value for name, value in plan.settings.items() if name not in own}
        return cls(
            ScanSettings(**{**settings, "windows": tuple(settings["windows"])}),
            [SourceFile(file.url, file.name, file.size_bytes, file.tag) for file in plan.files],
            plan.settings["whole_files"],
        )

    def units(self, stage: str, folder: WorkFolder) -> list[Unit]:  # noqa: ARG002  (the protocol's signature)
        """Return the units, which depend only on the sizes of the files."""
        return [
            Unit(STAGE, number, size_of(pieces), pieces, tuple(dict.fromkeys(piece.file.name for piece in pieces)))
            for number, pieces in enumerate(divide(self._files, UNIT_BYTES, whole=self._whole))
        ]

    def start(self, folder: WorkFolder) -> RunUnit:
        """Return the function that counts the pieces of a unit."""
        scanner = self._scan(folder).scanner()

        def run(unit: Unit, on_bytes: Callable[[int], None], notice: Callable[[str], None]) -> bytes:
            counts = scanner(unit.what, on_bytes, notice)
            for file in dict.fromkeys(piece.file for piece in unit.what):
                check_unchanged(file)
            return to_bytes(counts)

        return run

    def finish(self, folder: WorkFolder, out: Place, *, allow_missing: bool = False) -> str:
        """Write the counts table of all units."""
        check_output(out)
        units, done = self.units(STAGE, folder), folder.done(STAGE)
        missing = [name for unit in units if unit.number not in done for name in unit.files]
        if missing and not allow_missing:
            raise InputError(
                f"{len(units) - len(done):,} of {len(units):,} units of {folder} are not done: {_named(missing)}; run "
                "them, or give --allow-missing for counts that are not exact"
            )
        scan = self._scan(folder)
        totals = scan.no_counts()
        for content in _read_all(folder, [unit for unit in units if unit.number in done]):
            _add(totals, content)
        totals.steps.merge()
        check_documents(totals, [file.name for file in self._files])
        table = scan.table(totals, exact=not missing)
        write_table(table, out)
        skipped = f", {totals.skipped_lines:,} bad lines skipped" if totals.skipped_lines else ""
        without = f"; not exact, without {_named(missing)}" if missing else ""
        return (
            f"{out}: {counted(table.num_rows, 'fact')} counted in "
            f"{counted(totals.digest.documents, 'document')}{skipped}, corpus digest "
            f"{totals.digest.hexadecimal}{without}"
        )


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMED:,} more files" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more


def _to_arrow(table: pa.Table) -> bytes:
    stream = io.BytesIO()
    with pa.ipc.new_stream(stream, table.schema) as writer:
        writer.write_table(table.combine_chunks())
    return stream.getvalue()


def _from_arrow(content: bytes) -> pa.Table:
    with pa.ipc.open_stream(content) as reader:
        return reader.read_all()


def _read_all(folder: WorkFolder, units: Sequence[Unit]) -> Iterator[bytes]:
    """Yield the objects of units, with one group at a time in memory."""
    with ThreadPoolExecutor(_GROUP) as pool:
        for first in range(0, len(units), _GROUP):
            yield from pool.map(folder.read, units[first : first + _GROUP])


def to_bytes(found: ScanCounts) -> bytes:
    """Return counts as the object of a unit: equal counts give equal bytes."""
    groups = [(_ALL, sparse(found.counts)), *found.steps]
    about = {
        "documents": found.digest.documents,
        "text_bytes": found.digest.text_bytes,
        "sums": found.digest.sums.tolist(),
        "skipped_lines": found.skipped_lines,
        "counts": sum(part.size for part in found.counts),
    }
    table = pa.table(
        {
            "group": np.repeat([group for group, _ in groups], [len(slots) for _, (slots, _) in groups]),
            "slot": np.concatenate([slots for _, (slots, _) in groups]),
            "count": np.concatenate([values for _, (_, values) in groups]),
        },
        metadata={"scan": json.dumps(about)},
    )
    stream = io.BytesIO()
    pq.write_table(table, stream, compression="zstd")
    return stream.getvalue()


def _add(totals: ScanCounts, content: bytes) -> None:
    """Add the object of a unit to counts.

    Raises:
        InputError: The object is damaged.
    """
    try:
        table = pq.read_table(io.BytesIO(content))
        about = json.loads(table.schema.metadata[b"scan"])
        if about["counts"] != sum(part.size for part in totals.counts):
            raise ValueError("it has a different number of counts")
        groups, slots, values = (table[name].to_numpy() for name in ("group", "slot", "count"))
    except (pa.ArrowException, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"the stored result of a unit is damaged ({error}); delete it and run the unit again"
        ) from error
    begins = np.flatnonzero(np.diff(groups, prepend=_ALL - 1)).tolist()
    for begin, end in pairwise([*begins, len(groups)]):
        if groups[begin] == _ALL:
            add_sparse(totals.counts, slots[begin:end], values[begin:end])
        else:
            totals.steps.add(StepCounts({int(groups[begin]): (slots[begin:end], values[begin:end])}))
    totals.digest.add(TextDigest(np.array(about["sums"], np.uint64), about["documents"], about["text_bytes"]))
    totals.skipped_lines += about["skipped_lines"]
