"""The commands ``factcensus reproduce olmo`` and ``pythia``."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from factcensus.indexer.cli.command import Function, command, option
from factcensus.indexer.cli.options import OUTPUT_FOLDER, Choice, json_option

if TYPE_CHECKING:
    pass


def _options(function: Function) -> Function:
    for add in (
        json_option,
        option("--out", type=OUTPUT_FOLDER, required=True, metavar="DIR", help="the folder of the study"),
        option(
            "--size",
            type=Choice(["smoke", "paper"]),
            default="smoke",
            help="paper: write the configuration of the full study; smoke: run it with tiny random models and a small "
            "index on this machine, a test of about a minute",
        ),
    ):
        function = add(function)
    return function


@command("olmo", example="factcensus reproduce olmo --size paper --out olmo\nfactcensus reproduce olmo --out smoke")
@_options
def olmo(size: str, out: Path, as_json: bool) -> None:
    """Write a study of OLMo models, whose corpus has a published index; or try it with tiny models."""
    _study("olmo", size, out, as_json)


@command(
    "pythia",
    example="factcensus reproduce pythia --size paper --out pythia\nfactcensus reproduce pythia --out smoke",
)
@_options
def pythia(size: str, out: Path, as_json: bool) -> None:
    """Write a study of Pythia models, whose corpus has a published index; or try it with tiny models."""
    _study("pythia", size, out, as_json)


def _study(name: str, size: str, out: Path, as_json: bool) -> None:
    from factcensus.indexer.system.console import print_json

    found = write_study(name, out) if size == "paper" else run_tiny_study(name, out)
    if as_json:
        print_json(found)
    else:
        print("\n".join(f"{key:8} {value}" for key, value in found.items()))


def write_study(name: str, out: Path) -> dict[str, Any]:
    """Write the files of a full study, and its fact table once the sources are there.

    Raises:
        EvaluationInputError: a source has other columns or no usable fact.
    """
    from factcensus.eval.reproduce.published_models.files import SOURCES, write_files
    from factcensus.eval.reproduce.published_models.studies import PAPER, RELATIONS, STUDIES

    write_files(out, name, STUDIES[name], PAPER)
    missing = [path for each in RELATIONS if not (path := out / SOURCES / f"{each.name}.csv").is_file()]
    if missing:
        return {
            "study": str(out),
            "next": f"download {', '.join(map(str, missing))} as steps.sh shows, then repeat this",
        }
    return {"study": str(out), "facts": _make_facts(out), "next": f"the commands of {out / 'steps.sh'}"}


def run_tiny_study(name: str, out: Path) -> dict[str, Any]:
    """Run every step of a study with tiny models; finished steps are kept.

    Raises:
        EvaluationError: a step failed; its output is in DIR/work/steps.log.
    """
    from factcensus.eval.reproduce.published_models.files import steps_of, write_files
    from factcensus.eval.reproduce.published_models.studies import SMOKE, STUDIES
    from factcensus.eval.reproduce.published_models.tiny import INVENTED_TINY, WORK, make_tiny, served
    from factcensus.unlearn.training.runtime import torch_threads

    with served(out / WORK / "site") as url, torch_threads(1):  # tiny models take many times longer with two
        models = make_tiny(out, STUDIES[name], url)
        write_files(out, name, models, SMOKE)
        facts = _make_facts(out, INVENTED_TINY)
        for model in models:
            for step in steps_of(model, SMOKE):
                if step.makes is None or not (out / step.makes).is_file():
                    _run(step.arguments, out)
    return {
        "study": str(out),
        "facts": facts,
        **{model.name: str(out / model.name / "report.html") for model in models},
    }


def _run(arguments: Sequence[str], out: Path) -> None:
    """Run one command in the folder of the study; its output is added to the log."""
    from factcensus.eval.errors import EvaluationError
    from factcensus.eval.reproduce.published_models.tiny import WORK
    from factcensus.indexer.cli import main

    log = out / WORK / "steps.log"
    print(f"factcensus {' '.join(arguments)}", file=sys.stderr)
    with log.open("a", encoding="utf-8") as file, contextlib.redirect_stdout(file), contextlib.chdir(out):
        print(f"$ factcensus {' '.join(arguments)}", flush=True)
        status = main(list(arguments))
    if status:
        raise EvaluationError(f"`factcensus {' '.join(arguments)}` exited with {status} in {out}; see {log}")


def _make_facts(out: Path, invented: int | None = None) -> int:
    """Write the fact table if it changed, and return its number of facts."""
    from factcensus.eval.reproduce.published_models.facts import INVENTED, fact_table, read_pairs
    from factcensus.eval.reproduce.published_models.files import FACTS, SOURCES
    from factcensus.eval.reproduce.published_models.studies import RELATIONS
    from factcensus.indexer import write_table

    pairs = {each: read_pairs(out / SOURCES / f"{each.name}.csv") for each in RELATIONS}
    table = fact_table(pairs, INVENTED if invented is None else invented)
    write_table(table, out / FACTS)
    return int(table.num_rows)
