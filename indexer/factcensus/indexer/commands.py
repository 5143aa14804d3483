"""The commands of the index: build, add, delete, compact, info, verify, list, count, cooc; and all groups of them."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from factcensus.indexer.arguments import (
    add_index_argument,
    add_machine_arguments,
    add_scope_arguments,
    notice,
    open_index,
    scope_of,
    window,
)
from factcensus.indexer.cli import Subparsers, add_command, add_group
from factcensus.indexer.console import ConsoleProgress, parse_size, print_json, print_table, size_text
from factcensus.indexer.counting.limits import Limit
from factcensus.indexer.errors import InputError
from factcensus.indexer.fact_commands import add_facts_commands
from factcensus.indexer.ngram_commands import add_ngram_commands

if TYPE_CHECKING:
    from factcensus.indexer.storage.manifest import Manifest


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
    cooc.add_argument("--window", type=window, metavar="W", help="at most W tokens strictly between the two mentions")
    add_facts_commands(add_group(subparsers, "facts", "count and stratify tables of facts"))
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

    delete = add_command(
        group,
        "delete",
        _delete,
        help="delete documents, so that no count takes notice of them; 'compact' then removes them from the files",
        example="factcensus index delete indexes/wiki --id wiki-12 --id wiki-13\n"
        "factcensus index delete indexes/wiki --where \"metadata ->> '$.url' LIKE 'https://example.org/%'\"",
    )
    delete.add_argument("index", type=Path, metavar="INDEX", help="an index folder")
    delete.add_argument("--id", action="append", default=[], metavar="ID", help="a document's id; may be repeated")
    delete.add_argument("--ids", type=Path, metavar="FILE", help="a file with an id a line")
    delete.add_argument("--where", metavar="SQL", help="a condition over the document table")

    compact = add_command(
        group,
        "compact",
        _compact,
        help="make an index anew without deleted documents, in as few shards as the memory allows",
        example="factcensus index compact indexes/wiki",
    )
    compact.add_argument("index", type=Path, metavar="INDEX", help="an index folder")
    compact.add_argument("--out", type=Path, metavar="INDEX", help="a new folder for the result (default: replace it)")
    add_machine_arguments(compact)

    info = add_command(
        group,
        "info",
        _info,
        help="show what an index is: tokens, documents, sources, size",
        example="factcensus index info indexes/wiki --json",
    )
    add_index_argument(info)

    verify = add_command(
        group,
        "verify",
        _verify,
        help="check every size, checksum and the order of an index; exit 3 and the file's name if one is wrong",
        example="factcensus index verify indexes/wiki",
    )
    verify.add_argument("index", type=Path, metavar="INDEX", help="an index folder")
    verify.add_argument("--full", action="store_true", help="compare all neighbouring suffixes, not a sample")
    verify.add_argument("--json", action="store_true", help="print one JSON object")

    listing = add_command(
        group, "list", _list, help="list the indexes in a folder", example="factcensus index list indexes/"
    )
    listing.add_argument("folder", type=Path, metavar="DIR", help="a folder that holds index folders")
    listing.add_argument("--json", action="store_true", help="print one JSON object")


def _add_build_arguments(parser: argparse.ArgumentParser) -> None:
    add_machine_arguments(parser)
    parser.add_argument("--text-field", default="text", metavar="FIELD", help="the field that holds the text")
    parser.add_argument(
        "--on-bad-line", choices=["fail", "skip"], default="fail", help="stop at a bad line, or count and skip it"
    )


def _add_query_arguments(parser: argparse.ArgumentParser) -> None:
    add_index_argument(parser)
    add_scope_arguments(parser)


# --- what they do -----------------------------------------------------------------------------------------------------


def _build(arguments: argparse.Namespace) -> None:
    from factcensus.indexer.building.build import build_index

    _run_build(arguments, arguments.out, build_index, analyzer=arguments.analyzer, out=arguments.out)


def _add(arguments: argparse.Namespace) -> None:
    from factcensus.indexer.building.build import add_to_index

    _run_build(arguments, arguments.index, add_to_index, index=arguments.index)


def _run_build(arguments: argparse.Namespace, folder: Path, build: Callable[..., Any], **specific: Any) -> None:
    progress = ConsoleProgress()
    manifest = build(
        sources=arguments.sources,
        jobs=arguments.jobs,
        memory_bytes=parse_size(arguments.memory),
        text_field=arguments.text_field,
        on_bad_line=arguments.on_bad_line,
        device=arguments.device,
        progress=progress,
        notice=notice,
        **specific,
    )
    progress.close()
    _print_built(folder, manifest)


def _print_built(folder: Path, manifest: Manifest) -> None:
    skipped = f", {manifest.skipped_lines:,} bad lines skipped" if manifest.skipped_lines else ""
    print(
        f"{folder}: {manifest.documents:,} documents, {manifest.tokens:,} tokens, {len(manifest.shards)} shards, "
        f"{size_text(sum(file.bytes for file in manifest.files.values()))}{skipped}"
    )


def _delete(arguments: argparse.Namespace) -> None:
    from factcensus.indexer.storage.maintain import delete_documents

    ids = list(arguments.id)
    if arguments.ids:
        if not arguments.ids.is_file():
            raise InputError(f"no file of ids at {arguments.ids}")
        try:
            ids += [line for line in arguments.ids.read_text(encoding="utf-8-sig").splitlines() if line]
        except UnicodeDecodeError as error:
            raise InputError(f"{arguments.ids} is no file of ids, one a line in UTF-8 ({error})") from error
    progress = ConsoleProgress()
    manifest, count = delete_documents(
        arguments.index,
        ids=ids,
        where=arguments.where,
        progress=lambda done, total: progress("count frequent", done, total, "shards"),
    )
    progress.close()
    print(f"{arguments.index}: {count:,} documents deleted, {manifest.documents:,} left")


def _compact(arguments: argparse.Namespace) -> None:
    from factcensus.indexer.building.build import compact_index

    progress = ConsoleProgress()
    manifest = compact_index(
        arguments.index,
        arguments.out,
        jobs=arguments.jobs,
        memory_bytes=parse_size(arguments.memory),
        device=arguments.device,
        progress=progress,
    )
    progress.close()
    _print_built(arguments.out or arguments.index, manifest)


def _info(arguments: argparse.Namespace) -> None:
    with open_index(arguments) as index:
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
    from factcensus.indexer.storage.verify import verify_index

    progress = ConsoleProgress()
    checked = verify_index(
        arguments.index, full=arguments.full, progress=lambda done, total: progress("verify", done, total, "B")
    )
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
        except (IndexerError, OSError) as error:  # the others are shown all the same
            notice(str(error))
    if arguments.json:
        print_json({"indexes": rows})
    elif rows:
        print_table([list(row.values())[:-1] for row in rows], [*rows[0]][:-1])
    else:
        print(f"no indexes in {arguments.folder}")


def _count(arguments: argparse.Namespace) -> None:
    with open_index(arguments) as index, Limit(arguments.deadline) as limit:
        answer = index.count(arguments.text, by=arguments.by, scope=scope_of(arguments), limit=limit)
    if arguments.json:
        print_json(answer)
        return
    print(f"{' '.join(answer['tokens'])!r} in {answer['index']} ({answer['analyzer']}, exact)")
    parts = {"all": answer, **answer.get(f"by_{arguments.by}", {})}
    print_table(
        [[name, part["occurrences"], part["documents"]] for name, part in parts.items()],
        [arguments.by or "source", "occurrences", "documents"],
    )


def _cooc(arguments: argparse.Namespace) -> None:
    from factcensus.indexer.records import Entity

    subject = Entity(arguments.subject, tuple(arguments.subject_alias))
    object = Entity(arguments.object, tuple(arguments.object_alias))
    with open_index(arguments) as index, Limit(arguments.deadline) as limit:
        answer = index.cooccurrence(
            subject, object, window=arguments.window, by=arguments.by, scope=scope_of(arguments), limit=limit
        )
    if arguments.json:
        print_json(answer)
        return
    where = "in one document" if arguments.window is None else f"at most {arguments.window} tokens apart"
    print(f"{subject.name} and {object.name} {where}, in {answer['index']} ({answer['analyzer']}, exact)")
    parts = {"all": answer, **answer.get(f"by_{arguments.by}", {})}
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
        [arguments.by or "source", f"documents with {subject.name}", f"with {object.name}", "with both", "pairs"],
    )
