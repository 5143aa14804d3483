from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from factcensus.eval.asking import utility
from factcensus.eval.errors import EvaluationInputError

TEXTS = ["ada was born in rome", "bo was born in new york", "where is it", "cy was born in oslo", "rome"]


def other_model(model: PreTrainedModel) -> PreTrainedModel:
    """Make a model of the same class with other weights."""
    import copy

    other = copy.deepcopy(model)
    torch.manual_seed(9)
    for parameter in other.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    return other


def test_loss_and_divergence_do_not_depend_on_the_batch(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast
) -> None:
    original = other_model(model)
    found = utility.score_texts(model, tokenizer, TEXTS, original, batch_tokens=7)
    assert model.training
    assert original.training
    assert len(found) == 4, "a text of one token predicts nothing"
    for text, score in zip(TEXTS, found, strict=False):
        ids = tokenizer(text)["input_ids"]
        with torch.no_grad():
            mine = model.eval()(torch.tensor([ids])).logits[0].double().log_softmax(-1)
            theirs = original.eval()(torch.tensor([ids])).logits[0].double().log_softmax(-1)
        loss = -sum(float(mine[place, token]) for place, token in enumerate(ids[1:]))
        divergence = sum(
            math.exp(float(q)) * (float(q) - float(p))
            for place in range(len(ids) - 1)
            for p, q in zip(mine[place], theirs[place], strict=True)
        )
        assert score.tokens == len(ids) - 1
        assert score.loss == pytest.approx(loss, rel=1e-4)
        assert score.divergence == pytest.approx(divergence, rel=1e-3, abs=1e-5)


def test_model_does_not_diverge_from_itself(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> None:
    rows = {row["measure"]: row for row in utility.of_text(model, tokenizer, TEXTS, model)}
    assert rows["kl_to_original_nats"]["value"] == pytest.approx(0, abs=1e-6)
    assert rows["perplexity"]["n"] == 4
    assert rows["perplexity"]["low"] < rows["perplexity"]["value"] < rows["perplexity"]["high"]
    [alone] = utility.of_text(model, tokenizer, TEXTS[:1])
    assert alone["measure"] == "perplexity"
    assert alone["low"] is None, "one document has no spread"
    with pytest.raises(EvaluationInputError, match="no document with at least two tokens"):
        utility.of_text(model, tokenizer, ["rome"])


def test_hand_computed_mean_per_token() -> None:
    """Losses 2 and 9 over 1 and 3 tokens: 11/4, residuals -3/4 and 3/4, error sqrt(2 * 2 * 9/16) / 4 = 3/8."""
    value, low, high = utility.per_token([2.0, 9.0], [1, 3])
    assert value == 2.75
    assert (high - low) / 2 == pytest.approx(12.7062 * 0.375, rel=1e-4)


def test_interval_per_token_covers_the_true_mean() -> None:
    generator = np.random.default_rng(5)
    covered = 0
    for _ in range(400):
        tokens = generator.integers(5, 60, 40)
        losses = tokens * (2.0 + generator.normal(0, 0.3, 40)) + generator.normal(0, 2, 40)
        _, low, high = utility.per_token(losses.tolist(), tokens.tolist())
        covered += low <= 2.0 <= high
    assert 0.92 <= covered / 400 <= 0.98


def test_shares_are_computed_by_group_and_by_distance() -> None:
    rows = [
        {"subject": "a", "object": "x", "role": "forget", "used": "forget", "neighbour_distance": 0, "match": False},
        {"subject": "b", "object": "x", "role": "retain", "used": "none", "neighbour_distance": 2, "match": True},
        {"subject": "c", "object": "x", "role": "retain", "used": "none", "neighbour_distance": 2, "match": False},
        {"subject": "d", "object": "y", "role": "bystander", "used": "none", "neighbour_distance": 3, "match": None},
        {"subject": "p", "object": "y", "role": "phantom", "used": "none", "neighbour_distance": None, "match": True},
    ]
    table = pa.Table.from_pylist(
        [
            {
                **row,
                "relation": "r",
                "form": "cloze",
                "generation_finished": row["match"] is not None,
                "degenerate": False,
            }
            for row in rows
        ]
    )
    found = {(row["measure"], row["of"]): (row["value"], row["n"]) for row in utility.of_facts(table)}
    assert found["accuracy", "retain_held"] == (0.5, 2)
    assert found["accuracy", "distance 2"] == (0.5, 2)
    assert found["accuracy", "phantom"] == (1.0, 1)
    assert found["accuracy", "bystander"] == (None, 0)
    assert found["unfinished", "bystander"] == (1.0, 1)
    assert found["degenerate", "distance 0"] == (0.0, 1)
    assert utility.as_table(utility.of_facts(table)).num_rows == len(found)


def test_distances_have_labels_in_words() -> None:
    assert utility.distance_label("distance 2") == "distance 2: same object"
    assert utility.distance_label("retain") == "retain"
