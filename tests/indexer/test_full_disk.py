"""Every command that writes explains a full disk, leaves nothing half-written, and works once there is space."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from factcensus.indexer import CountIndex, build_index, verify_index
from factcensus.indexer.cli import main
from full_disks import files_up_to

from .corpora import content, records, write_corpus

#: Each command with {here} for its folder, and the file or folder that it makes, if that is a new one.
COMMANDS: dict[str, tuple[str, str | None]] = {
    "build": ("index build {here}/c.jsonl --out {here}/new --keep-text --jobs 1", "new"),
    "build-compact": ("index build {here}/c.jsonl --out {here}/new --layout compact --jobs 2", "new"),
    "add": ("index add {here}/ix {here}/more.jsonl --jobs 1", None),
    "delete": ("index delete {here}/ix --id d3 --record {here}/record.json --probe word1", "record.json"),
    "compact": ("index compact {here}/ix --jobs 1", None),
    "convert": ("index convert {here}/ix --layout compact --out {here}/new --jobs 1", "new"),
    "slice": ("index slice {here}/ix --shards 0-0 --out {here}/new", "new"),
    "facts-count": ("facts count {here}/facts.csv --index {here}/ix --out {here}/counts.parquet", "counts.parquet"),
    "facts-count-csv": ("facts count {here}/facts.csv --index {here}/ix --out {here}/counts.csv", "counts.csv"),
    "facts-scan": ("facts count {here}/facts.csv --scan {here}/c.jsonl --jobs 1 --out {here}/s.jsonl", "s.jsonl"),
    "stratify": (
        "facts stratify {here}/base.parquet --by cooccurrence_documents --bins log10 --out {here}/strata.csv",
        "strata.csv",
    ),
    "plot-svg": ("facts plot {here}/base.parquet --out {here}/figure.svg", "figure.svg"),
    "plot-png": ("facts plot {here}/base.parquet --out {here}/figure.png", "figure.png"),
}


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("full")
    texts = [" ".join(f"word{(number * step) % 501}" for step in range(1, 60)) for number in range(80)]
    write_corpus(folder / "c.jsonl", records(texts))
    write_corpus(folder / "more.jsonl", [{"id": f"m{number}", "text": text[::-1]} for number, text in enumerate(texts)])
    rows = [f"word{number},word{2 * number}" for number in range(1, 80)]
    (folder / "facts.csv").write_text("\n".join(["subject,object", *rows]) + "\n", encoding="utf-8")
    build_index([folder / "c.jsonl"], folder / "ix", keep_text=True, jobs=1)
    arguments = f"facts count {folder}/facts.csv --index {folder}/ix --out {folder}/base.parquet"
    assert main(arguments.split()) == 0
    assert main(["index", "delete", str(folder / "ix"), "--id", "d1"]) == 0
    return folder


@pytest.fixture
def copied(start: Path, tmp_path: Path) -> Callable[[str], Path]:
    def copy(name: str) -> Path:
        return Path(shutil.copytree(start, tmp_path / name))

    return copy


@pytest.mark.parametrize("name", COMMANDS)
def test_full_disk_is_explained_and_leaves_nothing_half_written(
    name: str, copied: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    command, made = COMMANDS[name]
    failed = 0
    for size in (0, 400, 3000, 12_000):
        here = copied(str(size))
        before = content(here / "ix")
        arguments = command.format(here=here).split()
        capsys.readouterr()
        with files_up_to(size):
            code = main(arguments)
        error = capsys.readouterr().err
        if code == 0:
            continue
        failed += 1
        assert code == 1
        message = error.splitlines()[-1]
        assert message.startswith("factcensus: error: the disk of "), message
        assert str(here) in message
        assert "is full (File too large" in message
        assert "raise the limit on the size of files (ulimit -f) and run the same command again: " in message
        if made is not None:
            assert not (here / made).exists()
        with CountIndex.open(here / "ix") as index:
            assert index.count("word1").documents
        verify_index(here / "ix", full=True)
        kept = content(here / "ix")
        assert {file: kept.get(file) for file in before} == before
        assert main(arguments) == 0
        if made is not None:
            assert (here / made).exists()
    assert failed


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_results_redirected_to_a_full_disk_are_reported_as_incomplete(start: Path) -> None:
    program = Path(sys.executable).with_name("factcensus")
    with Path("/dev/full").open("w") as full:
        ran = subprocess.run([program, "count", start / "ix", "word1"], stdout=full, stderr=subprocess.PIPE, text=True)
    assert ran.returncode == 1
    assert "the disk is full (No space left on device); free some space" in ran.stderr
    assert "results redirected to a file may be incomplete" in ran.stderr


def test_wrong_input_that_quotes_the_message_of_a_full_disk_is_reported_as_wrong_input(
    copied: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["index", "delete", str(copied("quoted") / "ix"), "--id", "No space left on device"]) == 2
    assert "the disk" not in capsys.readouterr().err
