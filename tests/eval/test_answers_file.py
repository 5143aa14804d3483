"""answers.jsonl has every answer of a run: what was asked, what was expected, and what the model said."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from planted import planted_facts
from test_model_run import facts, saved
from transformers import PreTrainedTokenizerFast

from factcensus.eval.answers import write_answers
from factcensus.eval.evaluator import StandardEvaluator
from factcensus.eval.model_run import ModelToAsk, evaluate_models
from factcensus.eval.report.page import write_results
from factcensus.eval.runs import Run, read_run
from factcensus.unlearn.errors import RunFolderError

assert saved  # a fixture


def lines_of(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_every_row_of_the_run_is_a_line(saved: Path, tmp_path: Path) -> None:
    out = evaluate_models([ModelToAsk(str(saved))], facts(), tmp_path / "out", device="cpu")
    write_results(read_run(out), out)
    rows = pq.read_table(out / "facts.parquet").to_pylist()
    lines = lines_of(out / "answers.jsonl")
    assert len(lines) == len(rows) == 3
    for line, row in zip(lines, rows, strict=True):
        assert (line["said"], line["expected"], line["prompt"]) == (row["generation"], row["answer"], row["prompt"])
        assert line["match"] is row["match"]
        assert line["log_probability"] == pytest.approx(row["log_probability"])
        assert (line["method"], line["point"], line["group"]) == ("original", "before", "forget")
        assert "sampled" not in line


def test_samples_are_kept_on_request(saved: Path, tmp_path: Path) -> None:
    evaluator = StandardEvaluator(samples=4, log_samples=True)
    out = evaluate_models([ModelToAsk(str(saved))], facts(), tmp_path / "out", device="cpu", evaluator=evaluator)
    write_results(read_run(out), out)
    for line in lines_of(out / "answers.jsonl"):
        sampled = line["sampled"]
        assert isinstance(sampled, list)
        assert len(sampled) == line["samples"] == 4
        assert sum(str(line["expected"]) in each for each in sampled) >= int(str(line["sample_matches"]))
    with pytest.raises(RunFolderError, match="other settings"):
        evaluate_models([ModelToAsk(str(saved))], facts(), out, device="cpu", evaluator=StandardEvaluator(samples=4))


def test_missing_values_are_null_and_imported_means_have_no_file(tmp_path: Path) -> None:
    planted = planted_facts(people=14).assign(generation="Oslo", prompt=None, match=pd.NA)
    write_answers(Run((tmp_path,), ({},), planted, pd.DataFrame()), tmp_path / "answers.jsonl")
    lines = lines_of(tmp_path / "answers.jsonl")
    assert {(line["said"], line["prompt"], line["match"]) for line in lines} == {("Oslo", None, None)}
    write_answers(Run((tmp_path,), ({},), planted.drop(columns="generation"), pd.DataFrame()), tmp_path / "none.jsonl")
    assert not (tmp_path / "none.jsonl").exists()


def test_a_table_with_a_column_of_this_name_is_refused(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    from factcensus.indexer.errors import InputError

    table = facts().append_column("sampled", pa.array(["mine"] * 3))
    StandardEvaluator().check(tokenizer, table, template="plain")
    with pytest.raises(InputError, match="sampled"):
        StandardEvaluator(log_samples=True).check(tokenizer, table, template="plain")
