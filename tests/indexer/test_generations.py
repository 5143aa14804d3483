"""Generations of an index: each change creates one, and an open index keeps its own and reports newer ones."""

from __future__ import annotations

import gc
import os
import shutil
import sys
import weakref
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from factcensus.indexer import CountIndex, Entity, add_to_index, build_index, compact_index, delete_documents
from factcensus.indexer.counting.scope import Scope
from factcensus.indexer.errors import IndexFormatError, NoIndexError
from factcensus.indexer.kernels import native
from factcensus.indexer.storage import documents
from factcensus.indexer.storage import manifest as manifests
from factcensus.indexer.storage.manifest import Manifest
from factcensus.indexer.warm_up import ask_everything

from .corpora import write_corpus

TEXTS = ("a b secret", "a c", "b c a", "secret secret", "a b")


def build(folder: Path, texts: tuple[str, ...] = TEXTS, **options: Any) -> Path:
    rows = [{"id": f"d{i}", "text": text, "n": i % 2, "title": f"Title {i}"} for i, text in enumerate(texts)]
    build_index([write_corpus(folder.with_suffix(".jsonl"), rows)], folder, jobs=1, **options)
    return folder


def more(folder: Path, *texts: str) -> Path:
    rows = [{"id": f"more{i}", "text": text, "n": 0, "title": f"More {i}"} for i, text in enumerate(texts)]
    return write_corpus(folder / "more.jsonl", rows)


def answers(index: CountIndex) -> list[Any]:
    """Return every kind of answer, including those from the document table, without caches."""
    return [
        index.digest,
        index.count("a"),
        index.count("a", by="n"),
        index.count("a", scope=Scope(where="metadata ->> '$.n' = '1'")),
        index.find_documents(text="a", by="id"),
        index.info(),
    ]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return build(tmp_path / "ix")


def test_each_change_is_a_generation_and_records_whether_older_answers_are_valid(folder: Path, tmp_path: Path) -> None:
    seen = [Manifest.read(folder)]
    add_to_index(folder, [more(tmp_path, "a new")], jobs=1)
    seen.append(Manifest.read(folder))
    compact_index(folder, jobs=1)
    seen.append(Manifest.read(folder))
    delete_documents(folder, ids=["d0"])
    seen.append(Manifest.read(folder))
    delete_documents(folder, ids=["d0"])  # already deleted: no change
    compact_index(folder, jobs=1)
    seen.append(Manifest.read(folder))
    compact_index(folder, tmp_path / "other", jobs=1)
    seen.append(Manifest.read(tmp_path / "other"))
    assert [each.generation for each in seen] == [0, 1, 2, 3, 4, 5]
    for number, now in enumerate(seen):
        assert [now.holds_all_of(each.digest) for each in seen] == [
            (earlier >= 3) == (number >= 3) and earlier <= number for earlier in range(6)
        ]
        assert [now.descends_from(each.digest) for each in seen] == [earlier <= number for earlier in range(6)]
        assert not now.holds_all_of(None)
    with CountIndex.open(folder) as index:
        assert index.generation == index.info().generation == 4


def test_listed_changes_are_limited_and_older_digests_are_outdated(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manifests, "MOST_CHANGES", 2)
    first = Manifest.read(folder).digest
    for _ in range(2):
        compact_index(folder, jobs=1)
    assert Manifest.read(folder).holds_all_of(first)
    compact_index(folder, jobs=1)
    now = Manifest.read(folder)
    assert (now.generation, len(now.changes), now.holds_all_of(first)) == (3, 2, False)


def changes(tmp_path: Path) -> dict[str, Callable[[Path], object]]:
    def replaced(folder: Path) -> None:
        """Replace the folder by another index with the same file names and sizes."""
        other = build(tmp_path / "other", tuple(text.replace("secret", "public") for text in TEXTS))
        folder.rename(tmp_path / "old")
        other.rename(folder)

    return {
        "add": lambda folder: add_to_index(folder, [more(tmp_path, "a new", "secret")], jobs=1),
        "delete": lambda folder: delete_documents(folder, ids=["d0"]),
        "compact": lambda folder: compact_index(folder, jobs=1),
        "delete, compact": lambda folder: (delete_documents(folder, ids=["d0"]), compact_index(folder, jobs=1)),
        "replaced": replaced,
        "removed": shutil.rmtree,
    }


@pytest.mark.parametrize("change", ["add", "delete", "compact", "delete, compact", "replaced", "removed"])
def test_open_index_keeps_its_generation_whatever_happens_to_the_folder(
    change: str, folder: Path, tmp_path: Path
) -> None:
    with CountIndex.open(folder) as index:
        wanted = answers(index)
    with CountIndex.open(folder) as index:
        assert not index.changed
        changes(tmp_path)[change](folder)
        assert index.changed
        assert answers(index) == wanted
        if change == "removed":
            with pytest.raises(NoIndexError):
                index.reopen()
            return
        with index.reopen() as now:
            assert not now.changed
            assert now.name == index.name
            assert now.digest != index.digest
            assert answers(index) == wanted
            assert now.find_documents(text="a").documents[0].id == ("d1" if "delete" in change else "d0")


