from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from factcensus.eval.attacks.target import AttackSettings
from factcensus.eval.errors import EvaluationInputError
from factcensus.eval.evaluator import StandardEvaluator
from factcensus.eval.extras import Extras
from factcensus.eval.model_run import (
    ModelToAsk,
    evaluate_models,
    extend_run,
    models_of,
    with_uses_of,
)
from factcensus.eval.runs import pool_runs, read_run, summary_of
from factcensus.indexer.errors import InputError
from factcensus.unlearn.errors import RunFolderError
from factcensus.unlearn.progress import Progress


@pytest.fixture
def saved(tmp_path: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> Path:
    """Save a model and return its folder."""
    folder = tmp_path / "model"
    model.save_pretrained(folder)
    tokenizer.save_pretrained(str(folder))
    return folder


def facts() -> pa.Table:
    cities = {"ada": "rome", "bo": "new york", "cy": "oslo"}
    return pa.Table.from_pylist(
        [
            {
                "subject": subject,
                "object": city,
                "question": f"where was {subject} born",
                "cooccurrence_documents": 2**number,
                "stratum": number,
                "stratum_label": str(number),
            }
            for number, (subject, city) in enumerate(cities.items())
        ]
    )


def test_counts_of_two_analyzers_are_refused(saved: Path, tmp_path: Path) -> None:
    versions = pa.array(["words/1+unicode-14.0.0", "words/2+unicode-14.0.0", None])
    with pytest.raises(InputError, match=r"words/1\+unicode.*words/2\+unicode"):
        evaluate_models([ModelToAsk(str(saved))], facts().append_column("analyzer", versions), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_finished_evaluation_of_a_model_is_not_repeated(saved: Path, tmp_path: Path) -> None:
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
    with pytest.raises(RunFolderError, match="holds a run with other settings"):
        evaluate_models([ModelToAsk(str(saved))], facts(), out, seed=5)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(RunFolderError, match=r"contains files but no run\.json"):
        evaluate_models([ModelToAsk(str(saved))], facts(), tmp_path / "mine")


def test_retrained_model_is_pooled_with_the_original(
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


def test_models_of_a_run_are_the_original_and_the_kept_ones(tmp_path: Path) -> None:
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


def test_facts_get_their_use_from_the_run(tmp_path: Path) -> None:
    assert with_uses_of(tmp_path, facts()) is not None
    pq.write_table(
        pa.table({"fact_id": ["fact-000000", "fact-000001"], "used": ["forget", "retain"]}), tmp_path / "facts.parquet"
    )
    assert with_uses_of(tmp_path, facts())["used"].to_pylist() == ["forget", "retain", "none"]


def attacked(tmp_path: Path, saved: Path, out: str, **more: Any) -> Path:
    """Attack the original and another method, with neutral text."""
    other = tmp_path / "other"
    if not other.exists():
        shutil.copytree(saved, other)
    extras = Extras(
        attacks=("quantise", "sample"),
        attack_settings=AttackSettings(samples=2, bits=(4,)),
        neutral=("ada was born in rome", "where was bo"),
    )
    models = [ModelToAsk(str(saved)), ModelToAsk(str(other), "simnpo")]
    return evaluate_models(models, facts(), tmp_path / out, extras=extras, device="cpu", **more)


def test_attacks_and_utility_are_written_to_the_run_folder(saved: Path, tmp_path: Path) -> None:
    out = attacked(tmp_path, saved, "out")
    attacks = pq.read_table(out / "attacks.parquet").to_pylist()
    assert {row["method"] for row in attacks} == {"original", "simnpo"}
    assert {row["attack"] for row in attacks} == {"quantise", "sample"}
    assert pq.read_table(out / "attack_facts.parquet").num_rows > 0
    utility = {
        (row["method"], row["measure"], row["of"]): row for row in pq.read_table(out / "utility.parquet").to_pylist()
    }
    assert ("original", "perplexity", "neutral text") in utility
    assert ("original", "kl_to_original_nats", "neutral text") not in utility
    assert utility["simnpo", "kl_to_original_nats", "neutral text"]["value"] == pytest.approx(0, abs=1e-6)
    assert ("simnpo", "accuracy", "forget") in utility
    assert read_run(out).facts["method"].nunique() == 2


def test_interrupted_evaluation_is_continued(saved: Path, tmp_path: Path) -> None:
    whole = attacked(tmp_path, saved, "whole")

    def interrupt(progress: Progress) -> None:
        if progress.stage == "attack sample":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        attacked(tmp_path, saved, "out", progress=interrupt)
    out = tmp_path / "out"
    assert json.loads((out / "run.json").read_text())["status"] == "interrupted"
    done = (out / "cells" / "original" / "facts.parquet").stat().st_mtime_ns
    attacked(tmp_path, saved, "out")
    assert (out / "cells" / "original" / "facts.parquet").stat().st_mtime_ns == done
    for name in ("facts", "tokens", "attacks", "attack_facts", "utility"):
        assert pq.read_table(out / f"{name}.parquet").equals(pq.read_table(whole / f"{name}.parquet")), name


def test_another_attack_is_added_to_a_finished_evaluation(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same holds after a failed attack: finished questions are not asked again."""
    whole = attacked(tmp_path, saved, "whole")
    neutral = ("ada was born in rome", "where was bo")
    models = [ModelToAsk(str(saved)), ModelToAsk(str(tmp_path / "other"), "simnpo")]

    def ask(*attacks: str, bits: int = 4) -> None:
        extras = Extras(attacks, AttackSettings(samples=2, bits=(bits,)), neutral)
        evaluate_models(models, facts(), tmp_path / "out", extras=extras, device="cpu")

    ask()
    with pytest.raises(EvaluationInputError, match="omit the attack"):
        ask("quantise", "membership")
    monkeypatch.setattr(StandardEvaluator, "evaluate", None)
    ask("sample", "quantise")
    for name in ("facts", "attack_facts", "attacks"):
        one, other = (pq.read_table(folder / f"{name}.parquet") for folder in (tmp_path / "out", whole))
        assert one.equals(other), name
    assert json.loads((tmp_path / "out" / "run.json").read_text())["identity"]["extras"]["attacks"] == [
        "quantise",
        "sample",
    ]
    with pytest.raises(RunFolderError, match="holds a run with other settings"):
        ask("quantise", bits=8)


def test_models_that_a_run_kept_are_attacked_in_its_folder(saved: Path, tmp_path: Path) -> None:
    run = attacked(tmp_path, saved, "run")
    for name in ("attacks", "attack_facts"):
        (run / f"{name}.parquet").unlink()
        for path in run.glob(f"cells/*/{name}.*.parquet"):
            path.unlink()
    shutil.copytree(saved, run / "cells" / "simnpo" / "model")
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**record, "config": {"model": str(saved), "seed": 0, "device": "cpu"}}))
    extras = Extras(attacks=("quantise",), attack_settings=AttackSettings(bits=(8,)))
    extend_run(run, facts(), extras, methods=["simnpo"])
    attacks = pq.read_table(run / "attacks.parquet").to_pylist()
    assert {(row["method"], row["level"]) for row in attacks} == {("simnpo", 8.0)}
    written = (run / "cells" / "simnpo" / "attacks.quantise.parquet").stat().st_mtime_ns
    extend_run(run, facts(), extras, methods=["simnpo"])
    assert (run / "cells" / "simnpo" / "attacks.quantise.parquet").stat().st_mtime_ns == written
