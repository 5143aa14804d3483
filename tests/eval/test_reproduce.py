"""``factcensus reproduce controlled``: the grid end to end at size smoke, and the analysis on planted tables."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from factcensus.eval.reproduce import size_effect as effect
from factcensus.eval.reproduce.controlled import grid_of
from factcensus.eval.reproduce.doses import at_lost
from factcensus.eval.reproduce.sizes import CONTROLLED
from factcensus.eval.statistics.worlds import over_worlds
from factcensus.indexer.cli import main


def reproduce(out: Path, *options: str, size: str = "smoke") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "factcensus", "reproduce", "controlled", "--size", size, "--out", str(out)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [*command, *options], capture_output=True, text=True, timeout=1500, check=False, env=environment
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """One world, and then a second one in the same folder."""
    out = tmp_path_factory.mktemp("reproduce") / "grid"
    first = reproduce(out, "--worlds", "1")
    assert first.returncode == 0, first.stderr
    kept = {path: path.stat().st_mtime_ns for path in out.glob("*/seed-0/cells/*/done.json")}
    assert kept
    extended = reproduce(out, "--worlds", "2")
    assert extended.returncode == 0, extended.stderr
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    return out, extended


def test_grid_writes_what_the_page_documents(finished: tuple[Path, Any]) -> None:
    out, done = finished
    names = {"run.json", "results.json", "doses.parquet", "matched.parquet", "tables.md", "report.html"}
    assert names <= {path.name for path in out.iterdir()}
    assert (out / "tables.md").read_text() in done.stdout
    assert "report: file://" in done.stdout
    assert "2 of 4 studies" in done.stderr


def test_results_agree_with_the_matched_table(finished: tuple[Path, Any]) -> None:
    out = finished[0]
    results = json.loads((out / "results.json").read_text())
    assert results["worlds"] == [0, 1]
    matched = pd.read_parquet(out / "matched.parquet")
    complete = matched.groupby(["seed", "method"]).filter(lambda rows: rows["excess_question"].notna().all())
    slopes = {
        key: stats.linregress(np.log10(rows["parameters"]), rows["excess_question"]).slope
        for key, rows in complete.groupby(["seed", "method"])
    }
    of_worlds = pd.Series(slopes).groupby(level=0).mean()
    assert results["slopes_over_size"]["excess_question"]["all"]["values"] == pytest.approx(list(of_worlds))


def test_every_dose_is_a_method_of_the_run_and_forgets_more_when_doubled(finished: tuple[Path, Any]) -> None:
    out = finished[0]
    doses = pd.read_parquet(out / "doses.parquet")
    for (seed, size), rows in doses.groupby(["seed", "size"]):
        facts = pd.read_parquet(out / str(size) / f"seed-{seed}" / "facts.parquet")
        named = {f"{row.method}-{row.passes:g}" for row in rows.itertuples()}
        assert set(facts["method"]) == {"original", *named}
    forgotten = doses.groupby("passes")["lost"].mean()
    assert forgotten.is_monotonic_increasing
    assert forgotten.iloc[-1] > 0.05


def test_facts_compared_were_known_by_every_size(finished: tuple[Path, Any]) -> None:
    out = finished[0]
    doses = pd.read_parquet(out / "doses.parquet")
    for seed, rows in doses.groupby("seed"):
        known = []
        for size in rows["size"].unique():
            facts = pd.read_parquet(out / size / f"seed-{seed}" / "facts.parquet")
            asked = facts[(facts["method"] == "original") & (facts["form"] == "question") & (facts["used"] == "forget")]
            known.append(set(asked.loc[asked["match"].astype(bool), "fact_id"]))
        assert set(rows["facts_question"]) == {len(set.intersection(*known))}


def test_report_begins_with_the_sizes(finished: tuple[Path, Any]) -> None:
    page = (finished[0] / "report.html").read_text(encoding="utf-8")
    assert page.index('id="size"') < page.index('id="side-by-side"') < page.index('id="forgetting"')


def test_finished_grid_trains_nothing_again(finished: tuple[Path, Any]) -> None:
    out = finished[0]
    written = {path: path.stat().st_mtime_ns for path in out.glob("*/seed-*/cells/*/*.parquet")}
    again = reproduce(out)
    assert again.returncode == 0, again.stderr
    assert {path: path.stat().st_mtime_ns for path in out.glob("*/seed-*/cells/*/*.parquet")} == written
    assert again.stdout == finished[1].stdout


def test_folder_of_another_grid_is_refused(finished: tuple[Path, Any]) -> None:
    refused = reproduce(finished[0], size="cpu")
    assert refused.returncode == 2
    assert "other settings" in refused.stderr


def test_plan_has_the_parameters_and_steps_of_the_run(
    finished: tuple[Path, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["reproduce", "controlled", "--size", "smoke", "--worlds", "1", "--plan", "--json", "--out", str(tmp_path)]
    assert main(words) == 0
    plans = {each["model"]: each for each in json.loads(capsys.readouterr().out)}
    assert json.loads((tmp_path / "plan.json").read_text()) == list(plans.values())
    doses = pd.read_parquet(finished[0] / "doses.parquet")
    planned = doses[doses["seed"] == 0]  # vocabularies of other worlds have other sizes
    assert {name: each["parameters"] for name, each in plans.items()} == dict(
        zip(planned["size"], planned["parameters"], strict=True)
    )
    for name, each in plans.items():
        record = json.loads((finished[0] / "work" / name / "model-0" / "pretraining.json").read_text())
        assert each["tokens"] == record["training"]["tokens"]
        assert each["steps"] == pytest.approx(record["training"]["steps"], rel=0.01)  # rows differ between epochs
        assert 2e6 < each["bytes"] < 2**30
        assert 2 < each["flop"] / each["parameters"] / each["tokens"] < 20


def test_grid_of_the_paper_needs_a_gpu(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    assert main(["reproduce", "controlled", "--size", "paper", "--out", str(tmp_path / "paper")]) == 2
    assert "--size paper needs a CUDA device" in capsys.readouterr().err
    assert not (tmp_path / "paper").exists()


# --- the analysis ---


def test_value_is_interpolated_where_the_loss_is_first_crossed() -> None:
    assert at_lost([0.1, 0.3], [0.05, 0.15], 0.2) == pytest.approx(0.1)
    assert at_lost([0.4], [0.2], 0.2) == pytest.approx(0.1)  # between the original model and the first dose
    assert at_lost([0.3, 0.1, 0.4], [0.3, 0.0, 0.9], 0.2) == pytest.approx(0.2)
    assert at_lost([0.05, 0.1], [0.1, 0.2], 0.2) is None


def planted(slopes: list[float], *, missing: tuple[int, str] | None = None) -> pd.DataFrame:
    """Return matched rows whose index rises by these slopes per factor 10, one per world, for two methods."""
    rows = [
        {"seed": seed, "size": f"{size:,}", "parameters": size, "method": method, "excess_question": value}
        for seed, slope in enumerate(slopes)
        for method, shift in (("one", 0.01), ("two", -0.01))
        for size in (10**4, 10**5, 10**6)
        for value in [0.1 + (slope + shift) * (np.log10(size) - 4)]
    ]
    frame = pd.DataFrame(rows)
    if missing is not None:
        at = (frame["seed"] == missing[0]) & (frame["method"] == missing[1]) & (frame["parameters"] == 10**6)
        frame.loc[at, "excess_question"] = np.nan
    return frame


def test_slope_over_size_is_the_mean_over_worlds_with_students_interval() -> None:
    slopes = [0.03, 0.05, 0.01, 0.04]
    found = effect.size_effect(planted(slopes), "excess_question")
    assert found["all"].values == pytest.approx(slopes)
    interval = stats.ttest_1samp(slopes, 0).confidence_interval(0.95)
    assert found["all"].ci95 == pytest.approx((interval.low, interval.high))
    assert found["all"].p == pytest.approx(stats.ttest_1samp(slopes, 0).pvalue)
    assert found["one"].value == pytest.approx(np.mean(slopes) + 0.01)


def test_method_without_a_value_at_one_size_is_left_out_in_that_world() -> None:
    found = effect.size_effect(planted([0.03, 0.05, 0.01], missing=(1, "one")), "excess_question")
    assert found["all"].values == pytest.approx([0.03, 0.04, 0.01])
    assert found["one"].worlds == 2


@pytest.mark.parametrize(
    ("slopes", "expected"),
    [
        ([0.03, 0.05, 0.04], "grows"),
        ([-0.03, -0.05, -0.04], "shrinks"),
        ([0.001, -0.002, 0.001], "no change with size that matters"),
        ([0.06, -0.05, 0.02], "undecided"),
        ([0.03], "undecided"),
    ],
)
def test_verdict_follows_the_plan(slopes: list[float], expected: str) -> None:
    assert expected in effect.conclusion(over_worlds(slopes))


def test_same_dose_is_the_largest_that_all_sizes_had() -> None:
    doses = pd.DataFrame(
        [
            {"seed": 0, "method": "idk", "size": size, "passes": passes}
            for size, most in (("small", 8), ("large", 2))
            for passes in (1, 2, 4, 8)
            if passes <= most
        ]
    )
    assert set(effect.common_doses(doses)["passes"]) == {2}


def test_studies_run_world_by_world_with_the_largest_model_first(tmp_path: Path) -> None:
    studies = grid_of("cpu", CONTROLLED["cpu"], 2).studies(tmp_path)
    assert [(each.seed, each.part) for each in studies[:4]] == [(0, "1400k"), (0, "255k"), (0, "72k"), (1, "1400k")]
    assert len({each.world for each in studies}) == 2
    assert len({each.model for each in studies}) == 6
