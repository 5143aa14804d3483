"""Conversion of columns to plain types, without dictionaries, runs, string views or extensions.

Unions and list views are refused. The size of a plain column is computed before it is created, because a dictionary of
one long text may expand to gigabytes.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from pyarrow.compute import call_function as compute

from factcensus.api.decoding.bounds import Bounds, Refused

#: Maximum bytes of a piece of plain columns; a single row may have more.
PIECE_BYTES = 8 * 2**20
#: Minimum bytes of a value in a response.
VALUE_BYTES = 4
_SIMPLE = (
    pa.types.is_null,
    pa.types.is_boolean,
    pa.types.is_integer,
    pa.types.is_floating,
    pa.types.is_date,
    pa.types.is_time,
    pa.types.is_duration,
    pa.types.is_string,
    pa.types.is_large_string,
    pa.types.is_binary,
    pa.types.is_large_binary,
    pa.types.is_fixed_size_binary,
    pa.types.is_decimal128,
    pa.types.is_decimal256,
)


def plain_schema(schema: pa.Schema, bounds: Bounds) -> pa.Schema:
    """Return the schema with plain types and without metadata.

    Raises:
        Refused: A type has no plain equivalent, or there are too many, too deep or too long-named columns.
    """
    bounds.check_columns(len(schema))
    for name in schema.names:
        bounds.check_name(name)
    bounds.check_columns(sum(_fields_of(field.type, field.name, bounds, 0) for field in schema))
    return pa.schema([pa.field(field.name, _plain_type(field.type, field.name)) for field in schema])


def _fields_of(kind: pa.DataType, column: str, bounds: Bounds, nesting: int) -> int:
    """Count a column and the columns nested in it."""
    bounds.check_nesting(nesting, column)
    if isinstance(kind, pa.BaseExtensionType):
        kind = kind.storage_type
    if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        return _fields_of(kind.value_type, column, bounds, nesting)
    names = [kind.field(number).name for number in range(kind.num_fields)] if pa.types.is_struct(kind) else []
    for name in names:
        bounds.check_name(name)
    own = not kind.num_fields or pa.types.is_struct(kind)
    return own + sum(
        _fields_of(kind.field(number).type, column, bounds, nesting + 1) for number in range(kind.num_fields)
    )


def _plain_type(kind: pa.DataType, column: str) -> pa.DataType:  # noqa: C901  # one case per family of types
    types = pa.types
    if any(holds(kind) for holds in _SIMPLE):
        return kind
    if types.is_timestamp(kind) and (kind.tz is None or _names_a_zone(kind.tz)):
        return kind
    if isinstance(kind, pa.BaseExtensionType):
        return _plain_type(kind.storage_type, column)
    if types.is_dictionary(kind) or types.is_run_end_encoded(kind):
        return _plain_type(kind.value_type, column)
    if types.is_string_view(kind) or types.is_binary_view(kind):
        return pa.string() if types.is_string_view(kind) else pa.binary()
    if types.is_list(kind) or types.is_fixed_size_list(kind):
        return pa.list_(_plain_type(kind.value_type, column))
    if types.is_large_list(kind):
        return pa.large_list(_plain_type(kind.value_type, column))
    if types.is_map(kind):
        return pa.map_(_plain_type(kind.key_type, column), _plain_type(kind.item_type, column))
    if types.is_struct(kind):
        names = [field.name for field in kind]
        if len(set(names)) == len(names):
            return pa.struct([pa.field(field.name, _plain_type(field.type, column)) for field in kind])
    raise Refused(
        "invalid-input",
        f"column {column[:100]!r} has the unsupported type {str(kind)[:100]}; send it as text, or leave it out",
    )


def _names_a_zone(zone: str) -> bool:
    """Return whether a string looks like a time zone name, which responses look up."""
    return len(zone) <= 64 and zone.isascii() and all(part.replace("-", "").isalnum() for part in _parts(zone))


def _parts(zone: str) -> list[str]:
    return zone.lstrip("+-").replace("_", "-").replace("+", "-").replace(":", "/").split("/")


def plain_pieces(batch: pa.RecordBatch, schema: pa.Schema, most_rows: int) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a batch as plain columns, at most ``most_rows`` at a time, fewer if the rows are large.

    Raises:
        Refused: A column cannot be converted.
    """
    for start in range(0, batch.num_rows, most_rows):
        yield from _split(batch.slice(start, most_rows), schema)


