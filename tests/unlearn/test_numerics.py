"""Optimisers for narrow parameters, lost updates, and losses that do not depend on padding and splits."""

from __future__ import annotations

import logging
from importlib.util import find_spec
from typing import Any

import pytest
import torch
from test_methods import ANSWERS, MATERIAL, chosen, prepared, train

from factcensus.unlearn.errors import ConfigError
from factcensus.unlearn.training.examples import collate
from factcensus.unlearn.training.gradients import Draw, Gradients
from factcensus.unlearn.training.lost_updates import LostUpdateMeter
from factcensus.unlearn.training.optimizers import RoundedAdamW, make_optimizer, round_stochastically
from factcensus.unlearn.training.scoring import answer_logits, forward_answers, token_log_probabilities
from tiny import tiny_model


def steps(kind: Any, dtype: torch.dtype, rate: float, number: int) -> tuple[torch.Tensor, list[float]]:
    """Return parameters after steps with the same random gradients, and the shares of lost updates."""
    generator = torch.Generator().manual_seed(0)
    parameter = torch.nn.Parameter((0.02 * torch.randn(4000, generator=generator)).to(dtype))
    optimizer = make_optimizer(kind, [parameter], rate, 0.01, seed=3)
    meter, lost = LostUpdateMeter([parameter]), []
    sign = torch.sign(torch.randn(4000, generator=generator))
    for _ in range(number):
        parameter.grad = (sign + 0.3 * torch.randn(4000, generator=generator)).to(dtype)
        meter.before_step(optimizer)
        optimizer.step()
        lost.append(meter.lost_share(optimizer))
    value = parameter.detach().float()
    if "compensation" in optimizer.state[parameter]:
        value += optimizer.state[parameter]["compensation"].float()
    return value, lost


