"""Lossless rows of JSON: numbers in text columns as written, integers of any size, NaN as null.

orjson is fast, but converts integers beyond 64 bits to floats and loses the spelling of numbers. So it reads a line
first, and Python's reader reads it again if the spelling of a number matters.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Iterable, Iterator
from functools import lru_cache
from typing import Any

import orjson
import pyarrow as pa

from factcensus.indexer.errors import InputError
from factcensus.indexer.records import clean_text
from factcensus.indexer.tables.columns import ASKED_LIST_COLUMNS, FACT_COLUMNS, ColumnNames
from factcensus.indexer.tables.published import texts_of_shape

#: Columns in which numbers become text; see :func:`as_written`.
AS_WRITTEN = frozenset((*FACT_COLUMNS, *ASKED_LIST_COLUMNS))
_MANY_DIGITS = re.compile(rb"\d{19}")
_COLON = re.compile(rb'"\s*:')
_INT64 = range(-(1 << 63), 1 << 63)


class Literal(str):
    """A number as written in JSON."""

    __slots__ = ()


@lru_cache(1000)
def as_written(names: tuple[str, ...]) -> frozenset[str]:
    """Return the columns of a row in which numbers become text, also those of a published shape."""
    return AS_WRITTEN | texts_of_shape(names)


def decoded(text: str | bytes) -> Any:
    """Return a JSON value with :class:`Literal` for numbers and None for NaN.

    Raises:
        ValueError: The text is not JSON, has an infinite number, or repeats a key of an object.
        RecursionError: The value is nested too deeply.
    """
    return json.loads(
        text, parse_int=Literal, parse_float=Literal, parse_constant=_constant, object_pairs_hook=_each_once
    )


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice!r:.80} is given twice, but only one value can be used; remove one")
    return found


def _constant(name: str) -> None:
    if name != "NaN":
        raise ValueError(f"{name} is not a number in JSON; write null or a text")


def numbers_in(value: Any) -> Any:
    """Convert the literals of a decoded value to numbers; a number too large for any type stays a text."""
    if isinstance(value, Literal):
        try:
            return int(value)
        except ValueError:
            number = float(value)
            return number if math.isfinite(number) and not value.lstrip("-").isdigit() else str(value)
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, list):
        return [numbers_in(each) for each in value]
    if isinstance(value, dict):
        return {clean_text(name): numbers_in(each) for name, each in value.items()}
    return value


def texts_in(value: Any) -> Any:
    """Convert the literals of a decoded value, and true and false, to texts, also inside lists."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return clean_text(str(value))
    return [texts_in(each) for each in value] if isinstance(value, list) else value


def json_rows(lines: Iterable[bytes], names: ColumnNames) -> Iterator[dict[str, Any]]:
    """Yield the rows of JSON Lines with the new names of their columns.

    Raises:
        InputError: A line is not a JSON object; the message names it.
    """
    for number, line in enumerate(lines, 1):
        if number == 1:
            refuse_utf16(line)
            line = line.removeprefix(b"\xef\xbb\xbf")
        if not line.strip():
            continue
        try:
            row = json_row(line, names)
        except (ValueError, RecursionError) as error:
            raise InputError(f"line {number}: {error}") from error
        yield row


def refuse_utf16(start: bytes) -> None:
    """Check that a file does not begin like UTF-16, which spreadsheets call "Unicode text".

    Raises:
        InputError: The file begins like UTF-16.
    """
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise InputError("the file is UTF-16; save it as UTF-8, which Excel calls 'CSV UTF-8'")


def json_row(line: bytes, names: ColumnNames) -> dict[str, Any]:
    """Return one row.

    Raises:
        ValueError: The line is not a JSON object.
    """
    try:
        row = orjson.loads(line)
        exact = _MANY_DIGITS.search(line) is not None or (isinstance(row, dict) and _may_repeat_a_key(line, row))
    except orjson.JSONDecodeError:
        row, exact = None, True
    if isinstance(row, dict) and not exact:
        own = names.of(tuple(row))
        plain_row = dict(zip(own, row.values(), strict=True))
        texts = as_written(own)
        for column, value in plain_row.items():
            if type(value) is not str and column in texts and _has_number(value):
                break
        else:
            return plain_row
    if isinstance(row, dict) or exact:
        try:
            row = decoded(line)
        except RecursionError:
            raise InputError("not readable JSON: it is nested too deeply") from None
        except ValueError as error:
            raise InputError(f"not valid JSON ({error})") from error
    return settled(row, names)


def _colons(line: bytes) -> int:
    return len(_COLON.findall(line))


