"""Comparison of presets on the controlled world: ``python -m benchmarks.presets --folder DIR [--equal] [--markdown
FILE]``.

For every seed the benchmark writes a world and trains a model on it from scratch. Every method gets the same small grid
of learning rates and doses. Its best point is chosen on a smaller world used for nothing else (``TUNING``), so facts
and model are not those of the evaluation. The method is then run once on each world of ``EVALUATION``. The score for
the choice was fixed before any run: the harmonic mean of the share forgotten in the worst stratum, the share that
retain people keep, and the share that untouched bystanders keep. Each cell is one file in the folder. The same command
continues an interrupted run, and with ``--report-only`` it prints the tables of the finished cells.

``--equal`` asks instead whether counts help at *equal* rate and dose. The methods that use counts and their controls
differ only in the assignment of weights, so tuning for one is tuning for all. Each runs at every point of ``EQUAL`` on
every world of ``EQUAL_WORLDS``, and nothing is chosen.

Outcomes are teacher-forced: an answer counts as recalled if each of its tokens is the most probable one.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.preset_outcomes import FORMS, Cell, Outcome, Point, differences, overview, short
from factcensus.indexer.system.files import write_atomically
from factcensus.indexer.system.locks import locked
from factcensus.unlearn.config.named import METHODS
from factcensus.unlearn.config.run_config import RunConfig, check_config
from factcensus.unlearn.errors import NumericsError
from factcensus.unlearn.models import load_model
from factcensus.unlearn.prepare import open_asker, prepare
from factcensus.unlearn.presets import PRESETS
from factcensus.unlearn.selection import Row, Selection, read_fact_table, select
from factcensus.unlearn.training.examples import Example, collate, encode
from factcensus.unlearn.training.forget_set import OriginalScores, forget_set
from factcensus.unlearn.training.material import Material
from factcensus.unlearn.training.runtime import torch_threads
from factcensus.unlearn.training.scoring import answer_logits, token_log_probabilities
from factcensus.unlearn.training.train import Recipe, unlearn
from factcensus.unlearn.world.pretrain import pretrain
from factcensus.unlearn.world.write import write_world

#: Worlds by size (a preset of the demo) and seed.
TUNING = (("smoke", 0),)
EVALUATION = (("demo", 0), ("demo", 1), ("demo", 100))
RATES = (1e-4, 3e-4, 9e-4)
PASSES = (2.0, 6.0)
#: The deciding comparison: methods with counts, and the same methods with loss ranks, shuffled counts, or neither.
DECIDING = (
    ("never_seen_strata", ("never_seen_strata_loss_rank", "never_seen_strata_shuffled_count", "never_seen")),
    ("never_seen_count", ("never_seen_loss_rank", "never_seen_shuffled_count", "never_seen")),
    ("simnpo_count", ("simnpo_loss_rank", "simnpo_shuffled_count", "simnpo")),
)
DECIDING_PAIRS = tuple((method, other) for method, others in DECIDING for other in others)
DECIDING_METHODS = tuple(dict.fromkeys(name for pair in DECIDING_PAIRS for name in pair))
#: Worlds, rates and doses of ``--equal``: two of the tuned points, and one that forgets only part of the facts, because
#: methods cannot differ where everything is forgotten.
EQUAL_WORLDS = (*EVALUATION, ("demo", 2), ("demo", 3), ("demo", 4))
EQUAL = ((3e-4, 6.0), (9e-4, 2.0), (3e-4, 2.0))
#: In the order of the runs, the deciding ones first. ``dpo`` needs alternatives.
ORDER = (
    "never_seen",
    "never_seen_strata",
    "never_seen_strata_loss_rank",
    "never_seen_strata_shuffled_count",
    "simnpo",
    "never_seen_count",
    "never_seen_loss_rank",
    "never_seen_shuffled_count",
    "simnpo_count",
    "simnpo_loss_rank",
    "simnpo_shuffled_count",
    "simnpo_never_seen",
    "grad_diff",
    "npo",
    "idk",
    "inverted_hinge",
    "loku",
    "jensun",
    "wga",
    "undial",
    "idk_dpo",
    "pdu",
    "sat_imp",
    "alt_po",
    "rmu",
    "ce_u",
    "npo_sam",
    "grad_diff_gru",
    "flat",
    "task_vector",
    "grad_ascent",
)
World = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Setting:
    """The world of a seed, its model, and everything that all methods share."""

    seed: int
    config: RunConfig
    selection: Selection
    material: Material
    model: Any
    scores: OriginalScores
    asked: tuple[tuple[Row, str, Example], ...]


def main() -> None:
    """Run the missing cells, then print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.presets", description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="folder for worlds, models and one file per cell")
    parser.add_argument(
        "--worlds",
        nargs="*",
        type=int,
        default=[],
        metavar="SEED",
        help="run these first; several processes may share a folder, each with different methods",
    )
    parser.add_argument(
        "--methods", nargs="+", choices=ORDER, default=list(ORDER), metavar="NAME", help="(default: all)"
    )
    parser.add_argument("--equal", action="store_true", help="compare the deciding methods at equal rate and dose")
    parser.add_argument("--report-only", action="store_true", help="print the tables of the finished cells")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="also write the tables to FILE")
    arguments = parser.parse_args()
    if not arguments.report_only:
        with torch_threads(1):
            for world in EVALUATION:
                if world[1] in arguments.worlds:
                    make_setting(arguments.folder, world)
            if arguments.equal:
                evaluate_equally(arguments.folder)
            else:
                tune(arguments.folder, arguments.methods)
                evaluate(arguments.folder, arguments.methods)
    text = "\n\n".join(
        equal_tables(arguments.folder) if arguments.equal else tables(arguments.folder, arguments.methods)
    )
    print(text)
    if arguments.markdown:
        arguments.markdown.write_text(text + "\n", encoding="utf-8")


