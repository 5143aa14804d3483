"""Building with a work folder: the bytes of the index equal those of a local build, whatever dies on the way."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from factcensus.indexer import CountIndex, build_index, verify_index
from factcensus.indexer.building.settings import BuildSettings
from factcensus.indexer.errors import InputError, NoIndexError
from factcensus.indexer.storage import repeated
from factcensus.indexer.system.places import Place
from factcensus.indexer.work import WorkFolder, job_of
from factcensus.indexer.work.build import objects
from factcensus.indexer.work.build.job import BuildJob, Resources, build_with_work
from factcensus.indexer.work.job import Progress
from factcensus.indexer.work.runners import LocalRunner

from .corpora import content, records, write_corpus

SHARD_TOKENS = 130


def corpus_of(folder: Path, seed: int = 3, files: int = 9) -> Path:
    """Write small files of several kinds, with repeated documents across them, an empty one, and a long document."""
    chance = random.Random(seed)
    words = [f"w{n}" for n in range(60)] + ["Zürich", "C++"]
    common = [" ".join(chance.choices(words, k=chance.randrange(9))) for _ in range(8)]
    for number in range(files):
        texts = [
            chance.choice(common) if chance.random() < 0.2 else " ".join(chance.choices(words, k=chance.randrange(12)))
            for _ in range(0 if number == 4 else chance.randrange(5, 25))
        ]
        if number == 2:
            texts.append(" ".join(chance.choices(words, k=2 * SHARD_TOKENS)))
        ending = ("jsonl", "jsonl.gz", "parquet")[number % 3 if texts else 0]
        write_corpus(folder / f"corpus/{number}.{ending}", records(texts, [f"s{n % 3}" for n in range(len(texts))]))
    return folder / "corpus"


def tokenizer_of(folder: Path, words: Sequence[str] = tuple(f"w{n}" for n in range(60))) -> Path:
    """Write a tokenizer with a token per word and one for unknown words."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit

    tokenizer = Tokenizer(WordLevel({word: n for n, word in enumerate(["?", *words])}, "?"))
    tokenizer.pre_tokenizer = WhitespaceSplit()  # type: ignore[assignment]  # its stubs lack the setter's type
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder / "tokenizer.json"


@contextmanager
def many_groups_and_buckets() -> Iterator[None]:
    """Lower the limits so that a small corpus has several groups of files and several buckets of digests."""
    with patch.object(objects, "GROUP_FILES", 2), patch.object(repeated, "BUCKET_DOCUMENTS", 25):
        yield


@pytest.fixture(autouse=True)
def _small() -> Iterator[None]:
    with many_groups_and_buckets():
        yield


def build(
    corpus: Path, out: object, work: object, part: tuple[int, int] = (0, 1), **options: Any
) -> tuple[Progress, BuildJob]:
    stages = options.pop("stages", None)
    settings = BuildSettings(**{"shard_tokens": SHARD_TOKENS} | options)
    resources = Resources(lambda jobs: LocalRunner(jobs, *part))
    return build_with_work(corpus, out, work, settings, resources, **({"stages": stages} if stages else {}))  # type: ignore[arg-type]


def local_build(corpus: Path, out: Path, **options: Any) -> dict[str, bytes]:
    build_index(corpus, out, jobs=1, shard_tokens=SHARD_TOKENS, **options)
    return content(out)


@pytest.mark.parametrize(
    ("analyzer", "layout"),
    [
        ("words", "suffix-array"),
        ("words-cased", "compact"),
        ("bytes", "suffix-array"),
        ("hf", "suffix-array"),
        ("hf", "compact"),
    ],
)
def test_index_equals_the_local_one_byte_for_byte(analyzer: str, layout: str, tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path)
    name = f"hf:{tokenizer_of(tmp_path)}" if analyzer == "hf" else analyzer
    options = {"analyzer": name, "layout": layout, "keep_text": True}
    wanted = local_build(corpus, tmp_path / "local", **options)
    now, job = build(corpus, tmp_path / "shared/ix", tmp_path / "work", **options)
    assert now.stage is None
    assert content(tmp_path / "shared/ix") == wanted
    verify_index(tmp_path / "shared/ix", full=True)
    assert len([name for name in wanted if name.startswith("documents.")]) > 3
    assert any(name.startswith("repeated.") for name in wanted)
    assert any(name.startswith("kept.") for name in wanted) == (analyzer != "bytes")
    assert not any(b"pickle" in (job.out / name).read()[:100] for name in wanted)


def test_parts_in_any_order_make_the_same_index(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path)
    wanted = local_build(corpus, tmp_path / "local")
    chance = random.Random(4)
    for _ in range(60):
        now, _job = build(corpus, tmp_path / "ix", tmp_path / "work", (chance.randrange(3), 3))
        if now.stage is None:
            break
    assert now.stage is None
    assert content(tmp_path / "ix") == wanted


def test_stages_wait_for_the_units_of_earlier_ones(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path)
    out, work = tmp_path / "ix", tmp_path / "work"
    assert build(corpus, out, work, stages=("merge", "root"))[0].stage == "spool"
    assert build(corpus, out, work, (0, 2), stages=("spool",))[0].stage == "spool"
    with pytest.raises(NoIndexError, match="is unfinished"):
        CountIndex.open(out)
    assert build(corpus, out, work, (1, 2), stages=("spool",))[0].stage == "merge"
    assert build(corpus, out, work, stages=("merge", "root"))[0].stage == "shards"
    assert build(corpus, out, work, stages=("shards",))[0].stage == "seal"
    assert not (out / "manifest.json").exists()
    folder = WorkFolder(Place.of(work))
    with pytest.raises(InputError, match="give the first as --out"):
        job_of(folder.plan()).finish(folder, Place.of(tmp_path / "other"))
    line = job_of(folder.plan()).finish(folder, Place.of(out))
    assert f"{out}: " in line
    assert content(out) == local_build(corpus, tmp_path / "local")


