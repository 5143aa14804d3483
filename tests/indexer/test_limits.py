"""Limits: deadlines, full disks, and terms with a hundred million occurrences."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from factcensus.indexer import (
    CountIndex,
    Deadline,
    Entity,
    add_to_index,
    build_index,
    compact_index,
    delete_documents,
    verify_index,
)
from factcensus.indexer.building.spool import DOCUMENT_SCHEMA
from factcensus.indexer.cli import main
from factcensus.indexer.counting.scope import Scope
from factcensus.indexer.errors import DeadlineError, DiskFullError, IndexFormatError, InputError
from factcensus.indexer.storage.layout import entry_bytes, pack
from factcensus.indexer.storage.manifest import FileRecord, Manifest, ShardRecord

from .corpora import make_index, write_corpus

# ---------------------------------------------------------------------------------------------- stopped counts

TEXTS = [f"the cat {n % 7} sat on the mat the cat" for n in range(400)]


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CountIndex]:
    with make_index(tmp_path_factory.mktemp("limits"), TEXTS, shard_tokens=1_500) as opened:
        yield opened


def asked(index: CountIndex) -> dict[str, Callable[[Deadline | None], Any]]:
    """Return every kind of count, covering the different code paths."""
    the, cat, overlapping = Entity("the"), Entity("cat"), Entity("the cat", ("cat", "cat 3"))
    scope = Scope(documents=(0, 300))
    return {
        "count": lambda deadline: index.count("the", deadline=deadline),
        "count in a scope": lambda deadline: index.count("the", scope=scope, deadline=deadline),
        "count by group": lambda deadline: index.count("the", by="record", deadline=deadline),
        "many": lambda deadline: index.count_many(["the", "cat", "mat the"], deadline=deadline).tolist(),
        "together": lambda deadline: index.cooccurrence(the, cat, deadline=deadline),
        "together in a window": lambda deadline: index.cooccurrence(the, cat, window=1, deadline=deadline),
        "overlapping forms": lambda deadline: index.cooccurrence(the, overlapping, scope=scope, deadline=deadline),
        "facts": lambda deadline: index.count_facts(
            pa.table({"subject": ["the", "cat"] * 50, "object": ["mat", "sat"] * 50}),
            windows=[2],
            threads=2,
            deadline=deadline,
        ).to_pylist(),
    }


KINDS = list(asked(None))  # type: ignore[arg-type]


def wait_for(deadline: Deadline) -> None:
    """Wait until the clock's thread has stopped the counts of a deadline."""
    for _ in range(6_000):
        if deadline.flag[0]:
            return
        time.sleep(0.01)
    raise AssertionError("the deadline passed unnoticed")


@pytest.mark.parametrize("kind", KINDS)
def test_count_over_its_deadline_raises_and_leaves_the_index_unchanged(kind: str, index: CountIndex) -> None:
    ask = asked(index)[kind]
    right = ask(None)
    cancelled = Deadline()
    cancelled.cancel()
    with pytest.raises(DeadlineError, match="stopped before it was complete"):
        ask(cancelled)
    with Deadline(seconds=1e-4) as over:
        wait_for(over)
        with pytest.raises(DeadlineError, match=r"more than 0\.0001 s; count less"):
            ask(over)
    assert ask(None) == right
    for other, count in asked(index).items():
        assert count(Deadline()) == count(None), other


