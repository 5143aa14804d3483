"""The commands of the index: build, add, info, verify, list, count, cooc, facts count, facts stratify."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from factcensus.indexer.cli import Subparsers, add_command, add_group
from factcensus.indexer.console import ConsoleProgress, parse_size, print_json, print_table, size_text
from factcensus.indexer.errors import InputError
from factcensus.indexer.ngram_commands import add_ngram_commands

if TYPE_CHECKING:
    from factcensus.indexer.index import CountIndex


def add_commands(subparsers: Subparsers) -> None:
    """Add the index's commands to the root command."""
    _add_index_commands(add_group(subparsers, "index", "build, extend, describe and verify indexes"))
    count = add_command(
        subparsers,
        "count",
        _count,
        help="count a text: its occurrences, and the documents that have it",
        example='factcensus count indexes/wiki "capital of France" --json',
    )
    _add_query_arguments(count)
    count.add_argument("text", metavar="TEXT", help="analysed like the corpus; occurrences may overlap")

    cooc = add_command(
        subparsers,
        "cooc",
        _cooc,
        help="count the documents in which two entities occur together",
        example="factcensus cooc indexes/wiki --subject France --object Paris --object-alias Lutetia --window 10",
    )
    _add_query_arguments(cooc)
    for role in ("subject", "object"):
        cooc.add_argument(f"--{role}", required=True, metavar="NAME", help=f"the {role}'s name")
        cooc.add_argument(
            f"--{role}-alias", action="append", default=[], metavar="ALIAS", help="another name of it; may be repeated"
        )
    cooc.add_argument("--window", type=_window, metavar="W", help="at most W tokens strictly between the two mentions")
    _add_facts_commands(add_group(subparsers, "facts", "count and stratify tables of facts"))
    add_ngram_commands(subparsers)


def _add_index_commands(group: Subparsers) -> None:
    build = add_command(
        group,
        "build",
        _build,
        help="build an index of JSON Lines (.gz, .zst) and Parquet shards; an interrupted build continues",
        example="factcensus index build corpus/ --out indexes/wiki --jobs 4 --memory 8GiB",
    )
    build.add_argument("sources", nargs="+", metavar="SOURCE", help="a file, a folder, or a URL that fsspec opens")
    build.add_argument("--out", required=True, type=Path, metavar="INDEX", help="the new index folder")
    build.add_argument(
        "--analyzer",
        default="words",
        help="words (default), words-cased, bytes, or hf:PATH_OR_NAME of a tokenizer",
    )
    _add_build_arguments(build)

    add = add_command(
        group,
        "add",
        _add,
        help="add documents to an index, as new shards",
        example="factcensus index add indexes/wiki corpus/2026-11.jsonl.zst",
    )
    add.add_argument("index", type=Path, metavar="INDEX", help="an index folder")
    add.add_argument("sources", nargs="+", metavar="SOURCE", help="a file, a folder, or a URL that fsspec opens")
    _add_build_arguments(add)

    info = add_command(
        group,
        "info",
        _info,
        help="show what an index is: tokens, documents, sources, size",
        example="factcensus index info indexes/wiki --json",
    )
    _add_index_argument(info)

    verify = add_command(
        group,
        "verify",
        _verify,
        help="check every size, checksum and the order of an index; exit 3 and the file's name if one is wrong",
        example="factcensus index verify indexes/wiki",
    )
    verify.add_argument("index", type=Path, metavar="INDEX", help="an index folder")
    verify.add_argument("--json", action="store_true", help="print one JSON object")

    listing = add_command(
        group, "list", _list, help="list the indexes in a folder", example="factcensus index list indexes/"
    )
    listing.add_argument("folder", type=Path, metavar="DIR", help="a folder that holds index folders")
    listing.add_argument("--json", action="store_true", help="print one JSON object")


def _add_facts_commands(group: Subparsers) -> None:
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
        "--window", type=_window, action="append", default=[], metavar="W",
        help="also count pairs with at most W tokens between; may be repeated",
    )  # fmt: skip
    count.add_argument("--out", required=True, type=Path, metavar="TABLE", help="a .parquet, .csv or .jsonl file")
    scan = count.add_argument_group("options of --scan")
    scan.add_argument("--jobs", type=_positive, metavar="N", help="processes, a file each (default: all processors)")
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


