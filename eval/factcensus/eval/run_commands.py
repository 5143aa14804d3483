"""Commands on results that are there already: ``eval check`` and ``eval import``."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from factcensus.indexer.cli import Subparsers, add_command


def add_commands(verbs: Subparsers) -> None:
    """Add them to the group ``eval``."""
    _add_check(verbs)
    _add_import(verbs)


def _add_check(verbs: Subparsers) -> None:
    check = add_command(
        verbs,
        "check",
        _check,
        help="a gate for pipelines: exit 0 if a run meets every clause of a requirement, 3 if not",
        example='factcensus eval check runs/simnpo --require "forgotten_by_stratum.min >= 95%, '
        'retain_accuracy >= 0.9 * base"',
    )
    check.add_argument("folder", type=Path, metavar="RUN", help="a finished run folder, or a summary.json")
    check.add_argument(
        "--require",
        action="append",
        required=True,
        metavar="CLAUSES",
        help="comparisons, separated by commas; may be given several times (names: docs/evaluation.md)",
    )
    check.add_argument(
        "--json", action="store_true", help="every clause and where it was looked at, as one JSON object"
    )


def _check(arguments: argparse.Namespace) -> None:
    from factcensus.eval.errors import RequirementNotMetError
    from factcensus.eval.gate import check, verdicts_json, verdicts_text
    from factcensus.eval.run_folder import read_summary

    verdicts = check(read_summary(arguments.folder), ", ".join(arguments.require))
    print(json.dumps(verdicts_json(verdicts)) if arguments.json else verdicts_text(verdicts))
    failed = [verdict.clause for verdict in verdicts if not verdict.passed]
    if failed:
        raise RequirementNotMetError(f"{arguments.folder} does not meet: {'; '.join(failed)}")


def _add_import(verbs: Subparsers) -> None:
    command = add_command(
        verbs,
        "import",
        _import,
        help="results of OpenUnlearning, of the paper's code, or a table of outcomes as a run folder to report",
        example="factcensus eval import original=base/TOFU_EVAL.json npo=npo/TOFU_EVAL.json --facts counts.parquet "
        "--out runs/npo\nfactcensus eval import unlearned_models/ --out runs/paper",
    )
    command.add_argument(
        "sources", nargs="+", metavar="[METHOD=]PATH", help="a file or folder of results, and which method it is of"
    )
    command.add_argument("--out", type=Path, required=True, metavar="DIR", help="the new run folder")
    command.add_argument(
        "--format",
        choices=("auto", "open-unlearning", "paper", "table"),
        default="auto",
        help="what the files are (default: by their names)",
    )
    command.add_argument(
        "--facts",
        type=Path,
        metavar="TABLE",
        help="fact table with counts, joined by fact_id (without one: the row, from 0)",
    )
    command.add_argument("--seed", type=int, default=0, metavar="N", help="of results that do not say one (default 0)")
    command.add_argument("--json", action="store_true", help="the summary as one JSON object on stdout")


def _import(arguments: argparse.Namespace) -> None:
    from factcensus.eval.imports import import_results, source_of
    from factcensus.eval.report.page import write_results
    from factcensus.eval.report.printed import show_summary
    from factcensus.eval.run_folder import read_run

    sources = [source_of(text) for text in arguments.sources]
    out = import_results(sources, arguments.out, kind=arguments.format, facts=arguments.facts, seed=arguments.seed)
    show_summary(write_results(read_run(out), out), out / "report.html", as_json=arguments.json)
