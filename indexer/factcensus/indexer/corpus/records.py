"""The documents of corpus files, from lines of JSON and rows of Parquet.

Numbers, ids and metadata stay as written: integers of any size, and floats used as ids.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import orjson

from factcensus.indexer.corpus.files import SourceFile
from factcensus.indexer.corpus.streams import DAMAGE, LineLimit, TooLong, open_raw, open_stream, read_lines
from factcensus.indexer.errors import InputError
from factcensus.indexer.names import suggestion
from factcensus.indexer.records import clean_text

BadLinePolicy = Literal["fail", "skip"]
#: The source of a document without a source.
UNKNOWN_SOURCE = "unknown"
#: Maximum nesting depth of a record, which is the limit of orjson when it writes.
MOST_NESTED = 254
#: Maximum number of digits that Python converts to an integer; a longer integer stays text.
_MOST_DIGITS = 4300

#: A number in JSON written by orjson that may have been an integer beyond 64 bits, which orjson reads as a float.
_LARGE = re.compile(r"[:,\[]-?\d(?:\.\d+)?e\+?\d\d")
#: A substring of such numbers, which is faster to search for.
_EXPONENT = "e+" if b"e+" in orjson.dumps(1e22) else "e"
_TOO_DEEP = f"nested more than {MOST_NESTED} levels deep"
#: Below this number of bytes, a line is searched for repeated keys with its text.
SHORT_LINE = 1 << 12
_MISSING = object()
_ANY_LINE = LineLimit()
#: Bytes of a block of lines; a longer line makes a larger block.
_BLOCK = 1 << 20

#: The number of a record, its fields or an error message, and its line, for parsing it again with exact numbers.
Record = tuple[int, "dict[str, Any] | str", "bytes | None"]


class BadRecordError(Exception):
    """A record is not a valid document; the message gives the reason."""


@dataclass(frozen=True, slots=True)
class Document:
    """One record of a corpus shard.

    Attributes:
        text: The text as UTF-8.
        record: 0-based number of the line (counting blank lines) or row.
        metadata: A JSON object of all other fields.
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
    """Yield the documents of one file in order.

    Args:
        file: A file from :func:`find_source_files`.
        text_field: The field or column with the text; ``a.b`` is the key ``a.b``, or the key ``b`` of the object ``a``.
        id_field: The field with the id, likewise. If it is not ``id``, a record without it is a bad line.
        on_bad_line: ``fail`` stops at a bad line, ``skip`` counts it and continues.
        limit: A longer line is a bad line.
        on_skip: Called with the reason for each skipped line.
        on_bytes: Called from time to time with the number of (compressed) bytes read.

    Raises:
        InputError: A line is bad and ``on_bad_line`` is ``fail`` (the message has file and line number), or the file is
            truncated or does not match its ending.
    """
    if file.name.lower().endswith(".parquet"):
        records = _parquet_rows(file, text_field, on_bytes)
    else:
        records = json_lines(file, limit, on_bytes)
    repeats = RepeatedKeys(text_field, id_field)
    for record, fields, line in records:
        try:
            yield document_of_record(record, fields, line, text_field, id_field, repeats)
        except BadRecordError as error:
            bad_record(file, record, error, on_bad_line, on_skip)


def bad_record(
    file: SourceFile, record: int, error: BadRecordError, on_bad_line: BadLinePolicy, on_skip: Callable[[str], None]
) -> None:
    """Skip a bad line, or raise an error.

    Raises:
        InputError: ``on_bad_line`` is ``fail``; the message has file and line number.
    """
    message = f"{file.name}, line {record + 1}: {error}"
    if on_bad_line == "fail":
        raise InputError(f"{message}; fix the line, give another --text-field, or use --on-bad-line skip") from error
    on_skip(message)


class SkippedLines:
    """A counter of the skipped lines of a file, which lists only the first ones, because there may be a million."""

    #: Maximum number of lines listed per file.
    MOST_NAMED = 20

    def __init__(self, file: SourceFile, notice: Callable[[str], None]) -> None:
        self._file, self._notice = file, notice
        self.count = 0

    def __call__(self, reason: str) -> None:
        """Count a skipped line."""
        self.count += 1
        if self.count <= self.MOST_NAMED:
            self._notice(reason)
        elif self.count == self.MOST_NAMED + 1:
            self._notice(f"{self._file.name}: further bad lines are counted but not listed")


