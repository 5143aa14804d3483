"""The open questions end to end at size smoke: worlds, models, counts from the index, findings."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from factcensus.eval.reproduce.grid import Grid
from factcensus.eval.reproduce.questions import exposures
from factcensus.eval.reproduce.questions.command import NUMBERS, conclude, run_study
from factcensus.eval.reproduce.questions.designs import Design, design
from factcensus.eval.study import BINS, Study
from factcensus.unlearn.progress import silent


def counted_studies(number: int, out: Path) -> tuple[Design, list[Study]]:
    """Write, index and count the worlds of a question, without a service."""
    from factcensus.indexer import CountIndex, build_index, read_facts, stratify, write_table
    from factcensus.unlearn import write_world

    found = design(number, "smoke")
    studies = Grid("test", found.arms, found.seeds, run_study).studies(out)
    for study in {study.seed: study for study in studies}.values():
        study.index.parent.mkdir(parents=True, exist_ok=True)
        write_world(study.world, study.preset.world, study.seed)
        build_index([study.world / "corpus"], study.index)
        with CountIndex.open(study.index) as index:
            counts = index.count_facts(read_facts(study.world / "facts.jsonl"))
        write_table(stratify(counts, bins=BINS), study.strata)
    return found, studies


@pytest.mark.parametrize("number", [2, 3, 4])
def test_a_question_is_answered_from_end_to_end(number: int, tmp_path: Path) -> None:
    found, studies = counted_studies(number, tmp_path)
    for study in studies:
        run_study(study, found.wordings, silent)
    results = conclude(found, studies, tmp_path)
    assert results == json.loads((tmp_path / "results.json").read_text())
    assert results["conclusion"] in found.conclusions.values()
    assert [each["column"] for each in results["findings"]] == [outcome.column for outcome in found.outcomes]
    worlds = pd.read_parquet(tmp_path / "worlds.parquet")
    assert worlds["seed"].tolist() == list(found.seeds)
    primary = results["findings"][0]
    assert primary["worlds"] == 2
    assert primary["value"] == pytest.approx(worlds[primary["column"]].mean())
    assert results["conclusion"] in (tmp_path / "tables.md").read_text()


def test_the_index_tells_copies_from_paraphrases_and_early_from_late(tmp_path: Path) -> None:
    from factcensus.indexer import read_facts

    for number, share, column, one in (
        (3, exposures.distinct_share, "wording", "distinct"),
        (4, exposures.early_share, "arrival", "early"),
    ):
        found, studies = counted_studies(number, tmp_path / str(number))
        study = studies[0]
        if number == 4:
            run_study(study, found.wordings, silent)
        shares = share(study)
        facts = [row for row in read_facts(study.world / "facts.jsonl").to_pylist() if row["role"] == "forget"]
        assert facts
        for fact in facts:
            expected = float(fact[column] == one)
            # Rows are packed, so a document in the middle may be read a few steps early or late.
            assert shares[fact["fact_id"]] == pytest.approx(expected, abs=0.15 if number == 4 else 0.0)


@pytest.mark.full
def test_the_command_answers_all_questions_and_continues(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "factcensus", "reproduce", "questions", "--size", "smoke", "--out", str(tmp_path)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for options in ([], ["--only", "1", "--json"]):
        done = subprocess.run([*command, *options], capture_output=True, text=True, check=False, env=environment)
        assert done.returncode == 0, done.stderr
    assert list(json.loads(done.stdout)) == ["1"]
    for number in NUMBERS:
        assert (tmp_path / number / "tables.md").read_text().startswith("| outcome | mean |")
