"""Fact tables: reading and checking them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
from pyarrow.compute import call_function as compute

from factcensus.indexer.analyzers import clean_text
from factcensus.indexer.errors import InputError
from factcensus.indexer.records import Entity
from factcensus.indexer.tables.files import TableFormat, read_table, table_of

#: Columns that hold lists; in a CSV cell a JSON list, or values separated by ``|``.
LIST_COLUMNS = ("subject_aliases", "object_aliases", "paraphrases")
#: Columns that counting and stratifying add; CSV, which has no types, gives them back as strings.
COUNT_COLUMNS = re.compile(
    r"(subject|object)_(mentions|documents)|cooccurrence_(documents|pairs)(_w\d+)?|stratum(_low|_high)?|exact"
)


def read_facts(source: str | Path | BinaryIO, format: TableFormat | None = None) -> pa.Table:
    """Read and check a fact table (CSV, JSON Lines or Parquet).

    Returns:
        The table with ``subject`` and ``object`` as strings, the list columns as lists of strings, and all other
        columns as they are.

    Raises:
        InputError: a column is missing, or a row has an empty subject or object; the message names the row.
    """
    table = read_table(source, format)
    try:
        return check_facts(table)
    except InputError as error:
        if isinstance(source, (str, Path)):
            raise InputError(f"{source}: {error}") from error
        raise


def facts_from_rows(rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    """A checked fact table of rows; see :func:`read_facts`."""
    return check_facts(table_of(list(rows)))


def check_facts(table: pa.Table) -> pa.Table:
    """A fact table with its columns checked and of the right types; see :func:`read_facts`."""
    missing = [name for name in ("subject", "object") if name not in table.column_names]
    if missing and len(table.column_names):
        raise InputError(f"the fact table has no column {missing[0]!r}; columns: {', '.join(table.column_names)}")
    if table.num_rows == 0:
        raise InputError("the fact table has no rows")
    for name in table.column_names:
        if name in ("subject", "object"):
            if _holds_names(table[name]):
                continue
            values = table[name].to_pylist()
            for row, value in enumerate(values, 1):
                if not isinstance(value, str) or not value.strip():
                    found = "empty" if value is None or value == "" or isinstance(value, str) else repr(value)
                    raise InputError(f"row {row} of the fact table: the {name} is {found}; every fact needs a string")
            column = pa.array([clean_text(value) for value in values], pa.string())
        elif name in LIST_COLUMNS:
            lists = [_as_list(value, name, row) for row, value in enumerate(table[name].to_pylist(), 1)]
            column = pa.array(lists, pa.list_(pa.string()))
        elif pa.types.is_string(table[name].type) and COUNT_COLUMNS.fullmatch(name):
            column = _restored(table[name], name)
        else:
            continue
        table = table.set_column(table.column_names.index(name), name, column)
    return table


def _holds_names(column: pa.ChunkedArray) -> bool:
    """Whether every cell is a string with something in it, as in most tables; what is not is looked at one by one."""
    if not pa.types.is_string(column.type) or column.null_count:
        return False
    trimmed = compute("binary_length", [compute("utf8_trim_whitespace", [column])])
    return bool(compute("min", [trimmed]).as_py())


def _restored(column: pa.ChunkedArray, name: str) -> pa.Array:
    """A column of numbers, or ``exact``, out of the strings of a CSV; an empty cell is null."""
    values = [value or None for value in column.to_pylist()]
    try:
        return pa.array(values, pa.string()).cast(pa.bool_() if name == "exact" else pa.int64())
    except pa.ArrowInvalid as error:
        raise InputError(
            f"column {name!r} of the fact table does not hold what 'facts count' writes ({error})"
        ) from error


def _as_list(value: Any, column: str, row: int) -> list[str]:
    if value is None or value == "":
        return []
    if isinstance(value, str):
        if value.lstrip().startswith("["):
            try:
                value = json.loads(value)
            except ValueError as error:
                raise InputError(f"row {row} of the fact table: {column} is not a JSON list ({value[:60]})") from error
        else:
            value = [item.strip() for item in value.split("|")]
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise InputError(f"row {row} of the fact table: {column} is not a list of strings ({value!r:.60})")
    return [clean_text(item) for item in value if item.strip()]


def entities_of(table: pa.Table, role: str) -> list[Entity]:
    """The subjects or objects of a checked fact table."""
    names = table[role].to_pylist()
    column = f"{role}_aliases"
    aliases = table[column].to_pylist() if column in table.column_names else [[]] * len(names)
    return [Entity(name, tuple(extra or ())) for name, extra in zip(names, aliases, strict=True)]
