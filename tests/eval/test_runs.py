from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from planted import planted_facts

from factcensus.eval.errors import EvaluationInputError
from factcensus.eval.report.page import write_results
from factcensus.eval.runs import pool_runs, read_run


def write_run(folder: Path, facts: pd.DataFrame, **record: object) -> Path:
    folder.mkdir()
    facts.to_parquet(folder / "facts.parquet")
    (folder / "run.json").write_text(json.dumps({"status": "done", **record}))
    return folder


def test_unfinished_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EvaluationInputError, match="no run folder"):
        read_run(tmp_path / "nowhere")
    with pytest.raises(EvaluationInputError, match=r"has no run\.json"):
        read_run(tmp_path)
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(EvaluationInputError, match=r"has no facts\.parquet"):
        read_run(tmp_path)
    (tmp_path / "facts.parquet").write_text("no table")
    with pytest.raises(EvaluationInputError, match="cannot read"):
        read_run(tmp_path)
    pd.DataFrame({"fact_id": ["a"]}).to_parquet(tmp_path / "facts.parquet")
    with pytest.raises(EvaluationInputError, match="lacks the columns seed, method, point"):
        read_run(tmp_path)


def test_seeds_and_methods_are_pooled_and_the_original_is_kept_once(tmp_path: Path) -> None:
    runs = [
        read_run(write_run(tmp_path / "a", planted_facts(seed=0, people=14), seconds=1.5)),
        read_run(write_run(tmp_path / "b", planted_facts(seed=0, people=14, methods=("idk",)), seconds=2)),
        read_run(write_run(tmp_path / "c", planted_facts(seed=1, people=14))),
    ]
    pooled = pool_runs(runs)
    groups = pooled.facts.groupby(["seed", "method"]).size()
    assert set(groups.index) == {(0, "original"), (0, "simnpo"), (0, "idk"), (1, "original"), (1, "simnpo")}
    assert groups.nunique() == 1
    summary = write_results(pooled, tmp_path)
    assert summary["seeds"] == [0, 1]
    assert summary["seconds"] == 3.5
    assert json.loads((tmp_path / "summary.json").read_text()) == summary
    assert (tmp_path / "report.html").is_file()


def test_seconds_are_summed_over_cells_if_the_record_has_none(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "a", planted_facts(people=14))
    for name in ("original", "simnpo"):
        (folder / "cells" / name).mkdir(parents=True)
        (folder / "cells" / name / "done.json").write_text(json.dumps({"wall_seconds": 2.0}))
    assert write_results(read_run(folder), folder)["seconds"] == 4.0


def test_the_same_method_at_the_same_seed_twice_is_refused(tmp_path: Path) -> None:
    runs = [read_run(write_run(tmp_path / name, planted_facts(people=7))) for name in "ab"]
    with pytest.raises(EvaluationInputError, match="both have method 'simnpo' at seed 0"):
        pool_runs(runs)


def test_different_original_models_at_one_seed_are_refused(tmp_path: Path) -> None:
    other = planted_facts(people=7, methods=("idk",))
    other.loc[other["method"] == "original", "log_probability"] -= 1.0
    runs = [
        read_run(write_run(tmp_path / "a", planted_facts(people=7))),
        read_run(write_run(tmp_path / "b", other)),
    ]
    with pytest.raises(EvaluationInputError, match="start from different models"):
        pool_runs(runs)


def test_counts_of_different_analyzers_are_refused(tmp_path: Path) -> None:
    runs = [
        read_run(write_run(tmp_path / name, planted_facts(seed=seed, people=7).assign(analyzer=name)))
        for seed, name in enumerate(["words-1", "bytes-1"])
    ]
    with pytest.raises(EvaluationInputError, match=r"different analyzers \(bytes-1, words-1\)"):
        pool_runs(runs)
