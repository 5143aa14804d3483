"""Counting facts in a corpus on many machines: always the table of a local scan, whatever happens on the way."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from factcensus.indexer import scan_facts
from factcensus.indexer.cli import main
from factcensus.indexer.corpus import reading
from factcensus.indexer.counting.scanner import ScanSettings
from factcensus.indexer.errors import InputError
from factcensus.indexer.system.places import Place, PlaceError
from factcensus.indexer.tables.files import read_table
from factcensus.indexer.work import Run, WorkFolder, job_of
from factcensus.indexer.work import scan as scan_module
from factcensus.indexer.work.runners import LocalRunner, load_runner
from factcensus.indexer.work.scan import ScanJob, scan_shared, to_bytes

from .corpora import fact_table, records, write_corpus
from .test_work import Killed, Killing

WORDS = ["Paris", "France", "Berlin", "Germany", "capital", "of", "is", "the", "Marie", "Curie", "Warsaw", "not"]
FACTS = fact_table(
    [(("Paris",), ("France",)), (("Berlin",), ("Germany", "of")), (("Marie Curie", "Curie"), ("Warsaw",))]
)
WINDOWS = (0, 3)


def random_texts(seed: int, number: int) -> list[str]:
    chance = random.Random(seed)
    return [" ".join(chance.choices(WORDS, k=chance.randrange(0, 40))) for _ in range(number)]


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A corpus of seven files, of which each is a unit, and the Parquet file several."""
    monkeypatch.setattr(scan_module, "UNIT_BYTES", 1)
    monkeypatch.setattr(reading, "PIECE_BYTES", 2000)
    folder = tmp_path / "corpus"
    for number, ending in enumerate([".jsonl", ".jsonl.gz", ".json.zst", ".jsonl", ".json.gz", ".jsonl.zst"]):
        write_corpus(folder / f"{number}{ending}", records(random_texts(number, 30)))
    rows = pa.table({"text": random_texts(9, 400), "id": [str(n) for n in range(400)]})
    pq.write_table(rows, folder / "p.parquet", row_group_size=50)
    assert (folder / "p.parquet").stat().st_size > 6000
    return folder


def settings() -> ScanSettings:
    return ScanSettings(windows=WINDOWS)


def local_table(corpus: Path) -> pa.Table:
    return scan_facts(corpus, FACTS, windows=WINDOWS, jobs=1)


def shared(corpus: object, folder: Path, runner: Any = None, work: str | Path | None = None) -> str:
    return scan_shared(
        str(corpus),
        FACTS,
        work=work or folder / "work",
        out=folder / "out.parquet",
        runner=runner or LocalRunner(),
        settings=settings(),
    )


def test_table_equals_the_local_one(corpus: Path, tmp_path: Path) -> None:
    told = shared(corpus, tmp_path)
    table = read_table(tmp_path / "out.parquet")
    assert table.equals(local_table(corpus))
    assert sum(table["cooccurrence_pairs_w3"].to_pylist()) > 50
    assert table["corpus_digest"][0].as_py() in told
    folder = WorkFolder(Place.of(tmp_path / "work"))
    assert len(folder.done("count")) > 9
    kinds = {name.partition("/")[0] for name in folder.place.files()}
    assert kinds == {"plan.json", "facts.arrow", "count"}


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 0, 2, 1]])
def test_parts_over_a_store_equal_the_local_scan(order: list[int], corpus: Path, bucket: str) -> None:
    for file in corpus.iterdir():
        Place.of(f"{bucket}/corpus/{file.name}").upload(file)
    facts = Place.of(f"{bucket}/facts.jsonl")
    facts.write(b"".join(json.dumps(row).encode() + b"\n" for row in FACTS.to_pylist()))
    command = [
        "facts",
        "count",
        facts.url,
        "--scan",
        f"{bucket}/corpus",
        "--window",
        "0",
        "--window",
        "3",
        "--work",
        f"{bucket}/work",
        "--out",
        f"{bucket}/out.parquet",
        "--jobs",
        "1",
    ]
    for number, part in enumerate(order):
        assert not Place.of(f"{bucket}/out.parquet").exists()
        assert main([*command, "--part", f"{part}/3"]) == 0
        assert Place.of(f"{bucket}/out.parquet").exists() == (number == len(order) - 1)
    assert read_table(f"{bucket}/out.parquet").equals(local_table(corpus))
    assert main(["work", "finish", f"{bucket}/work", "--out", f"{bucket}/again.csv"]) == 0
    assert len(read_table(f"{bucket}/again.csv")) == len(FACTS)


def test_scan_over_a_web_server_that_fails_equals_the_local_scan(web: Any, tmp_path: Path, corpus: Path) -> None:
    for file in corpus.iterdir():
        file.rename(tmp_path / "web" / file.name)
    expected = local_table(tmp_path / "web")
    web.failures = [503, "cut", 500, "cut"]
    web.latency_s = 0.01
    shared(f"{web.url}/", tmp_path)
    assert web.failures == []
    assert read_table(tmp_path / "out.parquet").equals(expected)