def document_of_record(
    record: int,
    fields: dict[str, Any] | str,
    line: bytes | None,
    text_field: str,
    id_field: str,
    repeats: RepeatedKeys,
) -> Document:
    """Return the document of a record.

    Raises:
        BadRecordError: It is not a valid document.
    """
    if isinstance(fields, str):
        raise BadRecordError(fields)
    text = _text_of(fields, text_field)
    name = take_field(fields, id_field)
    has_id = name is not _MISSING
    if not has_id:
        if id_field != "id":
            raise BadRecordError(f"no field {id_field!r} for the id{suggestion(id_field, _names_of(fields))}")
        name = None
    elif line is not None and isinstance(name, (float, list, dict)):  # as written, such as 1.10 or a large integer
        name = take_field(_parse_exactly(line, str if isinstance(name, float) else float), id_field)
    has_source = "source" in fields
    document = document_of_fields(record, text, fields, name)
    if line is not None:
        taken = 1 + document.id.count(":") if document.id is not None else has_id
        if has_source and "source" not in fields:
            taken += 1 + document.source.count(":")
        repeats.check(line, document, taken)
    if line is not None and _EXPONENT in document.metadata and _LARGE.search(document.metadata):
        exact = _parse_exactly(line)
        for each in (text_field, id_field):
            take_field(exact, each)
        return replace(document, metadata=document_of_fields(record, "", exact, None).metadata)
    return document


def _text_of(fields: dict[str, Any], text_field: str) -> str:
    """Remove the text from a record and return it, or raise BadRecordError."""
    text = take_field(fields, text_field)
    if isinstance(text, str):
        return text
    if text is _MISSING:
        raise BadRecordError(f"no field {text_field!r}{suggestion(text_field, _names_of(fields))}")
    kind = "null" if text is None else type(text).__name__
    raise BadRecordError(f"the field {text_field!r} must be a string, got {kind}")


class RepeatedKeys:
    """A detector of repeated keys in objects, of which JSON readers silently keep the last value.

    The value that is lost takes at least the colon after its key with it, so counting colons shows it without parsing
    the line again. An escaped colon counts too, even where it is not one, so a repeated key is never missed.
    """

    def __init__(self, text_field: str, id_field: str) -> None:
        self._text_keys = [b'"%b"' % key.encode() for key in {text_field, text_field.rpartition(".")[2]}]
        # A field name with a colon may be a path, of which only the last key is taken out of the metadata.
        self._always = ":" in text_field + id_field

    def check(self, line: bytes, document: Document, taken: int) -> None:
        """Refuse a line in which an object has a key twice.

        Args:
            line: The line as written.
            document: The document that was read from it.
            taken: Number of colons of the id and the source, with those after their keys, unless in the metadata.

        Raises:
            BadRecordError: A key is given twice.
        """
        kept, text_bytes = document.metadata.count(":") + taken, len(document.text)
        # Reading a short text costs less than finding where it is.
        is_short = len(line) < SHORT_LINE and not self._always
        if is_short and _colons(line, 0, len(line)) <= kept + 1 + document.text.count(b":"):
            return
        if not self.possible(line, text_bytes, kept):
            return
        if self._always or _colons(line, 0, len(line)) > kept + 1 + document.text.count(b":"):
            json.loads(line, object_pairs_hook=_each_once, parse_int=str, parse_float=str)

    def possible(self, line: bytes, text_bytes: int, kept: int) -> bool:
        """Return whether an object of a line may have a key twice, without reading the text, which is most of a line.

        Args:
            line: The line as written.
            text_bytes: Number of UTF-8 bytes of the text.
            kept: Number of colons of everything else that was read from the line.
        """
        text_from = self._text_from(line, text_bytes)
        text_to = text_from + text_bytes
        return text_from < 0 or _colons(line, 0, text_from) + _colons(line, text_to, len(line)) > kept

    def _text_from(self, line: bytes, text_bytes: int) -> int:
        """Return the end of the key of the text, or -1 if unknown.

        As written, a text takes at least as many bytes as in UTF-8, and a colon and a quotation mark before it.
        """
        if self._always:
            return -1
        end, found = len(line) - text_bytes, -1
        for key in self._text_keys:
            if (at := line.find(key, 0, end)) >= 0:
                if found >= 0 or line.find(key, at + 1, end) >= 0 or line[at + len(key)] not in b": ":
                    return -1
                found = at + len(key)
        return found


