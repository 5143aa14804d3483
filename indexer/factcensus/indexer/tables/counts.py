"""Counts tables, made by counting every fact of a table in an index."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyarrow.compute import call_function as compute

from factcensus.indexer.analyzers import nothing_left
from factcensus.indexer.counting.deadline import Deadline
from factcensus.indexer.counting.scope import EVERY_DOCUMENT, Scope
from factcensus.indexer.errors import EmptyQueryError
from factcensus.indexer.kernels.pairs import check_windows
from factcensus.indexer.numbers import also_rows
from factcensus.indexer.records import windows_of
from factcensus.indexer.tables.added import countable
from factcensus.indexer.tables.arrow import ArrowTable
from factcensus.indexer.tables.facts import Facts

if TYPE_CHECKING:
    from factcensus.indexer.kernels.forms import Forms
    from factcensus.indexer.opened import OpenedIndex


def count_facts(
    index: OpenedIndex,
    facts: Facts,
    *,
    windows: Sequence[int] = (),
    by: str | None = None,
    scope: Scope = EVERY_DOCUMENT,
    deadline: Deadline | None = None,
    threads: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> ArrowTable:
    """Count every fact of a table in an index.

    Args:
        index: An open index.
        facts: A path, a list of records, or a pandas, polars or Arrow table; see :func:`read_facts` for its columns.
        windows: Maximum distances in tokens for which pairs are also counted, in addition to whole documents.
        by: A document column or metadata field. Adds a column ``by_…`` that lists, for each fact, the counts per value,
            for values whose documents mention the subject or the object.
        scope: The documents to count.
        deadline: Stops a count that takes too long.
        threads: Number of threads that count; the result does not depend on it.
        progress: Called with (facts done, all facts).

    Returns:
        The counts table: the columns of the facts, followed by the counts and the columns ``index``, ``index_digest``,
        ``analyzer`` and ``exact``. Old counts and strata are removed, see :func:`countable`.

    Raises:
        InputError: The facts have a column that counting adds, or the analyzer of the index finds no token in a subject
            or object; the message names the column or the row.
        DeadlineError: The deadline was reached.
    """
    from factcensus.indexer.counting.fact_counts import count_pairs  # compiled code, which reading a table does without
    from factcensus.indexer.counting.order import step_column
    from factcensus.indexer.counting.steps import cumulated, steps_of

    facts = countable(facts, by)
    windows = windows_of(windows)
    forms, subjects, objects = _lay_out(index, facts)
    groups, counts = count_pairs(
        index,
        forms,
        subjects,
        objects,
        check_windows(windows),
        by=by,
        scope=scope,
        deadline=deadline,
        threads=threads,
        progress=progress,
    )
    names = count_names(windows)
    # (facts, groups, numbers), in the order of the names
    found = np.concatenate(
        [
            np.stack([counts.subjects, counts.objects], axis=-1).reshape(*counts.subjects.shape[:2], 4),
            counts.together.reshape(*counts.together.shape[:2], -1),
        ],
        axis=2,
    )
    named = dict(zip(names, found.sum(axis=1).T, strict=True))
    table = counts_table(facts, named, index=index.name, digest=index.digest, analyzer=index.analyzer.label)
    if by is not None and steps_of(by) is not None:
        groups, found = cumulated(by, groups, found, axis=1)
        steps = step_column(by, names, table.num_rows, zip(groups, found.swapaxes(0, 1), strict=True))
        table = table.append_column(f"by_{by}", steps)
    elif by is not None:
        rows = [
            [
                {by: group, **dict(zip(names, row, strict=True))}
                for group, row in zip(groups, fact, strict=True)
                if any(row)
            ]
            for fact in found.tolist()
        ]
        kind = pa.list_(pa.struct([(by, pa.string()), *((name, pa.int64()) for name in names)]))
        table = table.append_column(f"by_{by}", pa.array(rows, kind))
    return table


def check_names(index: OpenedIndex, facts: pa.Table) -> None:
    """Check a table from :func:`read_facts` for the errors of :func:`count_facts`, before a long response begins.

    Raises:
        InputError: The analyzer of the index finds no token in a subject or object, one is too long, or the table has a
            column that counting adds.
    """
    _lay_out(index, countable(facts))


def forms_of_facts(index: OpenedIndex, facts: Facts) -> Forms:
    """Return the surface forms of all entities of a fact table."""
    return _lay_out(index, countable(facts))[0]


def count_names(windows: Sequence[int]) -> list[str]:
    """Return the names of the count columns of a counts table, in order."""
    names = ["subject_mentions", "object_mentions", "subject_documents", "object_documents"]
    for suffix in ("", *(f"_w{window}" for window in windows)):
        names += [f"cooccurrence_documents{suffix}", f"cooccurrence_pairs{suffix}"]
    return names


def counts_table(
    facts: pa.Table,
    counts: Mapping[str, npt.NDArray[np.int64]],
    *,
    index: str,
    digest: str | None,
    analyzer: str,
    exact: bool = True,
) -> pa.Table:
    """Return the counts table of facts and their counts by column, with the name of the index and the analyzer."""
    size = facts.num_rows
    columns = {
        **{name: pa.array(values, pa.int64(), from_pandas=False) for name, values in counts.items()},
        "index": pa.repeat(pa.scalar(index, pa.string()), size),
        "index_digest": pa.repeat(pa.scalar(digest, pa.string()), size),
        "analyzer": pa.repeat(pa.scalar(analyzer, pa.string()), size),
        "exact": pa.repeat(pa.scalar(exact, pa.bool_()), size),
    }
    table = facts
    for name, values in columns.items():
        table = table.append_column(name, values)
    return table


def _lay_out(index: OpenedIndex, facts: pa.Table) -> tuple[Forms, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the forms of all entities of a checked table, and int64 (facts,), the entities of subjects and objects."""
    from factcensus.indexer.kernels.forms import forms_of_texts  # compiled code, which reading a table does without

    names = pa.chunked_array([*facts["subject"].chunks, *facts["object"].chunks], pa.string()).combine_chunks()
    if {"subject_aliases", "object_aliases"} & set(facts.column_names):
        encoded, starts = _with_aliases(names, facts)
        numbers = encoded.indices.to_numpy()
        entity, rows = _distinct_rows(numbers, starts)
        sizes = starts[rows + 1] - starts[rows]
        entities = np.concatenate([[0], np.cumsum(sizes)])
        named = numbers[np.repeat(starts[rows] - entities[:-1], sizes) + np.arange(entities[-1])].astype(np.int64)
    else:
        encoded = names.dictionary_encode()
        entity = encoded.indices.to_numpy().astype(np.int64)
        named, entities = np.arange(len(encoded.dictionary)), np.arange(len(encoded.dictionary) + 1)
    text_forms = index.text_forms(encoded.dictionary)
    nameless = np.flatnonzero(text_forms.empty[named[entities[:-1]]][entity])
    if nameless.size:
        role, row = divmod(int(nameless[0]), facts.num_rows)
        raise EmptyQueryError(
            f"row {row + 1} of the fact table, {('subject', 'object')[role]}: "
            f"{nothing_left(names[int(nameless[0])].as_py(), index.analyzer)}"
            f"{also_rows((nameless[1:] % facts.num_rows + 1).tolist())}"
        )
    forms = forms_of_texts(text_forms, named, entities)
    subjects, objects = np.split(entity, 2)
    return forms, subjects, objects


