"""The over-forgetting alarm: its limits, its records and its warnings."""

from __future__ import annotations

import json
import logging
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from test_methods import MATERIAL, chosen
from test_run_methods import settings

from factcensus.unlearn.config.run_config import TrainingConfig, check_config
from factcensus.unlearn.progress import Progress
from factcensus.unlearn.run import run_unlearning
from factcensus.unlearn.training.examples import Example
from factcensus.unlearn.training.forget_set import OriginalScores, forget_set
from factcensus.unlearn.training.over_forgetting import OverForgetting, Watch, over_forgetting_alarms
from factcensus.unlearn.training.scoring import mean_nll_of
from factcensus.unlearn.training.train import Recipe, StepRow, unlearn
from tiny import tiny_model

CPU = torch.device("cpu")


def test_shares_count_latest_losses_above_their_limits() -> None:
    watch = Watch(torch.tensor([0, 0, 1, 1, 1]), torch.zeros(5), torch.tensor([2.0, 3.0, 2.0, 2.0, 2.0]))
    meter = OverForgetting(watch)
    assert meter.shares() == [0, 0]
    meter.observe([0, 1, 4], [2.5, 2.5, 9.0])
    assert meter.shares() == pytest.approx([1 / 2, 1 / 3])
    meter.observe([4], [2.0])  # a value at the limit is not above it
    assert meter.record() == {"over_forgotten_stratum_0": 0.5, "over_forgotten_stratum_1": 0.0}
    other = OverForgetting(watch)
    other.load(meter.state().clone())
    assert other.record() == meter.record()


def test_alarm_names_the_stratum_and_the_first_step_above_the_threshold() -> None:
    shares = [(0.0, 0.0), (0.1, 0.0), (0.0, 0.05), (0.2, 0.05)]
    rows = [
        {"step": step + 1, "over_forgotten_stratum_0": first, "over_forgotten_stratum_1": second}
        for step, (first, second) in enumerate(shares)
    ]
    alarm = {"alarm": "over_forgetting", "stratum": 0, "share": 0.2, "first_step": 2}
    assert over_forgetting_alarms(rows, 0.05) == [alarm]
    assert over_forgetting_alarms(rows[:3], 0.05) == []  # it was above the limit and returned
    assert over_forgetting_alarms([{"step": 1}], 0.05) == []  # nothing was monitored


def test_the_limit_is_three_pooled_deviations_above_the_never_seen_level() -> None:
    model = tiny_model("llama", 50)
    watch = forget_set(chosen("simnpo"), MATERIAL, OriginalScores(MATERIAL, model, 0), seed=0).watch
    assert watch is not None
    squares, freedom = 0.0, 0
    for answer in {example.answer_ids for example in MATERIAL.answers}:
        tried = [Example("", example.prompt_ids, answer) for _, example in MATERIAL.never_seen]
        losses = mean_nll_of(model, tried, 0, 8, CPU).numpy().astype(float)
        squares += float(((losses - losses.mean()) ** 2).sum())
        freedom += len(losses) - 1
    level = OriginalScores(MATERIAL, model, 0).never_seen_nll()
    assert watch.limit.numpy() == pytest.approx(level.numpy() + 3 * math.sqrt(squares / freedom), rel=1e-4)
    assert np.bincount(watch.of.numpy()).tolist() == [4, 2, 2, 2]  # quantiles of the counts 1, 1, 2, 2, 4, ...
    assert (watch.limit > watch.original).all()  # the original model has forgotten nothing


@pytest.mark.parametrize(
    ("material", "preset"),
    [
        (replace(MATERIAL, watched=False), "simnpo"),
        (replace(MATERIAL, never_seen=()), "simnpo"),
        (replace(MATERIAL, never_seen=MATERIAL.never_seen[:1]), "simnpo"),  # a single subject has no deviation
        (MATERIAL, "idk"),  # it does not compute the loss of the fact's answer
    ],
)
def test_nothing_is_monitored_without_a_never_seen_level(material: Any, preset: str) -> None:
    model = tiny_model("llama", 50)
    assert forget_set(chosen(preset), material, OriginalScores(material, model, 0), seed=0).watch is None


@pytest.mark.parametrize(("rate", "alarmed"), [(3e-2, True), (1e-5, False)])
def test_a_large_dose_raises_the_alarm_and_a_small_one_does_not(rate: float, alarmed: bool) -> None:
    model, method = tiny_model("llama", 50), chosen("grad_ascent")
    forget = forget_set(method, MATERIAL, OriginalScores(MATERIAL, model, 0), seed=0)
    sizes = TrainingConfig(batch_forget=4, batch_retain=4)
    rows = unlearn(model, forget, MATERIAL.retain, Recipe(method, sizes, rate, 4, seed=0, pad_id=0))
    assert bool(over_forgetting_alarms(rows, 0.05)) == alarmed


def test_training_can_stop_at_the_alarm_and_resumes_to_the_same_step(tmp_path: Path) -> None:
    method, sizes = chosen("grad_ascent"), {"batch_forget": 4, "batch_retain": 4, "save_every_steps": 1}

    def rows(stop: bool, **state: Any) -> list[StepRow]:
        model = tiny_model("llama", 50)
        forget = forget_set(method, MATERIAL, OriginalScores(MATERIAL, model, 0), seed=0)
        training = TrainingConfig.model_validate({**sizes, "stop_over_forgotten": stop})
        return unlearn(model, forget, MATERIAL.retain, Recipe(method, training, 3e-2, 4, seed=0, pad_id=0), **state)

    reports: list[Progress] = []
    stopped, whole = rows(True, progress=reports.append), rows(False)
    assert (reports[-1].done, reports[-1].total, reports[-1].values) == (len(stopped), len(stopped), None)
    assert reports[-1].detail == "ended before step 10"
    assert len(stopped) < len(whole) == 10
    assert over_forgetting_alarms(stopped, 0.05)[0]["first_step"] == len(stopped)
    assert stopped == whole[: len(stopped)]
    assert rows(True, state_path=tmp_path / "state.pt") == rows(True, state_path=tmp_path / "state.pt") == stopped


def test_runs_record_shares_and_alarms_and_log_a_warning(
    world: Path, model_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = settings(world, model_folder, tmp_path / "run", [{"preset": "grad_ascent", "learning_rate": 5e-2}, "idk"])
    config["training"] |= {"passes": 2}
    with caplog.at_level(logging.WARNING):
        folder = run_unlearning(check_config(config))
    steps = pq.read_table(folder / "steps.parquet").to_pylist()
    shares = [row["over_forgotten_stratum_0"] for row in steps if row["method"] == "grad_ascent"]
    assert shares[0] == 0
    assert all(row["over_forgotten_stratum_0"] is None for row in steps if row["method"] == "idk")
    alarms = json.loads((folder / "run.json").read_text())["alarms"]
    assert {alarm["method"] for alarm in alarms} == {"grad_ascent"}
    assert alarms[0]["share"] == pytest.approx(shares[-1], abs=1e-4)
    assert alarms[0]["share"] > 0.05
    assert "far below the never-seen level" in caplog.text
