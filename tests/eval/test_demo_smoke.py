"""The whole demo through the real command line and a real service; takes about a minute on a free core."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pytest
from test_report import Page


def run_demo(out: Path, preset: str = "smoke") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "factcensus", "demo", "--preset", preset, "--out", str(out)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, timeout=900, check=False, env=environment)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    out = tmp_path_factory.mktemp("demo") / "demo"
    done = run_demo(out)
    assert done.returncode == 0, done.stderr
    return out, done


@pytest.fixture(scope="module")
def page(finished: tuple[Path, Any]) -> Page:
    return Page((finished[0] / "report.html").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def summary(finished: tuple[Path, Any]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((finished[0] / "summary.json").read_text())
    return found


def test_demo_writes_the_documented_run_folder(finished: tuple[Path, Any], summary: dict[str, Any]) -> None:
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


def test_every_section_of_the_report_is_there(page: Page, finished: tuple[Path, Any]) -> None:
    assert [each["id"] for each in page.of("section")] == [
        "forgetting",
        "curves",
        "slopes",
        "residual",
        "misalignment",
        "plane",
        "accuracy",
        "balance",
        "published",
        "facts",
        "said",
        "recall",
        "training",
        "cost",
        "reading",
        "provenance",
    ]
    assert "<td>factcensus demo --preset smoke</td>" in (finished[0] / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("place", range(4))
def test_shares_forgotten_agree_with_the_facts_in_every_form(
    page: Page, finished: tuple[Path, Any], place: int
) -> None:
    form = ("question", "cloze", "paraphrase", "document")[place]
    recomputed = duckdb.execute(
        """
        SELECT after.method, after.stratum_label, avg((NOT after.match)::INT), count(*)
        FROM read_parquet($facts) AS after JOIN read_parquet($facts) AS before USING (seed, fact_id, form, variant)
        WHERE before.method = 'original' AND before.match AND after.point = 'after' AND form = $form
            AND after.used = 'forget'
        GROUP BY ALL
        """,
        {"facts": str(finished[0] / "facts.parquet"), "form": form},
    ).fetchall()
    shown = page.download(f"forgetting-{place + 1}.csv")
    found = {(row["method"], row["stratum"]): float(row["generation_value"]) for row in shown}
    assert found == pytest.approx({(method, label): share for method, label, share, _ in recomputed}, rel=1e-5)
    counted = {(method, label): n for method, label, _, n in recomputed}
    assert {(row["method"], row["stratum"]): int(row["generation_n"]) for row in shown} == counted
    beside = {(row["method"], row["count"]): row[form] for row in page.download("forgetting-table-1.csv")}
    assert {key: cell.partition(" ")[0] for key, cell in beside.items()} == {
        key: f"{value:.0%}" for key, value in found.items()
    }


def test_recall_training_and_cost_agree_with_the_tables(page: Page, finished: tuple[Path, Any]) -> None:
    out = finished[0]
    facts = pd.read_parquet(out / "facts.parquet")
    held_out = facts[(facts["method"] == "original") & facts["role"].isin(["forget", "bystander"])]
    recall = held_out.groupby(["form", "cooccurrence_documents"])["match"].mean()
    shown = {(row["form"], float(row["count_low"])): float(row["value"]) for row in page.download("recall-1.csv")}
    assert shown == pytest.approx({(form, float(count)): value for (form, count), value in recall.items()}, rel=1e-5)
    steps = pd.read_parquet(out / "steps.parquet")
    losses = [float(row["forget_loss_nats"]) for row in page.download("training-1.csv")]
    assert losses == pytest.approx(list(steps["forget_loss_nats"]), rel=1e-5)
    taken = steps.groupby("method")["step"].max().to_dict()
    assert {row["method"]: int(row["steps"]) for row in page.download("cost-table-1.csv")} == taken


def test_every_point_of_the_plane_is_a_fact_known_before(page: Page, summary: dict[str, Any]) -> None:
    for place, method in enumerate(summary["methods"], 1):
        of_form = Counter(row["form"] for row in page.download(f"plane-{place}.csv"))
        assert of_form == {form: method["misalignment"]["by_form"][form]["n"] for form in ("question", "cloze")}


def test_counts_of_the_index_equal_the_drawn_exposures(finished: tuple[Path, Any]) -> None:
    facts = pd.read_parquet(finished[0] / "facts.parquet")
    drawn = facts[facts["role"].isin(["forget", "bystander", "phantom"])]
    assert (drawn["cooccurrence_documents"] == drawn["exposures"]).all()
    assert drawn["exact"].all()


def test_cloze_recall_before_unlearning_rises_with_the_count(summary: dict[str, Any]) -> None:
    recall = {row["count"]: row["value"] for row in summary["original"]["recall_by_count"]["cloze"]}
    assert recall[64] > recall[1] + 0.3
    assert recall[32] + recall[64] > recall[1] + recall[2] + 0.4


def test_frequent_facts_resist_when_asked_as_a_cloze(summary: dict[str, Any]) -> None:
    """Test only the direction, and only for the cloze: the question's slope does not replicate across seeds."""
    for method in summary["methods"]:
        assert method["slope_per_decade"]["cloze"]["value"] > 0
        assert method["residual_slope_per_decade"]["cloze"]["ci95"][0] > 0


def test_finished_demo_is_shown_again_without_running_anything(finished: tuple[Path, Any]) -> None:
    out, done = finished
    written = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    again = run_demo(out)
    assert again.returncode == 0
    assert again.stdout == done.stdout
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == written
    assert "pretrain" not in again.stderr, "no stage runs again"


@pytest.mark.full
def test_demo_continues_from_existing_stages(finished: tuple[Path, Any]) -> None:
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
    assert "contains a demo of preset 'smoke'" in done.stderr
    assert done.stderr.count("\n") == 1
