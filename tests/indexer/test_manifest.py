"""``manifest.json`` is never trusted: types, forms and file names are checked before use."""

from __future__ import annotations

import copy
import errno
import json
import os
import random
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from factcensus.indexer import CountIndex, build_index, delete_documents, verify_index
from factcensus.indexer.errors import FactcensusError, IndexerError, IndexFormatError
from factcensus.indexer.storage import documents, layout
from factcensus.indexer.storage.manifest import FORMAT, read_content

from .corpora import write_corpus

Content = dict[str, Any]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rows = [{"id": f"d{n}", "text": f"a b{n % 3}", "source": "xy"[n % 2]} for n in range(8)]
    build_index([write_corpus(tmp_path / "c.jsonl", rows)], tmp_path / "ix", jobs=1)
    delete_documents(tmp_path / "ix", ids=["d1"])
    return tmp_path / "ix"


def forge(folder: Path, change: Callable[[Content], object]) -> None:
    """Change a manifest and give it a matching digest."""
    path = folder / "manifest.json"
    content: Content = json.loads(path.read_bytes())
    change(content)
    said = {name: value for name, value in content.items() if name not in ("format", "digest", "documents", "tokens")}
    content["digest"] = sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
    path.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")


INJECTION = "0 AS shard, * FROM (SELECT 1); COPY (SELECT 1) TO 'written'; --"
FORGED: dict[str, Callable[[Content], object]] = {
    "a shard's number is SQL": lambda m: m["shards"][0].update(number=INJECTION),
    "a shard's number is a bool": lambda m: m["shards"][0].update(number=True),
    "a shard's number is negative": lambda m: m["shards"][0].update(number=-1),
    "a shard's number is a float": lambda m: m["shards"][0].update(number=0.0),
    "a generation is a path": lambda m: m["shards"][0].update(generation="../../x"),
    "a shard says more": lambda m: m["shards"][0].update(more=1),
    "a shard says less": lambda m: m["shards"][0].pop("tokens"),
    "a shard twice": lambda m: m["shards"].append(m["shards"][0]),
    "shards are an object": lambda m: m.update(shards={}),
    "a file outside": lambda m: m["files"].update({"../c.jsonl": {"bytes": 1, "sha256": "0" * 64}}),
    "an absolute file": lambda m: m["files"].update({"/etc/passwd": {"bytes": 1, "sha256": "0" * 64}}),
    "a file of nobody": lambda m: m["files"].update({"README.md": {"bytes": 1, "sha256": "0" * 64}}),
    "a file is missing": lambda m: m["files"].pop("table.0"),
    "a vocabulary file is missing": lambda m: m["files"].pop("vocabulary.0.starts"),
    "a size is text": lambda m: m["files"]["table.0"].update(bytes="9"),
    "a checksum is a number": lambda m: m["files"]["table.0"].update(sha256=5),
    "a checksum is short": lambda m: m["files"]["table.0"].update(sha256="0" * 9),
    "files are a list": lambda m: m.update(files=list(m["files"])),
    "the vocabulary's generation is a path": lambda m: m.update(vocabulary_generation="../0"),
    "the analyzer is a number": lambda m: m.update(analyzer=5),
    "the width is unknown": lambda m: m.update(token_dtype="u9"),
    "a source's documents are text": lambda m: m["sources"]["x"].update(documents="4"),
    "a change of another kind": lambda m: m["changes"][0].update(what="drop"),
    "a content is no digest": lambda m: m["contents"].append("x'); --"),
    "a size that is too large": lambda m: m.update(text_bytes=1 << 70),
}