@pytest.mark.parametrize("kind", KINDS)
def test_count_stopped_at_any_check_leaves_the_index_unchanged(
    kind: str, index: CountIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The count is cancelled at the n-th check of the deadline, in the middle of the work."""
    ask = asked(index)[kind]
    right = ask(None)
    check = Deadline.check
    for at in range(1, 6):
        looks = 0

        def counted(self: Deadline, at: int = at) -> None:
            nonlocal looks
            looks += 1
            if looks == at:
                self.cancel()
            check(self)

        with monkeypatch.context() as patch:
            patch.setattr(Deadline, "check", counted)
            try:
                assert ask(Deadline()) == right
                assert looks < at
            except DeadlineError:
                pass
        assert ask(None) == right
    assert ask(None) == right


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf"), 1e300])
def test_invalid_deadline_is_refused(seconds: float) -> None:
    with pytest.raises(InputError, match="a deadline must be a number of seconds above 0"):
        Deadline(seconds)


def test_deadlines_share_one_thread_that_ends_with_them() -> None:
    before = threading.active_count()
    deadlines = [Deadline(seconds=seconds) for seconds in (1_000, 0.02, 500, 0.01)]
    with deadlines[0], deadlines[1], deadlines[2], deadlines[3]:
        deadlines[0].check()
        assert threading.active_count() <= before + 1
        wait_for(deadlines[1])
        wait_for(deadlines[3])
        assert not deadlines[0].flag[0]
        assert not deadlines[2].flag[0]
    for _ in range(500):  # on a busy machine, the block may take longer than the deadline
        began = time.monotonic()
        with Deadline(seconds=0.05) as again:
            pass
        if time.monotonic() - began < 0.05:
            break
    time.sleep(0.1)
    assert not again.flag[0], "it ended before its deadline"
    assert threading.active_count() <= before + 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are not forked here")
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_deadlines_are_kept_in_a_forked_process() -> None:
    with Deadline(seconds=1_000):  # so that the thread of the clock runs
        child = os.fork()
        if not child:
            with Deadline(seconds=0.01) as deadline:
                for _ in range(6_000):
                    time.sleep(0.01)
                    if deadline.flag[0]:
                        os._exit(0)
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


# ---------------------------------------------------------------------------------------------- very many occurrences


def write_ab_index(folder: Path, documents: int, per_document: int) -> Path:
    """Write the index of documents that are all "a b a b … b" (``per_document`` times "a b") directly.

    No n-gram is counted in advance, so a count must visit every occurrence.

    The suffix array is known in closed form. Suffixes that begin with the same token at the same place of their
    document differ only in the number of following documents, and the fewer follow, the earlier they sort. A place
    closer to the end of its document sorts later, because the separator, the largest id, follows it sooner.
    """
    folder.mkdir(parents=True)
    length = 2 * per_document + 1
    n = documents * length
    document = np.tile(np.array([0, 1], "<u4"), per_document)
    stream = np.tile(np.concatenate([[0xFFFFFFFF], document]).astype("<u4"), documents)
    stream.tofile(folder / "tokenized.0")
    (np.arange(documents, dtype="<u8") * np.uint64(4 * length)).tofile(folder / "offset.0")
    # The end of the stream sorts before everything: of one place, documents from the last to the first, and the last
    # document's "b"s, before which "a b … a b (end)" is shorter than any other, as well.
    width = entry_bytes(4 * n)
    last_first = np.arange(documents - 1, -1, -1, dtype=np.uint32) * np.uint32(length)
    with (folder / "table.0").open("wb") as table:

        def rows(positions: Any) -> None:
            table.write(pack(np.asarray(positions, np.uint64) * np.uint64(4), width).data)

        base = np.uint32((documents - 1) * length)
        for first in (1, 2):  # the positions of "a" and of "b" in a document
            # In the last document, the suffix at a later place is a proper prefix of that at an earlier place.
            rows(base + np.arange(length - 2 + first - 1, 0, -2, dtype=np.uint32)[:per_document])
            for place in range(first, length, 2):
                rows(last_first[1:] + np.uint32(place))
        rows(last_first)
    np.array([0, n], "<u4").tofile(folder / "first.0")
    for name, values in (
        ("utf8", np.frombuffer(b"ab", np.uint8)),
        ("starts", np.array([0, 1, 2], "<u4")),
        ("sorted", np.array([0, 1], "<u4")),
    ):
        values.tofile(folder / f"vocabulary.0.{name}")
    digests = np.arange(documents, dtype=np.uint64)  # pretend that the texts differ, which does not matter here
    names = pa.array(["x"] * documents, pa.string()).dictionary_encode()
    table_of_rows = pa.table(
        {
            "id": pa.array([f"d{i}" for i in range(documents)]),
            "source": names,
            "path": names,
            "record": np.arange(documents),
            "tokens": np.full(documents, 2 * per_document),
            "text_bytes": np.full(documents, 4 * per_document - 1),
            "text_digest": digests,
            "metadata": pa.array(["{}"] * documents),
        },
        schema=DOCUMENT_SCHEMA,
    )
    pq.write_table(table_of_rows, folder / "documents.0.parquet")
    tokens = 2 * per_document * documents
    Manifest(
        analyzer="words",
        analyzer_label="words/2+unicode-14.0.0",
        token_dtype="u32",
        vocabulary_size=2,
        vocabulary_generation=0,
        shards=(ShardRecord(0, documents, tokens, 2),),
        sources={"x": {"documents": documents, "tokens": tokens}},
        text_bytes=1,
        skipped_lines=0,
        files={path.name: FileRecord(path.stat().st_size, hashed(path)) for path in sorted(folder.iterdir())},
    ).write(folder)
    return folder


def hashed(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@pytest.mark.parametrize(("documents", "per_document"), [(1, 1), (3, 1), (5, 4), (40, 300)])
def test_index_written_in_closed_form_is_correct(documents: int, per_document: int, tmp_path: Path) -> None:
    folder = write_ab_index(tmp_path / "ix", documents, per_document)
    verify_index(folder, full=True)
    with CountIndex.open(folder) as index:
        assert index.count("a b").occurrences == documents * per_document
        answer = index.cooccurrence(Entity("a"), Entity("b"), window=0)
        assert answer.cooccurrence.as_json() == {"documents": documents, "pairs": documents * (2 * per_document - 1)}


def test_long_count_is_cancelled_from_another_thread(tmp_path: Path) -> None:
    """Two million occurrences are not counted in advance; the count is cancelled while compiled code runs."""
    folder = write_ab_index(tmp_path / "ix", 2_000, 1_000)
    with CountIndex.open(folder) as index:
        right = index.cooccurrence(Entity("a"), Entity("b", ("b a",)), window=3)
        stopped = tries = 0
        while tries < 5 or not stopped:  # on a busy machine the count may be complete before the other thread runs
            deadline = Deadline()
            timer = threading.Timer((0.0, 0.005, 0.02, 0.05, 0.1)[tries % 5], deadline.cancel)
            timer.start()
            try:
                assert index.cooccurrence(Entity("a"), Entity("b", ("b a",)), window=3, deadline=deadline) == right
            except DeadlineError:
                stopped += 1
            timer.join()
            tries += 1
            assert tries < 500
        assert index.cooccurrence(Entity("a"), Entity("b", ("b a",)), window=3) == right
        assert right.subject.mentions == 2_000 * 1_000


_COUNT_MANY = """
import json, sys, time
import numpy as np
from factcensus.indexer import CountIndex, Deadline, Entity
from factcensus.indexer.errors import DeadlineError

def anonymous():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) << 10 for line in status if line.startswith("RssAnon"))

