"""The commands of the worker: a skin over :mod:`factcensus.unlearn`. Results on stdout, progress on stderr."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from factcensus.indexer.cli import Subparsers, add_command, add_group
from factcensus.unlearn.progress import Progress, ProgressFunction


def add_commands(subparsers: Subparsers) -> None:
    """Add ``unlearn`` and ``world`` to the root command."""
    _add_unlearn(add_group(subparsers, "unlearn", help="forget facts, in sets and doses that know their counts"))
    _add_world(add_group(subparsers, "world", help="a controlled world: corpus, facts and a small model of it"))


def _add_unlearn(verbs: Subparsers) -> None:
    plan = add_command(
        verbs,
        "plan",
        _plan,
        help="check a configuration and print sets by stratum, parameters, memory in GiB, FLOP and seconds",
        example="factcensus unlearn plan run.toml --set training.passes=2",
    )
    run = add_command(
        verbs,
        "run",
        _run,
        help="run the methods of a configuration into its run folder; the same command continues an interrupted run",
        example="factcensus unlearn run run.toml --set seed=1 --set out=runs/seed1\n"
        "factcensus unlearn run run.toml --set methods.0.learning_rate=1e-4",
    )
    for parser in (plan, run):
        parser.add_argument("config", type=Path, metavar="CONFIG", help="a .toml, .yaml or .json file")
        parser.add_argument(
            "--set", action="append", default=[], metavar="KEY=VALUE", dest="assignments",
            help="change a setting, such as training.passes=2; repeatable",
        )  # fmt: skip
        _add_json(parser)
    listing = add_command(
        verbs, "list", _list, help="the methods by name: objective, weights, purpose", example="factcensus unlearn list"
    )
    _add_json(listing)


def _add_world(verbs: Subparsers) -> None:
    write = add_command(
        verbs,
        "write",
        _write,
        help="write a world: corpus shards and a fact table; the same options give the same bytes",
        example="factcensus world write --out world --people 280 --seed 0\n"
        "factcensus index build world/corpus --out world-index",
    )
    write.add_argument("--out", type=Path, required=True, metavar="DIR", help="a folder, new or empty")
    write.add_argument("--people", type=int, default=280, metavar="N", help="people in the corpus (default 280)")
    write.add_argument("--phantoms", type=int, default=48, metavar="N", help="people who never occur (default 48)")
    write.add_argument("--objects", type=int, default=16, metavar="N", help="objects a relation (default 16)")
    write.add_argument("--question-copies", type=int, default=10, metavar="N", help="documents a question (default 10)")
    write.add_argument(
        "--assignment", choices=("balanced", "independent"), default="balanced",
        help="deal objects equally to every exposure level, or draw them (default balanced)",
    )  # fmt: skip
    write.add_argument("--seed", type=int, default=0, help="(default 0)")
    _add_json(write)
    pretrain = add_command(
        verbs,
        "pretrain",
        _pretrain,
        help="train a small Llama from scratch on a world; the same command continues an interrupted training",
        example="factcensus world pretrain world --out model --preset smoke --seed 0\n"
        "factcensus world pretrain world --out oracle --preset smoke --without forget",
    )
    pretrain.add_argument("world", type=Path, metavar="WORLD", help="what `factcensus world write` wrote")
    pretrain.add_argument("--out", type=Path, required=True, metavar="MODEL", help="the model's folder")
    pretrain.add_argument(
        "--preset", choices=("smoke", "demo", "gpu"), default="smoke", help="size and training (default smoke)"
    )
    pretrain.add_argument("--seed", type=int, default=0, help="of weights and order (default 0)")
    pretrain.add_argument(
        "--without", action="append", default=[], metavar="ROLE",
        help="leave out all documents about these people, such as forget; repeatable",
    )  # fmt: skip
    _add_json(pretrain)


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, default=str))


def stderr_progress() -> ProgressFunction:
    """Print progress to stderr: a line that rewrites itself on a terminal, and at most one line a second elsewhere."""
    terminal, last = sys.stderr.isatty(), [0.0]

    def report(progress: Progress) -> None:
        over = progress.done == progress.total
        now = time.monotonic()
        if not over and now - last[0] < (0.1 if terminal else 1.0):
            return
        last[0] = now
        line = f"{progress.stage}: {progress.done}/{progress.total} {progress.detail}".rstrip()
        shown, end = (f"\r\x1b[K{line}", "\n" if over else "") if terminal else (line, "\n")
        print(shown, end=end, file=sys.stderr, flush=True)

    return report


def _plan(arguments: argparse.Namespace) -> None:
    from factcensus.unlearn.config_file import load_config
    from factcensus.unlearn.plan import make_plan

    plan = make_plan(load_config(arguments.config, arguments.assignments))
    if arguments.json:
        _print_json(plan.to_json())
        return
    print(f"model       {plan.model}: {plan.parameters:,} parameters, {plan.dtype} on {plan.device}")
    print(f"            {plan.model_digest}")
    if plan.index:
        print("counts      " + ", ".join(f"{key} {value}" for key, value in plan.index.items()))
    print(f"examples    {plan.forget_examples:,} to forget, {plan.retain_examples:,} to retain")
    print(f"memory      {plan.memory_bytes / 2**30:.3g} GiB and what the activations of a micro-batch take")
    print(_table(["set", "forget", "retain", "neither"], [
        [str(row["label"] if row["label"] is not None else "all"), row["forget"], row["retain"], row["none"]]
        for row in plan.sets
    ]))  # fmt: skip
    print(_table(["method", "weights", "rate", "passes", "steps", "FLOP", "seconds"], [
        [
            method.name, method.weights, f"{method.learning_rate:g}", f"{method.passes:g}", method.steps,
            f"{method.flop:.2g}", f"{method.seconds:.3g}",
        ]
        for method in plan.methods
    ]))  # fmt: skip
    print(f"seconds assume {plan.flop_per_second:.0e} FLOP/s, and leave out loading and evaluation")


def _run(arguments: argparse.Namespace) -> None:
    from factcensus.unlearn.config_file import load_config
    from factcensus.unlearn.run import run_unlearning

    config = load_config(arguments.config, arguments.assignments)
    folder = run_unlearning(config, progress=stderr_progress())
    if arguments.json:
        _print_json(json.loads((folder / "run.json").read_text(encoding="utf-8")))
    else:
        print(folder)


def _list(arguments: argparse.Namespace) -> None:
    from factcensus.unlearn.methods import METHODS, PURPOSE
    from factcensus.unlearn.objectives import objectives

    known = objectives()
    rows = [
        {
            "name": name,
            "objective": settings["objective"],
            "weights": settings.get("weights", "uniform"),
            "retain": settings.get("retain", "nll"),
            "purpose": PURPOSE[name],
            "formula": known[settings["objective"]].formula,
            "source": known[settings["objective"]].source,
        }
        for name, settings in METHODS.items()
    ]
    if arguments.json:
        _print_json({"methods": rows, "objectives": sorted(known)})
        return
    columns = ("name", "objective", "weights", "retain", "purpose")
    print(_table(list(columns), [[row[column] for column in columns] for row in rows]))


def _write(arguments: argparse.Namespace) -> None:
    from factcensus.unlearn.world.settings import WorldSettings
    from factcensus.unlearn.world.write import write_world

    settings = WorldSettings(
        people=arguments.people,
        phantoms=arguments.phantoms,
        objects=arguments.objects,
        question_copies=arguments.question_copies,
        assignment=arguments.assignment,
    )
    folder = write_world(arguments.out, settings, arguments.seed)
    result = {"world": str(folder), "corpus": str(folder / "corpus"), "facts": str(folder / "facts.jsonl")}
    if arguments.json:
        _print_json(result)
    else:
        print("\n".join(f"{name:7} {path}" for name, path in result.items()))


def _pretrain(arguments: argparse.Namespace) -> None:
    from factcensus.unlearn.presets import PRESETS
    from factcensus.unlearn.world.pretrain import DESCRIPTION, pretrain

    folder = pretrain(
        arguments.world,
        arguments.out,
        PRESETS[arguments.preset].pretraining,
        arguments.seed,
        exclude_roles=tuple(arguments.without),
        progress=stderr_progress(),
    )
    if arguments.json:
        _print_json(json.loads((folder / DESCRIPTION).read_text(encoding="utf-8")) | {"model": str(folder)})
    else:
        print(folder)


def _table(header: list[str], rows: list[list[Any]]) -> str:
    """Columns of text, numbers to the right."""
    cells = [header, *([str(value) for value in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    right = [all(isinstance(row[column], int) for row in rows) for column in range(len(header))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in cells
    )
