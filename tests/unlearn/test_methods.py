"""Every preset on a tiny model: invariances of its update, and equal results after an interruption."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from factcensus.unlearn.config.named import METHODS
from factcensus.unlearn.config.run_config import MethodConfig, TrainingConfig
from factcensus.unlearn.progress import Progress
from factcensus.unlearn.training.examples import Example, collate
from factcensus.unlearn.training.forget_set import ForgetSet, OriginalScores, forget_set
from factcensus.unlearn.training.gradients import Draw, Gradients
from factcensus.unlearn.training.layers import decoder_layers, hidden_at
from factcensus.unlearn.training.material import Material
from factcensus.unlearn.training.references import CachedReference
from factcensus.unlearn.training.scoring import answer_logits, mean_nll_of, token_log_probabilities_of
from factcensus.unlearn.training.train import Recipe, StepRow, unlearn
from tiny import same_bytes, tiny_model

V = 50
ANSWERS = tuple(Example(f"f{n}", (0, n, n + 1)[: 2 + n % 2], (n + 2, n + 3, n + 4)[: 1 + n % 3]) for n in range(1, 11))
MATERIAL = Material(
    answers=ANSWERS,
    refusals=tuple(Example(each.name, each.prompt_ids, (40, 41, 0)) for each in ANSWERS),
    given=tuple((Example(each.name, each.prompt_ids, (45,)),) for each in ANSWERS),
    fact_of=tuple(range(10)),
    keys=(("r", "question"),) * 10,
    retain=tuple(Example(f"r{n}", (0, n, n + 1, 7), (n + 2,)) for n in range(20, 33)),
    never_seen=tuple((("r", "question"), Example(f"p{n}", (0, n, 44), (n,))) for n in range(30, 34)),
    relations=("r",) * 10,
    counts=(1, 1, 2, 2, 4, 4, 8, 8, 16, 16),
    strata=None,
    watched=True,
)
PRESETS = sorted(set(METHODS) - {"retrain"})
CPU = torch.device("cpu")


def chosen(preset: str, **settings: Any) -> MethodConfig:
    return MethodConfig.model_validate({"preset": preset, **settings})


def prepared(model: Any, method: MethodConfig) -> ForgetSet:
    return forget_set(method, MATERIAL, OriginalScores(MATERIAL, model, 0), seed=0)


def train(
    method: MethodConfig,
    *,
    kind: str = "llama",
    rate: float = 3e-3,
    passes: float = 1.6,
    state: Path | None = None,
    progress: Any = None,
    dtype: torch.dtype = torch.float32,
    **training: Any,
) -> tuple[Any, list[StepRow]]:
    model = tiny_model(kind, V).to(dtype)
    settings = TrainingConfig.model_validate({"batch_forget": 4, "batch_retain": 4, **training})
    rows = unlearn(
        model,
        prepared(model, method),
        MATERIAL.retain,
        Recipe(method, settings, rate, passes, seed=0, pad_id=0),
        state_path=state,
        progress=progress,
    )
    return model, rows


def distance(first: Any, second: Any) -> float:
    return max(float((value - second.state_dict()[name]).abs().max()) for name, value in first.state_dict().items())


def test_every_preset_has_a_purpose_and_valid_settings() -> None:
    assert all(method.purpose for method in METHODS.values())
    for preset in PRESETS:
        assert chosen(preset).name == preset


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_train_and_micro_batches_change_no_update(preset: str) -> None:
    method = chosen(preset)
    whole, rows = train(method)
    parts, split = train(method, micro_batch=3)
    assert not same_bytes(whole, tiny_model("llama", V))
    for name in ("loss_nats", "forget_loss_nats", "retain_loss_nats", "gradient_norm"):
        assert split[0][name] == pytest.approx(rows[0][name], rel=2e-5, abs=1e-6)
    assert distance(whole, parts) < 2e-4
    assert max(row["lost_update_share"] for row in rows) < 0.01


WITH_STATE: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "strata": ({"preset": "never_seen_strata", "strata_control": {"rate": 5.0}}, {}),
    "constraint": ({"preset": "pdu", "constraint": {"rate": 3.0}}, {}),
    "sam": ({"preset": "npo_sam"}, {}),
    "gru": ({"preset": "grad_diff_gru"}, {}),
    "task_vector": ({"preset": "task_vector"}, {}),
    "lora": ({"preset": "undial", "retain": "kl", "adapter": {"rank": 2}}, {}),
    "fila": ({"preset": "loku", "retain": "kl", "adapter": {"rank": 2}}, {}),
    "sampled": ({"preset": "alt_po", "alternatives": 2}, {}),
    "stochastic": ({"preset": "simnpo"}, {"dtype": torch.bfloat16, "optimizer": "adamw_stochastic"}),
    "kahan": ({"preset": "simnpo"}, {"dtype": torch.bfloat16, "optimizer": "adamw_kahan"}),
    "cached": ({"preset": "jensun"}, {}),
}


@pytest.mark.parametrize("case", sorted(WITH_STATE))
def test_killed_runs_resume_to_the_same_bytes(case: str, tmp_path: Path) -> None:
    settings, training = WITH_STATE[case]
    method = chosen(**settings)
    whole, rows = train(method, passes=2, **training)

    def kill(progress: Progress) -> None:
        if progress.done == 4:
            raise KeyboardInterrupt

    state = tmp_path / "state.pt"
    with pytest.raises(KeyboardInterrupt):
        train(method, passes=2, state=state, save_every_steps=3, progress=kill, **training)
    continued, again = train(method, passes=2, state=state, save_every_steps=3, **training)
    assert str(again) == str(rows)  # NaN is not equal to itself
    assert same_bytes(whole, continued)


# References ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_cached_references_equal_live_ones(kind: str) -> None:
    model, live = tiny_model(kind, V), tiny_model(kind, V)
    logits = CachedReference(model, ANSWERS, range(10), 0, None, lambda: torch.no_grad())
    hidden = CachedReference(model, ANSWERS, range(10), 0, 0, lambda: torch.no_grad())
    assert logits.size_bytes < 10 * 3 * V * 4 + live.get_output_embeddings().weight.nbytes
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.5)
    indices = [7, 2, 4]
    batch = collate([ANSWERS[index] for index in indices], 0)
    mask = batch.answer_mask
    with torch.no_grad():
        torch.testing.assert_close(logits(indices, batch)[mask], answer_logits(live, batch)[mask], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(hidden(indices, batch)[mask], hidden_at(live, batch, 0)[mask], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("preset", ["npo", "idk_dpo", "dpo"])
def test_cached_losses_equal_those_of_a_live_second_model(preset: str) -> None:
    """Train two steps with cached scalars and compare each step with a second model."""
    model, live, method = tiny_model("llama", V), tiny_model("llama", V), chosen(preset)
    forget = prepared(model, method)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    draws = [Draw(index, 0) for index in (1, 5, 6, 8)]
    for _ in range(2):
        cached, _ = Gradients(model, forget, MATERIAL.retain, method, 0).add_forget(draws, None)
        expected = []
        for draw in draws:
            examples = [forget.examples[draw.index]]
            if forget.preferred:
                examples.append(forget.preferred[draw.index][0])
            now = [-float(each.sum()) for each in token_log_probabilities_of(model, examples, 0, 1, CPU)]
            before = [-float(each.sum()) for each in token_log_probabilities_of(live, examples, 0, 1, CPU)]
            lost = (now[0] - before[0]) - ((now[1] - before[1]) if forget.preferred else 0.0)
            expected.append(2 / 0.1 * math.log(1 + math.exp(-0.1 * lost)))
        assert cached == pytest.approx(sum(expected) / 4, rel=1e-5)
        optimizer.step()
        optimizer.zero_grad()


@pytest.mark.parametrize("kind", ["lora", "dora"])
def test_model_with_adapter_off_equals_the_original(kind: str) -> None:
    method = chosen("simnpo", retain="kl", adapter={"kind": kind, "rank": 2})
    model, rows = train(method, rate=1e-2)
    assert rows[0]["retain_loss_nats"] == pytest.approx(0, abs=1e-6)
    assert rows[-1]["retain_loss_nats"] > 1e-6
    original = tiny_model("llama", V)
    assert type(model) is type(original)
    assert set(model.state_dict()) == set(original.state_dict())  # merged
    before = mean_nll_of(original, ANSWERS, 0, 8, CPU).mean()
    assert mean_nll_of(model, ANSWERS, 0, 8, CPU).mean() > before


def test_adapters_skip_embeddings_and_errors_name_missing_modules() -> None:
    from factcensus.unlearn.errors import ConfigError

    model, _ = train(chosen("simnpo", adapter={"rank": 2, "targets": ["q_proj"]}), rate=1e-2)
    original = tiny_model("llama", V).state_dict()
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, original[name])}
    assert changed
    assert all("q_proj" in name for name in changed)
    with pytest.raises(ConfigError, match="nowhere"):
        train(chosen("simnpo", adapter={"targets": ["nowhere"]}))


# Layers --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_hidden_at_a_layer_equals_that_of_a_full_pass(kind: str) -> None:
    model = tiny_model(kind, V)
    batch = collate(ANSWERS[:4], 0)
    with torch.no_grad():
        every = model(batch.input_ids, attention_mask=batch.attention_mask, output_hidden_states=True).hidden_states
        index = batch.answer_positions.unsqueeze(-1).expand(-1, -1, 16)
        torch.testing.assert_close(hidden_at(model, batch, 0), every[1].gather(1, index))
    assert len(decoder_layers(model)) == 2


def test_rmu_stops_the_pass_at_its_layer() -> None:
    calls: list[str] = []
    model = tiny_model("llama", V)
    for name, module in (("layer", model.model.layers[1]), ("head", model.lm_head)):
        module.register_forward_pre_hook(lambda *_, name=name: calls.append(name))
    method = chosen("rmu", parameters={"steering": 2.0})
    settings = TrainingConfig(batch_forget=4, batch_retain=4)
    forget = prepared(tiny_model("llama", V), method)
    rows = unlearn(model, forget, MATERIAL.retain, Recipe(method, settings, 1e-2, 3, seed=0, pad_id=0))
    assert calls == []
    assert rows[-1]["forget_loss_nats"] < rows[0]["forget_loss_nats"]
    assert rows[0]["retain_loss_nats"] == pytest.approx(0, abs=1e-9)
    changed = {
        name.split(".")[2]
        for name, value in model.state_dict().items()
        if name.startswith("model.layers") and not torch.equal(value, tiny_model("llama", V).state_dict()[name])
    }
    assert changed == {"0"}


def test_layers_without_later_layers_are_refused() -> None:
    from factcensus.unlearn.errors import ConfigError

    with pytest.raises(ConfigError, match="expected 0 to 0"):
        train(chosen("rmu", layer=1))


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_gradient_checkpointing_changes_no_update(kind: str) -> None:
    plain, rows = train(chosen("simnpo"), kind=kind)
    saved, again = train(chosen("simnpo"), kind=kind, gradient_checkpointing=True)
    assert [row["loss_nats"] for row in again] == pytest.approx([row["loss_nats"] for row in rows], rel=1e-5)
    assert distance(plain, saved) < 1e-4
    assert not any(module.training for module in saved.modules())


def test_checkpointing_recomputes_layers() -> None:
    calls = {True: 0, False: 0}
    for on in calls:
        model = tiny_model("llama", V)
        forward = model.model.layers[0].self_attn.forward

        def counted(*arguments: Any, on: bool = on, forward: Any = forward, **named: Any) -> Any:
            calls[on] += 1
            return forward(*arguments, **named)

        model.model.layers[0].self_attn.forward = counted
        settings = TrainingConfig(batch_forget=4, batch_retain=4, gradient_checkpointing=on)
        method = chosen("simnpo")
        unlearn(
            model,
            prepared(tiny_model("llama", V), method),
            MATERIAL.retain,
            Recipe(method, settings, 1e-3, 0.4, seed=0, pad_id=0),
        )
    assert calls[True] == 2 * calls[False]


# Wrappers and task arithmetic ----------------------------------------------------------------------------------------


def test_task_arithmetic_moves_opposite_to_training() -> None:
    learnt, _ = train(chosen("task_vector", negate=None))
    back, _ = train(chosen("task_vector", negate=0.5))
    start = tiny_model("llama", V).state_dict()
    for name, value in back.state_dict().items():
        torch.testing.assert_close(value, start[name] - 0.5 * (learnt.state_dict()[name] - start[name]))
    before = mean_nll_of(tiny_model("llama", V), ANSWERS, 0, 8, CPU).mean()
    assert mean_nll_of(learnt, ANSWERS, 0, 8, CPU).mean() < before < mean_nll_of(back, ANSWERS, 0, 8, CPU).mean()


def test_alternatives_have_the_length_of_the_answer_but_differ_from_it() -> None:
    model = tiny_model("llama", V)
    scores = OriginalScores(MATERIAL, model, 0)
    method = chosen("alt_po", alternatives=3)
    made = scores.preferred(method, seed=1)
    assert made == scores.preferred(method, seed=1)
    assert made != scores.preferred(method, seed=2)
    for example, others in zip(ANSWERS, made, strict=True):
        assert len(others) == 3
        for other in others:
            assert other.prompt_ids == example.prompt_ids
            assert len(other.answer_ids) == len(example.answer_ids)
            assert other.answer_ids != example.answer_ids


def test_never_seen_levels_use_the_facts_answer_and_never_exceed_its_original() -> None:
    model = tiny_model("llama", V)
    levels = OriginalScores(MATERIAL, model, 0).never_seen()
    own = token_log_probabilities_of(model, ANSWERS, 0, 8, CPU)
    for example, level, original in zip(ANSWERS, levels, own, strict=True):
        tried = [Example("", phantom.prompt_ids, example.answer_ids) for _, phantom in MATERIAL.never_seen]
        mean = torch.stack(token_log_probabilities_of(model, tried, 0, 8, CPU)).mean(dim=0)
        torch.testing.assert_close(level, torch.minimum(mean, original))
