"""The description of a counts table: quantiles, facts that never occur, strata, and ambiguous names."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from factcensus.indexer.errors import InputError
from factcensus.indexer.tables.columns import STRATUM_COLUMNS
from factcensus.indexer.tables.strata import counts_of

#: Quantiles that a description lists.
QUANTILES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
#: A name in more than this share of all documents is likely to be a common word, too.
COMMON_SHARE = 0.01


@dataclass(frozen=True, slots=True)
class StratumSize:
    """One stratum of a table: its number, label, and number of facts."""

    stratum: int
    label: str
    facts: int


@dataclass(frozen=True, slots=True)
class AmbiguousName:
    """A name that may mean something else in the corpus.

    Attributes:
        name: The name or alias, as written in the table.
        role: ``subject`` or ``object``.
        facts: Number of facts in which it is a name or an alias.
        reason: The reason, as a sentence without a full stop.
    """

    name: str
    role: str
    facts: int
    reason: str


@dataclass(frozen=True, slots=True)
class Description:
    """A summary of a counts table.

    Attributes:
        by: The column of counts that is summarised.
        facts: Number of facts.
        zeros: Number of facts whose count is 0.
        quantiles: Count at each quantile of :data:`QUANTILES`. Each is a count of the table, never an average of two.
        strata: The strata from rarest to most frequent; empty if the table has none.
        ambiguous: The names that may mean something else.
    """

    by: str
    facts: int
    zeros: int
    quantiles: dict[float, int]
    strata: tuple[StratumSize, ...]
    ambiguous: tuple[AmbiguousName, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the description as JSON values."""
        return {
            "by": self.by,
            "facts": self.facts,
            "zeros": self.zeros,
            "quantiles": {f"{share:g}": value for share, value in self.quantiles.items()},
            "strata": [{"stratum": each.stratum, "label": each.label, "facts": each.facts} for each in self.strata],
            "ambiguous": [
                {"name": each.name, "role": each.role, "facts": each.facts, "reason": each.reason}
                for each in self.ambiguous
            ],
        }


def describe(table: pa.Table, by: str = "cooccurrence_documents", documents: int | None = None) -> Description:
    """Summarise a counts or strata table.

    Args:
        table: A table that :func:`count_facts` or :func:`stratify` returned.
        by: The column of counts to summarise.
        documents: Number of documents in the index. With it, names in more than 1 % of the documents are listed as
            ambiguous.

    Raises:
        InputError: The column does not exist or has a value that is not a count, or the table has no rows.
    """
    counts = counts_of(table, by)
    return Description(
        by,
        len(counts),
        int((counts == 0).sum()),
        {share: int(np.quantile(counts, share, method="lower")) for share in QUANTILES},
        tuple(_strata(table)),
        (*_shared_names(table), *(() if documents is None else _common_names(table, documents))),
    )


def _strata(table: pa.Table) -> Iterable[StratumSize]:
    if not set(STRATUM_COLUMNS) <= set(table.column_names):
        return
    sizes = table.group_by(["stratum", "stratum_label"]).aggregate([([], "count_all")]).sort_by("stratum")
    for row in sizes.to_pylist():
        if row["stratum"] is not None:
            yield StratumSize(int(row["stratum"]), str(row["stratum_label"]), row["count_all"])


def _shared_names(table: pa.Table) -> Iterable[AmbiguousName]:
    """Find names that are also a name or an alias of another entity with the same role."""
    for role in ("subject", "object"):
        entities: dict[str, dict[str, str]] = defaultdict(dict)
        rows: dict[str, int] = defaultdict(int)
        written: dict[str, str] = {}
        aliases = f"{role}_aliases"
        extra = table[aliases].to_pylist() if aliases in table.column_names else [None] * table.num_rows
        for name, others in zip(table[role].to_pylist(), extra, strict=True):
            for form, spelling in {_folded(each): each for each in (*(others or ()), name)}.items():
                entities[form].setdefault(_folded(name), name)
                rows[form] += 1
                written.setdefault(form, spelling)
        for form, names in entities.items():
            if len(names) > 1:
                listed = ", ".join(list(names.values())[:3]) + (" and more" if len(names) > 3 else "")
                yield AmbiguousName(
                    written[form], role, rows[form], f"a name or alias of {len(names)} entities: {listed}"
                )


def _common_names(table: pa.Table, documents: int) -> Iterable[AmbiguousName]:
    """Find names that occur in a large share of all documents."""
    for role in ("subject", "object"):
        counts = counts_of(table, f"{role}_documents")
        facts: dict[str, int] = defaultdict(int)
        most: dict[str, int] = {}
        for name, count in zip(table[role].to_pylist(), counts.tolist(), strict=True):
            facts[name] += 1
            most[name] = max(count, most.get(name, 0))
        for name, count in sorted(most.items(), key=lambda item: -item[1]):
            if (reason := common_share(count, documents)) is not None:
                yield AmbiguousName(name, role, facts[name], reason)


def common_share(count: int, documents: int) -> str | None:
    """Return why a name in ``count`` documents may also be a common word; None if it is rare enough."""
    if not documents or count <= COMMON_SHARE * documents:
        return None
    return f"in {100 * count / documents:.1f} % of all documents; it may also be a common word"


def _folded(name: str) -> str:
    return " ".join(name.split()).casefold()


def check_counts_table(table: pa.Table, what: str) -> None:
    """Check that a table has counts.

    Raises:
        InputError: It has no column ``cooccurrence_documents``.
    """
    if "cooccurrence_documents" not in table.column_names:
        raise InputError(f"{what} has no counts; count its facts with 'factcensus facts count {what} --index INDEX'")
