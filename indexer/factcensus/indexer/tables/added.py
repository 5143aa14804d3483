"""Columns that counting and stratifying add: never in place of a user's own, and never mixed from several analyzers."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from factcensus.indexer.errors import InputError
from factcensus.indexer.tables.columns import BASE_COUNTS, LABEL_COLUMNS, STRATUM_COLUMNS, is_count
from factcensus.indexer.tables.facts import Facts, as_facts


def countable(facts: Facts, by: str | None = None) -> pa.Table:
    """Return a checked fact table that counting can add its columns to.

    Facts that were counted before, and still have all columns of a counts table, are counted anew: their old counts,
    and strata made of them, are left out.

    Raises:
        InputError: the table has a column of its own that counting adds; the message has the remedy.
    """
    table = as_facts(facts)
    if _is_counts_table(table):
        old = [name for name in table.column_names if is_count(name) or name in LABEL_COLUMNS or _is_by(table, name)]
        if set(STRATUM_COLUMNS) <= set(table.column_names):
            old += STRATUM_COLUMNS
        table = table.drop_columns(old)
    added = (*LABEL_COLUMNS, *([] if by is None else [f"by_{by}"]))
    refuse_columns(
        table, [name for name in table.column_names if is_count(name.strip().lower())] + list(added), "counting"
    )
    return table


def refuse_columns(table: pa.Table, added: Sequence[str], what: str) -> None:
    """Check that a table has no columns of its own with the names of those that are to be added.

    Raises:
        InputError: it has one; the message has the remedy.
    """
    names = {name.strip().casefold(): name for name in table.column_names}
    for name in added:
        own = names.get(name.strip().casefold())
        if own is not None:
            raise InputError(
                f"the table has a column {own!r} of its own, and {what} adds one of that name; rename it, for example "
                f"with --columns my_{name.strip().lower()}={own.strip()} (in a run's configuration, "
                f"columns.my_{name.strip().lower()} = {own.strip()!r}), or leave it out"
            )


def _is_counts_table(table: pa.Table) -> bool:
    """Return whether a table has all columns that counting adds, with the types it gives them."""
    schema = table.schema
    return (
        {*BASE_COUNTS, *LABEL_COLUMNS} <= set(schema.names)
        and all(schema.field(name).type == pa.int64() for name in BASE_COUNTS)
        and schema.field("exact").type == pa.bool_()
    )


def _is_by(table: pa.Table, name: str) -> bool:
    """Return whether a column has the numbers by source that an earlier count added, as a list or as a CSV's text."""
    if not name.startswith("by_"):
        return False
    kind = table.schema.field(name).type
    if pa.types.is_string(kind):
        return all(cell in (None, "", "[]") or '"subject_mentions":' in cell for cell in table[name].to_pylist())
    return (
        pa.types.is_list(kind) and pa.types.is_struct(kind.value_type) and "subject_mentions" in kind.value_type.names
    )


def check_one_analyzer(table: pa.Table) -> None:
    """Check that all counts of a table were made with one version of one analyzer.

    Raises:
        InputError: there are several; their counts cannot be compared.
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
        InputError: it has a column of its own with the name of one that stratifying adds.
    """
    if _has_strata(table):
        return table.drop_columns(list(STRATUM_COLUMNS))
    refuse_columns(table, STRATUM_COLUMNS, "stratifying")
    return table


def _has_strata(table: pa.Table) -> bool:
    """Return whether a table has all columns that stratifying adds, with the types it gives them."""
    return set(STRATUM_COLUMNS) <= set(table.column_names) and all(
        pa.types.is_integer(kind) or pa.types.is_null(kind)
        for kind in (table.schema.field(name).type for name in STRATUM_COLUMNS if name != "stratum_label")
    )
