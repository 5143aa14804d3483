"""The size of shards, their memory, and large shards; thresholds are lowered where real ones need gigabytes."""

from __future__ import annotations

import random
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factcensus.indexer import CountIndex, build_index, verify_index
from factcensus.indexer.building import shards
from factcensus.indexer.building.settings import BYTES_PER_TOKEN, PROCESS_BYTES
from factcensus.indexer.building.spool import SpoolTask
from factcensus.indexer.cli.root import main
from factcensus.indexer.corpus import SourceFile
from factcensus.indexer.errors import InputError
from factcensus.indexer.storage import layout, repeated
from factcensus.indexer.storage.maintain import write_state
from factcensus.indexer.storage.manifest import Layout, Manifest

from .corpora import content, make_index, records, write_corpus
from .strategies import QUICK

Numbers = npt.NDArray[np.integer[Any]]


def unpacked(entries: npt.NDArray[np.uint8], width: int) -> npt.NDArray[np.int64]:
    """Convert little-endian unsigned integers of ``width`` bytes each to int64."""
    padded = np.zeros((len(entries) // width, 8), np.uint8)
    padded[:, :width] = entries.reshape(-1, width)
    return padded.view("<i8").ravel()


def many_texts(seed: int = 5) -> list[str]:
    chance = random.Random(seed)
    words = [f"w{n}" for n in range(400)]
    texts = [" ".join(chance.choices(words, k=chance.randrange(60))) for _ in range(200)]
    return texts + texts[:30]


def test_fixed_shard_size_makes_the_index_independent_of_memory(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus.jsonl", records(many_texts()))
    for name, memory in (("little", 300 << 20), ("much", 8 << 30)):
        build_index([corpus], tmp_path / name, shard_tokens=700, memory_bytes=memory, jobs=1)
    assert len(Manifest.read(tmp_path / "much").shards) > 5
    assert content(tmp_path / "little") == content(tmp_path / "much")


def test_shard_size_without_enough_memory_is_refused_before_any_work(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus.jsonl", records(["a"]))
    memory = PROCESS_BYTES + BYTES_PER_TOKEN * 1_000_000
    build_index([corpus], tmp_path / "fits", shard_tokens=1_000_000, memory_bytes=memory, jobs=1)
    with pytest.raises(InputError, match=r"too little for shards of 1,000,001 tokens.*smaller --shard-tokens"):
        build_index([corpus], tmp_path / "ix", shard_tokens=1_000_001, memory_bytes=memory, jobs=1)
    assert not (tmp_path / "ix.building").exists()


def test_command_line_fixes_the_shard_size(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus.jsonl", records(["a b c"] * 9))
    arguments = ["index", "build", str(corpus), "--out", str(tmp_path / "ix"), "--jobs", "1"]
    assert main([*arguments, "--shard-tokens", "0"]) == 2
    assert main([*arguments, "--shard-tokens", "12"]) == 0
    assert len(Manifest.read(tmp_path / "ix").shards) == 3


@settings(QUICK, max_examples=30)
@given(st.lists(st.integers(0, 30), min_size=1, max_size=12), st.integers(1, 60))
def test_plan_of_whole_files_equals_the_plan_by_documents(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int], budget: int
) -> None:
    folder = tmp_path_factory.mktemp("plan")
    texts = ["x " * length for length in lengths]
    for number in range(0, len(texts), 3):
        write_corpus(folder / f"corpus/{number:02}.jsonl", records(texts[number : number + 3]))
    build_index([folder / "corpus"], folder / "ix", shard_tokens=budget, jobs=1)
    wanted: list[list[int]] = [[]]
    for length in lengths:  # as many documents as fit, at least one
        if wanted[-1] and sum(wanted[-1]) + len(wanted[-1]) + length + 1 > budget:
            wanted.append([])
        wanted[-1].append(length)
    with CountIndex.open(folder / "ix") as index:
        assert [(np.diff(each.document_starts, append=each.size) - 1).tolist() for each in index.shards] == wanted


def test_memory_of_a_shard_does_not_grow_with_the_vocabulary(tmp_path: Path) -> None:
    """The same few documents, in an index with a few words and in one with twenty million."""
    peaks = []
    for vocabulary_size in (10_000, 20_000_000):
        folder = tmp_path / str(vocabulary_size)
        folder.mkdir()
        task = spooled(folder, vocabulary_size)
        piece = shards.Piece(task, 0, 100, 0, 5_000, whole=True)
        tracemalloc.start()
        try:
            shards.write_shard(
                folder,
                0,
                [piece],
                form=shards.ShardForm("u32", vocabulary_size, "suffix-array"),
                run=shards.SortSettings(1, "cpu"),
                on_stage=lambda *_: None,
            )
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
        assert (folder / "first.0").stat().st_size <= 4 * (layout.MOST_FIRST + 2)
    # The larger one still has the entries of ``first``, of which there are at most MOST_FIRST.
    assert peaks[1] - peaks[0] < 5 * layout.MOST_FIRST


def spooled(folder: Path, vocabulary_size: int) -> SpoolTask:
    """Write a spooled file of 100 documents of 50 words, which are far apart in the vocabulary."""
    ids = np.arange(5_000) * (vocabulary_size // 5_000)
    return spool_of(folder, np.arange(5_000), ids, [50] * 100)


def spool_of(folder: Path, words: Numbers, ids: Numbers, lengths: list[int]) -> SpoolTask:
    """Write a spooled file: the word at each place, the id in the index of each word, and the lengths of documents."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from factcensus.indexer.building.spool import DOCUMENT_SCHEMA

    task = SpoolTask(0, SourceFile("", "c", 0, ""), folder, "words")
    words.astype(np.uint32).tofile(task.path("ids"))
    ids.astype(np.uint32).tofile(task.path("global"))
    rows = {name: [None] * len(lengths) for name in DOCUMENT_SCHEMA.names} | {"tokens": lengths}
    pq.write_table(pa.Table.from_pydict(rows, schema=DOCUMENT_SCHEMA), task.path("parquet"), row_group_size=1_000)
    return task


#: Texts that take much memory: an upper bound of the ids, the ids, and the tokens of a document.
COSTLY: dict[str, Callable[[int], tuple[int, Numbers, int]]] = {
    "one word": lambda n: (1, np.zeros(n, np.int64), n // 4),
    "one document forty times": lambda n: (5_000, np.tile(RANDOM.integers(0, 5_000, n // 40), 40), n // 40),
    "every word once": lambda n: (n, RANDOM.permutation(n), n // 4),
    "every word twice": lambda n: (n // 2, np.concatenate([np.arange(n // 2), RANDOM.permutation(n // 2)]), n // 4),
    "as many pairs of frequent words as possible": lambda n: (60, RANDOM.integers(0, 60, n), n // 4),
    "as many frequent words as possible": lambda n: (n // 1_200 + 1, RANDOM.integers(0, n // 1_200 + 1, n), n // 4),
    "documents of two words": lambda n: (n, RANDOM.permutation(n), 2),
    "like natural text": lambda n: (n, np.minimum(RANDOM.zipf(1.2, n), n) - 1, 400),
}
RANDOM = np.random.default_rng(1)


@pytest.mark.parametrize("layout", get_args(Layout))
@pytest.mark.parametrize("name", COSTLY)
def test_memory_of_a_shard_stays_within_the_planned_limit(name: str, layout: Layout, tmp_path: Path) -> None:
    """Measures all arrays with tracemalloc, while the files of a shard are written and its n-grams are counted."""
    for folder, size in (("small", 3_000), ("large", 1_000_000)):  # the small one compiles the kernels
        place = tmp_path / folder
        place.mkdir()
        types, ids, length = COSTLY[name](size)
        documents = [length] * (len(ids) // length)
        used, words = np.unique(ids[: sum(documents)], return_inverse=True)
        task = spool_of(place, words, used, documents)
        piece = shards.Piece(task, 0, len(documents), 0, sum(documents), whole=True)
        form, nothing = shards.ShardForm("u32", types, layout), np.zeros(0, np.uint32)
        del ids, used, words
        tracemalloc.start()
        try:
            record, _ = shards.write_shard(
                place, 0, [piece], form=form, run=shards.SortSettings(1, "cpu"), on_stage=lambda *_: None
            )
            written = tracemalloc.get_traced_memory()[1]
            tracemalloc.reset_peak()
            write_state(place, record, layout, nothing, nothing, place)
            counted = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    limit = BYTES_PER_TOKEN * (record.tokens + record.documents) + (5 << 20)  # files are hashed 4 MiB at a time
    assert (written <= limit, counted <= limit) == (True, True), (written / limit, counted / limit)


@pytest.mark.parametrize("entries", [1, 3, 40])
def test_coarse_table_of_first_rows_gives_the_same_counts(
    entries: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A vocabulary that is large compared with a shard has one entry for many types."""
    texts = many_texts()
    words = sorted({word for text in texts for word in text.split()})
    with make_index(tmp_path / "fine", texts, shard_tokens=900) as index:
        wanted = index.count_many(words)
        fine = (tmp_path / "fine/ix/first.0").stat().st_size
    monkeypatch.setattr(layout, "MOST_FIRST", entries)
    with make_index(tmp_path / "coarse", texts, shard_tokens=900) as index:
        assert index.count_many(words).tolist() == wanted.tolist()
        assert (tmp_path / "coarse/ix/first.0").stat().st_size < fine
    verify_index(tmp_path / "coarse/ix", full=True)
    monkeypatch.undo()
    with pytest.raises(Exception, match=r"first\.0 does not match"):
        CountIndex.open(tmp_path / "coarse/ix")
    monkeypatch.setattr(layout, "MOST_FIRST", entries)
    with CountIndex.open(tmp_path / "fine/ix") as index:  # as older versions wrote it
        assert index.count_many(words).tolist() == wanted.tolist()


def test_tables_with_entries_of_five_bytes_are_written_and_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Real ones begin at 2^30 tokens of four bytes, so the minimum width is raised for small files."""
    texts = many_texts()
    words = sorted({word for text in texts for word in text.split()})
    queries = [*words, *(text for text in texts if text)]
    with make_index(tmp_path / "narrow", texts, shard_tokens=3_000) as index:
        wanted = index.count_many(queries)
    width = layout.entry_bytes
    monkeypatch.setattr(layout, "entry_bytes", lambda size: max(5, width(size)))
    with make_index(tmp_path / "wide", texts, shard_tokens=3_000) as index:
        assert index.count_many(queries).tolist() == wanted.tolist()
        for each in index.shards:
            assert each.table.size == 5 * each.size
            assert each.first_wrong_row() is None
    narrow, wide = (content(tmp_path / name / "ix") for name in ("narrow", "wide"))
    for name in narrow:
        if name.startswith("table."):
            entries = unpacked(np.frombuffer(narrow[name], np.uint8), width(len(narrow[f"tokenized.{name[6:]}"])))
            assert unpacked(np.frombuffer(wide[name], np.uint8), 5).tolist() == entries.tolist()
        elif name != "manifest.json":
            assert wide[name] == narrow[name]


def test_positions_beyond_four_gibibytes_are_packed_in_five_bytes() -> None:
    positions = np.array([0, 1, (1 << 30) - 1, 1 << 30, (1 << 32) - 2], np.uint32)
    assert layout.entry_bytes(1 << 32) == 4
    assert layout.entry_bytes((1 << 32) + 1) == 5
    assert unpacked(layout.pack(positions.astype(np.uint64) * np.uint64(4), 5), 5).tolist() == [
        position * 4 for position in positions.tolist()
    ]


# ------------------------------------------------------------------------------------------------ repeated documents


@pytest.mark.parametrize("bucket", [1, 2, 7, 1 << 22])
def test_repeated_documents_are_found_in_buckets_as_at_once(
    bucket: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(bucket)
    texts = [chance.choice(["a", "a b", "b a", "", "c " * 9, f"only {n}"]) for n in range(150)]
    monkeypatch.setattr(repeated, "BUCKET_DOCUMENTS", bucket)
    with make_index(tmp_path, texts, shard_tokens=40) as index:
        found = [each.first_document + row for each in index.shards for row in each.repeated.tolist()]
    assert found == [number for number, text in enumerate(texts) if text in texts[:number]]
    assert not [path for path in (tmp_path / "ix").iterdir() if path.name.startswith(".")]


def test_equal_digests_of_different_texts_are_not_repeats() -> None:
    records = np.zeros(5, repeated.RECORD)
    records["digest"] = 7
    records["text_bytes"] = [3, 4, 3, 3, 3]
    records["tokens"] = [1, 1, 2, 1, 2]
    records["document"] = [0, 1, 2, 3, 4]
    assert repeated.repeated_in(records).tolist() == [3, 4]