def _add_build_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--jobs", type=_positive, metavar="N", help="processes and threads (default: all processors)")
    parser.add_argument("--memory", default="8GiB", metavar="SIZE", help="memory for sorting a shard (default: 8GiB)")
    parser.add_argument("--text-field", default="text", metavar="FIELD", help="the field that holds the text")
    parser.add_argument(
        "--on-bad-line", choices=["fail", "skip"], default="fail", help="stop at a bad line, or count and skip it"
    )


def _add_index_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("index", type=Path, metavar="INDEX", help="an index folder")
    parser.add_argument("--analyzer", help="only for an index of infini-gram's that does not say it")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def _add_query_arguments(parser: argparse.ArgumentParser) -> None:
    _add_index_argument(parser)
    parser.add_argument("--by", choices=["source"], help="also show the numbers of each source")


def _window(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no number of tokens (0 or more)")
    return int(text)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 on")
    return int(text)


# --- what they do -----------------------------------------------------------------------------------------------------


def _notice(message: str) -> None:
    print(f"factcensus: {message}", file=sys.stderr)


def _build(arguments: argparse.Namespace) -> None:
    from factcensus.indexer.build import build_index

    _run_build(arguments, arguments.out, build_index, analyzer=arguments.analyzer, out=arguments.out)


def _add(arguments: argparse.Namespace) -> None:
    from factcensus.indexer.build import add_to_index

    _run_build(arguments, arguments.index, add_to_index, index=arguments.index)


def _run_build(arguments: argparse.Namespace, folder: Path, build: Callable[..., Any], **specific: Any) -> None:
    progress = ConsoleProgress()
    manifest = build(
        sources=arguments.sources,
        jobs=arguments.jobs,
        memory_bytes=parse_size(arguments.memory),
        text_field=arguments.text_field,
        on_bad_line=arguments.on_bad_line,
        progress=progress,
        notice=_notice,
        **specific,
    )
    progress.close()
    skipped = f", {manifest.skipped_lines:,} bad lines skipped" if manifest.skipped_lines else ""
    print(
        f"{folder}: {manifest.documents:,} documents, {manifest.tokens:,} tokens, {len(manifest.shards)} shards, "
        f"{size_text(sum(file.bytes for file in manifest.files.values()))}{skipped}"
    )


def _open(arguments: argparse.Namespace) -> CountIndex:
    from factcensus.indexer.index import CountIndex

    return CountIndex.open(arguments.index, analyzer=arguments.analyzer)


def _info(arguments: argparse.Namespace) -> None:
    with _open(arguments) as index:
        info = index.info()
    if arguments.json:
        print_json(info)
        return
    sources = info.pop("sources") or {}
    for key, value in info.items():
        if value is not None:
            print(f"{key.replace('_', ' '):<20} {f'{value:,}' if isinstance(value, int) else value}")
    if sources:
        print()
        print_table(
            [[name, c["documents"], c["tokens"]] for name, c in sources.items()], ["source", "documents", "tokens"]
        )


def _verify(arguments: argparse.Namespace) -> None:
    from factcensus.indexer.verify import verify_index

    progress = ConsoleProgress()
    checked = verify_index(arguments.index, progress=lambda done, total: progress("verify", done, total, "B"))
    progress.close()
    if arguments.json:
        print_json({"index": str(arguments.index), "intact": True, **checked})
    else:
        print(
            f"{arguments.index} is intact: {checked['files']} files, {size_text(checked['bytes'])}, "
            f"{checked['rows_compared']:,} neighbouring suffixes in order"
        )


def _list(arguments: argparse.Namespace) -> None:
    from factcensus.indexer.errors import IndexerError
    from factcensus.indexer.index import CountIndex

    if not arguments.folder.is_dir():
        raise InputError(f"no folder at {arguments.folder}")
    rows = []
    for folder in sorted(path for path in arguments.folder.iterdir() if path.is_dir()):
        if not (folder / "manifest.json").exists():
            continue
        try:
            with CountIndex.open(folder) as index:
                info = index.info()
                rows.append({key: info[key] for key in ("name", "analyzer", "documents", "tokens", "bytes", "digest")})
        except IndexerError as error:
            _notice(str(error))
    if arguments.json:
        print_json({"indexes": rows})
    elif rows:
        print_table([list(row.values())[:-1] for row in rows], [*rows[0]][:-1])
    else:
        print(f"no indexes in {arguments.folder}")


def _count(arguments: argparse.Namespace) -> None:
    with _open(arguments) as index:
        answer = index.count(arguments.text, by=arguments.by)
    if arguments.json:
        print_json(answer)
        return
    print(f"{' '.join(answer['tokens'])!r} in {answer['index']} ({answer['analyzer']}, exact)")
    parts = {"all": answer, **answer.get("by_source", {})}
    print_table(
        [[name, part["occurrences"], part["documents"]] for name, part in parts.items()],
        ["source", "occurrences", "documents"],
    )


def _cooc(arguments: argparse.Namespace) -> None:
    from factcensus.indexer.records import Entity

    subject = Entity(arguments.subject, tuple(arguments.subject_alias))
    object = Entity(arguments.object, tuple(arguments.object_alias))
    with _open(arguments) as index:
        answer = index.cooccurrence(subject, object, window=arguments.window, by=arguments.by)
    if arguments.json:
        print_json(answer)
        return
    where = "in one document" if arguments.window is None else f"at most {arguments.window} tokens apart"
    print(f"{subject.name} and {object.name} {where}, in {answer['index']} ({answer['analyzer']}, exact)")
    parts = {"all": answer, **answer.get("by_source", {})}
    print_table(
        [
            [
                name,
                part["subject"]["documents"],
                part["object"]["documents"],
                part["cooccurrence"]["documents"],
                part["cooccurrence"]["pairs"],
            ]
            for name, part in parts.items()
        ],
        ["source", f"documents with {subject.name}", f"with {object.name}", "with both", "pairs"],
    )


def _facts_count(arguments: argparse.Namespace) -> None:
    from factcensus.indexer.facts import read_facts
    from factcensus.indexer.tables import format_of, write_table

    _check_scan_options(arguments)
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
        arguments.index = Path(arguments.index)
        with _open(arguments) as index:
            counts = index.count_facts(facts, windows=arguments.window, progress=report)
    progress.close()
    write_table(counts, arguments.out)
    together = counts["cooccurrence_documents"].to_pylist()
    print(
        f"{arguments.out}: {len(together):,} facts counted, {sum(value > 0 for value in together):,} of them with "
        "subject and object in one document"
    )


#: Options of 'facts count' that mean something only with --scan.
_SCAN_OPTIONS = ("jobs", "text_field", "on_bad_line")


def _check_scan_options(arguments: argparse.Namespace) -> None:
    given = [f"--{name.replace('_', '-')}" for name in _SCAN_OPTIONS if getattr(arguments, name) is not None]
    if given and not arguments.scan:
        raise InputError(f"{given[0]} goes with --scan only")
    if arguments.scan and arguments.url:
        raise InputError("--scan reads the corpus here, --url asks about an index elsewhere; give one of them")


def _scan(arguments: argparse.Namespace, facts: Any, report: Callable[[int, int], None]) -> Any:
    from factcensus.indexer.scan import scan_facts

    given = {name: getattr(arguments, name) for name in _SCAN_OPTIONS}
    return scan_facts(
        arguments.scan,
        facts,
        analyzer=arguments.analyzer or "words",
        windows=arguments.window,
        progress=report,
        notice=_notice,
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
    from factcensus.indexer.facts import read_facts
    from factcensus.indexer.strata import stratify
    from factcensus.indexer.tables import format_of, write_table

    format_of(arguments.out)
    strata = stratify(read_facts(arguments.counts), arguments.by, arguments.bins)
    write_table(strata, arguments.out)
    sizes = strata.group_by(["stratum", "stratum_label"]).aggregate([([], "count_all")]).sort_by("stratum").to_pylist()
    print_table(
        [[row["stratum"], row["stratum_label"], row["count_all"]] for row in sizes],
        ["stratum", arguments.by, "facts"],
    )