def _with_aliases(names: pa.Array, facts: pa.Table) -> tuple[pa.DictionaryArray, npt.NDArray[np.int64]]:
    """Return the names of all subjects and objects, each followed by its aliases, and the start of each."""
    counts, items = np.zeros(len(names), np.int64), [names]
    for first, role in ((0, "subject"), (facts.num_rows, "object")):
        if f"{role}_aliases" in facts.column_names:
            for chunk in facts[f"{role}_aliases"].chunks:
                sizes = compute("list_value_length", [chunk]).fill_null(0)
                counts[first : first + len(chunk)] = sizes.to_numpy(zero_copy_only=False)
                items.append(chunk.flatten())
                first += len(chunk)
    starts = np.concatenate([[0], np.cumsum(1 + counts)])
    order = np.empty(starts[-1], np.int64)  # of the names, then of all aliases
    is_name = np.zeros(len(order), np.bool_)
    is_name[starts[:-1]] = True
    order[is_name] = np.arange(len(names))
    order[~is_name] = np.arange(len(names), len(order))
    encoded = pa.concat_arrays(items).dictionary_encode()
    indices = encoded.indices.take(pa.array(order, pa.int64(), from_pandas=False))
    return pa.DictionaryArray.from_arrays(indices, encoded.dictionary), starts


def _distinct_rows(
    numbers: npt.NDArray[np.integer[Any]], starts: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Number the distinct ``numbers[starts[i]:starts[i + 1]]``; return the number of each, and its first place."""
    content = numbers.tobytes()
    found: dict[bytes, int] = {}
    ends = (starts * numbers.itemsize).tolist()
    of_row = [found.setdefault(content[begin:end], len(found)) for begin, end in pairwise(ends)]
    entity = np.array(of_row, np.int64)
    _, first = np.unique(entity, return_index=True)
    return entity, first
