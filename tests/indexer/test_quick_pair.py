"""The single compiled call for a pair of entities gives the answers of a table of facts, in both layouts."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import factcensus.indexer.index as queries
from factcensus.indexer import CountIndex, Deadline, Entity, Scope, build_index, delete_documents
from factcensus.indexer.errors import DeadlineError, InputError
from factcensus.indexer.kernels.quick_pair import MOST_SORTED

from .corpora import make_index, write_corpus

WORDS = ("a", "b", "c", "d", "e", "f g", "a b", "b c", "a a", "g h i", "zz")
SCOPES = (Scope(), Scope(duplicates=False), Scope(documents=(10, 60)), Scope(where="n = 1"))


@pytest.fixture(scope="module", params=[("words", "suffix-array"), ("bytes", "suffix-array"), ("words", "compact")])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    random.seed(3)
    texts = [" ".join(random.choices("abcdefghi", k=random.randrange(1, 60))) for _ in range(90)]
    documents = [{"id": f"d{i}", "text": text, "n": i % 2} for i, text in enumerate([*texts, *texts[:9]])]
    root = tmp_path_factory.mktemp("pairs")
    corpus = write_corpus(root / "corpus.jsonl", documents)
    analyzer, layout = request.param
    build_index([corpus], root / "ix", analyzer=analyzer, layout=layout, jobs=1, shard_tokens=1000)
    delete_documents(root / "ix", ids=["d4", "d50"])
    return root / "ix"


def entity() -> Entity:
    name, *aliases = random.sample(WORDS, random.choice([1, 1, 2, 3]))
    return Entity(name, tuple(aliases))


def test_every_pair_has_the_counts_of_a_table_of_one_fact(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    random.seed(4)
    quick: Callable[..., object] = queries.count_quickly
    answered = []

    def recorded(*arguments: Any) -> object:
        found = quick(*arguments)
        answered.append(found is not None)
        return found

    with CountIndex.open(folder) as index:
        pairs = [(entity(), entity(), random.choice(SCOPES)) for _ in range(2000)]
        monkeypatch.setattr(queries, "count_quickly", recorded)
        found = [index.cooccurrence(one, other, scope=scope) for one, other, scope in pairs]
        monkeypatch.setattr(queries, "count_quickly", lambda *_: None)
        assert found == [index.cooccurrence(one, other, scope=scope) for one, other, scope in pairs]
        assert answered == [index.info().layout == "suffix-array"] * 2000


def test_pair_with_many_overlapping_mentions_has_the_counts_of_a_table_of_one_fact(tmp_path: Path) -> None:
    """So many positions are not sorted in the single call."""
    with make_index(tmp_path, ["a a b " * (MOST_SORTED // 2), "a b a b", "a a", "b"]) as index:
        for one, other in ((Entity("a", ("a a",)), "b"), ("a a b", "b"), ("a", "a b")):
            found = index.cooccurrence(one, other)
            fact = {"subject": ["a"], "object": ["b"]}
            if isinstance(one, Entity):
                fact |= {"subject_aliases": [["a a"]]}
            else:
                fact |= {"subject": [one], "object": [other]}
            (row,) = index.count_facts(pa.table(fact)).to_pylist()
            assert found.subject.mentions == row["subject_mentions"]
            assert found.cooccurrence.documents == row["cooccurrence_documents"]
            assert found.cooccurrence.pairs == row["cooccurrence_pairs"]


def test_pair_stops_at_its_deadline(folder: Path) -> None:
    with CountIndex.open(folder) as index, Deadline() as deadline:
        deadline.cancel()
        with pytest.raises(DeadlineError):
            index.cooccurrence("c", "d", deadline=deadline)


def test_too_long_name_in_a_pair_is_refused(folder: Path) -> None:
    with CountIndex.open(folder) as index, pytest.raises(InputError, match="too long"):
        index.cooccurrence("a " * 9000, "d")
