"""The commands ``demo``, ``report``, ``reproduce`` and ``eval``. Results go to stdout, progress to stderr."""

from __future__ import annotations

from pathlib import Path

import click

from factcensus.eval.audit_commands import audit
from factcensus.eval.measure_commands import metrics, run
from factcensus.eval.reproduce.commands import reproduce
from factcensus.eval.result_commands import check, import_results
from factcensus.indexer.cli.command import argument, command, group, option
from factcensus.indexer.cli.options import OUTPUT_FILE, OUTPUT_FOLDER, PATH, Choice, json_option


def add_commands(root: click.Group) -> None:
    """Add the commands of this part to the root command."""
    root.add_command(report)
    root.add_command(demo)
    root.add_command(reproduce)
    root.add_command(
        group("eval", "Ask models about facts and measure the answers.", [run, audit, metrics, check, import_results])
    )


@command("demo", example="factcensus demo --preset smoke --out demo")
@option(
    "--preset",
    type=Choice(["smoke", "demo", "gpu"]),
    default="demo",
    help="smoke (about a minute, one seed), demo (minutes on two CPU cores, two seeds) or gpu (needs a GPU)",
)
@option("--out", type=OUTPUT_FOLDER, default=Path("demo"), metavar="DIR", help="the run folder")
@json_option
def demo(preset: str, out: Path, as_json: bool) -> None:
    """Run the whole study on a small world, from index to report.

    Builds a world, its index and service, trains and unlearns models, evaluates them and writes the report. The same
    command continues an interrupted demo.
    """
    from factcensus.eval.demo import run_demo
    from factcensus.eval.report.printed import show_summary

    summary = run_demo(preset, out)
    show_summary(summary, out / "report.html", as_json=as_json)


@command(
    "report",
    needs={"index": "service"},
    example="factcensus report runs/seed-0 runs/seed-1 --out report.html",
)
@argument("runs", nargs=-1, required=True, type=PATH, metavar="RUN...", help="a finished run folder")
@option("--out", type=OUTPUT_FILE, required=True, metavar="FILE", help="the page, such as report.html")
@option("--title", metavar="TEXT", help="heading of the page")
@option(
    "--service", metavar="URL", help="a counting service that returns passages about facts that resisted unlearning"
)
@option(
    "--index",
    metavar="NAME",
    default_text="the index that the runs were counted with",
    help="with --service, the name of the index in that service",
)
@json_option
def report(
    runs: tuple[Path, ...], out: Path, title: str | None, service: str | None, index: str | None, as_json: bool
) -> None:
    """Write one self-contained HTML page about run folders.

    Seeds and methods are pooled. Runs of other models are shown side by side.
    """
    from factcensus.eval.report.page import write_report
    from factcensus.eval.report.printed import show_summary
    from factcensus.eval.report.side_by_side import experiments, side_by_side
    from factcensus.eval.runs import read_run, with_passages
    from factcensus.indexer.errors import InputError

    if out.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"--out {out}: the page is HTML; give a name that ends in .html")
    found = experiments([read_run(folder) for folder in runs])
    run = found[0].run
    if service:
        run = with_passages(run, service, index)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_report(out, run, found[0].summary, title=title, first=[side_by_side(found)])
    show_summary(dict(found[0].summary), out, as_json=as_json)
