from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from factcensus.eval.errors import EvaluationInputError
from factcensus.eval.model_run import (
    ModelToAsk,
    evaluate_models,
    models_of,
    with_counts_as_numbers,
    with_uses_of,
)
from factcensus.eval.run_folder import pool_runs, read_run, summary_of


@pytest.fixture
def saved(tmp_path: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> Path:
    """A model's folder."""
    folder = tmp_path / "model"
    model.save_pretrained(folder)
    tokenizer.save_pretrained(str(folder))
    return folder


def facts() -> pa.Table:
    cities = {"ada": "rome", "bo": "new york", "cy": "oslo"}
    return pa.Table.from_pylist(
        [
            {
                "subject": subject, "object": city, "question": f"where was {subject} born",
                "cooccurrence_documents": 2**number, "stratum": number, "stratum_label": str(number),
            }
            for number, (subject, city) in enumerate(cities.items())
        ]
    )  # fmt: skip


def test_a_model_becomes_a_run_folder_that_is_not_computed_again(saved: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    evaluate_models([ModelToAsk(str(saved))], facts(), out, seed=4)
    record = json.loads((out / "run.json").read_text())
    assert record["status"] == "done"
    assert record["model"]["digest"].startswith("sha256:")
    run = read_run(out)
    assert set(run.facts["method"]) == {"original"}
    assert set(run.facts["seed"]) == {4}
    written = (out / "facts.parquet").stat().st_mtime_ns
    evaluate_models([ModelToAsk(str(saved))], facts(), out, seed=4)
    assert (out / "facts.parquet").stat().st_mtime_ns == written
    with pytest.raises(EvaluationInputError, match="holds something else"):
        evaluate_models([ModelToAsk(str(saved))], facts(), out, seed=5)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(EvaluationInputError, match="holds something else"):
        evaluate_models([ModelToAsk(str(saved))], facts(), tmp_path / "mine")


def test_a_retrained_model_pools_with_the_original(
    saved: Path, tmp_path: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast
) -> None:
    torch.manual_seed(1)
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    model.save_pretrained(tmp_path / "other")
    tokenizer.save_pretrained(str(tmp_path / "other"))
    before = evaluate_models([ModelToAsk(str(saved))], facts(), tmp_path / "a")
    after = evaluate_models([ModelToAsk(str(tmp_path / "other"), "retrained")], facts(), tmp_path / "b")
    summary = summary_of(pool_runs([read_run(before), read_run(after)]))
    assert [method["name"] for method in summary["methods"]] == ["retrained"]
    assert summary["oracle"] == "retrained"
    assert summary["facts"] == 3
    assert summary["seconds"] > 0


def test_models_of_a_run_are_the_original_and_those_it_kept(tmp_path: Path) -> None:
    assert models_of("some/model") == ([ModelToAsk("some/model")], None)
    (tmp_path / "run.json").write_text(json.dumps({"config": {"model": "base", "seed": 2}}))
    with pytest.raises(EvaluationInputError, match="kept no models"):
        models_of(str(tmp_path))
    (tmp_path / "cells" / "idk" / "model").mkdir(parents=True)
    models, record = models_of(str(tmp_path))
    assert models == [ModelToAsk("base"), ModelToAsk(str(tmp_path / "cells" / "idk" / "model"), "idk")]
    assert [each.point for each in models] == ["before", "after"]
    assert record is not None
    assert record["config"]["seed"] == 2


def test_counts_that_a_csv_brought_as_texts_become_numbers() -> None:
    table = with_counts_as_numbers(
        pa.table({"stratum": ["0", ""], "cooccurrence_documents": ["12", "3"], "note": ["7", "8"]})
    )
    assert table.to_pydict() == {"stratum": [0, None], "cooccurrence_documents": [12, 3], "note": ["7", "8"]}
    with pytest.raises(EvaluationInputError, match="'stratum'"):
        with_counts_as_numbers(pa.table({"stratum": ["low"]}))


def test_facts_keep_the_use_that_a_run_made_of_them(tmp_path: Path) -> None:
    assert with_uses_of(tmp_path, facts()) is not None
    pq.write_table(pa.table({"fact_id": ["1", "2"], "used": ["forget", "retain"]}), tmp_path / "facts.parquet")
    assert with_uses_of(tmp_path, facts())["used"].to_pylist() == ["forget", "retain", "none"]