a, b = Entity("a"), Entity("b", ("b a",))
told = {}
with CountIndex.open(sys.argv[1]) as index:
    index.cooccurrence(Entity("zebra"), b, window=2)
    before = anonymous()
    told["count"] = index.count("a b").as_json()
    told["together"] = index.cooccurrence(a, Entity("b")).cooccurrence.as_json()
    told["window"] = index.cooccurrence(a, Entity("b"), window=0).cooccurrence.as_json()
    told["overlapping"] = index.cooccurrence(a, b, window=0).object.as_json()
    told["growth"] = anonymous() - before
    for seconds in (0.05, 0.3):
        begin = time.monotonic()
        try:
            with Deadline(seconds) as deadline:
                index.cooccurrence(a, b, window=5, deadline=deadline)
            told["stopped"] = False
        except DeadlineError:
            told["stopped"] = time.monotonic() - begin
    again = index.count("a b").as_json()
    assert again == told["count"]
print(json.dumps(told))
"""


@pytest.mark.full
def test_term_with_a_hundred_million_occurrences_is_counted_in_bounded_memory_and_can_be_stopped(
    tmp_path: Path,
) -> None:
    documents, per_document = 25_000, 4_000
    folder = write_ab_index(tmp_path / "ix", documents, per_document)
    ran = subprocess.run(
        [sys.executable, "-c", _COUNT_MANY, folder], check=True, capture_output=True, text=True, env=os.environ
    )
    told = json.loads(ran.stdout)
    each = documents * per_document
    assert (told["count"]["occurrences"], told["count"]["documents"]) == (each, documents)
    assert told["together"] == {"documents": documents, "pairs": documents * per_document**2}
    assert told["window"] == {"documents": documents, "pairs": documents * (2 * per_document - 1)}
    assert told["overlapping"] == {**told["overlapping"], "mentions": each, "documents": documents}
    assert told["growth"] < 1_500 << 20
    assert 0 < told["stopped"] < 20


# ---------------------------------------------------------------------------------------------- full disks


class FullDisk:
    """A simulated disk on which all writes below a folder fail from the n-th write on.

    This affects writes by Python, Arrow and NumPy.
    """

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder = str(folder)
        self.writes = 0
        self.at: int | None = None
        original_open = io.open
        disk = self

        def open_file(file: Any, mode: str = "r", buffering: int = -1, *rest: Any, **options: Any) -> Any:
            opened = original_open(file, mode, buffering, *rest, **options)
            if "w" in mode and str(file).startswith(disk.folder):
                try:
                    disk.write()
                except OSError:
                    opened.close()
                    raise
            return opened

        class Writer(pq.ParquetWriter):
            def write_batch(self, *arguments: Any, **options: Any) -> None:
                disk.write()
                super().write_batch(*arguments, **options)

            def write_table(self, *arguments: Any, **options: Any) -> None:
                disk.write()
                super().write_table(*arguments, **options)

        original_link, original_fsync = os.link, os.fsync

        def link(*arguments: Any, **options: Any) -> None:
            disk.write()
            original_link(*arguments, **options)

        def fsync(descriptor: int) -> None:
            disk.write()
            original_fsync(descriptor)

        patch.setattr(io, "open", open_file)
        patch.setattr("builtins.open", open_file)
        patch.setattr(pq, "ParquetWriter", Writer)
        patch.setattr(os, "link", link)
        patch.setattr(os, "fsync", fsync)

    def write(self) -> None:
        self.writes += 1
        if self.at is not None and self.writes > self.at:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class Fill:
    """One change of an index on a disk that becomes full."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.folder = name, folder
        rows = [{"id": f"d{i}", "text": f"word{i % 9} and text {i % 5}"} for i in range(60)]
        self.first = write_corpus(folder / "first.jsonl", rows)
        self.more = write_corpus(folder / "more.jsonl", [{"id": f"n{i}", "text": f"new{i} text 1"} for i in range(20)])
        (folder / "start").mkdir()
        if name != "build":
            build_index([self.first], folder / "start/ix", jobs=1, shard_tokens=90)

    def fresh(self, name: str) -> Path:
        shutil.copytree(self.folder / "start", self.folder / name, copy_function=shutil.copyfile)
        return self.folder / name

    def run(self, place: Path) -> None:
        if self.name == "build":
            build_index([self.first], place / "ix", jobs=1, shard_tokens=90)
        elif self.name == "add":
            add_to_index(place / "ix", [self.more], jobs=1, shard_tokens=90)
        elif self.name == "delete":
            delete_documents(place / "ix", ids=["d3", "d50"])
        else:
            compact_index(place / "ix", jobs=1, shard_tokens=200)


