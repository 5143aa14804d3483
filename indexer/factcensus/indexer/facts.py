"""Fact tables: reading and checking them, and counting every fact of one in an index."""

from __future__ import annotations

import json
import re
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import pyarrow as pa

from factcensus.indexer.analyzers import clean_text
from factcensus.indexer.errors import EmptyQueryError, InputError
from factcensus.indexer.mentions import Mentions, count_pairs
from factcensus.indexer.records import Entity
from factcensus.indexer.tables import TableFormat, read_table, table_of

if TYPE_CHECKING:
    from factcensus.indexer.index import CountIndex, TokenIds
    from factcensus.indexer.shard import Shard

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


def count_facts(
    index: CountIndex,
    facts: pa.Table,
    *,
    windows: Sequence[int] = (),
    progress: Callable[[int, int], None] | None = None,
    cache_bytes: int = 1 << 30,
) -> pa.Table:
    """Count every fact of a table in an index.

    Args:
        index: an opened index.
        facts: a checked fact table (:func:`read_facts`).
        windows: besides the whole document, count within so many tokens.
        progress: called with (facts done, all), per shard.
        cache_bytes: mentions that are kept for further facts of the same entities.

    Returns:
        The counts table: the facts' columns, then those of CONTRACT section 4. Columns of the same names that the
        facts had are replaced.

    Raises:
        InputError: nothing is left of a subject or object under the index's analyzer; the message names the row.
    """
    from factcensus.indexer.index import check_windows

    facts = check_facts(facts)
    distinct_windows = list(dict.fromkeys(windows))
    window_array = check_windows(distinct_windows)
    forms = {role: _forms(index, facts, role) for role in ("subject", "object")}
    count = facts.num_rows
    mentions = {role: np.zeros(count, np.int64) for role in forms}
    documents = {role: np.zeros(count, np.int64) for role in forms}
    together = np.zeros((count, 1 + len(distinct_windows), 2), np.int64)  # documents and pairs, by window
    # Facts of one subject come together, so its mentions are read once; objects recur through the cache.
    order = sorted(range(count), key=lambda row: (forms["subject"][row], forms["object"][row]))
    done = 0
    for shard in index.shards:
        cache = _MentionCache(shard, cache_bytes)
        for row in order:
            found = {role: cache.mentions(forms[role][row]) for role in forms}
            for role in forms:
                mentions[role][row] += len(found[role])
                documents[role][row] += cache.document_count(forms[role][row])
            if len(found["subject"]) and len(found["object"]):
                _, pairs = count_pairs(found["subject"], found["object"], window_array)
                together[row, :, 0] += (pairs > 0).sum(axis=0)
                together[row, :, 1] += pairs.sum(axis=0)
            done += 1
            if progress and (done % 256 == 0 or done == count * len(index.shards)):
                progress(done // len(index.shards), count)
    columns: dict[str, Any] = {
        "subject_mentions": mentions["subject"],
        "object_mentions": mentions["object"],
        "subject_documents": documents["subject"],
        "object_documents": documents["object"],
    }
    for i, suffix in enumerate(["", *(f"_w{window}" for window in distinct_windows)]):
        columns[f"cooccurrence_documents{suffix}"] = together[:, i, 0]
        columns[f"cooccurrence_pairs{suffix}"] = together[:, i, 1]
    columns |= {
        "index": pa.array([index.name] * count),
        "index_digest": pa.array([index.digest] * count, pa.string()),
        "analyzer": pa.array([index.analyzer.label] * count),
        "exact": pa.array([True] * count),
    }
    table = facts.drop_columns([name for name in columns if name in facts.column_names])
    for name, values in columns.items():
        table = table.append_column(name, pa.array(values))
    return table


def _forms(index: CountIndex, facts: pa.Table, role: str) -> list[tuple[TokenIds, ...]]:
    known: dict[Entity, tuple[TokenIds, ...]] = {}
    forms = []
    for row, entity in enumerate(entities_of(facts, role), 1):
        if entity not in known:
            try:
                known[entity] = index.forms(entity)
            except EmptyQueryError as error:
                raise EmptyQueryError(f"row {row} of the fact table, {role}: {error}") from error
        forms.append(known[entity])
    return forms


class _MentionCache:
    """The mentions of the entities of one shard, those used last within a bound."""

    def __init__(self, shard: Shard, most_bytes: int) -> None:
        self._shard = shard
        self._most_bytes = most_bytes
        self._mentions: OrderedDict[tuple[TokenIds, ...], Mentions] = OrderedDict()
        self._documents: dict[tuple[TokenIds, ...], int] = {}
        self._size = 0

    def mentions(self, forms: tuple[TokenIds, ...]) -> Mentions:
        """The mentions of an entity."""
        found = self._mentions.get(forms)
        if found is not None:
            self._mentions.move_to_end(forms)
            return found
        found = self._shard.mentions(forms)
        self._mentions[forms] = found
        self._documents[forms] = len(found.distinct_documents())
        self._size += found.size_bytes
        while self._size > self._most_bytes and len(self._mentions) > 2:
            _, oldest = self._mentions.popitem(last=False)
            self._size -= oldest.size_bytes
        return found

    def document_count(self, forms: tuple[TokenIds, ...]) -> int:
        """The documents of an entity whose mentions were asked for."""
        return self._documents[forms]
