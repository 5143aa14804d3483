"""Remarks about a fact table that is read as it stands, but may have been meant otherwise."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pyarrow as pa

from factcensus.indexer.tables.columns import LIST_COLUMNS, TEXT_COLUMNS, misspelt_columns
from factcensus.indexer.tables.values import is_list, looks_like_broken_list

#: Aliases that the index is asked about for a hint.
_MOST_ASKED = 1000


def remarks(raw: pa.Table, facts: pa.Table) -> Iterable[str]:
    """Yield remarks about columns and cells that may have been meant otherwise."""
    for name, known in misspelt_columns(facts.column_names).items():
        yield f"the column {name!r} is carried through unread; if it is {known!r}, rename it: --columns {known}={name}"
    for name in TEXT_COLUMNS:
        if name in facts.column_names and pa.types.is_floating(raw.schema.field(name).type):
            yield (
                f"the column {name!r} holds floating-point numbers, which do not say how they were written (3.10 is "
                "3.1); store it as text to be sure"
            )
    for name in LIST_COLUMNS:
        if name in facts.column_names and is_list(facts.schema.field(name).type):
            lists = facts[name].to_pylist()
            broken = [row for row, cell in enumerate(lists, 1) if cell and looks_like_broken_list(cell[0])]
            if broken:
                yield (
                    f"{len(broken):,} cells of {name!r} begin like a list but cannot be read as one, so each is one "
                    f"text (first: row {broken[0]})"
                )


def unmatched_commas(counts: pa.Table, occurs: Callable[[str], bool] | None = None) -> str | None:
    """Return a hint about names and aliases that have a comma and match nothing: often a list with the wrong separator.

    Args:
        counts: a counts table.
        occurs: whether a text occurs at all; without it only names and aliases of entities without a mention are
            looked at.
    """
    found: dict[str, None] = {}
    asked: set[str] = set()
    for role in ("subject", "object"):
        aliases = f"{role}_aliases"
        several = counts[aliases].to_pylist() if aliases in counts.column_names else [None] * counts.num_rows
        mentions = counts[f"{role}_mentions"].to_pylist()
        for name, others, number in zip(counts[role].to_pylist(), several, mentions, strict=True):
            if not number and "," in name:
                found[name] = None
            for alias in others or ():
                if "," not in alias or alias in asked:
                    continue
                if not number:
                    found[alias] = None
                elif occurs is not None and len(asked) < _MOST_ASKED:
                    asked.add(alias)
                    if not occurs(alias):
                        found[alias] = None
    if not found:
        return None
    return (
        f"{len(found):,} names or aliases contain a comma and match nothing (such as {next(iter(found))[:60]!r}); "
        "lists are separated by | or written as JSON"
    )
