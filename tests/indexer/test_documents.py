"""The documents of a count are listed exactly once, in corpus order, for any page size."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factcensus.indexer import CountIndex, Entity
from factcensus.indexer.answers import FoundDocument
from factcensus.indexer.cli import main
from factcensus.indexer.errors import EmptyQueryError, InputError

from . import reference
from .corpora import fact_table, index_of, make_index
from .strategies import QUICK, Corpus, corpora


def pages(index: CountIndex, limit: int, **asked: Any) -> list[FoundDocument]:
    """Return all documents by following ``next`` from page to page."""
    documents: list[FoundDocument] = []
    start: int | None = 0
    while start is not None:
        page = index.find_documents(limit=limit, start=start, **asked)
        assert len(page.documents) <= limit
        documents += page.documents
        start = page.next
        assert start is None or start == len(documents)
    assert page.total == len(documents)
    return documents


def highlighted(document: FoundDocument, mention: str) -> int:
    return sum(span.mention == mention for passage in document.passages for span in passage)


@settings(QUICK, max_examples=25)
@given(corpus=corpora(max_entities=3), limit=st.integers(1, 4), window=st.none() | st.integers(0, 3))
def test_documents_are_exactly_the_counted_ones(corpus: Corpus, limit: int, window: int | None) -> None:
    analyse = reference.ANALYZERS[corpus.analyzer]
    documents = [analyse(text) for text in corpus.texts]
    options = corpus.options
    with index_of(corpus.texts, corpus.sources, **options) as index:
        for forms in corpus.entities:
            found = pages(index, limit, text=forms[0])
            expected = [n for n, tokens in enumerate(documents) if reference.occurrences(tokens, analyse(forms[0]))]
            assert [document.document for document in found] == expected
            assert [document.record for document in found] == expected
            assert [document.id for document in found] == [f"d{n}" for n in expected]
            assert [document.tokens for document in found] == [len(documents[n]) for n in expected]
            assert all(highlighted(document, "text") for document in found)
        for one, other in product(corpus.entities, repeat=2):
            asked = {"subject": Entity(one[0], one[1:]), "object": Entity(other[0], other[1:]), "window": window}
            subject, object_ = [analyse(form) for form in one], [analyse(form) for form in other]
            expected = [
                n
                for n, tokens in enumerate(documents)
                if reference.pairs(reference.mentions(tokens, subject), reference.mentions(tokens, object_), window)
            ]
            found = pages(index, limit, **asked)
            assert [document.document for document in found] == expected
            for document in found:
                assert highlighted(document, "subject")
                assert highlighted(document, "object")


def test_document_has_its_metadata_and_passages_around_every_mention(tmp_path: Path) -> None:
    text = "Paris " + "x " * 500 + "lies in France"
    with make_index(tmp_path, ["nothing", text], ["a", "b"]) as index:
        answer = index.find_documents(subject=Entity("France"), object=Entity("Paris"))
    (document,) = answer.documents
    assert (document.document, document.id, document.source) == (1, "d1", "b")
    assert document.tokens == 504
    words = [(span.text.strip(), span.mention) for passage in document.passages for span in passage]
    assert ("paris", "object") in words
    assert ("france", "subject") in words
    assert sum(len(text) for text, _ in words) < 1_000, "passages, not the whole document"


def test_invalid_document_queries_are_refused(tmp_path: Path) -> None:
    with make_index(tmp_path, ["a b"]) as index:
        with pytest.raises(EmptyQueryError):
            index.find_documents(text="—")
        for asked in (
            {},
            {"object": Entity("b")},
            {"text": "a", "subject": Entity("a")},
            {"text": "a", "subject": Entity("a"), "object": Entity("b")},
            {"text": "a", "limit": 0},
            {"text": "a", "start": -1},
            {"subject": Entity("a"), "object": Entity("b"), "window": -1},
        ):
            with pytest.raises(InputError):
                index.find_documents(**asked)  # type: ignore[arg-type]


def test_page_after_the_last_is_empty(tmp_path: Path) -> None:
    with make_index(tmp_path, ["a", "a"]) as index:
        answer = index.find_documents(text="a", start=2)
        assert (answer.documents, answer.total, answer.next) == ([], 2, None)


def test_many_threads_get_the_same_answers_from_one_index(tmp_path: Path) -> None:
    """The service queries one open index from all its threads."""
    names = ["a", "b", "c d", "e", "a b", "zebra"]
    texts = [" ".join("abcde"[(n * k) % 5] for k in range(n % 30)) for n in range(300)]
    facts = fact_table([([one], [other]) for one, other in product(names, repeat=2)])

    def ask(index: CountIndex, number: int) -> Any:
        one, other = Entity(names[number % 6]), Entity(names[number // 6 % 6])
        return [
            index.count(one.name, by="source"),
            index.cooccurrence(one, other, window=number % 4),
            index.count_facts(facts, windows=[1]).to_pylist(),
            index.find_documents(text=other.name, limit=3).total,
        ]

    with make_index(tmp_path, texts, shard_tokens=700) as index, ThreadPoolExecutor(8) as threads:
        alone = [ask(index, number) for number in range(36)]
        together = list(threads.map(lambda number: ask(index, number % 36), range(144)))
    assert together == alone * 4


@pytest.mark.parametrize("keep_text", [True, False])
def test_passage_shows_dots_only_where_the_document_has_more_text(
    keep_text: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = " ".join(f"w{number}" for number in range(40))
    texts = ["Jane Roe", f"Jane {more}", f"{more} Jane", f"{more} Jane {more}", " \n Jane \n", f"{more} Jane.\n\n"]
    cut = [(False, False), (False, True), (True, False), (True, True), (False, False), (True, False)]
    with make_index(tmp_path, texts, keep_text=keep_text) as index:
        found = index.find_documents(text="jane").documents
        answers = [index.find_documents(text="jane")]
        if keep_text:
            answers += [index.find_documents(text="Jane", verbatim=True), index.find_documents(pattern="Jane")]
        for answer in answers:
            assert [[(each.before, each.after) for each in document.cut or []] for document in answer.documents] == [
                [each] for each in cut
            ]
        pair = index.find_documents(subject="jane", object="w0").documents[0]
    for document, (before, after) in zip(found, cut, strict=True):
        (passage,), (shown,) = document.passages, document.excerpts
        written = "".join(span.text for span in passage)
        assert "".join(span.text for span in shown) == "… " * before + written + " …" * after
    assert pair.cut
    assert not pair.cut[0].before
    assert main(["documents", str(tmp_path / "ix"), "--text", "Jane"]) == 0
    lines = [line.strip() for line in capsys.readouterr().out.splitlines() if "[" in line]
    assert [(line.startswith("…"), line.endswith("…")) for line in lines] == cut
