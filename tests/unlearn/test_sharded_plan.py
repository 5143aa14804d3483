"""Plans for several GPUs, with whole and with sharded weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from factcensus.indexer.cli import main
from factcensus.unlearn.config.run_config import check_config
from factcensus.unlearn.errors import MemoryPlanError
from factcensus.unlearn.planning.dry_step import Shape, StepCost, extra_bytes, step_cost
from factcensus.unlearn.planning.hardware import Hardware, assumed_gpus
from factcensus.unlearn.planning.plan import make_plan
from tiny import tiny_config

LAYERS, WIDTH, VOCABULARY = 6, 64, 500


def cost(method: Any = "simnpo", **settings: Any) -> StepCost:
    sizes = {"hidden_size": WIDTH, "intermediate_size": 4 * WIDTH, "num_hidden_layers": LAYERS}
    model = tiny_config("llama", VOCABULARY, tie_word_embeddings=False, **sizes)
    config = check_config({"model": "m", "facts": "f", "out": "o", "methods": [method], **settings})
    return step_cost(model, config, config.methods[0], Shape(2, 16, 4))


def test_state_groups_and_working_memory_of_a_step() -> None:
    step = cost()
    layer = 4 * (4 * WIDTH**2 + 12 * WIDTH**2 + 2 * WIDTH)
    assert step.weights_bytes == 4 * step.parameters == LAYERS * layer + 4 * (2 * VOCABULARY * WIDTH + WIDTH)
    assert step.group_bytes == max(layer, 4 * VOCABULARY * WIDTH)
    assert step.rest_bytes == 4 * WIDTH, "the last norm"
    # Weights, gradients and two moments, and the step numbers and rotary tables besides.
    assert 4 * step.weights_bytes <= step.state_bytes < 1.01 * 4 * step.weights_bytes + 10_000
    assert step.working_bytes > 0
    assert step.peak_bytes >= step.state_bytes + step.working_bytes


def test_each_process_holds_its_share_of_the_state_and_what_a_pass_needs() -> None:
    step = StepCost(10, 10, 40, 200, 1.0, 4, 10, True, 40, 160, working_bytes=20, group_bytes=3, rest_bytes=2)
    assert step.sharded_peak_bytes(2) == 160 // 2 + 20 + 3 * 3 + 2 * 2
    assert step.sharded_peak_bytes(8) == 160 // 8 + 20 + 3 * 3 + 2 * 2
    assert step.sharded_peak_bytes(1000) == 40 + 3, "the whole model is loaded first"


def test_wrappers_keep_copies_of_their_share() -> None:
    config = check_config({"model": "m", "facts": "f", "out": "o", "methods": ["npo_sam", "grad_diff_gru"]})
    step = cost()
    for method, copies in zip(config.methods, (1, 2), strict=True):
        assert extra_bytes(method, step, 10, 4)[0] == copies * step.trained_bytes // 4


@pytest.fixture
def settings(world: Path, model_folder: Path, tmp_path: Path) -> dict[str, Any]:
    return {
        "model": str(model_folder),
        "facts": str(world / "facts.jsonl"),
        "out": str(tmp_path / "run"),
        "device": "cpu",
        "methods": ["simnpo"],
        "selection": {"count_column": "exposures"},
    }


def test_assumed_gpus_change_memory_and_time(settings: dict[str, Any]) -> None:
    config, sharded = check_config(settings), check_config({**settings, "fsdp": True})
    one, eight = (make_plan(config, hardware=assumed_gpus(config, count)) for count in (1, 8))
    shared = make_plan(sharded, hardware=assumed_gpus(sharded, 8))
    assert (eight.device, eight.processes) == ("8 GPUs (assumed)", 8)
    assert one.device_bytes == 79 * 2**30
    assert one.methods[0].seconds == pytest.approx(8 * eight.methods[0].seconds)
    assert one.methods[0].flop == pytest.approx(one.flop_per_second * one.methods[0].seconds)
    assert shared.methods[0].memory_bytes < eight.methods[0].memory_bytes <= one.methods[0].memory_bytes


def test_error_names_the_number_of_devices_that_would_fit_with_fsdp(settings: dict[str, Any]) -> None:
    config = check_config(settings)
    needed = make_plan(config, hardware=assumed_gpus(config, 1)).methods[0].memory_bytes
    small = Hardware("a small GPU", "cuda", 1, needed - 20_000, 1e12)
    with pytest.raises(MemoryPlanError, match=r"on a small GPU, .* or 2 such devices with fsdp = true"):
        make_plan(config, hardware=small)


def test_command_plans_for_gpus_that_are_not_here(
    settings: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "run.json"
    path.write_text(json.dumps(settings))
    options = ["--gpus", "2", "--set", "fsdp=true", "--gpu-memory", "40GiB", "--gpu-rate", "2e12"]
    assert main(["unlearn", "plan", str(path), *options]) == 0
    printed = capsys.readouterr().out
    assert "of 40 GiB in each of 2 processes" in printed
    assert "1.0e+12 FLOP/s" in printed
    assert main(["unlearn", "plan", str(path), *options, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["processes"] == 2
    assert main(["unlearn", "plan", str(path), "--gpu-rate", "2e12"]) == 2
    assert "--gpus" in capsys.readouterr().err
    assert main(["unlearn", "plan", str(path), "--set", "fsdp=true"]) == 2
    assert "`unlearn plan --gpus N` plans for them" in capsys.readouterr().err
