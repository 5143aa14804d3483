"""What an attacker sends to the service during the soak: tables that crash or unfold, and connections that idle."""

from __future__ import annotations

import json
import random
import socket
import time
from collections.abc import Iterator
from io import BytesIO

import pyarrow as pa
import pyarrow.parquet as pq

ARROW, PARQUET = "application/vnd.apache.arrow.stream", "application/vnd.apache.parquet"
JSON, LINES, CSV = "application/json", "application/x-ndjson", "text/csv"
#: Seconds for which an idle connection is held, and between two of its bytes.
HELD_S, DRIP_S = 20.0, 0.5
#: Idle connections that are held at the same time.
IDLE = 50
SINGLE = (
    ("/count", JSON, b"[" * 10_000),
    ("/count", JSON, b'{"text": "' + b"x" * 200_000 + b'"}'),
    ("/count", JSON, b'{"text": "\\ud800"}'),
    ("/cooccurrence", JSON, b"\xff\xfe{}"),
    (
        "/cooccurrence",
        JSON,
        b'{"subject": {"name": "a", "aliases": [' + b'"b",' * 5_000 + b'"c"]}, "object": {"name": "d"}}',
    ),
    ("/facts:count", JSON, b'{"facts": [{"subject": "", "object": 3}]}'),
    ("/documents", JSON, b'{"text": "the", "cursor": "nonsense"}'),
)


def hostile_bodies() -> list[tuple[str, str, bytes]]:
    """Return routes, media types and bodies that the service has to refuse."""
    fact = b'{"subject": "a", "object": "b", '
    keys = b"".join(b'"k%d": 1, ' % number for number in range(8_000))
    text = pa.array(["x" * 10**6])
    places = pa.array([0] * 200_000, pa.int32())
    zeros = pa.table({"subject": ["a"], "object": ["b"], "x": [b"\0" * (1 << 28)]})
    tables = [
        (LINES, fact + b'"x": ' + b'{"a": ' * 900 + b"1" + b"}" * 901),
        (LINES, fact + b'"x": ' + b"[" * 500 + b"]" * 500 + b"}"),
        (LINES, fact + keys + b'"end": 1}'),
        (CSV, b"subject,object,object_aliases\na,b," + b"[" * 100_000 + b"\n"),
        (ARROW, _arrow(pa.table({"subject": pa.DictionaryArray.from_arrays(places, text), "object": places}))),
        (ARROW, _arrow(zeros, "zstd")),
        (PARQUET, _parquet(pa.table({"subject": text.take(places.slice(0, 2_000)), "object": places.slice(0, 2_000)}))),
    ]
    return [*SINGLE, *(("/facts:count", kind, body) for kind, body in tables)]


def mutants(chance: random.Random) -> Iterator[tuple[str, bytes]]:
    """Yield media types and good tables with some bytes changed, without an end."""
    names = pa.array(["a", "b"])
    columns = (
        names.dictionary_encode(),
        pa.RunEndEncodedArray.from_arrays(pa.array([1, 2], pa.int32()), names),
        pa.array([["a", "b"], ["c", "d"]], pa.list_(pa.string(), 2)),
        pa.array([{"a": {"b": ["x"]}}, None]),
    )
    tables = [pa.table({"subject": names, "object": names, "x": column}) for column in columns]
    good = [(ARROW, _arrow(table)) for table in tables]
    good += [(PARQUET, _parquet(table)) for table in tables if not pa.types.is_run_end_encoded(table["x"].type)]
    while True:
        kind, body = chance.choice(good)
        changed = bytearray(body)
        for _ in range(chance.choice((1, 2, 4))):
            changed[chance.randrange(len(changed))] = chance.choice((0, 1, 0x7F, 0x80, 0xFF))
        yield kind, bytes(changed)


def hold_idle(port: int, chance: random.Random) -> tuple[int, int]:
    """Open connections that send nothing, drip a head, or stop within a body, and hold them.

    Returns:
        How many were opened, and how many the service had closed at the end.
    """
    starts = (b"", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n", b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Le")
    held = []
    for _ in range(IDLE):
        connection = socket.create_connection(("127.0.0.1", port), timeout=60)
        connection.sendall(chance.choice(starts))
        held.append(connection)
    open_now, until = list(held), time.monotonic() + HELD_S
    while time.monotonic() < until and open_now:
        for connection in list(open_now):
            try:
                connection.sendall(b"x")
            except OSError:
                open_now.remove(connection)
        time.sleep(DRIP_S)
    for connection in held:
        connection.close()
    return IDLE, IDLE - len(open_now)


def takedown_corpus(documents: int) -> bytes:
    """Return JSON Lines with documents that are deleted one by one; each has a word of its own."""
    return b"".join(
        json.dumps({"id": f"d{number}", "text": f"taken{number} down common"}).encode() + b"\n"
        for number in range(documents)
    )


def _arrow(table: pa.Table, compression: str | None = None) -> bytes:
    sink = BytesIO()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as stream:
        stream.write_table(table)
    return sink.getvalue()


def _parquet(table: pa.Table) -> bytes:
    sink = BytesIO()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue()
