"""Totals of the document tables of an index, which every change of an index needs; read without DuckDB's start-up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from factcensus.indexer.arrays import as_numpy
from factcensus.indexer.errors import IndexFormatError
from factcensus.indexer.storage.chosen import Chosen

#: Number of rows read at once.
_ROWS = 1 << 16


def count_totals(tables: Mapping[int, Path], deleted: Chosen) -> tuple[dict[str, dict[str, int]], int]:
    """Return the number of documents and tokens of each source, by name, and the UTF-8 bytes of all texts.

    Args:
        tables: The document table of each shard.
        deleted: Documents to exclude.

    Raises:
        IndexFormatError: A table is damaged.
    """
    documents: Counter[str] = Counter()
    tokens: Counter[str] = Counter()
    text_bytes = 0
    for number, path in tables.items():
        gone = deleted.get(number, np.zeros(0, np.uint32))
        try:
            text_bytes += _add_table(path, gone, documents, tokens)
        except (pa.ArrowException, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:  # the disk, not what the file holds
                raise
            raise IndexFormatError(
                f"cannot read a document table ({error}; {path}); run 'factcensus index verify'"
            ) from error
    return {name: {"documents": documents[name], "tokens": tokens[name]} for name in sorted(documents)}, text_bytes


def _add_table(path: Path, gone: np.ndarray, documents: Counter[str], tokens: Counter[str]) -> int:
    """Add the rows of one table to the counters, without the deleted ones, and return the bytes of their texts."""
    text_bytes = row = 0
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(_ROWS, columns=["source", "tokens", "text_bytes"]):
            living = np.ones(batch.num_rows, np.int64)
            living[gone[(gone >= row) & (gone < row + batch.num_rows)] - row] = 0
            row += batch.num_rows
            text_bytes += int(living @ as_numpy(batch["text_bytes"]))
            sources = batch["source"]
            if not isinstance(sources, pa.DictionaryArray):
                sources = sources.dictionary_encode()
            codes, sizes = as_numpy(sources.indices), as_numpy(batch["tokens"])
            for code, name in enumerate(sources.dictionary.to_pylist()):
                here = living * (codes == code)
                if here.any():
                    documents[name] += int(here.sum())
                    tokens[name] += int(here @ sizes)
    return text_bytes
