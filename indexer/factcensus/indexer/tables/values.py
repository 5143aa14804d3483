"""Values of text columns as written, and lists in cells.

Cells of CSV are kept as text. In JSON Lines, a number becomes the characters of its literal (``3.10``), and true and
false become these words. Typed values of Parquet and Arrow become text as follows:

=====================  ==============================================================================================
integers, decimals     their digits
booleans               ``true``, ``false``
dates, times           ISO 8601: ``1991-01-10``; a timestamp ``1991-01-10 12:30:00``, with a fraction only if it has one
timestamps all at      ``1991-01-10``, because pandas has no dates and writes timestamps instead
midnight
floating point, all    ``7``, because pandas converts integers with missing values to floats
whole
other floating point   the shortest text of the same number: ``3.1``
dictionaries           their values
=====================  ==============================================================================================

Null and NaN become null. Other values (lists, structs, infinity) raise an error that names the row.
"""

from __future__ import annotations

import ast
import datetime
import decimal
import json
import math
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import pyarrow as pa

from factcensus.indexer.errors import InputError
from factcensus.indexer.records import clean_text
from factcensus.indexer.tables.json_rows import decoded, texts_in

#: A list, tuple or set of Python strings as written by ``str`` or NumPy, separated by commas or spaces.
_QUOTED = r"(?:'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\")"
_ITEM = rf"{_QUOTED}|[-+]?\d[\d.eE+-]*|None|nan"
_PYTHON_LIST = re.compile(rf"[\[({{]\s*(?:{_ITEM})(?:(?:\s*,\s*|\s+)(?:{_ITEM}))*\s*,?\s*[\])}}]", re.DOTALL)
#: Python lists without texts: only nulls, or an empty tuple or set, which pandas also writes.
_NO_ITEMS = re.compile(r"\[\s*(?:None|nan)(?:(?:\s*,\s*|\s+)(?:None|nan))*\s*,?\s*\]|\(\s*\)|set\(\)|frozenset\(\)")
_BRACKETS = {"[": "]", "(": ")", "{": "}"}
_ITEMS = re.compile(_ITEM, re.DOTALL)
_NO_TEXT = ("None", "nan")
_MIDNIGHT = re.compile(r"(.*) 00:00:00(?:\.0+)?")
_ZEROS = re.compile(r"(:\d\d)(?:\.0+|(\.\d*?[1-9])0+)(?=$|[-+Z])")


def is_list(kind: pa.DataType) -> bool:
    """Return whether an Arrow type is a list of any form."""
    return bool(
        pa.types.is_list(kind)
        or pa.types.is_large_list(kind)
        or pa.types.is_fixed_size_list(kind)
        or pa.types.is_list_view(kind)
        or pa.types.is_large_list_view(kind)
    )


def text_column(column: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    """Return a column as strings, each value as written (see the module).

    Raises:
        InputError: A value has no text form; the message names the row.
    """
    kind = column.type
    if pa.types.is_string(kind):
        return column
    if pa.types.is_dictionary(kind):
        return text_column(plain_column(column), name)
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind) or pa.types.is_null(kind):
        return column.cast(pa.string())
    if pa.types.is_timestamp(kind):
        return pa.chunked_array([pa.array(_timestamps(column, name), pa.string())])
    values = python_values(column, name)
    if pa.types.is_floating(kind) and kind != pa.float64():
        narrow = {pa.float16(): np.float16, pa.float32(): np.float32}[kind]
        values = [None if value is None else narrow(value) for value in values]
    return pa.chunked_array([pa.array(texts_of(values, name), pa.string())])