@pytest.mark.parametrize("name", FORGED)
def test_forged_manifest_is_refused_before_anything_is_opened(
    name: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    forge(folder, FORGED[name])
    before = sorted(path.name for path in tmp_path.rglob("*"))
    for use in (CountIndex.open, verify_index, lambda path: delete_documents(path, where="true")):
        with pytest.raises(FactcensusError, match=r"manifest\.json is invalid \(ValueError"):
            use(folder)
    assert sorted(path.name for path in tmp_path.rglob("*")) == before


def test_rewritten_manifest_is_accepted(folder: Path) -> None:
    """The forgery itself is valid, so the tests above test the checks and not the digest."""
    forge(folder, lambda _content: None)
    with CountIndex.open(folder) as index:
        assert index.count("a").documents == 7


def mutated(content: Content, chance: random.Random) -> Any:
    """Return a copy with one value exchanged, removed or added."""
    content = copy.deepcopy(content)
    at: Any = content
    while True:
        key = chance.choice(list(at) if isinstance(at, dict) else range(len(at)))
        if isinstance(at[key], (dict, list)) and at[key] and chance.random() < 0.8:
            at = at[key]
            continue
        strange: list[Any] = [None, True, -1, 1 << 64, 0.5, "", "../x", [], {}, [[]], "a" * 64, float("inf")]
        if chance.random() < 0.2 and isinstance(at, dict):
            del at[key]
        else:
            at[key] = chance.choice(strange)
        return content


@pytest.mark.parametrize("times", [300, pytest.param(20_000, marks=pytest.mark.full)])
def test_mutated_manifest_is_read_or_refused(times: int, folder: Path) -> None:
    content = json.loads((folder / "manifest.json").read_bytes())
    assert content["format"] == FORMAT
    chance = random.Random(3)
    for _ in range(times):
        mutant = mutated(content, chance)
        try:
            manifest = read_content(mutant)
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
        json.dumps(manifest.render().decode())
        assert all(type(shard.number) is int for shard in manifest.shards)
        assert not any("/" in name for name in manifest.files)


# ---------------------------------------------------------------------------------------------- what is not the index


@contextmanager
def few_open_files() -> Iterator[None]:
    """Prevent this process from opening more files."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    held = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, limits[0]), limits[1]))
    try:
        while True:
            try:
                held.append(os.open(os.devnull, os.O_RDONLY))
            except OSError:
                break
        yield
    finally:
        for descriptor in held:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_too_many_open_files_are_not_reported_as_damage(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with CountIndex.open(folder) as index:  # do all lazy imports now
        index.count("a", by="source")
    monkeypatch.setattr(resource, "setrlimit", resource.setrlimit)
    index = CountIndex.open(folder)
    opens: list[Callable[[], object]] = [
        lambda: layout.map_file(folder / "table.0"),
        lambda: CountIndex.open(folder),
        lambda: index.shards[0].rows([0]),
    ]
    with few_open_files():
        errors = []
        for open_it in opens:
            try:
                open_it()
            except Exception as error:
                errors.append(error)
    index.close()
    assert len(errors) == 3
    for error in errors:
        assert isinstance(error, IndexerError)
        assert not isinstance(error, IndexFormatError)
        assert "too many open files" in str(error)
        assert "ulimit -n" in str(error)


def test_too_many_mapped_files_are_not_reported_as_damage(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import numpy as np

    def full(*_arguments: object) -> object:
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    monkeypatch.setattr(np, "memmap", full)
    with pytest.raises(IndexerError, match=r"cannot map .*max_map_count"):
        CountIndex.open(folder)


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        ("OutOfMemoryException", IndexerError, "not enough memory"),
        ("IOException: No space left on device", IndexerError, "the disk of .* is full"),
        ("IOException: Too many open files", IndexerError, "too many open files"),
        ("IOException: Invalid bytes", IndexFormatError, "run 'factcensus index verify'"),
    ],
)
def test_lack_of_resources_in_duckdb_is_not_reported_as_damage(
    error: str, kind: type, message: str, folder: Path
) -> None:
    import duckdb

    name, _, text = error.partition(": ")
    with (
        pytest.raises(kind, match=message) as raised,
        documents._documents({0: folder / "documents.0.parquet"}, {}),
    ):
        raise getattr(duckdb, name)(text)
    assert (type(raised.value) is IndexFormatError) == (kind is IndexFormatError)


@pytest.mark.parametrize("name", ["t.parquet", "t.csv", "t.jsonl"])
def test_failed_write_of_a_table_leaves_nothing_behind(name: str, tmp_path: Path) -> None:
    import pyarrow as pa

    from factcensus.indexer.tables import files

    class FullError(Exception):
        pass

    def full(_table: object, path: object, **_options: object) -> Any:
        if isinstance(path, Path):
            path.write_bytes(b"begun")
        raise FullError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "render", full)
        patch.setattr(files.pq, "write_table", full)
        with pytest.raises(FullError):
            files.write_table(pa.table({"subject": ["a"]}), tmp_path / name)
    assert list(tmp_path.iterdir()) == []
