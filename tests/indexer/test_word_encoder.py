"""The compiled encoder gives the words of ``exact_tokens``, and its table behaves like a dictionary."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from factcensus.indexer.analyzers import scanner, words
from factcensus.indexer.analyzers.definition import exact_tokens
from factcensus.indexer.analyzers.unicode_tables import ROW_SHIFT, Normalization, scanner_tables
from factcensus.indexer.analyzers.word_table import WordTable, key_of
from factcensus.indexer.analyzers.words import WordEncoder
from factcensus.indexer.arrays import eights

from .characters import EVERYWHERE, all_characters, characters_for_many_contexts
from .strategies import HARD, QUICK, hard_text

WORD_ANALYZERS: tuple[Normalization, ...] = ("words", "words-cased")

#: Letters of one to four bytes; the second and third have capitals.
LETTERS = "ab8éß中אש𝐀𐐨"


def words_of(table: WordTable) -> list[bytes]:
    """Return the words of a table by id."""
    arena = table.arena.tobytes()
    starts = table.starts[: len(table) + 1].tolist()
    return [arena[begin:end] for begin, end in pairwise(starts)]


def encode(encoder: WordEncoder, texts: Sequence[str]) -> list[list[str]]:
    """Return the words of each text according to the ids of the encoder."""
    ids, lengths = encoder.encode(pa.array(texts, pa.string()).cast(pa.large_binary()))
    assert ids.dtype == np.uint32
    assert len(lengths) == len(texts)
    assert lengths.sum() == len(ids)
    by_id = [word.decode() for word in words_of(encoder.table)]
    assert len(set(by_id)) == len(by_id)
    found = map(by_id.__getitem__, ids.tolist())
    return [[next(found) for _ in range(length)] for length in lengths.tolist()]


def check(analyzer: Normalization, batches: Sequence[Sequence[str]], window: int = words.WINDOW_BYTES) -> None:
    """Check that one encoder follows the definition for all batches and window sizes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(words, "WINDOW_BYTES", window)
        encoder = WordEncoder(analyzer)
        for texts in batches:
            assert encode(encoder, texts) == [exact_tokens(text, analyzer) for text in texts]


# ---------------------------------------------------------------------------------------------- the scanner


@pytest.mark.parametrize("analyzer", WORD_ANALYZERS)
@settings(QUICK, max_examples=400)
@given(
    batches=st.lists(st.lists(hard_text() | st.text(LETTERS + " +#", max_size=80), max_size=5), max_size=4),
    window=st.sampled_from((1, 7, 64, words.WINDOW_BYTES)),
)
@example(batches=[[], [""], ["", "a", ""], ["a"]], window=1)
@example(batches=[["<\u0338 =\u200d\u0338 >\u0301 a<\u0338b .\u0338"]], window=64)  # in ASCII, < = > can compose
@example(batches=[["か\u3099+か+\u3099か e\u0301+中 e\u0301+\u200d中 e\u0301中"]], window=64)
@example(batches=[["Москва\u0301+ а\u0301\u0301中 г\u00ad\u0301 ¨\u0301a ²\u0301 ²\u00ad³+ a²+中 C++²"]], window=64)
@example(batches=[["²\ufe77³ a+\ufe77b а\ufe77\u0301 ا\ufe77\u0654"]], window=64)  # only NFKC decomposes this
@example(batches=[["ำำก" * 40 + " ก" + "ำ" * 9]], window=7)
def test_encoder_gives_the_words_of_the_definition(
    analyzer: Normalization, batches: list[list[str]], window: int
) -> None:
    check(analyzer, batches, window)


@pytest.mark.full
@pytest.mark.parametrize("analyzer", WORD_ANALYZERS)
@settings(QUICK, max_examples=6_000)
@given(batches=st.lists(st.lists(hard_text(max_size=80), max_size=5), max_size=3), window=st.sampled_from((1, 7, 64)))
def test_encoder_gives_the_words_of_the_definition_of_very_many_texts(
    analyzer: Normalization, batches: list[list[str]], window: int
) -> None:
    check(analyzer, batches, window)


@pytest.mark.parametrize("name", sorted(HARD))
@pytest.mark.parametrize("analyzer", WORD_ANALYZERS)
def test_encoder_gives_the_words_of_every_pair_of_hard_characters(analyzer: Normalization, name: str) -> None:
    characters = sorted(set(HARD[name]))
    check(
        analyzer,
        [[f"{first}{second}{end}" for second in characters for end in ("", "a", "+中")] for first in characters],
    )