def plain_column(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Decode a dictionary column; other columns are returned unchanged."""
    if not pa.types.is_dictionary(column.type):
        return column
    column = readable_column(column)  # Arrow cannot cast a dictionary of views
    return column.cast(column.type.value_type)


def readable_column(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Convert view and run-end-encoded types, which polars and Arrow use and few libraries can read from files."""
    kind = _without_views(column.type)
    if kind == column.type:
        return column
    if pa.types.is_dictionary(kind):
        chunks = [
            pa.DictionaryArray.from_arrays(chunk.indices, chunk.dictionary.cast(kind.value_type), ordered=kind.ordered)
            for chunk in column.chunks
        ]
        return pa.chunked_array(chunks, kind)
    if pa.types.is_string_view(column.type) or pa.types.is_binary_view(column.type):
        return column.cast(kind)
    return pa.chunked_array([pa.array(column.to_pylist(), kind)])  # Arrow casts some lists of views incorrectly


def _without_views(kind: pa.DataType) -> pa.DataType:
    """Return the equivalent type without views and run-end encoding, at every level."""
    if pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_binary_view(kind):
        return pa.binary()
    if pa.types.is_run_end_encoded(kind):
        return _without_views(kind.value_type)
    if pa.types.is_dictionary(kind):
        return pa.dictionary(kind.index_type, _without_views(kind.value_type), kind.ordered)
    if is_list(kind):
        inner = kind.value_field.with_type(_without_views(kind.value_type))
        if pa.types.is_fixed_size_list(kind):
            return pa.list_(inner, kind.list_size)
        is_large = pa.types.is_large_list(kind) or pa.types.is_large_list_view(kind)
        return pa.large_list(inner) if is_large else pa.list_(inner)
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_without_views(field.type)) for field in kind])
    return kind


def python_values(column: pa.ChunkedArray | pa.Array, name: str) -> list[Any]:
    """Convert the values of a column to Python.

    Raises:
        InputError: Python cannot represent a value, such as a date after 9999, nanoseconds, or an unknown time zone.
    """
    try:
        return list(column.to_pylist())
    except (ValueError, OverflowError, LookupError) as error:
        raise _without_text(column, name, error) from error


def python_rows(table: pa.Table | pa.RecordBatch) -> list[dict[str, Any]]:
    """Convert the rows of a table to Python.

    Raises:
        InputError: Python cannot represent a value; the message names the column.
    """
    names = table.schema.names
    columns = [python_values(column, name) for name, column in zip(names, table.columns, strict=True)]
    return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]


def _without_text(column: pa.ChunkedArray | pa.Array, name: str, error: Exception) -> InputError:
    return InputError(
        f"the column {name[:100]!r} of type {str(column.type)[:100]} has a value that cannot be written as text "
        f"({str(error)[:100]}); write the column as text, or remove it"
    )


def _timestamps(column: pa.ChunkedArray, name: str) -> list[str | None]:
    try:
        texts = column.cast(pa.string()).to_pylist()
    except pa.ArrowInvalid as error:
        raise _without_text(column, name, error) from error
    dates = [None if text is None else _MIDNIGHT.fullmatch(text) for text in texts]
    if all(date is not None or text is None for date, text in zip(dates, texts, strict=True)):
        return [None if date is None else date[1] for date in dates]
    return [None if text is None else _ZEROS.sub(r"\1\2", text) for text in texts]


def texts_of(values: Sequence[Any], name: str, first: int = 1) -> list[str | None]:
    """Return Python values of one column as texts; see the module docstring.

    Args:
        values: The values.
        name: The name of the column, for messages.
        first: The number of the first row.

    Raises:
        InputError: A value has no text form; the message names the row.
    """
    if _are_clean(values):
        return list(values)
    values = [_unboxed(value) for value in values]
    floats = [value for value in values if isinstance(value, (float, np.floating))]
    moments = [value for value in values if isinstance(value, datetime.datetime)]
    whole = all(float(value).is_integer() for value in floats)
    midnight = all(value.tzinfo is None and value.time() == datetime.time() for value in moments)
    return [_text(value, whole, midnight, name, row) for row, value in enumerate(values, first)]


def _are_clean(values: Sequence[Any]) -> bool:
    """Return whether all values are texts without lone surrogates, or null, which is the usual case."""
    if not {str, type(None)} >= set(map(type, values)):
        return False
    try:
        "".join(filter(None, values)).encode()
    except UnicodeEncodeError:
        return False
    return True


def _unboxed(value: Any) -> Any:
    """Convert a NumPy or pandas scalar to Python, except for narrow floats; NaN, NA and NaT become null."""
    if value is None or isinstance(value, (str, int)):
        return value
    if type(value).__name__ in ("NAType", "NaTType") or (isinstance(value, (float, np.floating)) and value != value):
        return None
    if isinstance(value, np.datetime64):
        return None if np.isnat(value) else value.astype("datetime64[us]").item()
    return value.item() if isinstance(value, np.generic) and not isinstance(value, np.floating) else value


