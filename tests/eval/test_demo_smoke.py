"""The whole way through the real command line and a real service: about a minute on a free core."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest


def run_demo(out: Path, preset: str = "smoke") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "factcensus.indexer.cli", "demo", "--preset", preset, "--out", str(out)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, timeout=900, check=False, env=environment)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    out = tmp_path_factory.mktemp("demo") / "demo"
    done = run_demo(out)
    assert done.returncode == 0, done.stderr
    return out, done


@pytest.fixture(scope="module")
def summary(finished: tuple[Path, Any]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((finished[0] / "summary.json").read_text())
    return found


def test_demo_leaves_the_run_folder_of_the_contract(finished: tuple[Path, Any], summary: dict[str, Any]) -> None:
    out, done = finished
    files = {"run.json", "facts.parquet", "steps.parquet", "tokens.parquet", "summary.json", "report.html"}
    assert files <= {path.name for path in out.iterdir()}
    assert {"facts", "known_before", "seeds", "seconds", "methods"} <= set(summary)
    assert [method["name"] for method in summary["methods"]] == ["simnpo", "idk"]
    for method in summary["methods"]:
        assert {"retain_accuracy", "bystander_accuracy", "misalignment", "forgotten_by_stratum"} <= set(method)
        for form in ("question", "cloze"):
            assert {"value", "ci95"} <= set(method["slope_per_decade"][form])
            assert [row["label"] for row in method["forgotten_by_stratum"][form]] == ["1–3", "4–15", "16+"]
    assert f"report: {(out / 'report.html').as_uri()}" in done.stdout
    assert "counted at http://127.0.0.1:" in done.stderr


def test_counts_measured_by_the_index_are_the_exposures_that_were_drawn(finished: tuple[Path, Any]) -> None:
    facts = pd.read_parquet(finished[0] / "facts.parquet")
    drawn = facts[facts["role"].isin(["forget", "bystander", "phantom"])]
    assert (drawn["cooccurrence_documents"] == drawn["exposures"]).all()
    assert drawn["exact"].all()


def test_cloze_recall_before_unlearning_rises_with_the_count(summary: dict[str, Any]) -> None:
    recall = {row["count"]: row["value"] for row in summary["original"]["recall_by_count"]["cloze"]}
    assert recall[64] > recall[1] + 0.3
    assert recall[32] + recall[64] > recall[1] + recall[2] + 0.4


def test_frequent_facts_resist_when_asked_as_a_cloze(summary: dict[str, Any]) -> None:
    """The direction only, and of the cloze only: the question's slope does not replicate from seed to seed."""
    for method in summary["methods"]:
        assert method["slope_per_decade"]["cloze"]["value"] > 0
        assert method["residual_slope_per_decade"]["cloze"]["ci95"][0] > 0


def test_a_finished_demo_is_shown_again_at_once(finished: tuple[Path, Any]) -> None:
    out, done = finished
    written = (out / "summary.json").stat().st_mtime_ns
    started = time.monotonic()
    again = run_demo(out)
    assert again.returncode == 0
    assert again.stdout == done.stdout
    assert (out / "summary.json").stat().st_mtime_ns == written
    assert time.monotonic() - started < 30


@pytest.mark.full
def test_a_demo_continues_from_what_is_there(finished: tuple[Path, Any]) -> None:
    out, _ = finished
    (out / "report.html").unlink()
    done = run_demo(out)
    assert done.returncode == 0, done.stderr
    assert (out / "report.html").is_file()
    assert "pretrain" not in done.stderr
    assert "service" not in done.stderr


def test_another_preset_in_the_same_folder_is_refused(finished: tuple[Path, Any]) -> None:
    done = run_demo(finished[0], "demo")
    assert done.returncode == 2
    assert "holds a demo of preset 'smoke'" in done.stderr
    assert done.stderr.count("\n") == 1
