"""Bounds of the reads of remote indexes: rounds that wait for one another, requests and bytes, at 2^26 rows."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest

from factcensus.indexer import CountIndex
from factcensus.indexer.analyzers.huggingface import HuggingFaceAnalyzer
from factcensus.indexer.counting.lexicon import FixedLexicon
from factcensus.indexer.remote.cache import Cache
from factcensus.indexer.remote.index import RemoteIndex
from factcensus.indexer.remote.opening import OpenedFiles, prepare
from factcensus.indexer.remote.reader import Usage
from factcensus.indexer.remote.rounds import Span
from factcensus.indexer.remote.session import ObjectFile, Session
from factcensus.indexer.remote.shard import RemoteShard, ShardFiles
from factcensus.indexer.storage.layout import map_file
from factcensus.indexer.storage.sample import parse_sample
from factcensus.indexer.storage.suffix_shard import SuffixArrayShard
from factcensus.indexer.system.places import Place

from .large_index import RARE, WORDS, LargeIndex, write_large_index

#: Reads of one range search and of one co-occurrence in design/scale.md, with a sample of every 2^16-th row; at most
#: half as much again is allowed.
SEARCH_REQUESTS, SEARCH_BYTES, PAIR_REQUESTS = 121, 270_000, 245


@pytest.fixture(scope="module")
def large() -> Iterator[LargeIndex]:
    with TemporaryDirectory(prefix="large") as folder:
        yield write_large_index(Path(folder), 26)


@pytest.fixture(scope="module")
def local(large: LargeIndex) -> Iterator[CountIndex]:
    with CountIndex.open(large.folder, name="large", analyzer=f"hf:{large.tokenizer}") as index:
        yield index


class Folder:
    """A range source for the files of a folder, as fast as memory."""

    def __init__(self, folder: Path) -> None:
        self._maps = {path.name: map_file(path) for path in folder.iterdir()}

    def fetch(self, spans: Sequence[Span]) -> list[bytes]:
        return [bytes(self._maps[span.file.name][span.begin : span.end]) for span in spans]


def open_remote(large: LargeIndex, *, sampled: bool) -> RemoteIndex:
    """Open the index as one at a URL that was never asked before, with or without a sample."""
    files = {
        kind: ObjectFile(Place("s3://b/large", "s3"), f"{kind}.0", (large.folder / f"{kind}.0").stat().st_size)
        for kind in ("tokenized", "table", "offset")
    }
    session = Session(Folder(large.folder), Cache([str(random.random())]), Usage())
    rows, documents = files["tokenized"].size // 2, files["offset"].size // 8
    sample = parse_sample((large.folder / "landmarks").read_bytes(), rows, documents) if sampled else None
    shard = RemoteShard(session, ShardFiles("s3://b/large", ".0", **files), 0, 0, sample)
    analyzer = HuggingFaceAnalyzer(str(large.tokenizer))
    prepare([shard], None if sampled else analyzer, "large")
    index = RemoteIndex._of(
        "large", analyzer, OpenedFiles(session, [shard], 0), FixedLexicon(analyzer), Place("s3://b/large", "s3")
    )
    session.opened(None)
    return index


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACTCENSUS_CACHE", str(tmp_path))


def names(large: LargeIndex, number: int, seed: int) -> list[str]:
    """Return texts of one to five words, of frequent and rare words, and some that do not occur."""
    chance = random.Random(seed)
    found = []
    while len(found) < number:
        kind = chance.randrange(6)
        words = large.text(chance.randrange(len(large.copy) - 9), chance.randrange(1, 6)).split()
        if kind == 0:
            words = [f"w{chance.randrange(WORDS, WORDS + RARE)}"]
        elif kind == 1 and words:
            words[-1] = f"w{chance.randrange(1, WORDS)}"
        if words and words != ["w2"]:  # a tenth of the corpus
            found.append(" ".join(words))
    return found


def asked(index: RemoteIndex, before: Usage) -> Usage:
    return index.session.asked - before


def test_table_of_the_large_index_is_in_order(tmp_path: Path) -> None:
    large = write_large_index(tmp_path, 18, 15)
    assert SuffixArrayShard(large.folder, ".0", 0).first_wrong_row() is None


def test_one_count_with_a_sample(large: LargeIndex, local: CountIndex) -> None:
    index = open_remote(large, sampled=True)
    assert index.usage().opening.requests == 0
    used = []
    for text in names(large, 40, 1):
        before = index.session.asked
        assert index.count(text) == local.count(text)
        used.append(asked(index, before))
        assert used[-1].rounds <= 5
        assert used[-1].requests <= 1.5 * SEARCH_REQUESTS
    assert np.median([each.bytes for each in used]) <= 1.5 * SEARCH_BYTES


def test_very_first_question_without_a_sample(large: LargeIndex, local: CountIndex) -> None:
    for text in names(large, 6, 2):
        index = open_remote(large, sampled=False)
        assert index.count(text) == local.count(text)
        used = index.session.usage
        assert used.rounds <= 10
        assert used.requests <= 900
        assert used.bytes <= 5_000_000


def test_later_questions_use_the_rows_that_were_probed(large: LargeIndex, local: CountIndex) -> None:
    index = open_remote(large, sampled=False)
    index.count("w7")
    for text in names(large, 40, 3):
        before = index.session.asked
        assert index.count(text) == local.count(text)
        assert asked(index, before).rounds <= 6
    again = RemoteShard(index.session, index.remote_shards[0].files, 0, 0)
    assert again.table.grid.rows == index.remote_shards[0].table.grid.rows


def test_one_cooccurrence_with_a_sample(large: LargeIndex, local: CountIndex) -> None:
    index = open_remote(large, sampled=True)
    texts = names(large, 24, 4)
    requests = []
    for subject, object_ in zip(texts[::2], texts[1::2], strict=True):
        before = index.session.asked
        assert index.cooccurrence(subject, object_, window=9) == local.cooccurrence(subject, object_, window=9)
        assert asked(index, before).rounds <= 8
        requests.append(asked(index, before).requests)
    assert np.median(requests) <= 1.5 * PAIR_REQUESTS


def test_trace_of_500_words_with_a_sample(large: LargeIndex, local: CountIndex) -> None:
    index = open_remote(large, sampled=True)
    chance = random.Random(6)
    parts = [large.text(chance.randrange(len(large.copy) - 99), chance.randrange(3, 60)) for _ in range(40)]
    text = " ".join(" w39999 ".join(parts).split()[:500])
    assert index.trace(text) == local.trace(text)
    used = index.session.asked
    # Every span occurs once in each of 64 copies, so longer and longer beginnings are searched for.
    assert used.rounds <= 45
    assert used.requests <= 40_000


def test_table_of_500_facts_with_a_sample(large: LargeIndex, local: CountIndex) -> None:
    index = open_remote(large, sampled=True)
    texts = [text for text in names(large, 1500, 5) if local.count(text).occurrences < 100_000][:1000]
    facts: list[dict[str, Any]] = [
        {"subject": subject, "object": object_} for subject, object_ in zip(texts[::2], texts[1::2], strict=True)
    ]
    expected = index.estimate(facts)
    assert index.session.asked == Usage(), "an estimate reads nothing"
    assert index.count_facts(facts, windows=[5]).equals(local.count_facts(facts, windows=[5]))
    used = index.session.asked
    assert used.rounds <= 14
    assert used.requests <= 500 * PAIR_REQUESTS
    assert expected.rounds <= 14
    assert used.requests / 3 <= expected.requests <= used.requests * 5
