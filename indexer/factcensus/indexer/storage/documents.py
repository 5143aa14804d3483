"""Queries of the document table of a whole index, run by DuckDB on its Parquet files.

The result is always a set of documents or one number per document, by shard. Counting then uses only the numbers of
documents.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from factcensus.indexer.errors import IndexerError, IndexFormatError, InputError, too_many_files
from factcensus.indexer.storage.chosen import Chosen
from factcensus.indexer.storage.conditions import check_condition, selecting
from factcensus.indexer.storage.fields import find_field, is_encodable, quote_text
from factcensus.indexer.storage.layout import HeldFile
from factcensus.indexer.system.files import explain_full_disk

#: For each shard number, its document table: a path, or a file held by an open index.
Tables = Mapping[int, Path | HeldFile]
#: The suffix that Linux appends to the name of an open file that was removed.
_REMOVED = " (deleted)"
#: Number of times that the files of one query may be moved while it runs.
_MOST_MOVES = 5
Arguments = ParamSpec("Arguments")
Answer = TypeVar("Answer")


class _MovedError(IndexFormatError):
    """The folder of an opened index was renamed during a query, so a file had another name than allowed."""


def _ask_again_if_moved(function: Callable[Arguments, Answer]) -> Callable[Arguments, Answer]:
    """Repeat a query whose files were moved while it ran; it reads the files that are held open, wherever they are."""

    @wraps(function)
    def asked(*arguments: Arguments.args, **options: Arguments.kwargs) -> Answer:
        for _ in range(_MOST_MOVES):
            with suppress(_MovedError):
                return function(*arguments, **options)
        return function(*arguments, **options)

    return asked


@_ask_again_if_moved
def select_documents(
    tables: Tables, deleted: Chosen, *, ids: Sequence[str] = (), where: str | None = None
) -> dict[int, npt.NDArray[np.uint32]]:
    """Return the documents with one of several ids, or for which a condition holds.

    Args:
        tables: The document tables.
        deleted: Documents to exclude.
        ids: Values of the column ``id``.
        where: A condition in DuckDB's SQL over columns and metadata fields (:mod:`conditions`).

    Raises:
        InputError: No document, deleted or not, has one of the ids; or the condition is invalid.
        UnknownNameError: No document has a column or metadata field.
    """
    found: dict[int, npt.NDArray[np.uint32]] = {}
    with _documents(tables, {} if ids else deleted) as connection:
        if ids:
            known = connection.execute(
                "SELECT DISTINCT id FROM documents WHERE id IN (SELECT unnest($ids))",
                {"ids": [each for each in ids if is_encodable(each)]},
            )
            missing = sorted(set(ids) - {row[0] for row in known.fetchall()})
            if missing:
                shown = ", ".join(missing[:5]) + (", …" if len(missing) > 5 else "")
                raise InputError(
                    f"unknown id {shown} ({len(missing)} of {len(ids)} given ids); give only ids of "
                    "documents in the index"
                )
    with _documents(tables, deleted) as connection:
        if ids:
            query = "SELECT shard, row FROM documents WHERE id IN (SELECT unnest($ids))"
            found = _by_shard(connection.sql(query, params={"ids": list(ids)}).to_arrow_table())
        if where is not None:
            for number, rows in _select_where(connection, where).items():
                found[number] = np.union1d(found.get(number, rows[:0]), rows)
    return found


def _select_where(connection: duckdb.DuckDBPyConnection, where: str) -> dict[int, npt.NDArray[np.uint32]]:
    condition, added = check_condition(connection, where)
    try:
        query = f"SELECT shard, row FROM (SELECT *{selecting(added)} FROM documents) WHERE {condition}"
        return _by_shard(connection.sql(query).to_arrow_table())
    except (duckdb.IOException, duckdb.OutOfMemoryException, duckdb.PermissionException):
        raise  # a condition that asks for a file was refused before
    except duckdb.Error as error:
        reason = first_line(error)
        for expression, name in added.items():
            reason = reason.replace(name, expression)
        raise InputError(f"invalid condition {where!r:.200}: {reason}") from error


def find_replaced(tables: Tables, deleted: Chosen, added: Sequence[Path]) -> dict[int, npt.NDArray[np.uint32]]:
    """Return the documents that have the same id as a document in the tables to be added.

    Raises:
        InputError: An added document has no id, or two added documents have the same id.
    """
    files = ", ".join(map(_pattern, added))
    with _documents(tables, deleted, added) as connection:
        connection.execute(
            f"CREATE TEMP VIEW added AS SELECT id, path, record FROM read_parquet([{files}], hive_partitioning = false)"
        )
        nameless = connection.execute("SELECT path, record FROM added WHERE id IS NULL ORDER BY ALL LIMIT 1").fetchone()
        if nameless:
            raise InputError(
                f"record {nameless[1]} of {nameless[0]} has no id, so it cannot replace a document; give every "
                "document an id, or add without --replace"
            )
        repeated = connection.execute(
            "SELECT id, list(struct_pack(path, record) ORDER BY path, record) FROM added GROUP BY id "
            "HAVING count(*) > 1 ORDER BY id LIMIT 1"
        ).fetchone()
        if repeated:
            places = ", ".join(f"record {place['record']} of {place['path']}" for place in repeated[1][:3])
            raise InputError(f"several new documents have the id {repeated[0]!r}: {places}; give each id once")
        query = "SELECT shard, row FROM documents SEMI JOIN added USING (id)"
        return _by_shard(connection.sql(query).to_arrow_table())


@_ask_again_if_moved
def count_ids(tables: Tables, ids: Sequence[str]) -> dict[str, int]:
    """Return the number of documents with each of several ids, in the order of the ids, including deleted documents."""
    query = "SELECT id, count(*) FROM documents WHERE id IN (SELECT unnest($ids)) GROUP BY id"
    with _documents(tables, {}) as connection:
        found = dict(connection.execute(query, {"ids": list(ids)}).fetchall())
    return {id: found.get(id, 0) for id in ids}


@_ask_again_if_moved
def describe_removed(tables: Tables, removed: Chosen, deleted: Chosen) -> list[dict[str, Any]]:
    """Describe removed documents for a record, in corpus order.

    Args:
        tables: The document tables.
        removed: The documents to describe.
        deleted: All deleted documents, including the removed ones.

    Returns:
        For each document ``shard``, ``row``, ``id``, ``text_digest`` and ``text_bytes``, and the number of remaining
        documents with the same id (``same_id_left``) or the same text (``same_text_left``).
    """
    query = """
        WITH picked AS (SELECT shard, row, id, text_digest, text_bytes
                        FROM documents SEMI JOIN removed USING (shard, row)),
        living AS (SELECT id, text_digest, text_bytes FROM documents ANTI JOIN deleted USING (shard, row)),
        ids AS (SELECT id, count(*) AS same_id_left FROM living SEMI JOIN picked USING (id) GROUP BY id),
        texts AS (SELECT text_digest, text_bytes, count(*) AS same_text_left
                  FROM living SEMI JOIN picked USING (text_digest, text_bytes) GROUP BY ALL)
        SELECT picked.*, coalesce(same_id_left, 0) AS same_id_left, coalesce(same_text_left, 0) AS same_text_left
        FROM picked LEFT JOIN ids USING (id) LEFT JOIN texts USING (text_digest, text_bytes) ORDER BY shard, row
    """
    with _documents(tables, {}) as connection:
        connection.register("removed", _rows_of(removed))
        connection.register("deleted", _rows_of(deleted))
        rows: list[dict[str, Any]] = connection.sql(query).to_arrow_table().to_pylist()
        return rows


@_ask_again_if_moved
def group_documents(
    tables: Tables, by: str, deleted: Chosen | None = None
) -> tuple[list[str], dict[int, npt.NDArray[np.int32]]]:
    """Return the values of a column in alphabetical order, and for each shard the index of the value of each document.

    A value that only deleted documents have is not returned, because it may name a person. The index of a deleted
    document has no meaning.

    Args:
        tables: The document tables.
        by: A document column or a metadata field (:mod:`fields`). Documents without the field have the value ``""``.
        deleted: The deleted documents.

    Raises:
        UnknownNameError: No document has the field.
    """
    with _documents(tables, deleted or {}) as connection:
        field = find_field(connection, by)
    with _documents(tables, {}) as connection:
        connection.register("deleted", _rows_of(deleted or {}))
        query = f"""
            SELECT shard, row, CASE WHEN deleted.row IS NULL THEN coalesce(cast({field} AS VARCHAR), '') END AS value
            FROM documents LEFT JOIN deleted USING (shard, row) ORDER BY shard, row
        """
        table = connection.sql(query).to_arrow_table()
    values = table["value"].combine_chunks().dictionary_encode()
    names = values.dictionary.to_pylist() or [""]
    order = sorted(range(len(names)), key=names.__getitem__)
    place = np.empty(len(names), np.int32)
    place[order] = np.arange(len(names), dtype=np.int32)
    codes = place[values.indices.fill_null(0).to_numpy()]
    of_shard = table["shard"].to_numpy()
    return [names[i] for i in order], {number: codes[of_shard == number] for number in tables}


@contextmanager
def _documents(tables: Tables, deleted: Chosen, more: Sequence[Path] = ()) -> Iterator[duckdb.DuckDBPyConnection]:
    """Yield a connection with the view ``documents``: shard, row, and the columns of the document table.

    Args:
        tables: The document tables.
        deleted: Documents to exclude from the view.
        more: Other files that the connection may read.
    """
    # Without hive_partitioning = false, all documents of an index below a folder "source=c4" would have this source.
    parts = [
        f"SELECT {int(number)} AS shard, * RENAME (file_row_number AS row) "
        f"FROM read_parquet({_pattern(path)}, file_row_number = true, hive_partitioning = false)"
        for number, path in tables.items()
    ]
    with (
        explain_full_disk(_shown(next(iter(tables.values()))).parent, "it starts over"),
        duckdb.connect() as connection,
    ):
        try:
            connection.register("gone", _rows_of(deleted))
            for setting in _closed([*tables.values(), *more]):
                connection.execute(setting)
            connection.execute(
                f"CREATE TEMP VIEW documents AS SELECT * FROM ({' UNION ALL '.join(parts)}) "
                "ANTI JOIN gone USING (shard, row)"
            )
            yield connection
        except duckdb.OutOfMemoryException as error:
            raise IndexerError(
                f"not enough memory to query {len(tables)} document tables ({first_line(error)}); close other programs "
                "or use a machine with more memory"
            ) from error
        except duckdb.Error as error:
            raise _damaged(tables, error) from error


def _closed(files: Sequence[Path | HeldFile]) -> Iterator[str]:
    """Yield the settings after which a connection can read only these files and cannot access anything else."""
    # DuckDB compares allowed paths as passed to it, which differ from the path if that contains pattern characters.
    paths = ", ".join(name for table in files for name in (_pattern(table), *map(quote_text, _names_of(table))))
    yield "SET autoinstall_known_extensions = false"
    yield "SET autoload_known_extensions = false"
    yield "SET python_enable_replacements = false"
    yield f"SET allowed_paths = [{paths}]"
    yield "SET enable_external_access = false"
    yield "SET lock_configuration = true"


def _names_of(table: Path | HeldFile) -> list[str]:
    """Return the names under which DuckDB may find a file.

    It follows links, and the link of a held file leads to another name once the file is removed.
    """
    names = [str(_readable(table))]
    if isinstance(table, HeldFile):
        with suppress(OSError):  # macOS has no such links
            name = os.readlink(table.readable).removesuffix(_REMOVED)
            names += [name, name + _REMOVED]
    return names


def _damaged(tables: Tables, error: duckdb.Error) -> Exception:
    """Return the error for document tables that cannot be read."""
    reason = first_line(error)
    if "No space left" in reason or "Disk quota" in reason:
        return OSError(errno.ENOSPC, reason)
    if "Too many open files" in reason:
        return too_many_files(_shown(next(iter(tables.values()))))
    names = ", ".join(str(_shown(table)) for table in tables.values())
    kind = _MovedError if isinstance(error, duckdb.PermissionException) else IndexFormatError
    return kind(f"cannot read a document table ({reason}; {names}); run 'factcensus index verify'")


def _rows_of(chosen: Chosen) -> pa.Table:
    """Return documents as a table of ``shard`` and ``row``, for a join."""
    shards = np.repeat(np.array([*chosen], np.int64), [len(rows) for rows in chosen.values()])
    rows = np.concatenate([np.zeros(0, np.int64), *chosen.values()]).astype(np.int64)
    return pa.table({"shard": shards, "row": rows})


def _by_shard(table: Any) -> dict[int, npt.NDArray[np.uint32]]:
    shards, rows = table["shard"].to_numpy(), table["row"].to_numpy()
    return {int(shard): np.sort(rows[shards == shard]).astype(np.uint32) for shard in np.unique(shards)}


def _readable(table: Path | HeldFile) -> Path:
    return Path(table.readable) if isinstance(table, HeldFile) else table


def _shown(table: Path | HeldFile) -> Path:
    return table.path if isinstance(table, HeldFile) else table


def _pattern(table: Path | HeldFile) -> str:
    """Return a path as an SQL string with pattern characters escaped, so that it names exactly this file."""
    return quote_text(re.sub(r"[*?\[]", r"[\g<0>]", str(_readable(table))))


def first_line(error: Exception) -> str:
    """Return the first line of a message."""
    return str(error).strip().partition("\n")[0]
