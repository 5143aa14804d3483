"""Reading texts alone: the same texts, and the same bad lines, as reading whole documents; and their digest."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from factcensus.indexer.analyzers import get_analyzer
from factcensus.indexer.analyzers.word_table import UNKNOWN, KnownWords
from factcensus.indexer.corpus import Piece, find_source_files, pieces_of, read_documents, read_texts
from factcensus.indexer.corpus import texts as texts_module
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


def both(folder: Path, text_field: str = "text") -> tuple[list[bytes], list[str]]:
    """Read the files of a folder in both ways, check that they agree, and return texts and notices."""
    files = find_source_files(folder)
    expected: list[bytes] = []
    expected_skips: list[str] = []
    found: list[bytes] = []
    skips: list[str] = []
    for file in files:
        documents = read_documents(file, text_field=text_field, on_bad_line="skip", on_skip=expected_skips.append)
        expected += [document.text for document in documents]
        for piece in pieces_of(file):
            found += read_texts(piece, text_field=text_field, on_bad_line="skip", on_skip=skips.append)
    assert found == expected
    assert skips == expected_skips
    return found, skips


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
    monkeypatch.setattr(texts_module, "PIECE_BYTES", max(piece_bytes, 2))
    rows = [f"{n} {random.Random(n).random()}" for n in range(1000)]
    pq.write_table(pa.table({"id": rows, "text": rows}), tmp_path / "a.parquet", row_group_size=70)
    texts, _ = both(tmp_path)
    assert [text.decode() for text in texts] == rows


# ---------------------------------------------------------------------------------------------- digests


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
    digest.add_texts([text])
    assert tuple(digest.sums.tolist()) == halves


def test_digest_depends_on_the_texts_alone() -> None:
    chance = random.Random(1)
    texts = [chance.randbytes(size) for size in range(70)]
    one = TextDigest()
    one.add_texts(texts)
    parts = TextDigest()
    for begin in (40, 0, 13):
        part = TextDigest()
        part.add_texts(list(reversed(texts[begin : {40: 70, 0: 13, 13: 40}[begin]])))
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
        other.add_texts(change(texts))
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
    ids, lengths = encoder.encode([" ".join([*known, *unknown]).encode(), b"not in it"])
    assert ids.tolist() == [*range(len(known)), *[UNKNOWN] * (len(unknown) + 3)]
    assert lengths.tolist() == [len(words), 3]
    assert len(table) == len(known)


def test_piece_is_the_whole_file_by_default(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n')
    (file,) = find_source_files(tmp_path)
    assert pieces_of(file) == [Piece(file)]