def _colons(line: bytes, begin: int, end: int) -> int:
    """Count the colons in a part of a line, and anything that looks like an escaped colon."""
    colons = line.count(b":", begin, end)
    if line.find(b"\\", begin, end) >= 0:
        colons += line.count(b"\\u003a", begin, end) + line.count(b"\\u003A", begin, end)
    return colons


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        (twice, _), *_ = Counter(name for name, _ in pairs).most_common(1)
        raise BadRecordError(f"the key {clean_text(twice)!r} is given twice in one object")
    return found


def take_field(fields: dict[str, Any], name: str) -> Any:
    """Remove a field from a record and return it: the key ``name`` itself, or a path of keys separated by dots.

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
    """Return the names of the fields of a record, including fields of nested objects."""
    inside = [f"{key}.{name}" for key, value in fields.items() if isinstance(value, dict) for name in value]
    return sorted([*fields, *inside])


def document_of_fields(record: int, text: str, fields: dict[str, Any], name: Any) -> Document:
    """Return a document with a text, an id and all other fields, which are consumed.

    Raises:
        BadRecordError: The fields are nested too deeply.
    """
    source = _source_text(fields.get("source"))
    if source:
        del fields["source"]
    else:
        meta = fields.get("meta")
        source = _source_text(meta.get("pile_set_name")) if isinstance(meta, dict) else None
    try:
        encoded = text.encode()
    except UnicodeEncodeError:
        encoded = clean_text(text).encode()
    return Document(
        encoded,
        record,
        _id_text(name),
        source or UNKNOWN_SOURCE,
        _dump(fields),
    )


def _source_text(value: Any) -> str | None:
    """Return a source as text; None if the value cannot name a source."""
    if isinstance(value, str):
        return clean_text(value)
    return _id_text(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _id_text(value: Any) -> str | None:
    """Return an id as text: strings and numbers as written, lists and objects as JSON; None for null and NaN."""
    if isinstance(value, str):
        return clean_text(value)
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, (bool, list, dict)):
        return _dump(value)
    return clean_text(_other(value))


def _other(value: Any) -> str:
    """Return a value without a JSON type as text."""
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
    """Return a value for strict JSON readers; DuckDB refuses a whole column for one lone surrogate or NaN."""
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, (dict, list, tuple)) and depth == MOST_NESTED:
        raise BadRecordError(_TOO_DEEP)
    if isinstance(value, dict):
        return {clean_text(str(key)): _strict(each, depth + 1) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_strict(each, depth + 1) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def json_lines(file: SourceFile, limit: LineLimit, on_bytes: Callable[[int], None]) -> Iterator[Record]:
    """Yield the lines of a JSON Lines file, parsed; blank lines are left out but counted."""
    read = [0]
    with _explained_damage(file, read), open_stream(file.url, file.name) as (raw, stream):
        for number, line in enumerate(read_lines(stream, limit)):
            read[0] = number + 1
            if number % 256 == 0:
                on_bytes(raw.tell())
            if isinstance(line, TooLong):
                yield number, f"longer than {limit.bytes >> 20} MiB, the limit for a line with this --memory", None
            else:
                yield from parsed_line(number, line)


def parsed_line(number: int, line: bytes) -> Iterator[Record]:
    """Yield a line, parsed, unless it is blank."""
    if number == 0:
        line = line.removeprefix(b"\xef\xbb\xbf")
    if not line.isspace():
        yield number, parse_line(line), line


def line_blocks(
    file: SourceFile, on_bytes: Callable[[int], None], limit: LineLimit = _ANY_LINE
) -> Iterator[tuple[bytes, npt.NDArray[np.int64]]]:
    """Yield blocks of whole lines of a JSON Lines file, and int64 (lines,), the position after each line of a block.

    Raises:
        InputError: The file is damaged, or a line is longer than the limit.
    """
    read = [0]
    with _explained_damage(file, read), open_stream(file.url, file.name) as (raw, stream):
        rest: list[bytes] = []
        size = 0
        while piece := stream.read(_BLOCK):
            on_bytes(raw.tell())
            last = piece.rfind(b"\n") + 1
            if not last:
                rest.append(piece)
                size += len(piece)
                if size > limit.bytes:
                    raise InputError(
                        f"{file.name}, line {read[0] + 1}: longer than {limit.bytes >> 20} MiB; remove the line"
                    )
                continue
            block = b"".join([*rest, piece[:last]])
            ends = np.flatnonzero(np.frombuffer(block, np.uint8) == ord("\n")) + 1
            yield block, ends
            read[0] += len(ends)
            rest = [piece[last:]]
            size = len(rest[0])
        if block := b"".join(rest):
            yield block, np.array([len(block)])
            read[0] += 1


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


def parse_line(line: bytes, *, exact: bool = False) -> dict[str, Any] | str:
    """Return the fields of a JSON line, or an error message; unless ``exact``, integers over 64 bits may be floats."""
    try:
        fields = _parse_exactly(line) if exact else orjson.loads(line)
    except (ValueError, RecursionError):
        try:  # Python's reader accepts lone surrogates and NaN, which occur in real corpora
            fields = _parse_exactly(line)
        except RecursionError:
            return _TOO_DEEP
        except ValueError as error:
            return f"not valid JSON ({error})"
    return fields if isinstance(fields, dict) else f"not a JSON object, got {type(fields).__name__}"


def _parse_exactly(line: bytes, parse_float: Callable[[str], Any] = float) -> Any:
    return json.loads(line, parse_int=_integer, parse_float=parse_float)


def _integer(digits: str) -> int | str:
    return int(digits) if len(digits) <= _MOST_DIGITS else digits


def _parquet_rows(file: SourceFile, text_field: str, on_bytes: Callable[[int], None]) -> Iterator[Record]:
    with open_parquet(file, text_field) as parquet:
        row = 0
        for group in range(parquet.num_row_groups):
            for batch in parquet.iter_batches(rows_at_once(parquet.metadata.row_group(group)), [group]):
                for fields in rows_of(batch):
                    yield row, fields, None
                    row += 1
                on_bytes(file.size_bytes * row // max(1, parquet.metadata.num_rows))


@contextmanager
def open_parquet(file: SourceFile, text_field: str) -> Iterator[Any]:
    """Open a Parquet file that has a column for the text; explain damage that is found while it is open.

    Raises:
        InputError: It is damaged, has no such column, or two columns with the same name.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with open_raw(file.url, at_random=True) as raw, pq.ParquetFile(raw, page_checksum_verification=True) as parquet:
            _refuse_repeated_columns(file, parquet.schema_arrow)
            names = _column_names(parquet.schema_arrow)
            if text_field not in names:
                raise InputError(f"{file.name}: no column {text_field!r}{suggestion(text_field, names)}")
            yield parquet
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # the disk or the network, not what the file holds
            error.filename = error.filename or file.name
            raise
        raise InputError(f"{file.name}: not a readable Parquet file ({error}); replace the file") from error