class Crash(BaseException):
    """The process dies."""


@contextmanager
def crash_after(operations: int, mode: str) -> Iterator[Callable[[], int]]:
    """Die at a write of a file: before it, in the middle of it, or right after it; yield the number of writes."""
    done = 0

    def dying(method: Callable[..., None]) -> Callable[..., None]:
        def write(place: Place, content: Any) -> None:
            nonlocal done
            done += 1
            if done == operations and mode != "after":
                if mode == "middle":  # what a killed process leaves of an atomic write
                    place.path.parent.mkdir(parents=True, exist_ok=True)
                    place.path.with_name(place.path.name + ".0a.partial").write_bytes(b"half")
                raise Crash
            method(place, content)
            if done == operations:
                raise Crash

        return write

    with patch.object(Place, "write", dying(Place.write)), patch.object(Place, "upload", dying(Place.upload)):
        yield lambda: done


def test_two_hundred_random_crashes_give_the_same_bytes(tmp_path: Path) -> None:
    chance = random.Random(17)
    crashes = 0
    for round in range(20):
        corpus = corpus_of(tmp_path / str(round), seed=round, files=5)
        wanted = local_build(corpus, tmp_path / f"{round}/local")
        out, work = tmp_path / f"{round}/ix", tmp_path / f"{round}/work"
        for _ in range(400):
            part = chance.choice([(0, 1), (0, 2), (1, 2)])
            with crash_after(chance.randrange(1, 16), chance.choice(["before", "middle", "after"])):
                try:
                    now, _job = build(corpus, out, work, part)
                except Crash:
                    crashes += 1
                    continue
            if now.stage is None:
                break
        assert now.stage is None
        found = {name: content for name, content in content(out).items() if not name.endswith(".partial")}
        assert found == wanted
        if crashes >= 200:
            return
    raise AssertionError(f"only {crashes} crashes")


def test_finished_work_is_not_done_again(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path)
    build(corpus, tmp_path / "ix", tmp_path / "work")
    with crash_after(1, "before") as writes:
        now, _ = build(corpus, tmp_path / "ix", tmp_path / "work")
    assert (now.stage, writes()) == (None, 0)


def test_other_settings_sources_or_outputs_are_refused(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path)
    build(corpus, tmp_path / "ix", tmp_path / "work", stages=("spool",))
    for difference, options in (("shard tokens 130, not 90", {"shard_tokens": 90}), ("id field", {"id_field": "x"})):
        with pytest.raises(InputError, match=difference):
            build(corpus, tmp_path / "ix", tmp_path / "work", **options)
    with pytest.raises(InputError, match=r"out .*ix', not .*other'"):
        build(corpus, tmp_path / "other", tmp_path / "work")
    with pytest.raises(InputError, match="belongs to the work in"):
        build(corpus, tmp_path / "ix", tmp_path / "work2")
    write_corpus(corpus / "0.jsonl", records(["changed"]))
    with pytest.raises(InputError, match=r"0\.jsonl"):
        build(corpus, tmp_path / "ix", tmp_path / "work")
    build_index(corpus, tmp_path / "there", jobs=1)
    with pytest.raises(InputError, match="exists; choose another --out"):
        build(corpus, tmp_path / "there", tmp_path / "work3")


def test_bad_line_stops_the_build_and_is_named(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path, files=2)
    (corpus / "7.jsonl").write_text('{"text": "good"}\n{"text": 3}\n')
    with pytest.raises(InputError, match=r"7\.jsonl.*2"):
        build(corpus, tmp_path / "ix", tmp_path / "work")
    now, _ = build(corpus, tmp_path / "ix2", tmp_path / "work2", on_bad_line="skip")
    assert now.stage is None
    assert content(tmp_path / "ix2") == local_build(corpus, tmp_path / "local", on_bad_line="skip")


def test_corpus_without_documents_is_refused(tmp_path: Path) -> None:
    write_corpus(tmp_path / "corpus/a.jsonl", [])
    with pytest.raises(InputError, match=r"no documents in a\.jsonl"):
        build(tmp_path / "corpus", tmp_path / "ix", tmp_path / "work")


def test_index_in_a_store_equals_the_local_one(bucket: str, tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path, files=4)
    wanted = local_build(corpus, tmp_path / "local", keep_text=True)
    now, _ = build(corpus, f"{bucket}/ix", f"{bucket}/work", keep_text=True)
    assert now.stage is None
    out = Place.of(f"{bucket}/ix")
    assert {name: (out / name).read() for name in out.files()} == wanted
    plan = (Place.of(f"{bucket}/work") / "plan.json").read().decode()
    assert "secret" not in plan.lower()


def test_output_that_cannot_be_written_is_refused_before_any_work(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path, files=1)
    with pytest.raises(InputError, match="a web server only serves files"):
        build(corpus, "https://localhost/ix", tmp_path / "work")
    assert not (tmp_path / "work").exists()
