"""The commands of an index: build, add, delete, compact, info, verify, list."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from factcensus.indexer.cli.command import Function, argument, command, group, option
from factcensus.indexer.cli.options import (
    PATH,
    Choice,
    IndexChoice,
    index_argument,
    json_option,
    machine_options,
    notice,
)
from factcensus.indexer.errors import InputError
from factcensus.indexer.system.console import ConsoleProgress, print_json, print_table, size_text

if TYPE_CHECKING:
    from factcensus.indexer.storage.manifest import Manifest

sources_argument = argument(
    "sources", nargs=-1, required=True, metavar="SOURCE...", help="a file, a folder, or a URL that fsspec opens"
)
folder_argument = argument("index", type=PATH, metavar="INDEX", help="an index folder")


def _reading_options(function: Function) -> Function:
    """Add the options for how a corpus is read."""
    bad_line = option(
        "--on-bad-line", type=Choice(["fail", "skip"]), default="fail", help="stop at a bad line, or count and skip it"
    )
    return option("--text-field", default="text", metavar="FIELD", help="field that holds the text")(bad_line(function))


@command("build", example="factcensus index build corpus/ --out indexes/wiki --jobs 4 --memory 8GiB")
@sources_argument
@option("--out", required=True, type=PATH, metavar="INDEX", help="the new index folder")
@option(
    "--analyzer",
    default="words",
    metavar="ANALYZER",
    help="words, words-cased, bytes, or hf:PATH_OR_NAME of a tokenizer",
)
@machine_options
@_reading_options
def build(sources: tuple[str, ...], out: Path, **options: Any) -> None:
    """Build an index from JSON Lines (plain, .gz or .zst) and Parquet files.

    The same command continues an interrupted build.
    """
    from factcensus.indexer.building.build import build_index

    progress = ConsoleProgress()
    manifest = build_index(sources, out, progress=progress, notice=notice, **options)
    progress.close()
    _print_built(out, manifest)


@command("add", example="factcensus index add indexes/wiki corpus/2026-11.jsonl.zst")
@folder_argument
@sources_argument
@machine_options
@_reading_options
def add(index: Path, sources: tuple[str, ...], **options: Any) -> None:
    """Add documents to an index, as new shards."""
    from factcensus.indexer.building.build import add_to_index

    progress = ConsoleProgress()
    manifest = add_to_index(index, sources, progress=progress, notice=notice, **options)
    progress.close()
    _print_built(index, manifest)


def _print_built(folder: Path, manifest: Manifest) -> None:
    skipped = f", {manifest.skipped_lines:,} bad lines skipped" if manifest.skipped_lines else ""
    print(
        f"{folder}: {manifest.documents:,} documents, {manifest.tokens:,} tokens, {len(manifest.shards)} shards, "
        f"{size_text(sum(file.bytes for file in manifest.files.values()))}{skipped}"
    )


@command(
    "delete",
    example="factcensus index delete indexes/wiki --id wiki-12 --id wiki-13\n"
    "factcensus index delete indexes/wiki --where \"metadata ->> '$.url' LIKE 'https://example.org/%'\"",
)
@folder_argument
@option("--id", "ids", multiple=True, metavar="ID", help="id of a document; may be repeated")
@option("--ids", "id_file", type=PATH, metavar="FILE", help="a UTF-8 file with one id per line")
@option("--where", metavar="SQL", help="a condition over the document table")
def delete(index: Path, ids: tuple[str, ...], id_file: Path | None, where: str | None) -> None:
    """Delete documents, so that all counts exclude them.

    'factcensus index compact' then removes them from the files.
    """
    from factcensus.indexer.storage.maintain import delete_documents

    progress = ConsoleProgress()
    manifest, count = delete_documents(
        index,
        ids=[*ids, *(_read_ids(id_file) if id_file else ())],
        where=where,
        progress=lambda done, total: progress("count frequent", done, total, "shards"),
    )
    progress.close()
    print(f"{index}: {count:,} documents deleted, {manifest.documents:,} left")


def _read_ids(file: Path) -> list[str]:
    if not file.is_file():
        raise InputError(f"no file of ids at {file}")
    try:
        return [line for line in file.read_text(encoding="utf-8-sig").splitlines() if line]
    except UnicodeDecodeError as error:
        raise InputError(f"{file} is not a UTF-8 file with one id per line ({error})") from error


@command("compact", example="factcensus index compact indexes/wiki")
@folder_argument
@option("--out", type=PATH, metavar="INDEX", default_text="replace INDEX", help="a new folder for the result")
@machine_options
def compact(index: Path, out: Path | None, **options: Any) -> None:
    """Rewrite an index without its deleted documents, in as few shards as the memory allows."""
    from factcensus.indexer.building.build import compact_index

    progress = ConsoleProgress()
    manifest = compact_index(index, out, progress=progress, **options)
    progress.close()
    _print_built(out or index, manifest)


@command("info", example="factcensus index info indexes/wiki --json")
@index_argument
@json_option
def info(index: IndexChoice, as_json: bool) -> None:
    """Show the tokens, documents, sources and size of an index."""
    with index.open() as opened:
        described = opened.info()
    if as_json:
        print_json(described)
        return
    sources = described.pop("sources") or {}
    for key, value in described.items():
        if value is not None:
            print(f"{key.replace('_', ' '):<20} {f'{value:,}' if isinstance(value, int) else value}")
    if sources:
        print()
        rows = [[name, counts["documents"], counts["tokens"]] for name, counts in sources.items()]
        print_table(rows, ["source", "documents", "tokens"])


@command("verify", example="factcensus index verify indexes/wiki")
@folder_argument
@option("--full", is_flag=True, help="compare all neighbouring suffixes instead of a sample")
@json_option
def verify(index: Path, full: bool, as_json: bool) -> None:
    """Check the sizes, checksums and order of an index.

    Exits with 3 and names the file if one is wrong.
    """
    from factcensus.indexer.storage.verify import verify_index

    progress = ConsoleProgress()
    checked = verify_index(index, full=full, progress=lambda done, total: progress("verify", done, total, "B"))
    progress.close()
    if as_json:
        print_json({"index": str(index), "intact": True, **checked})
    else:
        print(
            f"{index} is intact: {checked['files']} files, {size_text(checked['bytes'])}, "
            f"{checked['rows_compared']:,} neighbouring suffixes in order"
        )


@command("list", example="factcensus index list indexes/")
@argument("folder", type=PATH, metavar="DIR", help="a folder that holds index folders")
@json_option
def list_indexes(folder: Path, as_json: bool) -> None:
    """List the indexes in a folder."""
    from factcensus.indexer.errors import IndexerError
    from factcensus.indexer.index import CountIndex

    if not folder.is_dir():
        raise InputError(f"no folder at {folder}")
    rows = []
    for each in sorted(path for path in folder.iterdir() if path.is_dir()):
        if not (each / "manifest.json").exists():
            continue
        try:
            with CountIndex.open(each) as index:
                described = index.info()
        except (IndexerError, OSError) as error:  # the others are shown all the same
            notice(str(error))
            continue
        rows.append({key: described[key] for key in ("name", "analyzer", "documents", "tokens", "bytes", "digest")})
    if as_json:
        print_json({"indexes": rows})
    elif rows:
        print_table([list(row.values())[:-1] for row in rows], [*rows[0]][:-1])
    else:
        print(f"no indexes in {folder}")


index_group: click.Group = group(
    "index", "Build, change, describe and verify indexes.", [build, add, delete, compact, info, verify, list_indexes]
)