def _refuse_repeated_columns(file: SourceFile, fields: Any, inside: str = "") -> None:
    """Refuse two columns, or two fields of a struct, with the same name, because the name would be ambiguous."""
    import pyarrow as pa

    seen = set()
    for column in fields:
        if column.name in seen:
            raise InputError(f"{file.name}: two columns have the name {inside + column.name!r}; rename one of them")
        seen.add(column.name)
        if pa.types.is_struct(column.type):
            _refuse_repeated_columns(file, column.type, f"{inside}{column.name}.")


def _column_names(fields: Any) -> list[str]:
    """Return the names of columns and of struct fields, separated by dots; the keys of maps are unknown here."""
    import pyarrow as pa

    names = []
    for column in fields:
        names.append(column.name)
        if pa.types.is_struct(column.type):
            names += [f"{column.name}.{name}" for name in _column_names(column.type)]
    return names


def rows_at_once(group: Any) -> int:
    """Return the number of rows of a row group to read at once: 8 MiB of documents, or at least one row."""
    return int(max(1, min(1000, (8 << 20) * group.num_rows // max(1, group.total_byte_size))))


def rows_of(batch: Any) -> Iterator[dict[str, Any] | str]:
    """Yield the rows of a batch, or an error message for text that is not UTF-8 or a date outside Python's range."""
    try:
        rows = batch.to_pylist()
    except (ValueError, OverflowError):
        for i in range(batch.num_rows):
            try:
                yield _with_maps(batch.slice(i, 1).to_pylist(), batch.schema)[0]
            except (ValueError, OverflowError) as error:
                yield f"unreadable value ({error})"
    else:
        yield from _with_maps(rows, batch.schema)


def _with_maps(rows: list[dict[str, Any]], schema: Any) -> list[dict[str, Any]]:
    """Return rows with maps as objects, which Arrow converts to lists of pairs."""
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
