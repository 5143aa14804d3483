"""The formats in which a table of facts comes in and its counts go out. A new format is one more row of FORMATS.

A table goes out in pieces as they are counted, each of them rows of one schema; no writer holds more than one piece.
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

#: Rows that are made into text at a time.
CHUNK_ROWS = 1000
#: Bytes of text that are made at a time, about, unless a single row has more.
CHUNK_BYTES = 4 * 2**20
#: Characters around a value in JSON, and of a short value.
VALUE_CHARS = 10


@dataclass(frozen=True)
class FactsFormat:
    """One format: what it is called, what its files end in, how a counts table becomes an answer.

    ``write`` takes the schema and the pieces of a table, and gives the answer in chunks. How a body becomes a table is
    in :mod:`factcensus.api.decoding.tables`.
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
    """About the bytes of a row as text, in which every column's name is repeated."""
    names: int = sum(len(name) + VALUE_CHARS for name in table.column_names)
    return names + int(table.nbytes // max(1, table.num_rows))


def _chunks(piece: pa.Table) -> Iterator[pa.Table]:
    """The rows of a piece, as many at a time as make a chunk of text."""
    rows = max(1, min(CHUNK_ROWS, CHUNK_BYTES // row_bytes(piece)))
    for start in range(0, piece.num_rows, rows):
        yield piece.slice(start, rows)


def _text_format(media_type: str, other_names: tuple[str, ...], format: Literal["csv", "jsonl"]) -> FactsFormat:
    """A format that the command line reads and writes as well, down to the bytes."""

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
    """A file to write to, out of which what was written is taken."""

    closed = False

    def __init__(self) -> None:
        self._written: list[bytes] = []

    def write(self, data: bytes) -> int:
        """Keep a copy; the buffer is the writer's."""
        self._written.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Nothing waits anywhere."""

    def close(self) -> None:
        """What was written can still be taken."""
        self.closed = True

    def taken(self) -> bytes:
        """What was written since the last time."""
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
    """Refuse a format that cannot hold the facts' own columns, before an answer in it begins.

    Returns:
        Whether that depends on the values, so that another piece of the table has to be looked at as well.

    Raises:
        Problem: ``not-acceptable``; it names a column.
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
    """Whether every format holds every value of a type."""
    if pa.types.is_list(kind):
        return _is_plain(kind.value_type)
    return any(
        holds(kind) for holds in (pa.types.is_null, pa.types.is_boolean, pa.types.is_integer, pa.types.is_floating)
    ) or kind in (pa.string(), pa.large_string())


#: The media type of each ending of files.
FILE_ENDINGS: dict[str, str] = {known.ending: known.media_type for known in FORMATS}
#: The formats besides JSON, for the OpenAPI document.
TABLE_CONTENT: dict[str, Any] = {
    known.media_type: {"schema": {"type": "string"} | ({} if known in FORMATS[1:3] else {"format": "binary"})}
    for known in FORMATS[1:]
}


def format_of_body(content_type: str | None) -> FactsFormat:
    """The format that a ``Content-Type`` names.

    Raises:
        Problem: ``unsupported-format``.
    """
    media_type = media_type_of(content_type)
    for known in FORMATS:
        if media_type == known.media_type or media_type in known.other_names:
            return known
    raise Problem(
        "unsupported-format",
        f"the body is {media_type[:100] or 'of no stated type'}; "
        f"send one of {', '.join(known.media_type for known in FORMATS)} and name it in Content-Type",
    )


def format_of_answer(accept: str | None, body: FactsFormat) -> FactsFormat:
    """The format that an ``Accept`` header prefers; of equals, that of the body.

    Raises:
        Problem: ``not-acceptable``.
    """
    in_order = [body, *(known for known in FORMATS if known is not body)]
    offers = {name: known for known in in_order for name in (known.media_type, *known.other_names)}
    chosen = preferred(accept, list(offers))
    if chosen is None:
        raise Problem("not-acceptable", f"the answer can be one of {', '.join(known.media_type for known in FORMATS)}")
    return offers[chosen]
