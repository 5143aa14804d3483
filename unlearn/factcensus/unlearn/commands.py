"""The command group ``unlearn``, which calls :mod:`factcensus.unlearn`. Progress goes to stderr."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from factcensus.indexer.cli.command import Function, argument, command, group, option
from factcensus.indexer.cli.options import PATH, Number, Size, Whole, json_option
from factcensus.indexer.system.console import print_json, print_table
from factcensus.unlearn.progress import stderr_progress
from factcensus.unlearn.stopping import check_stop, stop_on_sigterm
from factcensus.unlearn.world_commands import pretrain, write

if TYPE_CHECKING:
    from factcensus.unlearn.config.run_config import RunConfig
    from factcensus.unlearn.planning.hardware import Hardware
    from factcensus.unlearn.planning.plan import Plan
    from factcensus.unlearn.sweep.grid import Sweep

#: Changed settings, such as ``training.passes=2``.
Assignments = tuple[str, ...]

set_option = option(
    "--set",
    "assignments",
    multiple=True,
    metavar="KEY=VALUE",
    help="change a setting, such as training.passes=2; may be repeated",
)


def add_commands(root: click.Group) -> None:
    """Add ``unlearn`` and ``world`` to the root command."""
    purpose = "Unlearn facts; choose sets, weights and dose by how often each fact occurs."
    root.add_command(group("unlearn", purpose, [plan, run, status, config, list_methods]))
    root.add_command(group("world", "Write a controlled world, and train a small model on it.", [write, pretrain]))


def _config_argument(function: Function) -> Function:
    return argument("path", type=PATH, metavar="CONFIG", help="a .toml, .yaml or .json file")(set_option(function))


@command(
    "plan",
    needs={"gpu_memory": "gpus", "gpu_rate": "gpus"},
    example="factcensus unlearn plan run.toml --set training.passes=2\n"
    "factcensus unlearn plan run.toml --gpus 8 --set fsdp=true",
)
@_config_argument
@option(
    "--gpus",
    type=Whole(1),
    metavar="N",
    default_text="the devices of this machine and launcher",
    help="plan for N GPUs with one process each; this machine need not have them",
)
@option(
    "--gpu-memory",
    type=Size(),
    metavar="SIZE",
    default_text="79GiB, as an A100 with 80 GB reports",
    help="memory of each of these GPUs",
)
@option(
    "--gpu-rate",
    type=Number("a number of operations per second, above 0 and below 1e18", 0, 1e18),
    metavar="FLOP/S",
    default_text="that of an A100: 3.12e14 in bfloat16, 1.95e13 in float32",
    help="operations per second of a matrix product on each of these GPUs",
)
@json_option
def plan(  # one argument per option
    path: Path,
    assignments: Assignments,
    gpus: int | None,
    gpu_memory: int | None,
    gpu_rate: float | None,
    as_json: bool,
) -> None:
    """Check a configuration and estimate the cost of its run.

    Prints the sets by stratum, the parameters, and the memory (GiB), FLOP and seconds of each method. Memory is that of
    each device.
    """
    from factcensus.unlearn.config.files import load_config
    from factcensus.unlearn.planning.hardware import assumed_gpus
    from factcensus.unlearn.planning.plan import make_plan
    from factcensus.unlearn.run_folder import INPUTS
    from factcensus.unlearn.sweep.grid import has_sweep, read_sweep

    def hardware(settings: RunConfig) -> Hardware | None:
        return None if gpus is None else assumed_gpus(settings, gpus, gpu_memory, gpu_rate)

    if not has_sweep(path, assignments):
        settings = load_config(path, assignments)
        planned = make_plan(settings, stderr_progress(), hardware=hardware(settings))
        print_json(planned.to_json()) if as_json else _print_plan(planned)
        return
    sweep, report = read_sweep(path, assignments), stderr_progress()
    plans = {
        point.name: make_plan(point.config, report, inputs=sweep.out / INPUTS, hardware=hardware(point.config))
        for point in sweep.points
    }
    if as_json:
        print_json({name: each.to_json() for name, each in plans.items()})
    else:
        print_table([_plan_row(*item) for item in plans.items()], ["run", "methods", "GiB", "FLOP", "seconds"])
        for warning in dict.fromkeys(warning for each in plans.values() for warning in each.warnings):
            print(f"warning     {warning}")


def _plan_row(name: str, planned: Plan) -> list[Any]:
    return [
        name,
        len(planned.methods),
        f"{max(each.memory_bytes for each in planned.methods) / 2**30:.3g}",
        f"{sum(each.flop for each in planned.methods):.2g}",
        f"{sum(each.seconds for each in planned.methods):.3g}",
    ]


def _print_plan(plan: Plan) -> None:
    print(f"model       {plan.model}: {plan.parameters:,} parameters, {plan.dtype} on {plan.device}")
    print(f"            {plan.model_digest}")
    if plan.index:
        print("counts      " + ", ".join(f"{key} {value}" for key, value in plan.index.items()))
    if plan.known_before:
        print(
            "known       sets are upper bounds: the run asks the model first and leaves out facts that it does not know"
        )
    print(f"examples    {plan.forget_examples:,} to forget, {plan.retain_examples:,} to retain")
    for warning in plan.warnings:
        print(f"warning     {warning}")
    most = max(method.memory_bytes for method in plan.methods)
    each = "" if plan.processes == 1 else f" in each of {plan.processes} processes"
    print(f"memory      {most / 2**30:.3g} GiB at most, of {plan.device_bytes / 2**30:.3g} GiB{each}")
    print_table(
        [
            [str(row["label"] if row["label"] is not None else "all"), row["forget"], row["retain"], row["none"]]
            for row in plan.sets
        ],
        ["set", "forget", "retain", "neither"],
    )
    print_table(
        [
            [
                method.name,
                method.weights,
                f"{method.learning_rate:g}",
                f"{method.passes:g}",
                method.steps,
                f"{method.memory_bytes / 2**30:.3g}",
                f"{method.flop:.2g}",
                f"{method.seconds:.3g}",
            ]
            for method in plan.methods
        ],
        ["method", "weights", "rate", "passes", "steps", "GiB", "FLOP", "seconds"],
    )
    if not all(method.simulated for method in plan.methods):
        print("this architecture cannot be simulated, so the memory above does not include activations")
    print(f"seconds assume {plan.flop_per_second:.1e} FLOP/s and exclude loading and evaluation")


@command(
    "run",
    example="factcensus unlearn run run.toml --set seed=1 --set out=runs/seed1\n"
    "factcensus unlearn run run.toml --set methods.0.learning_rate=1e-4\n"
    "accelerate launch --num_processes 2 -m factcensus unlearn run run.toml",
)
@_config_argument
@json_option
def run(path: Path, assignments: Assignments, as_json: bool) -> int:
    """Run the methods of a configuration and write its run folder.

    Runs a whole grid if the configuration has a sweep block. The same command resumes an interrupted run (exit status
    130).
    """
    with stop_on_sigterm():  # also during the import of the libraries
        return _run(path, assignments, as_json)


def _run(path: Path, assignments: Assignments, as_json: bool) -> int:
    from factcensus.unlearn.config.files import load_config
    from factcensus.unlearn.run import run_unlearning
    from factcensus.unlearn.run_folder import read_record
    from factcensus.unlearn.sweep.grid import has_sweep, read_sweep
    from factcensus.unlearn.training.ranks import current_ranks

    check_stop()
    if has_sweep(path, assignments):
        return _sweep(read_sweep(path, assignments), as_json)
    config = load_config(path, assignments)
    folder = run_unlearning(config, progress=stderr_progress())
    if not current_ranks(cpu=config.device == "cpu").is_first:
        return 0
    if as_json:
        print_json(read_record(folder))
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


@command("status", example="factcensus unlearn status sweep.yaml")
@_config_argument
@json_option
def status(path: Path, assignments: Assignments, as_json: bool) -> None:
    """Show the status of a configuration's runs, one row per run and method, without running anything."""
    from factcensus.unlearn.config.files import load_config
    from factcensus.unlearn.sweep.grid import has_sweep, read_sweep, single
    from factcensus.unlearn.sweep.run import sweep_status

    sweep = read_sweep(path, assignments) if has_sweep(path, assignments) else single(load_config(path, assignments))
    _print_cells(sweep_status(sweep), sweep, as_json)


