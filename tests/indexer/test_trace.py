"""The maximal spans of a text that occur in the corpus, against a search of every span of the text."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factcensus.indexer import Deadline, Scope, delete_documents
from factcensus.indexer.counting.trace import MOST_TOKENS, maximal_spans
from factcensus.indexer.errors import DeadlineError, InputError
from factcensus.indexer.index import CountIndex

from .corpora import index_of, make_index
from .strategies import QUICK

WORDS = st.sampled_from(["a", "b", "c", "new"])
TEXT = st.lists(WORDS, max_size=14).map(" ".join)


def spans_by_search(texts: list[str], tokens: list[str], least: int) -> list[tuple[int, int]]:
    """Return the maximal spans by trying every one."""
    corpus = [f" {' '.join(text.split())} " for text in texts]
    size = len(tokens)
    found = [
        (start, end)
        for start in range(size)
        for end in range(start + least, size + 1)
        if any(f" {' '.join(tokens[start:end])} " in text for text in corpus)
    ]
    return [
        (start, end)
        for start, end in found
        if not any((low, high) != (start, end) and low <= start and end <= high for low, high in found)
    ]


@settings(QUICK, max_examples=150)
@given(texts=st.lists(TEXT, min_size=1, max_size=6), output=TEXT, least=st.integers(1, 4), tokens=st.integers(5, 30))
def test_spans_equal_a_search_of_every_span(texts: list[str], output: str, least: int, tokens: int) -> None:
    with index_of(texts, shard_tokens=tokens) as index:
        words = output.split()
        found = maximal_spans(index, ids_of(index, output), least_tokens=least)
        assert found == spans_by_search(texts, words, least)


def ids_of(index: CountIndex, text: str) -> list[int]:
    """Return the ids of the tokens of a text, -1 for unknown ones."""
    return index.lexicon.ids(text, index.analyzer.tokens(text))


def test_deleted_documents_and_others_out_of_scope_do_not_count(tmp_path: Path) -> None:
    texts = ["the cat sat on the mat", "a dog lay on the mat today"]
    output = "a cat sat on the mat today"
    index = make_index(tmp_path, texts)
    ids = ids_of(index, output)
    assert maximal_spans(index, ids) == [(1, 6), (3, 7)]
    assert maximal_spans(index, ids, scope=Scope(documents=(0, 1))) == [(1, 6)]
    index.close()
    delete_documents(tmp_path / "ix", ids=["d0"])
    with CountIndex.open(tmp_path / "ix") as current:
        assert maximal_spans(current, ids_of(current, output)) == [(3, 7)]


def test_a_long_copy_of_a_document_is_one_span(tmp_path: Path) -> None:
    words = [f"w{number}" for number in range(3000)]
    index = make_index(tmp_path, [" ".join(words)])
    ids = ids_of(index, " ".join(["new", *words, "new", *words[:100]]))
    assert maximal_spans(index, ids) == [(1, 3001), (3002, 3102)]


def test_impossible_requests_are_refused(tmp_path: Path) -> None:
    index = make_index(tmp_path, ["a b c d"])
    with pytest.raises(InputError, match="at least 1 token, got 0"):
        maximal_spans(index, [0], least_tokens=0)
    with pytest.raises(InputError, match="20,001 tokens"):
        maximal_spans(index, [0] * (MOST_TOKENS + 1))
    stopped = Deadline()
    stopped.cancel()
    with pytest.raises(DeadlineError):
        maximal_spans(index, ids_of(index, "a b c d"), deadline=stopped)
