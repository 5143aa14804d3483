"""Merged adapters: the evaluated and saved model is the trained one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from factcensus.unlearn.config.method_config import AdapterConfig
from factcensus.unlearn.config.run_config import check_config
from factcensus.unlearn.errors import ConfigError
from factcensus.unlearn.models import load_model, quiet_transformers
from factcensus.unlearn.planning.plan import make_plan
from factcensus.unlearn.run import run_unlearning
from factcensus.unlearn.training.adapters import Adapter
from tiny import tiny_model

IDS = torch.arange(24).reshape(2, 12)


def untied(seed: int = 0) -> Any:
    """Return a Llama with an untied LM head."""
    return tiny_model("llama", 30, seed, initializer_range=0.02, tie_word_embeddings=False)


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model(input_ids=IDS).logits
    return found


def moved(model: Any, **settings: Any) -> Adapter:
    """Return an adapter with nonzero factors."""
    adapter = Adapter(model, AdapterConfig.model_validate(settings), seed=0)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return adapter


@pytest.mark.parametrize("kind", ["lora", "dora"])
@pytest.mark.parametrize(
    ("make", "targets"),
    [
        (lambda: tiny_model("llama", 30), None),
        (lambda: tiny_model("llama", 30), ("q_proj", "down_proj")),
        (lambda: tiny_model("gpt2", 30), None),
        (untied, ("lm_head", "q_proj")),
    ],
    ids=["tied llama", "some of a tied llama", "gpt2", "an LM head of its own"],
)
def test_merged_and_reloaded_model_equals_the_trained_one(
    make: Any, targets: tuple[str, ...] | None, kind: str, tmp_path: Path
) -> None:
    model = make()
    original = logits(model)
    adapter = moved(model, kind=kind, targets=targets)
    trained = logits(model)
    assert (trained - original).abs().max() > 0.01
    adapter.merge()
    assert torch.allclose(logits(model), trained, atol=1e-4)
    with quiet_transformers():
        model.save_pretrained(tmp_path / "saved")
    loaded = load_model(str(tmp_path / "saved"), None, torch.float32, torch.device("cpu"))
    assert torch.allclose(logits(loaded), trained, atol=1e-4)


@pytest.mark.parametrize(
    ("kind", "target"), [("llama", "lm_head"), ("llama", "embed_tokens"), ("gpt2", "lm_head"), ("gpt2", "wte")]
)
def test_adapters_on_tied_weights_are_refused(kind: str, target: str) -> None:
    with pytest.raises(ConfigError, match=f"'{target}', whose weight is tied"):
        Adapter(tiny_model(kind, 30), AdapterConfig(targets=(target,)), seed=0)


@pytest.mark.parametrize("do", [make_plan, run_unlearning])
def test_plan_and_run_refuse_tied_weights_before_training(
    do: Any, world: Path, model_folder: Path, tmp_path: Path
) -> None:
    method = {"preset": "grad_ascent", "adapter": {"targets": ["lm_head"]}}
    settings = {
        "model": str(model_folder),
        "facts": str(world / "facts.jsonl"),
        "out": str(tmp_path / "run"),
        "methods": [method],
        "evaluator": "none",
    }
    with pytest.raises(ConfigError, match="tied"):
        do(check_config(settings))
    assert not (tmp_path / "run" / "run.json").exists()