def _text(value: Any, whole: bool, midnight: bool, name: str, row: int) -> str | None:  # noqa: C901 - one line per type of value
    if value is None:
        return None
    if isinstance(value, str):
        return clean_text(str(value))
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, (float, np.floating)) and math.isfinite(value):
        return str(int(value)) if whole else str(value)
    if isinstance(value, decimal.Decimal) and value.is_finite():
        return format(value, "f")
    if isinstance(value, datetime.datetime):
        return value.date().isoformat() if midnight else value.isoformat(" ")
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise InputError(f"row {row} of the fact table: the {name} is not UTF-8 text ({value!r:.60})") from None
    if type(value).__name__ == "UUID":
        return str(value)
    remedy = "; write one object per row, as pandas does with orient='records'" if isinstance(value, dict) else ""
    raise InputError(f"row {row} of the fact table: the {name} must be a text, got {value!r:.60}{remedy}")


def list_column(column: pa.ChunkedArray, name: str) -> pa.Array:
    """Return a column as lists of strings; cells of text are parsed by :func:`list_in`.

    Raises:
        InputError: An item is not a text; the message names the row.
    """
    column = plain_column(column)
    cells = python_values(column, name)
    if is_list(column.type) and not pa.types.is_string(column.type.value_type):
        items = pa.chunked_array([chunk.flatten() for chunk in column.chunks], column.type.value_type)
        with suppress(InputError):  # this error names the item; the code below names the row
            texts = iter(text_column(items, name).to_pylist())
            cells = [None if cell is None else [next(texts) for _ in cell] for cell in cells]
    lists = [as_list(cell, name, row) for row, cell in enumerate(cells, 1)]
    return pa.array(lists, pa.list_(pa.string()))


def as_list(cell: Any, name: str, row: int) -> list[str] | None:
    """Return a cell as a list of texts without blank ones; null stays null.

    Raises:
        InputError: The cell is neither a list nor a text.
    """
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return None
    if isinstance(cell, (tuple, set, np.ndarray)):
        cell = list(cell)
    if isinstance(cell, list):
        try:
            cell = texts_of(cell, name)
        except InputError:
            raise InputError(f"row {row} of the fact table: the {name} must be texts, got {cell!r:.60}") from None
    elif isinstance(cell, str):
        cell = texts_of(list_in(cell), name)
    else:
        raise InputError(f"row {row} of the fact table: the {name} must be a list of texts, got {cell!r:.60}")
    return [item for item in cell if item is not None and item.strip()]


def list_in(cell: str) -> list[str]:
    """Return the texts in a cell: a JSON list, a list as Python or NumPy prints it, or texts separated by ``|``.

    Python tuples and sets are also lists. Any other cell that begins with a bracket is one text:
    ``[X] is the capital of [Y]``.
    """
    stripped = cell.strip()
    if _NO_ITEMS.fullmatch(stripped):
        return []
    if stripped.startswith("[") and stripped.endswith("]"):
        try:
            found = texts_in(decoded(stripped))
        except (ValueError, RecursionError):
            found = None
        if isinstance(found, list) and all(item is None or isinstance(item, str) for item in found):
            return [item for item in found if item is not None]
    if (
        stripped
        and _BRACKETS.get(stripped[0]) == stripped[-1]
        and ("'" in stripped or '"' in stripped)
        and _PYTHON_LIST.fullmatch(stripped)
    ):
        return list(_python_items(stripped))
    return [item.strip() for item in cell.split("|")]


def _python_items(text: str) -> Iterable[str]:
    for item in _ITEMS.findall(text[1:-1]):
        if item[0] in "'\"":
            yield str(ast.literal_eval(item.replace("\n", "\\n").replace("\r", "\\r")))
        elif item not in _NO_TEXT:
            yield item


def looks_like_broken_list(text: str) -> bool:
    """Return whether a text begins like a list, tuple or set of quoted texts."""
    return re.match(r"\s*[\[({]\s*[\"']", text) is not None


def json_cell(value: Any) -> str:
    """Return a list or struct as text for a CSV cell."""
    return json.dumps(value, ensure_ascii=False, default=str)
