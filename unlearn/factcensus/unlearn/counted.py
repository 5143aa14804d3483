"""Count the facts of a run, through the service or in a local index, and stratify them.

A worker may start before its service and outlive it. It waits until the service is ready, sends batches, stores each
counted batch on disk, and waits with increasing pauses if the service stops answering. After ``index.wait_s`` without
an answer it aborts; the counts so far are kept, and the same command requests only the rest. Once the table is
complete, the service is no longer needed.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from factcensus.indexer.system.files import replaced_file
from factcensus.indexer.tables.restored import restored
from factcensus.unlearn.config.run_config import IndexConfig, RunConfig
from factcensus.unlearn.errors import ConfigError, ServiceLostError
from factcensus.unlearn.models import file_digest
from factcensus.unlearn.progress import Progress, ProgressFunction, silent
from factcensus.unlearn.run_folder import locked_run
from factcensus.unlearn.selection import read_fact_table
from factcensus.unlearn.stopping import check_stop, sleep

if TYPE_CHECKING:
    from factcensus.api.client import Client
    from factcensus.indexer.answers import IndexInfo

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0

CountBatch = Callable[[pa.Table], pa.Table]


def counted_facts(config: RunConfig, folder: Path, progress: ProgressFunction | None = None) -> Path:
    """Return the path of the fact table with counts and strata, after adding them if they are missing.

    Args:
        config: The configuration. Without ``index.url`` or ``index.folder``, the configured table is returned.
        folder: The folder that stores counts; file names identify what was counted.
        progress: Called with the number of facts counted so far.

    Raises:
        ConfigError: the table or the bins cannot be used.
        ServiceLostError: the service was not ready or stopped answering for ``index.wait_s``.
        FactcensusError: the index cannot be opened, or the service refuses the table.
    """
    there = counted_already(config, folder)
    if there is not None:
        return there
    from factcensus.indexer import read_facts, stratify
    from factcensus.indexer.names import suggestion
    from factcensus.indexer.tables.added import without_strata
    from factcensus.indexer.tables.counts import count_names

    facts = without_strata(read_facts(config.facts, columns=config.columns))  # raises errors before anything is counted
    index, path = config.index, _path(config, folder)
    columns = facts.column_names
    has_counts = config.selection.count_column in columns
    with locked_run(folder):
        if not has_counts:
            added = count_names(index.windows)
            if config.selection.count_column not in added:
                raise ConfigError(
                    f"selection.count_column is {config.selection.count_column!r}, a column that counting does not add"
                    f"{suggestion(config.selection.count_column, added)}"
                )
            facts = _counted(facts, index, folder / path.stem.replace("strata", "counts"), progress or silent)
        _write(stratify(facts, config.selection.count_column, index.bins), path)
    return path


def read_counted_facts(config: RunConfig, folder: Path, progress: ProgressFunction | None = None) -> pa.Table:
    """Return the table of :func:`counted_facts`, with all columns that training needs.

    A count column with another name than those that counting adds has integers as well, if all its values are counts.
    """
    path = counted_facts(config, folder, progress)
    table = read_fact_table(path, config.columns if path == config.facts else None)
    name = config.selection.count_column
    if name not in table.column_names:
        return table
    return table.set_column(table.column_names.index(name), name, restored(table[name], name))


def counted_already(config: RunConfig, folder: Path) -> Path | None:
    """Return the path of the table with counts and strata, or None if facts must be counted first. Sends no request.

    Raises:
        ConfigError: the configured table cannot be read.
    """
    columns = read_fact_table(config.facts, config.columns).column_names
    if not config.index.counts or (config.selection.count_column in columns and "stratum" in columns):
        return config.facts
    path = _path(config, folder)
    return path if path.is_file() else None


def _path(config: RunConfig, folder: Path) -> Path:
    """Return the path of the table; its name is a digest of everything that determines it."""
    index = config.index
    key = {
        "facts": file_digest(config.facts),
        "index": index.name or (index.folder.name if index.folder else None),
        "digest": index.digest,
        "windows": list(index.windows),
        "column": config.selection.count_column,
        "bins": index.bins,
        **({"columns": config.columns} if config.columns else {}),
    }
    return folder / f"strata-{hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:12]}.parquet"


def _counted(facts: pa.Table, index: IndexConfig, parts: Path, report: ProgressFunction) -> pa.Table:
    """Count every batch that is not on disk yet, and return all batches as one table."""
    with _counter(index, facts.num_rows, report) as (digest, count):
        if index.digest is not None and digest != index.digest:
            raise ConfigError(f"index.digest is {index.digest}, but the index has digest {digest}")
        folder = parts.with_name(f"{parts.name}-{hashlib.sha256(str(digest).encode()).hexdigest()[:8]}")
        folder.mkdir(parents=True, exist_ok=True)
        counted: list[pa.Table] = []
        for start in range(0, facts.num_rows, index.batch_facts):
            check_stop()
            report(Progress("count facts", start, facts.num_rows))
            path = folder / f"{start:09d}-{index.batch_facts}.parquet"
            if not path.is_file():
                batch = count(facts.slice(start, index.batch_facts))
                _check_digest(batch, digest)
                _write(batch, path)
            counted.append(pq.read_table(path))
        report(Progress("count facts", facts.num_rows, facts.num_rows))
    return pa.concat_tables(counted, promote_options="permissive")


def _check_digest(batch: pa.Table, digest: str | None) -> None:
    found = {value for value in batch["index_digest"].to_pylist() if value is not None}
    if digest is not None and found - {digest}:
        raise ServiceLostError(
            f"the index was replaced while facts were counted (digest {digest} became {found.pop()}); "
            "run the same command again to count all facts in the new index"
        )


def _write(table: pa.Table, path: Path) -> None:
    with replaced_file(path) as partial:
        pq.write_table(table, partial)


@contextmanager
def _counter(index: IndexConfig, facts: int, report: ProgressFunction) -> Iterator[tuple[str | None, CountBatch]]:
    """Yield the index's digest and a function that counts a batch."""
    if index.folder is not None:
        from factcensus.indexer import CountIndex

        with CountIndex.open(index.folder) as opened:
            yield opened.digest, lambda batch: opened.count_facts(batch, windows=index.windows)
        return
    from factcensus.api.client import Client

    assert index.url is not None
    assert index.name is not None
    name = index.name
    with Client(index.url, timeout_s=index.wait_s, attempts=1) as client:
        asked = _Patient(index, facts, report)
        description = asked(lambda: _describe(client, name))
        yield description.digest, lambda batch: asked(lambda: client.count_facts(name, batch, index.windows))


