"""The training loop: its effects, its invariances, and equal results after an interruption."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from factcensus.unlearn.config.run_config import MethodConfig, TrainingConfig
from factcensus.unlearn.errors import InterruptedRunError, NumericsError
from factcensus.unlearn.progress import Progress
from factcensus.unlearn.training.examples import Example
from factcensus.unlearn.training.lost_updates import LostUpdateMeter
from factcensus.unlearn.training.scoring import mean_nll_of
from factcensus.unlearn.training.train import ForgetSet, Recipe, StepRow, unlearn
from tiny import same_bytes, tiny_model

VOCABULARY = 50
FORGET = tuple(Example(f"f{n}", (0, n, n + 1), (n + 2, n + 3)[: 1 + n % 2]) for n in range(1, 11))
RETAIN = tuple(Example(f"r{n}", (0, n, n + 1, 7), (n + 2,)) for n in range(20, 33))
CPU = torch.device("cpu")


def forget_set(weights: torch.Tensor | None = None) -> ForgetSet:
    n = len(FORGET)
    return ForgetSet(
        examples=FORGET,
        weights=torch.ones(n) if weights is None else weights,
        margin=torch.zeros(n),
        reference_nll=torch.full((n,), 3.0),
    )


def method(preset: str = "simnpo", **settings: Any) -> MethodConfig:
    return MethodConfig.model_validate({"preset": preset, **settings})


def train(
    model: Any,
    chosen: MethodConfig | None = None,
    *,
    rate: float = 1e-2,
    passes: float = 3,
    weights: torch.Tensor | None = None,
    state: Path | None = None,
    progress: Any = None,
    **training: Any,
) -> list[StepRow]:
    settings = TrainingConfig.model_validate({"batch_forget": 4, "batch_retain": 4, **training})
    return unlearn(
        model,
        forget_set(weights),
        RETAIN,
        Recipe(chosen or method(), settings, rate, passes, seed=0, pad_id=0),
        state_path=state,
        progress=progress,
    )


def loss_of(model: Any, examples: tuple[Example, ...]) -> float:
    return float(mean_nll_of(model, examples, 0, 8, CPU).mean())


@pytest.mark.parametrize("preset", ["grad_ascent", "grad_diff", "simnpo", "npo"])
def test_forget_answers_become_less_likely(preset: str) -> None:
    for kind in ("llama", "gpt2"):
        model = tiny_model(kind, VOCABULARY)
        before = loss_of(model, FORGET)
        train(model, method(preset))
        assert loss_of(model, FORGET) > before


def test_retain_answers_keep_their_likelihood() -> None:
    with_term, without = tiny_model("llama", VOCABULARY), tiny_model("llama", VOCABULARY)
    train(with_term, method("grad_diff", alpha=2.0))
    train(without, method("grad_diff", retain="none"))
    assert loss_of(with_term, RETAIN) < loss_of(without, RETAIN)


def test_divergence_from_the_original_starts_at_zero_and_stays_low() -> None:
    rows = train(tiny_model("llama", VOCABULARY), method("simnpo", retain="kl"))
    assert rows[0]["retain_loss_nats"] == pytest.approx(0, abs=1e-6)
    assert rows[-1]["retain_loss_nats"] > 0


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_micro_batches_change_no_loss_and_no_gradient(kind: str) -> None:
    weights = torch.linspace(0.2, 1.8, len(FORGET))
    whole = train(tiny_model(kind, VOCABULARY), passes=0.4, weights=weights)
    for size in (1, 2, 3):
        parts = train(tiny_model(kind, VOCABULARY), passes=0.4, weights=weights, micro_batch=size)
        for name in ("loss_nats", "forget_loss_nats", "retain_loss_nats", "gradient_norm"):
            assert parts[0][name] == pytest.approx(whole[0][name], rel=1e-6, abs=1e-6)


def test_weights_determine_which_fact_is_forgotten() -> None:
    weights = torch.zeros(len(FORGET))
    weights[0] = float(len(FORGET))
    model, before = tiny_model("llama", VOCABULARY), tiny_model("llama", VOCABULARY)
    train(model, method("grad_diff", retain="none"), weights=weights, rate=1e-3)
    change = mean_nll_of(model, FORGET, 0, 8, CPU) - mean_nll_of(before, FORGET, 0, 8, CPU)
    assert int(change.argmax()) == 0


def test_doses_are_passes_over_the_forget_set() -> None:
    rows = train(tiny_model("llama", VOCABULARY), passes=2.5)
    assert len(rows) == 7  # 25 examples, 4 per step
    assert rows[-1]["passes"] == pytest.approx(2.8)
    assert [row["step"] for row in rows] == list(range(1, 8))


def test_dropout_is_off() -> None:
    model = tiny_model("gpt2", VOCABULARY)
    assert model.config.resid_pdrop > 0
    model.train()
    assert train(model) == train(tiny_model("gpt2", VOCABULARY))


class StopAt:
    """Return a progress function that ends training at a step, by SIGTERM or like a kill."""

    def __init__(self, step: int, politely: bool) -> None:
        self.step, self.politely = step, politely

    def __call__(self, progress: Progress) -> None:
        if progress.done == self.step:
            if not self.politely:
                raise KeyboardInterrupt
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize("politely", [True, False])
def test_resumed_runs_have_the_bytes_of_uninterrupted_ones(tmp_path: Path, politely: bool) -> None:
    whole, state = tiny_model("llama", VOCABULARY), tmp_path / "state.pt"
    rows = train(whole)
    with pytest.raises(InterruptedRunError if politely else KeyboardInterrupt):
        train(tiny_model("llama", VOCABULARY), state=state, save_every_steps=2, progress=StopAt(5, politely))
    continued = tiny_model("llama", VOCABULARY, seed=9)  # its weights are replaced by the saved state
    seen: list[int] = []
    again = train(continued, state=state, save_every_steps=2, progress=lambda progress: seen.append(progress.done))
    assert seen[0] == (6 if politely else 5)
    assert again == rows
    assert same_bytes(whole, continued)


def test_sigterm_is_handled_only_while_training() -> None:
    before = signal.getsignal(signal.SIGTERM)
    train(tiny_model("llama", VOCABULARY), passes=0.4)
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_loss_that_is_not_finite_ends_the_run() -> None:
    model = tiny_model("llama", VOCABULARY)
    with torch.no_grad():
        model.lm_head.weight[3] = float("nan")
    with pytest.raises(NumericsError, match="step 1"):
        train(model)


def test_meter_reports_lost_updates_for_bfloat16_but_not_float32() -> None:
    shares = {}
    for dtype in (torch.float32, torch.bfloat16):
        rows = train(tiny_model("llama", VOCABULARY).to(dtype), rate=5e-6, warmup_share=0)
        shares[dtype] = max(row["lost_update_share"] for row in rows)
    assert shares[torch.float32] < 0.01
    assert shares[torch.bfloat16] > 0.5


def test_bfloat16_arithmetic_keeps_float32_parameters_and_nearly_the_same_losses() -> None:
    settings = TrainingConfig(batch_forget=4, batch_retain=4)
    rows, parameters = [], []
    for autocast in (False, True):
        model = tiny_model("llama", VOCABULARY)
        rows.append(unlearn(model, forget_set(), RETAIN, Recipe(method(), settings, 1e-3, 1, 0, 0, autocast)))
        parameters.append({parameter.dtype for parameter in model.parameters()})
    assert parameters == [{torch.float32}] * 2
    assert rows[0] != rows[1]
    assert rows[1][-1]["retain_loss_nats"] == pytest.approx(rows[0][-1]["retain_loss_nats"], rel=0.02)
    assert max(row["lost_update_share"] for row in rows[1]) < 0.01


def test_meter_counts_elements_that_should_have_changed() -> None:
    parameter = torch.nn.Parameter(torch.tensor([1.0, 1.0, 256.0, 1.0], dtype=torch.bfloat16))
    optimizer = torch.optim.AdamW([parameter], lr=0.25, weight_decay=0)
    meter = LostUpdateMeter([parameter])
    parameter.grad = torch.tensor([1.0, 1.0, 1.0, 0.0], dtype=torch.bfloat16)
    meter.before_step(optimizer)
    optimizer.step()
    # 256 - 0.25 is 256 in bfloat16; the last element has no update to lose.
    assert meter.lost_share(optimizer) == pytest.approx(1 / 3)
