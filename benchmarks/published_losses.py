"""Our losses next to published code on one batch: ``python -m benchmarks.published_losses --code DIR``.

``DIR`` is a checkout of github.com/McGill-NLP/unequal-unlearning, whose ``losses.py`` is imported and run, or of
github.com/locuslab/open-unlearning (:mod:`benchmarks.open_unlearning_losses`). The batch has questions and answers of
different lengths, padded as that code pads them. The model is a random GPT-2.
"""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch

from factcensus.unlearn.config.method_config import MethodConfig
from factcensus.unlearn.objectives import get_objective
from factcensus.unlearn.training.examples import Example
from factcensus.unlearn.training.forget_set import OriginalScores, forget_set
from factcensus.unlearn.training.gradients import Draw, Gradients
from factcensus.unlearn.training.material import Material
from factcensus.unlearn.training.references import CachedReference

VOCABULARY, END, LENGTH = 120, 0, 14
FORGET = tuple(
    Example(f"f{n}", (END, n, n + 1, n + 2)[: 2 + n % 3], (n + 3, n + 4, n + 5)[: 1 + n % 3]) for n in range(1, 9)
)
RETAIN = tuple(
    Example(f"r{n}", (END, n, n + 1, n + 2)[: 2 + n % 2], (n + 3, n + 4, n + 5)[: 1 + n % 3]) for n in range(20, 28)
)
MATERIAL = Material(
    answers=FORGET,
    refusals=tuple(Example(each.name, each.prompt_ids, (50, 51, 52, END)) for each in FORGET),
    given=(),
    fact_of=tuple(range(len(FORGET))),
    keys=(("r", "question"),) * len(FORGET),
    retain=RETAIN,
    never_seen=(),
    relations=("r",) * len(FORGET),
    counts=None,
    strata=None,
    end_id=END,
)
#: Names of a loss there and here.
PAIRS = (("GA_GD", "paper_grad_diff"), ("SIMNPO_GD", "paper_simnpo"), ("IDK_GD", "paper_idk"))
#: Changes back to our defaults.
CHANGES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("as published", {}),
    ("mean over facts", {"reduction": "fact"}),
    ("retain term over answers only", {"retain_over": "answer"}),
)


def main() -> None:
    """Print a table of both losses and of the difference of their gradients."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.published_losses", description=__doc__)
    parser.add_argument("--code", type=Path, required=True, help="checkout of the released code")
    folder = parser.parse_args().code
    print("| loss there | preset | settings | loss there | loss here | relative difference of the gradients | cosine |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    if (folder / "src" / "trainer").is_dir():
        from benchmarks.open_unlearning_losses import compare

        compare(folder)
        return
    code = load(folder / "losses.py")
    for there, here in PAIRS:
        for change, settings in CHANGES:
            method = MethodConfig.model_validate({"preset": here, **settings})
            print_row(there, here, change, theirs(code, there), ours(method))


def print_row(
    there: str, here: str, change: str, published: tuple[float, torch.Tensor], own: tuple[float, torch.Tensor]
) -> None:
    """Print both losses, and the difference of their gradients."""
    (value, gradient), (own_value, own_gradient) = published, own
    distance = float((own_gradient - gradient).norm() / gradient.norm())
    cosine = float(torch.nn.functional.cosine_similarity(own_gradient, gradient, dim=0))
    print(f"| `{there}` | `{here}` | {change} | {value:.6f} | {own_value:.6f} | {distance:.1e} | {cosine:.4f} |")


def theirs(code: Any, name: str) -> tuple[float, torch.Tensor]:
    """Return 0.5 forget + retain and its gradient, computed by the released code."""
    model = random_model()
    refusals = [Example(each.name, each.prompt_ids, each.answer_ids[:-1]) for each in MATERIAL.refusals]
    forgotten = refusals if name.startswith("IDK") else FORGET
    inputs = (padded(forgotten, masks_prompt=True, ends=False), padded(RETAIN, masks_prompt=False, ends=True))
    forget, _, retain = code.get_loss(model, inputs, name, 0.1, 0.0)
    loss = 0.5 * forget + retain
    loss.backward()
    return float(loss.detach()), gradient_of(model)


def ours(method: MethodConfig, original: Any = None) -> tuple[float, torch.Tensor]:
    """Return gamma forget + alpha retain and its gradient, computed by this project.

    Args:
        original: The reference model; by default the trained model itself.
    """
    model, material = random_model(), MATERIAL.of(method)
    original = original or random_model()
    forget = forget_set(method, material, OriginalScores(material, original, END), seed=0)
    gradients = Gradients(model, forget, material.retain, method, pad_id=END)
    everything = range(len(FORGET))
    if "reference_logits" in get_objective(method.objective).needs:
        gradients.forget_reference = CachedReference(original, forget.examples, everything, END, None, nullcontext)
    if method.retain == "kl":
        gradients.retain_reference = CachedReference(original, material.retain, everything, END, None, nullcontext)
    value, _ = gradients.add_forget([Draw(index, 0) for index in everything], None)
    held = gradients.add_retain(everything, method.alpha) if method.holds else 0.0
    return method.gamma * value + method.alpha * held, gradient_of(model)


def padded(examples: Sequence[Example], *, masks_prompt: bool, ends: bool) -> tuple[torch.Tensor, ...]:
    """Return ids, answer labels, question labels and attention, in the order that the released code expects."""
    ids = torch.full((len(examples), LENGTH), END)
    attention, labels = torch.zeros_like(ids), torch.full_like(ids, -100)
    for row, example in enumerate(examples):
        text = torch.tensor(example.prompt_ids + example.answer_ids)
        ids[row, : len(text)], attention[row, : len(text)], labels[row, : len(text)] = text, 1, text
        if ends:
            labels[row, len(text)] = END
    answers, questions = labels.clone(), labels.clone()
    for row, example in enumerate(examples if masks_prompt else ()):
        answers[row, : len(example.prompt_ids)] = -100
        questions[row, len(example.prompt_ids) :] = -100
    return ids, answers, questions, attention


def random_model(seed: int = 0) -> Any:
    """Return a small GPT-2 without dropout, which would draw different masks."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(seed)
    sizes: dict[str, Any] = {"n_positions": 32, "n_embd": 32, "n_layer": 2, "n_head": 2, "initializer_range": 0.2}
    config = GPT2Config(vocab_size=VOCABULARY, bos_token_id=END, eos_token_id=END, **sizes)
    return GPT2LMHeadModel(config).eval()


def gradient_of(model: Any) -> torch.Tensor:
    """Return the gradient of all parameters, flat."""
    return torch.cat([each.grad.flatten() for each in model.parameters()])


def load(path: Path) -> Any:
    """Import a Python file of a checkout."""
    spec = importlib.util.spec_from_file_location("published_losses_code", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    main()