def tune(folder: Path, methods: Sequence[str]) -> None:
    """Run every method at every point of the grid, on the worlds for tuning."""
    for world in TUNING:
        points = [("original", (0.0, 0.0)), *((method, point) for method in methods for point in _grid())]
        _run_missing(folder, world, points)


def evaluate(folder: Path, methods: Sequence[str]) -> None:
    """Run every method at its tuned point, on the worlds for evaluation."""
    for world in EVALUATION:
        points = [("original", (0.0, 0.0)), *((method, chosen(folder, method)) for method in methods)]
        _run_missing(folder, world, points)


def evaluate_equally(folder: Path) -> None:
    """Run the deciding methods at every point of ``EQUAL``, on all of ``EQUAL_WORLDS``."""
    for point in EQUAL:
        for world in EQUAL_WORLDS:
            _run_missing(folder, world, [("original", (0.0, 0.0)), *((method, point) for method in DECIDING_METHODS)])


def _run_missing(folder: Path, world: World, points: Sequence[tuple[str, Point]]) -> None:
    setting: Setting | None = None
    for method, point in points:
        path = _path(folder, world, method, point)
        if not path.is_file():
            setting = setting or make_setting(folder, world)
            run_cell(setting, method, point, path)


def _grid() -> list[Point]:
    return [(rate, passes) for rate in RATES for passes in PASSES]


def _path(folder: Path, world: World, method: str, point: Point = (0.0, 0.0)) -> Path:
    return _place(folder, world) / "cells" / f"{method}-{point[0]:g}-{point[1]:g}.json"


def _place(folder: Path, world: World) -> Path:
    return folder / f"{world[0]}-{world[1]}"


def make_setting(folder: Path, world_name: World) -> Setting:
    """Write a world and train its model, or read existing ones; waits for a process that makes the same."""
    preset, seed, place = PRESETS[world_name[0]], world_name[1], _place(folder, world_name)
    place.mkdir(parents=True, exist_ok=True)
    with locked(place / ".lock", wait=True):
        world = write_world(place / "world", preset.world, seed)
        model_folder = pretrain(world, place / "model", preset.pretraining, seed)
    config = check_config(
        {
            "model": str(model_folder),
            "facts": str(world / "facts.jsonl"),
            "out": str(place / "unused"),
            "seed": seed,
            "evaluator": "none",
            "methods": [name for name in ORDER if name in METHODS],
            "training": {"batch_forget": 32, "batch_retain": 32},
            "selection": {"count_column": "exposures"},
        }
    )
    selection = select(read_fact_table(config.facts), config.selection, seed)
    _, asker = open_asker(config, datetime.now())
    model = load_model(config.model, None, torch.float32, torch.device("cpu"))
    material = prepare(selection, asker)
    used = selection.facts["used"].to_pylist()
    rows = [{**row, "used": use} for row, use in zip(selection.rows, used, strict=True) if row["role"] != "phantom"]
    asked = tuple(
        (row, form, encode(asker.tokenizer, str(row[form]), str(row["answer"]))) for row in rows for form in FORMS
    )
    return Setting(seed, config, selection, material, model, OriginalScores(material, model, 0), asked)