def _may_repeat_a_key(line: bytes, row: dict[str, Any]) -> bool:
    """Return whether a line has more colons after quotation marks than keys, as after a repeated key."""
    keys = _count_keys(row)
    return line.count(b":") != keys and _colons(line) != keys


def _count_keys(value: dict[str, Any] | list[Any]) -> int:
    """Return the number of keys of a value and of all values inside it."""
    number, inner = (len(value), value.values()) if isinstance(value, dict) else (0, value)
    for each in inner:
        if type(each) is dict or type(each) is list:
            number += _count_keys(each)
    return number


def check_keys_once(body: bytes, keys: int) -> None:
    """Check that no object of a JSON document repeats a key, because readers silently keep only the last value.

    Args:
        body: The document, already read once.
        keys: The number of keys that the reader found.

    Raises:
        InputError: An object has a repeated key, or the document has an infinite number.
    """
    if _colons(body) == keys:
        return
    try:
        decoded(body)
    except ValueError as error:
        raise InputError(f"not usable JSON ({error})") from error


def rows_as_written(rows: list[dict[str, Any]], key: str, body: bytes) -> list[dict[str, Any]]:
    """Read the rows of a JSON document again if the first reader lost the spelling of numbers.

    Args:
        rows: The rows from the first reader.
        key: The key of the rows in the document.
        body: The document.
    """
    names = ColumnNames()
    for row in rows:
        own = names.preview(tuple(row))
        texts = as_written(own)
        for column, value in zip(own, row.values(), strict=True):
            if column in texts and _has_number(value):
                return [settled(each, names) for each in decoded(body)[key]]
    return rows


def settled(row: Any, names: ColumnNames) -> dict[str, Any]:
    """Return a decoded row with texts in the text columns, and numbers elsewhere.

    Raises:
        InputError: The row is not an object, or two of its columns have the same name.
    """
    if not isinstance(row, dict):
        raise InputError(f"not a JSON object, got {'a number' if isinstance(row, Literal) else type(row).__name__}")
    own = names.of(tuple(row))
    texts = as_written(own)
    return {
        clean_text(column): texts_in(value) if column in texts else numbers_in(value)
        for column, value in zip(own, row.values(), strict=True)
    }


def _has_number(value: Any) -> bool:
    """Return whether a value of a text column contains a number, because orjson loses its spelling."""
    kind = type(value)
    if kind is list:
        return any(type(each) is not str and _has_number(each) for each in value)
    return kind is int or kind is float


def column_of(values: list[Any], name: str) -> pa.Array:
    """Return an Arrow array of Python values; if no type can represent all numbers exactly, all become texts.

    Raises:
        InputError: The values have several types.
    """
    try:
        return pa.array(values)
    except (pa.ArrowException, OverflowError, UnicodeEncodeError) as error:
        try:
            return pa.array(_numbers_as_texts(values))
        except (pa.ArrowException, OverflowError, UnicodeEncodeError):
            row = _first_of_another_type(values)
            raise InputError(
                f"row {row}: the column {name!r} has values of several types: {values[row - 1]!r:.60} "
                f"differs from the rows before it ({error}); give all of them the same type"
            ) from error


def _first_of_another_type(values: list[Any]) -> int:
    """Return the number of the first row whose value has no type in common with the rows before it."""
    fitting, failing = 0, len(values)
    while failing - fitting > 1:
        middle = (fitting + failing) // 2
        try:
            pa.array(_numbers_as_texts(values[:middle]))
        except (pa.ArrowException, OverflowError, UnicodeEncodeError):
            failing = middle
        else:
            fitting = middle
    return failing


def _numbers_as_texts(values: list[Any]) -> list[Any]:
    """Convert numbers to texts if only their size prevents a common type; otherwise return the values unchanged."""
    numbers = list(_numbers(values))
    integers = [number for number in numbers if type(number) is int]
    inexact = any(number not in _INT64 for number in integers) or (
        len(integers) < len(numbers) and any(int(float(number)) != number for number in integers)
    )
    return [as_text(value) for value in values] if inexact else values


def _numbers(values: Collection[Any]) -> Iterator[int | float]:
    for value in values:
        if type(value) in (int, float):
            yield value
        elif isinstance(value, (list, dict)):
            yield from _numbers(value if isinstance(value, list) else value.values())


def as_text(value: Any) -> Any:
    """Convert numbers to texts, also inside lists and objects."""
    if type(value) in (int, float):
        return str(value)
    if isinstance(value, list):
        return [as_text(each) for each in value]
    return {name: as_text(each) for name, each in value.items()} if isinstance(value, dict) else value
