"""The single compiled call for a pair of entities gives the answers of a table of facts."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

import factcensus.indexer.index as queries
from factcensus.indexer import CountIndex, Deadline, Entity, Scope, build_index, delete_documents
from factcensus.indexer.errors import DeadlineError, InputError

from .corpora import write_corpus

WORDS = ("a", "b", "c", "d", "e", "f g", "a b", "b c", "a a", "g h i", "zz")
SCOPES = (Scope(), Scope(duplicates=False), Scope(documents=(10, 60)), Scope(where="n = 1"))


@pytest.fixture(scope="module", params=["words", "bytes"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    random.seed(3)
    texts = [" ".join(random.choices("abcdefghi", k=random.randrange(1, 60))) for _ in range(90)]
    documents = [{"id": f"d{i}", "text": text, "n": i % 2} for i, text in enumerate([*texts, *texts[:9]])]
    root = tmp_path_factory.mktemp("pairs")
    corpus = write_corpus(root / "corpus.jsonl", documents)
    build_index([corpus], root / "ix", analyzer=request.param, jobs=1, shard_tokens=1000)
    delete_documents(root / "ix", ids=["d4", "d50"])
    return root / "ix"


def entity() -> Entity:
    name, *aliases = random.sample(WORDS, random.choice([1, 1, 2, 3]))
    return Entity(name, tuple(aliases))


def test_every_pair_has_the_counts_of_a_table_of_one_fact(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    random.seed(4)
    quick: Callable[..., object] = queries.count_disjoint
    answered = []

    def recorded(*arguments: object) -> object:
        found = quick(*arguments)
        answered.append(found is not None)
        return found

    with CountIndex.open(folder) as index:
        pairs = [(entity(), entity(), random.choice(SCOPES)) for _ in range(2000)]
        monkeypatch.setattr(queries, "count_disjoint", recorded)
        found = [index.cooccurrence(one, other, scope=scope) for one, other, scope in pairs]
        monkeypatch.setattr(queries, "count_disjoint", lambda *_: None)
        assert found == [index.cooccurrence(one, other, scope=scope) for one, other, scope in pairs]
    assert 200 < sum(answered) < len(answered)


def test_pair_stops_at_its_deadline(folder: Path) -> None:
    with CountIndex.open(folder) as index, Deadline() as deadline:
        deadline.cancel()
        with pytest.raises(DeadlineError):
            index.cooccurrence("c", "d", deadline=deadline)


def test_too_long_name_in_a_pair_is_refused(folder: Path) -> None:
    with CountIndex.open(folder) as index, pytest.raises(InputError, match="too long"):
        index.cooccurrence("a " * 9000, "d")