def check_characters(analyzer: Normalization, characters: Sequence[str], context: str) -> None:
    """Check each character in a context, with 50 characters in each text."""
    for start in range(0, len(characters), 5000):
        found = [context.format(c) for c in characters[start : start + 5000]]
        check(analyzer, [[" . ".join(found[i : i + 50]) for i in range(0, len(found), 50)]])


@pytest.mark.parametrize("analyzer", WORD_ANALYZERS)
def test_encoder_gives_the_words_of_every_eleventh_character_in_context(analyzer: Normalization) -> None:
    context = "{0} a{0}b{0}+ <{0}.{0} 中{0}中+{0} а{0}\u0301 1{0}²"
    check_characters(analyzer, all_characters()[::11], context)


@pytest.mark.full
@pytest.mark.parametrize("analyzer", WORD_ANALYZERS)
def test_encoder_gives_the_words_of_every_character_in_context(analyzer: Normalization) -> None:
    """Every character occurs in one context, and those that may matter to their neighbours in all of them."""
    check_characters(analyzer, all_characters(), EVERYWHERE)
    neighbours = "1{0}² а{0}\u0301 а\u0301{0}+ {0}\u00ad\u0301 ²{0}³{0} ¼{0} C++{0} ʼ{0}´\u0301 <\u00ad{0}\u0338"
    marks = "e{0}\u0301 \u0301{0}\u0327 {0}\u0345 {0}{0}"
    for context in ("<{0}.{0} 中{0}中+{0}", marks, neighbours):
        check_characters(analyzer, characters_for_many_contexts(), context)


@pytest.mark.parametrize("analyzer", WORD_ANALYZERS)
def test_tables_meet_the_assumptions_of_the_scanner(analyzer: Normalization) -> None:
    tables = scanner_tables(analyzer)
    row = tables.action >> ROW_SHIFT
    # Space for the built words: three bytes per byte.
    for code_point in np.flatnonzero(row).tolist():
        assert tables.replacement_size[row[code_point]] <= min(3 * len(chr(code_point).encode()), 8)


