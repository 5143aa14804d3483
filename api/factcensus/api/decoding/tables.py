"""Reading a table of facts in pieces, so that only one piece at a time is in memory.

The file is read once to check it and to find the column types, which JSON Lines reveal only row by row. It is read a
second time to send the rows, unless it is small enough to be kept in memory.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from factcensus.api.bodies import FactsBody, ReplicationBody
from factcensus.api.decoding.bounds import (
    FORMAT_NAMES,
    MOST_COLUMNS,
    MOST_LINE_BYTES,
    MOST_NAME_CHARS,
    MOST_NESTING,
    Bounds,
    Ending,
    Form,
    Refused,
)
from factcensus.api.decoding.plain import PIECE_BYTES, VALUE_BYTES, plain_pieces, plain_schema, weight
from factcensus.api.decoding.rows import counted_from
from factcensus.indexer.errors import InputError
from factcensus.indexer.tables.columns import ColumnNames
from factcensus.indexer.tables.facts import check_facts
from factcensus.indexer.tables.files import rows_of, table_of
from factcensus.indexer.tables.json_rows import check_keys_once, rows_as_written
from factcensus.indexer.tables.shapes import Shape, ShapeError

#: Facts per piece.
PIECE_FACTS = 5000
#: Rows of Parquet decoded at a time. The process has memory for at least 64 KB per row, even for a small file; if a
#: dictionary expands to more, the memory limit stops it.
PARQUET_ROWS = 1000
#: Maximum bytes of a table that is kept rather than read a second time.
KEPT_BYTES = 32 * 2**20
_FORMS: dict[Form, type[FactsBody | ReplicationBody]] = {"facts": FactsBody, "replication": ReplicationBody}


class FactsReader:
    """A file with a fact table.

    Attributes:
        facts: Number of rows, after the check.
        size: Bytes of all rows in memory, after the check.
        options: Fields of a JSON body other than the facts.
        schema: Schema of all pieces with plain types, after the check.
    """

    def __init__(self, file: BinaryIO, ending: Ending, size_bytes: int, bounds: Bounds, form: Form = "facts") -> None:
        if ending == "json" and size_bytes > bounds.json_bytes:
            raise Refused(
                "body-too-large",
                f"a JSON file must be read as a whole, and this one has more than {bounds.json_bytes} bytes "
                "(FACTCENSUS_MAX_BODY_BYTES); send JSON Lines, CSV, Parquet or an Arrow stream",
            )
        self._file, self._bounds = file, bounds
        self._ending: Ending = ending
        self._form: Form = form
        self._sent = size_bytes
        self._kept: list[pa.Table] | None = []
        self.schema = pa.schema([])
        self.facts = self.size = 0
        self.options: dict[str, Any] = {}

    def check(self) -> None:
        """Read the file once and check it.

        Raises:
            InputError: A row cannot be counted; the message names it.
            Refused: The file cannot be read, or is too large.
        """
        self.facts = self.size = 0
        schemas: list[pa.Schema] = []
        for raw in self._raw():
            with counted_from(self.facts):
                piece = check_facts(raw)
            self.facts, self.size = self.facts + piece.num_rows, self.size + _weight(piece)
            self._bounds.check_facts(self.facts)
            self._bounds.check_bytes(self.size, self._sent)
            if piece.schema not in schemas:
                schemas.append(piece.schema)
            if self.size > KEPT_BYTES:
                self._kept = None
            elif self._kept is not None:
                self._kept.append(piece)
        if not self.facts:
            raise InputError("the fact table has no rows")
        try:
            self.schema = pa.unify_schemas(schemas, promote_options="permissive")
        except pa.ArrowException as error:
            raise InputError(f"a column mixes values of several types ({error})") from error
        self._bounds.check_bytes(VALUE_BYTES * self.facts * len(self.schema), self._sent)

    def pieces(self) -> Iterator[pa.RecordBatch]:
        """Yield the checked rows as batches with the same schema."""
        for piece in self._kept if self._kept is not None else map(check_facts, self._raw()):
            columns = [
                piece[field.name] if field.name in piece.column_names else pa.nulls(piece.num_rows, field.type)
                for field in self.schema
            ]
            try:
                fitted = [column.cast(field.type) for column, field in zip(columns, self.schema, strict=True)]
            except pa.ArrowException as error:
                raise InputError(f"a column mixes values of several types ({error})") from error
            yield from pa.table(fitted, schema=self.schema).combine_chunks().to_batches()

    def _raw(self) -> Iterator[pa.Table]:
        self._file.seek(0)
        try:
            yield from self._text() if self._ending in ("json", "jsonl", "csv") else self._columns()
        except ShapeError as error:
            raise Refused("limit-exceeded", str(error)) from error
        except (pa.ArrowMemoryError, MemoryError):
            raise
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise Refused(
                "malformed-body", f"the body cannot be read as {FORMAT_NAMES[self._ending]} ({error})"
            ) from error

    def _text(self) -> Iterator[pa.Table]:
        shape = Shape(MOST_NESTING, columns=MOST_COLUMNS, name_chars=MOST_NAME_CHARS, line_bytes=MOST_LINE_BYTES)
        if self._ending == "json":
            content = self._file.read()
            body = read_json(content, self._form)
            check_keys_once(content, len(body.model_fields_set) + sum(map(len, body.facts)))
            for row in body.facts:
                shape.check(row)
            # Windows missing in the body may be given in the URL.
            self.options = body.model_dump(exclude={"facts"}, exclude_unset=self._form == "facts")
            rows = _renamed(rows_as_written(body.facts, "facts", content))
        else:
            rows = rows_of(self._file, "csv" if self._ending == "csv" else "jsonl", shape=shape)
        before = 0
        while piece := list(islice(rows, PIECE_FACTS)):
            with counted_from(before):
                table = table_of(piece)
            yield table
            before += len(piece)

    def _columns(self) -> Iterator[pa.Table]:
        try:
            schema, batches = (
                _parquet(self._file, self._bounds, self._sent) if self._ending == "parquet" else _arrow(self._file)
            )
        except (pa.ArrowMemoryError, MemoryError) as error:  # in other files, any four bytes may look like a length
            detail = f"the body cannot be read as {FORMAT_NAMES[self._ending]}: its header is damaged"
            raise Refused("malformed-body", detail) from error
        plain = plain_schema(schema, self._bounds)
        if twice := [name for name, number in Counter(schema.names).items() if number > 1]:
            raise Refused("invalid-input", f"the table has several columns named {twice[0][:100]!r}; rename them")
        empty = True
        for piece in _pieces(_plain(batches, plain, self._bounds, self._sent), plain):
            yield piece
            empty = False
        if empty:
            check_facts(plain.empty_table())  # raises because a column is missing or there are no rows


def read_json(content: bytes, form: Form) -> FactsBody | ReplicationBody:
    """Parse a JSON body with facts.

    Raises:
        Refused: It is not JSON, or does not have the expected form.
    """
    try:
        return _FORMS[form].model_validate_json(content)
    except ValidationError as error:
        found = error.errors(include_input=False, include_url=False)
        if found[0]["type"] == "json_invalid":
            raise Refused("malformed-body", f"the body is not JSON: {found[0]['msg']}") from None
        findings = [
            {"type": each["type"], "loc": ["body", *each["loc"]], "msg": each["msg"], "ctx": _told(each.get("ctx", {}))}
            for each in found[:20]
        ]
        raise Refused("invalid-request", "the body does not have the expected form", findings, len(found)) from None


def _renamed(rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield rows with normalised column names."""
    names = ColumnNames()
    for row in rows:
        yield dict(zip(names.of(tuple(row)), row.values(), strict=True))


