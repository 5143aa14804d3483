"""Questions about the document table of a whole index, answered by DuckDB over its Parquet files.

The result is always a set of documents or a number per document, by shard; counting then goes by the documents'
numbers alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from factcensus.indexer.errors import IndexFormatError, InputError
from factcensus.indexer.storage.layout import HeldFile

#: Documents by shard number: their numbers in the shard, in rising order.
Chosen = Mapping[int, npt.NDArray[np.uint32]]
#: The document table of each shard, by its number: its path, or the file that an opened index holds.
Tables = Mapping[int, Path | HeldFile]
#: Columns that can be grouped and selected by as they are; anything else is a path into the metadata.
COLUMNS = ("id", "source", "path", "record", "tokens", "text_bytes")


def count_sources(tables: Tables, deleted: Chosen) -> dict[str, dict[str, int]]:
    """Documents and tokens of each source."""
    query = "SELECT source, count(*), sum(tokens) FROM documents GROUP BY source ORDER BY source"
    with _documents(tables, deleted) as connection:
        rows = connection.execute(query).fetchall()
    return {source: {"documents": int(documents), "tokens": int(tokens)} for source, documents, tokens in rows}


def count_text_bytes(tables: Tables, deleted: Chosen) -> int:
    """UTF-8 bytes of all texts."""
    with _documents(tables, deleted) as connection:
        return int(connection.execute("SELECT coalesce(sum(text_bytes), 0) FROM documents").fetchall()[0][0])


def find_repeated(tables: Tables, deleted: Chosen) -> dict[int, npt.NDArray[np.uint32]]:
    """The documents whose text an earlier one has: equal 64-bit digests of texts of equal length."""
    query = """
        SELECT shard, row FROM documents
        QUALIFY row_number() OVER (PARTITION BY text_digest, text_bytes, tokens ORDER BY shard, row) > 1
    """
    with _documents(tables, deleted) as connection:
        return _by_shard(connection.sql(query).to_arrow_table())


def select_documents(
    tables: Tables, deleted: Chosen, *, ids: Sequence[str] = (), where: str | None = None
) -> dict[int, npt.NDArray[np.uint32]]:
    """The documents with one of some ids, or for which a condition holds.

    Args:
        tables: the document tables.
        deleted: documents to leave out.
        ids: values of the column ``id``.
        where: a condition in DuckDB's SQL over the columns of the document table; fields of the metadata as
            ``metadata ->> '$.path.to.field'``.

    Raises:
        InputError: no document, deleted or not, has one of the ids; or the condition cannot be understood.
    """
    conditions = ["id IN (SELECT unnest($ids))"] if ids else []
    conditions += [f"({where})"] if where is not None else []
    query = "SELECT shard, row FROM documents WHERE " + " OR ".join(conditions or ["false"])
    parameters = {"ids": list(ids)} if ids else None
    if ids:
        with _documents(tables, {}) as connection:
            known = connection.execute("SELECT id FROM documents WHERE id IN (SELECT unnest($ids))", parameters)
            missing = sorted(set(ids) - {row[0] for row in known.fetchall()})
        if missing:
            shown = ", ".join(missing[:5]) + (", …" if len(missing) > 5 else "")
            raise InputError(f"no document has the id {shown} ({len(missing)} of the {len(ids)} ids given)")
    with _documents(tables, deleted) as connection:
        try:
            return _by_shard(connection.sql(query, params=parameters).to_arrow_table())
        except duckdb.IOException:
            raise
        except duckdb.Error as error:
            raise InputError(f"the condition {where!r} cannot be used ({_first_line(error)})") from error


def group_documents(tables: Tables, by: str) -> tuple[list[str], dict[int, npt.NDArray[np.int32]]]:
    """The values of a column in alphabetical order, and each document's place among them, by shard.

    Args:
        tables: the document tables.
        by: a column of the document table, or a field of the metadata, nested ones with dots (``metadata.lang``).
            Documents that have no such field have the value ``""``.
    """
    query = f"SELECT shard, row, {value_of(by)} AS value FROM documents ORDER BY shard, row"
    with _documents(tables, {}) as connection:
        table = connection.sql(query).to_arrow_table()
    values = table["value"].combine_chunks().dictionary_encode()
    names = values.dictionary.to_pylist()
    order = sorted(range(len(names)), key=names.__getitem__)
    place = np.empty(len(names), np.int32)
    place[order] = np.arange(len(names), dtype=np.int32)
    codes = place[values.indices.to_numpy()] if len(names) else np.zeros(0, np.int32)
    of_shard = table["shard"].to_numpy()
    return [names[i] for i in order], {number: codes[of_shard == number] for number in tables}


def value_of(column: str) -> str:
    """A column, or a field of the metadata, as an SQL expression of text; "" where a document has none.

    Raises:
        InputError: no such name can be asked for.
    """
    if "\0" in column or not all(column.split(".")):
        raise InputError(f"{column!r} names no column of the document table and no field of the metadata (nested: a.b)")
    value = f'"{column}"' if column in COLUMNS else f"json_extract_string(metadata, '{_json_path(column)}')"
    return f"coalesce(cast({value} AS VARCHAR), '')"


def _json_path(field: str) -> str:
    """A dotted field as DuckDB's JSON path, safe inside a quoted string."""
    return "$" + "".join("." + json.dumps(part, ensure_ascii=False) for part in field.split(".")).replace("'", "''")


@contextmanager
def _documents(tables: Tables, deleted: Chosen) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection with the view ``documents``: shard, row, and the columns of the document table."""
    deleted_rows = pa.table(
        {
            "shard": np.repeat(list(deleted), [len(rows) for rows in deleted.values()]),
            "row": np.concatenate([np.zeros(0, np.uint32), *deleted.values()]),
        }
    ).cast(pa.schema([("shard", pa.int64()), ("row", pa.int64())]))
    # Without hive_partitioning = false, an index below a folder called source=c4 would have that source throughout.
    parts = [
        f"SELECT {number} AS shard, * RENAME (file_row_number AS row) "
        f"FROM read_parquet({_quoted(table)}, file_row_number = true, hive_partitioning = false)"
        for number, table in tables.items()
    ]
    with duckdb.connect() as connection:
        connection.register("gone", deleted_rows)
        try:
            connection.execute(
                f"CREATE TEMP VIEW documents AS SELECT * FROM ({' UNION ALL '.join(parts)}) "
                "ANTI JOIN gone USING (shard, row)"
            )
            yield connection
        except duckdb.Error as error:
            names = ", ".join(str(table.path if isinstance(table, HeldFile) else table) for table in tables.values())
            raise IndexFormatError(
                f"a document table cannot be read ({_first_line(error)}; {names}); run 'factcensus index verify'"
            ) from error


def _by_shard(table: Any) -> dict[int, npt.NDArray[np.uint32]]:
    shards, rows = table["shard"].to_numpy(), table["row"].to_numpy()
    return {int(shard): np.sort(rows[shards == shard]).astype(np.uint32) for shard in np.unique(shards)}


def _quoted(table: Path | HeldFile) -> str:
    """A path as a string of SQL that names this one file, whatever characters it has."""
    path = table.readable if isinstance(table, HeldFile) else table
    return "'" + re.sub(r"[*?\[]", r"[\g<0>]", str(path)).replace("'", "''") + "'"


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