@pytest.mark.parametrize("analyzer", WORD_ANALYZERS)
def test_words_of_sizes_around_every_limit_are_distinguished(analyzer: Normalization) -> None:
    """Words of 1 to 80 bytes; some of each size differ only in one letter."""
    texts = []
    for letter in "aéא中𐐨":
        for size in range(1, 80 // len(letter.encode()) + 1):
            changed = [letter * i + "z" + letter * (size - i - 1) for i in range(size)]
            texts.append(" ".join([letter * size, *changed, letter * size + "+", letter * size + "#"]))
    check(analyzer, [texts, texts[::-1]])


@pytest.mark.parametrize("letter", ["a", "É", "e\u0301", "中", "ก", "+", "\u00ad", " "])
def test_one_character_a_million_times(letter: str) -> None:
    texts = [letter * (1 << 20) + "b", "c"]
    if letter in "e\u0301+\u00ad ":
        check("words", [texts])
        return
    encoder = WordEncoder("words")
    first, second = encode(encoder, texts)
    folded = letter.lower()
    assert first == ([folded] * (1 << 20) + ["b"] if letter in "中ก" else [folded * (1 << 20) + "b"])
    assert second == ["c"]


def test_tables_grow_while_a_batch_is_encoded() -> None:
    """One text has a hundred thousand words, repeated in another order, with spans for Python between them."""
    vocabulary = [f"{n * 2654435761 % 2**32:x}"[: 1 + n % 12] + "é" * (n % 5) for n in range(100_000)]
    again = random.Random(0).sample(vocabulary, len(vocabulary))
    encoder = WordEncoder("words")
    found = encode(encoder, [" ".join(vocabulary), "e\u0301tude x\u0301", " ".join(again), ""])
    assert found == [vocabulary, ["étude", "x\u0301"], again, []]


@pytest.mark.full
def test_huge_texts_get_wide_positions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulates two gibibytes without white space."""
    monkeypatch.setattr(scanner, "position_dtype", lambda _size: np.int64)
    check("words", [["a e\u0301 bcdefghijk+ é 中" * 100, "", "ÉÉÉÉÉÉ x"]], window=64)


def test_ids_depend_only_on_the_texts() -> None:
    """Another encoder gives the same ids, and earlier texts leave nothing in its window."""
    texts = pa.array(["a e\u0301 bcdefghijk+ é" * 1000, "c a", "x\u0301 d", ""], pa.string()).cast(pa.large_binary())
    encoders = WordEncoder("words"), WordEncoder("words")
    for batch in (texts, texts[1:], texts.take(pa.array([3, 2, 1, 0]))):
        first, second = (tuple(array.tolist() for array in encoder.encode(batch)) for encoder in encoders)
        assert first == second
    assert words_of(encoders[0].table) == words_of(encoders[1].table)


def test_clearing_the_span_cache_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(words, "SPANS_KEPT", 3)
    check("words", [[f"{letter}\u0301 {letter}x\u0327" for letter in "abcdefgh"]] * 3, window=4)


# ---------------------------------------------------------------------------------------------- the word table


def colliding_words(size: int, chance: random.Random) -> tuple[bytes, bytes]:
    """Return two words of a size of at least 16 with the same key: the last 8 bytes cancel the difference before."""
    prime, mask = 0x9E3779B97F4A7C15, (1 << 64) - 1

    def state(pieces: list[int]) -> int:
        key = size
        for piece in pieces:
            key = (key ^ piece) * prime & mask
            key ^= key >> 32
        return key

    def piece() -> int:
        return int.from_bytes(bytes(chance.randrange(1, 256) for _ in range(8)), "little")

    while True:
        one, other = ([piece() for _ in range(size // 8 - 1)] for _ in range(2))
        last = piece()
        other_last = last ^ state(one) ^ state(other)
        rest = bytes(chance.randrange(1, 256) for _ in range(size % 8))
        pair = [
            b"".join(piece.to_bytes(8, "little") for piece in pieces) + rest
            for pieces in ([*one, last], [*other, other_last])
        ]
        if 0 not in pair[1]:
            return pair[0], pair[1]


def key(word: bytes) -> int:
    return int(key_of(eights(np.frombuffer(word + bytes(8), np.uint8).copy()), 0, len(word)))


def extend(table: WordTable, batch: Sequence[bytes]) -> list[int]:
    starts = np.cumsum([0, *map(len, batch)])
    return table.extend(np.frombuffer(b"".join(batch), np.uint8), starts).tolist()


@pytest.mark.parametrize("size", [16, 17, 23, 24, 64, 71])
def test_words_with_the_same_key_are_distinguished(size: int) -> None:
    chance = random.Random(size)
    pairs = [colliding_words(size, chance) for _ in range(200)]
    assert all(one != other and key(one) == key(other) for one, other in pairs)
    batch = [word for pair in pairs for word in pair]
    table = WordTable()
    assert extend(table, batch) == list(range(len(batch)))
    assert extend(table, batch[::-1]) == list(range(len(batch)))[::-1]
    assert words_of(table) == batch


def test_short_and_hashed_words_never_share_a_key() -> None:
    chance = random.Random(1)
    for size in range(1, 40):
        for _ in range(50):
            word = bytes(chance.randrange(1, 256) for _ in range(size))
            if size <= 8:
                assert key(word) == int.from_bytes(word, "little")
            else:
                assert key(word) % 256 == 0
                assert key(word) != 0


WORDS = st.lists(st.binary(min_size=1, max_size=30).map(lambda word: word.replace(b"\0", b"\1")), max_size=60)


@settings(QUICK, max_examples=200)
@given(batches=st.lists(WORDS, max_size=6), many=st.sampled_from((0, 500, 5000)))
def test_word_table_is_a_dictionary(batches: list[list[bytes]], many: int) -> None:
    """Ids are assigned in first-seen order and stay the same when the table grows."""
    batches = [*batches, [str(n).encode() for n in range(many)], *batches]
    table, oracle = WordTable(), dict[bytes, int]()
    for batch in batches:
        assert extend(table, batch) == [oracle.setdefault(word, len(oracle)) for word in batch]
        assert len(table) == len(oracle)
        assert int(table.used[1]) == sum(map(len, oracle))
    assert words_of(table) == list(oracle)
    for word, word_id in list(oracle.items())[:5]:
        if word.isascii():
            assert extend(table, [word]) == [word_id]


def test_word_table_continues_from_read_only_words_in_the_middle_of_an_arena() -> None:
    table = WordTable()
    assert table.extend(np.frombuffer(b"..abcde", np.uint8), np.array([2, 3, 5, 7])).tolist() == [0, 1, 2]
    assert words_of(table) == [b"a", b"bc", b"de"]
    assert extend(table, [b"bc"]) == [1]
    assert extend(table, ["é".encode()]) == [3]
