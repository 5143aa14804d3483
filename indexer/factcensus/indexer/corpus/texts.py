"""Reading only the texts of corpus files, for a scan, which needs no ids, sources or metadata.

The same lines and rows are texts, and the same ones are bad, as in :func:`~factcensus.indexer.corpus.read_documents`.
Not making the other fields saves 4 to 6 µs per document, two thirds of the cost of a short one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import orjson

from factcensus.indexer.corpus.files import SourceFile
from factcensus.indexer.corpus.records import (
    BadLinePolicy,
    BadRecordError,
    Record,
    RepeatedKeys,
    bad_record,
    document_of_record,
    json_lines,
    line_blocks,
    open_parquet,
    parsed_line,
    rows_at_once,
    rows_of,
)
from factcensus.indexer.corpus.streams import LineLimit
from factcensus.indexer.kernels.json_texts import ODD, LineReader

#: Bytes of a Parquet file, from a row group's first byte to the next one's, that make one piece.
PIECE_BYTES = 128 << 20
#: The id of documents, whose value does not matter here.
_ID_FIELD = "id"


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a corpus file: all of it, or the row groups of a Parquet file that begin in a range of its bytes.

    Attributes:
        file: The file.
        begin: The first byte of the range.
        end: The byte after the last; None for the end of the file.
    """

    file: SourceFile
    begin: int = 0
    end: int | None = None

    @property
    def size_bytes(self) -> int:
        """Number of bytes of the range."""
        return (self.file.size_bytes if self.end is None else self.end) - self.begin


