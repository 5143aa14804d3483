"""The files of an index: infini-gram's layout, byte for byte, and the additional files."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings

from factcensus.indexer import CountIndex, add_to_index, build_index, verify_index
from factcensus.indexer.building import settings as build_settings
from factcensus.indexer.errors import FactcensusError, IndexFormatError, InputError, VerificationError
from factcensus.indexer.storage.manifest import FORMAT

from . import reference
from .corpora import index_folder, make_index, records, write_corpus
from .layout_reader import WIDTH, check_table, read_shards
from .strategies import QUICK, Corpus, corpora

DTYPE = {"words": "u32", "words-cased": "u32", "bytes": "u8"}


def check_layout(folder: Path, analyzer: str, texts: list[str]) -> None:
    """Check that shards have the documents in order, ids map one-to-one to tokens, and tables are sorted."""
    width = WIDTH[DTYPE[analyzer]]
    shards = read_shards(folder, width)
    ids = [document for shard in shards for document in shard.documents]
    tokens = [reference.ANALYZERS[analyzer](text) for text in texts]
    assert [len(document) for document in ids] == [len(document) for document in tokens]
    flat_ids, flat_tokens = [i for document in ids for i in document], [t for document in tokens for t in document]
    token_of = dict(zip(flat_ids, flat_tokens, strict=True))
    assert [[token_of[i] for i in document] for document in ids] == tokens
    assert len(set(token_of.values())) == len(token_of), "no token has two ids"
    for shard in shards:
        check_table(shard, width)


@settings(QUICK, max_examples=40)
@given(corpus=corpora())
def test_shard_files_have_the_layout_of_infini_gram(corpus: Corpus) -> None:
    options = {"analyzer": corpus.analyzer, "shard_tokens": corpus.shard_tokens}
    with index_folder(corpus.texts, corpus.sources, **options) as folder:
        check_layout(folder, corpus.analyzer, list(corpus.texts))


@pytest.mark.full
@settings(QUICK, max_examples=1_200)
@given(corpus=corpora(max_documents=40))
def test_very_many_shard_files_have_the_layout_of_infini_gram(corpus: Corpus) -> None:
    options = {"analyzer": corpus.analyzer, "shard_tokens": corpus.shard_tokens}
    with index_folder(corpus.texts, corpus.sources, **options) as folder:
        check_layout(folder, corpus.analyzer, list(corpus.texts))


#: Texts whose suffix arrays are hard to sort.
HARD_TO_SORT = {
    "one token for ever": ["a " * 3_000],
    "two tokens by turns": ["a b " * 1_500],
    "many equal documents": ["the same words in every document"] * 400,
    "one document repeated with one change": ["x y z " * 300 + "end", "x y z " * 300 + "ends"],
    "Fibonacci": ["a", "b"],
    "very many words": [" ".join(f"w{n}" for n in range(4_000))],
    "only empty documents": [""] * 50,
}
_FIBONACCI = ["b", "a"]
while len(_FIBONACCI[-1]) < 2_000:
    _FIBONACCI.append(_FIBONACCI[-1] + _FIBONACCI[-2])
HARD_TO_SORT["Fibonacci"] = [" ".join(_FIBONACCI[-1]), _FIBONACCI[-1]]


@pytest.mark.parametrize("name", HARD_TO_SORT)
@pytest.mark.parametrize("analyzer", ["words", "bytes"])
@pytest.mark.parametrize("shard_tokens", [None, 500])
def test_texts_that_are_hard_to_sort_are_sorted(
    name: str, analyzer: str, shard_tokens: int | None, tmp_path: Path
) -> None:
    texts = HARD_TO_SORT[name]
    with make_index(tmp_path, texts, analyzer=analyzer, shard_tokens=shard_tokens):
        check_layout(tmp_path / "ix", analyzer, texts)


@pytest.mark.parametrize("tokens", [254, 255, 256, 16_382, 16_383, 16_384, 65_534, 65_535, 65_536])
@pytest.mark.parametrize("analyzer", ["words", "bytes"])
def test_pointers_have_the_minimum_width_around_every_limit(analyzer: str, tokens: int, tmp_path: Path) -> None:
    """A pointer gets wider when tokenized.0 exceeds 256 and 65,536 bytes."""
    text = "a " * tokens if analyzer == "words" else "a" * tokens
    with make_index(tmp_path, [text], analyzer=analyzer) as index:
        size = (tmp_path / "ix" / "tokenized.0").stat().st_size
        assert size == (tokens + 1) * WIDTH[DTYPE[analyzer]]
        pointer_width = 1 if size <= 1 << 8 else 2 if size <= 1 << 16 else 3
        assert (tmp_path / "ix" / "table.0").stat().st_size == (tokens + 1) * pointer_width
        assert index.count("a" if analyzer == "bytes" else "a a").occurrences == tokens - (analyzer == "words")


def test_long_random_text_is_sorted_with_several_threads(tmp_path: Path) -> None:
    """The text is long enough for several threads, buckets and blocks; all suffixes are in order, none is missing."""
    chance = random.Random(7)
    texts = [" ".join(chance.choices(["a", "b", "c", "dd", "é"], k=chance.randrange(4_000))) for _ in range(40)]
    with make_index(tmp_path, texts, jobs=2):
        check_layout(tmp_path / "ix", "words", texts)


def test_shards_respect_their_token_limit_unless_one_document_is_larger(tmp_path: Path) -> None:
    texts = ["a " * n for n in (3, 3, 3, 40, 1, 1, 50, 60, 0, 9)]
    with make_index(tmp_path, texts, shard_tokens=12):
        shards = read_shards(tmp_path / "ix", 4)
    assert len(shards) > 4
    for shard in shards:
        assert sum(map(len, shard.documents)) <= 12 or len(shard.documents) == 1
    assert [len(document) for shard in shards for document in shard.documents] == [3, 3, 3, 40, 1, 1, 50, 60, 0, 9]


# ---------------------------------------------------------------------------------------------- files of an index


def two_files(folder: Path) -> Path:
    write_corpus(folder / "corpus/a.jsonl", records(["Paris is in France", "Berlin"], ["wiki", None]))
    write_corpus(folder / "corpus/b.jsonl", records(["München", ""], ["web", "wiki"]))
    return folder / "corpus"


def test_manifest_has_size_and_checksum_of_every_file_and_the_totals(tmp_path: Path) -> None:
    build_index([two_files(tmp_path)], tmp_path / "ix", jobs=1)
    manifest = json.loads((tmp_path / "ix/manifest.json").read_text(encoding="utf-8"))
    files = {path.name: path for path in (tmp_path / "ix").iterdir() if path.name != "manifest.json"}
    assert set(manifest["files"]) == set(files)
    for name, path in files.items():
        assert manifest["files"][name]["bytes"] == path.stat().st_size
        assert manifest["files"][name]["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert manifest["format"] == FORMAT
    assert (manifest["documents"], manifest["tokens"]) == (4, 6)
    assert manifest["sources"]["wiki"] == {"documents": 2, "tokens": 4}
    assert manifest["sources"]["web"] == {"documents": 1, "tokens": 1}
    assert sum(source["tokens"] for source in manifest["sources"].values()) == 6
    assert manifest["analyzer"] == "words"
    assert "14" in manifest["analyzer_label"]
    assert len(manifest["digest"]) == 64


def test_info_describes_the_index(tmp_path: Path) -> None:
    build_index([two_files(tmp_path)], tmp_path / "ix", jobs=1)
    with CountIndex.open(tmp_path / "ix") as index:
        info = index.info()
    assert (info.name, info.documents, info.tokens) == ("ix", 4, 6)
    assert json.loads(json.dumps(info.as_json())) == info.as_json()
    assert set(info.sources) >= {"wiki", "web"}


def test_document_table_has_one_row_per_document_with_metadata(tmp_path: Path) -> None:
    corpus = write_corpus(
        tmp_path / "c.jsonl",
        [{"id": "1", "text": "a", "source": "s", "created": "2020-01-01", "metadata": {"title": "T"}}, {"text": "b c"}],
    )
    build_index([corpus], tmp_path / "ix", jobs=1)
    rows = pq.read_table(tmp_path / "ix/documents.0.parquet").to_pylist()
    assert [row["id"] for row in rows] == ["1", None]
    assert [row["tokens"] for row in rows] == [1, 2]
    assert rows[0]["source"] == "s"
    metadata = json.loads(rows[0]["metadata"])
    assert metadata["created"] == "2020-01-01"
    assert metadata["metadata"] == {"title": "T"}


def test_same_corpus_gives_the_same_bytes_and_another_corpus_another_digest(tmp_path: Path) -> None:
    digests = []
    for number, text in enumerate(["x y", "x y", "x z"]):
        corpus = write_corpus(tmp_path / str(number) / "c.jsonl", records([text]))
        build_index([corpus], tmp_path / str(number) / "ix", jobs=1)
        with CountIndex.open(tmp_path / str(number) / "ix") as index:
            digests.append(index.digest)
    assert digests[0] == digests[1] != digests[2]


# ---------------------------------------------------------------------------------------------- what is refused


def files_of_an_index(analyzer: str) -> list[str]:
    shared = ["tokenized.0", "table.0", "offset.0", "first.0", "sample.0", "documents.0.parquet"]
    vocabulary = ["vocabulary.0.utf8", "vocabulary.0.starts", "vocabulary.0.sorted"]
    return shared + (vocabulary if analyzer == "words" else [])


FILES = [(analyzer, name) for analyzer in ("words", "bytes") for name in files_of_an_index(analyzer)]


@pytest.fixture
def intact(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    build_index([two_files(tmp_path)], tmp_path / "ix", analyzer=request.param, jobs=1)
    verify_index(tmp_path / "ix")
    assert {p.name for p in (tmp_path / "ix").iterdir()} == {*files_of_an_index(request.param), "manifest.json"}
    return tmp_path / "ix"


@pytest.mark.parametrize(("intact", "name"), FILES, indirect=["intact"])
def test_verify_names_a_file_with_one_flipped_bit(intact: Path, name: str) -> None:
    content = (intact / name).read_bytes()
    for position in {0, len(content) // 2, len(content) - 1}:
        damaged = bytearray(content)
        damaged[position] ^= 1
        (intact / name).write_bytes(damaged)
        with pytest.raises(VerificationError, match=name.replace(".", r"\.")):
            verify_index(intact)
    (intact / name).write_bytes(content)
    verify_index(intact)


@pytest.mark.parametrize(("intact", "name"), FILES, indirect=["intact"])
def test_verify_names_a_truncated_and_a_longer_and_a_missing_file(intact: Path, name: str) -> None:
    content = (intact / name).read_bytes()
    for damaged in (content[:-1], content[: len(content) // 2], b"", content + b"\0"):
        (intact / name).write_bytes(damaged)
        with pytest.raises(VerificationError, match=name.replace(".", r"\.")):
            verify_index(intact)
    (intact / name).unlink()
    with pytest.raises(VerificationError, match=name.replace(".", r"\.")):
        verify_index(intact)


@pytest.mark.parametrize(("intact", "name"), FILES, indirect=["intact"])
def test_truncated_and_missing_files_are_refused_when_the_index_is_opened(intact: Path, name: str) -> None:
    """infini-gram's engine opens such files and gives wrong answers."""
    content = (intact / name).read_bytes()
    for damaged in (content[:-1], content[: len(content) // 2], b""):
        (intact / name).write_bytes(damaged)
        with pytest.raises(IndexFormatError, match=name.replace(".", r"\.")):
            CountIndex.open(intact)
    (intact / name).unlink()
    with pytest.raises(IndexFormatError, match=name.replace(".", r"\.")):
        CountIndex.open(intact)


@pytest.mark.parametrize("intact", ["words"], indirect=True)
def test_altered_manifest_is_detected(intact: Path) -> None:
    path = intact / "manifest.json"
    manifest = path.read_text(encoding="utf-8")
    for damaged in (manifest.replace('"documents": 4', '"documents": 5'), manifest.replace('"wiki"', '"wikj"')):
        assert damaged != manifest
        path.write_text(damaged, encoding="utf-8")
        with pytest.raises(FactcensusError, match=r"manifest\.json"):
            verify_index(intact)


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"format": 1}', "\x00\xff"])
@pytest.mark.parametrize("intact", ["words"], indirect=True)
def test_file_that_is_not_a_manifest_is_refused_by_name(intact: Path, content: str) -> None:
    (intact / "manifest.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(FactcensusError, match=r"manifest\.json"):
        CountIndex.open(intact)


@pytest.mark.parametrize("intact", ["words"], indirect=True)
def test_newer_format_is_refused_with_both_versions(intact: Path) -> None:
    path = intact / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(manifest | {"format": 99}), encoding="utf-8")
    with pytest.raises(IndexFormatError, match=rf"99.*{FORMAT}"):
        CountIndex.open(intact)


def test_folder_without_an_index_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "empty", tmp_path / "absent"):
        with pytest.raises(IndexFormatError, match=path.name):
            CountIndex.open(path)


