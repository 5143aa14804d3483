"""The layout ``compact``: its parts compared with plain lists, and its answers with those of a suffix array."""

from __future__ import annotations

import hashlib
import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from factcensus.indexer import (
    CountIndex,
    Deadline,
    add_to_index,
    build_index,
    compact_index,
    delete_documents,
    verify_index,
)
from factcensus.indexer.analyzers.words import WordTable
from factcensus.indexer.building import block_lists
from factcensus.indexer.building.convert import convert_index
from factcensus.indexer.errors import DeadlineError, InputError, VerificationError
from factcensus.indexer.kernels import bits
from factcensus.indexer.kernels.compact_plan import find_frequent_codes
from factcensus.indexer.kernels.permutation import image, make_permutation, preimage
from factcensus.indexer.storage import compact_shard, frequent
from factcensus.indexer.storage.compact_frequent import count_frequent_codes
from factcensus.indexer.storage.compact_shard import CompactShard
from factcensus.indexer.storage.compact_vocabulary import FrontCodedVocabulary, write_front_coded
from factcensus.indexer.storage.manifest import Layout, Manifest
from factcensus.indexer.tables.facts import facts_from_rows

from .corpora import index_folder, index_of, make_index, records, write_corpus
from .strategies import QUICK, Corpus, corpora

# ---------------------------------------------------------------------------------------------- sets of integers


@st.composite
def integer_sets(draw: st.DrawFn) -> tuple[int, list[int]]:
    """Generate a bound and integers below it, few or many."""
    bound = draw(st.integers(1, 20_000))
    dense = draw(st.integers(0, 3))
    seed = np.random.default_rng(draw(st.integers(0, 1_000)))
    count = max(1, bound >> 4 * dense)
    return bound, sorted(seed.choice(bound, count, replace=False).tolist())


@settings(QUICK, max_examples=150)
@given(made=integer_sets(), at=st.integers(0, 130), wanted=st.lists(st.integers(0, 20_000), max_size=20))
def test_sets_give_their_integers_in_order_by_number_and_from_a_value_on(
    made: tuple[int, list[int]], at: int, wanted: list[int]
) -> None:
    bound, values = made
    words = np.zeros((at + bits.elias_fano_bits(len(values), bound) >> 6) + 3, np.uint64)
    bits.write_elias_fano(words, at, bound, np.array(values, np.uint32))
    out = np.zeros(len(values), np.uint32)
    assert bits.decode_elias_fano(words, at, len(values), bound, out) == len(values)
    assert out.tolist() == values
    for value in (*wanted, 0, bound - 1):
        if value < bound:
            number = int(np.searchsorted(values, value))
            found = values[number] if number < len(values) else bound
            assert bits.seek_elias_fano(words, at, len(values), bound, value) == (number, found)
    for number, value in enumerate(values[:50]):
        assert bits.select_elias_fano(words, at, len(values), bound, number) == value
        following = values[number + 1] if number + 1 < len(values) else bound
        assert bits.next_in_set(words, at, len(values), bound, number, value) == following


@settings(QUICK, max_examples=150)
@given(
    made=integer_sets(),
    candidates=st.sets(st.integers(0, 20_000), max_size=60),
    near=st.sampled_from([(0, 0), (-1, 0), (0, 1), (-3, 2), (5, 6)]),
)
def test_candidates_near_an_integer_of_a_set_are_kept(
    made: tuple[int, list[int]], candidates: set[int], near: tuple[int, int]
) -> None:
    bound, values = made
    words = np.zeros((bound >> 6) + bits.elias_fano_bits(len(values), bound) + 3, np.uint64)
    if bits.set_size(len(values), bound) == bound:
        for value in values:
            words[value >> 6] |= np.uint64(1) << np.uint64(value & 63)
    else:
        bits.write_elias_fano(words, 0, bound, np.array(values, np.uint32))
    asked = sorted(each for each in candidates if each < bound)
    right = [each for each in asked if any(each + near[0] <= value <= each + near[1] for value in values)]
    kept = np.array([*asked, 0], np.uint32)
    assert kept[: bits.keep_near(words, 0, len(values), bound, kept, len(asked), *near)].tolist() == right


