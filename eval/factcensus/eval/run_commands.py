"""Commands on results that are there already: ``eval check`` and ``eval import``."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from factcensus.indexer.cli import Subparsers, add_command


def add_commands(verbs: Subparsers) -> None:
    """Add them to the group ``eval``."""
    _add_check(verbs)


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
