"""Training with sharded weights (FSDP) gives the result of a single process, and can be resumed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from test_ranks import run_in_two_processes
from transformers import GPTNeoXForCausalLM

from factcensus.unlearn.config.run_config import check_config
from factcensus.unlearn.errors import ConfigError
from factcensus.unlearn.models import load_model, quiet_transformers
from factcensus.unlearn.run import run_unlearning
from factcensus.unlearn.training import ranks
from factcensus.unlearn.training.ranks import ALONE, Ranks
from factcensus.unlearn.training.saved_state import SavedState
from tiny import tiny_config

METHODS = (
    "simnpo",
    {"preset": "grad_diff", "retain": "kl", "reduction": "token", "name": "kl"},
    "idk_dpo",
    "npo_sam",
    "grad_diff_gru",
    "task_vector",
)


def settings_of(world: Path, model: Path, out: Path, **more: Any) -> dict[str, Any]:
    return {
        "model": str(model),
        "facts": str(world / "facts.jsonl"),
        "out": str(out),
        "device": "cpu",
        "threads": 1,
        "evaluator": "none",
        "save_models": True,
        "methods": list(METHODS),
        "selection": {"forget": {"roles": ["forget"], "limit": 14}, "count_column": "exposures"},
        # The shares of 7 and 5 have 4 and 3, and 3 and 2 examples: two micro-batches in one process, one in the other.
        "training": {"learning_rate": 1e-3, "passes": 1, "batch_forget": 7, "batch_retain": 5, "micro_batch": 2},
        **more,
    }


def in_two_processes(settings: dict[str, Any], path: Path, *, stop_at: int | None = None) -> Path:
    path.write_text(json.dumps({**settings, "fsdp": True}))
    run_in_two_processes(path, stop_at=stop_at)
    return Path(settings["out"])


def unlearned(folder: Path, method: str) -> Any:
    return load_model(str(folder / "cells" / method / "model"), None, torch.float32, torch.device("cpu"))


def check_same_losses(one: Path, two: Path) -> None:
    ours, theirs = (pq.read_table(folder / "steps.parquet").to_pydict() for folder in (one, two))
    assert ours["method"] == theirs["method"]
    for column in ("loss_nats", "forget_loss_nats", "retain_loss_nats", "gradient_norm"):
        torch.testing.assert_close(torch.tensor(theirs[column]), torch.tensor(ours[column]), rtol=1e-4, atol=1e-5)
    assert not list(two.glob("cells/*/state*"))


def test_sharded_training_gives_the_result_of_one_process(world: Path, model_folder: Path, tmp_path: Path) -> None:
    settings = settings_of(world, model_folder, tmp_path / "one")
    one = run_unlearning(check_config(settings))
    two = in_two_processes({**settings, "out": str(tmp_path / "two")}, tmp_path / "run.json")
    record = json.loads((two / "run.json").read_text())
    assert (record["processes"], record["config"]["fsdp"], record["failed"]) == (2, True, [])
    check_same_losses(one, two)
    for name in (each if isinstance(each, str) else str(each["name"]) for each in METHODS):
        expected, found = (dict(unlearned(folder, name).named_parameters()) for folder in (one, two))
        assert list(expected) == list(found)
        for parameter, value in expected.items():  # 1e-4 is a tenth of one step of Adam at this rate
            torch.testing.assert_close(found[parameter], value, rtol=1e-3, atol=1e-4)


def test_stopped_sharded_training_resumes_with_the_same_result(world: Path, tokenizer: Any, tmp_path: Path) -> None:
    """The model is another class with an LM head of its own, and recomputes its activations."""
    model = tmp_path / "neox"
    sizes = tiny_config("gpt_neox", len(tokenizer), bos_token_id=0, eos_token_id=0, initializer_range=0.2)
    torch.manual_seed(0)
    with quiet_transformers():
        GPTNeoXForCausalLM(sizes).save_pretrained(model)
    tokenizer.save_pretrained(model)
    settings = settings_of(world, model, tmp_path / "one", methods=["simnpo"])
    settings["training"] |= {"gradient_checkpointing": True, "passes": 2, "save_every_steps": 1}
    one = run_unlearning(check_config(settings))
    path = tmp_path / "run.json"
    two = in_two_processes({**settings, "out": str(tmp_path / "two")}, path, stop_at=2)
    cell = two / "cells" / "simnpo"
    assert sorted(each.name for each in cell.glob("state*") if ".2." in each.name) == [
        "state.2.0-of-2.pt",
        "state.2.1-of-2.pt",
    ]
    sizes_bytes = [each.stat().st_size for each in cell.glob("state.2.*")]
    assert max(sizes_bytes) < 0.8 * sum(sizes_bytes), "each process saves its part"
    in_two_processes({**settings, "out": str(two)}, path)
    check_same_losses(one, two)
    # Logits instead of weights: the gradient of the key bias is 0 but for rounding, which Adam scales to whole steps.
    with torch.no_grad():
        ids = torch.arange(2, 42).reshape(4, 10) % len(tokenizer)
        logits = [unlearned(folder, "simnpo")(ids).logits for folder in (one, two)]
    torch.testing.assert_close(logits[1], logits[0], rtol=1e-3, atol=1e-4)


class Process(Ranks):
    """One of several processes that do not wait for each other."""

    def __init__(self, index: int, count: int) -> None:
        self.index, self.count = index, count


def saved(path: Path, index: int, count: int = 2) -> SavedState:
    return SavedState(path, Process(index, count), parts=True)


def test_the_newest_step_that_every_process_saved_is_loaded(tmp_path: Path) -> None:
    path, cpu = tmp_path / "state.pt", torch.device("cpu")
    for index in (0, 1):
        saved(path, index).save(lambda index=index: {"step": 4, "index": index}, 4)  # type: ignore[misc]
    torch.save({"step": 5, "index": 0}, tmp_path / "state.5.0-of-2.pt")  # killed before the other one saved
    assert saved(path, 1).load(cpu) == {"step": 4, "index": 1}
    saved(path, 1).save(lambda: {"step": 5, "index": 1}, 5)
    assert saved(path, 0).load(cpu) == {"step": 5, "index": 0}
    assert not (tmp_path / "state.4.1-of-2.pt").exists()
    assert saved(path.with_name("other.pt"), 0).load(cpu) is None


def test_a_state_of_other_processes_is_refused(tmp_path: Path) -> None:
    path, cpu = tmp_path / "state.pt", torch.device("cpu")
    for index in (0, 1):
        saved(path, index).save(lambda: {"step": 1}, 1)
    with pytest.raises(ConfigError, match="in 2 parts, but there are 3 processes; start 2"):
        saved(path, 0, 3).load(cpu)
    with pytest.raises(ConfigError, match="set fsdp = true"):
        SavedState(path, ALONE, parts=False).load(cpu)
    whole = tmp_path / "whole" / "state.pt"
    whole.parent.mkdir()
    SavedState(whole, ALONE, parts=False).save(lambda: {"step": 1}, 1)
    assert SavedState(whole, ALONE, parts=False).load(cpu) == {"step": 1}
    with pytest.raises(ConfigError, match="set fsdp = false"):
        saved(whole, 0).load(cpu)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"methods": ["rmu"]}, "'rmu' does not work with fsdp: it reads activations of one layer"),
        ({"methods": [{"preset": "grad_diff", "retain": "embedding"}]}, "it reads activations of one layer"),
        ({"methods": [{"preset": "simnpo", "adapter": {"rank": 2}}]}, "it trains an adapter"),
        ({"methods": ["loku"]}, "it trains an adapter"),
        ({"methods": [{"preset": "retrain", "retrain_world": "world"}]}, "it trains from scratch"),
        ({"methods": ["simnpo"], "compile": True}, "fsdp and compile"),
    ],
)
def test_what_cannot_be_sharded_is_refused_with_the_reason(change: dict[str, Any], said: str) -> None:
    settings = {"model": "model", "facts": "facts.csv", "out": "run", "fsdp": True, **change}
    with pytest.raises(ConfigError, match=said):
        check_config(settings)
    assert not check_config({**settings, "fsdp": False}).fsdp


def test_one_process_cannot_share_a_model(world: Path, model_folder: Path, tmp_path: Path) -> None:
    config = check_config(settings_of(world, model_folder, tmp_path / "run", fsdp=True))
    with pytest.raises(ConfigError, match="accelerate launch --num_processes N"):
        run_unlearning(config)
    assert not (tmp_path / "run").exists()


def test_missing_accelerate_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(ranks, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match="accelerate, which connects them, is not installed"):
        ranks.current_ranks.__wrapped__()


def test_sharding_changes_no_fingerprint() -> None:
    settings = {"model": "model", "facts": "facts.csv", "out": "run", "methods": ["simnpo"]}
    assert check_config(settings).fingerprint() == check_config({**settings, "fsdp": True}).fingerprint()
