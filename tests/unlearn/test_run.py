"""Run folders: their content, resuming, and protection against overwriting."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from factcensus.unlearn.config.run_config import RunConfig, check_config
from factcensus.unlearn.errors import ConfigError, ExampleError, InterruptedRunError, RunFolderError
from factcensus.unlearn.models import load_model
from factcensus.unlearn.progress import Progress
from factcensus.unlearn.run import run_unlearning


class Recorder:
    """An evaluator that records its calls."""

    def __init__(self) -> None:
        self.points: list[str] = []
        self.finished: list[Path] = []
        self.facts: pa.Table | None = None

    def evaluate(
        self, model: Any, tokenizer: Any, facts: pa.Table, *, template: str, point: str, seed: int
    ) -> tuple[pa.Table, pa.Table]:
        assert not model.training
        assert template == "plain"
        assert tokenizer.eos_token_id == 0
        self.points.append(point)
        self.facts = facts
        table = pa.table(
            {"fact_id": facts["fact_id"], "point": [point] * facts.num_rows, "seed": [seed] * facts.num_rows}
        )
        return table, table.slice(0, 2)

    def finish(self, run_folder: Path) -> None:
        self.finished.append(run_folder)


@pytest.fixture
def settings(world: Path, model_folder: Path, tmp_path: Path) -> dict[str, Any]:
    return {
        "model": str(model_folder),
        "facts": str(world / "facts.jsonl"),
        "out": str(tmp_path / "run"),
        "seed": 3,
        "evaluator": "none",
        "methods": ["simnpo", "idk", "simnpo_loss_rank", "npo", {"preset": "simnpo_never_seen", "retain": "kl"}],
        "selection": {"count_column": "exposures"},
        "training": {"learning_rate": 1e-3, "passes": 1, "batch_forget": 16, "batch_retain": 8, "save_every_steps": 1},
    }


def config(settings: dict[str, Any], **changes: Any) -> RunConfig:
    return check_config({**settings, **changes})


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*.parquet")
    }


def test_run_folder_has_the_documented_files_and_columns(settings: dict[str, Any]) -> None:
    evaluator = Recorder()
    folder = run_unlearning(config(settings, save_models=True), evaluator)
    names = ["simnpo", "idk", "simnpo_loss_rank", "npo", "simnpo_never_seen"]
    assert evaluator.points == ["before"] + ["after"] * 5
    assert evaluator.finished == [folder]
    record = json.loads((folder / "run.json").read_text())
    assert record["status"] == "done"
    assert record["seed"] == 3
    assert record["config"] == config(settings, save_models=True).resolved()
    assert record["model"]["digest"].startswith("sha256:")
    model: Any = load_model(record["model"]["name"], None, torch.float32, torch.device("cpu"))
    assert record["model"]["parameters"] == sum(parameter.numel() for parameter in model.parameters())
    assert record["model"]["trained_parameters"] == {}  # no adapters
    assert record["facts"]["digest"].startswith("sha256:")
    assert {"torch", "transformers", "factcensus"} <= set(record["versions"])
    facts = pq.read_table(folder / "facts.parquet")
    assert facts.column_names[:2] == ["seed", "method"]
    assert facts.column_names.count("seed") == 1
    assert list(dict.fromkeys(facts["method"].to_pylist())) == ["original", *names]
    assert evaluator.facts is not None
    assert facts.num_rows == 6 * evaluator.facts.num_rows
    assert set(evaluator.facts["used"].to_pylist()) == {"forget", "retain", "none"}
    assert pq.read_table(folder / "tokens.parquet").num_rows == 12
    steps = pq.read_table(folder / "steps.parquet")
    assert {"seed", "method", "step", "passes", "lost_update_share"} <= set(steps.column_names)
    assert max(steps["lost_update_share"].to_pylist()) < 0.05
    assert [cost["method"] for cost in record["costs"]] == names
    assert all(cost["energy_joules"] is None or cost["energy_read_from"] for cost in record["costs"])
    for name in names:
        cell = folder / "cells" / name
        assert {path.name for path in cell.iterdir()} == {
            "done.json",
            "method.json",
            "facts.parquet",
            "tokens.parquet",
            "steps.parquet",
            "model",
        }
        assert (cell / "model" / "model.safetensors").is_file()


def test_finished_cells_are_not_run_again(settings: dict[str, Any]) -> None:
    run_unlearning(config(settings), Recorder())
    evaluator, seen = Recorder(), list[Progress]()
    run_unlearning(config(settings), evaluator, seen.append)
    assert evaluator.points == []
    assert not [progress for progress in seen if progress.stage.startswith("unlearn")]


def test_equal_settings_give_equal_tables(settings: dict[str, Any], tmp_path: Path) -> None:
    first = run_unlearning(config(settings), Recorder())
    second = run_unlearning(config(settings, out=str(tmp_path / "again")), Recorder())
    assert digests(first) == digests(second)


@pytest.mark.parametrize("stage", ["unlearn idk", "evaluate npo"])
def test_interrupted_runs_resume_to_the_same_bytes(settings: dict[str, Any], tmp_path: Path, stage: str) -> None:
    whole = run_unlearning(config(settings, out=str(tmp_path / "whole")), Recorder())

    def end(progress: Progress) -> None:
        if progress.stage == stage and progress.done == (0 if stage.startswith("evaluate") else 2):
            if stage.startswith("evaluate"):
                raise KeyboardInterrupt
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises((InterruptedRunError, KeyboardInterrupt)):
        run_unlearning(config(settings), Recorder(), end)
    folder = Path(settings["out"])
    assert json.loads((folder / "run.json").read_text())["status"] == "interrupted"
    run_unlearning(config(settings), Recorder())
    assert digests(folder) == digests(whole)
    assert json.loads((folder / "run.json").read_text())["status"] == "done"
    assert "error" not in json.loads((folder / "run.json").read_text())


def test_another_configuration_is_refused(settings: dict[str, Any], tmp_path: Path) -> None:
    folder = run_unlearning(config(settings, methods=["simnpo"]))
    before = digests(folder)
    with pytest.raises(RunFolderError, match="other settings") as refused:
        run_unlearning(config(settings, methods=["simnpo"], seed=4))
    assert refused.value.exit_code == 2
    changed = tmp_path / "facts.jsonl"
    changed.write_text(Path(settings["facts"]).read_text().replace('"exposures": 1}', '"exposures": 2}'))
    with pytest.raises(RunFolderError, match="another fact table"):
        run_unlearning(config(settings, methods=["simnpo"], facts=str(changed)))
    assert digests(folder) == before


def test_runs_resume_after_their_inputs_were_moved(settings: dict[str, Any], tmp_path: Path) -> None:
    run_unlearning(config(settings, methods=["simnpo"]))
    moved = Path(shutil.copytree(settings["model"], tmp_path / "moved"))
    evaluator = Recorder()
    run_unlearning(config(settings, methods=["simnpo"], model=str(moved)), evaluator)
    assert evaluator.points == []
    (moved / "generation_config.json").write_text("{}")
    with pytest.raises(RunFolderError, match="another model"):
        run_unlearning(config(settings, methods=["simnpo"], model=str(moved)))


def test_a_folder_with_other_files_is_refused(settings: dict[str, Any]) -> None:
    Path(settings["out"]).mkdir()
    (Path(settings["out"]) / "thesis.tex").write_text("mine")
    with pytest.raises(RunFolderError, match=r"no run\.json"):
        run_unlearning(config(settings))


def test_a_folder_in_use_is_refused(settings: dict[str, Any]) -> None:
    folder = run_unlearning(config(settings, methods=["simnpo"]))
    with (folder / ".lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(RunFolderError, match="another process"):
            run_unlearning(config(settings, methods=["simnpo"]))


def test_failed_runs_are_recorded_and_can_be_resumed(settings: dict[str, Any]) -> None:
    class Broken(Recorder):
        def evaluate(self, *arguments: Any, point: str, **named: Any) -> tuple[pa.Table, pa.Table]:
            if point == "after":
                raise RuntimeError("no space left")
            return super().evaluate(*arguments, point=point, **named)

    with pytest.raises(RuntimeError, match="no space"):
        run_unlearning(config(settings, methods=["simnpo"]), Broken())
    record = json.loads((Path(settings["out"]) / "run.json").read_text())
    assert (record["status"], record["error"]) == ("failed", "no space left")
    evaluator = Recorder()
    run_unlearning(config(settings, methods=["simnpo"]), evaluator)
    assert evaluator.points == ["after"]


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"model": "./absent"}, ConfigError, "'./absent': no such folder"),
        ({"facts": "absent.csv"}, ConfigError, "absent.csv"),
        ({"methods": ["simnpo_count"], "selection": {}}, ConfigError, "cooccurrence_documents"),
        ({"evaluator": "standrad"}, ConfigError, "standard"),
        ({"device": "cuda"}, ConfigError, "no CUDA"),
        ({"training": {"refusal": "Ask someone else."}}, ExampleError, "'p.*does not know"),
        ({"template": "chat"}, ConfigError, "no chat template"),
    ],
)
def test_invalid_input_is_an_error_before_anything_is_written(
    settings: dict[str, Any],
    changes: dict[str, Any],
    error: type[Exception],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(error, match=message):
        run_unlearning(config(settings, **changes))
    assert not Path(settings["out"]).exists()


def test_run_record_has_the_index_provenance_of_a_strata_table(settings: dict[str, Any], tmp_path: Path) -> None:
    rows = [json.loads(line) for line in Path(settings["facts"]).read_text().splitlines()]
    for row in rows:
        row |= {
            "cooccurrence_documents": row["exposures"],
            "index": "dolma",
            "index_digest": "sha256:12",
            "analyzer": "words",
        }
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "strata.parquet")
    folder = run_unlearning(
        config(settings, facts=str(tmp_path / "strata.parquet"), selection={}, methods=["simnpo_count"])
    )
    record = json.loads((folder / "run.json").read_text())
    assert record["index"] == {"name": "dolma", "digest": "sha256:12", "analyzer": "words"}
