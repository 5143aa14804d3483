"""The documents of corpus files: lines of JSON and rows of Parquet.

Numbers, ids and metadata stay as they are written: integers of any size, and floats as ids.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import orjson

from factcensus.indexer.analyzers import clean_text
from factcensus.indexer.corpus.files import SourceFile
from factcensus.indexer.corpus.streams import DAMAGE, LineLimit, TooLong, open_raw, open_stream, read_lines
from factcensus.indexer.errors import InputError
from factcensus.indexer.names import suggestion

BadLinePolicy = Literal["fail", "skip"]
#: The source of a document that names none.
UNKNOWN_SOURCE = "unknown"
#: Lists and objects in each other that a record may hold. orjson writes no more.
MOST_NESTED = 254
#: Digits that Python reads as a number; a longer integer stays text.
_MOST_DIGITS = 4300

#: In JSON that orjson wrote, a number that may have been an integer beyond 64 bits, which orjson reads as a float.
_LARGE = re.compile(r"[:,\[]-?\d(?:\.\d+)?e\+?\d\d")
#: A part of such numbers, for which strings are searched faster.
_EXPONENT = "e+" if b"e+" in orjson.dumps(1e22) else "e"
_TOO_DEEP = f"nested more than {MOST_NESTED} deep"
_MISSING = object()
_ANY_LINE = LineLimit()

#: The number of a record, its fields or why it has none, and its line, to be read once more with exact numbers.
Record = tuple[int, "dict[str, Any] | str", "bytes | None"]


class BadRecordError(Exception):
    """A record that is no document; the message says why."""


@dataclass(frozen=True, slots=True)
class Document:
    """One record of a corpus shard.

    Attributes:
        text: UTF-8.
        record: 0-based line (blank ones included) or row.
        metadata: JSON object of all other fields.
    """

    text: bytes
    record: int
    id: str | None
    source: str
    metadata: str


def read_documents(
    file: SourceFile,
    *,
    text_field: str = "text",
    id_field: str = "id",
    on_bad_line: BadLinePolicy = "fail",
    limit: LineLimit = _ANY_LINE,
    on_skip: Callable[[str], None] = lambda _reason: None,
    on_bytes: Callable[[int], None] = lambda _position: None,
) -> Iterator[Document]:
    """The documents of one file, in order.

    Args:
        file: as :func:`find_source_files` gives it.
        text_field: the field or column that holds the text; ``a.b`` is the key ``a.b``, or the key ``b`` of the object
            ``a``.
        id_field: the field that holds the id, likewise. A record without it is a bad line unless it is ``id``.
        on_bad_line: stop, or count and go on.
        limit: a longer line is a bad line.
        on_skip: told the reason of each skipped line.
        on_bytes: told now and then how many (compressed) bytes of the file have been read.

    Raises:
        InputError: a bad line under ``fail`` (file and line number), or a file that is cut off or not what its
            ending says.
    """
    if file.url.lower().endswith(".parquet"):
        records = _parquet_rows(file, text_field, on_bytes)
    else:
        records = _json_lines(file, limit, on_bytes)
    for record, fields, line in records:
        try:
            if isinstance(fields, str):
                raise BadRecordError(fields)
            yield _document(record, fields, text_field, id_field, line)
        except BadRecordError as error:
            message = f"{file.name}, line {record + 1}: {error}"
            if on_bad_line == "fail":
                raise InputError(f"{message}; mend it, name another --text-field, or use --on-bad-line skip") from error
            on_skip(message)


class SkippedLines:
    """Counts the skipped lines of a file and names the first of them; what has a million would drown everything."""

    #: Lines of a file that are named.
    MOST_NAMED = 20

    def __init__(self, file: SourceFile, notice: Callable[[str], None]) -> None:
        self._file, self._notice = file, notice
        self.count = 0

    def __call__(self, reason: str) -> None:
        """One more line was skipped."""
        self.count += 1
        if self.count <= self.MOST_NAMED:
            self._notice(reason)
        elif self.count == self.MOST_NAMED + 1:
            self._notice(f"{self._file.name}: further bad lines are counted, not named")


def _document(record: int, fields: dict[str, Any], text_field: str, id_field: str, line: bytes | None) -> Document:
    text = take_field(fields, text_field)
    if not isinstance(text, str):
        if text is _MISSING:
            raise BadRecordError(f"no field {text_field!r}{suggestion(text_field, _names_of(fields))}")
        kind = "null" if text is None else type(text).__name__
        raise BadRecordError(f"the field {text_field!r} is not a string but {kind}")
    name = take_field(fields, id_field)
    if name is _MISSING:
        if id_field != "id":
            raise BadRecordError(f"no field {id_field!r} for the id{suggestion(id_field, _names_of(fields))}")
        name = None
    elif line is not None and isinstance(name, (float, list, dict)):  # as it is written: 1.10, or a large integer
        name = take_field(_parse_exactly(line, str if isinstance(name, float) else float), id_field)
    document = document_of_fields(record, text, fields, name)
    if line is not None and _EXPONENT in document.metadata and _LARGE.search(document.metadata):
        fields = _parse_exactly(line)
        for each in (text_field, id_field):
            take_field(fields, each)
        return replace(document, metadata=document_of_fields(record, "", fields, None).metadata)
    return document


def take_field(fields: dict[str, Any], name: str) -> Any:
    """Remove a field from a record and return it: the key ``name`` itself, or else a path of keys with dots between.

    Returns:
        The value, or ``_MISSING``.
    """
    if name in fields:
        return fields.pop(name)
    at = name.find(".")
    while at >= 0:
        inside = fields.get(name[:at])
        if isinstance(inside, dict) and (value := take_field(inside, name[at + 1 :])) is not _MISSING:
            return value
        at = name.find(".", at + 1)
    return _MISSING


def _names_of(fields: dict[str, Any]) -> list[str]:
    """Return the names of a record's fields, those of objects in it included."""
    inside = [f"{key}.{name}" for key, value in fields.items() if isinstance(value, dict) for name in value]
    return sorted([*fields, *inside])