def test_optimiser_equals_adamw_of_torch_without_rounding() -> None:
    ours, torchs = (steps(kind, torch.float32, 1e-3, 20)[0] for kind in ("adamw_kahan", "adamw"))
    torch.testing.assert_close(ours, torchs, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("kind", ["adamw_kahan", "adamw_stochastic"])
def test_narrow_parameters_follow_float32_ones(kind: str) -> None:
    """At rate 5e-6, rounding to nearest loses almost all updates."""
    exact, _ = steps("adamw", torch.float32, 5e-6, 200)
    start = (0.02 * torch.randn(4000, generator=torch.Generator().manual_seed(0))).bfloat16().float()
    moved = exact - start
    found, lost = steps(kind, torch.bfloat16, 5e-6, 200)
    nearest, lost_nearest = steps("adamw", torch.bfloat16, 5e-6, 200)
    way = float((moved.sign() * (found - start)).mean() / moved.abs().mean())
    way_nearest = float((moved.sign() * (nearest - start)).mean() / moved.abs().mean())
    assert way == pytest.approx(1, abs=0.1)
    assert way_nearest < 0.7
    assert sum(lost) / len(lost) < 0.05
    assert sum(lost_nearest) / len(lost_nearest) > 0.5


def test_stochastic_rounding_is_unbiased_and_exact_for_representable_values() -> None:
    values = torch.full((100_000,), 1 + 2**-10)  # an eighth of the way between the bfloat16 numbers 1 and 1 + 2^-7
    generator = torch.Generator().manual_seed(1)
    rounded = round_stochastically(values, torch.bfloat16, generator).float()
    assert set(rounded.unique().tolist()) == {1.0, 1 + 2**-7}
    assert float((rounded > 1).float().mean()) == pytest.approx(1 / 8, abs=0.006)
    exact = torch.tensor([0.0, -1.5, 3.0, float("inf"), -float("inf")])
    assert torch.equal(round_stochastically(exact, torch.bfloat16, generator).float(), exact)
    assert round_stochastically(torch.tensor([float("nan")]), torch.bfloat16, generator).isnan().all()


def test_moments_keep_their_bytes_when_loaded() -> None:
    made = []
    for _ in range(2):
        parameter = torch.nn.Parameter(torch.ones(8, dtype=torch.bfloat16))
        made.append((parameter, RoundedAdamW([parameter], 1e-3, 0.0, kahan=True, seed=0)))
    (parameter, optimizer), (other, loaded) = made
    parameter.grad = torch.linspace(-1, 1, 8).bfloat16()
    optimizer.step()
    loaded.load_state_dict(optimizer.state_dict())
    for name, value in optimizer.state[parameter].items():
        assert torch.equal(torch.as_tensor(value), torch.as_tensor(loaded.state[other][name]))
        if name.startswith("exp"):
            assert value.dtype == torch.float32


@pytest.mark.skipif(find_spec("bitsandbytes") is not None, reason="bitsandbytes is installed")
def test_8_bit_optimiser_without_bitsandbytes_is_an_error() -> None:
    with pytest.raises(ConfigError, match="pip install bitsandbytes"):
        train(chosen("simnpo"), optimizer="adamw_8bit")


def test_lost_updates_give_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="factcensus.unlearn"):
        train(chosen("simnpo"), rate=5e-6, dtype=torch.bfloat16)
        assert "adamw_kahan" in caplog.text
        caplog.clear()
        train(chosen("simnpo"), rate=5e-6)
        train(chosen("simnpo"), rate=5e-6, dtype=torch.bfloat16, optimizer="adamw_kahan")
        assert caplog.text == ""


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_head_at_answer_positions_gives_the_same_logits(kind: str) -> None:
    model, batch, seen = tiny_model(kind, 50), collate(ANSWERS, 0), []
    model.get_output_embeddings().register_forward_hook(lambda _, arguments, __: seen.append(arguments[0].shape))
    with torch.no_grad():
        output = forward_answers(model, batch)
        whole = model(batch.input_ids, attention_mask=batch.attention_mask).logits
    assert seen[0] == (10, 3, 16)
    index = batch.answer_positions.unsqueeze(-1).expand(-1, -1, 50)
    torch.testing.assert_close(output.logits, whole.gather(1, index), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_padding_and_batch_composition_change_no_loss(kind: str) -> None:
    """Losses agree within 1e-6 nats for both sides and any padding id, alone or in a batch."""
    model = tiny_model(kind, 50)
    with torch.no_grad():
        alone = []
        for example in ANSWERS:
            batch = collate([example], 0)
            alone.append(token_log_probabilities(answer_logits(model, batch), batch).sum())
        for side in ("right", "left"):
            for pad in (0, 3):
                batch = collate(ANSWERS, pad, side)  # type: ignore[arg-type]
                together = token_log_probabilities(answer_logits(model, batch), batch).sum(dim=1)
                torch.testing.assert_close(together, torch.stack(alone), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("preset", ["never_seen_strata", "dpo", "jensun", "rmu"])
def test_every_split_into_ranks_and_micro_batches_gives_the_same_gradient(preset: str) -> None:
    """The shares of all ranks add up to the gradient of a single process."""
    from factcensus.unlearn.training.ranks import Ranks

    method = chosen(preset)
    forget = prepared(tiny_model("llama", 50), method)
    draws = [Draw(index, 0) for index in (1, 3, 4, 6, 8, 9)]

    def gradient(ranks: int, micro_batch: int | None) -> list[torch.Tensor]:
        model = tiny_model("llama", 50)
        for rank in range(ranks):
            part = Ranks()
            part.index, part.count = rank, ranks
            gradients = Gradients(model, forget, MATERIAL.retain, method, 0, micro_batch, layer=0, ranks=part)
            gradients.add_forget(draws, None)
        return [torch.zeros_like(each) if each.grad is None else each.grad for each in model.parameters()]

    whole = gradient(1, None)
    for ranks, micro_batch in ((1, 1), (2, None), (3, 2), (4, 1), (8, 1)):
        for first, second in zip(whole, gradient(ranks, micro_batch), strict=True):
            torch.testing.assert_close(first, second, atol=1e-6, rtol=1e-5)