def _print_cells(rows: list[dict[str, Any]], sweep: Sweep, as_json: bool) -> None:
    """Print the cells of a grid: varied settings, status and results."""
    if as_json:
        print_json({"out": str(sweep.out), "cells": rows})
        return
    varying = [key for key in sweep.keys if key not in ("seed", "methods")]
    measured = ("forget_loss_nats", "retain_accuracy", "slope_question", "slope_cloze", "training_seconds")
    shown = ["seed", *varying, "method", "status", *(each for each in measured if any(row[each] for row in rows))]
    print_table([[str(row["seed"]), *(_cell(row[column]) for column in shown[1:])] for row in rows], shown)


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else value


@command(
    "config",
    exclusive=[("schema", "example"), ("schema", "assignments"), ("example", "assignments")],
    example="factcensus unlearn config --example > run.toml\nfactcensus unlearn config run.toml --set seed=1\n"
    "factcensus unlearn config --schema > run.schema.json",
)
@argument("path", required=False, type=PATH, metavar="[CONFIG]", help="a .toml, .yaml or .json file")
@set_option
@option("--schema", is_flag=True, help="print the JSON Schema of a configuration file")
@option("--example", is_flag=True, help="print a commented TOML file as a starting point")
def config(path: Path | None, assignments: Assignments, schema: bool, example: bool) -> None:
    """Check a configuration and print it with every default filled in.

    With --example or --schema, print an example or the JSON Schema instead.
    """
    from factcensus.unlearn.config.example import EXAMPLE, json_schema
    from factcensus.unlearn.config.files import load_config
    from factcensus.unlearn.errors import ConfigError
    from factcensus.unlearn.sweep.grid import has_sweep, read_sweep

    if path is not None and (example or schema):
        raise ConfigError(f"--{'example' if example else 'schema'} describes every configuration; leave out {path}")
    if example:
        print(EXAMPLE, end="")
    elif schema:
        _print_indented(json_schema())
    elif path is None:
        raise ConfigError("give a CONFIG to check, or --example or --schema")
    elif has_sweep(path, assignments):
        points = read_sweep(path, assignments).points
        _print_indented({point.name: point.config.resolved() for point in points})
    else:
        _print_indented(load_config(path, assignments).resolved())


def _print_indented(value: Any) -> None:
    print(json.dumps(value, indent=2, default=str))


@command("list", example="factcensus unlearn list")
@json_option
def list_methods(as_json: bool) -> None:
    """List the methods with purpose, formula, source, needs and defaults."""
    from factcensus.unlearn.methods.table import method_rows, shown_defaults
    from factcensus.unlearn.objectives import objectives

    rows = method_rows()
    if as_json:
        print_json({"methods": rows, "objectives": sorted(objectives())})
        return
    for row in rows:
        print(f"{row['name']}: {row['purpose']}")
        for key, text in (
            ("formula", row["formula"]),
            ("source", row["source"]),
            ("needs", "; ".join(row["needs"])),
            ("keeps", "; ".join(row["keeps"])),
            ("defaults", shown_defaults(row["defaults"])),
        ):
            if text:
                print(f"    {key:9}{text}")
