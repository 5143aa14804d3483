"""Names of document columns and metadata fields.

A name is a column (``source``), a key of the metadata (``lang``), or a path into it (``meta.year``). Keys may contain
dots: in each document, the key ``a.b`` comes before the key ``b`` of the object ``a``. Parts in double quotes are taken
literally (``"a.b".c``). A key with the name of a column is written ``metadata.tokens`` or ``"tokens"``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from itertools import combinations, islice, pairwise
from typing import Any

import duckdb

from factcensus.indexer.names import unknown_name

#: Columns by which documents can be grouped and selected; any other name is a metadata field.
COLUMNS = ("id", "source", "path", "record", "tokens", "text_bytes")
#: The path of keys to a value in the metadata.
FieldPath = tuple[str, ...]

_PART = r'"(?:[^"]|"")*"|[^."]+'
_NAME = re.compile(rf"(?:{_PART})(?:\.(?:{_PART}))*")
#: Maximum number of parts of a name for which all combinations of keys with dots are tried.
_MOST_JOINED = 6
#: Limits for suggestions: number of different metadata structures, number of fields, and depth of nested objects.
_MOST_FORMS, _MOST_FIELDS, _DEEPEST = 1000, 2000, 3


def find_field(connection: duckdb.DuckDBPyConnection, name: str | Sequence[str]) -> str:
    """Return a column or a metadata field as an SQL expression of the view ``documents``.

    Args:
        connection: Has the view ``documents``.
        name: A name as described in the module, or its parts, each taken literally.

    Returns:
        The column, or the value of the field as text; NULL for documents without it.

    Raises:
        UnknownNameError: No document has the field; the message suggests the most similar one.
    """
    if isinstance(name, str) and name in COLUMNS:
        return quote_name(name)
    encodable = is_encodable(name if isinstance(name, str) else "".join(name))
    for paths in _readings(name) if encodable else ():
        values = [f"json_extract_string(metadata, {json_pointer(path)})" for path in paths if _exists(connection, path)]
        if values:
            return values[0] if len(values) == 1 else f"coalesce({', '.join(values)})"
    shown = name if isinstance(name, str) else ".".join(name)
    raise unknown_name("column or metadata field", shown, [*COLUMNS, *known_fields(connection)])


def known_fields(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """Return the names of metadata fields as users write them, in alphabetical order.

    This searches objects up to three levels deep in up to 1,000 different structures, and returns at most 2,000 names.
    Names with control characters are left out.
    """
    query = f"SELECT DISTINCT json_structure(metadata) FROM documents LIMIT {_MOST_FORMS}"
    forms = [json.loads(form) for (form,) in connection.execute(query).fetchall() if form is not None]
    paths: dict[FieldPath, None] = {}
    for form in forms:
        _add_paths(paths, (), form)
        if len(paths) >= _MOST_FIELDS:
            break
    return sorted(name for path in islice(paths, _MOST_FIELDS) if (name := field_name(path)).isprintable())


def _add_paths(paths: dict[FieldPath, None], parent: FieldPath, form: Any) -> None:
    if isinstance(form, dict) and len(parent) < _DEEPEST:
        for key, inside in form.items():
            paths[(*parent, key)] = None
            _add_paths(paths, (*parent, key), inside)


def field_name(path: FieldPath) -> str:
    """Return the name of a field as users write it."""
    parts = [part if part and not set(part) & {".", '"'} else quote_name(part) for part in path]
    return f"metadata.{parts[0]}" if path[0] in COLUMNS and len(path) == 1 else ".".join(parts)


def _readings(name: str | Sequence[str]) -> Iterator[list[FieldPath]]:
    """Yield the interpretations of a name, each a list of possible paths, those with the longest keys first."""
    if not isinstance(name, str):
        if any({".", '"'} & set(part) or not part for part in name):
            yield [tuple(name)]
            return
        name = ".".join(name)
    if not _NAME.fullmatch(name):
        yield [(name,)]
        return
    parts = re.findall(_PART, name)
    yield list(_joined(parts))
    if parts[0] == "metadata" and len(parts) > 1:
        yield list(_joined(parts[1:]))


def _joined(parts: Sequence[str]) -> Iterator[FieldPath]:
    """Yield all ways to join consecutive unquoted parts into keys with dots, those with the fewest keys first."""
    gaps = range(1, len(parts))
    sizes = range(len(parts)) if len(parts) <= _MOST_JOINED else (0, len(parts) - 1)
    for size in sizes:
        for cuts in combinations(gaps, size):
            ends = [0, *cuts, len(parts)]
            keys = [parts[begin:end] for begin, end in pairwise(ends)]
            if all(len(key) == 1 or not any(part.startswith('"') for part in key) for key in keys):
                yield tuple(".".join(map(_unquoted, key)) for key in keys)


def _unquoted(part: str) -> str:
    return part[1:-1].replace('""', '"') if part.startswith('"') else part


def is_encodable(text: str) -> bool:
    """Return whether a text can be encoded as UTF-8; lone surrogates, which command lines may contain, cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _exists(connection: duckdb.DuckDBPyConnection, path: FieldPath) -> bool:
    query = f"SELECT 1 FROM documents WHERE json_exists(metadata, {json_pointer(path)}) LIMIT 1"
    return bool(connection.execute(query).fetchall())


def json_pointer(path: FieldPath) -> str:
    """Return a path as an SQL string with a JSON pointer, which allows all characters in keys."""
    return quote_text("".join("/" + key.replace("~", "~0").replace("/", "~1") for key in path))


def quote_name(name: str) -> str:
    """Return a name as a quoted SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def quote_text(text: str) -> str:
    """Return a text as an SQL string; a NUL character, which would end the SQL, becomes ``chr(0)``."""
    parts = ["'" + part.replace("'", "''") + "'" for part in text.split("\0")]
    return parts[0] if len(parts) == 1 else "(" + " || chr(0) || ".join(parts) + ")"
