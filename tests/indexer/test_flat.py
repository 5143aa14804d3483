"""Flat tables of facts and interleaved searches give the same results as the simple way."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factcensus.indexer import Entity
from factcensus.indexer.analyzers.words import WordTable
from factcensus.indexer.arrays import TokenIds
from factcensus.indexer.kernels.forms import flat_texts, forms_of_entities, forms_of_texts
from factcensus.indexer.kernels.search import SIDE_BY_SIDE
from factcensus.indexer.storage.vocabulary import Vocabulary, write_vocabulary

from .corpora import fact_table, index_of, make_index
from .strategies import QUICK, Corpus, corpora, hard_text

#: Words contain no zero byte.
words = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=12)
token_ids = st.lists(st.integers(-1, 3), max_size=4).map(tuple)
texts_and_entities = st.lists(st.lists(token_ids, max_size=3), min_size=1, max_size=5).flatmap(
    lambda texts: st.tuples(
        st.just(texts), st.lists(st.lists(st.integers(0, len(texts) - 1), min_size=1, max_size=4), max_size=6)
    )
)


@given(example=texts_and_entities)
def test_forms_of_an_entity_are_its_distinct_sequences_that_occur_the_longest_first(
    example: tuple[list[list[TokenIds]], list[list[int]]],
) -> None:
    texts, entities = example
    bounds = np.cumsum([0, *map(len, entities)])
    named = np.array([text for entity in entities for text in entity], np.int64)
    forms = forms_of_texts(flat_texts(texts), named, bounds)
    found = [forms.tokens[a:b].tolist() for a, b in zip(forms.starts[:-1], forms.starts[1:], strict=True)]
    of_entities = [found[a:b] for a, b in zip(forms.entities[:-1], forms.entities[1:], strict=True)]
    for entity, own in zip(entities, of_entities, strict=True):
        expected = {form for text in entity for form in texts[text] if form and -1 not in form}
        assert sorted(map(tuple, own)) == sorted(expected)
        assert [len(form) for form in own] == sorted(map(len, own), reverse=True)


@given(texts=st.lists(hard_text(), min_size=1, max_size=8), analyzer=st.sampled_from(["words", "words-cased"]))
@settings(QUICK, max_examples=30)
def test_names_of_a_table_are_analysed_like_single_names(texts: list[str], analyzer: str) -> None:
    names = [text.encode("utf-8", "replace").decode() for text in texts]
    with index_of(["a b c", *names[::2]], analyzer=analyzer) as index:
        flat = index.text_forms(pa.array(names, pa.string()))
        for number, name in enumerate(names):
            tokens = index.analyzer.tokens(name)
            begin, end = flat.starts[flat.texts[number]], flat.starts[flat.texts[number + 1]]
            ids = flat.tokens[begin:end].tolist()
            assert len(ids) == len(tokens)
            assert flat.empty[number] == (not tokens)
            if tokens:
                assert index.token_ids(name) == (None if -1 in ids else tuple(ids))


@given(corpus=corpora(max_entities=4), repeats=st.integers(1, 2 * SIDE_BY_SIDE))
@settings(QUICK, max_examples=40)
def test_interleaved_searches_find_the_same_ranges(corpus: Corpus, repeats: int) -> None:
    with index_of(corpus.texts, analyzer=corpus.analyzer, shard_tokens=corpus.shard_tokens) as index:
        entities = [Entity(entity[0], entity[1:]) for entity in corpus.entities]
        ngrams: list[Sequence[int]] = [(), *(form for entity in entities for form in index.forms(entity))] * repeats
        ngrams += [index.shards[0].tokens(at, at + 2).tolist() for at in range(0, index.shards[0].size, 3)]
        lengths = np.array([len(ngram) for ngram in ngrams])
        tokens = np.array([token for ngram in ngrams for token in ngram], np.uint32)
        for shard in index.shards:
            ranges = shard.find_all(tokens, np.concatenate([[0], np.cumsum(lengths)]))
            for ngram, (low, high) in zip(ngrams, ranges.tolist(), strict=True):
                one = shard.find(ngram) if ngram else (0, 0)
                assert (low, high) == one or (low == high and one[0] == one[1])


def arena_of(words: Sequence[str]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Return the bytes of all words, and where each of them starts, and the end."""
    encoded = [word.encode() for word in words]
    starts = np.cumsum([0, *map(len, encoded)])
    return np.frombuffer(b"".join(encoded), np.uint8), starts


@given(
    stored=st.sets(words, max_size=60),
    asked=st.lists(words, max_size=40),
    sampled=st.integers(1, 80),
)
@QUICK
def test_words_are_found_with_and_without_a_vocabulary_sample(stored: set[str], asked: list[str], sampled: int) -> None:
    table = WordTable()
    table.extend(*arena_of(sorted(stored)))
    wanted = WordTable()
    numbers = wanted.extend(*arena_of([*asked, *sorted(stored)])).tolist()
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        write_vocabulary(Path(folder), 0, table)
        vocabulary = Vocabulary(Path(folder), 0)
        patch.setattr(Vocabulary, "_MANY", 0)
        patch.setattr(Vocabulary, "_SAMPLED", sampled)
        found = vocabulary.ids_of(wanted)
    ids = {word: number for number, word in enumerate(sorted(stored))}
    assert found[numbers].tolist() == [ids.get(word, -1) for word in [*asked, *sorted(stored)]]


def test_entities_that_differ_only_in_case_are_counted_alike(tmp_path: Path) -> None:
    rows = [(["New York", "NYC"], ["usa"]), (["new york", "nyc", "NYC"], ["USA"]), (["NEW YORK"], ["Usa", "nowhere"])]
    with make_index(tmp_path, ["New York (NYC), USA", "nyc usa usa"]) as index:
        counts = index.count_facts(fact_table(rows)).to_pylist()
    assert [row["subject_mentions"] for row in counts] == [3, 3, 1]
    assert [row["object_documents"] for row in counts] == [2, 2, 2]
    assert [row["cooccurrence_documents"] for row in counts] == [2, 2, 1]


def test_empty_list_of_entities_has_no_forms() -> None:
    forms = forms_of_entities([])
    assert (len(forms), forms.tokens.size, forms.entities.tolist()) == (0, 0, [0])
