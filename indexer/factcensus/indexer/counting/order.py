"""The training order: a table with the step that first read each document, and columns of counts by step."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow.compute import SetLookupOptions
from pyarrow.compute import call_function as compute

from factcensus.indexer.counting.steps import UNSEEN
from factcensus.indexer.errors import InputError
from factcensus.indexer.names import suggestion


class Order:
    """The step in which training first saw each document.

    Args:
        table: A row per document: ``step``, an integer or the list of its steps in several epochs; and either ``id``,
            or ``path`` and ``record``, as in the document table of an index: the path of the file below the given
            source, and the number of the line or row in it, from 0. A document that is seen several times may have
            several rows.

    Raises:
        InputError: A column is missing, or a step is not an integer of at least 0.
    """

    def __init__(self, table: pa.Table) -> None:
        self.by_id = "id" in table.column_names
        for name in ("step", *(() if self.by_id else ("path", "record"))):
            if name not in table.column_names:
                raise InputError(
                    f"the order table has no column {name!r}{suggestion(name, table.column_names)}; it needs "
                    "step, and either id, or path and record"
                )
        steps = _first_steps(table["step"])
        if self.by_id:
            first = (
                pa.table({"key": table["id"].cast(pa.string()), "step": steps})
                .group_by("key")
                .aggregate([("step", "min")])
            )
            self._ids, self._steps = first["key"].combine_chunks(), first["step_min"].to_numpy()
        else:
            self._files = _by_file(table["path"].cast(pa.string()), _integers(table["record"], "record"), steps)

    def of_records(self, path: str, records: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return int64 (records,): the first step of records of a file, or UNSEEN."""
        known, steps = self._files.get(path, (np.zeros(0, np.int64), np.zeros(0, np.int64)))
        return _looked_up(known, steps, records)

    def of_ids(self, ids: pa.Array) -> npt.NDArray[np.int64]:
        """Return int64 (ids,): the first step of documents by their ids, or UNSEEN."""
        at = _filled(
            compute("index_in", [ids.cast(pa.string())], SetLookupOptions(value_set=self._ids, skip_nulls=True))
        )
        steps: npt.NDArray[np.int64] = np.where(at >= 0, np.append(self._steps, UNSEEN)[at], UNSEEN)
        return steps

    def of_documents(self, table: Path) -> npt.NDArray[np.int64]:
        """Return int64 (documents,): the first step of each row of the document table of a shard, or UNSEEN."""
        if self.by_id:
            return self.of_ids(pq.read_table(table, columns=["id"])["id"].combine_chunks())
        rows = pq.read_table(table, columns=["path", "record"])
        paths = rows["path"].cast(pa.string()).combine_chunks().dictionary_encode()
        codes, records = paths.indices.to_numpy(False), rows["record"].to_numpy()
        steps = np.empty(len(codes), np.int64)
        for code, path in enumerate(paths.dictionary.to_pylist()):
            mine = codes == code
            steps[mine] = self.of_records(path, records[mine])
        return steps


def _filled(found: pa.Array) -> npt.NDArray[np.int64]:
    """Return the positions of values; -1 for those that were not found."""
    positions = found.to_numpy(zero_copy_only=False).astype(np.float64)
    filled: npt.NDArray[np.int64] = np.nan_to_num(positions, nan=-1).astype(np.int64)
    return filled


def _looked_up(
    known: npt.NDArray[np.int64], values: npt.NDArray[np.int64], wanted: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    if not len(known):
        return np.full(len(wanted), UNSEEN, np.int64)
    at = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
    found: npt.NDArray[np.int64] = np.where(known[at] == wanted, values[at], UNSEEN)
    return found


def _first_steps(column: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    """Return the lowest step of each row."""
    kind = column.type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        lists = column.combine_chunks()
        sizes = lists.value_lengths().to_numpy(False)
        if lists.null_count or not sizes.all():
            raise InputError(f"row {int(np.argmin(np.nan_to_num(sizes))) + 1} of the order has no step; remove the row")
        values = _integers(pa.chunked_array([lists.flatten()]), "step")
        return np.minimum.reduceat(values, np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64))
    return _integers(column, "step")


def _integers(column: pa.ChunkedArray, name: str) -> npt.NDArray[np.int64]:
    try:
        numbers = column.cast(pa.int64())
    except pa.ArrowInvalid as error:
        raise InputError(f"the column {name!r} of the order must have integers of at least 0 ({error})") from error
    if numbers.null_count or (len(numbers) and compute("min_max", [numbers])["min"].as_py() < 0):
        raise InputError(f"the column {name!r} of the order must have an integer of at least 0 in every row")
    return numbers.to_numpy()  # type: ignore[no-any-return]


def _by_file(
    paths: pa.ChunkedArray, records: npt.NDArray[np.int64], steps: npt.NDArray[np.int64]
) -> dict[str, tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """Return for each path the sorted records and the first step of each."""
    encoded = paths.combine_chunks().dictionary_encode()
    codes = encoded.indices.to_numpy(False)
    order = np.lexsort((steps, records, codes))
    codes, records, steps = codes[order], records[order], steps[order]
    first = np.ones(len(codes), np.bool_)
    first[1:] = (codes[1:] != codes[:-1]) | (records[1:] != records[:-1])
    codes, records, steps = codes[first], records[first], steps[first]
    begins = np.searchsorted(codes, np.arange(len(encoded.dictionary) + 1))
    return {
        path: (records[begin:end], steps[begin:end])
        for path, begin, end in zip(encoded.dictionary.to_pylist(), begins[:-1], begins[1:], strict=True)
    }


def step_column(
    by: str, names: Sequence[str], facts: int, groups: Iterable[tuple[str, npt.NDArray[np.int64]]]
) -> pa.Array:
    """Return the column with the counts of each fact as of each step.

    Args:
        by: The grouping, such as ``step:1000``.
        names: The names of the counts.
        facts: Number of facts.
        groups: For each group in order, its name and int64 (facts, names), the counts up to it.

    Returns:
        A list of structs for each fact. A group without a change is left out: it has the numbers of the previous group.
    """
    before = np.zeros((facts, len(names)), np.int64)
    rows, labels, numbers = [np.zeros(0, np.int64)], list[str](), [np.zeros((0, len(names)), np.int64)]
    for label, counts in groups:
        changed = np.flatnonzero((counts != before).any(axis=1))
        rows.append(changed)
        labels += [label] * len(changed)
        numbers.append(counts[changed])
        before = counts.copy()
    of_fact = np.concatenate(rows)
    order = np.argsort(of_fact, kind="stable")
    found = np.concatenate(numbers)[order]
    structs = pa.StructArray.from_arrays(
        [pa.array([labels[i] for i in order], pa.string()), *(pa.array(column) for column in found.T)], [by, *names]
    )
    offsets = np.searchsorted(of_fact[order], np.arange(facts + 1))
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), structs)
