"""The evaluation uses the count column of the run, whatever its name is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from planted import planted_facts
from test_runs import write_run

from factcensus.eval.errors import EvaluationInputError
from factcensus.eval.imports import Source, import_results
from factcensus.eval.report.page import render_report
from factcensus.eval.runs import pool_runs, read_run, summary_of
from factcensus.indexer.cli import main

FOLLOWS_EXPOSURES = {"config": {"selection": {"count_column": "exposures"}}}


def renamed(facts: pd.DataFrame) -> pd.DataFrame:
    """Move the counts to another column, and put meaningless numbers in the usual one."""
    noise = np.random.default_rng(0).permutation(facts["cooccurrence_documents"].to_numpy())
    return facts.assign(exposures=facts["cooccurrence_documents"], cooccurrence_documents=noise)


def test_summary_uses_the_count_column_of_the_run(tmp_path: Path) -> None:
    facts = planted_facts()
    usual = summary_of(read_run(write_run(tmp_path / "usual", facts)))
    other = read_run(write_run(tmp_path / "other", renamed(facts), **FOLLOWS_EXPOSURES))
    summary = summary_of(other)
    assert summary["count_column"] == "exposures"
    assert usual["count_column"] == "cooccurrence_documents"
    assert {**summary, "count_column": None} == {**usual, "count_column": None}
    page = render_report(other, summary)
    assert "The column exposures of the fact table" in page
    assert "co-occurrence documents" not in page


def test_runs_with_different_count_columns_are_not_pooled(tmp_path: Path) -> None:
    facts = planted_facts()
    usual = read_run(write_run(tmp_path / "usual", facts))
    other = read_run(write_run(tmp_path / "other", renamed(facts).assign(seed=9), **FOLLOWS_EXPOSURES))
    with pytest.raises(EvaluationInputError, match="have different count columns"):
        pool_runs([usual, other])


def test_run_without_the_count_column_has_no_counts(tmp_path: Path) -> None:
    run = read_run(write_run(tmp_path / "run", planted_facts(), **FOLLOWS_EXPOSURES))
    [method, *_] = summary_of(run)["methods"]
    assert method["slope_per_decade"]["question"]["value"] is None
    assert method["slope_per_decade"]["question"]["excluded"]["count_zero_or_missing"] > 0


def outcomes(**columns: list[Any]) -> pd.DataFrame:
    """Make 120 facts before and after npo and simnpo, matches only; frequent facts are forgotten less often."""
    random, rows = np.random.default_rng(1), []
    for number in range(120):
        count = int(random.choice([1, 4, 16, 64, 256]))
        for method in ("original", "npo", "simnpo"):
            kept = method == "original" or random.random() < np.log2(count) / 9 + 0.05
            rows.append(
                {
                    "fact_id": f"f{number}",
                    "method": method,
                    "match": int(kept),
                    "mentions": count,
                    "subject": f"s{number // 2}",
                    "object": f"o{number % 11}",
                }
            )
    return pd.DataFrame(rows).assign(**columns)


@pytest.mark.parametrize("command", [False, True])
def test_table_with_matches_only_is_imported_with_its_counts(tmp_path: Path, command: bool) -> None:
    source, out = tmp_path / "outcomes.csv", tmp_path / "run"
    outcomes().to_csv(source, index=False)
    if command:
        arguments = ["eval", "import", str(source), "--out", str(out), "--count-column", "mentions"]
        assert main(arguments) == 0
    else:
        import_results([Source(source)], out, count_column="mentions")
    summary = summary_of(read_run(out))
    assert summary["count_column"] == "mentions"
    for method in summary["methods"]:
        odds = method["forgotten_odds_per_decade"]["question"]["generation"]
        assert odds["value"] < 0, "frequent facts are forgotten less often"
        assert odds["ci95"][1] < 0
        assert odds["adjusted"]["covariates"] == []
        assert method["slope_per_decade"]["question"]["value"] is None, "there is no log-probability"
        assert method["adjusted_slope_per_decade"]["question"]["covariates"] == []


def test_import_without_the_count_column_is_refused(tmp_path: Path) -> None:
    outcomes().to_csv(tmp_path / "outcomes.csv", index=False)
    with pytest.raises(EvaluationInputError, match="no count column 'count'"):
        import_results([Source(tmp_path / "outcomes.csv")], tmp_path / "run", count_column="count")
