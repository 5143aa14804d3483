"""A table of facts in a file, read piece by piece: one piece at a time is in memory, however large the file is.

It is read twice: once to find everything in order, and to learn the columns' types, which rows of JSON Lines show only
bit by bit; once to be kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import BinaryIO, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from factcensus.api.formats import FILE_ENDINGS, check_size, format_of_body, sound
from factcensus.api.limits import check_entities, check_facts_number
from factcensus.api.problems import Problem
from factcensus.api.settings import Limits
from factcensus.indexer import CountIndex
from factcensus.indexer.errors import InputError
from factcensus.indexer.tables.counts import check_names
from factcensus.indexer.tables.facts import check_facts
from factcensus.indexer.tables.files import rows_of, table_of

#: Facts of a piece.
PIECE_FACTS = 5000
Ending = Literal["json", "jsonl", "csv", "arrow", "parquet"]


class FactsFile:
    """A file with a fact table.

    Attributes:
        facts: its rows, once it was checked.
        size: bytes of its rows in memory, all together, once it was checked.
        windows: those that it names itself, as JSON can.
    """

    def __init__(self, file: BinaryIO, ending: Ending, size_bytes: int, limits: Limits) -> None:
        if ending == "json" and size_bytes > limits.max_body_bytes:
            raise Problem(
                "body-too-large",
                f"a JSON file has to be read as a whole, and this one has more than {limits.max_body_bytes} bytes "
                "(FACTCENSUS_MAX_BODY_BYTES); send JSON Lines, CSV, Parquet or an Arrow stream",
            )
        self._file, self._ending, self._limits = file, ending, limits
        self._schema = pa.schema([])
        self.facts = self.size = 0
        self.windows: list[int] = []

    def check(self, index: CountIndex) -> None:
        """Read it once.

        Raises:
            InputError: a row cannot be counted; the message names it.
            Problem: it cannot be read, or is too large.
        """
        self.facts = self.size = 0
        schemas: list[pa.Schema] = []
        for raw in self._raw():
            with _counted_from(self.facts):
                piece = check_facts(raw)
                check_entities(piece, self._limits)
                check_names(index, piece)
            self.facts, self.size = self.facts + piece.num_rows, self.size + piece.nbytes
            check_facts_number(self.facts, self._limits)
            if piece.schema not in schemas:
                schemas.append(piece.schema)
        if not self.facts:
            raise InputError("the fact table has no rows")
        try:
            self._schema = pa.unify_schemas(schemas, promote_options="permissive")
        except pa.ArrowException as error:
            raise InputError(f"a column mixes values of several types ({error})") from error

    def pieces(self) -> Iterator[pa.Table]:
        """Read it again, checked as it was: tables of one schema."""
        for raw in self._raw():
            piece = check_facts(raw)
            columns = [
                piece[field.name] if field.name in piece.column_names else pa.nulls(piece.num_rows, field.type)
                for field in self._schema
            ]
            try:
                fitted = [column.cast(field.type) for column, field in zip(columns, self._schema, strict=True)]
            except pa.ArrowException as error:
                raise InputError(f"a column mixes values of several types ({error})") from error
            yield pa.table(fitted, schema=self._schema)

    def _raw(self) -> Iterator[pa.Table]:
        self._file.seek(0)
        if self._ending in ("csv", "jsonl"):
            rows = rows_of(self._file, self._ending)
            while piece := list(islice(rows, PIECE_FACTS)):
                yield table_of(piece)
        elif self._ending == "json":
            table, windows = format_of_body(FILE_ENDINGS["json"]).read(self._file.read(), self._limits)
            self.windows = windows or []
            yield from _pieces(table.to_batches(), table.schema)
        else:
            try:
                yield from _parquet(self._file, self._limits) if self._ending == "parquet" else _arrow(self._file)
            except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
                raise Problem("malformed-body", f"the file cannot be read as {self._ending} ({error})") from error


def _parquet(file: BinaryIO, limits: Limits) -> Iterator[pa.Table]:
    with pq.ParquetFile(file) as parquet:
        of = parquet.metadata
        size = sum(of.row_group(group).total_byte_size for group in range(of.num_row_groups))
        check_size(of.num_rows, size, limits, "MAX_UPLOAD_BYTES")
        yield from _pieces(parquet.iter_batches(PIECE_FACTS), parquet.schema_arrow)


def _arrow(file: BinaryIO) -> Iterator[pa.Table]:
    with pa.ipc.open_stream(file) as stream:
        yield from _pieces(stream, stream.schema)


def _pieces(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.Table]:
    """The rows of batches of any size, so many at a time."""
    waiting: list[pa.RecordBatch] = []
    rows = 0
    for batch in batches:
        waiting.append(batch)
        rows += batch.num_rows
        if rows >= PIECE_FACTS:
            table = sound(pa.Table.from_batches(waiting, schema))
            whole = rows - rows % PIECE_FACTS
            for start in range(0, whole, PIECE_FACTS):
                yield table.slice(start, PIECE_FACTS)
            waiting, rows = table.slice(whole).to_batches(), rows - whole
    if rows:
        yield sound(pa.Table.from_batches(waiting, schema))


@contextmanager
def _counted_from(before: int) -> Iterator[None]:
    """What is wrong with a piece is told with the row's number in the file."""
    try:
        yield
    except InputError as error:
        raise type(error)(_moved(str(error), before)) from error
    except Problem as problem:
        raise Problem(problem.kind, _moved(problem.detail, before)) from problem


def _moved(message: str, before: int) -> str:
    return re.sub(r"\brow (\d+)\b", lambda found: f"row {int(found[1]) + before}", message, count=1)
