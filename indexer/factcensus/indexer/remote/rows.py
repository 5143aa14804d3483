"""Rows of a document table at a URL: its footer, and then the row groups of all wanted documents in one round."""

from __future__ import annotations

import io
from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from factcensus.indexer.errors import IndexFormatError
from factcensus.indexer.remote.rounds import Span, Steps
from factcensus.indexer.remote.session import ObjectFile, Session
from factcensus.indexer.storage.shard import row_groups_of, take_rows

#: Bytes at the end of a table that are read first; the footer of a table of a million documents has about 100 kB.
FOOTER_BYTES = 64 << 10
#: The length of the footer and the mark of a Parquet file, which follow the footer.
_MARK_BYTES = 8


def read_table_rows(session: Session, file: ObjectFile, documents: Sequence[int]) -> Steps[list[dict[str, Any]]]:
    """Return the rows of documents in ascending order; the footer is kept in the cache folder.

    Raises:
        IndexFormatError: The table is damaged.
    """
    footer = yield from _read_footer(session, file)
    try:
        metadata = pq.read_metadata(pa.BufferReader(footer))
        numbers, _ = row_groups_of(metadata, documents)
        spans = [_group_span(file, metadata.row_group(number)) for number in np.unique(numbers).tolist()]
        data = yield spans
        groups = _RowGroups(file, [(span.begin, content) for span, content in zip(spans, data, strict=True)])
        source = pa.PythonFile(groups, "r")
        with pq.ParquetFile(source, metadata=metadata, page_checksum_verification=True) as table:
            return take_rows(table, documents)
    except (pa.ArrowException, OSError, IndexError) as error:
        raise IndexFormatError(f"cannot read {file} ({error}); copy the index again") from error


def _read_footer(session: Session, file: ObjectFile) -> Steps[bytes]:
    name = f"footer.{file.name}"
    footer = session.cache.load(name)
    if footer is None:
        (footer,) = yield [Span(file, max(0, file.size - FOOTER_BYTES), file.size)]
        needed = min(file.size, _MARK_BYTES + int.from_bytes(footer[-_MARK_BYTES:-4], "little"))
        if needed > len(footer):
            (footer,) = yield [Span(file, file.size - needed, file.size)]
        footer = footer[-needed:]
        session.cache.store(name, footer)
    return footer


def _group_span(file: ObjectFile, group: pq.RowGroupMetaData) -> Span:
    """Return the bytes of the columns of a row group."""
    begins, ends = [], []
    for number in range(group.num_columns):
        column = group.column(number)
        begin = column.dictionary_page_offset or column.data_page_offset
        begins.append(begin)
        ends.append(begin + column.total_compressed_size)
    if not 0 <= min(begins) < max(ends) <= file.size:
        raise IndexFormatError(f"{file} is damaged: a row group is outside of it; copy the index again")
    return Span(file, min(begins), max(ends))


class _RowGroups(io.RawIOBase):
    """A file with only some known row groups, given by their offsets and bytes; reading others is an error."""

    def __init__(self, file: ObjectFile, groups: Sequence[tuple[int, bytes]]) -> None:
        self._file, self._groups, self._at = file, groups, 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to a position and return the new position."""
        self._at = offset + (0, self._at, self._file.size)[whence]
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer and return the number of bytes; 0 at the end.

        Raises:
            IndexFormatError: These bytes belong to no known row group.
        """
        # Arrow reads up to 100 bytes more than a column has, for writers that counted wrongly.
        place = bisect_right(self._groups, self._at, key=lambda group: group[0]) - 1
        begin, content = self._groups[max(0, place)]
        found = content[max(0, self._at - begin) : self._at - begin + len(buffer)] if begin <= self._at else b""
        if not found and self._at < self._file.size:
            raise IndexFormatError(f"{self._file} is damaged: its footer does not fit its rows; copy the index again")
        buffer[: len(found)] = found
        self._at += len(found)
        return len(found)