def test_index_is_never_overwritten(tmp_path: Path) -> None:
    corpus = two_files(tmp_path)
    build_index([corpus], tmp_path / "ix", jobs=1)
    before = {path.name: path.read_bytes() for path in (tmp_path / "ix").iterdir()}
    with pytest.raises(InputError, match="ix"):
        build_index([corpus], tmp_path / "ix", jobs=1)
    assert {path.name: path.read_bytes() for path in (tmp_path / "ix").iterdir()} == before


def test_failed_build_leaves_no_index_behind(tmp_path: Path) -> None:
    corpus = tmp_path / "c.jsonl"
    corpus.write_text('{"text": "a"}\nnot json\n', encoding="utf-8")
    with pytest.raises(InputError):
        build_index([corpus], tmp_path / "ix", jobs=1)
    with pytest.raises(IndexFormatError):
        CountIndex.open(tmp_path / "ix")
    # The work of the interrupted build may be kept and continued, but never mixed with another build.
    shutil.rmtree(tmp_path / "ix.building", ignore_errors=True)
    corpus.write_text('{"text": "a"}\n{"text": "a b"}\n', encoding="utf-8")
    build_index([corpus], tmp_path / "ix", jobs=1)
    with CountIndex.open(tmp_path / "ix") as index:
        assert index.count("a").occurrences == 2