def _split(batch: pa.RecordBatch, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    if batch.num_rows > 1 and weight(batch) > PIECE_BYTES:
        half = batch.num_rows // 2
        yield from _split(batch.slice(0, half), schema)
        yield from _split(batch.slice(half), schema)
        return
    arrays = [_plain(column, field) for column, field in zip(batch.columns, schema, strict=True)]
    yield pa.RecordBatch.from_arrays(arrays, schema=schema)


def _plain(array: pa.Array, field: pa.Field) -> pa.Array:
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    if pa.types.is_run_end_encoded(array.type):
        array = compute("run_end_decode", [array])
    if pa.types.is_dictionary(array.type):
        array = array.dictionary.take(array.indices)
    if array.type.equals(field.type):
        return array
    try:
        plain = array.cast(field.type)
        plain.validate(full=True)
        return plain
    except pa.ArrowException as error:
        raise Refused(
            "invalid-input",
            f"column {field.name[:100]!r} of type {str(array.type)[:100]} cannot be read as {str(field.type)[:100]} "
            f"({str(error)[:200]}); send it as that type, or leave it out",
        ) from error


# --- sizes ------------------------------------------------------------------------------------------------------------


def weight(batch: pa.RecordBatch) -> int:
    """Return the bytes of a batch in plain columns, at least :data:`VALUE_BYTES` per value."""
    return sum(_weight(column) for column in batch.columns)


def _weight(array: pa.Array) -> int:
    types, kind = pa.types, array.type
    if isinstance(array, pa.ExtensionArray):
        return _weight(array.storage)
    if types.is_dictionary(kind):
        return _chosen(array.dictionary, array.indices)
    if types.is_run_end_encoded(kind):
        return _repeated(array)
    if types.is_string_view(kind) or types.is_binary_view(kind):
        return VALUE_BYTES * len(array) + int(_view_lengths(array).sum())
    if types.is_struct(kind):
        return VALUE_BYTES * len(array) + sum(_weight(child) for child in array.flatten())
    if types.is_map(kind):
        values = array.cast(pa.list_(pa.struct([kind.key_field, kind.item_field]))).flatten()
        return VALUE_BYTES * len(array) + _weight(values)
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return VALUE_BYTES * len(array) + _weight(array.flatten())
    return int(max(array.nbytes, VALUE_BYTES * len(array)))


def _chosen(values: pa.Array, indices: pa.Array) -> int:
    """Return the bytes of the values that indices select."""
    if not len(values):
        return VALUE_BYTES * len(indices)
    lengths = pa.array(_lengths(values))
    return int(compute("sum", [compute("take", [lengths, indices])]).as_py() or 0) + VALUE_BYTES * len(indices)


def _repeated(array: pa.Array) -> int:
    """Return the bytes of a run-end encoded column, which may be a slice."""
    start, end = array.offset, array.offset + len(array)
    ends = np.clip(np.asarray(array.run_ends, np.int64), start, end)
    runs = ends - np.concatenate([[start], ends[:-1]])
    return int((runs * _lengths(array.values)[: len(runs)]).sum()) + VALUE_BYTES * len(array)


def _lengths(values: pa.Array) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Return int64 (values,): the approximate bytes of each value."""
    types, kind = pa.types, values.type
    if any(holds(kind) for holds in (types.is_string, types.is_large_string, types.is_binary, types.is_large_binary)):
        return np.asarray(compute("binary_length", [values]).fill_null(0), np.int64)
    if types.is_string_view(kind) or types.is_binary_view(kind):
        return _view_lengths(values)
    return np.full(len(values), -(-_weight(values) // max(len(values), 1)), np.int64)


def _view_lengths(array: pa.Array) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Return int64 (values,): the bytes that each view refers to."""
    views = np.frombuffer(array.buffers()[1] or b"", np.int32).reshape(-1, 4)
    return views[array.offset : array.offset + len(array), 0].astype(np.int64).clip(0)
