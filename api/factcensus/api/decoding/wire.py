"""The protocol between the service and a decoding process: frames, and tables as raw buffers.

A frame has one byte for its kind, four bytes for the length of its content (little-endian), and the content. A table is
one ``schema`` frame followed by ``piece`` frames. A piece has four bytes for the length of its header, the header in
JSON, and the buffers of its columns, each padded to eight bytes:

>>> content = b"".join(pack_piece(pa.record_batch({"subject": ["Curie"]})))
>>> json.loads(content[4:][: int.from_bytes(content[:4], "little")])
{'rows': 1, 'nodes': [[1, [-1, 8, 5]]]}

A node has the length of an array and the sizes of its buffers (-1 for none); parents come before their children. Only
plain types occur (no dictionaries, runs, views, unions). Arrow's validation of these types is complete, so the service
need not trust the writer of the frame.
"""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Callable, Iterator, Sequence
from select import POLLIN, poll
from typing import Any, Literal

import pyarrow as pa

from factcensus.api.decoding.types import WireError

Kind = Literal["request", "begun", "schema", "piece", "end", "refused", "fault", "busy"]
_KINDS: tuple[Kind, ...] = ("request", "begun", "schema", "piece", "end", "refused", "fault", "busy")
_HEAD = struct.Struct("<BI")
#: Milliseconds between calls of ``check`` while waiting for a frame.
LOOK_MS = 50


# --- frames -----------------------------------------------------------------------------------------------------------


def send(channel: socket.socket, kind: Kind, parts: Sequence[bytes | memoryview] = ()) -> None:
    """Send one frame whose content is given in parts."""
    channel.sendall(_HEAD.pack(_KINDS.index(kind), sum(len(part) for part in parts)))
    for part in parts:
        channel.sendall(part)


def receive(channel: socket.socket, most_bytes: int, check: Callable[[], None]) -> tuple[Kind, bytearray]:
    """Wait for one frame and return it; ``check`` is called while waiting and may raise.

    Raises:
        EOFError: The other end is closed.
        WireError: The data are not a frame, or the frame has more than ``most_bytes``.
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


# --- pieces -----------------------------------------------------------------------------------------------------------


def pack_piece(batch: pa.RecordBatch) -> Iterator[bytes | memoryview]:
    """Yield the content of a piece in parts; its types must be plain."""
    # After writing and reading, no array is a slice of a larger one.
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
    """Return the fully validated table of a piece.

    Raises:
        WireError: The content is not a piece with this schema.
    """
    try:
        size = int.from_bytes(content[:4], "little")
        head = json.loads(content[4 : 4 + size])
        rows, nodes = int(head["rows"]), iter(head["nodes"])
        reader = _Reader(pa.py_buffer(content), 4 + size + -(4 + size) % 8, nodes)
        table = pa.Table.from_arrays([reader.array(field.type) for field in schema], schema=schema)
        if table.num_rows != rows:
            raise WireError(f"got {table.num_rows} rows, expected {rows}")
        table.validate(full=True)
    except (KeyError, TypeError, ValueError, StopIteration, RecursionError) as error:
        raise WireError(f"invalid piece: {error}") from error
    return table


def _lay_out(
    array: pa.Array, left: Iterator[pa.Buffer | None], nodes: list[tuple[int, list[int]]], buffers: list[pa.Buffer]
) -> None:
    """Add the nodes of an array and its children; ``left`` iterates over the buffers of all of them."""
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
    """Builds arrays from the nodes and the consecutive buffers of a piece."""

    def __init__(self, content: pa.Buffer, start: int, nodes: Iterator[Any]) -> None:
        self._content, self._start, self._nodes = content, start, nodes

    def array(self, kind: pa.DataType) -> pa.Array:
        """Return the next array of a type; Arrow refuses buffers that are too short."""
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