def _describe(client: Client, name: str) -> IndexInfo:
    client.wait_ready(0.0)
    return client.index(name)


class _Patient:
    """Repeats requests with increasing pauses while the service does not answer or is not ready."""

    def __init__(self, index: IndexConfig, facts: int, report: ProgressFunction) -> None:
        self._index, self._facts, self._report, self._asked = index, facts, report, 0

    def __call__(self, ask: Callable[[], Any]) -> Any:
        from factcensus.api.client import NotReadyError, ServerFailureError, UnreachableError

        deadline, pause = time.monotonic() + self._index.wait_s, FIRST_PAUSE_S
        while True:
            try:
                answer = ask()
            except (NotReadyError, UnreachableError, ServerFailureError) as error:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise ServiceLostError(self._message(error)) from error
                self._report(Progress("wait for the counting service", self._asked, self._facts, f"{left:.0f} s left"))
                sleep(min(pause, max(left, 0.0)))
                pause = min(2 * pause, LONGEST_PAUSE_S)
            else:
                self._asked += answer.num_rows if isinstance(answer, pa.Table) else 0
                return answer

    def _message(self, error: Exception) -> str:
        return (
            f"the counting service at {self._index.url} did not answer for {self._index.wait_s:g} s (index.wait_s): "
            f"{error}; {self._asked} facts were counted now and are kept; run the same command again to continue"
        )
