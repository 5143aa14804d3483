"""Reading and checking of fact tables, used by every command and every part."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TypeAlias

import pyarrow as pa
from pyarrow.compute import call_function as compute

from factcensus.indexer.errors import InputError
from factcensus.indexer.numbers import also_rows
from factcensus.indexer.records import Entity
from factcensus.indexer.system.places import Place
from factcensus.indexer.tables.arrow import ArrowTable
from factcensus.indexer.tables.columns import (
    ASKED_LIST_COLUMNS,
    CORPUS_DIGEST,
    LABEL_COLUMNS,
    LIST_COLUMNS,
    REQUIRED,
    STRATUM_COLUMNS,
    TEXT_COLUMNS,
    ColumnNames,
    Notice,
    is_count,
    missing_column,
    silent,
)
from factcensus.indexer.tables.files import TableFormat, read_table, renamed, table_of
from factcensus.indexer.tables.published import reading, refusal
from factcensus.indexer.tables.remarks import remarks
from factcensus.indexer.tables.restored import carried_metadata, restored
from factcensus.indexer.tables.translated import recognised
from factcensus.indexer.tables.values import is_list, list_column, readable_column, text_column


class ArrowStream(Protocol):
    """A table of pandas, polars, DuckDB or another library that can export an Arrow stream."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """Return the stream."""
        ...


#: A fact table in any form: a path, records, or a pandas, polars or Arrow table.
Facts: TypeAlias = str | PathLike[str] | ArrowStream | Iterable[Mapping[str, Any]]


def read_facts(
    source: str | Path | Place | BinaryIO,
    format: TableFormat | None = None,
    *,
    columns: Mapping[str, str] | None = None,
    notice: Notice = silent,
) -> ArrowTable:
    """Read and check a fact table (CSV, JSON Lines, Parquet or Arrow).

    Args:
        source: A path or URL, or an open binary file with a ``format``.
        format: Only needed for an open file; for a path or URL, the ending determines it.
        columns: A mapping from new names to names in the table: ``{"subject": "head", "object": "tail"}``.
        notice: Called with remarks about doubtful cells and columns.

    Returns:
        The table with the text and list columns (:mod:`columns`) as strings or lists of strings, as written; counts and
        strata as integers; and all other columns unchanged.

    Raises:
        InputError: A column is missing or occurs twice, or a row has an empty subject or object; the message names it.
    """
    names = ColumnNames(columns)
    table = read_table(source, format, names)
    try:
        names.check_found()
        raw, facts = _checked_facts(table)
    except InputError as error:
        if isinstance(source, (str, Path, Place)):
            raise InputError(f"{Place.of(source)}: {error}") from error
        raise
    read = reading(table.column_names)
    for remark in [*([read] if read else []), *remarks(raw, facts)]:
        notice(f"{Place.of(source)}: {remark}" if isinstance(source, (str, Path, Place)) else remark)
    return facts


def facts_from_rows(rows: Iterable[Mapping[str, Any]], *, columns: Mapping[str, str] | None = None) -> ArrowTable:
    """Return a checked fact table of records; see :func:`read_facts`."""
    names = ColumnNames(columns)
    renamed = []
    for number, row in enumerate(rows, 1):
        if not isinstance(row, Mapping):
            raise InputError(
                f"record {number} is {row!r:.60}; every record must be a dict such as "
                "{'subject': 'France', 'object': 'Paris'}"
            )
        renamed.append(dict(zip(names.of([str(name) for name in row]), row.values(), strict=True)))
    names.check_found()
    return check_facts(table_of(renamed))


def as_counts(table: Facts) -> ArrowTable:
    """Return a table with counts as an Arrow table, from any form of a fact table; an Arrow table stays as it is.

    Raises:
        TypeError, InputError: As in :func:`as_facts`.
    """
    return table if isinstance(table, pa.Table) else as_facts(table)


def as_facts(facts: Facts, *, columns: Mapping[str, str] | None = None) -> ArrowTable:
    """Return the checked fact table of a path, of records, or of a pandas, polars or Arrow table.

    Raises:
        TypeError: The facts are none of these.
        InputError: As in :func:`read_facts`.
    """
    if isinstance(facts, (str, PathLike)):
        return read_facts(Place.of(facts), columns=columns)
    if isinstance(facts, pa.RecordBatch):
        facts = pa.Table.from_batches([facts])
    if not isinstance(facts, pa.Table):
        if hasattr(facts, "__arrow_c_stream__"):
            facts = _arrow_of(facts)
        elif hasattr(facts, "__dataframe__"):
            from pyarrow.interchange import from_dataframe

            facts = from_dataframe(facts)
        else:
            return facts_from_rows(_records(facts), columns=columns)
    if columns is not None:
        names = ColumnNames(columns)
        facts = renamed(facts, names)
        names.check_found()
    return check_facts(facts)


def _records(facts: object) -> Iterable[Mapping[str, Any]]:
    if isinstance(facts, (Mapping, bytes)) or not isinstance(facts, Iterable):
        raise TypeError(
            "facts must be a path, a list of records (dicts), or a pandas, polars or Arrow table, got "
            f"{type(facts).__name__}"
        )
    return facts


def _arrow_of(frame: Any) -> pa.Table:
    """Return a data frame as an Arrow table, without the row numbers of pandas."""
    try:
        table = pa.table(frame)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        table = _objects_of(frame)
        if table is None:
            raise InputError(f"cannot read the table: {error}") from error
    return table.drop_columns([name for name in table.column_names if name.startswith("__index_level_")])


def _objects_of(frame: Any) -> pa.Table | None:
    """Convert a pandas table with columns that Arrow has no type for, such as ``[7, "007"]`` or large integers.

    Returns:
        None for any other table, or a table with two columns of the same name.
    """
    if not hasattr(frame, "reset_index") or not frame.columns.is_unique:
        return None
    named = [name for name in frame.index.names if name is not None]
    rows = (frame.reset_index(named) if named else frame).to_dict("records")
    return table_of([{str(name): value for name, value in row.items()} for row in rows])


def check_facts(table: pa.Table) -> pa.Table:
    """Check the columns of a fact table and convert their types; see :func:`read_facts`."""
    return _checked_facts(table)[1]


def _checked_facts(table: pa.Table) -> tuple[pa.Table, pa.Table]:
    """Return a table with our names of the columns, and the same with checked columns."""
    table, sources = recognised(renamed(table, ColumnNames()))
    raw, names = table, table.column_names
    missing = [name for name in REQUIRED if name not in names]
    if missing and names:
        raise InputError(refusal(names) or missing_column(missing[0], names))
    if table.num_rows == 0:
        raise InputError("the fact table has no rows; add at least one fact")
    has_strata = set(STRATUM_COLUMNS) <= set(names)  # a single column may belong to the user
    for place, name in enumerate(names):
        if name in STRATUM_COLUMNS and not has_strata:
            continue
        column = _checked(table[name], name, sources.get(name, name))
        if column is not table[name]:
            table = table.set_column(place, name, column)
    return raw, table.replace_schema_metadata(carried_metadata(table.schema))


def _checked(column: pa.ChunkedArray, name: str, source: str) -> Any:
    """Return a column with the type required by its name; the same object if nothing changes.

    Args:
        column: The column.
        name: Its name.
        source: Its name in a table of a published shape, for messages.
    """
    several = is_list(column.type)
    shown = name if source == name else f"{name} (column {source!r})"
    if name in LIST_COLUMNS or (several and name in ("paraphrase", *ASKED_LIST_COLUMNS)):
        texts = _with_plain_lists(column)
        return texts if _is_clean_list(texts) else list_column(column, shown)
    if name in TEXT_COLUMNS:
        column = text_column(column, shown)
        if name in REQUIRED:
            _check_names(column, name, source)
        return column
    if is_count(name) or name in (*STRATUM_COLUMNS, *LABEL_COLUMNS, CORPUS_DIGEST):
        return restored(column, name)
    return readable_column(column)


def _check_names(column: pa.ChunkedArray, name: str, source: str) -> None:
    """Check that every cell of subject or object, which may have another name in the file, has a text.

    Raises:
        InputError: A cell is empty; the message names the row.
    """
    trimmed = compute("binary_length", [compute("utf8_trim_whitespace", [column])])
    if not column.null_count and compute("min", [trimmed]).as_py():
        return
    rows = [row for row, value in enumerate(column.to_pylist(), 1) if value is None or not value.strip()]
    where = "" if source == name else f" (column {source!r})"
    raise InputError(
        f"row {rows[0]} of the fact table: the {name} is empty{where}{also_rows(rows[1:])}; every fact needs a subject "
        "and an object, and rows without a fact, such as those at the end of a sheet, must be deleted"
    )


def _with_plain_lists(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return lists of large texts, and large lists, as polars writes them, as lists of strings."""
    if not (pa.types.is_list(column.type) or pa.types.is_large_list(column.type)):
        return column
    kind = column.type.value_type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        return column
    try:
        return column.cast(pa.list_(pa.string()))
    except pa.ArrowInvalid:  # more than 2 GiB of texts
        return column


def _is_clean_list(column: pa.ChunkedArray) -> bool:
    """Return whether a column already has lists of strings without blank ones."""
    if column.type != pa.list_(pa.string()):
        return False
    items = pa.chunked_array([chunk.flatten() for chunk in column.chunks], pa.string())
    return not items.null_count and bool(
        compute("min", [compute("binary_length", [compute("utf8_trim_whitespace", [items])])]).as_py() != 0
    )


def entities_of(table: pa.Table, role: str) -> list[Entity]:
    """Return the subjects or objects of a checked fact table."""
    names = table[role].to_pylist()
    column = f"{role}_aliases"
    aliases = table[column].to_pylist() if column in table.column_names else [[]] * len(names)
    return [Entity(name, tuple(extra or ())) for name, extra in zip(names, aliases, strict=True)]