@pytest.mark.parametrize("seed", range(5))
def test_killing_at_any_operation_gives_the_same_table(
    seed: int, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = local_table(corpus)
    chance = random.Random(seed)
    killing = Killing(monkeypatch, chance)
    kills = folders = 0
    while kills < 10:
        folders += 1
        work = tmp_path / f"work{folders}"
        (tmp_path / "out.parquet").unlink(missing_ok=True)
        while not (tmp_path / "out.parquet").exists():
            killing.left = chance.randrange(1, 150) if kills < 10 else 0
            try:
                shared(corpus, tmp_path, LocalRunner(1, chance.randrange(2), 2), work)
            except Killed:
                kills += 1
            killing.left = 0
        assert read_table(tmp_path / "out.parquet").equals(expected)


def test_objects_do_not_depend_on_the_worker(corpus: Path, tmp_path: Path) -> None:
    objects = []
    for number, runner in enumerate([LocalRunner(), LocalRunner(2, 1, 2)]):
        work = tmp_path / f"w{number}"
        shared(corpus, tmp_path, runner, work)
        shared(corpus, tmp_path, LocalRunner(), work)
        objects.append({file.name: file.read_bytes() for file in (work / "count").iterdir()})
    assert objects[0] == objects[1]


def test_changed_source_is_refused_by_name(corpus: Path, bucket: str, tmp_path: Path) -> None:
    Place.of(f"{bucket}/c/0.jsonl").upload(corpus / "0.jsonl")
    Place.of(f"{bucket}/c/3.jsonl").upload(corpus / "3.jsonl")
    shared(f"{bucket}/c", tmp_path, LocalRunner(1, 0, 2))
    content = (corpus / "3.jsonl").read_bytes()
    Place.of(f"{bucket}/c/3.jsonl").write(content.replace(b"Paris", b"Milan"))
    with pytest.raises(InputError, match=r"other content of 3\.jsonl, changed since then"):
        shared(f"{bucket}/c", tmp_path, LocalRunner(1, 1, 2))


def test_source_that_changes_while_it_is_read_is_refused(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = ScanJob.planned

    def planned(*arguments: Any) -> ScanJob:
        job = real(*arguments)
        (corpus / "0.jsonl").write_bytes((corpus / "3.jsonl").read_bytes())
        return job

    monkeypatch.setattr(ScanJob, "planned", planned)
    with pytest.raises(InputError, match=r"0\.jsonl was changed while it was read"):
        shared(corpus, tmp_path)


def test_bad_line_stops_with_file_and_line(corpus: Path, tmp_path: Path) -> None:
    (corpus / "4.jsonl").write_text('{"text": "a"}\nnot JSON\n')
    with pytest.raises(InputError, match=r"4\.jsonl, line 2"):
        shared(corpus, tmp_path)


def test_unreachable_file_is_named_and_the_others_are_counted(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Failing:
        def __init__(self, *_: Any) -> None:
            pass

        def __call__(self, pieces: Any, *_: Any) -> Any:
            if pieces[0].file.name == "2.json.zst":
                raise PlaceError("cannot read s3://bucket/2.json.zst: SlowDown; it failed 6 times, try again later")
            return real(*made)(pieces, lambda _bytes: None, lambda _message: None)

    from factcensus.indexer.counting import scan as local_scan

    real, made = local_scan.Scanner, []

    def failing(*arguments: Any) -> Failing:
        made[:] = arguments
        return Failing()

    with monkeypatch.context() as patch:
        patch.setattr(local_scan, "Scanner", failing)
        with pytest.raises(PlaceError, match=r"2\.json\.zst: SlowDown.*all others are done"):
            shared(corpus, tmp_path)
    assert main(["work", "status", str(tmp_path / "work"), "--json"]) == 0
    status = json.loads(capsys.readouterr().out)
    assert status["missing"] == ["2.json.zst"]
    assert list(status["failed"].values()) == [
        "cannot read s3://bucket/2.json.zst: SlowDown; it failed 6 times, try again later"
    ]
    assert main(["work", "status", str(tmp_path / "work")]) == 0
    assert "missing in count: 1 units\n  2.json.zst\nfailed: count 2: cannot read" in capsys.readouterr().out
    out = tmp_path / "out.parquet"
    assert main(["work", "finish", str(tmp_path / "work"), "--out", str(out)]) == 2
    assert "2.json.zst; run them, or give --allow-missing" in capsys.readouterr().err
    assert not out.exists()
    assert main(["work", "finish", str(tmp_path / "work"), "--out", str(out), "--allow-missing"]) == 0
    assert "not exact, without 2.json.zst" in capsys.readouterr().out
    partial = read_table(out)
    (corpus / "2.json.zst").rename(tmp_path / "aside")
    without = local_table(corpus)
    assert set(partial["exact"].to_pylist()) == {False}
    assert partial.drop_columns(["exact"]).equals(without.drop_columns(["exact"]))
    (tmp_path / "aside").rename(corpus / "2.json.zst")
    shared(corpus, tmp_path)
    assert read_table(out).equals(local_table(corpus))


def test_damaged_object_is_refused(corpus: Path, tmp_path: Path) -> None:
    shared(corpus, tmp_path)
    (tmp_path / "work/count/000003").write_bytes(b"damage")
    with pytest.raises(InputError, match="stored result of a unit is damaged"):
        shared(corpus, tmp_path)


def test_plan_holds_no_credentials(web: Any, corpus: Path, tmp_path: Path) -> None:
    (corpus / "0.jsonl").rename(tmp_path / "web/0.jsonl")
    shared(f"{web.url}/0.jsonl?X-Amz-Signature=s3cr3t", tmp_path)
    for name in WorkFolder(Place.of(tmp_path / "work")).place.files():
        assert b"s3cr3t" not in (tmp_path / "work" / name).read_bytes()
    # another signature is the same work
    shared(f"{web.url}/0.jsonl?X-Amz-Signature=other", tmp_path)


def test_output_is_checked_before_the_scan(corpus: Path, bucket: str, tmp_path: Path) -> None:
    facts = tmp_path / "facts.csv"
    facts.write_text("subject,object\nParis,France\n")
    for out in (f"{bucket}-none/out.parquet", "https://host/out.csv", f"{bucket}/out.xlsx", "s4://b/out.csv"):
        for more in ([], ["--work", str(tmp_path / "work")]):
            command = ["facts", "count", str(facts), "--scan", str(corpus), "--out", out]
            assert main([*command, *more, "--text-field", "nothing"]) == 2
    assert not (tmp_path / "work").exists()


def test_small_files_share_a_unit(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan_module, "UNIT_BYTES", 1 << 20)
    shared(corpus, tmp_path)
    assert [file.name for file in (tmp_path / "work/count").iterdir()] == ["000000"]
    assert read_table(tmp_path / "out.parquet").equals(local_table(corpus))


def test_wrong_uses_of_the_options_are_refused(corpus: Path, tmp_path: Path) -> None:
    facts = tmp_path / "facts.csv"
    facts.write_text("subject,object\nParis,France\n")
    command = ["facts", "count", str(facts), "--out", str(tmp_path / "out.csv")]
    scan = [*command, "--scan", str(corpus)]
    work = ["--work", str(tmp_path / "w")]
    for words in (
        [*scan, "--part", "0/2"],
        [*scan, "--ray", "local"],
        [*scan, *work, "--part", "2/2"],
        [*scan, *work, "--part", "1"],
        [*scan, *work, "--part", "0/2", "--ray", "local"],
        [*scan, *work, "--ray", "somewhere"],
        [*command, "--index", str(tmp_path / "ix"), *work],
    ):
        assert main(words) == 2
    assert not (tmp_path / "w").exists()


# ---------------------------------------------------------------------------------------------- Ray


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_ray_on_loopback_counts_the_same_although_a_worker_is_killed(corpus: Path, bucket: str, tmp_path: Path) -> None:
    ray = pytest.importorskip("ray")
    for file in corpus.iterdir():
        Place.of(f"{bucket}/c/{file.name}").upload(file)
    expected = local_table(corpus)
    bad = tmp_path / "bad.jsonl"
    bad.write_text("not JSON\n")
    killed: list[int] = []

    def kill_a_worker(*_: Any) -> None:
        if not killed:
            killed.append(ray.get(ray.remote(lambda: os.getpid()).remote()))
            os.kill(killed[0], signal.SIGKILL)

    runner: Any = load_runner("ray", address="local", jobs=2)
    with runner.connected():
        check_that_only_loopback_is_open(ray.get_runtime_context().gcs_address)
        scan_shared(
            f"{bucket}/c",
            FACTS,
            work=f"{bucket}/work",
            out=tmp_path / "out.parquet",
            runner=runner,
            settings=settings(),
            run=Run(kill_a_worker),
        )
        with pytest.raises(InputError, match=r"bad\.jsonl, line 1"):
            shared(bad, tmp_path, runner, tmp_path / "work2")
    assert killed
    assert read_table(tmp_path / "out.parquet").equals(expected)
    assert not ray.is_initialized()


def check_that_only_loopback_is_open(address: str) -> None:
    host, _, port = address.rpartition(":")
    assert host == "127.0.0.1"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:  # the address of this machine for others
        probe.connect(("192.0.2.1", 9))
        other = probe.getsockname()[0]
    if other != host:
        with pytest.raises(OSError, match="refused"):
            socket.create_connection((other, int(port)), 2)


def test_job_of_a_plan_finishes(corpus: Path, tmp_path: Path) -> None:
    shared(corpus, tmp_path)
    folder = WorkFolder(Place.of(tmp_path / "work"))
    job = job_of(folder.plan())
    job.finish(folder, Place.of(tmp_path / "again.parquet"))
    assert read_table(tmp_path / "again.parquet").equals(read_table(tmp_path / "out.parquet"))
    assert callable(to_bytes)
