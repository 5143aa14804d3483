"""Traces of an index at a URL: the same spans as in a local folder, in a bounded number of rounds."""

from __future__ import annotations

import random
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factcensus.indexer import CountIndex, Deadline, Scope, add_to_index, delete_documents
from factcensus.indexer.counting.trace import maximal_spans
from factcensus.indexer.errors import DeadlineError
from factcensus.indexer.remote.index import RemoteIndex
from factcensus.indexer.remote.longest import longest_ends
from factcensus.indexer.remote.reader import Reader
from factcensus.indexer.remote.rounds import Span, run
from factcensus.indexer.remote.search import Table

from .corpora import make_index, records, write_corpus
from .strategies import QUICK

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from servers import WebServer

WORDS = [f"w{number}" for number in range(60)]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACTCENSUS_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with an index of three shards, repeated passages, and deleted documents."""
    chance = random.Random(3)
    folder = tmp_path_factory.mktemp("trace")
    often = " ".join(chance.choices(WORDS, k=70))
    texts = [" ".join(chance.choices(WORDS, k=chance.randrange(1, 90))) for _ in range(2500)]
    texts += [f"{texts[number]} {often} w{number}" for number in range(40)]
    make_index(folder, texts, shard_tokens=60_000, keep_text=True).close()
    more = [each | {"id": f"m{each['id']}"} for each in records([f"more {texts[9]}", "more words"])]
    add_to_index(folder / "ix", [write_corpus(folder / "more.jsonl", more)], jobs=1)
    delete_documents(folder / "ix", ids=["d9", "d77", "md0", "d2530"])
    return folder


@pytest.fixture
def site(folder: Path) -> Iterator[WebServer]:
    from servers import web_server

    with web_server(folder) as server:
        yield server


@pytest.fixture
def local(folder: Path) -> Iterator[CountIndex]:
    with CountIndex.open(folder / "ix") as index:
        yield index


def output(local: CountIndex, words: int) -> str:
    """Return a text of ``words`` words: parts of documents, some of them deleted, and unknown and random words."""
    chance = random.Random(words)
    parts: list[str] = []
    while len(parts) < words:
        shard = local.shards[chance.randrange(len(local.shards))]
        assert shard.kept is not None
        document = chance.choice([chance.randrange(shard.documents), min(9, shard.documents - 1), shard.documents - 1])
        copy = shard.kept.text(document).decode().split()
        begin = chance.randrange(len(copy) or 1)
        parts += [*copy[begin : begin + chance.randrange(90)], *chance.choices(WORDS, k=chance.randrange(9)), "new"]
    return " ".join(parts[:words])


def test_trace_of_500_words_equals_the_local_one_in_few_rounds(local: CountIndex, site: WebServer) -> None:
    text = output(local, 500)
    with CountIndex.open(f"{site.url}/ix") as remote:
        assert isinstance(remote, RemoteIndex)
        shards = len(remote.shards)
        assert shards == 4
        site.requests.clear()
        before = remote.session.asked
        answer = remote.trace(text)
        used = remote.session.asked - before
        assert answer == local.trace(text)
        assert len(answer.spans) > 10
        # The spans, twice because one passage is in many documents; the test of deleted documents; the counts; and for
        # each shard with documents that are shown, their places, texts and rows.
        assert used.rounds <= 45
        assert len({request for request in site.requests if request[2]}) <= 500
        before = remote.session.asked
        assert remote.trace(text, documents=0) == local.trace(text, documents=0)
        assert (remote.session.asked - before).rounds <= 30


def test_scopes_and_short_and_unknown_texts_give_the_same_spans(local: CountIndex, site: WebServer) -> None:
    scopes = [Scope(), Scope(documents=(5, 900)), Scope(duplicates=False), Scope(where="source IS NULL")]
    with CountIndex.open(f"{site.url}/ix") as remote:
        for text in [output(local, words) for words in (3, 30, 200)] + ["new", "more", "w1 w2 w3 w4"]:
            for scope in scopes:
                for least in (1, 4):
                    asked = {"scope": scope, "least_tokens": least, "documents": 1}
                    assert remote.trace(text, **asked) == local.trace(text, **asked)  # type: ignore[arg-type]
        stopped = Deadline()
        stopped.cancel()
        with pytest.raises(DeadlineError):
            maximal_spans(remote, remote.lexicon.ids("w1 w2 w3 w4", ["w1", "w2", "w3", "w4"]), deadline=stopped)


class Bytes:
    """A file in memory."""

    def __init__(self, name: str, content: bytes) -> None:
        self.name, self.content, self.size = name, content, len(content)


class Memory:
    """A source of such files."""

    def fetch(self, spans: Sequence[Span]) -> list[bytes]:
        return [span.file.content[span.begin : span.end] for span in spans if isinstance(span.file, Bytes)]


@settings(QUICK, max_examples=80)
@given(
    corpus=st.lists(st.integers(0, 3), min_size=1, max_size=60),
    text=st.lists(st.integers(-1, 3), max_size=40),
    repeats=st.integers(1, 4),
    rows=st.integers(1, 3),
    piece=st.sampled_from([2, 8]),
)
def test_longest_ends_equal_a_search_of_every_span(
    corpus: list[int], text: list[int], repeats: int, rows: int, piece: int
) -> None:
    stream = np.array([0xFFFF, *corpus] * repeats, "<u2").tobytes()
    order = sorted(range(0, len(stream), 2), key=lambda at: stream[at:])
    table = Table(Bytes("tokenized.0", stream), Bytes("table.0", np.array(order, "<u4").tobytes()), 4, 2, len(order))
    stops = [text.index(-1, at) if -1 in text[at:] else len(text) for at in range(len(text))]
    occurs = {tuple(corpus[a:b]) for a in range(len(corpus)) for b in range(a, len(corpus) + 1)}
    expected = [max(b for b in range(a, stop + 1) if tuple(text[a:b]) in occurs) for a, stop in enumerate(stops)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("factcensus.indexer.remote.longest.MOST_ROWS", rows)
        patch.setattr("factcensus.indexer.remote.longest.KEY_BYTES", 4)
        patch.setattr("factcensus.indexer.remote.longest._PIECE_BYTES", piece)
        work = longest_ends(
            table,
            np.array(text, np.int64).astype("<u2").tobytes(),
            range(0, 2 * len(text), 2),
            [2 * at for at in stops],
        )
        assert [end // 2 for end in run(work, Reader(Memory()))] == expected
