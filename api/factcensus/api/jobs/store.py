"""Jobs and their tables in one DuckDB database, ``jobs.duckdb`` in a folder: what is in there outlives the process.

A table is kept in pieces, each a blob that holds an Arrow stream: its facts first, and in their place its counts once
they are known, in one transaction with the number of rows counted. So a crash loses at most the piece that was being
counted. DuckDB lets one process open a database for writing; a second service needs a folder of its own.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from factcensus.api.client.tables import count_columns
from factcensus.api.http.problems import LACKS, Problem, problem_of_lack
from factcensus.api.jobs.records import UNFINISHED, Job, State
from factcensus.indexer.errors import IndexChangedError, InputError

FILE = "jobs.duckdb"
#: Of the tables below; a database of another version is refused.
VERSION = 1
#: What a job takes besides its pieces.
JOB_BYTES = 4096
_TABLES = """
    CREATE TABLE IF NOT EXISTS version (number INTEGER);
    CREATE TABLE IF NOT EXISTS jobs (
        id VARCHAR, owner VARCHAR, index_name VARCHAR, digest VARCHAR, media_type VARCHAR, windows BIGINT[],
        state VARCHAR, facts BIGINT, counted BIGINT, created DOUBLE, started DOUBLE, finished DOUBLE, error VARCHAR,
        generation BIGINT, interruptions INTEGER
    );
    CREATE TABLE IF NOT EXISTS pieces (job VARCHAR, number INTEGER, counted BOOLEAN, data BLOB);
    ALTER TABLE jobs ADD COLUMN IF NOT EXISTS generation BIGINT;
    ALTER TABLE jobs ADD COLUMN IF NOT EXISTS interruptions INTEGER;
