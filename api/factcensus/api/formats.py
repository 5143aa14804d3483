"""The formats of fact tables in requests and responses. To add a format, add a row to FORMATS.

A table is written in pieces with the same schema, as they are counted; no writer holds more than one piece.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from factcensus.api.decoding.bounds import Ending
from factcensus.api.http.negotiation import media_type_of, preferred
from factcensus.api.http.problems import Problem
from factcensus.indexer.tables.files import render
from factcensus.indexer.tables.values import python_rows

#: Rows rendered as text at a time.
CHUNK_ROWS = 1000
#: Approximate bytes of text rendered at a time; a single row may have more.
CHUNK_BYTES = 4 * 2**20
#: Estimated characters of a short value and the punctuation around it in JSON.
VALUE_CHARS = 10


@dataclass(frozen=True)
class FactsFormat:
    """One format: its media types, its file ending, and its writer.

    ``write`` takes the schema and the pieces of a table and yields the response in chunks. Reading is in
    :mod:`factcensus.api.decoding.tables`.
    """

    media_type: str
    other_names: tuple[str, ...]
    ending: Ending
    write: Callable[[pa.Schema, Iterable[pa.Table]], Iterator[bytes]]


def _write_json(_schema: pa.Schema, pieces: Iterable[pa.Table]) -> Iterator[bytes]:
    before = b'{"facts":['
    for piece in pieces:
        for chunk in _chunks(piece):
            yield before + orjson.dumps(python_rows(chunk))[1:-1]
            before = b","
    yield b"]}"


def row_bytes(table: pa.Table) -> int:
    """Estimate the bytes of a row as text, including all column names."""
    names: int = sum(len(name) + VALUE_CHARS for name in table.column_names)
    return names + int(table.nbytes // max(1, table.num_rows))


def _chunks(piece: pa.Table) -> Iterator[pa.Table]:
    """Split a piece into parts that each make one chunk of text."""
    rows = max(1, min(CHUNK_ROWS, CHUNK_BYTES // row_bytes(piece)))
    for start in range(0, piece.num_rows, rows):
        yield piece.slice(start, rows)


def _text_format(media_type: str, other_names: tuple[str, ...], format: Literal["csv", "jsonl"]) -> FactsFormat:
    """Return a text format; its bytes equal those that the command line writes."""

    def write(schema: pa.Schema, pieces: Iterable[pa.Table]) -> Iterator[bytes]:
        header = b"".join(render(schema.empty_table(), format))
        yield header
        for piece in pieces:
            for chunk in _chunks(piece):
                rendered = iter(render(chunk, format))
                yield next(rendered).removeprefix(header)
                yield from rendered

    return FactsFormat(media_type, other_names, format, write)


def _write_parquet(schema: pa.Schema, pieces: Iterable[pa.Table]) -> Iterator[bytes]:
    sink = _Sink()
    with pq.ParquetWriter(sink, schema, compression="zstd") as file:
        for piece in pieces:
            file.write_table(piece)
            yield sink.taken()
    yield sink.taken()


def _write_arrow(schema: pa.Schema, pieces: Iterable[pa.Table]) -> Iterator[bytes]:
    sink = _Sink()
    with pa.ipc.new_stream(sink, schema) as stream:
        for piece in pieces:
            stream.write_table(piece)
            yield sink.taken()
    yield sink.taken()


class _Sink:
    """A writable file whose content is taken out in parts."""

    closed = False

    def __init__(self) -> None:
        self._written: list[bytes] = []

    def write(self, data: bytes) -> int:
        """Store a copy, since the writer reuses its buffer."""
        self._written.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Do nothing; there is no buffer."""

    def close(self) -> None:
        """Close the file; its content can still be taken."""
        self.closed = True

    def taken(self) -> bytes:
        """Return the bytes written since the last call."""
        written, self._written = b"".join(self._written), []
        return written


FORMATS = (
    FactsFormat("application/json", (), "json", _write_json),
    _text_format(
        "application/x-ndjson", ("application/ndjson", "application/jsonl", "application/x-jsonlines"), "jsonl"
    ),
    _text_format("text/csv", ("application/csv",), "csv"),
    FactsFormat("application/vnd.apache.arrow.stream", ("application/x-apache-arrow-stream",), "arrow", _write_arrow),
    FactsFormat(
        "application/vnd.apache.parquet",
        ("application/parquet", "application/x-parquet"),
        "parquet",
        _write_parquet,
    ),
)


def check_writable(table: pa.Table, format: FactsFormat) -> bool:
    """Refuse a format that cannot represent the columns of the facts, before the response starts.

    Returns:
        Whether this depends on the values, so that the other pieces of the table must be checked too.

    Raises:
        Problem: ``not-acceptable``; it names the column.
    """
    doubtful = [name for name in table.column_names if not _is_plain(table.schema.field(name).type)]
    for name in doubtful:
        try:
            for _ in format.write(table.select([name]).schema, [table.select([name])]):
                pass
        except (TypeError, ValueError, OverflowError, pa.ArrowException) as error:
            raise Problem(
                "not-acceptable",
                f"the column {name[:100]!r} of type {str(table.schema.field(name).type)[:100]} cannot be written as "
                f"{format.media_type} ({str(error)[:200]}); accept application/vnd.apache.arrow.stream, or leave the "
                "column out",
            ) from error
    return bool(doubtful)


def _is_plain(kind: pa.DataType) -> bool:
    """Return whether every format can represent every value of a type."""
    if pa.types.is_list(kind):
        return _is_plain(kind.value_type)
    return any(
        holds(kind) for holds in (pa.types.is_null, pa.types.is_boolean, pa.types.is_integer, pa.types.is_floating)
    ) or kind in (pa.string(), pa.large_string())


#: The media type of each file ending.
FILE_ENDINGS: dict[str, str] = {known.ending: known.media_type for known in FORMATS}
#: The formats besides JSON, for the OpenAPI document.
TABLE_CONTENT: dict[str, Any] = {
    known.media_type: {"schema": {"type": "string", "format": "binary"}} for known in FORMATS[1:]
}


def format_of_body(content_type: str | None) -> FactsFormat:
    """Return the format named by a ``Content-Type``.

    Raises:
        Problem: ``unsupported-format``.
    """
    media_type = media_type_of(content_type)
    for known in FORMATS:
        if media_type == known.media_type or media_type in known.other_names:
            return known
    raise Problem(
        "unsupported-format",
        f"the Content-Type is {media_type[:100] or 'missing'}; "
        f"send a table as one of {', '.join(known.media_type for known in FORMATS)}",
    )


def format_of_answer(accept: str | None, body: FactsFormat) -> FactsFormat:
    """Return the format that an ``Accept`` header prefers; among equals, that of the body.

    Raises:
        Problem: ``not-acceptable``.
    """
    in_order = [body, *(known for known in FORMATS if known is not body)]
    offers = {name: known for known in in_order for name in (known.media_type, *known.other_names)}
    chosen = preferred(accept, list(offers))
    if chosen is None:
        offered = ", ".join(known.media_type for known in FORMATS)
        raise Problem("not-acceptable", f"Accept must include one of {offered}")
    return offers[chosen]
