"""Tables in files: CSV, JSON Lines and Parquet, chosen by the ending.

A CSV cell has no type, so every cell is read as the string it is ("007" stays) and lists are written as JSON.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Literal

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from factcensus.indexer.errors import InputError

TableFormat = Literal["csv", "jsonl", "parquet"]
FORMATS: tuple[TableFormat, ...] = ("parquet", "csv", "jsonl")
csv.field_size_limit(1 << 27)


def format_of(path: str | Path) -> TableFormat:
    """The format that a file's ending stands for."""
    for known in FORMATS:
        if str(path).endswith("." + known):
            return known
    raise InputError(f"{path}: a table ends in {', '.join('.' + known for known in FORMATS)}")


def read_table(source: str | Path | BinaryIO, format: TableFormat | None = None) -> pa.Table:
    """Read a table from a file, or from an open binary file whose ``format`` is given.

    Raises:
        InputError: there is no such file, or a row cannot be read; the message names it.
    """
    if isinstance(source, (str, Path)):
        path = Path(source)
        if not path.is_file():
            raise InputError(f"no such table: {path}")
        format = format or format_of(path)
        try:
            with path.open("rb") as file:
                return read_table(file, format)
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
    if format == "parquet":
        try:
            return pq.read_table(source)
        except pa.ArrowException as error:
            raise InputError(f"not a readable Parquet table ({error})") from error
    return table_of(list(rows_of(source, format)))


def rows_of(file: BinaryIO, format: TableFormat | None) -> Iterator[dict[str, Any]]:
    """The rows of a table in CSV or JSON Lines, read as they are asked for.

    Raises:
        InputError: a row cannot be read; the message names it.
    """
    return _csv_rows(file) if format == "csv" else _json_rows(file)


def table_of(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """A table of rows; a row may lack columns that others have."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = {}
    for name in names:
        try:
            columns[name] = pa.array([row.get(name) for row in rows])
        except (pa.ArrowException, OverflowError) as error:
            raise InputError(f"column {name!r} mixes values of several types ({error})") from error
    return pa.table(columns)


def _csv_rows(file: BinaryIO) -> Iterator[dict[str, Any]]:
    text = io.TextIOWrapper(file, "utf-8-sig", newline="")
    try:
        reader = csv.reader(text, strict=True)
        header = next(reader, None)
        if not header:
            raise InputError("the CSV has no header line")
        if len(set(header)) < len(header):
            twice = next(name for name in header if header.count(name) > 1)
            raise InputError(f"the CSV has the column {twice!r} twice; rename or remove one of them")
        for number, cells in enumerate(reader, 1):
            if not cells:
                continue
            if len(cells) != len(header):
                raise InputError(f"row {number} of the CSV has {len(cells)} cells, the header {len(header)}")
            yield dict(zip(header, cells, strict=True))
    except (csv.Error, UnicodeDecodeError) as error:
        raise InputError(f"the CSV cannot be read ({error}); it must be UTF-8") from error
    finally:
        text.detach()


def _json_rows(file: BinaryIO) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(file, 1):
        if number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")
        if not line.strip():
            continue
        try:
            row = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise InputError(f"line {number} is not JSON ({error})") from error
        if not isinstance(row, dict):
            raise InputError(f"line {number} is not a JSON object but {type(row).__name__}")
        yield row


def write_table(table: pa.Table, path: str | Path) -> None:
    """Write a table in the format that the file's ending stands for; the file appears in one step."""
    path = Path(path)
    format = format_of(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    if format == "parquet":
        pq.write_table(table, partial, compression="zstd")
    else:
        with partial.open("wb") as file:
            for piece in render(table, format):
                file.write(piece)
    partial.replace(path)


def render(table: pa.Table, format: Literal["csv", "jsonl"]) -> Iterable[bytes]:
    """A table as CSV or JSON Lines, piece by piece."""
    if format == "csv":
        line = io.StringIO()
        writer = csv.writer(line, lineterminator="\n")
        writer.writerow(table.column_names)
        for batch in table.to_batches(max_chunksize=1000):
            for row in batch.to_pylist():
                writer.writerow([_cell(value) for value in row.values()])
            yield line.getvalue().encode()
            line.seek(0)
            line.truncate()
        yield line.getvalue().encode()
    else:
        for batch in table.to_batches(max_chunksize=1000):
            yield b"".join(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in batch.to_pylist())


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, (list, dict)) else value
