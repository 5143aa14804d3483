"""Documents as Arrow record batches, the form in which a corpus is read.

The columns are ``text`` (large_binary, UTF-8) and ``record`` (int64, the 0-based number of the line, counting blank
lines, or of the row). Unless only texts are read, there are also ``id``, ``source`` and ``metadata`` (string; the
metadata is a JSON object of all other fields).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from factcensus.indexer.arrays import Numbers, as_arrow, as_numpy
from factcensus.indexer.corpus.records import Document

if TYPE_CHECKING:
    import pyarrow as pa


@cache
def schema_of(*, whole: bool) -> pa.Schema:
    """Return the schema of batches of whole documents, or of texts alone."""
    import pyarrow as pa

    columns = {"text": pa.large_binary(), "record": pa.int64()}
    more = {"id": pa.string(), "source": pa.string(), "metadata": pa.string()}
    return pa.schema({**columns, **more} if whole else columns)


def batch_of(documents: Sequence[Document], *, whole: bool) -> pa.RecordBatch:
    """Return a batch of documents that were read one by one."""
    import pyarrow as pa

    schema = schema_of(whole=whole)
    columns = [
        pa.array([getattr(document, field.name) for document in documents], field.type, from_pandas=False)
        for field in schema
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def merged(batches: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    """Return the rows of several batches, in the order of their records."""
    both = joined(batches)
    return both.take(as_arrow(np.argsort(as_numpy(both["record"]), kind="stable")))


def joined(batches: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    """Return the rows of several batches, one after another."""
    import pyarrow as pa

    if len(batches) == 1:
        return batches[0]
    (batch,) = pa.Table.from_batches(batches).combine_chunks().to_batches()
    return batch


def documents_of(batch: pa.RecordBatch) -> Iterator[Document]:
    """Yield the documents of a batch one by one."""
    columns = [batch[name].to_pylist() for name in ("text", "record", "id", "source", "metadata")]
    for text, record, id, source, metadata in zip(*columns, strict=True):
        yield Document(text, record, id, source, metadata)


def regrouped(batches: Iterable[pa.RecordBatch], size: int) -> Iterator[pa.RecordBatch]:
    """Yield the rows of batches in larger batches, each of which ends with the row that reaches ``size``.

    The size of a row is the number of bytes of the text and of characters of the metadata.
    """
    waiting: list[pa.RecordBatch] = []
    reached = 0
    for batch in batches:
        ends = np.cumsum(_sizes(batch)) + reached
        first = 0
        while (last := first + int(np.searchsorted(ends[first:], size))) < batch.num_rows:
            yield joined([*waiting, batch.slice(first, last + 1 - first)])
            waiting, first = [], last + 1
            ends -= ends[last]
        if first < batch.num_rows:
            waiting.append(batch.slice(first))
            reached = int(ends[-1])
        else:
            reached = 0
    if waiting:
        yield joined(waiting)


def _sizes(batch: pa.RecordBatch) -> Numbers:
    from pyarrow.compute import call_function as compute

    sizes: Numbers = as_numpy(compute("binary_length", [batch["text"]]))
    if "metadata" in batch.schema.names:
        sizes = sizes + as_numpy(compute("utf8_length", [batch["metadata"]]))
    return sizes
