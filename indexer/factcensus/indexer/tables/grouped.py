"""Counts of one group of documents in a counts table, such as one source or the checkpoint after a training step."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa

from factcensus.indexer.counting.steps import steps_of
from factcensus.indexer.errors import InputError
from factcensus.indexer.names import suggestion
from factcensus.indexer.numbers import whole_number

#: Between a column of counts and a group: ``cooccurrence_documents@wikipedia``.
MARK = "@"
_PREFIX = "by_"


def grouped_counts(table: pa.Table, by: str) -> list[Any] | None:
    """Return the counts of one group, for a name such as ``cooccurrence_documents@wikipedia``.

    Args:
        table: A counts table made with ``--by``.
        by: A column of counts and, after ``@``, the value of a group.

    Returns:
        The count of each row, 0 where the group does not occur; None if the name has no ``@`` or is itself a column.

    Raises:
        InputError: The table has no groups, no such group, or no such count for it.
    """
    column, mark, group = by.partition(MARK)
    if not mark or by in table.column_names:
        return None
    columns = [name for name in table.column_names if name.startswith(_PREFIX)]
    if not columns:
        raise InputError(f"{by}: the table has no counts by group; count it with --by FIELD, such as --by source")
    found = {name: [_groups(cell, name) for cell in table[name].to_pylist()] for name in columns}
    for name, rows in found.items():
        rows_of_group = _chosen(rows, name, group)
        if rows_of_group is not None:
            return [_count(each, column) for each in rows_of_group]
    known = [each for rows in found.values() for row in rows for each in row]
    raise InputError(f"{by}: no group {group!r} in {', '.join(columns)}{suggestion(group, known)}")


def _groups(cell: Any, name: str) -> dict[str, dict[str, Any]]:
    """Return the counts of each group in a cell: a list of objects, or its JSON text as in CSV."""
    try:
        groups = json.loads(cell) if isinstance(cell, str) and cell else cell or []
        return {str(each[name.removeprefix(_PREFIX)]): each for each in groups}
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise InputError(f"the column {name!r} has no counts by group: {cell!r:.60}") from error


def _chosen(rows: list[dict[str, dict[str, Any]]], name: str, group: str) -> list[dict[str, Any] | None] | None:
    """Return the counts of a group in each row; None if the group does not exist."""
    per_group = steps_of(name.removeprefix(_PREFIX))
    if per_group is None:
        chosen = [row.get(group) for row in rows]
        return chosen if any(each is not None for each in chosen) else None
    try:
        step = whole_number(group, least=0)
    except ValueError as error:
        raise InputError(f"{group!r} is not a step; give a multiple of {per_group:,}") from error
    if step % per_group:
        raise InputError(f"{name} has counts after every {per_group:,} steps, not after {step:,}")
    # A step without new documents is left out, and has the counts of the step before it.
    lasts = [max((each for each in row if int(each) <= step), key=int, default=None) for row in rows]
    return [None if last is None else row[last] for row, last in zip(rows, lasts, strict=True)]


def _count(group: dict[str, Any] | None, column: str) -> Any:
    if group is None:
        return 0
    if column not in group:
        raise InputError(f"no count {column!r} of groups{suggestion(column, list(group)[1:])}")
    return group[column]