@pytest.mark.parametrize("steps", [1, 3, 5, 8])
@pytest.mark.parametrize("analyzer", ["words", "bytes"])
def test_restarted_build_gives_the_same_index(analyzer: str, steps: int, tmp_path: Path) -> None:
    for number in range(5):
        texts = [f"text {n} of file {number} éa b" for n in range(40)]
        write_corpus(tmp_path / f"corpus/{number}.jsonl", records(texts))
    options: dict[str, Any] = {"analyzer": analyzer, "shard_tokens": 400, "jobs": 1}
    build_index([tmp_path / "corpus"], tmp_path / "whole/ix", **options)
    left = steps

    def interrupt(*_: object) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_index([tmp_path / "corpus"], tmp_path / "cut/ix", progress=interrupt, **options)
    with pytest.raises(IndexFormatError):
        CountIndex.open(tmp_path / "cut/ix")
    build_index([tmp_path / "corpus"], tmp_path / "cut/ix", **options)
    for path in (tmp_path / "whole/ix").iterdir():
        assert (tmp_path / "cut/ix" / path.name).read_bytes() == path.read_bytes(), path.name
    assert len(list((tmp_path / "cut/ix").iterdir())) == len(list((tmp_path / "whole/ix").iterdir()))
    assert [path.name for path in (tmp_path / "cut").iterdir()] == ["ix"]


