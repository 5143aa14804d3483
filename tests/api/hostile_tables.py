"""Hostile tables: small bodies that decode to huge tables, and mutated valid bodies."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from io import BytesIO
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow.compute import call_function as compute

from factcensus.api.decoding.bounds import Ending

NAMES = {"subject": ["Marie Curie", "Paris", "Curie"], "object": ["Warsaw", "France", "Paris"]}
Compression = str | None


def arrow_of(table: pa.Table, compression: Compression = None) -> bytes:
    """Return a table as an Arrow stream."""
    sink = BytesIO()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as stream:
        stream.write_table(table)
    return sink.getvalue()


def parquet_of(table: pa.Table, compression: str = "zstd", **options: Any) -> bytes:
    """Return a table as a Parquet file."""
    sink = BytesIO()
    pq.write_table(table, sink, compression=compression, **options)
    return sink.getvalue()


def nested_type(levels: int) -> pa.DataType:
    """Return lists nested ``levels`` deep."""
    kind = pa.int8()
    for _ in range(levels):
        kind = pa.list_(kind)
    return kind


def with_names(rows: int, **columns: Any) -> pa.Table:
    """Return a table of equal facts with further columns."""
    return pa.table({"subject": ["Curie"] * rows, "object": ["Warsaw"] * rows, **columns})


def repeated(value: str, rows: int) -> pa.Array:
    """Return a dictionary array of one text with many indices."""
    return pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array([value]))


def bodies() -> dict[str, tuple[Ending, bytes]]:
    """Return hostile bodies by name."""
    fact = b'{"subject":"Curie","object":"Warsaw"'
    lines = fact + b',"k%d":1}\n'
    text = "x" * 10**6
    nested = "[" * 500 + "]" * 500
    objects = '{"a":' * 900 + "1" + "}" * 900
    runs = pa.RunEndEncodedArray.from_arrays(pa.array([10**5], pa.int32()), pa.array([text]))
    wide = pa.table({**{name: [values[0]] for name, values in NAMES.items()}, **{f"c{n}": [1] for n in range(3000)}})
    keys = b"".join(b'"k%d":1,' % n for n in range(8000))
    found: dict[str, tuple[Ending, bytes]] = {
        "objects 900 deep": ("jsonl", fact + f',"x":{objects}}}\n'.encode()),
        "lists 500 deep": ("jsonl", fact + f',"x":{nested}}}\n'.encode()),
        "lists 500 deep in JSON": ("json", b'{"facts":[' + fact + f',"x":{nested}'.encode() + b"}]}"),
        "100,000 brackets": ("jsonl", fact + b',"x":' + b"[" * 10**5 + b"}\n"),
        "100,000 brackets in an alias": ("jsonl", fact + b',"subject_aliases":"' + b"[" * 10**5 + b'"}\n'),
        "100,000 brackets in a cell": ("csv", b"subject,object,object_aliases\nCurie,Warsaw," + b"[" * 10**5 + b"\n"),
        "8,000 keys": ("jsonl", b"".join(lines % n for n in range(8000))),
        "8,000 keys in JSON": ("json", b'{"facts":[' + b",".join(lines % n for n in range(8000)) + b"]}"),
        "8,000 keys of an object": ("jsonl", fact + b',"x":{' + keys + b'"k":1}}\n'),
        "5 million empty objects": ("json", b'{"facts":[' + b"{}," * 5 * 10**6 + b"{}]}"),
        "7 million numbers": ("json", b'{"facts":[' + b"1," * 7 * 10**6 + b"1]}"),
        "20 million empty lists": ("jsonl", fact + b',"x":[' + b"[]," * 20 * 10**6 + b"[]]}\n"),
        "a name of 10 MB": ("jsonl", fact + b',"' + b"x" * 10**7 + b'":1}\n'),
        "100,000 columns": ("csv", b",".join(b"c%d" % n for n in range(10**5)) + b"\n" + b"," * (10**5 - 1) + b"\n"),
        "300,000 equal columns": ("csv", b"a," * 3 * 10**5 + b"a\n"),
        "NUL bytes alone": ("csv", bytes(10**6)),
        "a dictionary of one text": ("arrow", arrow_of(with_names(10**5, note=repeated(text, 10**5)), "zstd")),
        "a dictionary of names": ("arrow", arrow_of(pa.table({n: repeated(text, 10**5) for n in NAMES}), "zstd")),
        "one run": ("arrow", arrow_of(pa.table({"subject": runs, "object": runs}), "zstd")),
        "lists of nothing": (
            "arrow",
            arrow_of(with_names(3, x=pa.FixedSizeListArray.from_arrays(pa.nulls(6 * 10**8), 2 * 10**8))),
        ),
        "120 MB of one letter": ("arrow", arrow_of(with_names(1, x=["x" * 12 * 10**7]), "zstd")),
        "lists 40 deep in Arrow": ("arrow", arrow_of(with_names(1, x=pa.array([None], nested_type(40))))),
        "3,000 columns in Arrow": ("arrow", arrow_of(wide)),
        "3,000 columns in Parquet": ("parquet", parquet_of(wide)),
        "a dictionary of 1,000 texts in Parquet": ("parquet", parquet_of(with_names(1000, note=repeated(text, 1000)))),
        "a dictionary in lists in Parquet": ("parquet", parquet_of(with_names(150, note=[[text]] * 150))),
        "a text that grows in Parquet": ("parquet", parquet_of(with_names(1, x=["x" * 10**8]), use_dictionary=False)),
        "100 million values in Parquet": (
            "parquet",
            parquet_of(with_names(10**6, **{f"c{n}": pa.nulls(10**6, pa.int8()) for n in range(100)})),
        ),
    }
    return found


# --- mutants ----------------------------------------------------------------------------------------------------------


def seeds() -> list[tuple[Ending, bytes]]:
    """Return valid bodies with every kind of column."""
    texts = pa.array(["a", None, "bc"])
    listed = pa.DictionaryArray.from_arrays(pa.array([0, None, 1]), pa.array([["a"], ["b", "c"]]))
    columns: list[dict[str, pa.Array]] = [
        {name: pa.array(values).dictionary_encode() for name, values in NAMES.items()},
        {"x": pa.array([[1, 2], None, [3, 4]], pa.list_(pa.int32(), 2))},
        {"x": compute("run_end_encode", [pa.array([7, 7, 8])])},
        {"x": pa.array([{"a": 1, "b": ["x"]}, None, {"a": None, "b": []}])},
        {"x": pa.array([[("a", 1)], None, []], pa.map_(pa.string(), pa.int64()))},
        {"x": texts.cast(pa.string_view()), "y": texts.cast(pa.binary_view())},
        {"x": texts.cast(pa.large_string()), "y": pa.array([1.5, None, 2]), "z": pa.array([True, None, False])},
        {"subject_aliases": pa.array([["Maria"], None, []]), "n": pa.array([1, 2, 3], pa.timestamp("us", "UTC"))},
        {"x": pa.nulls(3), "y": listed},
    ]
    found: list[tuple[Ending, bytes]] = []
    for more in columns:
        table = pa.table({**NAMES, **more})
        found += [("arrow", arrow_of(table, compression)) for compression in (None, "zstd", "lz4")]
        if not any(pa.types.is_run_end_encoded(kind) or kind == listed.type for kind in table.schema.types):
            found += [("parquet", parquet_of(table, compression)) for compression in ("none", "zstd", "snappy")]
    found.append(("jsonl", b"".join(json.dumps(row).encode() + b"\n" for row in pa.table(NAMES).to_pylist())))
    found.append(("json", json.dumps({"facts": pa.table(NAMES).to_pylist(), "windows": [3]}).encode()))
    found.append(("csv", b"subject,object,subject_aliases\nCurie,Paris,Marie|Maria\n"))
    return found


def mutants(number: int, seed: int = 0) -> Iterator[tuple[Ending, bytes]]:
    """Yield valid bodies with a few bytes changed, doubled or removed, or truncated."""
    dice = random.Random(seed)
    good = seeds()
    for n in range(number):
        ending, content = good[n % len(good)]
        changed = bytearray(content)
        for _ in range(dice.choice((1, 1, 2, 4, 8))):
            place = dice.randrange(len(changed))
            width = dice.choice((1, 1, 1, 2, 4, 8))
            kind = dice.randrange(8)
            if kind < 4:
                changed[place] = dice.choice((0, 1, 127, 128, 255, changed[place] ^ 1 << dice.randrange(8)))
            elif kind < 6:
                changed[place : place + width] = dice.choice((b"\xff", b"\x00", b"\x7f", b"\x01")) * width
            elif kind == 6:
                changed[place:place] = changed[place : place + 8]
            else:
                del changed[place : place + width]
        if dice.random() < 0.05:
            del changed[dice.randrange(len(changed)) :]
        yield cast(Ending, ending), bytes(changed)
