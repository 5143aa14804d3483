"""JSON descriptions of plain column types. Arrow's validation of arrays of these types is complete."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

_NAMED: dict[str, pa.DataType] = {
    str(kind): kind
    for kind in (
        pa.null(),
        pa.bool_(),
        pa.int8(),
        pa.int16(),
        pa.int32(),
        pa.int64(),
        pa.uint8(),
        pa.uint16(),
        pa.uint32(),
        pa.uint64(),
        pa.float16(),
        pa.float32(),
        pa.float64(),
        pa.string(),
        pa.large_string(),
        pa.binary(),
        pa.large_binary(),
        pa.date32(),
        pa.date64(),
        pa.time32("s"),
        pa.time32("ms"),
        pa.time64("us"),
        pa.time64("ns"),
        *(make(unit) for make in (pa.timestamp, pa.duration) for unit in ("s", "ms", "us", "ns")),
    )
}


class WireError(Exception):
    """A frame that our process would never write."""


def type_to_json(kind: pa.DataType) -> Any:
    """Return a plain type as JSON.

    Raises:
        TypeError: It is not a plain type.
    """
    if _NAMED.get(str(kind)) == kind:
        return str(kind)
    types = pa.types
    if types.is_timestamp(kind):
        return ["timestamp", kind.unit, kind.tz]
    if types.is_decimal128(kind) or types.is_decimal256(kind):
        return ["decimal128" if types.is_decimal128(kind) else "decimal256", kind.precision, kind.scale]
    if types.is_fixed_size_binary(kind):
        return ["fixed_size_binary", kind.byte_width]
    if types.is_list(kind) or types.is_large_list(kind):
        return ["list" if types.is_list(kind) else "large_list", type_to_json(kind.value_type)]
    if types.is_map(kind):
        return ["map", type_to_json(kind.key_type), type_to_json(kind.item_type)]
    if types.is_struct(kind):
        return ["struct", [[field.name, type_to_json(field.type)] for field in kind]]
    raise TypeError(f"{kind} is not a plain type")


def type_of_json(kind: Any) -> pa.DataType:
    """Return the type that :func:`type_to_json` described.

    Raises:
        WireError: The description is invalid.
    """
    try:
        if isinstance(kind, str):
            return _NAMED[kind]
        name, *details = kind
        if name in ("list", "large_list", "map"):
            make = {"list": pa.list_, "large_list": pa.large_list, "map": pa.map_}[name]
            return make(*map(type_of_json, details))
        if name == "struct":
            return pa.struct([pa.field(str(field), type_of_json(of)) for field, of in details[0]])
        if name == "timestamp":
            return pa.timestamp(str(details[0]), tz=str(details[1]))
        make = {"decimal128": pa.decimal128, "decimal256": pa.decimal256, "fixed_size_binary": pa.binary}[name]
        return make(*map(int, details))
    except (KeyError, TypeError, ValueError, RecursionError) as error:  # Arrow's own errors are ValueErrors
        raise WireError(f"invalid type: {error}") from error


def schema_to_json(schema: pa.Schema) -> list[Any]:
    """Return names and plain types of columns as JSON."""
    return [[field.name, type_to_json(field.type)] for field in schema]


def schema_of_json(columns: Any) -> pa.Schema:
    """Return the schema that :func:`schema_to_json` described.

    Raises:
        WireError: The description is invalid, or a name is repeated.
    """
    try:
        fields = [pa.field(str(name), type_of_json(kind)) for name, kind in columns]
    except (TypeError, ValueError) as error:
        raise WireError(f"invalid schema: {error}") from error
    if len({field.name for field in fields}) < len(fields):
        raise WireError("a column is repeated")
    return pa.schema(fields)