def _told(context: dict[str, Any]) -> dict[str, str]:
    return {key: value for key, value in context.items() if isinstance(value, str)}


def _weight(table: pa.Table) -> int:
    return sum(weight(batch) for batch in table.to_batches())


def _parquet(file: BinaryIO, bounds: Bounds, sent: int) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    opened = pq.ParquetFile(file, pre_buffer=False, buffer_size=2**20)
    metadata = opened.metadata
    # The metadata may be wrong; the actual numbers are checked while reading.
    bounds.check_facts(metadata.num_rows)
    bounds.check_columns(metadata.num_columns)
    bounds.check_bytes(VALUE_BYTES * metadata.num_rows * metadata.num_columns, sent)
    bounds.check_bytes(sum(metadata.row_group(group).total_byte_size for group in range(metadata.num_row_groups)), sent)
    return opened.schema_arrow, opened.iter_batches(PARQUET_ROWS, use_threads=False)


def _arrow(file: BinaryIO) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    stream = pa.ipc.open_stream(file, options=pa.ipc.IpcReadOptions(use_threads=False))
    return stream.schema, iter(stream)


def _plain(batches: Iterable[pa.RecordBatch], schema: pa.Schema, bounds: Bounds, sent: int) -> Iterator[pa.RecordBatch]:
    """Yield batches as plain columns, after checking that all batches so far are not too large."""
    rows = size = 0
    for batch in batches:
        batch.validate(full=True)  # Arrow itself does not validate its input
        if batch.num_rows and not batch.num_columns:
            raise Refused(
                "invalid-input", "the table has rows but no columns; every fact needs a subject and an object"
            )
        rows += batch.num_rows
        bounds.check_facts(rows)
        size += weight(batch)
        bounds.check_bytes(size, sent)
        yield from plain_pieces(batch, schema, PIECE_FACTS)


def _pieces(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.Table]:
    """Regroup the rows of batches of any size into pieces of limited size."""
    waiting: list[pa.RecordBatch] = []
    rows = size = 0
    for batch in batches:
        waiting.append(batch)
        rows, size = rows + batch.num_rows, size + batch.nbytes
        if rows >= PIECE_FACTS or size > PIECE_BYTES:
            table = pa.Table.from_batches(waiting, schema)
            yield table.slice(0, PIECE_FACTS)
            waiting = table.slice(PIECE_FACTS).to_batches()
            rows, size = max(0, rows - PIECE_FACTS), sum(batch.nbytes for batch in waiting)
    if rows:
        yield pa.Table.from_batches(waiting, schema)
