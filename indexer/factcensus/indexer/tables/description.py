"""The description of a counts table: quantiles, facts that never occur, strata, and ambiguous names."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from factcensus.indexer.answers.record import html_table
from factcensus.indexer.errors import InputError
from factcensus.indexer.tables.columns import STRATUM_COLUMNS
from factcensus.indexer.tables.facts import Facts, as_counts
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
        repeated: Number of rows with the subject, object and relation of an earlier row; they are counted as facts.
        zeros: Number of facts whose count is 0.
        quantiles: Count at each quantile of :data:`QUANTILES`. Each is a count of the table, never an average of two.
        strata: The strata from rarest to most frequent; empty if the table has none.
        ambiguous: The names that may mean something else: first common words, most documents first.
    """

    by: str
    facts: int
    repeated: int
    zeros: int
    quantiles: dict[float, int]
    strata: tuple[StratumSize, ...]
    ambiguous: tuple[AmbiguousName, ...]

    def _repr_html_(self) -> str:
        """Return the tables that the command prints, for notebooks."""
        names = {0.0: "minimum", 0.5: "median", 1.0: "maximum"}
        rows: list[tuple[object, object]] = [
            ("facts", self.facts),
            ("repeated rows among them", self.repeated),
            ("facts with 0", self.zeros),
        ]
        rows += [(names.get(share, f"{100 * share:.0f}% quantile"), value) for share, value in self.quantiles.items()]
        tables = [html_table(self.by, ["", "value"], rows)]
        if self.strata:
            strata = [(each.stratum, each.label, each.facts) for each in self.strata]
            tables.append(html_table("strata", ["stratum", self.by, "facts"], strata))
        if self.ambiguous:
            names_found = [(each.name, each.role, each.facts, each.reason) for each in self.ambiguous]
            tables.append(html_table("ambiguous names", ["name", "role", "facts", "reason"], names_found))
        return "".join(tables)

    def to_json(self) -> dict[str, Any]:
        """Return the description as JSON values."""
        return {
            "by": self.by,
            "facts": self.facts,
            "repeated": self.repeated,
            "zeros": self.zeros,
            "quantiles": {f"{share:g}": value for share, value in self.quantiles.items()},
            "strata": [{"stratum": each.stratum, "label": each.label, "facts": each.facts} for each in self.strata],
            "ambiguous": [
                {"name": each.name, "role": each.role, "facts": each.facts, "reason": each.reason}
                for each in self.ambiguous
            ],
        }


def describe(
    table: Facts,
    by: str = "cooccurrence_documents",
    documents: int | None = None,
    documents_with: Callable[[str], int] | None = None,
) -> Description:
    """Summarise a counts or strata table.

    Args:
        table: A counts or strata table: a path, records, or a pandas, polars or Arrow table.
        by: The column of counts to summarise; or a column and a group, as ``cooccurrence_documents@wikipedia``.
        documents: Number of documents in the index. With it, names in more than 1% of the documents are listed as
            ambiguous.
        documents_with: A function that returns the number of documents with a text. With it, the alias that is
            responsible is named.

    Raises:
        InputError: The column does not exist or has a value that is not a count, or the table has no rows.
    """
    rows: pa.Table = as_counts(table)
    counts = counts_of(rows, by)
    return Description(
        by,
        len(counts),
        _repeated(rows),
        int((counts == 0).sum()),
        {share: int(np.quantile(counts, share, method="lower")) for share in QUANTILES},
        tuple(_strata(rows)),
        (*(() if documents is None else _common_names(rows, documents, documents_with)), *_shared_names(rows)),
    )


def _repeated(table: pa.Table) -> int:
    names = [name for name in ("subject", "object", "relation") if name in table.column_names]
    distinct: int = table.select(names).group_by(names).aggregate([]).num_rows
    return int(table.num_rows) - distinct


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


def _common_names(
    table: pa.Table, documents: int, documents_with: Callable[[str], int] | None
) -> Iterable[AmbiguousName]:
    """Find names that occur in a large share of all documents, alone or with their aliases."""
    for role in ("subject", "object"):
        counts = counts_of(table, f"{role}_documents").tolist()
        column = f"{role}_aliases"
        aliases = table[column].to_pylist() if column in table.column_names else [None] * table.num_rows
        facts: dict[str, int] = defaultdict(int)
        most: dict[str, tuple[int, str, list[str]]] = {}
        for name, count, others in zip(table[role].to_pylist(), counts, aliases, strict=True):
            facts[_folded(name)] += 1
            if count > most.get(_folded(name), (-1,))[0]:
                most[_folded(name)] = (count, name, others or [])
        for folded, (count, name, others) in sorted(most.items(), key=lambda item: -item[1][0]):
            if (reason := common_share(count, documents, others, documents_with)) is not None:
                yield AmbiguousName(name, role, facts[folded], reason)


def common_share(
    count: int,
    documents: int,
    aliases: Sequence[str] = (),
    documents_with: Callable[[str], int] | None = None,
) -> str | None:
    """Return why a name in ``count`` documents may also be a common word; None if it is rare enough.

    Args:
        count: Number of documents with the name or an alias.
        documents: Number of all documents.
        aliases: The aliases of the name.
        documents_with: A function that returns the number of documents with a text; without it, no alias is named.
    """
    if not documents or count <= COMMON_SHARE * documents:
        return None
    where = f"in {_percent(count, documents)} of all documents"
    if aliases:
        where = f"with its aliases {where}"
        each = {alias: documents_with(alias) for alias in aliases} if documents_with is not None else {}
        alias = max(each, key=lambda one: each[one], default=None)
        if alias is not None and each[alias] > COMMON_SHARE * documents:
            where += f", the alias {alias!r} in {_percent(each[alias], documents)}"
    return f"{where}; it may also be a common word"


def _percent(count: int, documents: int) -> str:
    return f"{100 * count / documents:.1f}%"


def _folded(name: str) -> str:
    return " ".join(name.split()).casefold()


def check_counts_table(table: pa.Table, what: str) -> None:
    """Check that a table has counts.

    Raises:
        InputError: It has no column ``cooccurrence_documents``.
    """
    if "cooccurrence_documents" not in table.column_names:
        raise InputError(f"{what} has no counts; count its facts with 'factcensus facts count {what} --index INDEX'")


def check_counted_in(table: pa.Table, name: str, digest: str | None) -> None:
    """Check that a table was counted in an index; tables of scans name no index and are not checked.

    Raises:
        InputError: It was counted in another index, or before the index was changed.
    """
    digests = table["index_digest"].unique().to_pylist() if "index_digest" in table.column_names else []
    if any(each not in (None, "", digest) for each in digests):
        counted = ", ".join(str(each) for each in table["index"].unique().to_pylist())
        raise InputError(
            f"the facts were not counted in the index {name} as it is now, but in {counted} or before a change; give "
            "that index, or count the facts again"
        )
