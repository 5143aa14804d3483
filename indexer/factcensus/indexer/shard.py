"""One opened shard: its mapped files, search, positions and documents."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from factcensus.indexer.errors import IndexFormatError
from factcensus.indexer.layout import entry_bytes
from factcensus.indexer.mentions import Mentions, select_mentions

#: Neighbouring suffixes are compared so far when their order is verified.
COMPARED_BYTES = 8192


class Shard:
    """The files ``tokenized``, ``table`` and ``offset`` of one shard, read-only.

    Attributes:
        token_bytes: width of a token id.
        size: tokens, separators included.
        documents: number of documents.
        first_document: number of the first document in the whole index.
    """

    def __init__(self, folder: Path, suffix: str, first_document: int) -> None:
        self._folder = folder
        self._suffix = suffix
        self._stream = _mapped(folder / f"tokenized{suffix}")
        self._table = _mapped(folder / f"table{suffix}")
        offsets = _mapped(folder / f"offset{suffix}")
        self._width = entry_bytes(self._stream.size)
        rows, rest = divmod(self._table.size, self._width)
        self.token_bytes, odd = divmod(self._stream.size, max(1, rows))
        if rest or odd or self.token_bytes not in (1, 2, 4) or offsets.size % 8:
            raise IndexFormatError(
                f"{folder}: the sizes of tokenized{suffix} ({self._stream.size}), table{suffix} ({self._table.size}) "
                f"and offset{suffix} ({offsets.size}) do not belong together; the index is damaged or half-copied"
            )
        self.size = rows
        self.documents = offsets.size // 8
        self.first_document = first_document
        self._offsets = offsets.view("<u8")
        separators = self._stream[: self.token_bytes]
        if self.documents and (int(self._offsets[0]) or bytes(separators) != b"\xff" * self.token_bytes):
            raise IndexFormatError(f"{folder}: tokenized{suffix} does not begin with a document separator")
        if self.documents and int(self._offsets[-1]) >= self._stream.size:
            raise IndexFormatError(f"{folder}: offset{suffix} points behind the end of tokenized{suffix}")

    @cached_property
    def document_starts(self) -> npt.NDArray[np.int64]:
        """int64 (documents,): the position of each document's separator."""
        return self._offsets.astype(np.int64) // self.token_bytes

    def find(self, token_ids: Sequence[int]) -> tuple[int, int]:
        """The range of the table whose suffixes start with these tokens."""
        from factcensus.indexer.search import find

        query = np.array(token_ids, dtype=f"<u{self.token_bytes}").view(np.uint8)
        low, high = find(self._stream, self._table, self._width, query)
        return int(low), int(high)

    def positions(self, low: int, high: int) -> npt.NDArray[np.int64]:
        """The token positions of a range of the table, in table order."""
        from factcensus.indexer.search import positions_of

        return positions_of(self._table, self._width, self.token_bytes, low, high)

    @cached_property
    def _blocks(self) -> npt.NDArray[np.int32]:
        from factcensus.indexer.search import block_documents

        return block_documents(self.document_starts, self.size)

    def documents_of(self, positions: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The document of each position."""
        from factcensus.indexer.search import documents_of

        return documents_of(positions, self.document_starts, self._blocks)

    def document_count(self, low: int, high: int) -> int:
        """How many documents a range of the table falls into; a byte of memory a document, however many rows."""
        return self._mark_documents(low, high)[0]

    def documents_with(self, low: int, high: int) -> npt.NDArray[np.int64]:
        """The distinct documents that a range of the table falls into, in order."""
        return np.flatnonzero(self._mark_documents(low, high)[1])

    def _mark_documents(self, low: int, high: int) -> tuple[int, npt.NDArray[np.bool_]]:
        from factcensus.indexer.search import mark_documents

        seen = np.zeros(self.documents, np.bool_)
        found = mark_documents(
            self._table, self._width, self.token_bytes, low, high, self.document_starts, self._blocks, seen
        )
        return int(found), seen

    def mentions(self, forms: Sequence[Sequence[int]]) -> Mentions:
        """The mentions of an entity given by the token ids of its surface forms."""
        positions = [self.positions(*self.find(form)) for form in forms]
        starts, ends = select_mentions(positions, [len(form) for form in forms])
        return Mentions(starts, ends, self.documents_of(starts))

    def first_disorder(self, rows: npt.NDArray[np.int64]) -> int | None:
        """The first of these rows of the table whose suffix does not precede the next row's."""
        from factcensus.indexer.search import first_disorder

        wrong = int(first_disorder(self._stream, self._table, self._width, rows, COMPARED_BYTES))
        return None if wrong < 0 else wrong

    @property
    def table_name(self) -> str:
        """The name of the suffix array's file."""
        return f"table{self._suffix}"

    def tokens(self, begin: int, end: int) -> npt.NDArray[np.integer[Any]]:
        """The token ids at the positions [begin, end)."""
        width = self.token_bytes
        return np.asarray(self._stream[begin * width : end * width]).view(f"<u{width}")

    def document_span(self, document: int) -> tuple[int, int]:
        """The positions [begin, end) of a document's tokens, its separator left out."""
        starts = self.document_starts
        end = int(starts[document + 1]) if document + 1 < len(starts) else self.size
        return int(starts[document]) + 1, end

    @property
    def _rows_path(self) -> Path:
        return self._folder / f"documents{self._suffix}.parquet"

    @cached_property
    def sources(self) -> tuple[list[str], npt.NDArray[np.int32]] | None:
        """The names of the sources, and each document's place among them; None without a document table."""
        if not self._rows_path.exists():
            return None
        with _readable(self._rows_path):
            column = pq.read_table(self._rows_path, columns=["source"])["source"]
        column = column.cast(pa.string()).combine_chunks().dictionary_encode()
        return column.dictionary.to_pylist(), column.indices.to_numpy().astype(np.int32)

    def rows(self, documents: Sequence[int]) -> list[dict[str, Any]]:
        """The rows of the document table for some documents, in rising order; empty records where there is none."""
        if not self._rows_path.exists():
            return [{} for _ in documents]
        rows: list[dict[str, Any]] = []
        with _readable(self._rows_path), pq.ParquetFile(self._rows_path) as file:
            sizes = [file.metadata.row_group(group).num_rows for group in range(file.metadata.num_row_groups)]
            first_rows = np.concatenate([[0], np.cumsum(sizes)])
            groups = np.searchsorted(first_rows, documents, side="right") - 1
            for group in np.unique(groups).tolist():
                wanted = np.asarray(documents)[groups == group] - first_rows[group]
                rows += file.read_row_group(group).take(pa.array(wanted, pa.int64())).to_pylist()
        return rows


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        raise IndexFormatError(f"{path} cannot be read ({error}); run 'factcensus index verify'") from error


def _mapped(path: Path) -> npt.NDArray[np.uint8]:
    try:
        if path.stat().st_size == 0:
            return np.zeros(0, np.uint8)
        return np.asarray(np.memmap(path, np.uint8, "r"))
    except OSError as error:
        raise IndexFormatError(f"{path} cannot be opened ({error.strerror}); the index is half-copied") from error