def pieces_of(file: SourceFile) -> list[Piece]:
    """Divide a file into pieces: ranges of a Parquet file, without reading it; any other file is one piece."""
    if not file.name.lower().endswith(".parquet") or file.size_bytes <= PIECE_BYTES:
        return [Piece(file)]
    begins = range(0, file.size_bytes - PIECE_BYTES // 2, PIECE_BYTES)  # a short rest belongs to the last piece
    return [Piece(file, begin, end) for begin, end in zip(begins, [*begins[1:], None], strict=True)]


def read_texts(piece: Piece, **options: Any) -> Iterator[bytes]:
    """Yield the texts of a piece as UTF-8, in order; for options and errors see :func:`read_text_records`."""
    return (text for _, text in read_text_records(piece, **options))


def read_text_records(
    piece: Piece,
    *,
    text_field: str = "text",
    on_bad_line: BadLinePolicy = "fail",
    on_skip: Callable[[str], None] = lambda _reason: None,
    on_bytes: Callable[[int], None] = lambda _position: None,
) -> Iterator[tuple[int, bytes]]:
    """Yield the number of each record and its text as UTF-8; for arguments and errors see :func:`read_documents`."""
    if piece.file.name.lower().endswith(".parquet"):
        records = _parquet_texts(piece, text_field, on_bytes)
    else:
        records = _json_texts(piece.file, text_field, on_bytes)
    for record, text in records:
        if isinstance(text, BadRecordError):
            bad_record(piece.file, record, text, on_bad_line, on_skip)
        else:
            yield record, text


#: The number of a record, and its text or the reason why it is bad.
TextRecord = tuple[int, "bytes | BadRecordError"]


def _json_texts(file: SourceFile, text_field: str, on_bytes: Callable[[int], None]) -> Iterator[TextRecord]:
    if "." in text_field or not text_field.isascii() or not text_field.isprintable():
        yield from _with_texts(json_lines(file, LineLimit(), on_bytes), text_field)
        return
    reader = LineReader(text_field)
    record = 0
    for block, ends in line_blocks(file, on_bytes):
        texts, starts, stops = reader.read(np.frombuffer(block, np.uint8), ends)
        for at, (start, stop) in enumerate(zip(starts, stops, strict=True), record):
            if start >= 0:
                yield at, texts[start:stop]
            elif start == ODD:
                number = at - record
                line = block[ends[number - 1] if number else 0 : ends[number]]
                yield from _with_texts(parsed_line(at, line), text_field)
        record += len(ends)


def _with_texts(records: Iterator[Record], text_field: str) -> Iterator[TextRecord]:
    repeats = RepeatedKeys(text_field, _ID_FIELD)
    for record, fields, line in records:
        text = fields.get(text_field) if isinstance(fields, dict) else None
        if isinstance(text, str) and line is not None and isinstance(fields, dict):
            del fields[text_field]
            try:
                encoded, others = text.encode(), orjson.dumps(fields)
            except (UnicodeEncodeError, TypeError):  # lone surrogates, or nested too deeply
                pass
            else:
                if not repeats.possible(line, len(encoded), others.count(b":")):
                    yield record, encoded
                    continue
            fields[text_field] = text
        yield record, _exact_text(record, fields, line, text_field, repeats)


def _exact_text(
    record: int, fields: dict[str, Any] | str, line: bytes | None, text_field: str, repeats: RepeatedKeys
) -> bytes | BadRecordError:
    try:
        return document_of_record(record, fields, line, text_field, _ID_FIELD, repeats).text
    except BadRecordError as error:
        return error


def _parquet_texts(piece: Piece, text_field: str, on_bytes: Callable[[int], None]) -> Iterator[TextRecord]:
    with open_parquet(piece.file, text_field) as parquet:
        row = 0
        groups, first_rows = [], []
        for number in range(parquet.num_row_groups):
            group = parquet.metadata.row_group(number)
            if piece.begin <= _first_byte(group) and (piece.end is None or _first_byte(group) < piece.end):
                groups.append(number)
                first_rows.append(row)
            row += group.num_rows
        all_rows = max(1, sum(parquet.metadata.row_group(number).num_rows for number in groups))
        done = 0
        for number, row in zip(groups, first_rows, strict=True):
            for batch in parquet.iter_batches(rows_at_once(parquet.metadata.row_group(number)), [number]):
                yield from _batch_texts(batch, row, text_field)
                row += batch.num_rows
                done += batch.num_rows
                on_bytes(piece.size_bytes * done // all_rows)


def _first_byte(group: Any) -> int:
    """Return the position of the first page of a row group."""
    column = group.column(0)
    pages = [column.data_page_offset, column.dictionary_page_offset if column.has_dictionary_page else None]
    return int(min(page for page in pages if page is not None))


def _batch_texts(batch: Any, first_row: int, text_field: str) -> Iterator[TextRecord]:
    """Yield the texts of some rows; directly from Arrow's memory if the rows cannot be invalid."""
    texts = _plain_texts(batch, text_field)
    if texts is not None:
        yield from enumerate(texts, first_row)
        return
    repeats = RepeatedKeys(text_field, _ID_FIELD)
    for record, fields in enumerate(rows_of(batch), first_row):
        yield record, _exact_text(record, fields, None, text_field, repeats)


def _plain_texts(batch: Any, text_field: str) -> list[bytes] | None:
    """Return the texts of a batch whose rows cannot be invalid, otherwise None."""
    import pyarrow as pa

    at = batch.schema.get_field_index(text_field)
    if at < 0 or batch.column(at).null_count or not _all_plain(batch.schema):
        return None
    column = batch.column(at)
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        return None
    try:
        batch.validate(full=True)  # checks that all strings are UTF-8
    except pa.ArrowInvalid:
        return None
    _, offsets, data = column.buffers()
    width = np.int32 if pa.types.is_string(column.type) else np.int64
    ends = np.frombuffer(offsets, width)[column.offset : column.offset + len(column) + 1].tolist()
    content = memoryview(data) if data is not None else memoryview(b"")
    return [bytes(content[begin:end]) for begin, end in pairwise(ends)]


def _all_plain(schema: Any) -> bool:
    """Return whether every valid value of these columns can be converted to a Python type."""
    import pyarrow as pa

    return all(
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_null(kind)
        for kind in schema.types
    )