def run_cell(setting: Setting, name: str, point: Point, path: Path) -> None:
    """Unlearn with one method at one point, measure every fact, and write the file of the cell."""
    begun, model = time.process_time(), copy.deepcopy(setting.model)
    steps, lost = 0, 0.0
    if name != "original":
        method = next(each for each in setting.config.methods if each.name == name)
        forget = forget_set(method, setting.material, setting.scores, setting.seed)
        try:
            recipe = Recipe(method, setting.config.training, *point, seed=setting.seed, pad_id=0)
            rows = unlearn(model, forget, setting.material.retain, recipe)
            steps, lost = len(rows), max(row["lost_update_share"] for row in rows)
        except NumericsError:
            steps = -1  # training diverged; the model is measured all the same
    trained = time.process_time() - begun
    cell = {"seed": setting.seed, "method": name, "rate": point[0], "passes": point[1], "steps": steps, "lost": lost}
    cell |= {"cpu_seconds": round(trained, 2), "facts": measure(model, setting.asked)}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(cell), shared=True)
    print(f"{path.parent.parent.name} {path.stem}: {steps} steps, {trained:.1f} CPU s", flush=True)


@torch.no_grad()
def measure(model: Any, asked: Sequence[tuple[Row, str, Example]]) -> list[Cell]:
    """Return a record for every fact and form: summed log-probability of the answer, and whether it is recalled."""
    order = sorted(range(len(asked)), key=lambda index: len(asked[index][2]))
    found: list[Cell] = [{} for _ in asked]
    for start in range(0, len(order), 256):
        part = order[start : start + 256]
        batch = collate([asked[index][2] for index in part], 0)
        logits = answer_logits(model, batch)
        logp = token_log_probabilities(logits, batch).sum(dim=1).nan_to_num(-1e4).tolist()
        right = ((logits.argmax(dim=-1) == batch.answer_ids) | ~batch.answer_mask).all(dim=1).tolist()
        for index, value, recalled in zip(part, logp, right, strict=True):
            row, form, _ = asked[index]
            found[index] = {
                "role": row["role"],
                "used": row["used"],
                "subject": row["subject"],
                "object": row["object"],
                "relation": row["relation"],
                "count": row["exposures"],
                "form": form,
                "logp": round(value, 5),
                "recalled": recalled,
            }
    return found


# Reading the cells ---------------------------------------------------------------------------------------------------


def read(folder: Path, world: World, method: str, point: Point = (0.0, 0.0)) -> Cell:
    """Read a finished cell."""
    cell: Cell = json.loads(_path(folder, world, method, point).read_text(encoding="utf-8"))
    return cell


def chosen(folder: Path, method: str) -> Point:
    """Return the point of the grid with the best mean score on the worlds for tuning."""
    return max(_grid(), key=lambda point: float(np.mean([score(folder, world, method, point) for world in TUNING])))


def score(folder: Path, world: World, method: str, point: Point) -> float:
    """Return the harmonic mean of the share forgotten in the worst stratum and the shares that both groups keep."""
    outcome = Outcome([(read(folder, world, "original"), read(folder, world, method, point))])
    forgot = 1 - max(outcome.left_by_stratum("question"))
    kept = [outcome.kept(role) for role in ("retain", "untouched")]
    parts = [min(1.0, max(value, 1e-3)) for value in (forgot, *kept)]
    return 3 / sum(1 / value for value in parts)