def test_little_memory_makes_more_shards_and_the_same_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(3)
    texts = ["j a " + " ".join(chance.choices("abcdefghi", k=9_000)) for _ in range(30)]
    monkeypatch.setattr(build_settings, "LEAST_SHARD_TOKENS", 1)
    with make_index(
        tmp_path, texts, memory_bytes=build_settings.PROCESS_BYTES + 60_000 * build_settings.BYTES_PER_TOKEN
    ) as index:
        assert len(index.shards) > 3
        assert index.count("j a").occurrences == 30
        assert index.count("j a").documents == 30
        assert index.count("a b c").occurrences == sum(text.count("a b c") for text in texts)
    verify_index(tmp_path / "ix")


def test_too_little_memory_error_names_a_sufficient_limit(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"64 MiB of memory is too little.*at least \d+ MiB"):
        build_index([two_files(tmp_path)], tmp_path / "ix", memory_bytes=64 << 20)


def test_failed_add_leaves_the_index_as_it_was(tmp_path: Path) -> None:
    build_index([two_files(tmp_path)], tmp_path / "ix", jobs=1)
    before = {path.name: path.read_bytes() for path in (tmp_path / "ix").iterdir()}
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"text": "new word"}\nnot json\n', encoding="utf-8")
    with pytest.raises(InputError):
        add_to_index(tmp_path / "ix", [bad], jobs=1)
    verify_index(tmp_path / "ix")
    assert {p.name: p.read_bytes() for p in (tmp_path / "ix").iterdir() if p.is_file()} == before
    with CountIndex.open(tmp_path / "ix") as index:
        assert index.count("new").occurrences == 0


def test_open_index_answers_without_later_additions_until_reopened(tmp_path: Path) -> None:
    build_index([two_files(tmp_path)], tmp_path / "ix", jobs=1)
    more = write_corpus(tmp_path / "more.jsonl", records(["Paris Paris brandnew"]))
    with CountIndex.open(tmp_path / "ix") as index:
        add_to_index(tmp_path / "ix", [more], jobs=1)
        assert index.count("Paris").occurrences == 1
    with CountIndex.open(tmp_path / "ix") as index:
        assert index.count("Paris").occurrences == 3
        assert index.count("brandnew").documents == 1
        assert index.info().documents == 5


def test_linked_index_has_the_name_of_the_link(tmp_path: Path) -> None:
    """In a service, the address of "current" stays the same if the link points to another index."""
    build_index([two_files(tmp_path)], tmp_path / "wiki-2026-11", jobs=1)
    (tmp_path / "current").symlink_to("wiki-2026-11")
    for path in (tmp_path / "current", tmp_path / "current" / ".", tmp_path / "wiki-2026-11" / ".." / "current"):
        with CountIndex.open(path) as index:
            assert index.name == "current"


def test_size_of_an_index_is_the_size_of_its_files(tmp_path: Path) -> None:
    build_index([two_files(tmp_path)], tmp_path / "ix", jobs=1)
    size = sum(path.stat().st_size for path in (tmp_path / "ix").iterdir())
    (tmp_path / "ix" / "notes.txt").write_text("foreign")
    with CountIndex.open(tmp_path / "ix") as index:
        assert index.info().bytes == size
