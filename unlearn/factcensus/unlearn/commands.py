"""The commands of the worker: a skin over :mod:`factcensus.unlearn`. Results on stdout, progress on stderr."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from factcensus.indexer.cli import Subparsers, add_command, add_group
from factcensus.unlearn.console import stderr_progress

if TYPE_CHECKING:
    from factcensus.unlearn.sweep.grid import Sweep


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
        help="run the methods of a configuration into its run folder, or a whole grid if it has a sweep block; the "
        "same command continues what was interrupted (exit code 130)",
        example="factcensus unlearn run run.toml --set seed=1 --set out=runs/seed1\n"
        "factcensus unlearn run run.toml --set methods.0.learning_rate=1e-4\n"
        "accelerate launch --num_processes 2 -m factcensus.indexer.cli unlearn run run.toml",
    )
    status = add_command(
        verbs,
        "status",
        _status,
        help="how far the runs of a configuration are: a row a run and method; nothing is run",
        example="factcensus unlearn status sweep.yaml",
    )
    for parser in (plan, run, status):
        parser.add_argument("config", type=Path, metavar="CONFIG", help="a .toml, .yaml or .json file")
        parser.add_argument(
            "--set", action="append", default=[], metavar="KEY=VALUE", dest="assignments",
            help="change a setting, such as training.passes=2; repeatable",
        )  # fmt: skip
        _add_json(parser)
    config = add_command(
        verbs,
        "config",
        _config,
        help="check a configuration and print it with every default filled in; or print an example, or the JSON Schema",
        example="factcensus unlearn config --example > run.toml\nfactcensus unlearn config run.toml --set seed=1\n"
        "factcensus unlearn config --schema > run.schema.json",
    )
    config.add_argument("config", type=Path, metavar="CONFIG", nargs="?", help="a .toml, .yaml or .json file")
    config.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="assignments", help="as in `unlearn run`"
    )
    kinds = config.add_mutually_exclusive_group()
    kinds.add_argument("--schema", action="store_true", help="the JSON Schema of a configuration file")
    kinds.add_argument("--example", action="store_true", help="a commented TOML file to start from")
    listing = add_command(
        verbs,
        "list",
        _list,
        help="the methods: purpose, formula, source, needs, defaults",
        example="factcensus unlearn list",
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


def _plan(arguments: argparse.Namespace) -> None:
    from factcensus.unlearn.config.files import load_config
    from factcensus.unlearn.planning.plan import Plan, make_plan
    from factcensus.unlearn.run_folder import INPUTS
    from factcensus.unlearn.sweep.grid import has_sweep, read_sweep

    if has_sweep(arguments.config, arguments.assignments):
        sweep, tell = read_sweep(arguments.config, arguments.assignments), stderr_progress()
        plans: dict[str, Plan] = {
            point.name: make_plan(point.config, tell, inputs=sweep.out / INPUTS) for point in sweep.points
        }
        if arguments.json:
            _print_json({name: plan.to_json() for name, plan in plans.items()})
            return
        print(_table(["run", "methods", "GiB", "FLOP", "seconds"], [
            [
                name, len(plan.methods), f"{max(each.memory_bytes for each in plan.methods) / 2**30:.3g}",
                f"{sum(each.flop for each in plan.methods):.2g}",
                f"{sum(each.seconds for each in plan.methods):.3g}",
            ]
            for name, plan in plans.items()
        ]))  # fmt: skip
        return
    plan = make_plan(load_config(arguments.config, arguments.assignments), stderr_progress())
    if arguments.json:
        _print_json(plan.to_json())
        return
    print(f"model       {plan.model}: {plan.parameters:,} parameters, {plan.dtype} on {plan.device}")
    print(f"            {plan.model_digest}")
    if plan.index:
        print("counts      " + ", ".join(f"{key} {value}" for key, value in plan.index.items()))
    if plan.known_before:
        print("known       sets are upper bounds: the run asks the model first, and leaves out what it does not know")
    print(f"examples    {plan.forget_examples:,} to forget, {plan.retain_examples:,} to retain")
    most = max(method.memory_bytes for method in plan.methods)
    print(f"memory      {most / 2**30:.3g} GiB at most, of {plan.device_bytes / 2**30:.3g} GiB")
    print(_table(["set", "forget", "retain", "neither"], [
        [str(row["label"] if row["label"] is not None else "all"), row["forget"], row["retain"], row["none"]]
        for row in plan.sets
    ]))  # fmt: skip
    print(_table(["method", "weights", "rate", "passes", "steps", "GiB", "FLOP", "seconds"], [
        [
            method.name, method.weights, f"{method.learning_rate:g}", f"{method.passes:g}", method.steps,
            f"{method.memory_bytes / 2**30:.3g}", f"{method.flop:.2g}", f"{method.seconds:.3g}",
        ]
        for method in plan.methods
    ]))  # fmt: skip
    if not all(method.simulated for method in plan.methods):
        print("this architecture cannot be tried without weights: activations are not in the memory above")
    print(f"seconds assume {plan.flop_per_second:.1e} FLOP/s, and leave out loading and evaluation")


def _run(arguments: argparse.Namespace) -> int:
    from factcensus.unlearn.config.files import load_config
    from factcensus.unlearn.run import run_unlearning
    from factcensus.unlearn.sweep.grid import has_sweep, read_sweep
    from factcensus.unlearn.training.ranks import current_ranks

    if has_sweep(arguments.config, arguments.assignments):
        return _sweep(read_sweep(arguments.config, arguments.assignments), arguments.json)
    config = load_config(arguments.config, arguments.assignments)
    folder = run_unlearning(config, progress=stderr_progress())
    if not current_ranks(cpu=config.device == "cpu").is_first:
        return 0
    if arguments.json:
        _print_json(json.loads((folder / "run.json").read_text(encoding="utf-8")))
    else:
        print(folder)
    return 0


def _sweep(sweep: Sweep, as_json: bool) -> int:
    from factcensus.unlearn.sweep.run import run_sweep
    from factcensus.unlearn.training.ranks import current_ranks

    result = run_sweep(sweep, progress=stderr_progress())
    for name, message in result.failed.items():
        print(f"factcensus: run {name} failed: {message}", file=sys.stderr)
    if current_ranks().is_first:
        _print_cells(result.rows, sweep, as_json)
        if not as_json:
            print(result.path)
    return 1 if result.failed else 0


def _status(arguments: argparse.Namespace) -> None:
    from factcensus.unlearn.config.files import load_config
    from factcensus.unlearn.sweep.grid import has_sweep, read_sweep, single
    from factcensus.unlearn.sweep.run import sweep_status

    path, assignments = arguments.config, arguments.assignments
    sweep = read_sweep(path, assignments) if has_sweep(path, assignments) else single(load_config(path, assignments))
    _print_cells(sweep_status(sweep), sweep, arguments.json)


def _print_cells(rows: list[dict[str, Any]], sweep: Sweep, as_json: bool) -> None:
    """The cells of a grid: what varies, how far they are, and what came out."""
    if as_json:
        _print_json({"out": str(sweep.out), "cells": rows})
        return
    varying = [key for key in sweep.keys if key not in ("seed", "methods")]
    measured = ("forget_loss_nats", "retain_accuracy", "slope_question", "slope_cloze", "training_seconds")
    shown = ["seed", *varying, "method", "status", *(each for each in measured if any(row[each] for row in rows))]
    print(_table(shown, [[_cell(row[column]) for column in shown] for row in rows]))


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else value


def _config(arguments: argparse.Namespace) -> None:
    from factcensus.unlearn.config.example import EXAMPLE, json_schema
    from factcensus.unlearn.config.files import load_config
    from factcensus.unlearn.errors import ConfigError
    from factcensus.unlearn.sweep.grid import has_sweep, read_sweep

    if arguments.example:
        print(EXAMPLE, end="")
    elif arguments.schema:
        _print_json(json_schema())
    elif arguments.config is None:
        raise ConfigError("give a CONFIG to check, or --example or --schema")
    elif has_sweep(arguments.config, arguments.assignments):
        points = read_sweep(arguments.config, arguments.assignments).points
        _print_json({point.name: point.config.resolved() for point in points})
    else:
        _print_json(load_config(arguments.config, arguments.assignments).resolved())


def _list(arguments: argparse.Namespace) -> None:
    from factcensus.unlearn.methods.table import method_rows, shown_defaults
    from factcensus.unlearn.objectives import objectives

    rows = method_rows()
    if arguments.json:
        _print_json({"methods": rows, "objectives": sorted(objectives())})
        return
    for row in rows:
        print(f"{row['name']}: {row['purpose']}")
        for key, text in (
            ("formula", row["formula"]),
            ("source", row["source"]),
            ("needs", "; ".join(row["needs"])),
            ("defaults", shown_defaults(row["defaults"])),
        ):
            if text:
                print(f"    {key:9}{text}")


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
