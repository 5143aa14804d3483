"""Effect of each choice of the published recipe: ``python -m benchmarks.paper_recipe --folder DIR [--markdown FILE]``.

A world of 140 people is written and a model is trained on it (about a minute of CPU time). Then each row of ``ROWS``
unlearns the same people from the same model: the recipe as published, and the recipe with one choice changed. Learning
rates are those that this small model needs; everything else is as published. One world and one seed: differences of a
few hundredths mean nothing.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import torch

from benchmarks.presets import measure
from factcensus.unlearn.config.run_config import check_config
from factcensus.unlearn.errors import NumericsError
from factcensus.unlearn.models import load_model
from factcensus.unlearn.prepare import open_asker, prepare
from factcensus.unlearn.presets import PRESETS
from factcensus.unlearn.selection import read_fact_table, select
from factcensus.unlearn.training.examples import encode
from factcensus.unlearn.training.forget_set import OriginalScores, forget_set
from factcensus.unlearn.training.runtime import torch_threads
from factcensus.unlearn.training.train import Recipe, unlearn
from factcensus.unlearn.world.pretrain import pretrain
from factcensus.unlearn.world.write import write_world

SEED = 0
#: Learning rates of the small model, and the weight of the retain term, as in the published example for books.
RATES = {"paper_grad_diff": 1e-4, "paper_simnpo": 1e-4, "paper_idk": 3e-4, "paper_ga": 1e-4}
TRAINING: dict[str, Any] = {"schedule": "linear", "warmup_share": 0.1, "weight_decay": 0.01, "clip_norm": 1e9}
#: Rate of attention dropout; the model has none of its own.
DROPOUT = 0.1
#: Counts of the rarest and of the most frequent people.
RARE, FREQUENT = (1, 2), (32, 64)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: a preset, what is changed, and the changes of the method, the training and the type."""

    preset: str
    change: str = "as published"
    method: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    dtype: torch.dtype = torch.float32


ROWS = (
    Row("paper_grad_diff"),
    Row("paper_grad_diff", "mean over facts", {"reduction": "fact"}),
    Row("paper_grad_diff", "retain term over answers only", {"retain_over": "answer"}),
    Row("paper_grad_diff", "no end-of-text after retained answers", {"end_after": ()}),
    Row("paper_grad_diff", "end-of-text after forget answers too", {"end_after": ("forget", "retain")}),
    Row("paper_grad_diff", "without dropout", {"dropout": False}),
    Row("paper_grad_diff", "batches of 32, same rate", {"batch": 32}),
    Row("paper_grad_diff", "gradient norm at most 1", training={"clip_norm": 1.0}),
    Row("paper_grad_diff", "rate 1e-5", {"learning_rate": 1e-5}),
    Row("paper_grad_diff", "rate 1e-5, bfloat16 weights", {"learning_rate": 1e-5}, dtype=torch.bfloat16),
    Row("paper_ga"),
    Row("paper_simnpo"),
    Row("paper_simnpo", "beta 2.5", {"parameters": {"beta": 2.5}}),
    Row("paper_idk"),
    Row("paper_idk", "end-of-text after the refusal", {"end_after": ("retain", "refusal")}),
)


def main() -> None:
    """Train the model if it is missing, unlearn with every row, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.paper_recipe", description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="folder for the world and its model")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="also write the table to FILE")
    arguments = parser.parse_args()
    with torch_threads(1):
        text = "\n".join(table(arguments.folder))
    print(text)
    if arguments.markdown:
        arguments.markdown.write_text(text + "\n", encoding="utf-8")


def table(folder: Path) -> list[str]:
    """Return the lines of the table: for facts known before, the share still recalled and the change of log p."""
    preset = PRESETS["smoke"]
    world = write_world(folder / "world", preset.world, SEED)
    model_folder = pretrain(world, folder / "model", preset.pretraining, SEED)
    config = check_config(
        {
            "model": str(model_folder),
            "facts": str(world / "facts.jsonl"),
            "out": str(folder / "unused"),
            "seed": SEED,
            "evaluator": "none",
            "methods": [
                {"preset": row.preset, "name": f"row-{n}", "learning_rate": RATES[row.preset], **row.method}
                for n, row in enumerate(ROWS)
            ],
            "training": TRAINING,
            "selection": {"count_column": "exposures"},
        }
    )
    selection = select(read_fact_table(config.facts), config.selection, SEED)
    _, asker = open_asker(config, datetime.now())
    material = prepare(selection, asker)
    used = selection.facts["used"].to_pylist()
    rows = [{**row, "used": use} for row, use in zip(selection.rows, used, strict=True) if row["role"] != "phantom"]
    asked = [(row, "question", encode(asker.tokenizer, row["question"], row["answer"])) for row in rows]
    original = load_model(config.model, None, torch.float32, torch.device("cpu"))
    before = measure(original, asked)
    known = [cell["recalled"] for cell in before]
    groups = _groups(rows, known)
    lines = [
        f"{sum(known)} of {len(known)} facts are known before; {len(material.answers)} are to be forgotten.",
        "",
        "| recipe | change | " + " | ".join(f"{name} ({len(group)})" for name, group in groups.items()) + " | lost |",
        "| --- | --- |" + " --- |" * (len(groups) + 1),
    ]
    for row, method in zip(ROWS, config.methods, strict=True):
        model = _with_dropout(copy.deepcopy(original)).to(row.dtype)
        own = material.of(method)
        scores = OriginalScores(own, original, 0)
        training = config.training_of(method).model_copy(update=row.training)
        assert method.learning_rate is not None
        recipe = Recipe(method, training, method.learning_rate, config.passes_of(method), seed=SEED, pad_id=0)
        try:
            steps = unlearn(model, forget_set(method, own, scores, SEED), own.retain, recipe)
        except NumericsError:
            lines.append(f"| `{row.preset}` | {row.change} | diverged | | | | |")
            continue
        after = measure(model.float(), asked)
        lost = sum(step["lost_update_share"] for step in steps) / len(steps)
        measured = " | ".join(_left(group, before, after) for group in groups.values())
        lines.append(f"| `{row.preset}` | {row.change} | {measured} | {lost:.0%} |")
    return lines


def _with_dropout(model: Any) -> Any:
    for module in model.modules():
        if hasattr(module, "attention_dropout"):
            module.attention_dropout = DROPOUT
    return model


def _groups(rows: Sequence[dict[str, Any]], known: Sequence[bool]) -> dict[str, list[int]]:
    """Return the places of the facts known before, by group."""
    groups = {
        "forget, 1-2 documents": [row["role"] == "forget" and row["exposures"] in RARE for row in rows],
        "forget, 32-64 documents": [row["role"] == "forget" and row["exposures"] in FREQUENT for row in rows],
        "retain, held out": [row["role"] == "retain_held" for row in rows],
        "bystanders": [row["role"] == "bystander" and row["used"] == "none" for row in rows],
    }
    return {
        name: [place for place, (belongs, knew) in enumerate(zip(inside, known, strict=True)) if belongs and knew]
        for name, inside in groups.items()
    }


def _left(group: Sequence[int], before: Sequence[dict[str, Any]], after: Sequence[dict[str, Any]]) -> str:
    """Return the share of a group that is still recalled, and the mean change of log p in nats."""
    share = sum(after[place]["recalled"] for place in group) / max(1, len(group))
    change = sum(after[place]["logp"] - before[place]["logp"] for place in group) / max(1, len(group))
    return f"{share:.2f}, {change:+.2f}"


if __name__ == "__main__":
    main()
