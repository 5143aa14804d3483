"""Restoring of count and stratum columns written back by other tools, and of the metadata of pandas."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
from pyarrow.compute import call_function as compute

from factcensus.indexer.numbers import whole_cell
from factcensus.indexer.tables.columns import (
    ASKED_LIST_COLUMNS,
    CORPUS_DIGEST,
    FACT_COLUMNS,
    LABEL_COLUMNS,
    STRATUM_COLUMNS,
    is_count,
)
from factcensus.indexer.tables.values import plain_column

#: Keys of metadata that describe the columns of a table.
_NOTES = (b"pandas", b"huggingface")
#: Texts for null in number columns, as written by pandas and other tools.
_NULLS = frozenset(("", "nan", "NaN", "NA", "N/A", "<NA>", "None", "null", "NULL"))


def restored(column: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    """Restore the original type of a column of counts or strata from texts of CSV or floats of pandas.

    A column with other values belongs to the user and is returned unchanged.
    """
    kind = pa.bool_() if name == "exact" else pa.int64()
    if name in ("stratum_label", "index", "index_digest", "analyzer", CORPUS_DIGEST):
        kind = pa.string()
    if column.type == kind and kind != pa.string():
        return column
    try:
        column = plain_column(column)
        if kind == pa.string():
            return _restored_texts(column)
        if pa.types.is_floating(column.type):
            column = compute("if_else", [compute("is_nan", [column]), pa.scalar(None, column.type), column])
        elif _is_text(column.type):
            column = pa.chunked_array([pa.array(_numbers_in(column.to_pylist(), name), kind)])
        elif pa.types.is_boolean(column.type):
            return column  # not a count
        return column.cast(kind)
    except (ValueError, pa.ArrowException, OverflowError):
        return column


def _restored_texts(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if not _is_text(column.type) and not pa.types.is_null(column.type):
        return column
    texts = column.cast(pa.string())
    return compute("if_else", [compute("equal", [texts, ""]), pa.scalar(None, pa.string()), texts])


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _numbers_in(texts: list[str | None], name: str) -> list[int | bool | None]:
    """Convert cells such as ``12``, ``12.0`` or nothing to integers (truth values for ``exact``).

    Raises:
        ValueError: A cell has another value.
    """
    found: list[int | bool | None] = []
    for text in (None if text is None else text.strip() for text in texts):
        if text is None or text in _NULLS:
            found.append(None)
        elif name != "exact":
            found.append(whole_cell(text))
        elif text.lower() in ("true", "false"):
            found.append(text.lower() == "true")
        else:
            raise ValueError(text)
    return found


def carried_metadata(schema: pa.Schema) -> dict[bytes, bytes] | None:
    """Return the metadata of a table without outdated entries, on which readers would fail.

    The metadata of pandas keeps the entries of copied columns, so that they keep their pandas types. It loses the index
    and columns with changed types. The description by Hugging Face's `datasets` is removed, because it must list all
    columns.
    """
    metadata = {name: value for name, value in (schema.metadata or {}).items() if name not in _NOTES}
    try:
        noted = json.loads((schema.metadata or {})[b"pandas"])
        kept = [each for each in noted["columns"] if _is_carried(each["name"], each["field_name"], schema)]
    except (KeyError, ValueError, TypeError, RecursionError):
        noted, kept = {}, []
    if kept:
        pandas = {**noted, "index_columns": [], "column_indexes": [], "columns": kept}
        metadata[b"pandas"] = json.dumps(pandas).encode()
    return metadata or None


def _is_carried(name: Any, field: Any, schema: pa.Schema) -> bool:
    return (
        isinstance(name, str)
        and name == field
        and name in schema.names
        and not is_count(name)
        and name not in (*FACT_COLUMNS, *ASKED_LIST_COLUMNS, *STRATUM_COLUMNS, *LABEL_COLUMNS, CORPUS_DIGEST)
    )
