"""Storage of jobs and their tables in a DuckDB database, ``jobs.duckdb``, which outlives the process.

A table is stored in pieces, each an Arrow stream in a blob. One transaction replaces the facts of a piece by its counts
and updates the number of counted rows, so a crash loses at most the piece being counted. DuckDB lets only one process
open a database for writing; a second service needs another folder.
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
#: Version of the tables below; databases of other versions are refused.
VERSION = 1
#: Estimated bytes of a job without its pieces.
JOB_BYTES = 4096
_TABLES = """
    CREATE TABLE IF NOT EXISTS version (number INTEGER);
    CREATE TABLE IF NOT EXISTS jobs (
        id VARCHAR, owner VARCHAR, index_name VARCHAR, digest VARCHAR, media_type VARCHAR, windows BIGINT[],
        state VARCHAR, facts BIGINT, counted BIGINT, created DOUBLE, started DOUBLE, finished DOUBLE, error VARCHAR,
        generation BIGINT, interruptions INTEGER, name VARCHAR
    );
    CREATE TABLE IF NOT EXISTS pieces (job VARCHAR, number INTEGER, counted BOOLEAN, data BLOB);
    ALTER TABLE jobs ADD COLUMN IF NOT EXISTS generation BIGINT;
    ALTER TABLE jobs ADD COLUMN IF NOT EXISTS interruptions INTEGER;
    ALTER TABLE jobs ADD COLUMN IF NOT EXISTS name VARCHAR;