@settings(QUICK, max_examples=100)
@given(images=st.integers(1, 400).flatmap(lambda size: st.permutations(range(size))), rotated=st.booleans())
def test_permutations_are_inverted(images: list[int], rotated: bool) -> None:
    if rotated:  # one long cycle
        images = [*range(1, len(images)), 0]
    permutation = make_permutation(np.array(images))
    for number, other in enumerate(images):
        assert image(permutation, number) == other
        assert preimage(permutation, other) == number


@settings(QUICK, max_examples=60)
@given(
    words=st.sets(st.text("abé中", min_size=1, max_size=8) | st.text("ab", min_size=20, max_size=300), max_size=80),
    asked=st.lists(st.text("abé中", max_size=8), max_size=20),
    many=st.sampled_from([0, 1 << 30]),
)
def test_front_coded_words_are_found_and_returned(words: set[str], asked: list[str], many: int) -> None:
    table = WordTable()
    encoded = [word.encode() for word in words]
    starts = np.cumsum([0, *map(len, encoded)], dtype=np.int64)
    table.extend(np.frombuffer(b"".join(encoded), np.uint8), starts)
    numbers = {word: number for number, word in enumerate(words)}
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        write_front_coded(Path(folder), 0, table)
        vocabulary = FrontCodedVocabulary(Path(folder), 0)
        patch.setattr(FrontCodedVocabulary, "_MANY", many)
        assert vocabulary.ids([*words, *asked]).tolist() == [numbers.get(word, -1) for word in [*words, *asked]]
        assert vocabulary.words(range(len(words))) == list(words)
        arena, again = vocabulary.arena()
        assert (arena.tobytes(), again.tolist()) == (b"".join(encoded), starts.tolist())


# ---------------------------------------------------------------------------------------------- text and lists


@contextmanager
def paired() -> Iterator[None]:
    """Make pair lists in small shards, as in large ones."""
    before = block_lists.PAIRED, block_lists.PAIRED_FROM
    block_lists.PAIRED, block_lists.PAIRED_FROM = 3, 1
    try:
        yield
    finally:
        block_lists.PAIRED, block_lists.PAIRED_FROM = before


def occurrences(documents: Sequence[Sequence[int]], ngram: Sequence[int]) -> list[int]:
    """Return the positions of an n-gram, with a separator before each document."""
    found, at = [], 0
    for document in documents:
        at += 1
        found += [at + i for i in range(len(document)) if [*document[i : i + len(ngram)]] == [*ngram]]
        at += len(document)
    return found


@settings(QUICK, max_examples=30)
@given(
    documents=st.lists(st.lists(st.sampled_from([0, 0, 0, 1, 1, 2, 3, 4, 500]), max_size=200), min_size=1, max_size=8),
    rare=st.lists(st.integers(0, 900), max_size=30),
)
@example(documents=[[0, 0, 1, 0]], rare=[])  # a pair of a word that occurs once
def test_text_and_positions_equal_plain_lists(documents: list[list[int]], rare: list[int]) -> None:
    documents = [*documents, rare]
    texts = [" ".join(f"w{token}" for token in document) for document in documents]
    with paired(), index_of(texts, layout="compact") as index:
        (shard,) = index.shards
        assert isinstance(shard, CompactShard)
        tokens = shard.tokens(0, shard.size).tolist()
        begins = [i for i, token in enumerate(tokens) if token == 0xFFFFFFFF]
        assert shard.document_starts.tolist() == begins
        ids = [tokens[a + 1 : b] for a, b in zip(begins, [*begins[1:], shard.size], strict=True)]
        assert [index.words(document) for document in ids] == [text.split() for text in texts]
        assert shard.tokens(3, 9).tolist() == tokens[3:9]
        ngrams = {tuple(document[i : i + n]) for document in ids for n in (1, 2, 3, 5) for i in range(len(document))}
        for ngram in sorted(ngrams)[:300]:
            assert shard.positions_of(ngram).tolist() == occurrences(ids, ngram)
        assert verify_index(index.folder, full=True).rows_compared == shard.size