def document_of_fields(record: int, text: str, fields: dict[str, Any], name: Any) -> Document:
    """A document of its text, its id and all other fields, which are used up.

    Raises:
        BadRecordError: they are nested too deeply.
    """
    source = fields.get("source")
    if isinstance(source, str) and source:
        del fields["source"]
    else:
        meta = fields.get("meta")
        source = meta.get("pile_set_name") if isinstance(meta, dict) else None
    try:
        encoded = text.encode()
    except UnicodeEncodeError:
        encoded = clean_text(text).encode()
    return Document(
        encoded,
        record,
        _id_text(name),
        clean_text(source) if isinstance(source, str) and source else UNKNOWN_SOURCE,
        _dump(fields),
    )


def _id_text(value: Any) -> str | None:
    """An id as text: strings and numbers as they are written, lists and objects as JSON; None for null and NaN."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, (bool, list, dict)):
        return _dump(value)
    return clean_text(value if isinstance(value, str) else _other(value))


def _other(value: Any) -> str:
    """A value that JSON does not have, as text."""
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return value.hex()
    return str(value)


def _dump(value: Any) -> str:
    try:
        return orjson.dumps(value, default=_other, option=orjson.OPT_NON_STR_KEYS).decode()
    except (orjson.JSONEncodeError, TypeError):  # lone surrogates, integers beyond 64 bits, or nested too deeply
        try:
            return json.dumps(_strict(value), default=_other, ensure_ascii=False, separators=(",", ":"))
        except RecursionError as error:
            raise BadRecordError(_TOO_DEEP) from error


def _strict(value: Any, depth: int = 0) -> Any:
    """A value that strict readers of JSON take too: DuckDB refuses a whole column for one lone surrogate or NaN."""
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, (dict, list, tuple)) and depth == MOST_NESTED:
        raise BadRecordError(_TOO_DEEP)
    if isinstance(value, dict):
        return {clean_text(str(key)): _strict(each, depth + 1) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_strict(each, depth + 1) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _json_lines(file: SourceFile, limit: LineLimit, on_bytes: Callable[[int], None]) -> Iterator[Record]:
    number = -1
    try:
        with open_stream(file.url) as (raw, stream):
            for number, line in enumerate(read_lines(stream, limit)):
                if number % 256 == 0:
                    on_bytes(raw.tell())
                if isinstance(line, TooLong):
                    yield number, f"longer than {limit.bytes >> 20} MiB, which --memory allows for a line", None
                    continue
                if number == 0:
                    line = line.removeprefix(b"\xef\xbb\xbf")
                if not line.isspace():
                    yield number, parse_line(line), line
    except DAMAGE as error:
        if isinstance(error, OSError) and error.errno is not None:  # the disk or the network, not what the file holds
            raise
        raise InputError(f"{file.name}: damaged or cut off after line {number + 1} ({error})") from error


def parse_line(line: bytes, *, exact: bool = False) -> dict[str, Any] | str:
    """The fields of a line of JSON, or why it has none; unless ``exact``, integers beyond 64 bits may be floats."""
    try:
        fields = _parse_exactly(line) if exact else orjson.loads(line)
    except (ValueError, RecursionError):
        try:  # Python's reader takes lone surrogates and NaN, which real corpora have
            fields = _parse_exactly(line)
        except RecursionError:
            return _TOO_DEEP
        except ValueError as error:
            return f"not JSON ({error})"
    return fields if isinstance(fields, dict) else f"not a JSON object but {type(fields).__name__}"


def _parse_exactly(line: bytes, parse_float: Callable[[str], Any] = float) -> Any:
    return json.loads(line, parse_int=_integer, parse_float=parse_float)


def _integer(digits: str) -> int | str:
    return int(digits) if len(digits) <= _MOST_DIGITS else digits


def _parquet_rows(file: SourceFile, text_field: str, on_bytes: Callable[[int], None]) -> Iterator[Record]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with open_raw(file.url) as raw, pq.ParquetFile(raw, page_checksum_verification=True) as parquet:
            _refuse_repeated(file, parquet.schema_arrow)
            names = _column_names(parquet.schema_arrow)
            if text_field not in names:
                raise InputError(f"{file.name}: no column {text_field!r}{suggestion(text_field, names)}")
            row = 0
            for group in range(parquet.num_row_groups):
                for batch in parquet.iter_batches(_rows_at_once(parquet.metadata.row_group(group)), [group]):
                    for fields in _rows_of(batch):
                        yield row, fields, None
                        row += 1
                    on_bytes(file.size_bytes * row // max(1, parquet.metadata.num_rows))
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # the disk or the network, not what the file holds
            raise
        raise InputError(f"{file.name}: not a readable Parquet file, or a damaged one ({error})") from error


def _refuse_repeated(file: SourceFile, fields: Any, inside: str = "") -> None:
    """Raise if two columns, or two fields of a struct, have one name: which of them is meant cannot be known."""
    import pyarrow as pa

    seen = set()
    for column in fields:
        if column.name in seen:
            raise InputError(f"{file.name}: two columns are called {inside + column.name!r}; rename one of them")
        seen.add(column.name)
        if pa.types.is_struct(column.type):
            _refuse_repeated(file, column.type, f"{inside}{column.name}.")


def _column_names(fields: Any) -> list[str]:
    """The names of columns, and of fields in columns of structs with dots between; keys of maps are not known here."""
    import pyarrow as pa

    names = []
    for column in fields:
        names.append(column.name)
        if pa.types.is_struct(column.type):
            names += [f"{column.name}.{name}" for name in _column_names(column.type)]
    return names


def _rows_at_once(group: Any) -> int:
    """Rows of a row group that are taken together: 8 MiB of documents, or one that is larger."""
    return int(max(1, min(1000, (8 << 20) * group.num_rows // max(1, group.total_byte_size))))


def _rows_of(batch: Any) -> Iterator[dict[str, Any] | str]:
    """The rows of a batch, or why one cannot be read: text that is not UTF-8, a date beyond Python's."""
    try:
        rows = batch.to_pylist()
    except (ValueError, OverflowError):
        for i in range(batch.num_rows):
            try:
                yield _with_maps(batch.slice(i, 1).to_pylist(), batch.schema)[0]
            except (ValueError, OverflowError) as error:
                yield f"a value cannot be read ({error})"
    else:
        yield from _with_maps(rows, batch.schema)


def _with_maps(rows: list[dict[str, Any]], schema: Any) -> list[dict[str, Any]]:
    """Rows with maps as objects; Arrow gives lists of pairs."""
    for column in schema:
        if "map<" in str(column.type):
            for row in rows:
                row[column.name] = _with_map(row[column.name], column.type)
    return rows


def _with_map(value: Any, kind: Any) -> Any:
    import pyarrow as pa

    if value is None:
        return None
    if pa.types.is_map(kind):
        return {_other(key): _with_map(each, kind.item_type) for key, each in value}
    if pa.types.is_struct(kind):
        return {field.name: _with_map(value[field.name], field.type) for field in kind}
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return [_with_map(each, kind.value_type) for each in value]
    return value
