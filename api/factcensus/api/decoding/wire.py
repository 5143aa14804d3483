"""Frames between the service and a process that decodes, and tables in them as bare buffers.

A frame is one byte for its kind, four bytes for the length of its content (little-endian), then the content. A table is
one ``schema`` frame and then ``piece`` frames. The content of a piece is four bytes for the length of its head, the
head in JSON, and the buffers of its columns, each padded to eight bytes:

>>> content = b"".join(pack_piece(pa.record_batch({"subject": ["Curie"]})))
>>> json.loads(content[4:][: int.from_bytes(content[:4], "little")])
{'rows': 1, 'nodes': [[1, [-1, 8, 5]]]}

A node is the length of an array and the bytes of its buffers (-1: none), a parent before its children. Only plain types
are in it (no dictionaries, runs, views, unions): for these, Arrow's own check of an array is complete, so the service
need not trust who wrote the frame.
"""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Callable, Iterator, Sequence
from select import POLLIN, poll
from typing import Any, Literal

import pyarrow as pa

Kind = Literal["request", "begun", "schema", "piece", "end", "refused", "fault", "busy"]
_KINDS: tuple[Kind, ...] = ("request", "begun", "schema", "piece", "end", "refused", "fault", "busy")
_HEAD = struct.Struct("<BI")
#: Milliseconds between two looks whether anybody still waits for a frame.
LOOK_MS = 50
_NAMED: dict[str, pa.DataType] = {
    str(kind): kind
    for kind in (
        pa.null(), pa.bool_(), pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(),
        pa.uint64(), pa.float16(), pa.float32(), pa.float64(), pa.string(), pa.large_string(), pa.binary(),
        pa.large_binary(), pa.date32(), pa.date64(), pa.time32("s"), pa.time32("ms"), pa.time64("us"), pa.time64("ns"),
        *(make(unit) for make in (pa.timestamp, pa.duration) for unit in ("s", "ms", "us", "ns")),
    )
}  # fmt: skip


class WireError(Exception):
    """A frame that no process of ours writes."""


# --- frames -----------------------------------------------------------------------------------------------------------


def send(channel: socket.socket, kind: Kind, parts: Sequence[bytes | memoryview] = ()) -> None:
    """Send one frame whose content is in parts."""
    channel.sendall(_HEAD.pack(_KINDS.index(kind), sum(len(part) for part in parts)))
    for part in parts:
        channel.sendall(part)


def receive(channel: socket.socket, most_bytes: int, check: Callable[[], None]) -> tuple[Kind, bytearray]:
    """Wait for one frame; ``check`` is called meanwhile and may raise.

    Raises:
        EOFError: the other side has gone.
        WireError: that is no frame, or one with more than ``most_bytes``.
    """
    number, size = _HEAD.unpack(_received(channel, _HEAD.size, check))
    if number >= len(_KINDS) or size > most_bytes:
        raise WireError(f"a frame of kind {number} with {size} bytes")
    return _KINDS[number], _received(channel, size, check)


def _received(channel: socket.socket, size: int, check: Callable[[], None]) -> bytearray:
    content = bytearray(size)
    rest = memoryview(content)
    waiting = poll()
    waiting.register(channel, POLLIN)
    while rest:
        if not waiting.poll(LOOK_MS):
            check()
        elif not (read := channel.recv_into(rest)):
            raise EOFError
        else:
            rest = rest[read:]
    return content


# --- types ------------------------------------------------------------------------------------------------------------


def type_to_json(kind: pa.DataType) -> Any:
    """A plain type as JSON.

    Raises:
        TypeError: it is not a plain type.
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
    """The type that :func:`type_to_json` described.

    Raises:
        WireError: it describes none.
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
        raise WireError(f"no type of ours: {error}") from error


def schema_to_json(schema: pa.Schema) -> list[Any]:
    """Names and plain types of columns."""
    return [[field.name, type_to_json(field.type)] for field in schema]


def schema_of_json(columns: Any) -> pa.Schema:
    """The schema that :func:`schema_to_json` described.

    Raises:
        WireError: it describes none, or has a name twice.
    """
    try:
        fields = [pa.field(str(name), type_of_json(kind)) for name, kind in columns]
    except (TypeError, ValueError) as error:
        raise WireError(f"no schema of ours: {error}") from error
    if len({field.name for field in fields}) < len(fields):
        raise WireError("a column comes twice")
    return pa.schema(fields)


