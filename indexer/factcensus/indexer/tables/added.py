"""Checks of the columns that counting and stratifying add, which never replace the user's columns."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from factcensus.indexer.errors import InputError
from factcensus.indexer.tables.columns import BASE_COUNTS, CORPUS_DIGEST, LABEL_COLUMNS, STRATUM_COLUMNS, is_count
from factcensus.indexer.tables.facts import Facts, as_facts


def countable(facts: Facts, by: str | None = None) -> pa.Table:
    """Return a checked fact table to which counting can add its columns.

    If the table has all columns of a counts table, its old counts and strata are removed, so it can be counted again.

    Raises:
        InputError: The user's table has a column that counting adds, or ``by`` is a field with the name of a count; the
            message gives the remedy.
    """
    if by is not None and is_count(by):
        raise InputError(
            f"the counts of each group in a table have a column {by!r}, so a table cannot be counted by a field with "
            "this name; rename the field in the corpus, or count single pairs by it"
        )
    table = as_facts(facts)
    if _is_counts_table(table):
        labels = (*LABEL_COLUMNS, CORPUS_DIGEST)
        old = [name for name in table.column_names if is_count(name) or name in labels or _is_by(table, name)]
        if set(STRATUM_COLUMNS) <= set(table.column_names):
            old += STRATUM_COLUMNS
        table = table.drop_columns(old)
    added = (*LABEL_COLUMNS, CORPUS_DIGEST, *([] if by is None else [f"by_{by}"]))
    refuse_columns(
        table, [name for name in table.column_names if is_count(name.strip().lower())] + list(added), "counting"
    )
    return table


def refuse_columns(table: pa.Table, added: Sequence[str], what: str) -> None:
    """Check that a table has no columns with the names of columns to be added.

    Raises:
        InputError: The table has one; the message gives the remedy.
    """
    names = {name.strip().casefold(): name for name in table.column_names}
    for name in added:
        own = names.get(name.strip().casefold())
        if own is not None:
            raise InputError(
                f"the table already has a column {own!r}, and {what} adds a column with this name; rename it, for "
                f"example with --columns my_{name.strip().lower()}={own.strip()} (in the configuration of a run, "
                f"columns.my_{name.strip().lower()} = {own.strip()!r}), or remove it"
            )


def _is_counts_table(table: pa.Table) -> bool:
    """Return whether a table has all columns that counting adds, with their types."""
    schema = table.schema
    return (
        {*BASE_COUNTS, *LABEL_COLUMNS} <= set(schema.names)
        and all(schema.field(name).type == pa.int64() for name in BASE_COUNTS)
        and schema.field("exact").type == pa.bool_()
    )


def _is_by(table: pa.Table, name: str) -> bool:
    """Return whether a column has counts by source from an earlier run, as a list or as text from CSV."""
    if not name.startswith("by_"):
        return False
    kind = table.schema.field(name).type
    if pa.types.is_string(kind):
        return all(cell in (None, "", "[]") or '"subject_mentions":' in cell for cell in table[name].to_pylist())
    return (
        pa.types.is_list(kind) and pa.types.is_struct(kind.value_type) and "subject_mentions" in kind.value_type.names
    )


def check_one_analyzer(table: pa.Table) -> None:
    """Check that all counts of a table come from the same analyzer version.

    Raises:
        InputError: There are several analyzers, so the counts cannot be compared.
    """
    if "analyzer" not in table.column_names:
        return
    analyzers = sorted({str(each) for each in table["analyzer"].to_pylist() if each is not None})
    if len(analyzers) > 1:
        raise InputError(
            f"the counts of this table come from different analyzers ({', '.join(analyzers)}) and cannot be compared; "
            "count all facts in one index"
        )


def without_strata(table: pa.Table) -> pa.Table:
    """Return a table without the strata of an earlier call.

    Raises:
        InputError: The user's table has a column that stratifying adds.
    """
    if _has_strata(table):
        return table.drop_columns(list(STRATUM_COLUMNS))
    refuse_columns(table, STRATUM_COLUMNS, "stratifying")
    return table


def _has_strata(table: pa.Table) -> bool:
    """Return whether a table has all columns that stratifying adds, with their types."""
    return set(STRATUM_COLUMNS) <= set(table.column_names) and all(
        pa.types.is_integer(kind) or pa.types.is_null(kind)
        for kind in (table.schema.field(name).type for name in STRATUM_COLUMNS if name != "stratum_label")
    )
