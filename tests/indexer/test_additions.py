"""Additions to an index are never counted twice, even if repeated or killed, and leave no old files."""

from __future__ import annotations

import gzip
import re
import shutil
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from factcensus.indexer import (
    CountIndex,
    add_to_index,
    build_index,
    compact_index,
    delete_documents,
    verify_index,
)
from factcensus.indexer.building import build as build_module
from factcensus.indexer.building import staging
from factcensus.indexer.cli import main
from factcensus.indexer.errors import InputError
from factcensus.indexer.storage.manifest import Manifest

from .corpora import write_bytes, write_corpus
from .interrupting import Interrupter

FIRST = [{"id": f"a{n}", "text": f"word{n % 3} again"} for n in range(6)]
MORE = [{"id": f"b{n}", "text": f"new{n % 3} again"} for n in range(5)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    build_index([write_corpus(tmp_path / "first.jsonl", FIRST)], tmp_path / "ix", jobs=1)
    return tmp_path / "ix"


def documents(folder: Path) -> int:
    with CountIndex.open(folder) as index:
        found: int = index.count("again").documents
        return found


def test_documents_already_added_are_refused(folder: Path, tmp_path: Path) -> None:
    """Also under another name, compressed, in another place or order, and for files of the first build."""
    more = write_corpus(tmp_path / "more.jsonl", MORE)
    add_to_index(folder, [more], jobs=1)
    again = [
        more,
        write_bytes(tmp_path / "x/renamed.json.gz", more.read_bytes()),
        write_bytes(tmp_path / "y/first.jsonl", (tmp_path / "first.jsonl").read_bytes() + b"\n"),
        write_corpus(tmp_path / "z/more.parquet", MORE),
    ]
    other = write_corpus(tmp_path / "other.jsonl", [{"id": "c", "text": "other again"}])
    digest = Manifest.read(folder).digest
    for file in again:
        for sources in ([file], [other, file]):
            with pytest.raises(InputError, match=rf"of {file.name} are already in the index.*--allow-repeat"):
                add_to_index(folder, sources, jobs=1)
            assert not (tmp_path / "ix.building").exists()
    assert (Manifest.read(folder).digest, documents(folder)) == (digest, 11)
    add_to_index(folder, [other], jobs=1)
    add_to_index(folder, [more], jobs=1, allow_repeat=True)
    assert documents(folder) == 11 + 1 + 5
    verify_index(folder)


def test_added_contents_are_remembered_after_every_change(folder: Path, tmp_path: Path) -> None:
    more = write_corpus(tmp_path / "more.jsonl", MORE)
    add_to_index(folder, [more], jobs=1)
    delete_documents(folder, ids=["b0"])
    compact_index(folder, jobs=1)
    compact_index(folder, tmp_path / "copy", jobs=1)
    for each in (folder, tmp_path / "copy"):
        with pytest.raises(InputError, match=r"more\.jsonl are already"):
            add_to_index(each, [more], jobs=1)
    assert add_to_index(folder, [more], replace=True, jobs=1).documents == 11


def test_documents_with_other_ids_or_texts_are_added(folder: Path, tmp_path: Path) -> None:
    added = len(FIRST)
    for name, rows in {
        "ids": [{**row, "id": f"c{row['id']}"} for row in FIRST],
        "texts": [{**row, "text": row["text"] + " x"} for row in FIRST],
        "fewer": FIRST[:-1],
        "order": FIRST[::-1],
        "empty": [{"id": "e", "text": ""}],
    }.items():
        added += len(rows)
        manifest = add_to_index(folder, [write_corpus(tmp_path / f"{name}.jsonl", rows)], jobs=1)
        assert manifest.documents == added


def test_command_line_refuses_repeated_additions(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = str(write_corpus(tmp_path / "more.jsonl", MORE))
    assert main(["index", "add", str(folder), more]) == 0
    assert main(["index", "add", str(folder), more]) == 2
    assert "--allow-repeat" in capsys.readouterr().err
    assert main(["index", "add", str(folder), more, "--allow-repeat"]) == 0
    assert documents(folder) == 16


def kill_and_repeat(place: Path, interrupt: Interrupter, step: int) -> None:
    arguments: tuple[Any, ...] = ("add_to_index", place / "ix", [str(place.parent / "more.jsonl")])
    told = interrupt(place, *arguments, at=step, jobs=1)
    assert told["error"] is None
    before = documents(place / "ix")
    assert before in (6, 11)
    done = before == 11 and not (place / "ix.building/plan.json").exists()
    with pytest.raises(InputError, match="already") if done else nullcontext():
        add_to_index(place / "ix", [place.parent / "more.jsonl"], jobs=1)
    assert documents(place / "ix") == 11, step
    with pytest.raises(InputError, match="already"):
        add_to_index(place / "ix", [place.parent / "more.jsonl"], jobs=1)
    assert [path.name for path in place.iterdir()] == ["ix"]
    manifest = Manifest.read(place / "ix")
    assert {path.name for path in (place / "ix").iterdir()} == {*manifest.files, "manifest.json"}


@pytest.mark.parametrize("steps", ["last", pytest.param("all", marks=pytest.mark.full)])
def test_addition_repeated_after_a_kill_counts_once(
    steps: str, folder: Path, tmp_path: Path, interrupt: Interrupter
) -> None:
    """Kill it before every step that changes the disk, including the last steps, when the change is already made."""
    write_corpus(tmp_path / "more.jsonl", MORE)
    shutil.copytree(folder, tmp_path / "cut/ix")
    arguments = ("add_to_index", tmp_path / "cut/ix", [str(tmp_path / "more.jsonl")])
    count = interrupt(tmp_path / "cut", *arguments, at=-1, jobs=1)["steps"]
    assert count > 20
    for step in range(count) if steps == "all" else [count // 2, *range(count - 8, count)]:
        shutil.rmtree(tmp_path / "cut")
        shutil.copytree(folder, tmp_path / "cut/ix")
        kill_and_repeat(tmp_path / "cut", interrupt, step)


def test_finished_addition_is_cleaned_up_after_another_change(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = write_corpus(tmp_path / "more.jsonl", MORE)
    with monkeypatch.context() as patch:
        patch.setattr(staging, "discard", lambda _folder: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            add_to_index(folder, [more], jobs=1)
    assert (tmp_path / "ix.building/plan.json").exists()
    delete_documents(folder, ids=["b1"])
    add_to_index(folder, [more], jobs=1)  # is known as done
    assert documents(folder) == 10
    assert not (tmp_path / "ix.building").exists()


def test_many_additions_leave_only_the_files_of_the_last_generation(folder: Path, tmp_path: Path) -> None:
    with CountIndex.open(folder) as reader:
        for number in range(5):
            rows = [{"id": f"{number}-{n}", "text": f"again fresh{number} and" * (n + 1)} for n in range(3)]
            add_to_index(folder, [write_corpus(tmp_path / f"{number}.jsonl", [*rows, FIRST[0]])], jobs=1)
            delete_documents(folder, ids=[f"{number}-0"])
        assert reader.count("again").documents == 6, "what was opened before counts as before"
    manifest = Manifest.read(folder)
    names = {path.name for path in folder.iterdir()}
    assert names == {*manifest.files, "manifest.json"}
    assert {name for name in names if name.startswith("vocabulary")} == {
        f"vocabulary.5.{part}" for part in ("utf8", "starts", "sorted")
    }
    for kind in ("deleted", "repeated", "frequent"):
        shards = [re.sub(r"\.\d+$", "", name) for name in names if name.startswith(kind)]
        assert len(shards) == len(set(shards)), "one generation of each shard"
    verify_index(folder)


def test_many_shards_are_reported_with_the_remedy(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build_module, "MANY_SHARDS", 3)
    told: list[str] = []
    for number in range(2):
        file = write_corpus(tmp_path / f"{number}.jsonl", [{"text": f"again {number}"}])
        add_to_index(folder, [file], jobs=1, notice=told.append)
    assert len(told) == 1
    assert f"3 shards, and every count searches each of them; run 'factcensus index compact {folder}'" in told[0]


def test_compressed_copy_has_the_content_digest_of_the_original(tmp_path: Path) -> None:
    """The digest depends on the documents, but not on the path, the compression or the batches."""
    plain = write_corpus(tmp_path / "a.jsonl", FIRST)
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(plain.read_bytes()))
    contents = [
        build_index([file], tmp_path / f"ix{file.suffix}", jobs=1, analyzer=analyzer).contents
        for file, analyzer in ((plain, "words"), (tmp_path / "b.jsonl.gz", "bytes"))
    ]
    assert contents[0] == contents[1]
    assert len(contents[0]) == 1