def state(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.endswith(".partial")}


@pytest.mark.parametrize("name", ["build", "add", "delete", "compact"])
def test_full_disk_is_reported_and_the_same_bytes_follow_once_there_is_space(name: str, tmp_path: Path) -> None:
    fill = Fill(name, tmp_path)
    whole = fill.fresh("whole")
    with pytest.MonkeyPatch.context() as patch:
        disk = FullDisk(whole, patch)
        fill.run(whole)
    wanted = state(whole / "ix")
    assert disk.writes > 5
    before = state(fill.folder / "start/ix") if name != "build" else None
    for at in sorted({*range(0, disk.writes, 5), disk.writes - 1}):
        place = fill.fresh(f"full{at}")
        with pytest.MonkeyPatch.context() as patch:
            disk = FullDisk(place, patch)
            disk.at = at
            with pytest.raises(
                DiskFullError, match=r"the disk of .* is full \(No space left.*free some space.*again"
            ) as error:
                fill.run(place)
        assert str(place) in str(error.value)
        assert error.value.exit_code == 1
        if before is None and (place / "ix").exists():
            assert state(place / "ix") == wanted, "only the last sync was missing"
            continue
        if before is None:
            with pytest.raises(IndexFormatError):
                CountIndex.open(place / "ix")
        else:
            verify_index(place / "ix")
        fill.run(place)
        assert {file: content for file, content in state(place / "ix").items() if file in wanted} == wanted


@contextmanager
def tmpfs(folder: Path, size: str) -> Iterator[Path]:
    """Mount a small file system in memory, or skip the test if that is impossible."""
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("no file system can be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


@pytest.mark.full
@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("analyzer", ["words", "bytes"])
def test_really_full_disk_is_reported_at_every_step(
    analyzer: str, jobs: int, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file system grows until the build fits; the build continues each time.

    Something else fills the disk after the check at the start of a build, so the check finds room.
    """
    monkeypatch.setattr("factcensus.indexer.building.build.check_disk", lambda *_: None)
    chance = np.random.default_rng(1)
    for number in range(3):
        rows = [{"text": " ".join(f"w{i}" for i in chance.integers(0, 30_000, 300))} for _ in range(1_200)]
        write_corpus(tmp_path / f"c/{number}.jsonl", rows)
    arguments = ["--analyzer", analyzer, "--jobs", str(jobs)]
    assert main(["index", "build", str(tmp_path / "c"), "--out", str(tmp_path / "whole"), *arguments]) == 0
    messages = []
    with tmpfs(tmp_path / "disk", "256k") as disk:
        for room in (*range(1, 90, 2), 200):
            code = main(["index", "build", str(tmp_path / "c"), "--out", str(disk / "ix"), *arguments])
            err = capsys.readouterr().err
            if code == 0:
                break
            assert code == 1
            messages.append(err.splitlines()[-1])
            assert "is full" in messages[-1], messages[-1]
            assert "free some space" in messages[-1]
            with pytest.raises(IndexFormatError):
                CountIndex.open(disk / "ix")
            subprocess.run(["mount", "-o", f"remount,size={room}m", disk], check=True)
        assert len(messages) > 5
        wanted = state(tmp_path / "whole")
        assert state(disk / "ix") == wanted
