"""Commands on existing results: ``eval check`` and ``eval import``."""

from __future__ import annotations

from pathlib import Path

from factcensus.indexer.cli.command import argument, command, option
from factcensus.indexer.cli.options import OUTPUT_FOLDER, PATH, Choice, Whole, complete_path, json_option
from factcensus.indexer.system.console import print_json


@command(
    "check",
    example='factcensus eval check runs/simnpo --require "forgotten_by_stratum.min >= 95%, '
    'retain_accuracy >= 0.9 * base"',
)
@argument("folder", type=PATH, metavar="RUN", help="a finished run folder, or a summary.json")
@option(
    "--require",
    multiple=True,
    required=True,
    metavar="CLAUSES",
    help="comparisons, separated by commas; may be repeated (names: docs/evaluation.md)",
)
@json_option
def check(folder: Path, require: tuple[str, ...], as_json: bool) -> None:
    """Check a run against requirements, as a gate for pipelines.

    Exits with 0 if the run meets every clause, and with 3 if it does not.
    """
    from factcensus.eval.errors import RequirementNotMetError
    from factcensus.eval.gate import check, verdicts_json, verdicts_text
    from factcensus.eval.runs import read_summary

    verdicts = check(read_summary(folder), ", ".join(require))
    print_json(verdicts_json(verdicts)) if as_json else print(verdicts_text(verdicts))
    failed = [verdict.clause for verdict in verdicts if not verdict.passed]
    if failed:
        raise RequirementNotMetError(f"{folder} does not meet: {'; '.join(failed)}")


@command(
    "import",
    example="factcensus eval import original=base/TOFU_EVAL.json npo=npo/TOFU_EVAL.json --facts counts.parquet "
    "--out runs/npo\nfactcensus eval import unlearned_models/ --out runs/paper",
)
@argument(
    "sources",
    nargs=-1,
    required=True,
    shell_complete=complete_path,
    metavar="[METHOD=]PATH...",
    help="a file or folder of results, with the name of its method",
)
@option("--out", type=OUTPUT_FOLDER, required=True, metavar="DIR", help="the new run folder")
@option(
    "--format",
    "kind",
    type=Choice(["auto", "open-unlearning", "tofu", "paper", "table"]),
    default="auto",
    help="format of the files; auto detects it from their names",
)
@option(
    "--facts",
    type=PATH,
    metavar="TABLE",
    help="fact table with counts, joined by fact_id; without one, results are numbered by row from 0",
)
@option("--seed", type=Whole(0), default=0, metavar="N", help="seed of results that do not state one")
@option(
    "--count-column",
    metavar="NAME",
    default="cooccurrence_documents",
    help="count column used in all comparisons",
)
@json_option
def import_results(
    sources: tuple[str, ...], out: Path, kind: str, facts: Path | None, seed: int, count_column: str, as_json: bool
) -> None:
    """Import results of OpenUnlearning or of the paper's code, or a table of outcomes, as a run folder."""
    from factcensus.eval.imports import import_results, source_of
    from factcensus.eval.report.page import write_results
    from factcensus.eval.report.printed import show_summary
    from factcensus.eval.runs import read_run

    found = [source_of(text) for text in sources]
    out = import_results(found, out, kind=kind, facts=facts, seed=seed, count_column=count_column)
    show_summary(write_results(read_run(out), out), out / "report.html", as_json=as_json)
