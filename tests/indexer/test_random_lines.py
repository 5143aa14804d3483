"""Documents of random JSON lines, valid and damaged, compared with a strict and slow reader of one line."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from factcensus.indexer.corpus import find_source_files, read_documents
from factcensus.indexer.corpus.reading import Piece, read_batches

STRINGS = (
    'a b text id source meta pile_set_name a.b é 😀 \\u0041 \\ud83d\\ude00 \\ud800 \\udc00x \\n \\" \\\\ \\/ \\u003a : '
    "\\u0000 e\\u0301 \\u00e9 { } [ ] , " + "x" * 70
).split()
NUMBERS = [
    "0",
    "-0",
    "7",
    "1.0",
    "1.10",
    "-0.0",
    "1e2",
    "1E+2",
    "1e-2",
    "1e400",
    "12345678901234567890",
    "123456789012345678901234567890",
    "18446744073709551616",
    "3.14159265358979323846",
    "1e22",
    "NaN",
    "Infinity",
    "-Infinity",
    "true",
    "false",
    "null",
    "9223372036854775808",
    "5e-324",
]
KEYS = ["text", "id", "source", "meta", "pile_set_name", "lang", "a", "b", "a.b"]
FIELDS = [("text", "id"), ("text", "id"), ("a.b", "id"), ("text", "a.b"), ("a.b.text", "a.b"), ("text", "meta")]
DAMAGES = b'{}[]",:\\ 019eE.+-u\x00\xff'
MISSING = object()


class Number(str):
    """A number as it is written."""


class BadLineError(Exception):
    """An object has a key twice."""


def random_text(chance: random.Random, choices: list[str] | None = None) -> str:
    if choices and chance.random() < 0.7:
        return f'"{chance.choice(choices)}"'
    return '"' + "".join(chance.choices(STRINGS, k=chance.choice([0, 1, 1, 2, 3, 8]))) + '"'


def random_value(chance: random.Random, depth: int) -> str:
    kind = chance.random()
    if kind < 0.45:
        return random_text(chance)
    if kind < 0.7 or depth > 3:
        return chance.choice(NUMBERS)
    if kind < 0.85:
        return "[" + ", ".join(random_value(chance, depth + 1) for _ in range(chance.randrange(4))) + " ]"
    return random_object(chance, {}, depth + 1)


def random_object(chance: random.Random, fields: dict[str, str], depth: int) -> str:
    fields |= {random_text(chance, KEYS): random_value(chance, depth + 1) for _ in range(chance.randrange(5))}
    items = [f"{key}{chance.choice([':', ' : '])}{inside}" for key, inside in fields.items()]
    if items and chance.random() < 0.03:
        items.append(chance.choice(items))
    chance.shuffle(items)
    return "{" + chance.choice(["", "\t"]) + ",".join(items) + chance.choice(["", " \r"]) + "}"


def random_line(chance: random.Random) -> bytes:
    """Return a line, with or without damage."""
    fields = {'"text"': random_text(chance)}
    if chance.random() < 0.5:
        fields['"id"'] = chance.choice([random_text(chance), chance.choice(NUMBERS)])
    if chance.random() < 0.5:
        fields['"a.b"'] = chance.choice(
            [random_text(chance), random_object(chance, {'"text"': random_text(chance)}, 1)]
        )
    line = bytearray(random_object(chance, fields, 0).encode())
    if chance.random() < 0.15:
        place = chance.randrange(len(line))
        line[place : place + chance.randrange(2)] = bytes([chance.choice(DAMAGES)])
    return bytes(line)


def without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs):
        raise BadLineError
    return dict(pairs)


def clean(text: str) -> str:
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def comparable(value: Any) -> Any:
    """Return a value of JSON as metadata keep it: large integers exactly, and no infinite numbers."""
    if isinstance(value, dict):
        return [(clean(key), comparable(inside)) for key, inside in value.items()]
    if isinstance(value, list):
        return list(map(comparable, value))
    if isinstance(value, Number):
        number = int(value) if value.lstrip("-").isdigit() else float(value)
        return repr(number) if abs(number) != float("inf") and number == number else None
    return clean(value) if isinstance(value, str) else value


def read_json(text: str) -> Any:
    return json.loads(
        text, parse_int=Number, parse_float=Number, parse_constant=Number, object_pairs_hook=without_repeats
    )


def take(fields: dict[str, Any], name: str) -> Any:
    """Remove and return a field: the key itself, or a path of keys."""
    if name in fields:
        return fields.pop(name)
    parts = name.split(".")
    for size in range(1, len(parts)):
        inside = fields.get(".".join(parts[:size]))
        if isinstance(inside, dict) and (found := take(inside, ".".join(parts[size:]))) is not MISSING:
            return found
    return MISSING


def as_text(value: Any) -> Any:
    """Return an id or source: text and numbers as written, other values as comparable JSON; None for null."""
    if value is None or value == Number("NaN"):
        return None
    return clean(value) if isinstance(value, str) else ("json", comparable(value))


def expected(line: bytes, text_field: str, id_field: str) -> tuple[Any, ...] | str:
    """Return text, id, source and metadata of a line, or the reason why it is a bad line."""
    try:
        fields = read_json(line.decode("utf-8", "surrogatepass"))
    except ValueError:
        return "no JSON"
    except BadLineError:
        return "a key is given twice"
    text = take(fields, text_field) if isinstance(fields, dict) else None
    if not isinstance(text, str) or isinstance(text, Number):
        return "no text"
    name = take(fields, id_field)
    if name is MISSING and id_field != "id":
        return "no id"
    source, meta = as_text(fields.get("source")), fields.get("meta")
    if source and isinstance(source, str):
        del fields["source"]
    else:
        source = as_text(meta.get("pile_set_name")) if isinstance(meta, dict) else None
    source = source if isinstance(source, str) and source else "unknown"
    return clean(text), as_text(None if name is MISSING else name), source, comparable(fields)


@pytest.mark.parametrize("seed", range(12))
def test_documents_of_random_lines_equal_those_of_a_strict_reader(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    text_field, id_field = FIELDS[seed % len(FIELDS)]
    lines = [random_line(chance) for _ in range(500)]
    (tmp_path / "c.jsonl").write_bytes(b"\n".join(lines))
    (file,) = find_source_files([tmp_path / "c.jsonl"])
    found = {
        each.record: each for each in read_documents(file, text_field=text_field, id_field=id_field, on_bad_line="skip")
    }
    scanned = {
        record: text
        for batch in read_batches(Piece(file), text_field=text_field, whole=False, on_bad_line="skip")
        for text, record in zip(batch.column(0).to_pylist(), batch.column(1).to_pylist(), strict=True)
    }
    assert len(found) > 40
    for number, line in enumerate(lines):
        wanted = expected(line, text_field, id_field)
        if isinstance(wanted, str):
            assert number not in found, line
            assert number not in scanned or wanted == "no id", line
            continue
        text, name, source, metadata = wanted
        document = found[number]
        assert (document.text.decode(), document.source) == (text, source), line
        assert (name if isinstance(name, str | None) else name[1]) == (
            document.id if isinstance(name, str | None) else comparable(read_json(str(document.id)))
        ), line
        assert comparable(read_json(document.metadata)) == metadata, line
        assert scanned[number] == document.text, line
