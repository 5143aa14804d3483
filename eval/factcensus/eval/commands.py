"""The commands of this part: ``demo``, ``eval run`` and ``report``. Results on stdout, progress on stderr."""

from __future__ import annotations

import argparse
from pathlib import Path

from factcensus.eval import measure_commands, run_commands
from factcensus.indexer.cli import Subparsers, add_command, add_group


def add_commands(subparsers: Subparsers) -> None:
    """Add this part's commands to the root command."""
    _add_demo(subparsers)
    verbs = add_group(subparsers, "eval", help="ask models what they know, and measure it")
    measure_commands.add_commands(verbs)
    run_commands.add_commands(verbs)
    _add_report(subparsers)


def _add_demo(subparsers: Subparsers) -> None:
    demo = add_command(
        subparsers,
        "demo",
        _demo,
        help="the whole way once: a small world, its index and service, models, unlearning, evaluation, a report; "
        "the same command continues an interrupted one",
        example="factcensus demo --preset smoke --out demo",
    )
    demo.add_argument(
        "--preset",
        default="demo",
        choices=("smoke", "demo", "gpu"),
        help="smoke (a minute, one seed), demo (minutes on two CPU cores, two seeds; the default) or gpu",
    )
    demo.add_argument("--out", type=Path, default=Path("demo"), metavar="DIR", help="the run folder (default: demo)")
    _add_json(demo)


def _add_report(subparsers: Subparsers) -> None:
    report = add_command(
        subparsers,
        "report",
        _report,
        help="one self-contained HTML page from run folders; seeds and methods are pooled, "
        "other models stand side by side",
        example="factcensus report runs/seed-0 runs/seed-1 --out report.html",
    )
    report.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="a finished run folder")
    report.add_argument("--out", type=Path, required=True, metavar="FILE", help="the page, such as report.html")
    report.add_argument("--title", metavar="TEXT", help="the page's heading")
    report.add_argument(
        "--service", metavar="URL", help="a counting service to ask for passages of facts that resisted (default: none)"
    )
    report.add_argument("--index", metavar="NAME", help="its index (default: the one the runs were counted with)")
    _add_json(report)


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="the summary as one JSON object on stdout")


def _demo(arguments: argparse.Namespace) -> None:
    from factcensus.eval.demo import run_demo
    from factcensus.eval.report.printed import show_summary

    summary = run_demo(arguments.preset, arguments.out)
    show_summary(summary, arguments.out / "report.html", as_json=arguments.json)


def _report(arguments: argparse.Namespace) -> None:
    from factcensus.eval.report.beside import experiments, side_by_side
    from factcensus.eval.report.page import write_report
    from factcensus.eval.report.printed import show_summary
    from factcensus.eval.run_folder import read_run, with_passages

    found = experiments([read_run(folder) for folder in arguments.runs])
    run = found[0].run
    if arguments.service:
        run = with_passages(run, arguments.service, arguments.index)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    write_report(arguments.out, run, found[0].summary, title=arguments.title, beside=side_by_side(found))
    show_summary(dict(found[0].summary), arguments.out, as_json=arguments.json)
