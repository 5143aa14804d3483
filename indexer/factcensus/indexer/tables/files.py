"""Reading and writing of all table files: CSV, JSON Lines, Parquet and Arrow, chosen by the ending."""

from __future__ import annotations

import datetime
import decimal
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from io import BytesIO
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO, Literal

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from factcensus.indexer.errors import InputError
from factcensus.indexer.paths import not_found
from factcensus.indexer.system.files import replaced_file
from factcensus.indexer.system.places import NoFileError, Place
from factcensus.indexer.tables.arrow import ArrowTable
from factcensus.indexer.tables.columns import LIST_COLUMNS, TEXT_COLUMNS, ColumnNames
from factcensus.indexer.tables.csv_rows import csv_line, csv_rows
from factcensus.indexer.tables.json_rows import as_text, column_of, decoded, json_rows, refuse_utf16, settled
from factcensus.indexer.tables.published import texts_of_shape
from factcensus.indexer.tables.shapes import Shape
from factcensus.indexer.tables.values import as_list, json_cell, python_rows, python_values, texts_of

TableFormat = Literal["csv", "jsonl", "json", "parquet", "arrow"]
#: Endings of readable tables; tables with the endings in OUTPUTS can also be written.
ENDINGS: dict[str, TableFormat] = {
    "parquet": "parquet",
    "csv": "csv",
    "jsonl": "jsonl",
    "arrow": "arrow",
    "tsv": "csv",
    "ndjson": "jsonl",
    "json": "json",
    "feather": "arrow",
}
_SPREADSHEETS = frozenset(("xlsx", "xls", "xlsm", "xlsb", "ods", "numbers"))
OUTPUTS = ("parquet", "csv", "jsonl", "arrow")


#: The location of a table: a path, a URL, or a place.
Location = str | Path | Place


def format_of(path: Location) -> TableFormat:
    """Return the format for the ending of a file, ignoring case."""
    format = ENDINGS.get(ending := _ending(Place.of(path)))
    if ending in _SPREADSHEETS:
        raise InputError(f"{path} is a spreadsheet; save its sheet of facts as CSV in UTF-8, and give that file")
    if format is None:
        raise InputError(f"{path} is not a known kind of table; give a file that ends in {_listed(ENDINGS)}")
    return format


def _ending(place: Place) -> str:
    return Path(place.name).suffix.lower().removeprefix(".")


def _listed(endings: Iterable[str]) -> str:
    return ", ".join(f".{ending}" for ending in endings)


def check_output(path: Location, inputs: Iterable[Location] = ()) -> None:
    """Check that a table can be written to a path or URL, before the work begins.

    Raises:
        InputError: The ending is unknown, nothing can be written there, or the file is one of the inputs, through a
            link or in an input folder.
    """
    place = Place.of(path)
    if _ending(place) not in OUTPUTS:
        raise InputError(f"{place} is not a known kind of output; give a file that ends in {_listed(OUTPUTS)}")
    sources = [Place.of(source) for source in inputs]
    if place.is_local:
        _check_local_output(place.path, [source.path for source in sources if source.is_local])
    elif overwritten := [
        source for source in sources if place.url in (source.url, f"{source.url.rstrip('/')}/{place.name}")
    ]:
        raise InputError(f"--out {place} would overwrite the input {overwritten[0]}; choose another file")
    place.check_writable()


def _check_local_output(path: Path, inputs: Iterable[Path]) -> None:
    if path.is_dir():
        raise InputError(f"{path} is a folder; give the name of a file")
    for source in inputs if path.exists() else ():
        if source.exists() and (path.samefile(source) or (source.is_dir() and _lies_in(path, source))):
            raise InputError(f"--out {path} would overwrite the input {source}; choose another file")


def _lies_in(path: Path, folder: Path) -> bool:
    return any(path.samefile(each) for each in folder.rglob("*") if each.is_file())