# --- pieces -----------------------------------------------------------------------------------------------------------


def pack_piece(batch: pa.RecordBatch) -> Iterator[bytes | memoryview]:
    """The content of a piece, in parts; the types are plain."""
    # Written and read once: afterwards no array is a slice of a larger one.
    batch = pa.ipc.read_record_batch(batch.serialize(), batch.schema)
    nodes: list[tuple[int, list[int]]] = []
    buffers: list[pa.Buffer] = []
    for column in batch.columns:
        _lay_out(column, iter(column.buffers()), nodes, buffers)
    head = json.dumps({"rows": batch.num_rows, "nodes": nodes}).encode()
    yield len(head).to_bytes(4, "little")
    yield head + bytes(-(4 + len(head)) % 8)
    for buffer in buffers:
        yield memoryview(buffer)
        yield bytes(-buffer.size % 8)


def unpack_piece(content: bytearray, schema: pa.Schema) -> pa.Table:
    """The table of a piece, everything in it checked.

    Raises:
        WireError: it is no piece of this schema.
    """
    try:
        size = int.from_bytes(content[:4], "little")
        head = json.loads(content[4 : 4 + size])
        rows, nodes = int(head["rows"]), iter(head["nodes"])
        reader = _Reader(pa.py_buffer(content), 4 + size + -(4 + size) % 8, nodes)
        table = pa.Table.from_arrays([reader.array(field.type) for field in schema], schema=schema)
        if table.num_rows != rows:
            raise WireError(f"{table.num_rows} rows and not {rows}")
        table.validate(full=True)
    except (KeyError, TypeError, ValueError, StopIteration, RecursionError) as error:
        raise WireError(f"no piece of ours: {error}") from error
    return table


def _lay_out(
    array: pa.Array, left: Iterator[pa.Buffer | None], nodes: list[tuple[int, list[int]]], buffers: list[pa.Buffer]
) -> None:
    """Add the node of an array and those of its children; ``left`` are the buffers of all of them."""
    own = [next(left) for _ in range(array.type.num_buffers)]
    nodes.append((len(array), [-1 if buffer is None else buffer.size for buffer in own]))
    buffers += [buffer for buffer in own if buffer is not None]
    for child in _children(array):
        _lay_out(child, left, nodes, buffers)


def _children(array: pa.Array) -> list[pa.Array]:
    if pa.types.is_struct(array.type):
        return [array.field(number) for number in range(array.type.num_fields)]
    if pa.types.is_map(array.type):
        return [pa.StructArray.from_arrays([array.keys, array.items], fields=_entries(array.type))]
    return [array.values] if pa.types.is_list(array.type) or pa.types.is_large_list(array.type) else []


def _entries(kind: pa.DataType) -> list[pa.Field]:
    return [kind.key_field, kind.item_field]


class _Reader:
    """Makes arrays of nodes and the buffers that follow one another in the content of a piece."""

    def __init__(self, content: pa.Buffer, start: int, nodes: Iterator[Any]) -> None:
        self._content, self._start, self._nodes = content, start, nodes

    def array(self, kind: pa.DataType) -> pa.Array:
        """The next array, of this type; Arrow refuses buffers that are too short for it."""
        length, sizes = next(self._nodes)
        if not 0 <= length < 2**31:
            raise WireError(f"an array of {length} values")
        buffers = [self._buffer(size) for size in sizes]
        if pa.types.is_map(kind):
            children = [self.array(pa.struct(_entries(kind)))]
        elif pa.types.is_struct(kind):
            children = [self.array(field.type) for field in kind]
        elif pa.types.is_list(kind) or pa.types.is_large_list(kind):
            children = [self.array(kind.value_type)]
        else:
            children = []
        return pa.Array.from_buffers(kind, length, buffers, children=children)

    def _buffer(self, size: int) -> pa.Buffer | None:
        if size == -1:
            return None
        if not 0 <= size <= self._content.size - self._start:
            raise WireError(f"a buffer of {size} bytes")
        buffer = self._content.slice(self._start, size)
        self._start += size + -size % 8
        return buffer
