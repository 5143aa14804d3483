"""Indexes of the size of published corpora: the memory of a process, and the code that only large shards need.

Thresholds are lowered for random texts. The real sizes are reached with sparse files, which have no blocks on disk.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings

from factcensus.indexer.analyzers import get_analyzer
from factcensus.indexer.analyzers.words import WordTable
from factcensus.indexer.counting import spans
from factcensus.indexer.counting.scope import Scope
from factcensus.indexer.kernels import search
from factcensus.indexer.storage.layout import first_entries, pack
from factcensus.indexer.storage.manifest import FileRecord, Layout, Manifest, ShardRecord
from factcensus.indexer.storage.vocabulary import write_vocabulary

from .corpora import both_layouts, index_of, make_index
from .strategies import QUICK, Corpus, corpora
from .test_counts import check_by_source, check_facts


@contextmanager
def small_parts(documents: int) -> Iterator[None]:
    """Lower the thresholds so that tiny shards have large blocks and are counted in several passes."""
    with (
        patch.object(search, "MOST_BLOCKS", 0),
        patch.object(search, "DOCUMENTS_PER_BLOCK", 1 << 40),
        patch.object(spans, "MOST_DOCUMENTS", documents),
    ):
        yield


@pytest.mark.parametrize("documents", [1, 2, 5])
def test_counts_in_several_passes_equal_the_oracle(documents: int) -> None:
    @settings(QUICK, max_examples=20)
    @given(corpus=corpora())
    def check(corpus: Corpus) -> None:
        with small_parts(documents):
            check_facts(corpus)

    check()


def test_answers_by_source_in_several_passes_equal_the_oracle() -> None:
    @settings(QUICK, max_examples=10)
    @given(corpus=corpora(max_entities=3))
    def check(corpus: Corpus) -> None:
        with small_parts(2):
            check_by_source(corpus)

    check()


@pytest.mark.parametrize("lengths", [[1] * 3_000, [0] * 500 + [4_000] + [2] * 700, [700] * 9])
def test_document_of_every_position_is_found_in_large_blocks(lengths: list[int]) -> None:
    texts = ["a " * length for length in lengths]
    with small_parts(1 << 24), index_of(texts) as index:
        (shard,) = index.shards
        assert len(shard._positions.blocks) == 1
        wanted = np.repeat(np.arange(len(lengths)), np.array(lengths) + 1)
        assert shard.documents_of(np.arange(shard.size)).tolist() == wanted.tolist()


@both_layouts
def test_range_of_tokens_equals_the_documents_that_begin_in_it(layout: Layout, tmp_path: Path) -> None:
    lengths = [3, 0, 0, 5, 1, 0, 7, 2, 0]
    with make_index(tmp_path, ["a " * length for length in lengths], layout=layout, shard_tokens=9) as index:
        begins = np.concatenate([[0], np.cumsum(lengths)[:-1]])
        for first in range(20):
            for last in range(first, 20):
                counted = [length for length, at in zip(lengths, begins, strict=True) if first <= at < last]
                answer = index.count("a", scope=Scope(tokens=(first, last)))
                assert answer.occurrences == sum(counted), (first, last)


# ------------------------------------------------------------------------------------------- an index of terabytes

SHARDS, DOCUMENTS, TOKENS = 128, 7_812_500, 500  # 10^9 documents, and 5 * 10^11 tokens with separators
SIZE = DOCUMENTS * TOKENS
#: Words by id; only alpha and beta are searched, and each is alone in its entry of ``first.N``.
VOCABULARY = ["filler", "b1", "b2", "b3", "alpha", "c1", "c2", "c3", "beta", "d1", "d2", "d3"]
ALPHA, BETA = 4, 8


def write_sparse_index(folder: Path) -> None:
    """Write an index whose shards are hard links of one sparse shard, in which few rows and tokens are real.

    Every 1,000th document has alpha as its 10th token, and every 3,000th beta as its 12th. The last document ends with
    333 times alpha, beyond 14 GiB.
    """
    folder.mkdir()
    alpha = np.arange(0, DOCUMENTS, 1_000, dtype=np.int64) * TOKENS + 10
    alpha = np.append(alpha, SIZE - 1 - np.arange(333))
    beta = np.arange(0, DOCUMENTS, 3_000, dtype=np.int64) * TOKENS + 12
    with (folder / "tokenized.0").open("wb") as file:
        file.write(b"\xff" * 4)
        for positions, word in ((alpha, ALPHA), (beta, BETA)):
            for position in positions.tolist():
                file.seek(position * 4)
                file.write(word.to_bytes(4, "little"))
        file.truncate(SIZE * 4)
    # The rows of a word are all rows of its entry of ``first.N``; the end of an entry is the beginning of the next.
    rows = [0, SIZE // 2 - len(alpha), SIZE // 2, SIZE // 2 + len(beta), SIZE]
    assert len(rows) == first_entries(len(VOCABULARY), 2)
    with (folder / "table.0").open("wb") as file:
        file.seek(rows[1] * 5)
        file.write(pack(np.concatenate([alpha, beta]) * 4, 5).tobytes())
        file.truncate(SIZE * 5)
    np.array(rows, "<u4").tofile(folder / "first.0")
    (np.arange(DOCUMENTS, dtype="<u8") * (TOKENS * 4)).tofile(folder / "offset.0")
    (folder / "documents.0.parquet").write_bytes(b"not read here")
    names = ["tokenized.{}", "table.{}", "offset.{}", "first.{}", "documents.{}.parquet"]
    for number in range(1, SHARDS):
        for name in names:
            os.link(folder / name.format(0), folder / name.format(number))
    table = WordTable()
    words = "".join(VOCABULARY).encode()
    starts = np.cumsum([0, *map(len, VOCABULARY)]).astype(np.int64)
    table.extend(np.frombuffer(words, np.uint8), starts)
    write_vocabulary(folder, 0, table)
    analyzer = get_analyzer("words")
    Manifest(
        analyzer="words",
        analyzer_label=analyzer.label,
        token_dtype="u32",
        vocabulary_size=len(VOCABULARY),
        vocabulary_generation=0,
        shards=tuple(ShardRecord(number, DOCUMENTS, SIZE - DOCUMENTS, len(VOCABULARY)) for number in range(SHARDS)),
        sources={},
        text_bytes=0,
        skipped_lines=0,
        files={path.name: FileRecord(path.stat().st_size, "0" * 64) for path in folder.iterdir()},
    ).write(folder)


ASKING = """
import json, sys, threading, time
from factcensus.indexer import CountIndex, facts_from_rows
from factcensus.indexer.counting.scope import Scope

