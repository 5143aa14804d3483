"""The commands for fact tables: facts count, facts stratify."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from factcensus.indexer.cli.chosen_index import IndexChoice, index_options
from factcensus.indexer.cli.command import argument, command, option
from factcensus.indexer.cli.options import (
    OUTPUT_TABLE,
    PLACE,
    Choice,
    ScopeChoice,
    Whole,
    columns_option,
    complete_path,
    notice,
    scope_options,
)
from factcensus.indexer.cli.work import WorkChoice, work_options
from factcensus.indexer.errors import EmptyQueryError, InputError
from factcensus.indexer.numbers import counted
from factcensus.indexer.system.console import print_table
from factcensus.indexer.system.places import is_url
from factcensus.indexer.system.progress import ConsoleProgress

if TYPE_CHECKING:
    from factcensus.indexer.system.places import Place

Report = Callable[[int, int], None]
SCAN = "options of --scan"


@command(
    "count",
    one_of=[("index", "scan")],
    example="factcensus facts count facts.csv --index indexes/wiki --window 10 --out counts.parquet\n"
    "factcensus facts count facts.csv --url http://127.0.0.1:8080 --index wiki --out counts.parquet\n"
    "factcensus facts count facts.csv --scan corpus/ --window 10 --out counts.parquet\n"
    "factcensus facts count facts.csv --scan s3://corpora/dolma --work s3://mine/w --part 3/64 --out counts.parquet\n"
    "factcensus facts count facts.csv --index s3://bucket/index --analyzer hf:llama.json --dry-run --out c.parquet",
)
@argument("facts", type=PLACE, metavar="FACTS", help="a .csv, .jsonl or .parquet table with subject and object")
@option(
    "--index",
    shell_complete=complete_path,
    metavar="INDEX",
    help="an index folder or URL; with --url, the name of an index of the service",
)
@option(
    "--scan",
    several=True,
    shell_complete=complete_path,
    metavar="SOURCE...",
    help="read corpus files, folders or URLs once, without an index",
)
@option("--url", metavar="URL", help="count through the service at this address instead of opening a folder")
@option(
    "--analyzer",
    metavar="ANALYZER",
    help="with --scan, the analyzer of facts and corpus (default: words); otherwise only needed for an index that "
    "was built by infini-gram and does not name its analyzer",
)
@option(
    "--window",
    "windows",
    type=Whole(0),
    multiple=True,
    metavar="W",
    help="also count pairs with at most W tokens strictly between the mentions; may be repeated",
)
@columns_option
@option("--out", required=True, type=OUTPUT_TABLE, metavar="TABLE", help="the new table: .parquet, .csv or .jsonl")
@option(
    "--dry-run",
    is_flag=True,
    help="for an index at a URL, only print the expected requests, bytes, cost and time",
)
@index_options
@option(
    "--jobs",
    type=Whole(1),
    metavar="N",
    default_text="all processors",
    help="number of processes of a scan, or of threads that count in an index",
)
@scope_options()
@work_options
@option("--text-field", metavar="FIELD", heading=SCAN, default_text="text", help="field that holds the text")
@option(
    "--on-bad-line",
    type=Choice(["fail", "skip"]),
    heading=SCAN,
    default_text="fail",
    help="stop at a bad line, or count and skip it",
)
@click.pass_context
def count(
    ctx: click.Context,
    /,
    facts: Place,
    columns: dict[str, str],
    out: Place,
    url: str | None,
    work: WorkChoice,
    **given: Any,
) -> None:
    """Count every fact of a table: in an index, through a service, or in a corpus without an index."""
    from factcensus.indexer.tables.added import countable
    from factcensus.indexer.tables.facts import read_facts
    from factcensus.indexer.tables.files import check_output, check_writable, write_table
    from factcensus.indexer.tables.remarks import unmatched_commas

    _check_options(ctx)
    index = [] if url or given["index"] is None or is_url(given["index"]) else [given["index"]]
    check_output(out, [facts, *given["scan"], *index])
    table = countable(read_facts(facts, columns=columns, notice=notice), given["scope"].by)
    check_writable(table, out)
    if work.work is not None:
        _scan_shared(table, work, out, given)
        return
    if given["dry_run"]:
        _print_estimate(table, given)
        return
    unit = "B" if given["scan"] else "facts"
    with ConsoleProgress() as progress:

        def report(done: int, total: int) -> None:
            progress("count", done, total, unit)

        if given["scan"]:
            counts = _scan(table, report, **given)
            hint = unmatched_commas(counts)
        elif url:
            counts = _remote_counter(url)(given["index"], table, list(given["windows"]), report)
            hint = unmatched_commas(counts)
        else:
            counts, hint = _count_in_index(table, report, **given)
    write_table(counts, out)
    if hint is not None:
        notice(hint)
    together = counts["cooccurrence_documents"].to_pylist()
    print(
        f"{out}: {counted(len(together), 'fact')} counted, {sum(value > 0 for value in together):,} of them with "
        "subject and object in one document"
    )


#: Options that apply only to --scan, and options that apply only to --index without --url.
_SCAN_OPTIONS = ("text_field", "on_bad_line", "work")
_INDEX_OPTIONS = (
    "no_duplicates",
    "upto_document",
    "tokens",
    "where",
    "deadline",
    "dry_run",
    "also",
    "requester_pays",
    "anonymous",
    "most_requests",
)


def _check_options(ctx: click.Context) -> None:
    from factcensus.indexer.counting.steps import steps_of

    given = {name for name in ctx.params if ctx.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE}
    if ctx.params["index"] == "" or "" in ctx.params["scan"]:
        raise InputError("--index or --scan is empty; give a path or a name")
    if {"scan", "url"} <= given:
        raise InputError(
            "--scan reads a corpus on this machine and --url uses an index of a service; give only one of them"
        )
    of_index: tuple[str, ...] = _INDEX_OPTIONS
    if "url" in given or steps_of(ctx.params["by"]) is None:
        of_index += ("by", "order")
    refused = {
        "can only be used with --scan": () if "scan" in given else _SCAN_OPTIONS,
        "can only be used with an index folder": of_index if given & {"scan", "url"} else (),
        "sets the number of processes on this machine and cannot be used with --url": ("jobs",)
        if "url" in given
        else (),
        "has no effect with --url, because the service knows the analyzer of its index; leave it out": ("analyzer",)
        if "url" in given
        else (),
    }
    for why, names in refused.items():
        for name in names:
            if name in given:
                raise InputError(f"--{name.replace('_', '-')} {why}")


def _chosen(given: dict[str, Any]) -> IndexChoice:
    from factcensus.indexer.system.places import Place

    names = ("analyzer", "also", "requester_pays", "anonymous", "most_requests")
    return IndexChoice(Place.of(given["index"]), **{name: given[name] for name in names})


def _print_estimate(facts: Any, given: dict[str, Any]) -> None:
    """Print the estimated cost of counting a table in an index at a URL.

    Raises:
        InputError: The index is a local folder, or a query would need more requests than --most-requests.
    """
    with _chosen(given).open() as opened:
        estimate = opened.estimate(facts)
    if estimate is None:
        raise InputError("--dry-run estimates the reads of an index at a URL; a local index needs no estimate")
    print_table([[name, value] for name, value in estimate.rows()], ["expected", ""])
    estimate.check(given["most_requests"])


def _count_in_index(
    facts: Any,
    report: Report,
    *,
    windows: tuple[int, ...],
    scope: ScopeChoice,
    jobs: int | None,
    **given: Any,
) -> tuple[Any, str | None]:
    from factcensus.indexer.tables.remarks import unmatched_commas

    with _chosen(given).open() as opened, scope.timed() as deadline:
        if (estimate := opened.estimate(facts)) is not None:
            notice(f"about {estimate}")
            estimate.check(given["most_requests"])
        counts = scope.ordered(opened).count_facts(
            facts,
            windows=list(windows),
            by=scope.by,
            scope=scope.scope(),
            deadline=deadline,
            threads=jobs or os.cpu_count() or 1,
            progress=report,
        )

        def occurs(text: str) -> bool:
            try:
                return bool(opened.count(text).occurrences)
            except EmptyQueryError:
                return False

        # In an index at a URL, each of these texts would be another query.
        return counts, unmatched_commas(counts, occurs if estimate is None else None)


def _scan(facts: Any, report: Report, *, scan: tuple[str, ...], scope: ScopeChoice, **given: Any) -> Any:
    from factcensus.indexer.counting.scan import scan_facts
    from factcensus.indexer.tables.orders import read_order

    return scan_facts(
        list(scan),
        facts,
        analyzer=given["analyzer"] or "words",
        windows=list(given["windows"]),
        jobs=given["jobs"],
        text_field=given["text_field"] or "text",
        on_bad_line=given["on_bad_line"] or "fail",
        by=scope.by,
        order=None if scope.order is None else read_order(scope.order),
        progress=report,
        notice=notice,
    )


def _scan_shared(facts: Any, work: WorkChoice, out: Place, given: dict[str, Any]) -> None:
    from factcensus.indexer.counting.scanner import ScanSettings
    from factcensus.indexer.tables.files import read_table
    from factcensus.indexer.work import Run
    from factcensus.indexer.work.scan import scan_shared

    assert work.work is not None
    settings = ScanSettings(
        given["analyzer"] or "words",
        given["windows"],
        given["text_field"] or "text",
        given["on_bad_line"] or "fail",
        given["scope"].by,
    )
    order = given["scope"].order
    with ConsoleProgress() as progress:
        told = scan_shared(
            list(given["scan"]),
            facts,
            work=work.work,
            out=out,
            runner=work.runner(given["jobs"] or os.cpu_count() or 1),
            settings=settings,
            order=None if order is None else read_table(order),
            run=Run(progress, notice),
        )
    print(told)


def _remote_counter(url: str) -> Callable[..., Any]:
    """Return the function that counts through a service; the part ``api`` registers it as an entry point."""
    from importlib.metadata import entry_points

    (entry_point,) = entry_points(group="factcensus.remote", name="count_facts")

    def count(index: str, facts: Any, windows: list[int], progress: Report) -> Any:
        return entry_point.load()(url, index, facts, windows=windows, progress=progress)

    return count


@command(
    "stratify",
    example="factcensus facts stratify counts.parquet --by cooccurrence_documents --bins quantile:3 "
    "--out strata.parquet",
)
@argument("counts", type=PLACE, metavar="COUNTS", help="a table that 'factcensus facts count' wrote")
@option(
    "--by",
    default="cooccurrence_documents",
    metavar="COLUMN",
    help="column of counts by which facts are stratified, or COLUMN@GROUP for one group of a table counted with --by",
)
@option("--bins", default="quantile:3", metavar="BINS", help="quantile:K, log10 or edges:A,B,…")
@columns_option
@option("--out", required=True, type=OUTPUT_TABLE, metavar="TABLE", help="the new table: .parquet, .csv or .jsonl")
def stratify(counts: Place, by: str, bins: str, columns: dict[str, str], out: Place) -> None:
    """Bin facts by a count. Equal counts never fall into different strata."""
    from factcensus.indexer.tables.facts import read_facts
    from factcensus.indexer.tables.files import check_output, write_table
    from factcensus.indexer.tables.strata import stratify

    check_output(out, [counts])
    strata = stratify(read_facts(counts, columns=columns, notice=notice), by, bins)
    write_table(strata, out)
    kind, _, wanted = bins.partition(":")
    made = len(strata["stratum"].unique())
    if kind == "quantile" and made < int(wanted):
        notice(
            f"{counted(made, 'stratum', 'strata')} instead of {int(wanted)}: equal counts stay in one stratum, and too "
            "many facts are tied"
        )
    sizes = strata.group_by(["stratum", "stratum_label"]).aggregate([([], "count_all")]).sort_by("stratum").to_pylist()
    print_table(
        [[row["stratum"], row["stratum_label"], row["count_all"]] for row in sizes],
        ["stratum", by, "facts"],
    )