def read_table(
    source: Location | BinaryIO, format: TableFormat | None = None, names: ColumnNames | None = None
) -> pa.Table:
    """Read a table from a path or URL, or from an open binary file with a ``format``.

    Numbers in text columns of CSV and JSON Lines become texts as written; Parquet and Arrow keep their types.

    Raises:
        InputError: The file does not exist, or a row cannot be read; the message names it.
    """
    names = names or ColumnNames()
    if isinstance(source, (str, Path, Place)):
        place = Place.of(source)
        if not place.is_local:
            return _read_remote_table(place, format or format_of(place), names)
        path = place.path
        if path.is_dir():
            raise InputError(f"{path} is a folder; give a table file that ends in {_listed(ENDINGS)}")
        if not path.is_file():
            raise InputError(not_found("table", path))
        format = format or format_of(path)
        try:
            with path.open("rb") as file:
                return read_table(file, format, names)
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
    if format in ("parquet", "arrow"):
        try:
            table = _read_parquet(source) if format == "parquet" else _read_arrow(source)
            table.validate(full=True)
        except (pa.ArrowException, OSError) as error:
            what = "Parquet" if format == "parquet" else "Arrow"
            raise InputError(f"not a readable {what} table ({error})") from error
        return renamed(table, names)
    return table_of(list(rows_of(source, format, names)))


def _read_remote_table(place: Place, format: TableFormat, names: ColumnNames) -> pa.Table:
    try:
        return read_table(BytesIO(place.read()), format, names)
    except NoFileError:
        raise InputError(f"no table at {place}") from None
    except InputError as error:
        raise InputError(f"{place}: {error}") from error


def renamed(table: pa.Table, names: ColumnNames) -> pa.Table:
    """Return a table with the new names of its columns; Arrow would drop its metadata."""
    own = tuple(table.column_names)
    if (known := names.of(own)) == own:
        return table
    return table.rename_columns(list(known)).replace_schema_metadata(table.schema.metadata)


def _read_parquet(file: BinaryIO) -> pa.Table:
    with pq.ParquetFile(file, page_checksum_verification=True) as parquet:
        return parquet.read()


def _read_arrow(file: BinaryIO) -> pa.Table:
    is_file = file.read(6) == b"ARROW1"
    file.seek(0)
    with pa.ipc.open_file(file) if is_file else pa.ipc.open_stream(file) as reader:
        return reader.read_all()


def rows_of(
    file: BinaryIO, format: TableFormat | None, names: ColumnNames | None = None, shape: Shape | None = None
) -> Iterator[dict[str, Any]]:
    """Yield the rows of a CSV or JSON table lazily; ``shape`` limits their width and depth.

    Raises:
        InputError: A row cannot be read; the message names it.
    """
    names, shape = names or ColumnNames(), shape or Shape()
    if format == "csv":
        rows = csv_rows(file, names)
    else:
        rows = _json_array(file, names) if format == "json" else json_rows(shape.lines(file), names)
    for row in rows:
        shape.check(row)
        yield row


def _json_array(file: BinaryIO, names: ColumnNames) -> Iterator[dict[str, Any]]:
    """Yield the rows of a .json file, which is an array of objects, as pandas writes it, or JSON Lines."""
    first = next((line for line in file if line.strip()), b"")
    refuse_utf16(first)
    if not first.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"["):
        yield from json_rows(chain([first], file), names)
        return
    try:
        rows = decoded(first + file.read())
    except (ValueError, RecursionError) as error:
        raise InputError(f"not valid JSON ({error})") from error
    for number, row in enumerate(rows, 1):
        try:
            yield settled(row, names)
        except InputError as error:
            raise InputError(f"row {number}: {error}") from error


