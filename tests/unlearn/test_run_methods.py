"""Methods in a whole run: columns of the table, stopping at a goal, and exact retraining."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from test_methods import MATERIAL, chosen, prepared

from factcensus.unlearn.config.run_config import TrainingConfig, check_config
from factcensus.unlearn.errors import ConfigError
from factcensus.unlearn.planning.plan import make_plan
from factcensus.unlearn.run import run_unlearning
from factcensus.unlearn.training.train import Recipe, unlearn
from factcensus.unlearn.world.pretrain import pretrain
from tiny import SMALL_MODEL, tiny_model


def settings(world: Path, model: Path, out: Path, methods: list[Any]) -> dict[str, Any]:
    return {
        "model": str(model),
        "facts": str(world / "facts.jsonl"),
        "out": str(out),
        "device": "cpu",
        "evaluator": "none",
        "methods": methods,
        "selection": {"count_column": "exposures"},
        "training": {"learning_rate": 1e-3, "passes": 0.5, "batch_forget": 16, "batch_retain": 8},
    }


def test_methods_of_every_kind_are_planned_and_run(world: Path, tokenizer: Any, tmp_path: Path) -> None:
    model = tmp_path / "model"
    tiny_model("llama", len(tokenizer)).save_pretrained(model)  # two layers, because RMU needs a later layer
    tokenizer.save_pretrained(model)
    methods = [
        "never_seen_strata",
        "rmu",
        "pdu",
        "idk_dpo",
        "alt_po",
        "jensun",
        {"preset": "undial", "adapter": {"rank": 2}},
    ]
    config = check_config(settings(world, model, tmp_path / "run", methods))
    plan = make_plan(config)
    assert all(method.steps > 0 and method.memory_bytes > 0 for method in plan.methods)
    folder = run_unlearning(config)
    steps = pq.read_table(folder / "steps.parquet").to_pylist()
    assert {row["method"] for row in steps} == {method.name for method in config.methods}
    trained = json.loads((folder / "run.json").read_text())["model"]["trained_parameters"]
    # Seven linear layers in each of two: 2 x (in + out) of 16 -> 16 four times, of 16 -> 32 and back three times.
    assert trained == {"undial": 2 * 2 * (4 * 32 + 3 * 48)}
    strata = [row for row in steps if row["method"] == "never_seen_strata"]
    assert all(row["remaining_nats_stratum_0"] >= 0 and row["weight_stratum_1"] > 0 for row in strata)
    assert all(row["alpha"] >= 0 for row in steps if row["method"] == "pdu")


def test_given_alternatives_come_from_the_table(world: Path, model_folder: Path, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in (world / "facts.jsonl").read_text().splitlines()]
    objects = sorted({row["object"] for row in rows if row["relation"] == rows[0]["relation"]})
    for row in rows:
        row["alternatives"] = [value for value in objects if value != row["object"]][:2]
    facts = tmp_path / "facts.jsonl"
    facts.write_text("".join(json.dumps(row) + "\n" for row in rows))
    given = {**settings(world, model_folder, tmp_path / "run", ["dpo"]), "facts": str(facts)}
    run_unlearning(check_config(given))
    for row in rows:
        del row["alternatives"]
    facts.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(ConfigError, match="has none"):
        run_unlearning(check_config({**given, "out": str(tmp_path / "other")}))


def test_never_seen_level_needs_facts_about_invented_subjects(world: Path, model_folder: Path, tmp_path: Path) -> None:
    config = settings(world, model_folder, tmp_path / "run", ["never_seen"])
    config["selection"] = {"count_column": "exposures", "never_seen_roles": ["nobody"]}
    with pytest.raises(ConfigError, match="invented names"):
        run_unlearning(check_config(config))


def test_goal_ends_training_at_the_end_of_a_pass() -> None:
    """A random model knows nothing, so the goal is reached at the first check, after one pass of 10 facts."""
    method = chosen("never_seen_strata", strata_control={"goal": 0.5, "strata": 2})
    model = tiny_model("llama", 50)
    sizes = TrainingConfig(batch_forget=4, batch_retain=4)
    forget = prepared(tiny_model("llama", 50), method)
    rows = unlearn(model, forget, MATERIAL.retain, Recipe(method, sizes, 1e-4, 5, seed=0, pad_id=0))
    assert len(rows) == 3
    endless = chosen("never_seen_strata", strata_control={"goal": None, "strata": 2})
    assert len(unlearn(model, forget, MATERIAL.retain, Recipe(endless, sizes, 1e-4, 5, seed=0, pad_id=0))) == 13


def test_retraining_equals_training_without_the_people_to_forget(world: Path, tmp_path: Path) -> None:
    source = pretrain(world, tmp_path / "model", SMALL_MODEL, seed=4)
    oracle = pretrain(world, tmp_path / "oracle", SMALL_MODEL, seed=4, exclude_roles=("forget",))
    method = {"preset": "retrain", "retrain_world": str(world)}
    config = {**settings(world, source, tmp_path / "run", [method]), "save_models": True}
    folder = run_unlearning(check_config(config))
    from transformers import AutoModelForCausalLM

    load: Any = AutoModelForCausalLM.from_pretrained
    found, expected = (load(path).state_dict() for path in (folder / "cells" / "retrain" / "model", oracle))
    assert all(torch.equal(value, expected[name]) for name, value in found.items())


def test_retraining_requires_a_model_of_the_same_world(world: Path, model_folder: Path, tmp_path: Path) -> None:
    config = settings(world, model_folder, tmp_path / "run", [{"preset": "retrain", "retrain_world": str(world)}])
    with pytest.raises(ConfigError, match=r"pretraining\.json"):
        run_unlearning(check_config(config))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16-autocast", "bfloat16"])
@pytest.mark.parametrize(("preset", "beta"), [("npo", 1.0), ("idk_dpo", 1.0), ("undial", 0.0)])
def test_the_first_step_starts_at_the_original_model_in_every_arithmetic(
    preset: str, beta: float, dtype: str, world: Path, model_folder: Path, tmp_path: Path
) -> None:
    """Losses relative to the original model must not contain the difference between two arithmetics."""
    method = {"preset": preset, "retain": "none", "parameters": {"beta": beta}}
    config = check_config(settings(world, model_folder, tmp_path / "run", [method]) | {"dtype": dtype})
    started: dict[str, Any] = {}
    run_unlearning(config, progress=lambda each: started.setdefault(each.stage, each.values))
    first = started[f"unlearn {preset}"]
    if beta:
        assert first["forget_loss_nats"] == pytest.approx(2 * math.log(2), abs=2e-4)
    else:  # the teacher is the original model
        assert first["gradient_norm"] < 1e-3
