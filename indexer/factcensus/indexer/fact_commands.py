"""The commands of fact tables: facts count, facts stratify."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from factcensus.indexer.arguments import add_scope_arguments, notice, open_index, positive, scope_of, window
from factcensus.indexer.cli import Subparsers, add_command
from factcensus.indexer.console import ConsoleProgress, print_table
from factcensus.indexer.errors import InputError


def add_facts_commands(group: Subparsers) -> None:
    count = add_command(
        group,
        "count",
        _facts_count,
        help="count every fact of a table: in an index, through a service, or in a corpus without an index",
        example="factcensus facts count facts.csv --index indexes/wiki --window 10 --out counts.parquet\n"
        "factcensus facts count facts.csv --url http://127.0.0.1:8080 --index wiki --out counts.parquet\n"
        "factcensus facts count facts.csv --scan corpus/ --window 10 --out counts.parquet",
    )
    count.add_argument("facts", type=Path, metavar="FACTS", help="CSV, JSON Lines or Parquet: subject, object, …")
    where = count.add_mutually_exclusive_group(required=True)
    where.add_argument("--index", metavar="INDEX", help="an index folder; with --url, an index's name in the service")
    where.add_argument(
        "--scan", nargs="+", metavar="SOURCE", help="read corpus files, folders or URLs once, without an index"
    )
    count.add_argument("--url", metavar="URL", help="ask the service there instead of opening a folder")
    count.add_argument(
        "--analyzer",
        help="with --scan, what a token is (default: words); else only for an index of infini-gram's that does not say",
    )
    count.add_argument(
        "--window", type=window, action="append", default=[], metavar="W",
        help="also count pairs with at most W tokens between; may be repeated",
    )  # fmt: skip
    count.add_argument("--out", required=True, type=Path, metavar="TABLE", help="a .parquet, .csv or .jsonl file")
    count.add_argument(
        "--jobs", type=positive, metavar="N", help="processes of a scan, threads in an index (default: all processors)"
    )
    add_scope_arguments(count)
    scan = count.add_argument_group("options of --scan")
    scan.add_argument("--text-field", metavar="FIELD", help="the field that holds the text (default: text)")
    scan.add_argument(
        "--on-bad-line", choices=["fail", "skip"], help="stop at a bad line (default), or count and skip it"
    )

    stratify = add_command(
        group,
        "stratify",
        _facts_stratify,
        help="bin facts by a count; equal counts never fall into different strata",
        example="factcensus facts stratify counts.parquet --by cooccurrence_documents --bins quantile:3 "
        "--out strata.parquet",
    )
    stratify.add_argument("counts", type=Path, metavar="COUNTS", help="a table of 'facts count'")
    stratify.add_argument("--by", default="cooccurrence_documents", metavar="COLUMN", help="default: %(default)s")
    stratify.add_argument(
        "--bins", default="quantile:3", help="quantile:K, log10 or edges:A,B,… (default: %(default)s)"
    )
    stratify.add_argument("--out", required=True, type=Path, metavar="TABLE", help="a .parquet, .csv or .jsonl file")


def _facts_count(arguments: argparse.Namespace) -> None:
    from factcensus.indexer.tables.facts import read_facts
    from factcensus.indexer.tables.files import format_of, write_table

    _check_options(arguments)
    format_of(arguments.out)
    facts = read_facts(arguments.facts)
    progress = ConsoleProgress()

    def report(done: int, total: int) -> None:
        progress("count", done, total, "B" if arguments.scan else "facts")

    if arguments.scan:
        counts = _scan(arguments, facts, report)
    elif arguments.url:
        counts = _remote_counter(arguments.url)(arguments.index, facts, arguments.window, report)
    else:
        counts = _count_in_index(arguments, facts, report)
    progress.close()
    write_table(counts, arguments.out)
    together = counts["cooccurrence_documents"].to_pylist()
    print(
        f"{arguments.out}: {len(together):,} facts counted, {sum(value > 0 for value in together):,} of them with "
        "subject and object in one document"
    )


#: Options that mean something only with --scan, and only with --index without --url.
_SCAN_OPTIONS = ("text_field", "on_bad_line")
_INDEX_OPTIONS = ("by", "no_duplicates", "upto_document", "tokens", "where", "deadline")


def _check_options(arguments: argparse.Namespace) -> None:
    if arguments.scan and arguments.url:
        raise InputError("--scan reads the corpus here, --url asks about an index elsewhere; give one of them")
    refused = {
        "goes with --scan only": () if arguments.scan else _SCAN_OPTIONS,
        "goes with an index folder only": _INDEX_OPTIONS if arguments.scan or arguments.url else (),
        "says how much of this machine to take; the service decides that itself": ("jobs",) if arguments.url else (),
    }
    for why, names in refused.items():
        for name in names:
            if getattr(arguments, name) not in (None, False):
                raise InputError(f"--{name.replace('_', '-')} {why}")


def _count_in_index(arguments: argparse.Namespace, facts: Any, report: Callable[[int, int], None]) -> Any:
    from factcensus.indexer.counting.limits import Limit

    arguments.index = Path(arguments.index)
    with open_index(arguments) as index, Limit(arguments.deadline) as limit:
        return index.count_facts(
            facts,
            windows=arguments.window,
            by=arguments.by,
            scope=scope_of(arguments),
            limit=limit,
            threads=arguments.jobs or os.cpu_count() or 1,
            progress=report,
        )


def _scan(arguments: argparse.Namespace, facts: Any, report: Callable[[int, int], None]) -> Any:
    from factcensus.indexer.scanning.scan import scan_facts

    given = {name: getattr(arguments, name) for name in ("jobs", *_SCAN_OPTIONS)}
    return scan_facts(
        arguments.scan,
        facts,
        analyzer=arguments.analyzer or "words",
        windows=arguments.window,
        progress=report,
        notice=notice,
        **{name: value for name, value in given.items() if value is not None},
    )


def _remote_counter(url: str) -> Callable[..., Any]:
    """The service's client, which the part that has it offers by entry point."""
    from importlib.metadata import entry_points

    (entry_point,) = entry_points(group="factcensus.remote", name="count_facts")

    def count(index: str, facts: Any, windows: list[int], progress: Callable[[int, int], None]) -> Any:
        return entry_point.load()(url, index, facts, windows=windows, progress=progress)

    return count


def _facts_stratify(arguments: argparse.Namespace) -> None:
    from factcensus.indexer.tables.facts import read_facts
    from factcensus.indexer.tables.files import format_of, write_table
    from factcensus.indexer.tables.strata import stratify

    format_of(arguments.out)
    strata = stratify(read_facts(arguments.counts), arguments.by, arguments.bins)
    write_table(strata, arguments.out)
    sizes = strata.group_by(["stratum", "stratum_label"]).aggregate([([], "count_all")]).sort_by("stratum").to_pylist()
    print_table(
        [[row["stratum"], row["stratum_label"], row["count_all"]] for row in sizes],
        ["stratum", arguments.by, "facts"],
    )
