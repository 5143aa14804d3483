"""The commands ``factcensus reproduce olmo`` and ``pythia``."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from factcensus.indexer.cli.command import Function, command, option
from factcensus.indexer.cli.options import OUTPUT_FOLDER, PATH, Choice, json_option
from factcensus.indexer.tables.columns import Notice, silent

if TYPE_CHECKING:
    import pyarrow as pa


def _options(function: Function) -> Function:
    for add in (
        json_option,
        option("--out", type=OUTPUT_FOLDER, required=True, metavar="DIR", help="the folder of the study"),
        option(
            "--facts",
            several=True,
            type=PATH,
            metavar="TABLE...",
            help="tables of facts to study instead of facts from Wikidata, such as zsRE, CounterFact, PopQA or RWKU as "
            "published; each fact needs a question",
        ),
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


@command(
    "olmo",
    example="factcensus reproduce olmo --size paper --out olmo\nfactcensus reproduce olmo --out smoke\n"
    "factcensus reproduce olmo --size paper --facts zsre_mend_eval.json --out zsre",
)
@_options
def olmo(size: str, out: Path, facts: tuple[Path, ...], as_json: bool) -> None:
    """Write a study of OLMo models, whose corpus has a published index; or try it with tiny models."""
    _study("olmo", size, out, facts, as_json)


@command(
    "pythia",
    example="factcensus reproduce pythia --size paper --out pythia\nfactcensus reproduce pythia --out smoke",
)
@_options
def pythia(size: str, out: Path, facts: tuple[Path, ...], as_json: bool) -> None:
    """Write a study of Pythia models, whose corpus has a published index; or try it with tiny models."""
    _study("pythia", size, out, facts, as_json)


def _study(name: str, size: str, out: Path, facts: tuple[Path, ...], as_json: bool) -> None:
    from factcensus.indexer.cli.options import notice
    from factcensus.indexer.system.console import print_json

    make = write_study if size == "paper" else run_tiny_study
    found = make(name, out, facts, notice)
    if as_json:
        print_json(found)
    else:
        print("\n".join(f"{key:8} {value}" for key, value in found.items()))


def write_study(name: str, out: Path, facts: Sequence[Path] = (), notice: Notice = silent) -> dict[str, Any]:
    """Write the files of a full study, and its fact table once the sources are there.

    Args:
        name: The name of the study.
        out: Its folder.
        facts: Tables of facts to study instead of those that queries find.
        notice: Called with remarks about these tables.

    Raises:
        EvaluationInputError: a source has other columns or no usable fact, or the folder has other facts.
    """
    from factcensus.eval.reproduce.published_models.files import SOURCES, write_files
    from factcensus.eval.reproduce.published_models.studies import PAPER, RELATIONS, STUDIES

    if facts:
        table, settings = _given_facts(out, facts, PAPER, notice)
        write_files(out, name, STUDIES[name], settings, [path.name for path in facts])
        return {"study": str(out), "facts": table.num_rows, "next": f"the commands of {out / 'steps.sh'}"}
    _check_not_given(out)
    write_files(out, name, STUDIES[name], PAPER)
    missing = [path for each in RELATIONS if not (path := out / SOURCES / f"{each.name}.csv").is_file()]
    if missing:
        return {
            "study": str(out),
            "next": f"download {', '.join(map(str, missing))} as steps.sh shows, then repeat this",
        }
    return {"study": str(out), "facts": _make_facts(out), "next": f"the commands of {out / 'steps.sh'}"}


def run_tiny_study(name: str, out: Path, facts: Sequence[Path] = (), notice: Notice = silent) -> dict[str, Any]:
    """Run every step of a study with tiny models; finished steps are kept. Of given tables, it uses the first facts.

    Raises:
        EvaluationError: a step failed; its output is in DIR/work/steps.log.
        EvaluationInputError: as in :func:`write_study`.
    """
    from factcensus.eval.reproduce.published_models.files import steps_of, write_files
    from factcensus.eval.reproduce.published_models.studies import SMOKE, STUDIES
    from factcensus.eval.reproduce.published_models.tiny import (
        FACTS,
        INVENTED_TINY,
        WORK,
        documents_about,
        make_sources,
        make_tiny,
        served,
    )
    from factcensus.unlearn.training.runtime import torch_threads

    settings = SMOKE
    if facts:
        table, settings = _given_facts(out, facts, SMOKE, notice, invented=INVENTED_TINY, most=2 * FACTS)
        number, texts = table.num_rows, list(documents_about(table.to_pylist()))
    else:
        _check_not_given(out)
        texts = make_sources(out)
        number = _make_facts(out, INVENTED_TINY)
    with served(out / WORK / "site") as url, torch_threads(1):  # tiny models take many times longer with two
        models = make_tiny(out, STUDIES[name], url, texts)
        write_files(out, name, models, settings, [path.name for path in facts])
        for model in models:
            for step in steps_of(model, settings):
                if step.makes is None or not (out / step.makes).is_file():
                    _run(step.arguments, out)
    return {
        "study": str(out),
        "facts": number,
        **{model.name: str(out / model.name / "report.html") for model in models},
    }


def _given_facts(
    out: Path, facts: Sequence[Path], settings: Mapping[str, Any], notice: Notice, **limits: Any
) -> tuple[pa.Table, dict[str, Any]]:
    """Write the fact table of given tables, and return it with the settings that fit it.

    Raises:
        EvaluationInputError: the folder has other facts, or the tables too few; see also
            :func:`~factcensus.eval.reproduce.published_models.given.study_table`.
    """
    from factcensus.eval.errors import EvaluationInputError
    from factcensus.eval.reproduce.published_models.files import FACTS
    from factcensus.eval.reproduce.published_models.given import check_roles, forms_of, is_matched, study_table
    from factcensus.indexer.tables.files import check_output, render, write_table

    path = out / FACTS
    check_output(path, facts)
    table = study_table(facts, notice=notice, **limits)
    check_roles(table)
    if path.is_file() and path.read_bytes() != b"".join(render(table, "jsonl")):
        raise EvaluationInputError(f"{path} has other facts than {', '.join(map(str, facts))}; choose another --out")
    write_table(table, path)
    return table, {**settings, "forms": forms_of(table), "match": ["relation"] if is_matched(table) else []}


def _check_not_given(out: Path) -> None:
    """Check that the facts of a folder were not made from tables that the user gave; queries would replace them.

    Raises:
        EvaluationInputError: They were.
    """
    from factcensus.eval.errors import EvaluationInputError
    from factcensus.eval.reproduce.published_models.files import FACTS, SOURCES

    if (out / FACTS).is_file() and not (out / SOURCES).is_dir():
        raise EvaluationInputError(
            f"{out / FACTS} has the facts of tables; give them with --facts again, or choose another --out"
        )


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
