"""Fact tables for training and evaluation, with ids, answers and paraphrases filled in."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
from pyarrow.compute import call_function as compute

from factcensus.indexer.errors import InputError
from factcensus.indexer.tables.columns import ASKED_LIST_COLUMNS, ASKED_TEXT_COLUMNS, STRATUM_COLUMNS, is_count
from factcensus.indexer.tables.facts import Facts, as_facts
from factcensus.indexer.tables.restored import restored
from factcensus.indexer.tables.values import as_list, list_column, text_column

#: Values of the column ``used``, the use of a fact in training.
USES = frozenset(("forget", "retain", "none", None))


def complete_facts(facts: Facts) -> pa.Table:
    """Return a fact table with all columns that training and evaluation need.

    In a table without ids, ``fact_id`` is the number of the row (``fact-000000``). A null ``answer`` becomes the
    object. ``paraphrases`` without values become the single ``paraphrase``. ``alternatives`` and ``distractors`` are
    lists.

    Raises:
        InputError: A fact has no id or the id of another fact, a column of counts or strata has values other than
            integers, or the column ``used`` was not added by training.
    """
    table = as_facts(facts)
    names = table.column_names
    if "fact_id" not in names:
        table = table.add_column(0, "fact_id", pa.array([f"fact-{number:06d}" for number in range(table.num_rows)]))
    _check_ids(table["fact_id"].to_pylist())
    _check_uses(table)
    objects = table["object"]
    answers = compute("coalesce", [_blank_to_null(table["answer"]), objects]) if "answer" in names else objects
    table = _with(table, "answer", answers)
    if "paraphrases" in names or "paraphrase" in names:
        table = _with(table, "paraphrases", _paraphrases(table))
    for name in ASKED_TEXT_COLUMNS:
        if name in names:
            table = _with(table, name, text_column(table[name], name))
    for name in ASKED_LIST_COLUMNS:
        if name in names:
            table = _with(table, name, list_column(table[name], name))
    for name in STRATUM_COLUMNS:
        if name in names:
            table = _with(table, name, restored(table[name], name))
    _check_counts(table)
    return table


def _check_counts(table: pa.Table) -> None:
    """Check that columns of counts and strata have integers, and counts are not negative."""
    for name in table.column_names:
        if (is_count(name) or name in ("stratum", "stratum_low", "stratum_high")) and table[name].type != pa.int64():
            raise InputError(
                f"the column {name!r} of the fact table must have integers, as written by `factcensus facts count` and "
                f"`facts stratify`, got {table[name].type}; rename it"
            )
        if is_count(name) and (compute("min", [table[name]]).as_py() or 0) < 0:
            raise InputError(f"the column {name!r} of the fact table holds negative numbers, not counts; rename it")


def _check_ids(ids: list[str | None]) -> None:
    seen: dict[str, int] = {}
    for row, identifier in enumerate(ids, 1):
        if identifier is None or not identifier.strip():
            raise InputError(f"row {row} of the fact table has no fact_id; give every row an id, or remove the column")
        if identifier in seen:
            raise InputError(
                f"rows {seen[identifier]} and {row} of the fact table have the same fact_id {identifier!r}; change one"
            )
        seen[identifier] = row


def _check_uses(table: pa.Table) -> None:
    """Check that a column ``used``, which training replaces and evaluation reads, does not belong to the user."""
    uses = set(table["used"].to_pylist()) if "used" in table.column_names else set()
    if foreign := sorted(str(use) for use in uses - USES):
        raise InputError(
            f"the table already has a column 'used' (such as {foreign[0]!r:.60}), and training adds a column with this "
            "name; rename it, for example with --columns my_used=used (in the configuration of a run, "
            "columns.my_used = 'used'), or remove it"
        )


def _blank_to_null(column: pa.ChunkedArray) -> pa.ChunkedArray:
    blank = compute("equal", [compute("utf8_trim_whitespace", [column]), ""])
    return compute("if_else", [blank, pa.scalar(None, pa.string()), column])


def _paraphrases(table: pa.Table) -> pa.Array:
    several = table["paraphrases"].to_pylist() if "paraphrases" in table.column_names else [None] * table.num_rows
    single = table["paraphrase"].to_pylist() if "paraphrase" in table.column_names else [None] * table.num_rows
    lists = [more or _single(one, row) for row, (more, one) in enumerate(zip(several, single, strict=True), 1)]
    return pa.array(lists, pa.list_(pa.string()))


def _single(cell: Any, row: int) -> list[str]:
    """Return the texts in a cell of ``paraphrase``: a single text, even with ``|`` in it, or a list in brackets."""
    found = as_list(cell, "paraphrase", row) or []
    is_bar_list = isinstance(cell, str) and "|" in cell and not cell.lstrip().startswith("[")
    return [cell] if is_bar_list else found


def _with(table: pa.Table, name: str, column: Any) -> pa.Table:
    if name not in table.column_names:
        return table.append_column(name, column)
    return table.set_column(table.column_names.index(name), name, column)
