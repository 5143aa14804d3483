"""The documents of JSON Lines files: blocks of lines are read by compiled code, unusual lines one by one in Python."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from factcensus.indexer.arrays import as_arrow
from factcensus.indexer.corpus.batches import batch_of, merged, schema_of
from factcensus.indexer.corpus.files import SourceFile
from factcensus.indexer.corpus.records import (
    UNKNOWN_SOURCE,
    BadRecordError,
    Document,
    document_of_record,
    parse_line,
)
from factcensus.indexer.corpus.streams import DAMAGE, LineBlock, LineLimit, TooLong, open_stream, read_blocks
from factcensus.indexer.errors import InputError
from factcensus.indexer.kernels.json_lines import BLANK, ID, METADATA, READ, SOURCE, TEXT, Documents, LineReader

if TYPE_CHECKING:
    import pyarrow as pa

    from factcensus.indexer.corpus.reading import Fields, OnBad

#: Fields that the compiled reader knows by name.
_KNOWN = {"source", "meta"}


def read_json(
    file: SourceFile, fields: Fields, limit: LineLimit, on_bad: OnBad, on_bytes: Callable[[int], None]
) -> Iterator[pa.RecordBatch]:
    """Yield the documents of a JSON Lines file, a block of lines at a time; blank lines are left out but counted.

    Raises:
        InputError: The file is damaged; the message has the number of lines before the damage.
    """
    reader = _reader_of(fields)
    read = [0]
    with _explained_damage(file, read), open_stream(file.url, file.name) as (raw, stream):
        for block in read_blocks(stream, limit):
            if isinstance(block, TooLong):
                on_bad(read[0], BadRecordError(_too_long(limit)))
                read[0] += 1
            else:
                yield from _read_block(block, read[0], reader, fields, limit, on_bad)
                read[0] += len(block.ends)
            on_bytes(raw.tell())


def _reader_of(fields: Fields) -> LineReader | None:
    """Return the compiled reader of lines; None if the names of the fields need Python's reader."""
    names = {fields.text, fields.id} if fields.whole else {fields.text}
    plain = all(name.isascii() and name.isprintable() and "." not in name for name in names)
    if not plain or (fields.whole and (len(names) == 1 or names & _KNOWN)):
        return None
    id_field = fields.id if fields.whole else None
    return LineReader(fields.text, id_field, needs_id=fields.needs_id, unknown=UNKNOWN_SOURCE)


def _read_block(
    block: LineBlock, first: int, reader: LineReader | None, fields: Fields, limit: LineLimit, on_bad: OnBad
) -> Iterator[pa.RecordBatch]:
    """Yield the documents of some lines; ``first`` is the number of the first line."""
    batches = []
    odd: Sequence[int] = range(len(block.ends))
    if reader is not None and len(block.content) >= 8:
        documents, count = reader.read(np.frombuffer(block.content, np.uint8), block.ends, limit.bytes)
        if count:
            batches.append(_batch(documents, count, first, whole=fields.whole))
        kinds = documents.kinds
        odd = np.flatnonzero((kinds != READ) & (kinds != BLANK)).tolist()
    others: list[Document] = []
    for number in odd:
        try:
            others += _read_line(block.line(number), first + number, fields, limit)
        except BadRecordError as error:
            on_bad(first + number, error)
    if others:
        batches.append(batch_of(others, whole=fields.whole))
    if batches:
        yield batches[0] if len(batches) == 1 else merged(batches)


def _read_line(line: bytes, record: int, fields: Fields, limit: LineLimit) -> Iterator[Document]:
    """Yield the document of a line, unless it is blank."""
    if len(line) - line.endswith(b"\n") > limit.bytes:
        raise BadRecordError(_too_long(limit))
    if record == 0:
        line = line.removeprefix(b"\xef\xbb\xbf")
    if not line.isspace():
        yield document_of_record(record, parse_line(line), line, fields.text, fields.id)


def _too_long(limit: LineLimit) -> str:
    return f"longer than {limit.bytes >> 20} MiB, the limit for a line{limit.origin}"


def _batch(documents: Documents, count: int, first: int, *, whole: bool) -> pa.RecordBatch:
    """Return the documents of the compiled reader, without a copy."""
    import pyarrow as pa

    def column(kind: Any, values: Any, ends: Any, known: Any = None) -> Any:
        offsets = np.ascontiguousarray(ends, np.int64 if kind == pa.large_binary() else np.int32)
        mask = None if known is None or known.all() else pa.py_buffer(np.packbits(known, bitorder="little"))
        return pa.Array.from_buffers(kind, count, [mask, pa.py_buffer(offsets), pa.py_buffer(values)])

    ends = documents.ends[: count + 1]
    columns = [
        column(pa.large_binary(), documents.text, ends[:, TEXT]),
        as_arrow(documents.lines[:count] + first),
    ]
    if whole:
        columns += [
            column(pa.string(), documents.id, ends[:, ID], documents.has_id[:count]),
            column(pa.string(), documents.source, ends[:, SOURCE]),
            column(pa.string(), documents.metadata, ends[:, METADATA]),
        ]
    return pa.RecordBatch.from_arrays(columns, schema=schema_of(whole=whole))


@contextmanager
def _explained_damage(file: SourceFile, read: list[int]) -> Iterator[None]:
    """Explain damage of a file; ``read`` has the number of lines that were read before it."""
    try:
        yield
    except DAMAGE as error:
        if isinstance(error, OSError) and error.errno is not None:  # the disk or the network, not what the file holds
            error.filename = error.filename or file.name
            raise
        raise InputError(
            f"{file.name}: damaged or truncated after line {read[0]} ({error}); replace the file"
        ) from error
