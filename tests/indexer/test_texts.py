"""Compiled and vectorised reading: the same documents and bad lines as reading one by one; and the digest of texts."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from factcensus.indexer.analyzers import get_analyzer
from factcensus.indexer.analyzers.word_table import UNKNOWN, KnownWords
from factcensus.indexer.corpus import (
    Document,
    Piece,
    find_source_files,
    json_lines,
    parquet,
    pieces_of,
    read_batches,
    read_documents,
    reading,
)
from factcensus.indexer.kernels.text_digest import TextDigest

DEEP = '{"a":' * 300 + "1" + "}" * 300
LINES = [
    '{"text": "plain"}',
    '{"text": "after \\u00e9 \\n \\ud83d\\ude00 escapes", "id": 7}',
    '{"id": "x", "text": "é 日本 \U0001f600", "metadata": {"title": "t", "list": [1, {"b": null}]}}',
    '  {"text": "spaces around" , "n": 1e400}  ',
    '{"text": ""}',
    "",
    "   ",
    '{"text": "lone \\ud800 surrogate"}',
    '{"text": "x", "other": "lone \\udfff"}',
    '{"text": "once", "text": "twice"}',
    '{"text": "once", "a": {"text": "inner"}}',
    '{"a": {"text": "inner", "text": "again"}, "text": "outer"}',
    '{"id": 1, "id": 2, "text": "two ids"}',
    '{"te\\u0078t": "an escaped key"}',
    '{"text": null}',
    '{"text": 5}',
    '{"text": ["a"]}',
    '{"txt": "misspelt"}',
    '{"text": "deep", "x": ' + DEEP + "}",
    '{"text": "many braces ' + "{[" * 300 + '", "x": {}}',
    '{"text": "fine", "x": ' + "[" * 200 + "]" * 200 + "}",
    '["text"]',
    '"text"',
    "null",
    "5",
    "not JSON",
    '{"text": "unterminated',
    '{"text": "a tab\tinside"}',
    '{"text": "trailing"} x',
    '{"text": "comma",}',
    '{"text": "NaN", "x": NaN}',
    '{"text": "large", "x": 123456789012345678901234567890, "y": 1.10}',
    '{"text": "word \\"text\\" quoted", "x": "\\"text\\": 1"}',
    '{"text": "bad escape \\x"}',
    '{"text": "minus", "x": -}',
    '{"text": "zeros", "x": 007}',
    '{"text": "truth", "x": true, "y": false, "z": null}',
    '{"text": "half", "x": tru}',
    '{"": "empty key", "text": "t"}',
    "{}",
]
FIELDS = [
    '{"text": "numbers", "id": 12, "a": [1, -7, 0, 1.5, 0.25, 100.0, 0.0, 123456789.123456, 1e5, 1E400, -0, -0.0]}',
    '{"text": "more", "id": -12, "a": [1.50, 0.001, 0.0001, 12345678901234567890, 123456789012345678, 1.23456789012]}',
    '{"text": "ids", "id": null}',
    '{"text": "ids", "id": 1.10}',
    '{"text": "ids", "id": true}',
    '{"text": "ids", "id": [1, "a"]}',
    '{"text": "ids", "id": {"a": 1}}',
    '{"text": "ids", "id": ""}',
    '{"text": "ids", "id": "a \\" \\u00e9 \\\\ b"}',
    '{"text": "ids", "id": 123456789012345678901234567890}',
    '{"id": -0, "text": "ids"}',
    '{"text": "sources", "source": "web", "meta": {"pile_set_name": "not this"}}',
    '{"meta": {"pile_set_name": "not this"}, "text": "sources", "source": "wéb\\n"}',
    '{"text": "sources", "source": "", "meta": {"pile_set_name": "this"}}',
    '{"text": "sources", "source": null, "meta": {"pile_set_name": "this"}}',
    '{"text": "sources", "source": 7}',
    '{"text": "sources", "source": true}',
    '{"text": "sources", "meta": {"x": {"pile_set_name": "not this"}, "pile_set_name": "th\\u0069s"}, "b": 1}',
    '{"text": "sources", "meta": {"pile_set_name": ""}}',
    '{"text": "sources", "meta": {"pile_set_name": 7}}',
    '{"text": "sources", "meta": {}, "other": {"pile_set_name": "not this"}}',
    '{"text": "sources", "meta": [{"pile_set_name": "not this"}]}',
    '{"text": "escapes", "a": "\\u0000\\u001f\\u007f\\b\\f\\n\\r\\t\\/\\"\\\\ \\u00e9 \\ud83d\\ude00 \\u2028"}',
    '{ "é" : "a key" , "text":"spaces","list" : [ ] , "object" : { } , "b":[ 1 , { "c" : [ [ ] , { } ] } ] } ',
]


def both(folder: Path, text_field: str = "text", id_field: str = "id") -> tuple[list[bytes], list[str]]:
    """Read the files of a folder in all ways, check that they agree, and return texts and notices."""
    files = find_source_files(folder)
    options: dict[str, Any] = {"text_field": text_field, "on_bad_line": "skip"}

    def documents() -> tuple[list[Document], list[str]]:
        told: list[str] = []
        read = (read_documents(file, id_field=id_field, on_skip=told.append, **options) for file in files)
        return [document for each in read for document in each], told

    found, skips = documents()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_lines, "_reader_of", lambda _fields: None)
        patch.setattr(parquet, "_plain_batch", lambda *_arguments: None)
        assert documents() == (found, skips)
    if id_field == "id":
        told: list[str] = []
        pieces = [piece for file in files for piece in pieces_of(file)]
        batches = [b for piece in pieces for b in read_batches(piece, whole=False, on_skip=told.append, **options)]
        assert [text for batch in batches for text in batch["text"].to_pylist()] == [each.text for each in found]
        assert [row for batch in batches for row in batch["record"].to_pylist()] == [each.record for each in found]
        assert told == skips
    return [document.text for document in found], skips


def test_odd_lines_are_read_identically(tmp_path: Path) -> None:
    content = [line.encode() for line in LINES]
    content += [b'{"text": "not UTF-8 \xff"}', b'{"text": "x", "y": "\xed\xa0\x80"}', b'{"text": "null \x00"}', b"\x00"]
    (tmp_path / "a.jsonl").write_bytes(b"\xef\xbb\xbf" + b"\n".join(content))
    texts, skips = both(tmp_path)
    assert len(texts) > 15
    assert len(skips) > 15
    assert "escaped key" in str(texts)


@pytest.mark.parametrize("field", ["id", "a.text", "a", "text.b"])
def test_other_text_fields_are_read_identically(field: str, tmp_path: Path) -> None:
    lines = [*LINES, '{"a.text": "dotted", "a": {"text": "x"}}', '{"text": {"b": "nested"}, "id": "text"}']
    (tmp_path / "a.jsonl").write_text("\n".join(lines), encoding="utf-8")
    both(tmp_path, field)


@pytest.mark.parametrize("field", ["a", "source", "meta", "x", "text", "missing", "meta.pile_set_name", ""])
def test_other_id_fields_are_read_identically(field: str, tmp_path: Path) -> None:
    lines = [*LINES, *FIELDS, '{"text": "", "": "empty", "x": 1, "a": 2, "meta": 3, "missing": 4}']
    (tmp_path / "a.jsonl").write_text("\n".join(lines), encoding="utf-8")
    both(tmp_path, id_field=field)


def test_ids_sources_and_metadata_are_read_identically(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("\n".join(FIELDS), encoding="utf-8")
    texts, skips = both(tmp_path)
    assert len(texts) == len(FIELDS)
    assert not skips


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(10**30), 10**30)
    | st.floats()
    | st.decimals(-1000, 1000, places=3).map(float)
    | st.text(st.characters() | st.sampled_from('"\\/\b\f\n\r\t\x00\x1f\x7f:{'), max_size=9),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.sampled_from(["", "a", "é", "text"]), inside),
    max_leaves=5,
)
RECORDS = st.fixed_dictionaries(
    {},
    optional={
        "text": st.text(st.characters() | st.sampled_from('"\\\n\x00😀'), max_size=40),
        "id": VALUES,
        "source": st.sampled_from(["a", "é\n", ""]) | VALUES,
        "meta": st.fixed_dictionaries({}, optional={"pile_set_name": st.sampled_from(["", "p"]) | VALUES, "a": VALUES}),
        "n": VALUES,
        "pile_set_name": VALUES,
    },
)


@given(records=st.lists(RECORDS, max_size=6), ascii_only=st.booleans(), space=st.sampled_from(["", " ", "\t \r"]))
def test_any_records_are_read_identically(
    records: list[dict[str, Any]], ascii_only: bool, space: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.getbasetemp() / "any"
    folder.mkdir(exist_ok=True)
    separators = (f"{space},{space}", f"{space}:{space}")
    lines = [json.dumps(record, ensure_ascii=ascii_only, separators=separators) for record in records]
    (folder / "a.jsonl").write_text("\n".join(lines), encoding="utf-8", errors="surrogatepass", newline="")
    both(folder)


@pytest.mark.parametrize("seed", range(5))
def test_damaged_lines_are_read_identically(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    damaged = []
    for _ in range(400):
        line = bytearray(chance.choice(LINES).encode())
        for _ in range(chance.randrange(3)):
            if line:
                at = chance.randrange(len(line))
                line[at : at + chance.randrange(2)] = bytes(
                    chance.choices(b'"\\{}[],:truenfals0123456789.eE+- u\xc3\xa9\x7f', k=1)
                )
        damaged.append(bytes(line).replace(b"\n", b" "))
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(damaged))
    both(tmp_path)


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"id": pa.array(["a", None, "c", "d"])},
        {
            "id": pa.array([1, None, 3, -4]),
            "source": pa.array(["a", "b", "a", "é"]),
            "n": pa.array([1.5, 1e22, None, 0.1]),
        },
        {"id": pa.array([1.5, None, 3.0, -4.0])},
        {"source": pa.array(["a", None, "b", "c"])},
        {"source": pa.array(["a", "", "b", "c"], pa.large_string())},
        {"source": pa.array([1, 2, 3, 4]), "id": pa.array([None] * 4)},
        {"x.y": pa.array(["a", "b", "\n", '"']), "flag": pa.array([True, None, False, True])},
        {"meta": pa.array([{"x": 1}, {"x": 2}, None, {"x": 4}])},
        {"day": pa.array([0, 1, 2, 10**9], pa.int32()).cast(pa.date32())},
        {"tags": pa.array([["a"], [], None, ["b"]])},
    ],
)
@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()])
def test_parquet_is_read_identically(more: dict[str, pa.Array], kind: pa.DataType, tmp_path: Path) -> None:
    for number, column in enumerate([["a", "é", "", "日本"], ["a", None, "b", None]]):
        pq.write_table(pa.table({"text": pa.array(column, kind), **more}), tmp_path / f"{number}.parquet")
    both(tmp_path)


def test_parquet_with_text_that_is_not_utf_8_is_read_identically(tmp_path: Path) -> None:
    invalid = pa.array([b"fine", b"\xff\xfe"]).view(pa.string())
    pq.write_table(pa.table({"text": invalid}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"text": ["a", "b"], "url": invalid}), tmp_path / "b.parquet")
    texts, skips = both(tmp_path)
    assert texts == [b"fine", b"a"]
    assert len(skips) == 2


@pytest.mark.parametrize("piece_bytes", [1, 500, 3000, 10_000, 1 << 30])
def test_pieces_of_a_parquet_file_have_every_row_once(
    piece_bytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "PIECE_BYTES", max(piece_bytes, 2))
    rows = [f"{n} {random.Random(n).random()}" for n in range(1000)]
    pq.write_table(pa.table({"id": rows, "text": rows}), tmp_path / "a.parquet", row_group_size=70)
    texts, _ = both(tmp_path)
    assert [text.decode() for text in texts] == rows


# ---------------------------------------------------------------------------------------------- digests


def column(texts: list[bytes]) -> pa.LargeBinaryArray:
    return pa.array(texts, pa.large_binary())


@pytest.mark.parametrize(
    ("text", "halves"),
    [
        (b"", (0, 0)),
        (b"hello", (0xCBD8A7B341BD9B02, 0x5B1E906A48AE1D19)),
        (b"The quick brown fox jumps over the lazy dog", (0xE34BBC7BBC071B6C, 0x7A433CA9C49A9347)),
    ],
)
def test_digest_of_a_text_is_murmur_hash_3(text: bytes, halves: tuple[int, int]) -> None:
    digest = TextDigest()
    digest.add_texts(column([text]))
    assert tuple(digest.sums.tolist()) == halves


def test_digest_depends_on_the_texts_alone() -> None:
    chance = random.Random(1)
    texts = [chance.randbytes(size) for size in range(70)]
    one = TextDigest()
    one.add_texts(column(texts))
    parts = TextDigest()
    for begin in (40, 0, 13):
        part = TextDigest()
        part.add_texts(column(texts[begin : {40: 70, 0: 13, 13: 40}[begin]][::-1]))
        parts.add(part)
    assert parts.hexadecimal == one.hexadecimal
    others: list[Callable[[list[bytes]], list[bytes]]] = [
        lambda all: all[:-1],
        lambda all: [*all, b""],
        lambda all: [*all[:-2], all[-2] + all[-1]],
        lambda all: [*all[:-1], all[-1][:-1] + b"x"],
        lambda all: [*all, all[5]],
    ]
    for change in others:
        other = TextDigest()
        other.add_texts(column(change(texts)))
        assert other.hexadecimal != one.hexadecimal


# ---------------------------------------------------------------------------------------------- known words


def test_known_words_have_their_ids_and_others_none() -> None:
    chance = random.Random(1)
    words = sorted({"".join(chance.choices("abcé", k=chance.randrange(1, 12))) for _ in range(3000)})
    known, unknown = words[::2], words[1::2]
    arena = np.frombuffer("".join(known).encode(), np.uint8)
    starts = np.cumsum([0, *(len(word.encode()) for word in known)])
    table = KnownWords(arena, starts)
    encoder = get_analyzer("words").encoder()
    encoder.table = table  # type: ignore[attr-defined]
    ids, lengths = encoder.encode(column([" ".join([*known, *unknown]).encode(), b"not in it"]))
    assert ids.tolist() == [*range(len(known)), *[UNKNOWN] * (len(unknown) + 3)]
    assert lengths.tolist() == [len(words), 3]
    assert len(table) == len(known)


def test_piece_is_the_whole_file_by_default(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n')
    (file,) = find_source_files(tmp_path)
    assert pieces_of(file) == [Piece(file)]
