"""FILA initialises adapters with the weights that matter to the forget set, without changing outputs."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
import torch

from factcensus.unlearn.config.method_config import AdapterConfig
from factcensus.unlearn.errors import ConfigError
from factcensus.unlearn.training.adapters import Adapter
from factcensus.unlearn.training.examples import Example, collate
from factcensus.unlearn.training.fila import DAMPING, factors, fisher, start_adapter
from factcensus.unlearn.training.scoring import answer_logits
from tiny import tiny_model

VOCABULARY = 30
FORGET = (Example("f", (0, 1, 2), (3, 4)), Example("g", (0, 5), (6,)))
RETAIN = (Example("r", (0, 7, 8), (9,)),)


def adapt(model: Any, **settings: Any) -> Adapter:
    return Adapter(model, AdapterConfig.model_validate({"start": "fila", **settings}), seed=0)


def test_adapter_starts_with_the_important_row() -> None:
    # Rows (3, 0) and (0, 2), importances 1 and 16: weighted, their lengths are 3 and 8, so rank 1 holds the second row.
    weight = torch.tensor([[3.0, 0.0], [0.0, 2.0]])
    a, b = factors(weight, torch.tensor([1.0, 16.0]), rank=1, scaling=2.0)
    assert (2 * b @ a).flatten().tolist() == pytest.approx([0, 0, 0, 2], abs=1e-5)
    # S = 8, over the scale 4: A has length sqrt(4), and B removes the weight of 4.
    assert a.abs().tolist()[0] == pytest.approx([0, 2], abs=1e-5)
    assert b.abs().flatten().tolist() == pytest.approx([0, 0.5], abs=1e-5)
    unweighted, up = factors(weight, torch.ones(2), rank=1, scaling=2.0)
    assert (2 * up @ unweighted).flatten().tolist() == pytest.approx([3, 0, 0, 0], abs=1e-5)


def test_unimportant_rows_are_ignored_and_excess_rank_is_zero() -> None:
    a, b = factors(torch.tensor([[3.0, 1.0], [0.0, 2.0]]), torch.tensor([4.0, 0.0]), rank=4, scaling=1.0)
    assert (a.shape, b.shape) == ((4, 2), (2, 4))
    assert (b @ a).flatten().tolist() == pytest.approx([3, 1, 0, 0], abs=1e-5)


def test_fisher_information_averages_squared_gradients_of_single_examples() -> None:
    model = tiny_model("llama", VOCABULARY)
    weight = model.model.layers[0].mlp.down_proj.weight
    (found,) = fisher(model, [weight], FORGET, 0, nullcontext)
    expected = torch.zeros_like(weight)
    for example in FORGET:
        ids = torch.tensor([example.prompt_ids + example.answer_ids])
        labels = ids.clone()
        labels[:, : len(example.prompt_ids)] = -100
        model.zero_grad()
        model(input_ids=ids, labels=labels).loss.backward()
        expected += len(example.answer_ids) * weight.grad.square() / 3
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(("kind", "adapter"), [("llama", "lora"), ("gpt2", "lora"), ("llama", "dora")])
def test_start_moves_weights_into_the_adapter_without_changing_outputs(kind: str, adapter: str) -> None:
    model, batch = tiny_model(kind, VOCABULARY), collate([*FORGET, *RETAIN], 0)
    before = answer_logits(model, batch).detach()
    weights = {name: value.clone() for name, value in model.named_parameters()}
    wrapped = adapt(model, kind=adapter, rank=2)
    start_adapter(model, FORGET, RETAIN, 0, 0, nullcontext)
    torch.testing.assert_close(answer_logits(model, batch), before, rtol=1e-3, atol=1e-4)
    assert not wrapped.off_is_original
    with wrapped.off():
        assert not torch.allclose(answer_logits(model, batch), before, atol=1e-3)
    trained = [name for name, each in model.named_parameters() if each.requires_grad]
    assert trained
    assert all("lora" in name for name in trained)
    wrapped.merge()
    for name, value in model.named_parameters():
        torch.testing.assert_close(value, weights[name], rtol=1e-3, atol=1e-4)


def test_start_solves_the_weighted_problem_of_a_real_layer() -> None:
    model = tiny_model("llama", VOCABULARY)
    weight = model.model.layers[1].mlp.up_proj.weight
    (of_forget,), (of_retain,) = (fisher(model, [weight], each, 0, nullcontext) for each in (FORGET, RETAIN))
    importance = (of_forget / (of_retain + DAMPING)).sum(dim=1)
    original = weight.detach().clone()
    adapt(model, rank=3, targets=("up_proj",))
    start_adapter(model, FORGET, RETAIN, 0, 0, nullcontext)
    taken = original - model.model.layers[1].mlp.up_proj.get_base_layer().weight
    root = importance.sqrt()[:, None]
    u, s, v = torch.linalg.svd(root * original, full_matrices=False)
    torch.testing.assert_close(root * taken, u[:, :3] * s[:3] @ v[:3], rtol=1e-3, atol=1e-4)


def test_empty_sets_and_embeddings_are_refused() -> None:
    model: Any = tiny_model("llama", VOCABULARY)
    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone())  # untied
    with pytest.raises(ConfigError, match="one of them is empty"):
        start_adapter(model, FORGET, (), 0, 0, nullcontext)
    with pytest.raises(ConfigError, match=r"adapter\.targets.*tied"):  # the LM head of this model is tied
        adapt(tiny_model("llama", VOCABULARY), rank=2, targets=("lm_head",))
    adapt(model, rank=2, targets=("embed_tokens",))
    with pytest.raises(ConfigError, match=r"adapter\.targets"):
        start_adapter(model, FORGET, RETAIN, 0, 0, nullcontext)
