"""Records of a corpus file as the Python readers return them, and their conversion to documents.

Numbers, ids and metadata stay as written: integers of any size, and floats used as ids.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import orjson

from factcensus.indexer.names import suggestion
from factcensus.indexer.records import clean_text

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
_MISSING = object()


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


def document_of_record(
    record: int,
    fields: dict[str, Any] | str,
    line: bytes | None,
    text_field: str,
    id_field: str,
) -> Document:
    """Return the document of a record.

    Args:
        record: Its number.
        fields: Its fields, which are consumed, or the reason why it has none.
        line: Its line of JSON, or None.
        text_field: See :func:`read_batches`.
        id_field: See :func:`read_batches`.

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
    elif line is not None and isinstance(name, (list, dict)):
        name = _id_in(_parse_exactly(line), text_field, id_field)  # with large integers
    written = None
    if line is not None and (_is_number(name) or _has_number_as_source(fields)):
        written = _written(line)
        written_name = _id_in(written, text_field, id_field)
        name = written_name if _is_number(name) else name
    has_source = "source" in fields
    document = document_of_fields(record, text, fields, name, written)
    if line is not None:
        taken = 1 + document.id.count(":") if document.id is not None else has_id
        if has_source and "source" not in fields:
            taken += 1 + document.source.count(":")
        colon_in_name = ":" in text_field + id_field  # it may be a path, of which only the last key is taken out
        _check_keys(line, document, None if colon_in_name else taken)
    if line is not None and _EXPONENT in document.metadata and _LARGE.search(document.metadata):
        exact = _parse_exactly(line)
        _id_in(exact, text_field, id_field)
        return replace(document, metadata=document_of_fields(record, "", exact, None).metadata)
    return document


def _id_in(fields: dict[str, Any], text_field: str, id_field: str) -> Any:
    """Remove the text and the id from the fields of another reading of a line, and return the id."""
    take_field(fields, text_field)
    return take_field(fields, id_field)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _has_number_as_source(fields: dict[str, Any]) -> bool:
    meta = fields.get("meta")
    return _is_number(fields.get("source")) or (isinstance(meta, dict) and _is_number(meta.get("pile_set_name")))


def _text_of(fields: dict[str, Any], text_field: str) -> str:
    """Remove the text from a record and return it, or raise BadRecordError."""
    text = take_field(fields, text_field)
    if isinstance(text, str):
        return text
    if text is _MISSING:
        raise BadRecordError(f"no field {text_field!r}{suggestion(text_field, _names_of(fields))}")
    kind = "null" if text is None else type(text).__name__
    raise BadRecordError(f"the field {text_field!r} must be a string, got {kind}")


def _check_keys(line: bytes, document: Document, taken: int | None) -> None:
    """Refuse a line in which an object repeats a key, because JSON readers silently keep only the last value.

    The value that is lost takes at least the colon after its key with it, so counting colons shows it without parsing
    the line again. An escaped colon counts too, even where it is not one, so a repeated key is never missed.

    Args:
        line: The line as written.
        document: The document that was read from it.
        taken: Number of colons of the id and the source, with those after their keys, unless in the metadata; None if
            unknown.

    Raises:
        BadRecordError: A key is given twice.
    """
    if taken is None or _colons(line) > document.metadata.count(":") + taken + 1 + document.text.count(b":"):
        json.loads(line, object_pairs_hook=_each_once, parse_int=str, parse_float=str)


def _colons(line: bytes) -> int:
    """Count the colons in a line, and anything that looks like an escaped colon."""
    colons = line.count(b":")
    if b"\\" in line:
        colons += line.count(b"\\u003a") + line.count(b"\\u003A")
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


def document_of_fields(
    record: int, text: str, fields: dict[str, Any], name: Any, written: dict[str, Any] | None = None
) -> Document:
    """Return a document with a text, an id and all other fields, which are consumed.

    Args:
        record: Its number.
        text: Its text.
        fields: The other fields.
        name: Its id.
        written: The fields with numbers as text, as they are written in the line; for its source.

    Raises:
        BadRecordError: The fields are nested too deeply.
    """
    naming = fields if written is None else written
    source = _source_text(naming.get("source"))
    if source:
        del fields["source"]
    else:
        meta = naming.get("meta")
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
        as_json(fields),
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
        return as_json(value)
    return clean_text(as_text(value))


def as_text(value: Any) -> str:
    """Return a value without a JSON type as text."""
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return value.hex()
    return str(value)


def as_json(value: Any) -> str:
    """Return a value as JSON; raise BadRecordError if it is nested too deeply."""
    try:
        return orjson.dumps(value, default=as_text, option=orjson.OPT_NON_STR_KEYS).decode()
    except (orjson.JSONEncodeError, TypeError):  # lone surrogates, integers beyond 64 bits, or nested too deeply
        try:
            return json.dumps(_strict(value), default=as_text, ensure_ascii=False, separators=(",", ":"))
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


def _parse_exactly(line: bytes) -> Any:
    return json.loads(line, parse_int=_integer)


def _written(line: bytes) -> dict[str, Any]:
    """Return the fields of a JSON line with numbers as text, as they are written; NaN is null."""
    fields: dict[str, Any] = json.loads(line, parse_int=str, parse_float=str, parse_constant=_constant)
    return fields


def _constant(name: str) -> str | None:
    return None if name == "NaN" else name


def _integer(digits: str) -> int | str:
    return int(digits) if len(digits) <= _MOST_DIGITS else digits