def anonymous():
    lines = dict(line.split(":", 1) for line in open("/proc/self/status"))
    return int(lines["RssAnon"].split()[0]) << 10

most, done = anonymous(), False
def watch():
    global most
    while not done:
        most = max(most, anonymous())
        time.sleep(0.02)
watching = threading.Thread(target=watch)
watching.start()
facts = facts_from_rows([{"subject": "alpha", "object": "beta"}] * 3)
with CountIndex.open(sys.argv[1]) as index:
    alpha = index.count_many(["alpha"])[0].tolist()
    together = index.count_facts(facts, windows=[1, 0], threads=2).to_pylist()[0]
    half = index.count_many(["beta"], scope=Scope(documents=(0, 500_000_000)))[0].tolist()
    documents = sum(shard.documents for shard in index.shards)
    tokens = sum(shard.size for shard in index.shards)
done = True
watching.join()
names = [name for name in together if name.startswith("cooc")]
print(json.dumps({"bytes": most, "documents": documents, "tokens": tokens, "alpha": alpha, "half": half,
                  "together": {name: together[name] for name in names}}))
"""


@pytest.mark.full
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the memory of a process from /proc")
def test_memory_for_a_billion_documents_stays_below_eight_gibibytes(tmp_path: Path) -> None:
    write_sparse_index(tmp_path / "large")
    ran = subprocess.run(
        [sys.executable, "-c", ASKING, str(tmp_path / "large")],
        capture_output=True,
        text=True,
        timeout=550,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)
    assert found["documents"] == 1_000_000_000
    assert found["tokens"] == 500_000_000_000
    regular, ends = -(-DOCUMENTS // 1_000), 333
    both = -(-DOCUMENTS // 3_000)
    assert found["alpha"] == [SHARDS * (regular + ends), SHARDS * (regular + 1)]
    assert found["half"] == [SHARDS * both // 2] * 2
    assert set(found["together"].values()) == {SHARDS * both, 0}
    assert found["together"]["cooccurrence_pairs_w1"] == SHARDS * both
    assert found["together"]["cooccurrence_pairs_w0"] == 0
    assert found["bytes"] < 8 << 30
    print(f"{found['bytes'] / (1 << 30):.2f} GiB")  # page cache apart