@pytest.mark.parametrize("change", ["delete, compact", "replaced", "removed"])
def test_files_moved_during_a_query_are_still_read(
    change: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DuckDB compares file names with the allowed ones when it opens files, and the names may change."""
    closed = documents._closed
    with CountIndex.open(folder) as index:
        wanted = answers(index)
    moved: list[str] = []

    def move_after(*arguments: Any) -> Iterator[str]:
        yield from closed(*arguments)
        if not moved:
            moved.append(change)
            changes(tmp_path)[change](folder)

    with CountIndex.open(folder) as index:
        monkeypatch.setattr(documents, "_closed", move_after)
        assert answers(index) == wanted
        assert moved


def test_touched_manifest_is_not_a_change_but_a_damaged_one_is(folder: Path) -> None:
    with CountIndex.open(folder) as index:
        content = (folder / "manifest.json").read_bytes()
        os.utime(folder / "manifest.json", ns=(1, 1))
        assert not index.changed
        (folder / "manifest.json").write_bytes(content)
        assert not index.changed
        (folder / "manifest.json").write_bytes(content[:-9])
        assert index.changed
        with pytest.raises(IndexFormatError, match="is invalid"):
            index.reopen()
        assert index.count("a").documents == 4


def test_infini_gram_index_reports_replaced_files(tmp_path: Path) -> None:
    folder = build(tmp_path / "ix", analyzer="bytes")
    for path in folder.iterdir():
        if not path.name.startswith(("tokenized", "table", "offset")):
            path.unlink()
    with CountIndex.open(folder, name="mine") as index:
        assert (index.changed, index.generation, index.digest) == (False, None, None)
        shutil.copy(folder / "table.0", tmp_path / "copy")
        (tmp_path / "copy").rename(folder / "table.0")
        assert index.changed
        with index.reopen() as now:
            assert (now.changed, now.name) == (False, "mine")


@pytest.fixture
def no_garbage_collection() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_garbage_collection")
def test_unreferenced_index_releases_its_files_at_once(folder: Path) -> None:
    """A removed file takes disk space until no process has it open."""

    def files() -> set[str]:
        """Return the files of the index that this process has open or mapped."""
        mapped = {line.split()[-1] for line in Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()}
        opened = {os.path.realpath(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd")}
        return {Path(name).name for name in mapped | opened if name.startswith(f"{folder}/")}

    if not Path("/proc/self/maps").exists():
        pytest.skip("needs /proc")
    index = CountIndex.open(folder)
    answers(index)
    assert {"tokenized.0", "documents.0.parquet", "vocabulary.0.utf8"} <= files()
    known = weakref.ref(index)
    del index
    assert known() is None
    assert not files()


def test_no_kind_of_query_compiles_code_after_a_warm_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiling takes seconds, so a query of a kind that was left out may exceed its timeout."""

    def called(ask: Callable[[], object]) -> set[tuple[str, native.Key]]:
        """Return the compiled functions that a query calls, each with the types of its arguments."""
        monkeypatch.setattr(native, "seen", {})
        ask()
        assert native.seen is not None
        return {(name, types) for name, each in native.seen.items() for types in each}

    def queries(index: CountIndex) -> Iterator[Callable[[], object]]:
        for by in (None, "n"):
            yield partial(index.count, "a b c", by=by)
            for window in (None, 0, 5):
                yield partial(index.cooccurrence, "a", Entity("b", ("c",)), window=window, by=by)
                yield partial(index.cooccurrence, "a b", "c", window=window, by=by)
        for windows in ((), (0, 5)):
            yield partial(index.count_facts, [{"subject": "a", "object": "b"}], windows=windows)
        yield partial(index.complete, "a b")
        yield partial(index.trace, "a b c a z b", least_tokens=1)
        yield partial(index.find_documents, text="b c")
        yield partial(index.find_documents, subject="a")

    folder = build(tmp_path / "ix", tuple("a b c " * 400 for _ in range(4)))
    with CountIndex.open(folder) as index:
        warm = called(lambda: ask_everything(index, "a", "b", alias="c", by="n"))
        assert warm
        for query in queries(index):
            assert called(query) <= warm, query


def test_first_deletion_needs_no_newly_compiled_code(tmp_path: Path) -> None:
    """Compiling takes seconds and would delay the first counts after a takedown."""

    def compiled() -> dict[str, int]:
        modules = [module for name, module in sys.modules.items() if name.startswith("factcensus.indexer.")]
        functions = {id(each): each for module in modules for each in vars(module).values()}.values()
        return {
            f"{each.py_func.__module__}.{each.__name__}": len(each.signatures)
            for each in functions
            if hasattr(each, "signatures") and hasattr(each, "py_func")
        }

    def ask(index: CountIndex) -> None:
        ask_everything(index, "a", "b", alias="c", by="n")

    texts = tuple("a b c " * 400 for _ in range(4))  # enough for stored frequent n-grams
    folder = build(tmp_path / "ix", texts)
    with CountIndex.open(folder) as index:
        assert len(index.shards[0].frequent)
        ask(index)
    delete_documents(folder, ids=["d0"])
    before = compiled()
    with CountIndex.open(folder) as index:
        ask(index)
    assert compiled() == before


def test_changes_never_write_to_files_of_an_open_index(folder: Path, tmp_path: Path) -> None:
    """Old files are unlinked and new ones created, so mapped files keep their content."""
    kept: list[tuple[Path, int, bytes]] = []

    def keep() -> None:
        kept.extend((path, os.open(path, os.O_RDONLY), path.read_bytes()) for path in folder.iterdir())

    for change in ("add", "delete", "compact", "delete, compact"):
        keep()
        changes(tmp_path)[change](folder)
        again = write_corpus(tmp_path / "again.jsonl", [{"id": "d0", "text": "a again"}])
        add_to_index(folder, [again], jobs=1, allow_repeat=True)
    for path, descriptor, content in kept:
        with os.fdopen(descriptor, "rb") as file:
            assert file.read() == content, path