@settings(QUICK, max_examples=30)
@given(
    documents=st.lists(st.lists(st.integers(0, 2), max_size=30), min_size=1, max_size=8),
    least=st.integers(1, 8),
    deleted=st.sets(st.integers(0, 7)),
    separator=st.sampled_from([1, 3]),
)
def test_frequent_codes_are_counted_level_by_level(
    documents: list[list[int]], least: int, deleted: set[int], separator: int
) -> None:
    documents = [[3 if code == separator else code for code in document] for document in documents]
    codes = np.array([code for document in documents for code in (separator, *document)], np.uint32)
    living = np.array([number not in deleted for number in range(len(documents))])
    starts = np.flatnonzero(codes == separator)
    table = count_frequent_codes(codes, starts, separator, living, living & True, least, 8)
    right: dict[tuple[int, ...], list[int]] = defaultdict(lambda: [0, 0, 0])
    for number, document in enumerate(documents):
        ngrams = [tuple(document[i : i + n]) for n in range(1, 9) for i in range(len(document) - n + 1)]
        for ngram in ngrams:
            right[ngram][0] += 1
            right[ngram][1] += number not in deleted
        for ngram in set(ngrams):
            right[ngram][2] += number not in deleted
    for ngram, (occurrences, *counts) in right.items():
        row = find_frequent_codes(table, np.array(ngram, np.int64), 0, len(ngram))
        assert (row >= 0) == (occurrences > least)
        if row >= 0:
            assert table[row, 2:].tolist() == [*counts, *counts]
    assert len(table) == sum(counts[0] > least for counts in right.values())


# ---------------------------------------------------------------------------------------------- both layouts


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


@settings(QUICK, max_examples=12)
@given(corpus=corpora())
def test_conversion_equals_a_build_of_the_other_layout(corpus: Corpus) -> None:
    if corpus.analyzer == "bytes":
        return
    for layout, other in (("suffix-array", "compact"), ("compact", "suffix-array")):
        options = corpus.options | {"layout": layout}
        with paired(), index_folder(corpus.texts, corpus.sources, **options) as folder:
            converted = folder.with_name("converted")
            convert_index(folder, other, converted, jobs=1)  # type: ignore[arg-type]
            with index_folder(corpus.texts, corpus.sources, **options | {"layout": other}) as built:
                assert digests(converted) == digests(built)


def changed(folder: Path, layout: Layout) -> Path:
    """Build, grow and shrink an index."""
    texts = [f"the cat {n % 7} sat on the mat {'the ' * (n % 5)}" for n in range(120)]
    first = write_corpus(folder / "first.jsonl", records(texts))
    more = [{"id": f"m{n}", "text": f"a new dog {n} and the cat", "source": "more"} for n in range(60)]
    second = write_corpus(folder / "second.jsonl", more)
    build_index([first], folder / "ix", layout=layout, jobs=1, shard_tokens=400)
    add_to_index(folder / "ix", [second], jobs=1)
    delete_documents(folder / "ix", ids=["d3", "m5"], text="dog 7")
    return folder / "ix"


def answers(folder: Path) -> list[Any]:
    with CountIndex.open(folder) as index:
        made: list[Any] = [index.count(text, by="source").as_json() for text in ("the", "the cat", "dog", "mat the")]
        made += [index.count_many(["the", "a new dog", "sat on the mat the the"]).tolist()]
        made += [index.cooccurrence("cat", "the mat", window=3).as_json()]
        made += [index.find_documents(text="new dog", limit=3).as_json()]
        return [{k: v for k, v in each.items() if k != "index"} if isinstance(each, dict) else each for each in made]