def table_of(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Return a table of rows, with texts in the text columns; rows may lack some columns."""
    columns = {}
    names = tuple(dict.fromkeys(name for row in rows for name in row))
    texts = texts_of_shape(names)
    for name in names:
        values = [row.get(name) for row in rows]
        several = name in LIST_COLUMNS or (name == "paraphrase" and any(isinstance(each, list) for each in values))
        if several:
            lists = [as_list(value, name, row) for row, value in enumerate(values, 1)]
            columns[name] = pa.array(lists, pa.list_(pa.string()))
        elif name in TEXT_COLUMNS:
            columns[name] = pa.array(texts_of(values, name), pa.string())
        else:
            columns[name] = column_of(list(map(as_text, values)) if name in texts else values, name)
    return pa.table(columns)


def check_writable(table: pa.Table, path: Location) -> None:
    """Check that the format of a path can represent every value of a table, before the work begins.

    Raises:
        InputError: The format cannot represent a value, such as an infinite number in JSON; the message names the
            column and the remedy.
    """
    format = format_of(path)
    if format == "arrow":
        return
    for name in table.column_names:
        column = table[name]
        try:
            if format == "parquet":
                pq.ParquetWriter(pa.BufferOutputStream(), pa.schema([(name, column.type)])).close()
            elif _may_have_no_form(column.type, format):
                for value in python_values(column, name):
                    _check_form(value, format)
        except (InputError, pa.ArrowException) as error:
            other = ".arrow" if format == "parquet" else ".parquet or .arrow"
            raise InputError(
                f"the column {name!r} cannot be written to a .{format} file ({error}); write a file that ends in "
                f"{other}, or remove the column"
            ) from error


def _may_have_no_form(kind: pa.DataType, format: TableFormat) -> bool:
    """Return whether a column of this type can have values that a text format cannot represent."""
    if pa.types.is_floating(kind):
        return format == "jsonl"
    return not (
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_integer(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_null(kind)
    )


def _check_form(value: Any, format: TableFormat) -> None:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)) and not isinstance(value, pa.MonthDayNano):
        for each in value:
            _check_form(each, "jsonl")  # lists in CSV cells are JSON too
    elif isinstance(value, float):
        if format == "jsonl" and math.isinf(value):
            raise InputError(f"JSON cannot represent {value!r}")
    elif not isinstance(value, (str, int, type(None))):
        _json_value(value)


def write_table(table: ArrowTable, path: Location) -> None:
    """Write a table in the format for the ending of the file; the file or object appears in one step.

    Raises:
        InputError: The path cannot be written, or the format cannot represent a value; see :func:`check_writable`.
        PlaceError: An object store refused it.
    """
    place = Place.of(path)
    check_output(place)
    check_writable(table, place)
    format = format_of(place)
    if place.is_local:
        place.path.parent.mkdir(parents=True, exist_ok=True)
        with replaced_file(place.path) as partial:
            _write_file(table, partial, format)
        return
    with TemporaryDirectory(prefix="factcensus-") as folder:
        _write_file(table, Path(folder) / place.name, format)
        place.upload(Path(folder) / place.name)


def _write_file(table: pa.Table, path: Path, format: TableFormat) -> None:
    if format == "parquet":
        pq.write_table(table, path, compression="zstd")
    elif format == "arrow":
        with pa.ipc.new_file(path, table.schema) as writer:
            writer.write_table(table)
    else:
        with path.open("wb") as file:
            for piece in render(table, "csv" if format == "csv" else "jsonl"):
                file.write(piece)


def render(table: pa.Table, format: Literal["csv", "jsonl"]) -> Iterable[bytes]:
    """Yield a table as CSV or JSON Lines in pieces."""
    if format == "csv":
        yield csv_line(table.column_names).encode()
    for batch in table.to_batches(max_chunksize=1000):
        rows = python_rows(batch)
        if format == "csv":
            yield "".join(csv_line([_cell(value) for value in row.values()]) for row in rows).encode()
        else:
            yield b"".join(orjson.dumps(row, _json_value, orjson.OPT_APPEND_NEWLINE) for row in rows)


def _cell(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and math.isnan(value):
        return None
    return json_cell(value) if isinstance(value, (list, dict)) else str(_json_value(value))


def _json_value(value: Any) -> Any:
    """Return a JSON representation of a value that JSON has no type for."""
    if isinstance(value, decimal.Decimal):
        return format(value, "f")
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise InputError(f"{value!r:.60} is not UTF-8 text") from None
    if isinstance(value, (datetime.date, datetime.time, datetime.timedelta)) or type(value).__name__ == "UUID":
        return str(value)
    if isinstance(value, (int, float)):
        return value
    raise InputError(f"it cannot represent {type(value).__name__}")
