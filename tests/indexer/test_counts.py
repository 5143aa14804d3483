"""Counts of texts, entities and facts compared with the oracle, on random corpora and on cases counted by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factcensus.indexer import CountIndex, Entity, add_to_index, build_index, verify_index
from factcensus.indexer.answers import (
    Answer,
    CooccurrenceAnswer,
    CooccurrenceCounts,
    CountAnswer,
    GroupCounts,
    MentionCounts,
    TextCounts,
)
from factcensus.indexer.errors import EmptyQueryError, InputError
from factcensus.indexer.kernels.reading import LONGEST_MENTION, mention_key
from factcensus.indexer.kernels.segments import SEGMENTS, select_segments
from factcensus.indexer.storage.manifest import Layout

from . import reference
from .corpora import fact_table, index_of, make_index, records, write_corpus
from .strategies import QUICK, Corpus, corpora

Forms = tuple[str, ...]


def entity(forms: Sequence[str]) -> Entity:
    return Entity(forms[0], tuple(forms[1:]))


def flat(answer: CooccurrenceAnswer | GroupCounts) -> dict[str, int]:
    """Return the numbers of ``cooc --json`` by column name of the counts table."""
    return {
        "subject_mentions": answer.subject.mentions,
        "object_mentions": answer.object.mentions,
        "subject_documents": answer.subject.documents,
        "object_documents": answer.object.documents,
        "cooccurrence_documents": answer.cooccurrence.documents,
        "cooccurrence_pairs": answer.cooccurrence.pairs,
    }


def within(numbers: dict[str, int], window: int | None) -> dict[str, int]:
    """Return the numbers of a row of the counts table that ``cooc --window`` gives."""
    suffix = "" if window is None else f"_w{window}"
    return {name: numbers[name + suffix if name.startswith("cooccurrence") else name] for name in flat(_NONE)}


_NONE = GroupCounts(MentionCounts(0, 0), MentionCounts(0, 0), CooccurrenceCounts(0, 0))


def numbers_of_rows(table: Any, windows: Sequence[int]) -> list[dict[str, int]]:
    """Return the rows of a counts table with only the count columns."""
    names = reference.fact([], [], [], windows)
    return [{name: row[name] for name in names} for row in table.to_pylist()]


# ---------------------------------------------------------------------------------------------- random corpora


class Oracle:
    """The documents of a corpus with the tokens of the oracle."""

    def __init__(self, corpus: Corpus) -> None:
        self.analyse = reference.ANALYZERS[corpus.analyzer]
        self.documents = [
            reference.Document(self.analyse(text), source)
            for text, source in zip(corpus.texts, corpus.sources, strict=True)
        ]
        self.forms = {forms: [self.analyse(form) for form in forms] for forms in corpus.entities}

    def facts(self, pairs: Sequence[tuple[Forms, Forms]], windows: Sequence[int]) -> list[dict[str, int]]:
        return [reference.fact(self.documents, self.forms[s], self.forms[o], windows) for s, o in pairs]


def open_index(corpus: Corpus) -> Any:
    return index_of(corpus.texts, corpus.sources, **corpus.options)


def check_facts(corpus: Corpus) -> int:
    """Compare the counts of every ordered pair of entities with the oracle; return how many numbers were compared."""
    pairs = list(product(corpus.entities, repeat=2))
    expected = Oracle(corpus).facts(pairs, corpus.windows)
    with open_index(corpus) as index:
        table = index.count_facts(fact_table(pairs), windows=corpus.windows)
    found = numbers_of_rows(table, corpus.windows)
    for pair, ours, oracles in zip(pairs, found, expected, strict=True):
        assert ours == oracles, pair
    assert table["exact"].to_pylist() == [True] * len(pairs)
    return sum(map(len, expected))


@settings(QUICK, max_examples=60)
@given(corpus=corpora())
def test_every_number_of_the_counts_table_equals_the_oracle(corpus: Corpus) -> None:
    check_facts(corpus)


@pytest.mark.full
@pytest.mark.parametrize("layout", ["suffix-array", "compact"])
def test_a_million_numbers_of_the_counts_table_equal_the_oracle(layout: str) -> None:
    """Building costs most, so each of the hundreds of corpora has many entities: n of them are counted in n² pairs."""
    compared = 0

    @settings(QUICK, max_examples=600 if layout == "suffix-array" else 1_300, database=None)
    @given(corpus=corpora(max_documents=25, min_entities=12, max_entities=18))
    def check(corpus: Corpus) -> None:
        nonlocal compared
        if layout == "suffix-array" or corpus.analyzer != "bytes":
            compared += check_facts(replace(corpus, layout=layout))

    check()
    assert compared >= 1_000_000


def check_by_source(corpus: Corpus) -> None:
    """Check answers for single texts and pairs, with their numbers by source, which must add up."""
    oracle = Oracle(corpus)
    windows = (None, *corpus.windows)
    with open_index(corpus) as index:
        for forms in corpus.entities:
            ngram = oracle.forms[forms][0]
            answer = index.count(forms[0], by="source")
            assert numbers_of(answer) == reference.count(oracle.documents, ngram)
            check_parts(answer, corpus, lambda source, ngram=ngram: reference.count(source, ngram), oracle)
        for number, (subject, object_) in enumerate(product(corpus.entities, repeat=2)):
            window = windows[number % len(windows)]
            answer = index.cooccurrence(entity(subject), entity(object_), window=window, by="source")

            def expected(
                documents: Sequence[reference.Document], s: Forms = subject, o: Forms = object_, w: int | None = window
            ) -> dict[str, int]:
                ours = reference.fact(documents, oracle.forms[s], oracle.forms[o], () if w is None else (w,))
                return within(ours, w)

            assert flat(answer) == expected(oracle.documents)
            assert answer.window == window
            assert answer.exact is True
            check_parts(answer, corpus, expected, oracle)


def numbers_of(answer: Answer) -> dict[str, int]:
    """Return the numbers of an answer, or of one of its groups."""
    if isinstance(answer, CooccurrenceAnswer | GroupCounts):
        return flat(answer)
    assert isinstance(answer, CountAnswer | TextCounts)
    return {"occurrences": answer.occurrences, "documents": answer.documents}


def check_parts(answer: CountAnswer | CooccurrenceAnswer, corpus: Corpus, expected: Any, oracle: Oracle) -> None:
    """Check that ``by_source`` equals the oracle for each source (absent means zero) and adds up to the total."""
    assert answer.groups is not None
    parts = {name: numbers_of(part) for name, part in answer.groups.items()}
    total = numbers_of(answer)
    assert {key: sum(part[key] for part in parts.values()) for key in total} == total
    named = {source for source in corpus.sources if source is not None}
    for source in named:
        numbers = expected(reference.of_source(oracle.documents, source))
        assert parts.get(source, dict.fromkeys(numbers, 0)) == numbers, source
    unnamed = [part for name, part in parts.items() if name not in named and any(part.values())]
    numbers = expected(reference.of_source(oracle.documents, None))
    assert unnamed == ([numbers] if any(numbers.values()) else [])


@settings(QUICK, max_examples=30)
@given(corpus=corpora(max_entities=4))
def test_every_answer_by_source_equals_the_oracle_and_adds_up(corpus: Corpus) -> None:
    check_by_source(corpus)


@pytest.mark.full
@settings(QUICK, max_examples=700)
@given(corpus=corpora(max_documents=20, max_entities=6))
def test_very_many_answers_by_source_equal_the_oracle_and_add_up(corpus: Corpus) -> None:
    check_by_source(corpus)


# ---------------------------------------------------------------------------------------------- what must not matter


def counts_of(corpus: Corpus, **options: Any) -> list[dict[str, int]]:
    pairs = list(product(corpus.entities, repeat=2))
    options = corpus.options | options
    with index_of(corpus.texts, corpus.sources, **options) as index:
        return numbers_of_rows(index.count_facts(fact_table(pairs), windows=corpus.windows), corpus.windows)


@settings(QUICK, max_examples=15)
@given(corpus=corpora(max_entities=5), shard_tokens=st.integers(1, 60))
def test_counts_do_not_depend_on_the_shards(corpus: Corpus, shard_tokens: int) -> None:
    assert counts_of(corpus, shard_tokens=shard_tokens) == counts_of(corpus, shard_tokens=None)


@settings(QUICK, max_examples=15)
@given(corpus=corpora(max_entities=5), order=st.randoms(use_true_random=False))
def test_counts_do_not_depend_on_the_order_of_the_documents(corpus: Corpus, order: Any) -> None:
    shuffled = list(zip(corpus.texts, corpus.sources, strict=True))
    order.shuffle(shuffled)
    texts, sources = zip(*shuffled, strict=True)
    assert counts_of(replace(corpus, texts=texts, sources=sources)) == counts_of(corpus)


@settings(QUICK, max_examples=15)
@given(corpus=corpora(max_entities=5), order=st.randoms(use_true_random=False))
def test_counts_do_not_depend_on_the_order_and_repetition_of_aliases(corpus: Corpus, order: Any) -> None:
    repeated = []
    for forms in corpus.entities:
        changed = [*forms, *forms]
        order.shuffle(changed)
        repeated.append(tuple(changed))
    assert counts_of(replace(corpus, entities=tuple(repeated))) == counts_of(corpus)


@settings(QUICK, max_examples=15)
@given(corpus=corpora(max_entities=5))
def test_swapping_subject_and_object_only_swaps_their_numbers(corpus: Corpus) -> None:
    forms = corpus.entities
    numbers = dict(zip(product(range(len(forms)), repeat=2), counts_of(corpus), strict=True))
    swap = {"subject": "object", "object": "subject"}
    for (s, o), row in numbers.items():
        swapped = {
            "_".join((swap.get(name.split("_")[0], name.split("_")[0]), *name.split("_")[1:])): value
            for name, value in numbers[o, s].items()
        }
        assert row == swapped


@settings(QUICK, max_examples=15)
@given(corpus=corpora(max_entities=5))
def test_numbers_of_a_fact_are_consistent(corpus: Corpus) -> None:
    pairs = list(product(corpus.entities, repeat=2))
    for row in counts_of(replace(corpus, windows=(0, 1, 2, 5))):
        both = [f"cooccurrence_documents{suffix}" for suffix in ("_w0", "_w1", "_w2", "_w5", "")]
        assert [row[name] for name in both] == sorted(row[name] for name in both), "a wider window has no fewer"
        assert row["cooccurrence_documents"] <= min(row["subject_documents"], row["object_documents"])
        assert row["cooccurrence_pairs"] <= row["subject_mentions"] * row["object_mentions"]
    assert pairs


@settings(QUICK, max_examples=10)
@given(corpus=corpora(max_entities=4))
def test_upper_case_corpora_count_the_same_words(corpus: Corpus) -> None:
    corpus = replace(corpus, analyzer="words")
    upper = replace(corpus, texts=tuple(text.upper() for text in corpus.texts))
    shouted = replace(upper, entities=tuple(tuple(form.upper() for form in forms) for forms in corpus.entities))
    assert counts_of(corpus) == counts_of(upper) == counts_of(shouted)


@settings(QUICK, max_examples=8)
@given(corpus=corpora(max_entities=4), cut=st.integers(1, 9), shard_tokens=st.sampled_from((None, 3)))
def test_index_with_additions_counts_like_one_built_at_once(corpus: Corpus, cut: int, shard_tokens: int | None) -> None:
    pairs = list(product(corpus.entities, repeat=2))
    documents = records(corpus.texts, corpus.sources)
    cut = min(cut, len(documents))
    with TemporaryDirectory(prefix="ix") as name:
        folder = Path(name)
        first = write_corpus(folder / "first.jsonl", documents[:cut])
        build_index([first], folder / "ix", **corpus.options | {"shard_tokens": shard_tokens, "jobs": 1})
        if documents[cut:]:
            second = write_corpus(folder / "second.jsonl", documents[cut:])
            add_to_index(folder / "ix", [second], jobs=1)
        verify_index(folder / "ix")
        with CountIndex.open(folder / "ix") as index:
            table = index.count_facts(fact_table(pairs), windows=corpus.windows)
    assert numbers_of_rows(table, corpus.windows) == Oracle(corpus).facts(pairs, corpus.windows)


@pytest.mark.parametrize("layout", ["suffix-array", "compact"])
@pytest.mark.parametrize("jobs", [2, 3])
def test_index_does_not_depend_on_the_number_of_jobs(tmp_path: Path, jobs: int, layout: Layout) -> None:
    """Several files and shards give the same digest, so the same bytes, for any number of processes."""
    for number in range(4):
        texts = [f"document {n} of file {number} é 中文 {'x ' * (n % 7)}" for n in range(50)]
        write_corpus(tmp_path / "corpus" / f"part-{number}.jsonl", records(texts, ["s"] * 50))
    digests = []
    for name, jobs_of_this in (("one", 1), ("many", jobs)):
        build_index([tmp_path / "corpus"], tmp_path / name / "ix", jobs=jobs_of_this, shard_tokens=500, layout=layout)
        with CountIndex.open(tmp_path / name / "ix") as index:
            digests.append(index.digest)
    assert digests[0] == digests[1]


# ---------------------------------------------------------------------------------------------- counted by hand

#: texts; forms of the subject; forms of the object; window; the six numbers in the order of `flat`.
BY_HAND = {
    "both in one document": (["Paris is in France"], ["France"], ["Paris"], None, (1, 1, 1, 1, 1, 1)),
    "never across documents": (["Paris is", "in France"], ["France"], ["Paris"], None, (1, 1, 1, 1, 0, 0)),
    "phrase not across documents": (["in New", "York City"], ["New York"], ["City"], None, (0, 1, 0, 1, 0, 0)),
    "subject inside object": (["Panama City"], ["Panama"], ["Panama City"], None, (1, 1, 1, 1, 0, 0)),
    "subject also elsewhere": (["Panama City is in Panama"], ["Panama"], ["Panama City"], None, (2, 1, 1, 1, 1, 1)),
    "subject is object": (["Monaco"], ["Monaco"], ["Monaco"], None, (1, 1, 1, 1, 0, 0)),
    "subject is object twice": (["Monaco Monaco"], ["Monaco"], ["Monaco"], None, (2, 2, 1, 1, 1, 2)),
    "alias equal to name": (["St. Louis"], ["St. Louis", "St Louis", "ST LOUIS"], ["x"], None, (1, 0, 1, 0, 0, 0)),
    "alias inside alias": (
        ["New York City and New York"],
        ["New York", "New York City"],
        ["and"],
        None,
        (2, 1, 1, 1, 1, 2),
    ),
    "longest form wins": (["a b c d"], ["a", "a b c", "c d"], ["d"], None, (1, 1, 1, 1, 1, 1)),
    "leftmost form wins over a longer one": (["a b c d"], ["a b", "b c d"], ["c"], None, (1, 1, 1, 1, 1, 1)),
    "overlapping repeats are one mention": (["a a a"], ["a a"], ["a"], None, (1, 3, 1, 1, 1, 1)),
    "one place claimed by both": (["x y"], ["x", "y"], ["y", "x"], None, (2, 2, 1, 1, 1, 2)),
    "forms of one entity that overlap": (["a b a b a"], ["a b a"], ["b a b"], None, (1, 1, 1, 1, 0, 0)),
    "alias of separators only": (["a — b"], ["a", "—", "…!"], ["b"], None, (1, 1, 1, 1, 1, 1)),
    "alias that is blank": (["a b"], ["a", " ", ""], ["b"], None, (1, 1, 1, 1, 1, 1)),
    "window 0 is adjacent": (["a b", "b a", "a x b"], ["a"], ["b"], 0, (3, 3, 3, 3, 2, 2)),
    "window 1 lets one token between": (["a x b", "a x x b"], ["a"], ["b"], 1, (2, 2, 2, 2, 1, 1)),
    "window counts from the ends of long mentions": (
        ["New York City x x Paris France"],
        ["New York City"],
        ["Paris France"],
        2,
        (1, 1, 1, 1, 1, 1),
    ),
    "window too small by one": (
        ["New York City x x Paris France"],
        ["New York City"],
        ["Paris France"],
        1,
        (1, 1, 1, 1, 0, 0),
    ),
    "every pair in the window": (["a b a b"], ["a"], ["b"], 0, (2, 2, 1, 1, 1, 3)),
    "empty documents": (["", "a b", "", "…"], ["a"], ["b"], None, (1, 1, 1, 1, 1, 1)),
    "part of a word is none": (["JavaScript scripts in java"], ["Java"], ["script"], None, (1, 0, 1, 0, 0, 0)),
    "possessive": (["Paris's streets, “Paris”"], ["paris"], ["PARIS S"], None, (2, 1, 1, 1, 1, 1)),
    "no spaces": (["東京は日本の首都です"], ["日本"], ["東京"], 1, (1, 1, 1, 1, 1, 1)),
    "C is not C++": (["C++ and C, C#"], ["C"], ["C++"], None, (1, 1, 1, 1, 1, 1)),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_numbers_counted_by_hand(name: str, tmp_path: Path) -> None:
    texts, subject, object_, window, expected = BY_HAND[name]
    windows = () if window is None else (window,)
    documents = [reference.Document(reference.words(text)) for text in texts]
    forms = [[reference.words(form) for form in forms] for forms in (subject, object_)]
    oracle = within(reference.fact(documents, *forms, windows), window)
    assert tuple(oracle.values()) == expected, "the oracle itself"
    with make_index(tmp_path, texts) as index:
        answer = index.cooccurrence(entity(subject), entity(object_), window=window)
        assert tuple(flat(answer).values()) == expected
        table = index.count_facts(fact_table([(subject, object_)]), windows=windows)
        assert within(numbers_of_rows(table, windows)[0], window) == dict(zip(oracle, expected, strict=True))


#: texts; query; occurrences, documents.
COUNTED_BY_HAND = {
    "overlapping occurrences all count": (["a a a"], "a a", 2, 1),
    "occurrences over documents": (["a", "b a a", ""], "a", 3, 2),
    "not across documents": (["a b", "c"], "b c", 0, 0),
    "unknown word": (["a b"], "zebra", 0, 0),
    "known and unknown word": (["a b"], "a zebra", 0, 0),
    "longer than any document": (["a a"], "a a a", 0, 0),
    "separators do not matter": (["Port-au-Prince"], "port au prince", 1, 1),
    "whole document": (["a b c"], "a b c", 1, 1),
}


@pytest.mark.parametrize("name", COUNTED_BY_HAND)
@pytest.mark.parametrize("shard_tokens", [None, 1])
def test_texts_counted_by_hand(name: str, shard_tokens: int | None, tmp_path: Path) -> None:
    texts, query, occurrences, documents = COUNTED_BY_HAND[name]
    with make_index(tmp_path, texts, shard_tokens=shard_tokens) as index:
        answer = index.count(query)
    assert (answer.occurrences, answer.documents) == (occurrences, documents)
    assert answer.tokens == reference.words(query)
    assert answer.exact is True


def test_a_thousand_short_documents_with_both_entities_are_counted(tmp_path: Path) -> None:
    """infini-gram answers 1 here and reports it as exact."""
    with make_index(tmp_path, ["alpha lives in beta"] * 1_000) as index:
        for window, expected in ((None, 1_000), (1, 0), (2, 1_000)):
            answer = index.cooccurrence(Entity("alpha"), Entity("beta"), window=window)
            assert answer.cooccurrence == CooccurrenceCounts(documents=expected, pairs=expected)


def test_one_document_may_have_over_a_billion_pairs(tmp_path: Path) -> None:
    n = 40_000
    with make_index(tmp_path, ["a " * n + "b " * n]) as index:
        answer = index.cooccurrence(Entity("a"), Entity("b"))
        assert answer.cooccurrence == CooccurrenceCounts(documents=1, pairs=n * n)
        # adjacent with at most 2 between: (i-th from the border) + (j-th from the border) <= 2
        answer = index.cooccurrence(Entity("a"), Entity("b"), window=2)
        assert answer.cooccurrence == CooccurrenceCounts(documents=1, pairs=6)


def test_query_without_a_token_is_an_error_not_a_zero(tmp_path: Path) -> None:
    with make_index(tmp_path, ["a b"]) as index:
        for text in ("", "   ", "—", "…!", "\u200b"):
            with pytest.raises(EmptyQueryError):
                index.count(text)
        for name in ("—", "\u200b"):
            with pytest.raises(EmptyQueryError):
                index.cooccurrence(Entity(name), Entity("a"))
            with pytest.raises(EmptyQueryError):
                index.cooccurrence(Entity("a"), Entity(name))


def test_blank_entity_is_refused() -> None:
    with pytest.raises(InputError):
        Entity("  ")


@pytest.mark.parametrize("window", [-1, -100])
def test_negative_window_is_refused(window: int, tmp_path: Path) -> None:
    with make_index(tmp_path, ["a b"]) as index:
        with pytest.raises(InputError):
            index.cooccurrence(Entity("a"), Entity("b"), window=window)
        with pytest.raises(InputError):
            index.count_facts(fact_table([(["a"], ["b"])]), windows=[window])


def test_unknown_group_is_refused(tmp_path: Path) -> None:
    with make_index(tmp_path, ["a b"]) as index, pytest.raises(InputError, match="source"):
        index.count("a", by="language")  # type: ignore[arg-type]


def test_invalid_token_ids_are_refused(tmp_path: Path) -> None:
    """The id of the separator would match across documents."""
    for analyzer, separator in (("words", 0xFFFFFFFF), ("bytes", 0xFF)):
        with make_index(tmp_path / analyzer, ["a b", "b"], analyzer=analyzer) as index:
            for bad in (separator, separator + 1, -1):
                with pytest.raises(InputError, match=str(separator if bad == separator else separator - 1)):
                    index.count_ngrams([[0], [1, bad]])
            assert index.count_ngrams([[], [separator - 1]]).tolist() == [[0, 0], [0, 0]]


spans = st.tuples(st.integers(0, 2**40 - 1 - 2 * LONGEST_MENTION), st.integers(1, LONGEST_MENTION))


@QUICK
@given(data=st.lists(spans, max_size=8))
def test_mentions_in_shards_of_a_trillion_tokens_are_distinguished(data: list[tuple[int, int]]) -> None:
    """The largest infini-gram shards have 2^38 tokens; an overflowing position would belong to another entity."""
    segments = [0, SEGMENTS - 1]
    keys = np.array([mention_key(segment, *each) for segment in segments for each in data], np.uint64)
    keys.sort()
    sizes = np.zeros(SEGMENTS, np.int64)
    sizes[segments] = len(data)
    starts, ends = np.zeros(len(keys), np.int64), np.zeros(len(keys), np.int64)
    select_segments(keys, sizes, SEGMENTS, starts, ends)
    kept: list[tuple[int, int]] = []
    for start, length in sorted(data, key=lambda each: (each[0], -each[1])):
        if not kept or start >= kept[-1][1]:
            kept.append((start, start + length))
    assert sizes[segments].tolist() == [len(kept)] * 2
    assert list(zip(starts[: 2 * len(kept)].tolist(), ends[: 2 * len(kept)].tolist(), strict=True)) == kept * 2