def test_changed_indexes_of_both_layouts_answer_alike(tmp_path: Path) -> None:
    before = frequent.FREQUENT
    frequent.FREQUENT = 10
    try:
        folders = [changed(tmp_path / layout, layout) for layout in ("suffix-array", "compact")]  # type: ignore[arg-type]
        assert answers(folders[0]) == answers(folders[1])
        converted = tmp_path / "converted"
        convert_index(folders[0], "compact", converted, jobs=1)
        assert answers(converted) == answers(folders[1])
        assert Manifest.read(converted) == Manifest.read(folders[1]) or len(Manifest.read(converted).changes) == 2
        for folder in folders:
            compact_index(folder, jobs=1)
            verify_index(folder, full=True)
        assert answers(folders[0]) == answers(folders[1])
    finally:
        frequent.FREQUENT = before


@pytest.mark.parametrize("decoded", [1, 40, 1 << 20])
def test_table_counted_in_parts_and_threads_has_the_same_numbers(
    decoded: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(5)
    words = [f"w{n}" for n in range(40)]
    texts = [" ".join(chance.choices(words, k=90)) for _ in range(60)]
    rows = [
        {"subject": " ".join(chance.choices(words, k=chance.randint(1, 3))), "object": chance.choice(words)}
        for _ in range(200)
    ]
    facts = facts_from_rows(rows)
    with make_index(tmp_path / "suffix-array", texts) as index:
        right = index.count_facts(facts, windows=[3])
    monkeypatch.setattr(compact_shard, "MOST_DECODED", decoded)
    monkeypatch.setattr(compact_shard, "LEAST_DECODED", 1)
    with make_index(tmp_path / "compact", texts, layout="compact") as index:
        for threads in (1, 2):
            table = index.count_facts(facts, windows=[3], threads=threads)
            for column in set(right.column_names) - {"index_digest"}:
                assert table[column].equals(right[column])
        stopped = Deadline()
        stopped.cancel()
        with pytest.raises(DeadlineError):
            index.count_facts(facts, deadline=stopped)


def test_compact_index_is_a_fraction_of_the_size(tmp_path: Path) -> None:
    texts = [" ".join(f"w{(n * k) % 997}" for k in range(200)) for n in range(200)]
    sizes = {}
    for layout in ("suffix-array", "compact"):
        with make_index(tmp_path / layout, texts, layout=layout) as index:
            info = index.info()
            assert info.layout == layout
            sizes[layout] = info.bytes
    assert sizes["compact"] < sizes["suffix-array"] / 2


def test_wrong_lists_are_found(tmp_path: Path) -> None:
    with make_index(tmp_path, ["a b a c " * 50, "b c d " * 70], layout="compact") as index:
        (shard,) = index.shards
        assert isinstance(shard, CompactShard)
        assert shard.check_order(None) == shard.size
        words = shard.lists.words.copy()
        words[0] ^= np.uint64(2)
        shard.lists = shard.lists._replace(words=words)
        with pytest.raises(VerificationError, match=r"lists\.0"):
            shard.check_order(None)


@pytest.mark.parametrize("name", ["text.0", "lists.0", "vocabulary.0.front"])
def test_altered_files_are_reported(tmp_path: Path, name: str) -> None:
    make_index(tmp_path, ["a b c", "b c d"], layout="compact").close()
    content = bytearray((tmp_path / "ix" / name).read_bytes())
    content[-1] ^= 1
    (tmp_path / "ix" / name).write_bytes(content)
    with pytest.raises(VerificationError, match=name):
        verify_index(tmp_path / "ix")


def test_bytes_and_suffix_array_queries_are_refused_with_the_layout_to_use(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="suffix-array"):
        make_index(tmp_path, ["a"], analyzer="bytes", layout="compact")
    with make_index(tmp_path / "words", ["a b"], layout="compact") as index, pytest.raises(InputError, match="suffix-"):
        _ = index.suffix_arrays
    with pytest.raises(InputError, match="already"):
        convert_index(tmp_path / "words/ix", "compact", tmp_path / "again")