"""
_COLUMNS = (
    "id, owner, index_name, digest, media_type, windows, state, facts, counted, created, started, finished, error, "
    "generation, coalesce(interruptions, 0), coalesce(name, '')"
)


class JobStore:
    """The open database, safe to use from several threads.

    Raises:
        InputError: The folder or the database cannot be used; the message has the reason.
    """

    def __init__(self, folder: Path) -> None:
        self._lock = threading.Lock()
        self._folder = folder
        path = folder / FILE
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._connection = _connected(path)
            self._connection.execute(_TABLES)
            # Pieces of tables that were incomplete when the process ended.
            self._connection.execute("DELETE FROM pieces WHERE job NOT IN (SELECT id FROM jobs)")
            versions = self._connection.execute("SELECT number FROM version").fetchall()
            if not versions:
                self._connection.execute("INSERT INTO version VALUES (?)", [VERSION])
        except (duckdb.Error, OSError) as error:
            raise InputError(
                f"cannot open the job database {path} ({str(error).splitlines()[0]}); only one service may use a "
                "folder at a time: set another FACTCENSUS_JOBS_FOLDER, or move a damaged database away"
            ) from error
        if versions not in ([], [(VERSION,)]):
            self._connection.close()
            raise InputError(
                f"{path} has version {versions[0][0]}, but this release reads version {VERSION}; move it away"
            )

    def close(self) -> None:
        """Flush and close the database; a second call does nothing."""
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
                # DuckDB invalidates a database whose checkpoint found no disk space; committed data are there after it
                # is opened again.
                self._connection.close()
                self._connection = _connected(self._folder / FILE)
                raise problem from error

    def free_bytes(self) -> int:
        """Return the free bytes on the disk of the folder."""
        return shutil.disk_usage(self._folder).free

    def add(self, job: Job) -> None:
        """Store a new job whose pieces are already stored."""
        row = [
            job.id,
            job.owner,
            job.index,
            job.digest,
            job.media_type,
            list(job.windows),
            job.state,
            job.facts,
            job.counted,
            job.created,
            job.started,
            job.finished,
            job.error,
            job.generation,
            job.interruptions,
            job.name,
        ]
        with self._transaction() as database:
            database.execute(f"INSERT INTO jobs VALUES ({', '.join('?' * len(row))})", row)

    def add_pieces(self, id: str, pieces: Iterable[pa.Table]) -> None:
        """Store the pieces of a table whose job is added later; if one fails, remove all of them."""
        try:
            for number, piece in enumerate(pieces):
                blob = _pack(piece)
                with self._transaction() as database:
                    database.execute("INSERT INTO pieces VALUES (?, ?, false, ?)", [id, number, blob])
        except BaseException:
            self.remove(id)
            raise

    def get(self, id: str) -> Job | None:
        """Return the job with this id, or None."""
        found = self._jobs("WHERE id = ?", [id])
        return found[0] if found else None

    def of(self, owner: str, most: int) -> list[Job]:
        """Return at most ``most`` jobs of an owner, newest first."""
        return self._jobs("WHERE owner = ? ORDER BY created DESC, id LIMIT ?", [owner, most])

    def unfinished(self) -> list[Job]:
        """Return the waiting and running jobs, oldest first."""
        return self._jobs("WHERE list_contains(?, state) ORDER BY created, id", [list(UNFINISHED)])

    def _jobs(self, condition: str, values: list[object]) -> list[Job]:
        with self._lock:
            query = f"SELECT {_COLUMNS} FROM jobs {condition}"  # the condition is a constant
            found = self._connection.execute(query, values).fetchall()
        return [_job_of(row) for row in found]

    def set_state(self, id: str, state: State, now: float, error: str | None = None) -> None:
        """Record that a job was started, put back or finished."""
        moment = {"running": "started = coalesce(started, $now),", "queued": ""}.get(state, "finished = $now,")
        with self._transaction() as database:
            database.execute(
                f"UPDATE jobs SET {moment} state = $state, error = $error WHERE id = $id",  # one of three constants
                {"state": state, "error": error, "id": id} | ({"now": now} if moment else {}),
            )

    def note_interruption(self, id: str) -> int:
        """Put back a job that ran when the process ended; return how often this has happened at its current piece."""
        with self._transaction() as database:
            row = database.execute(
                "UPDATE jobs SET state = 'queued', interruptions = coalesce(interruptions, 0) + 1 WHERE id = ? "
                "RETURNING interruptions",
                [id],
            ).fetchone()
        return int(row[0]) if row else 0

    def done(self) -> list[Job]:
        """Return the jobs that have a result."""
        return self._jobs("WHERE state = 'done'", [])

    def restart(self, id: str, digest: str | None, generation: int | None) -> None:
        """Remove the counts of a job, so that it is counted again on another generation of its index."""
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
        """Remove the result of a job, and record the reason."""
        with self._transaction() as database:
            database.execute("DELETE FROM pieces WHERE job = ?", [id])
            database.execute(
                "UPDATE jobs SET state = 'outdated', finished = ?, error = ? WHERE id = ?", [now, error, id]
            )

    def next_piece(self, id: str) -> tuple[int, pa.Table] | None:
        """Return the number and the facts of the first uncounted piece; None if all are counted or the job is gone."""
        with self._lock:
            row = self._connection.execute(
                "SELECT number, data FROM pieces WHERE job = ? AND NOT counted ORDER BY number LIMIT 1", [id]
            ).fetchone()
        return None if row is None else (row[0], _unpack(row[1]))

    def put_counts(self, id: str, number: int, counts: pa.Table) -> None:
        """Replace the facts of a piece by its counts."""
        blob = _pack(counts)
        with self._transaction() as database:
            database.execute(
                "UPDATE pieces SET data = ?, counted = true WHERE job = ? AND number = ?", [blob, id, number]
            )
            database.execute(
                "UPDATE jobs SET counted = counted + ?, interruptions = 0 WHERE id = ?", [counts.num_rows, id]
            )

    def counts(self, id: str) -> Iterator[pa.Table]:
        """Yield the pieces of a finished job in order.

        Raises:
            InputError: The job was removed in the meantime.
            IndexChangedError: The result was dropped in the meantime.
        """
        with self._lock:
            query = "SELECT state, error, (SELECT count(*) FROM pieces WHERE job = id) FROM jobs WHERE id = ?"
            state, error, pieces = self._connection.execute(query, [id]).fetchone() or (None, None, 0)
        if state == "outdated":  # its pieces were removed, so it would look like a table without rows
            raise IndexChangedError(error)
        if state is None:
            raise InputError(f"job {id} was removed while its result was being read")
        for number in range(pieces):
            with self._lock:
                row = self._connection.execute(
                    "SELECT data FROM pieces WHERE job = ? AND number = ? AND counted", [id, number]
                ).fetchone()
            if row is None:
                raise InputError(f"job {id} was removed while its result was being read")
            yield _unpack(row[0])

    def remove(self, id: str) -> bool:
        """Remove a job and its table; return whether there was one."""
        with self._transaction() as database:
            database.execute("DELETE FROM pieces WHERE job = ?", [id])
            return bool(database.execute("DELETE FROM jobs WHERE id = ? RETURNING id", [id]).fetchall())

    def remove_finished(self, before: float) -> int:
        """Remove the jobs finished before a time; return their number."""
        with self._transaction() as database:
            gone = database.execute("DELETE FROM jobs WHERE finished < ? RETURNING id", [before]).fetchall()
            database.execute("DELETE FROM pieces WHERE list_contains(?, job)", [[id for (id,) in gone]])
        return len(gone)

    def size_bytes(self) -> int:
        """Return the approximate bytes of all jobs; files that DuckDB has not shrunk yet may be larger."""
        with self._lock:
            row = self._connection.execute(
                "SELECT (SELECT count(*) FROM jobs) * ? + coalesce((SELECT sum(octet_length(data)) FROM pieces), 0)",
                [JOB_BYTES],
            ).fetchone()
        return int(row[0]) if row else 0


def _connected(path: Path) -> duckdb.DuckDBPyConnection:
    return duckdb.connect(str(path), config={"threads": 1, "memory_limit": "512MB"})


def _problem_of(error: duckdb.Error) -> Problem | None:
    """Return the problem if DuckDB lacks disk space or file handles; only its message has the system's reason."""
    message = str(error)
    return next((problem_of_lack(number) for number in LACKS if os.strerror(number) in message), None)


def _job_of(row: Sequence[Any]) -> Job:
    """Return the job of a row; its columns are in the order of the fields of :class:`Job`."""
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
