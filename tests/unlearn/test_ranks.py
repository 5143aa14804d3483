"""Two processes perform the same update as one."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch
from hypothesis import given
from hypothesis import strategies as st

from factcensus.unlearn.config.run_config import check_config
from factcensus.unlearn.models import load_model
from factcensus.unlearn.run import run_unlearning
from factcensus.unlearn.training.ranks import ManyRanks
from factcensus.unlearn.world.pretrain import pretrain
from servers import reserved_port
from tiny import SMALL_MODEL

HERE = Path(__file__).parent


@given(st.lists(st.integers()), st.integers(1, 5))
def test_shares_partition_the_batch(items: list[int], count: int) -> None:
    shares = [ManyRanks(index, count, torch.device("cpu")).share(items) for index in range(count)]
    assert sorted(item for share in shares for item in share) == sorted(items)
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def run_in_two_processes(config: Path, *, stop_at: int | None = None) -> None:
    """Run a configuration; with ``stop_at``, ask the run to stop after that step."""
    command = [sys.executable, str(HERE / "two_ranks.py"), str(config), *([] if stop_at is None else [str(stop_at)])]
    with reserved_port() as port:
        environment = {
            "WORLD_SIZE": "2",
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
            "OMP_NUM_THREADS": "1",
            "ACCELERATE_USE_CPU": "true",
        }
        done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=600)
    if stop_at is None:
        assert done.returncode == 0, done.stderr
    else:
        assert "InterruptedRunError" in done.stderr


def test_two_processes_give_the_same_result_as_one(world: Path, model_folder: Path, tmp_path: Path) -> None:
    settings: dict[str, Any] = {
        "model": str(model_folder),
        "facts": str(world / "facts.jsonl"),
        "out": str(tmp_path / "one"),
        "device": "cpu",
        "threads": 1,
        "evaluator": "none",
        "save_models": True,
        "methods": [
            "simnpo",
            {"preset": "grad_diff", "retain": "kl", "name": "kl"},
            {"preset": "grad_diff", "reduction": "token", "name": "token"},
        ],
        "selection": {"forget": {"roles": ["forget"], "limit": 14}, "count_column": "exposures"},
        # 7 and 5 are odd: the two shares of a batch have different sizes, which averaging over ranks gets wrong.
        "training": {"learning_rate": 1e-3, "passes": 1, "batch_forget": 7, "batch_retain": 5, "micro_batch": 2},
    }
    one = run_unlearning(check_config(settings))
    two = tmp_path / "two"
    path = tmp_path / "run.json"
    path.write_text(json.dumps({**settings, "out": str(two)}))
    run_in_two_processes(path)
    assert json.loads((two / "run.json").read_text())["processes"] == 2
    ours, theirs = (pq.read_table(folder / "steps.parquet").to_pydict() for folder in (one, two))
    for column in ("loss_nats", "forget_loss_nats", "retain_loss_nats", "gradient_norm"):
        torch.testing.assert_close(torch.tensor(theirs[column]), torch.tensor(ours[column]), rtol=1e-4, atol=1e-5)
    for method in ("simnpo", "kl", "token"):
        models = [
            load_model(str(folder / "cells" / method / "model"), None, torch.float32, torch.device("cpu"))
            for folder in (one, two)
        ]
        for left, right in zip(models[0].parameters(), models[1].parameters(), strict=True):
            torch.testing.assert_close(left, right, rtol=1e-3, atol=1e-4)  # a tenth of one step of Adam at this rate


def test_two_processes_pretrain_the_same_model_as_one(world: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    # 3 rows: the shares of a step have different sizes.
    settings = dataclasses.replace(SMALL_MODEL, batch_rows=3)
    one = pretrain(world, tmp_path / "one", settings, seed=0)
    path = tmp_path / "pretrain.json"
    path.write_text(
        json.dumps(
            {"pretrain": {"world": str(world), "out": str(tmp_path / "two"), "settings": dataclasses.asdict(settings)}}
        )
    )
    run_in_two_processes(path)
    ours, theirs = (load_file(folder / "model.safetensors") for folder in (one, tmp_path / "two"))
    for name, value in ours.items():
        torch.testing.assert_close(theirs[name], value, rtol=1e-4, atol=1e-5)
    assert not (tmp_path / "two.unfinished").exists()
