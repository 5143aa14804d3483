"""The memory estimate of a plan, compared with the memory of a separate process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from test_architectures import FACTS, byte_level

from factcensus.unlearn.config.run_config import check_config
from factcensus.unlearn.models import quiet_transformers
from factcensus.unlearn.objectives import objective, objectives, registry
from factcensus.unlearn.planning.dry_step import Shape, StepCost, _Meter, extra_bytes, step_cost
from factcensus.unlearn.planning.memory import PeakMemory, process_bytes, total_bytes
from factcensus.unlearn.training.examples import Example
from factcensus.unlearn.training.forget_set import ForgetSet
from factcensus.unlearn.training.gradients import Draw, Gradients
from factcensus.unlearn.training.references import CachedReference

SHAPE = Shape(4, 32, 8)
#: Prints the peak memory of a command in KiB. The peak that the system keeps for a child includes that of its parent
#: before the command replaced it, so the parent is this small process.
PEAK_OF = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def gpt2(width: int, layers: int, vocabulary: int) -> Any:
    from transformers import GPT2Config

    return GPT2Config(vocab_size=vocabulary, n_embd=width, n_layer=layers, n_head=4, n_positions=64)


def cost(method: Any, shape: Shape = SHAPE, **settings: Any) -> StepCost:
    config = check_config({"model": "m", "facts": "f", "out": "o", "methods": [method], **settings})
    return step_cost(gpt2(64, 3, 500), config, config.methods[0], shape)


def test_parameters_and_operations_of_a_step_are_counted() -> None:
    counted = cost("simnpo")
    width, layers = 64, 3
    blocks = layers * (12 * width * width + 13 * width)
    assert counted.parameters == counted.trained == blocks + 2 * width + 500 * width + 64 * width
    assert (counted.width, counted.vocabulary, counted.simulated) == (width, 500, True)
    # 2 per weight and token forward, 4 backward; LM head at 8 of 32 positions; attention adds less than a tenth.
    products = 6 * (layers * 12 * width * width + 500 * width * 8 / 32)
    assert products <= counted.flop_per_token < 1.1 * products
    assert counted.peak_bytes > 16 * counted.parameters


def test_memory_saving_settings_reduce_the_estimate() -> None:
    plain = cost("simnpo")
    assert cost("simnpo", Shape(1, 32, 8)).peak_bytes < plain.peak_bytes
    assert cost({"preset": "simnpo", "adapter": {"rank": 2}}).peak_bytes < plain.peak_bytes
    assert cost({"preset": "simnpo", "adapter": {"rank": 2}}).trained < plain.trained / 20
    assert cost("simnpo", dtype="bfloat16").peak_bytes < plain.peak_bytes
    assert cost("dpo").peak_bytes >= plain.peak_bytes


@pytest.mark.parametrize(
    "method",
    [
        "grad_diff",
        "npo",
        "ce_u",
        "undial",
        "jensun",
        "inverted_hinge",
        "never_seen",
        "pdu",
        "flat",
        "idk_dpo",
        "sat_imp",
        {"preset": "grad_diff", "retain": "kl"},
        {"preset": "simnpo", "retain": "jsd"},
    ],
    ids=str,
)
def test_working_memory_is_that_of_the_real_terms(method: Any) -> None:
    """With a large vocabulary, distributions over it need most of the memory; losses keep different numbers of them."""
    from transformers import AutoModelForCausalLM

    shape, vocabulary = Shape(4, 40, 30), 4000
    config = check_config({"model": "m", "facts": "f", "out": "o", "methods": [method]})
    chosen, model_config = config.methods[0], gpt2(32, 1, vocabulary)
    estimated = step_cost(model_config, config, chosen, shape).working_bytes

    model = AutoModelForCausalLM.from_config(model_config).eval()
    examples = [Example(f"f{n}", tuple(range(n, n + 10)), tuple(range(n, n + 30))) for n in range(shape.examples)]
    levels = tuple(torch.full((30,), -9.0) for _ in examples)
    facts = torch.zeros(len(examples))
    refusals = tuple((1, 2) for _ in examples)
    preferred, known = tuple((each,) for each in examples), tuple(torch.zeros(1) for _ in examples)
    forget = ForgetSet(tuple(examples), facts + 1, facts, facts, levels, refusals, preferred, known)
    gradients = Gradients(model, forget, examples, chosen, 0)
    everything = range(len(examples))
    gradients.forget_reference = gradients.retain_reference = CachedReference(
        model, examples, everything, 0, None, nullcontext
    )
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    meter = _Meter()
    meter.add(
        [*model.parameters(), *model.buffers(), *(each.grad for each in model.parameters() if each.grad is not None)]
    )
    before = meter.now
    with meter:
        gradients.add_forget([Draw(index, 0) for index in everything], None)
        if chosen.holds:
            gradients.add_retain(list(everything), 1.0)
    assert 0.85 < estimated / (meter.peak - before) < 1.15


def test_a_loss_that_depends_on_values_is_planned_with_the_plain_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    @objective("decides", source="test", needs=["logits"])
    def loss(scores: Any) -> Any:
        return scores.mean_nll * float(scores.logits.detach().max())

    monkeypatch.setattr(registry, "objectives", lambda: {**objectives(), "decides": loss})
    assert cost({"objective": "decides"}).simulated is True
    assert 1 <= cost({"objective": "decides"}).peak_bytes / cost("simnpo").peak_bytes < 1.05


def test_estimate_includes_extra_memory_of_methods() -> None:
    def extra(method: Any, step: StepCost) -> int:
        config = check_config({"model": "m", "facts": "f", "out": "o", "methods": [method]})
        return extra_bytes(config.methods[0], step, 100)[0]

    plain, adapted = cost("simnpo"), cost({"preset": "loku", "adapter": {"rank": 2}}, Shape(1, 4, 1))
    assert extra("simnpo", plain) == 0
    assert extra({"preset": "npo", "sam_rho": 0.01}, plain) == 4 * plain.parameters
    assert extra("grad_diff_gru", plain) == 8 * plain.parameters  # the forget gradient and the average retain gradient
    assert extra({"preset": "grad_diff_gru", "gru_gamma": 1.0}, plain) == 4 * plain.parameters
    assert extra("loku", adapted) + adapted.peak_bytes == 16 * adapted.parameters  # two diagonals and a gradient


def test_architectures_that_cannot_be_simulated_use_the_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise RuntimeError("decides by values")

    monkeypatch.setattr("factcensus.unlearn.planning.dry_step.forward_answers", refuse)
    ruled = cost("simnpo", Shape(3, 31, 7))
    assert ruled.simulated is False
    assert ruled.peak_bytes == 16 * ruled.parameters + 3 * 3 * 7 * 500 * 4
    assert ruled.flop_per_token == 6 * ruled.parameters


def test_peak_memory_counts_only_work_since_construction() -> None:
    cpu = torch.device("cpu")
    held = torch.ones(150_000_000)
    del held
    before = process_bytes()
    peak = PeakMemory(cpu)
    held = torch.ones(75_000_000)
    assert 200e6 < peak.read_bytes() - before < 450e6  # other memory may change meanwhile
    assert total_bytes(cpu) > held.nbytes


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux reports the peak in KiB and resets it")
def test_estimate_is_within_a_fifth_of_the_measured_memory(tmp_path: Path) -> None:
    """With 24 million parameters, training needs more memory than the libraries."""
    from transformers import AutoModelForCausalLM

    model, tokenizer = tmp_path / "model", byte_level()
    with quiet_transformers():
        AutoModelForCausalLM.from_config(gpt2(512, 8, len(tokenizer))).save_pretrained(model)
        tokenizer.save_pretrained(model)
    (tmp_path / "facts.jsonl").write_text("\n".join(json.dumps(fact) for fact in FACTS))
    settings = {
        "model": str(model),
        "facts": str(tmp_path / "facts.jsonl"),
        "out": str(tmp_path / "run"),
        "evaluator": "none",
        "device": "cpu",
        "threads": 1,
        "methods": ["simnpo"],
        "training": {"passes": 1, "batch_forget": 2, "batch_retain": 2},
    }
    (tmp_path / "run.json").write_text(json.dumps(settings))
    command = [sys.executable, "-m", "factcensus", "unlearn", "run", str(tmp_path / "run.json")]
    ran = subprocess.run(
        [sys.executable, "-c", PEAK_OF, *command],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    peak = int(ran.stdout) << 10
    cost = json.loads((tmp_path / "run" / "run.json").read_text())["costs"][0]
    assert 0.8 < cost["estimated_memory_bytes"] / peak < 1.2
    assert 0.8 < cost["estimated_over_measured"] < 1.2
    assert cost["estimated_memory_bytes"] > 500e6
