"""An object store and a Ray cluster on loopback: counting a corpus, building an index and asking it, end to end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from factcensus.indexer import CountIndex, build_index, facts_from_rows, scan_facts
from factcensus.indexer.cli.root import main
from factcensus.indexer.system.places import Place
from factcensus.indexer.tables.files import read_table, write_table

from .corpora import content
from .test_distributed_build import corpus_of

FACTS = [{"subject": f"w{n}", "object": f"w{n + 1}"} for n in range(0, 40, 2)]


def run(*arguments: object) -> None:
    assert main([str(argument) for argument in arguments]) == 0, arguments


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_store_and_cluster_build_and_count_like_one_machine(
    bucket: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("ray")
    corpus = corpus_of(tmp_path)
    for file in corpus.iterdir():
        Place.of(f"{bucket}/corpus/{file.name}").upload(file)
    build_index(corpus, tmp_path / "local", jobs=1, shard_tokens=130)
    facts = facts_from_rows(FACTS)
    write_table(facts, tmp_path / "facts.parquet")
    counted = scan_facts(corpus, facts, windows=[3], jobs=1)

    ray = ["--jobs", 2, "--ray", "local"]
    run(
        "facts",
        "count",
        tmp_path / "facts.parquet",
        "--scan",
        f"{bucket}/corpus",
        "--window",
        3,
        "--work",
        f"{bucket}/scan",
        "--out",
        f"{bucket}/counts.parquet",
        *ray,
    )
    run(
        "index",
        "build",
        f"{bucket}/corpus",
        "--out",
        f"{bucket}/ix",
        "--work",
        f"{bucket}/build",
        "--shard-tokens",
        130,
        *ray,
    )

    assert (
        read_table(Place.of(f"{bucket}/counts.parquet")).drop_columns(["index"]).equals(counted.drop_columns(["index"]))
    )
    out = Place.of(f"{bucket}/ix")
    wanted = content(tmp_path / "local")
    assert {name: (out / name).read() for name in out.files()} == wanted
    for work in ("scan", "build"):
        capsys.readouterr()
        run("work", "status", f"{bucket}/{work}", "--json")
        assert json.loads(capsys.readouterr().out)["finished"]
        places: Any = Place.of(f"{bucket}/{work}")
        assert not any(b"test-secret" in (places / name).read() for name in places.files())

    # The index that the cluster built is asked at its URL.
    run(
        "facts", "count", tmp_path / "facts.parquet", "--index", out, "--window", 3, "--out", tmp_path / "there.parquet"
    )
    with CountIndex.open(tmp_path / "local") as index:
        here = index.count_facts(facts, windows=[3])
        assert read_table(tmp_path / "there.parquet").drop_columns(["index"]).equals(here.drop_columns(["index"]))
        capsys.readouterr()
        run("count", out, "w1", "--json")
        there = json.loads(capsys.readouterr().out)
        assert there["occurrences"] == index.count("w1").occurrences > 0
        assert there["remote"]["requests"] > 0
