"""The estimates of a plan, and the commands on the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from factcensus.indexer.cli import main
from factcensus.unlearn.config.named import METHODS
from factcensus.unlearn.config.run_config import check_config
from factcensus.unlearn.models import load_model, parameter_count
from factcensus.unlearn.planning.plan import make_plan
from factcensus.unlearn.presets import PRESETS, Preset
from tiny import SMALL_MODEL


@pytest.fixture
def config_path(world: Path, model_folder: Path, tmp_path: Path) -> Path:
    path = tmp_path / "run.toml"
    path.write_text(
        f"""
model = "{model_folder}"
facts = "{world / "facts.jsonl"}"
out = "{tmp_path / "run"}"
evaluator = "none"
methods = ["simnpo", {{preset = "idk", learning_rate = 1e-4, retain = "kl"}}]
[training]
learning_rate = 1e-3
passes = 1
batch_forget = 16
"""
    )
    return path


def run(*arguments: object) -> int:
    """Run the root command in this process."""
    return main([str(argument) for argument in arguments])


def test_a_plan_counts_sets_parameters_and_steps(config_path: Path, model_folder: Path) -> None:
    from factcensus.unlearn.config.files import load_config

    plan = make_plan(load_config(config_path))
    model: Any = load_model(str(model_folder), None, torch.float32, torch.device("cpu"))
    assert plan.parameters == sum(parameter.numel() for parameter in model.parameters())
    assert plan.parameters == parameter_count(str(model_folder), None)
    assert {row["role"]: (row["forget"], row["retain"]) for row in plan.sets}["forget"] == (plan.forget_examples, 0)
    assert sum(row["retain"] for row in plan.sets) == plan.retain_examples
    assert [method.steps for method in plan.methods] == [-(-plan.forget_examples // 16)] * 2
    assert plan.methods[1].flop > plan.methods[0].flop  # a longer answer and a forward pass of the original
    assert all(method.memory_bytes > 16 * plan.parameters for method in plan.methods)


def test_plan_prints_text_and_json(config_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("unlearn", "plan", config_path) == 0
    text = capsys.readouterr().out
    assert "parameters" in text
    assert "bystander" in text
    assert text.splitlines()[-1].startswith("seconds assume ")
    assert run("unlearn", "plan", config_path, "--json", "--set", "training.passes=2") == 0
    assert json.loads(capsys.readouterr().out)["methods"][0]["passes"] == 2


def test_run_prints_its_folder_to_stdout_and_progress_to_stderr(
    config_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("unlearn", "run", config_path) == 0
    printed = capsys.readouterr()
    assert (Path(printed.out.strip()) / "steps.parquet").is_file()
    assert "unlearn idk " in printed.err
    costs = json.loads((Path(printed.out.strip()) / "run.json").read_text())["costs"]
    assert [cost["method"] for cost in costs] == ["simnpo", "idk"]
    assert all(0 < cost["estimated_over_measured"] < 10 for cost in costs)
    assert run("unlearn", "run", config_path, "--json") == 0
    assert json.loads(capsys.readouterr().out)["status"] == "done"


def test_config_prints_the_resolved_configuration_example_and_schema(
    config_path: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run("unlearn", "config", config_path, "--set", "training.passes=3") == 0
    assert json.loads(capsys.readouterr().out)["training"]["passes"] == 3
    assert run("unlearn", "config", "--example") == 0
    example = tmp_path / "example.toml"
    example.write_text(capsys.readouterr().out)
    assert run("unlearn", "config", example) == 0
    assert json.loads(capsys.readouterr().out)["index"]["name"] == "dolma"
    assert run("unlearn", "config", "--schema") == 0
    schema = json.loads(capsys.readouterr().out)
    assert {"sweep", "model", "methods"} <= set(schema["properties"])


def test_runs_that_do_not_fit_are_refused_with_suggestions(config_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from factcensus.unlearn.config.files import load_config
    from factcensus.unlearn.errors import MemoryPlanError
    from factcensus.unlearn.planning.plan import CHANGES

    monkeypatch.setattr("factcensus.unlearn.planning.plan.CHANGES", CHANGES[:1])
    monkeypatch.setattr("factcensus.unlearn.planning.plan.process_bytes", lambda: 0)
    with pytest.raises(MemoryPlanError, match="no setting would fit") as refused:
        make_plan(load_config(config_path, ["memory=10kB"]))
    assert refused.value.exit_code == 2
    needed = max(method.memory_bytes for method in make_plan(load_config(config_path)).methods)
    with pytest.raises(MemoryPlanError, match=r"these changes would fit: training\.micro_batch=1 \("):
        make_plan(load_config(config_path, [f"memory={needed - 10_000}"]))


def test_list_names_every_method(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("unlearn", "list") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines if not line.startswith(" ")] == list(METHODS)
    assert run("unlearn", "list", "--json") == 0
    listed = json.loads(capsys.readouterr().out)
    assert all(method["formula"] and method["source"] for method in listed["methods"])


def test_world_commands_write_a_world_and_train_a_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    small = Preset("smoke", PRESETS["smoke"].world, SMALL_MODEL, {}, (), 1, False)
    monkeypatch.setitem(PRESETS, "smoke", small)
    world = tmp_path / "world"
    assert run("world", "write", "--out", world, "--people", 14, "--objects", 2, "--seed", 5, "--json") == 0
    assert json.loads(capsys.readouterr().out)["facts"] == str(world / "facts.jsonl")
    assert run("world", "pretrain", world, "--out", tmp_path / "m", "--seed", 1, "--without", "forget", "--json") == 0
    described = json.loads(capsys.readouterr().out)
    assert (described["seed"], described["exclude_roles"]) == (1, ["forget"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("unlearn", "plan", "absent.toml"), "absent.toml"),
        (("unlearn", "run", "CONFIG", "--set", "traning.passes=2"), "did you mean 'training'"),
        (("world", "write", "--out", "x", "--people", "0"), "people=0"),
        (("world", "pretrain", "absent", "--out", "m"), "no world at absent"),
        (("world", "pretrain", ".", "--out", "m"), "world.json is missing"),
        (("world", "pretrain", "CONFIG", "--out", "m"), "run.toml: that is a file"),
        (("unlearn", "plan", "rnu.toml"), "no configuration file at rnu.toml; did you mean 'run.toml'?"),
    ],
)
def test_invalid_input_gives_one_line_and_exit_status_2(
    arguments: tuple[str, ...],
    message: str,
    config_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(config_path.parent)
    assert main([str(config_path) if argument == "CONFIG" else argument for argument in arguments]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert message in printed.err
    assert printed.err.count("\n") == 1


def test_every_command_has_an_example_and_demo_presets_are_complete(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (
        ("unlearn", "plan"),
        ("unlearn", "run"),
        ("unlearn", "status"),
        ("unlearn", "config"),
        ("unlearn", "list"),
        ("world", "write"),
        ("world", "pretrain"),
    ):
        assert run(*words, "--help") == 0
        assert "example:\n  factcensus " + " ".join(words) in capsys.readouterr().out
    assert list(PRESETS) == ["smoke", "demo", "gpu"]
    methods = [{"preset": name, "retrain_world": "w" if name == "retrain" else None} for name in METHODS]
    settings = {"model": "m", "facts": "f", "out": "o", "methods": methods}
    assert len(check_config(settings).methods) == len(METHODS)


def test_gpu_preset_has_about_ten_million_parameters() -> None:
    from factcensus.unlearn.world.shape import build_model

    with torch.device("meta"):
        model = build_model(480, PRESETS["gpu"].pretraining, end_id=0)
    assert 9e6 < sum(parameter.numel() for parameter in model.parameters()) < 11e6
