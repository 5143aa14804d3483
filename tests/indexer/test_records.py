"""Entities, and arguments that must be sequences rather than single values."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from factcensus.indexer import CountIndex, Entity, build_index, delete_documents, scan_facts
from factcensus.indexer.errors import InputError

from .corpora import records, write_corpus


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CountIndex]:
    corpus = write_corpus(tmp_path_factory.mktemp("records") / "c.jsonl", records(["Paris is in France", "France"]))
    build_index(corpus, corpus.parent / "index", jobs=1)  # a single path becomes a list of one
    with CountIndex.open(corpus.parent / "index") as opened:
        yield opened


def test_single_string_of_aliases_is_refused() -> None:
    with pytest.raises(TypeError, match="aliases: expected a list or tuple of strings, got 'French Republic'"):
        Entity("France", "French Republic")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="aliases: expected strings, got int"):
        Entity("France", ("FR", 7))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="name of an entity must be a string, got NoneType"):
        Entity(None)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="empty"):
        Entity(" ")
    assert Entity("France", ["FR"]).aliases == ("FR",)  # type: ignore[arg-type]


def test_name_becomes_an_entity_without_aliases(index: CountIndex) -> None:
    assert index.cooccurrence("France", "Paris") == index.cooccurrence(Entity("France"), Entity("Paris"))
    assert index.cooccurrence("France", "Paris").cooccurrence.documents == 1
    found = index.find_documents(subject="France", object=Entity("Paris"))
    assert found.total == 1
    assert index.forms("France") == index.forms(Entity("France"))
    with pytest.raises(TypeError, match="an Entity or a name, got tuple"):
        index.cooccurrence(("France",), "Paris")  # type: ignore[arg-type]


def test_single_text_is_not_split_into_letters(index: CountIndex, tmp_path: Path) -> None:
    facts = [{"subject": "France", "object": "Paris"}]
    with pytest.raises(TypeError, match="ids"):
        delete_documents(index.folder, ids="0")
    with pytest.raises(TypeError, match="texts"):
        index.count_many("France")
    with pytest.raises(TypeError, match="sources"):
        scan_facts([7], facts)  # type: ignore[list-item]
    corpus = write_corpus(tmp_path / "c.jsonl", records(["Paris is in France"]))
    assert scan_facts(str(corpus), facts, jobs=1)["cooccurrence_documents"].to_pylist() == [1]


@pytest.mark.parametrize("text", [None, 7, b"Paris", ["Paris"]])
def test_text_that_is_not_a_string_is_a_type_error(text: Any, index: CountIndex) -> None:
    with pytest.raises(TypeError, match="a text must be a string, got"):
        index.count(text)


def test_token_ids_are_integers_in_lists(index: CountIndex) -> None:
    for ngrams in ([[1.5]], [1, 2], ["12"], [[1], "2"]):
        with pytest.raises(TypeError):
            index.count_ngrams(ngrams)  # type: ignore[arg-type]  # the wrong types are the point


def test_numpy_windows_are_accepted(index: CountIndex) -> None:
    answer = index.cooccurrence("France", "Paris", window=cast(int, np.int64(3)))
    assert type(answer.window) is int
    counts = index.count_facts([{"subject": "France", "object": "Paris"}], windows=cast(Any, np.array([3, 3, 5])))
    assert [name for name in counts.column_names if "documents_w" in name] == [
        "cooccurrence_documents_w3",
        "cooccurrence_documents_w5",
    ]