"""
_COLUMNS = (
    "id, owner, index_name, digest, media_type, windows, state, facts, counted, created, started, finished, error, "
    "generation, coalesce(interruptions, 0)"
)


class JobStore:
    """The database, open; safe from many threads, which take turns.

    Raises:
        InputError: the folder or the database cannot be used; the message says why.
    """

    def __init__(self, folder: Path) -> None:
        self._lock = threading.Lock()
        self._folder = folder
        path = folder / FILE
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._connection = _connected(path)
            self._connection.execute(_TABLES)
            # Of a table whose last piece had not come when the process ended.
            self._connection.execute("DELETE FROM pieces WHERE job NOT IN (SELECT id FROM jobs)")
            versions = self._connection.execute("SELECT number FROM version").fetchall()
            if not versions:
                self._connection.execute("INSERT INTO version VALUES (?)", [VERSION])
        except (duckdb.Error, OSError) as error:
            raise InputError(
                f"the jobs at {path} cannot be opened ({str(error).splitlines()[0]}); a folder serves one service at a "
                "time: give this one another FACTCENSUS_JOBS_FOLDER, or move a damaged database away"
            ) from error
        if versions not in ([], [(VERSION,)]):
            self._connection.close()
            raise InputError(f"{path} has version {versions[0][0]}, this release reads {VERSION}; move it away")

    def close(self) -> None:
        """Write everything down and let go of the file; a second call does nothing."""
        with self._lock:
            self._connection.close()

    @contextmanager
    def _transaction(self) -> Iterator[duckdb.DuckDBPyConnection]:
        with self._lock:
            try:
                self._connection.begin()
                try:
                    yield self._connection
                except BaseException:
                    self._connection.rollback()
                    raise
                self._connection.commit()
            except duckdb.Error as error:
                problem = _problem_of(error)
                if problem is None:
                    raise
                # DuckDB gives up a database whose checkpoint found no room; what was committed is there once it is
                # opened again.
                self._connection.close()
                self._connection = _connected(self._folder / FILE)
                raise problem from error

    def free_bytes(self) -> int:
        """Room on the disk of the folder."""
        return shutil.disk_usage(self._folder).free

    def add(self, job: Job) -> None:
        """Keep a new job, whose pieces are kept already."""
        row = [
            job.id, job.owner, job.index, job.digest, job.media_type, list(job.windows),
            job.state, job.facts, job.counted, job.created, job.started, job.finished, job.error,
            job.generation, job.interruptions,
        ]  # fmt: skip
        with self._transaction() as database:
            database.execute(f"INSERT INTO jobs VALUES ({', '.join('?' * len(row))})", row)

    def add_pieces(self, id: str, pieces: Iterable[pa.Table]) -> None:
        """Keep the pieces of a table whose job is added later, one after the other; none where one of them fails."""
        try:
            for number, piece in enumerate(pieces):
                blob = _pack(piece)
                with self._transaction() as database:
                    database.execute("INSERT INTO pieces VALUES (?, ?, false, ?)", [id, number, blob])
        except BaseException:
            self.remove(id)
            raise

    def get(self, id: str) -> Job | None:
        """The job of this id."""
        found = self._jobs("WHERE id = ?", [id])
        return found[0] if found else None

    def of(self, owner: str, most: int) -> list[Job]:
        """The jobs of an owner, the newest first, at most so many."""
        return self._jobs("WHERE owner = ? ORDER BY created DESC, id LIMIT ?", [owner, most])

    def unfinished(self) -> list[Job]:
        """Jobs that wait or run, the oldest first."""
        return self._jobs("WHERE list_contains(?, state) ORDER BY created, id", [list(UNFINISHED)])

    def _jobs(self, condition: str, values: list[object]) -> list[Job]:
        with self._lock:
            query = f"SELECT {_COLUMNS} FROM jobs {condition}"  # the condition is one of ours
            found = self._connection.execute(query, values).fetchall()
        return [_job_of(row) for row in found]

    def set_state(self, id: str, state: State, now: float, error: str | None = None) -> None:
        """Note that a job was begun, put back, or finished."""
        moment = {"running": "started = coalesce(started, $now),", "queued": ""}.get(state, "finished = $now,")
        with self._transaction() as database:
            database.execute(
                f"UPDATE jobs SET {moment} state = $state, error = $error WHERE id = $id",  # one of three constants
                {"state": state, "error": error, "id": id} | ({"now": now} if moment else {}),
            )

    def note_interruption(self, id: str) -> int:
        """Put back a job that was running when the process ended; how often that happened to its next piece."""
        with self._transaction() as database:
            row = database.execute(
                "UPDATE jobs SET state = 'queued', interruptions = coalesce(interruptions, 0) + 1 WHERE id = ? "
                "RETURNING interruptions",
                [id],
            ).fetchone()
        return int(row[0]) if row else 0

    def done(self) -> list[Job]:
        """Jobs that have a result."""
        return self._jobs("WHERE state = 'done'", [])

    def restart(self, id: str, digest: str | None, generation: int | None) -> None:
        """Forget the counts of a job, which is counted in another content of its index from the beginning."""
        with self._transaction() as database:
            row = database.execute("SELECT windows FROM jobs WHERE id = ?", [id]).fetchone()
            if row is None:  # it was removed
                return
            query = "SELECT number FROM pieces WHERE job = ? AND counted"
            for (number,) in database.execute(query, [id]).fetchall():
                place = [id, number]
                data = database.execute("SELECT data FROM pieces WHERE job = ? AND number = ?", place).fetchone()
                assert data is not None
                facts = _pack(_without_counts(_unpack(data[0]), row[0]))
                database.execute("DELETE FROM pieces WHERE job = ? AND number = ?", place)
                database.execute("INSERT INTO pieces VALUES (?, ?, false, ?)", [*place, facts])
            database.execute(
                "UPDATE jobs SET digest = ?, generation = ?, counted = 0 WHERE id = ?", [digest, generation, id]
            )

    def drop_counts(self, id: str, now: float, error: str) -> None:
        """Forget the result of a job, and note why."""
        with self._transaction() as database:
            database.execute("DELETE FROM pieces WHERE job = ?", [id])
            database.execute(
                "UPDATE jobs SET state = 'outdated', finished = ?, error = ? WHERE id = ?", [now, error, id]
            )

    def next_piece(self, id: str) -> tuple[int, pa.Table] | None:
        """The number of the first piece that is not counted, and its facts; None when all are, or the job has gone."""
        with self._lock:
            row = self._connection.execute(
                "SELECT number, data FROM pieces WHERE job = ? AND NOT counted ORDER BY number LIMIT 1", [id]
            ).fetchone()
        return None if row is None else (row[0], _unpack(row[1]))

    def put_counts(self, id: str, number: int, counts: pa.Table) -> None:
        """Put the counts of a piece in the place of its facts."""
        blob = _pack(counts)
        with self._transaction() as database:
            database.execute(
                "UPDATE pieces SET data = ?, counted = true WHERE job = ? AND number = ?", [blob, id, number]
            )
            database.execute(
                "UPDATE jobs SET counted = counted + ?, interruptions = 0 WHERE id = ?", [counts.num_rows, id]
            )

    def counts(self, id: str) -> Iterator[pa.Table]:
        """The pieces of a finished job in order, one at a time.

        Raises:
            InputError: the job has gone meanwhile.
            IndexChangedError: its result was dropped meanwhile.
        """
        with self._lock:
            query = "SELECT state, error, (SELECT count(*) FROM pieces WHERE job = id) FROM jobs WHERE id = ?"
            state, error, pieces = self._connection.execute(query, [id]).fetchone() or (None, None, 0)
        if state == "outdated":  # since the caller looked: without its pieces, it would read as a table without rows
            raise IndexChangedError(error)
        if state is None:
            raise InputError(f"job {id} was removed while its result was read")
        for number in range(pieces):
            with self._lock:
                row = self._connection.execute(
                    "SELECT data FROM pieces WHERE job = ? AND number = ? AND counted", [id, number]
                ).fetchone()
            if row is None:
                raise InputError(f"job {id} was removed while its result was read")
            yield _unpack(row[0])

    def remove(self, id: str) -> bool:
        """Forget a job and its table; False when there is none."""
        with self._transaction() as database:
            database.execute("DELETE FROM pieces WHERE job = ?", [id])
            return bool(database.execute("DELETE FROM jobs WHERE id = ? RETURNING id", [id]).fetchall())

    def remove_finished(self, before: float) -> int:
        """Forget the jobs that were finished before a moment; how many there were."""
        with self._transaction() as database:
            gone = database.execute("DELETE FROM jobs WHERE finished < ? RETURNING id", [before]).fetchall()
            database.execute("DELETE FROM pieces WHERE list_contains(?, job)", [[id for (id,) in gone]])
        return len(gone)

    def size_bytes(self) -> int:
        """What all jobs take, about; files that DuckDB has not shrunk yet may be larger."""
        with self._lock:
            row = self._connection.execute(
                "SELECT (SELECT count(*) FROM jobs) * ? + coalesce((SELECT sum(octet_length(data)) FROM pieces), 0)",
                [JOB_BYTES],
            ).fetchone()
        return int(row[0]) if row else 0


def _connected(path: Path) -> duckdb.DuckDBPyConnection:
    return duckdb.connect(str(path), config={"threads": 1, "memory_limit": "512MB"})


def _problem_of(error: duckdb.Error) -> Problem | None:
    """What DuckDB lacks, if it is room or files: it tells the system's reason in its message only."""
    message = str(error)
    return next((problem_of_lack(number) for number in LACKS if os.strerror(number) in message), None)


def _job_of(row: Sequence[Any]) -> Job:
    """A row of the table of jobs, whose columns are in the order of the record's."""
    values = dict(zip((each.name for each in fields(Job)), row, strict=True))
    return Job(**{**values, "windows": tuple(values["windows"])})


def _without_counts(counts: pa.Table, windows: Sequence[int]) -> pa.Table:
    """Return the facts of a counts table."""
    return counts.drop_columns([*count_columns(windows)])


def _pack(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as stream:
        stream.write_table(table)
    return bytes(sink.getvalue())


def _unpack(blob: bytes) -> pa.Table:
    with pa.ipc.open_stream(blob) as stream:
        return stream.read_all()
