"""The losses of OpenUnlearning next to ours; :mod:`benchmarks.published_losses` runs this for a checkout of its code.

Its loss functions are imported from ``src/trainer``. Only their combination, ``gamma * forget + alpha * retain`` with
the built-in loss of transformers as the retain term, is written here. Labels are the answer and the end-of-text token,
as its preprocessing makes them. The original model is another random model.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from benchmarks.published_losses import (
    FORGET,
    MATERIAL,
    RETAIN,
    gradient_of,
    load,
    ours,
    padded,
    print_row,
    random_model,
)
from factcensus.unlearn.config.method_config import MethodConfig

#: Settings of the published code: means over all tokens of a batch, and end-of-text tokens after every answer.
AS_PUBLISHED: dict[str, Any] = {"reduction": "token", "end_after": ["forget", "retain", "refusal"]}

Loss = Callable[[Any, Any], torch.Tensor]


def compare(folder: Path) -> None:
    """Print one row per loss and setting."""
    for there, here, change, settings, loss in _pairs(folder / "src"):
        model, original = random_model(), random_model(seed=1)
        value = loss(model, original)
        value.backward()
        method = MethodConfig.model_validate({"preset": here, **AS_PUBLISHED, **settings})
        print_row(there, here, change, (float(value.detach()), gradient_of(model)), ours(method, random_model(seed=1)))


def _pairs(source: Path) -> Iterator[tuple[str, str, str, dict[str, Any], Loss]]:
    """Yield the name there, the preset here, a remark, the settings, and the loss there."""
    code = load(source / "trainer" / "utils.py")
    ce_u = _load_without_trainer(source / "trainer" / "unlearn" / "ceu.py")
    forget, retain = _inputs(FORGET), _inputs(RETAIN)
    refusals = _inputs(MATERIAL.refusals, ended=True)

    def held(model: Any) -> torch.Tensor:
        return model(**retain).loss  # type: ignore[no-any-return]

    def simnpo(model: Any, _: Any) -> torch.Tensor:
        length = (forget["labels"] != -100).sum(-1)
        mean = code.compute_batch_nll(model, forget)[0] / length
        return 0.125 * -torch.nn.functional.logsigmoid(4.5 * mean).mean() * 2 / 4.5 + held(model)

    def npo(model: Any, original: Any) -> torch.Tensor:
        return code.compute_dpo_loss(model, original, None, forget, 0.1)[0] + held(model)  # type: ignore[no-any-return]

    def dpo(model: Any, original: Any) -> torch.Tensor:
        return code.compute_dpo_loss(model, original, refusals, forget, 0.1)[0] + held(model)  # type: ignore[no-any-return]

    def undial(model: Any, original: Any) -> torch.Tensor:
        return code.compute_undial_loss(model, original, forget, 10.0)[0]  # type: ignore[no-any-return]

    def kl(model: Any, original: Any) -> torch.Tensor:
        return -model(**forget).loss + code.compute_kl_divergence(model, original, retain)[0]

    simnpo_settings = {"parameters": {"beta": 4.5}, "gamma": 0.125}
    published = "as published"
    yield "GradAscent", "grad_ascent", published, {}, lambda model, _: -model(**forget).loss
    yield "GradDiff", "grad_diff", published, {}, lambda model, _: -model(**forget).loss + held(model)
    yield (
        "GradDiff",
        "grad_diff",
        "mean over facts",
        {"reduction": "fact"},
        lambda model, _: -model(**forget).loss + held(model),
    )
    yield "GradDiff, KL", "grad_diff", '`retain = "kl"`', {"retain": "kl"}, kl
    yield "NPO", "npo", published, {}, npo
    yield "NPO", "npo", "without end-of-text", {"end_after": []}, npo
    yield "SimNPO", "simnpo", published, simnpo_settings, simnpo
    yield "DPO", "idk_dpo", published, {}, dpo
    yield "WGA", "wga", published, {}, lambda model, _: code.compute_wga_loss(model, forget, 1.0)[0] + held(model)
    yield (
        "SatImp",
        "sat_imp",
        published,
        {"gamma": 1.0, "alpha": 0.1},
        lambda model, _: code.compute_satimp_loss(model, forget, 5.0, 1.0)[0] + 0.1 * held(model),
    )
    yield "CEU", "ce_u", "no token skipped", {}, lambda model, _: ce_u.compute_batch_ceu(model, forget, 0)[0]
    skipped = {"reduction": "fact", "parameters": {"skip": 1}}
    yield "CEU", "ce_u", "first token skipped", skipped, lambda model, _: ce_u.compute_batch_ceu(model, forget, 1)[0]
    yield "UNDIAL", "undial", "answer tokens only", {}, undial


def _inputs(examples: Any, *, ended: bool = False) -> dict[str, torch.Tensor]:
    """Return a padded batch whose labels are the answer and the end-of-text token, which ``ended`` examples have."""
    if ended:
        examples = [replace(each, answer_ids=each.answer_ids[:-1]) for each in examples]
    ids, labels, _, attention = padded(examples, masks_prompt=True, ends=True)
    for row, example in enumerate(examples):
        attention[row, len(example.prompt_ids) + len(example.answer_ids)] = 1
    return {"input_ids": ids, "labels": labels, "attention_mask": attention}


def _load_without_trainer(path: Path) -> Any:
    """Import a file of losses whose base class needs the whole package; only its functions are used."""
    name = "trainer.unlearn.base"
    stand_in: Any = ModuleType(name)
    stand_in.UnlearnTrainer = object
    sys.modules[name] = stand_in
    try:
        return load(path)
    finally:
        del sys.modules[name]
