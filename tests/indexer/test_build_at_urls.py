"""Building indexes at URLs, and what a build says before it starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from factcensus.indexer import CountIndex, build_index
from factcensus.indexer.analyzers import get_analyzer
from factcensus.indexer.building import estimate as estimates
from factcensus.indexer.building.compaction import compact_index
from factcensus.indexer.building.estimate import check_disk, estimate_build
from factcensus.indexer.cli import main
from factcensus.indexer.corpus import SourceFile, find_source_files
from factcensus.indexer.errors import InputError
from factcensus.indexer.system.places import Place, PlaceError

from .corpora import records, write_corpus

TEXTS = ["Paris is in France.", "Berlin", "France"] * 20


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return write_corpus(tmp_path / "c.jsonl", records(TEXTS))


def test_index_at_a_url_is_the_local_one(
    corpus: Path, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    written: list[str] = []
    upload = Place.upload

    def recorded(self: Place, source: Path) -> None:
        upload(self, source)
        written.append(self.name)

    monkeypatch.setattr(Place, "upload", recorded)
    assert main(["index", "build", str(corpus), "--out", f"{bucket}/indexes/ix", "--jobs", "1"]) == 0
    assert written[-1] == "manifest.json"
    build_index(corpus, tmp_path / "ix", jobs=1)
    place = Place.of(f"{bucket}/indexes/ix")
    local = {file.name: file.read_bytes() for file in (tmp_path / "ix").iterdir()}
    assert {name: (place / name).read() for name in place.files()} == local
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c.jsonl", "ix", "temporary"]  # no folder "s3:"
    assert list(temporary.iterdir()) == []
    compact_index(tmp_path / "ix", f"{bucket}/compacted", jobs=1)
    assert "manifest.json" in Place.of(f"{bucket}/compacted").files()


def test_url_with_files_is_refused_before_the_build(
    corpus: Path, bucket: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Place.of(f"{bucket}/ix/other.txt").write(b"x")
    for out, why in [
        (f"{bucket}/ix", "exists and is not empty"),
        (f"{bucket}-none/ix", "cannot write"),
        ("https://host/ix", "a web server only serves files"),
    ]:
        for more in ([], ["--dry-run"]):
            assert main(["index", "build", str(corpus), "--out", out, "--text-field", "none", *more]) == 2
            assert why in capsys.readouterr().err


def test_failed_upload_keeps_the_finished_index(corpus: Path, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Place, _source: Path) -> None:
        raise PlaceError(f"cannot write {self}: SlowDown")

    monkeypatch.setattr(Place, "upload", refuse)
    with pytest.raises(PlaceError, match=r"SlowDown; the finished index is in \S+, copy it to s3://") as caught:
        build_index(corpus, f"{bucket}/ix", jobs=1)
    folder = str(caught.value).partition("finished index is in ")[2].partition(",")[0]
    with CountIndex.open(folder) as index:
        assert index.info().documents == len(TEXTS)


@pytest.mark.parametrize(
    "words",
    [
        ["demo", "--preset", "smoke", "--out", "s3://bucket/demo"],
        ["index", "delete", "ix", "--id", "1", "--record", "s3://bucket/record.json"],
        ["facts", "plot", "counts.parquet", "--out", "s3://bucket/figure.png"],
    ],
)
def test_local_only_outputs_refuse_urls(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    assert "is a URL, but this output must be a local path" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_path_made_from_a_url_is_refused(corpus: Path) -> None:
    with pytest.raises(InputError, match="give the URL as text"):
        build_index(corpus, Path("s3://bucket/ix"), jobs=1)


# ---------------------------------------------------------------------------------------------- estimates


def test_dry_run_shows_disk_memory_and_hours(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "ix"
    assert main(["index", "build", str(corpus), "--out", str(out), "--dry-run", "--jobs", "2"]) == 0
    said = {line[:20].strip(): line[20:].strip() for line in capsys.readouterr().out.splitlines()}
    assert set(said) == {"source files", "text", "index", "disk during build", "memory", "time"}
    assert said["memory"].startswith("at most 8.6 GB")
    assert said["time"] == "about 0.0 hours on 2 cores, 0.0 core-hours"
    assert not out.exists()


def test_estimate_is_close_for_a_real_corpus(real_data: Path, tmp_path: Path) -> None:
    source = real_data / "corpus/enwiki2015/v0/documents/enwiki2015-0003.json.gz"
    estimate = estimate_build(find_source_files(source), get_analyzer("words"), memory_bytes=8 << 30, jobs=1)
    manifest = build_index(source, tmp_path / "ix", jobs=1)
    size = sum(file.bytes for file in manifest.files.values())
    for guess, real in [
        (estimate.text_bytes, manifest.text_bytes),
        (estimate.tokens, manifest.tokens),
        (estimate.index_bytes, size),
    ]:
        assert 0.7 < guess / real < 1.4
    assert estimate.least_disk_bytes < estimate.disk_bytes


def files(size_bytes: int, *names: str) -> list[SourceFile]:
    return [SourceFile(f"/{name}", name, size_bytes, "") for name in names]


def test_estimate_follows_sizes_analyzers_and_jobs() -> None:
    def of(analyzer: str, number: int = 1, jobs: int = 1) -> Any:
        names = [f"{n}.jsonl.zst" for n in range(number)]
        return estimate_build(files(10**12, *names), get_analyzer(analyzer), memory_bytes=1, jobs=jobs)

    assert of("words", 2).index_bytes == 2 * of("words").index_bytes
    assert of("words", 1, 8).hours == of("words").hours / 8
    assert of("bytes").tokens == of("bytes").text_bytes
    assert 40 < of("words").hours < 80  # 3.6 TB of text


def test_build_that_cannot_fit_the_disk_is_refused_before_it_starts(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    estimate = estimate_build(find_source_files(corpus), get_analyzer("words"), memory_bytes=1, jobs=1)
    check_disk(estimate, tmp_path, free=lambda _: estimate.least_disk_bytes)
    with pytest.raises(InputError, match=r"needs at least .* of disk.*has .* free; choose another disk"):
        check_disk(estimate, tmp_path, free=lambda _: estimate.least_disk_bytes - 1)
    (tmp_path / "ix.building").mkdir()
    (tmp_path / "ix.building/done").write_bytes(b"x")
    check_disk(estimate, tmp_path, tmp_path / "ix.building", free=lambda _: estimate.least_disk_bytes - 1)
    monkeypatch.setattr(estimates.shutil, "disk_usage", lambda _: Disk())
    with pytest.raises(InputError, match="has 10 B free"):
        build_index(corpus, tmp_path / "iy", jobs=1)
    assert not (tmp_path / "iy.building").exists()
    assert main(["index", "build", str(corpus), "--out", str(tmp_path / "iy"), "--dry-run"]) == 2


class Disk:
    """A disk that is nearly full, as ``shutil.disk_usage`` reports it."""

    free = 10