def outcome_of(
    folder: Path, method: str, point: Point | None = None, worlds: Sequence[World] = EVALUATION
) -> Outcome | None:
    """Return the outcome of a method on these worlds, by default at its tuned point; None if a cell is missing."""
    try:
        point = point or chosen(folder, method)
        return Outcome([(read(folder, world, "original"), read(folder, world, method, point)) for world in worlds])
    except FileNotFoundError:
        return None


def tables(folder: Path, methods: Sequence[str]) -> list[str]:
    """Return tables of all methods, the deciding comparisons, the results by seed, and the grid of tuned methods."""
    outcomes = {method: outcome for method in methods if (outcome := outcome_of(folder, method)) is not None}
    points = {method: chosen(folder, method) for method in outcomes}
    tuned = [
        method for method in methods if all(_path(folder, TUNING[0], method, point).is_file() for point in _grid())
    ]
    return [
        overview(outcomes, points),
        differences({"as tuned": outcomes}, DECIDING_PAIRS),
        _by_seed(folder, outcomes, points, EVALUATION),
        _by_rate(folder, tuned),
    ]


def equal_tables(folder: Path) -> list[str]:
    """Return for each finished point of ``EQUAL`` the differences, each method alone, by seed, and recall before."""
    found: dict[str, dict[str, Outcome]] = {}
    overviews, by_seed = [], []
    for point in EQUAL:
        here = {name: outcome_of(folder, name, point, EQUAL_WORLDS) for name in DECIDING_METHODS}
        outcomes = {name: outcome for name, outcome in here.items() if outcome is not None}
        if len(outcomes) == len(DECIDING_METHODS):
            points = dict.fromkeys(outcomes, point)
            found[f"{point[0]:g}, {point[1]:g}"] = outcomes
            overviews.append(overview(outcomes, points))
            by_seed.append(_by_seed(folder, outcomes, points, EQUAL_WORLDS))
    return [differences(found, DECIDING_PAIRS), *overviews, *by_seed, _known_before(folder)]


def _known_before(folder: Path) -> str:
    """Tabulate what the original models recall of the forget set, by count."""
    lines: list[str] = []
    for form in FORMS:
        for world in EQUAL_WORLDS:
            if not _path(folder, world, "original").is_file():
                continue
            original = read(folder, world, "original")
            rows = [row for row in original["facts"] if row["role"] == "forget" and row["form"] == form]
            levels = sorted({row["count"] for row in rows})
            if not lines:
                heads = ["seed", "form", "all", *map(str, levels)]
                lines = ["| " + " | ".join(heads) + " |", "| --- |" + " --- |" * (len(heads) - 1)]
            groups = [rows, *([row for row in rows if row["count"] == level] for level in levels)]
            cells = [short(float(np.mean([row["recalled"] for row in group]))) for group in groups]
            lines.append(f"| {world[1]} | {form} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _by_seed(
    folder: Path, outcomes: Mapping[str, Outcome], points: Mapping[str, Point], worlds: Sequence[World]
) -> str:
    heads = [f"seed {seed}: worst stratum, slope of what is left" for _, seed in worlds]
    lines = ["| method | " + " | ".join(heads) + " |", "| --- |" + " --- |" * len(heads)]
    for method in outcomes:
        cells = []
        for world in worlds:
            one = Outcome([(read(folder, world, "original"), read(folder, world, method, points[method]))])
            cells.append(f"{short(max(one.left_by_stratum('question')))}, {one.slope('question', one.after)[0]:+.2f}")
        lines.append(f"| `{method}` | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _by_rate(folder: Path, methods: Sequence[str]) -> str:
    """Tabulate the whole grid on the world for tuning; a stable method still works at the right end."""
    heads = [f"{rate:g}, {passes:g}" for rate, passes in _grid()]
    lines = [
        "| worst stratum / retain / bystanders at rate, passes | " + " | ".join(heads) + " |",
        "| --- |" + " --- |" * len(heads),
    ]
    for method in methods:
        cells = []
        for point in _grid():
            one = Outcome([(read(folder, TUNING[0], "original"), read(folder, TUNING[0], method, point))])
            values = (max(one.left_by_stratum("question")), one.kept("retain"), one.kept("untouched"))
            cells.append(" / ".join(short(value) for value in values))
        lines.append(f"| `{method}` | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
