"""The commands for an index: build, add, delete, compact, convert, slice, info, verify, list."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from factcensus.indexer.cli.chosen_index import IndexChoice, folder_argument, index_argument, usage_of
from factcensus.indexer.cli.command import Function, argument, command, group, option
from factcensus.indexer.cli.deletion import delete
from factcensus.indexer.cli.options import (
    OUTPUT_FOLDER,
    OUTPUT_INDEX,
    PATH,
    Choice,
    ShardRange,
    complete_path,
    json_option,
    machine_options,
    notice,
    sort_options,
)
from factcensus.indexer.cli.work import HEADING, WorkChoice, work_options
from factcensus.indexer.errors import InputError
from factcensus.indexer.numbers import counted, size_text
from factcensus.indexer.paths import not_found
from factcensus.indexer.system.console import print_json, print_table
from factcensus.indexer.system.progress import ConsoleProgress

if TYPE_CHECKING:
    from factcensus.indexer.answers import Proof, Verification
    from factcensus.indexer.storage.manifest import Layout, Manifest
    from factcensus.indexer.system.places import Place

sources_argument = argument(
    "sources",
    nargs=-1,
    required=True,
    shell_complete=complete_path,
    metavar="SOURCE...",
    help="a file, a folder, or a URL that fsspec opens",
)
#: The layouts of an index; the first is the default.
LAYOUTS = ["suffix-array", "compact"]
keep_text_option = option(
    "--keep-text", is_flag=True, help="keep the original texts in the result; by default they are left out"
)


def _reading_options(function: Function) -> Function:
    """Add the options that control how a corpus is read."""
    bad_line = option(
        "--on-bad-line", type=Choice(["fail", "skip"]), default="fail", help="stop at a bad line, or count and skip it"
    )
    fields = [
        option("--text-field", default="text", metavar="FIELD", help="field that holds the text; nested: a.b"),
        option("--id-field", default="id", metavar="FIELD", help="field that holds the id; nested: a.b"),
    ]
    for each in (bad_line, *reversed(fields)):
        function = each(function)
    return function


@command(
    "build",
    exclusive=[("dry_run", "verified"), ("dry_run", "work"), ("dry_run", "stage")],
    example="factcensus index build corpus/ --out indexes/wiki --jobs 4 --memory 8GiB\n"
    "factcensus index build s3://corpora/dolma --out s3://mine/dolma --work s3://mine/work --part 3/64 --stage spool",
)
@sources_argument
@option("--out", required=True, type=OUTPUT_INDEX, metavar="INDEX", help="the new index folder, or a URL")
@option("--dry-run", is_flag=True, help="show the disk space, memory and time that the build needs, without building")
@option(
    "--analyzer",
    default="words",
    metavar="ANALYZER",
    help="words, words-cased, bytes, or hf:PATH_OR_NAME for a Hugging Face tokenizer",
)
@option(
    "--layout",
    type=Choice(LAYOUTS),
    default=LAYOUTS[0],
    help="suffix-array, which infini-gram's engine can open, or compact, which takes a third of the space",
)
@option(
    "--keep-text",
    is_flag=True,
    help="store the original texts as well, so that passages show them and 'documents --verbatim' finds exact strings",
)
@option(
    "--verify",
    "verified",
    is_flag=True,
    help="afterwards check the index like 'index verify', without starting another process",
)
@machine_options
@_reading_options
@work_options
@option(
    "--stage",
    type=Choice(["spool", "merge", "shards", "seal"]),
    heading=HEADING,
    default_text="all stages that can run",
    help="run only this stage: analyse files, merge their words, write shards, or write the manifest",
)
def build(
    sources: tuple[str, ...],
    out: Place,
    dry_run: bool,
    verified: bool,
    work: WorkChoice,
    stage: str | None,
    **options: Any,
) -> None:
    """Build an index from JSON Lines (plain, .gz, .zst, .xz or .bz2) and Parquet files.

    Repeat the command to continue an interrupted build. With --work, several machines share the work, with the same
    result.
    """
    from factcensus.indexer.building.build import build_index

    if stage is not None and work.work is None:
        raise InputError("--stage has no effect without --work; give a work folder")
    if verified and (work.work is not None or not out.is_local):
        raise InputError("--verify checks only an index that this process builds in a local folder; leave it out")
    if dry_run:
        _print_estimate(sources, out, options)
        return
    if work.work is not None:
        _build_shared(sources, out, work, stage, options)
        return
    with ConsoleProgress() as progress:
        manifest = build_index(sources, out, progress=progress, notice=notice, **options)
    _print_built(out, manifest)
    if verified:
        _print_intact(out, _checked(out.path))


def _checked(index: Path, *, full: bool = False, record: Path | None = None) -> Verification:
    from factcensus.indexer.changing.verify import verify_index

    with ConsoleProgress() as progress:
        return verify_index(
            index, full=full, record=record, progress=lambda done, total: progress("verify", done, total, "B")
        )


def _print_intact(index: object, checked: Verification) -> None:
    print(
        f"{index} is intact: {checked.files} files, {size_text(checked.bytes)}, "
        f"{checked.rows_compared:,} neighbouring suffixes in order"
    )


def _build_shared(
    sources: tuple[str, ...], out: Place, work: WorkChoice, stage: str | None, options: dict[str, Any]
) -> None:
    """Build together with other machines, as far as this machine can."""
    from factcensus.indexer.building.settings import BuildSettings
    from factcensus.indexer.work import Run
    from factcensus.indexer.work.build.job import STAGES, STAGES_OF, Resources, build_with_work

    assert work.work is not None
    jobs, device = options.pop("jobs") or os.cpu_count() or 1, options.pop("device")
    with ConsoleProgress() as progress:
        now, job = build_with_work(
            sources,
            out,
            work.work,
            BuildSettings(**options),
            Resources(work.runner, jobs, device),
            stages=STAGES if stage is None else STAGES_OF[stage],
            run=Run(progress, notice),
        )
    if now.stage is None:
        print(job.finish(work.folder, out))
        return
    done = f"{now.finished[now.stage]:,} of {now.units[now.stage]:,} units of the stage {now.stage} are done"
    print(f"{work.work}: {done}; run the other parts and stages, then the same command again")


def _print_estimate(sources: tuple[str, ...], out: Place, options: dict[str, Any]) -> None:
    from factcensus.indexer.building.estimate import plan_build

    named = {name: options[name] for name in ("analyzer", "layout", "keep_text", "jobs", "memory_bytes")}
    estimate = plan_build(sources, out, notice=notice, **named)
    cores = options["jobs"] or os.cpu_count() or 1
    for what, value in {
        "source files": size_text(estimate.source_bytes),
        "text": f"about {size_text(estimate.text_bytes)}, {estimate.tokens:,} tokens",
        "index": f"about {size_text(estimate.index_bytes)}",
        "disk during build": f"about {size_text(estimate.disk_bytes)}, at least {size_text(estimate.least_disk_bytes)}",
        "memory": f"at most {size_text(estimate.memory_bytes)} (--memory)",
        "time": f"about {estimate.hours:.1f} hours on {cores} cores, {estimate.hours * cores:.1f} core-hours",
    }.items():
        print(f"{what:<20} {value}")


@command(
    "add",
    example="factcensus index add indexes/wiki corpus/2026-11.jsonl.zst\n"
    "factcensus index add indexes/wiki corrected.jsonl --replace",
)
@folder_argument
@sources_argument
@option("--replace", is_flag=True, help="in the same step, delete old documents that have the id of a new one")
@option("--allow-repeat", is_flag=True, help="also add files whose documents are already in the index")
@machine_options
@_reading_options
def add(index: Path, sources: tuple[str, ...], **options: Any) -> None:
    """Add documents to an index, as new shards."""
    from factcensus.indexer.building.build import add_to_index

    with ConsoleProgress() as progress:
        manifest = add_to_index(index, sources, progress=progress, notice=notice, **options)
    _print_built(index, manifest)


def _print_built(folder: object, manifest: Manifest) -> None:
    print(f"{folder}: {manifest.summary()}")


@command("compact", example="factcensus index compact indexes/wiki")
@folder_argument
@option(
    "--out", type=OUTPUT_INDEX, metavar="INDEX", default_text="replace INDEX", help="a new folder or URL for the result"
)
@machine_options
def compact(index: Path, out: Place | None, **options: Any) -> None:
    """Rewrite an index without its deleted documents, in as few shards as --memory allows."""
    from factcensus.indexer.building.compaction import compact_index

    with ConsoleProgress() as progress:
        manifest = compact_index(index, out, progress=progress, **options)
    _print_built(out or index, manifest)


@command("convert", example="factcensus index convert indexes/wiki --layout compact --out indexes/wiki-compact")
@folder_argument
@option("--layout", required=True, type=Choice(LAYOUTS), help="the layout of the new index")
@option("--out", required=True, type=OUTPUT_FOLDER, metavar="INDEX", help="the new index folder")
@keep_text_option
@sort_options
def convert(index: Path, layout: Layout, out: Path, **options: Any) -> None:
    """Convert an index to another layout; all counts stay the same.

    Repeat the command to continue an interrupted conversion.
    """
    from factcensus.indexer.building.convert import convert_index

    with ConsoleProgress() as progress:
        manifest = convert_index(index, layout, out, progress=progress, **options)
    _print_built(out, manifest)
    _report_left_out(index, options["keep_text"])


@command("slice", example="factcensus index slice indexes/wiki --shards 0-3 --out slices/wiki-a")
@folder_argument
@option("--shards", required=True, type=ShardRange(), metavar="A-B", help="first and last shard, as in tokenized.N")
@option("--out", required=True, type=OUTPUT_FOLDER, metavar="INDEX", help="the new folder of the slice")
@keep_text_option
def slice_command(index: Path, shards: tuple[int, int], out: Path, keep_text: bool) -> None:
    """Make an index of some shards of another index, with hard links.

    The counts of all slices add up to those of the whole index.
    """
    from factcensus.indexer.changing.slices import slice_index

    _print_built(out, slice_index(index, shards, out, keep_text=keep_text))
    _report_left_out(index, keep_text)


def _report_left_out(index: Path, keep_text: bool) -> None:
    """Report kept texts that are not in the result."""
    from factcensus.indexer.storage.manifest import Manifest

    if not keep_text and Manifest.read(index).keeps_text:
        notice("the original texts were left out; give --keep-text to keep them")


@command("info", example="factcensus index info indexes/wiki --json")
@index_argument
@json_option
def info(index: IndexChoice, as_json: bool) -> None:
    """Show the tokens, documents, sources and size of an index."""
    with index.open() as opened:
        described = opened.info()
        used = usage_of(opened)
    if as_json:
        print_json(described.as_json() | used)
        return
    shown = described.as_json() | {"sources": None}
    if part := described.slice:
        last = part.first_shard + described.shards
        shown["slice"] = f"shards {part.first_shard + 1} to {last} of the {part.whole_shards} of {part.whole}"
    for key, value in shown.items():
        if value is not None:
            print(f"{key.replace('_', ' '):<26} {_as_text(value)}")
    if described.sources:
        print()
        rows: list[list[str | int]] = [[name, size.documents, size.tokens] for name, size in described.sources.items()]
        print_table(rows, ["source", "documents", "tokens"])


def _as_text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else str(value)


@command("verify", example="factcensus index verify indexes/wiki")
@folder_argument
@option("--full", is_flag=True, help="compare all neighbouring suffixes instead of a sample")
@option("--record", type=PATH, metavar="FILE", help="also verify the deletion recorded by 'index delete --record'")
@json_option
def verify(index: Path, full: bool, record: Path | None, as_json: bool) -> None:
    """Check the sizes, checksums and order of an index, and the record of a deletion.

    Exits with status 3 and names the file if one is wrong.
    """
    checked = _checked(index, full=full, record=record)
    if as_json:
        print_json({"index": str(index), "intact": True, **checked.as_json()})
    else:
        _print_intact(index, checked)
        if record is not None and checked.record is not None:
            _print_proof(record, checked.record)


def _print_proof(record: Path, proof: Proof) -> None:
    print(f"{record} is verified: {proof.documents:,} documents are no longer counted; probes: {proof.probes:,}")
    if proof.hidden:
        print(f"{counted(proof.hidden, 'document')} still in the files; run 'factcensus index compact' to remove them")
    if proof.same_text_left:
        print(f"{counted(proof.same_text_left, 'document')} with the same text as a deleted one remain in the index")
    for each in proof.fewer:
        now = f"{counted(each.occurrences, 'time')} in {counted(each.documents, 'document')}"
        then = f"{each.recorded_occurrences:,} in {each.recorded_documents:,}"
        print(f"the probe {each.text!r} occurs {now}, fewer than recorded ({then})")
    if proof.fewer and proof.later_deletions:
        changes = counted(proof.later_deletions, "later change")
        print(f"fewer are expected: {changes} deleted or replaced documents, which may have contained the probes")
    elif proof.fewer:
        print(
            "the list of changes in the index does not explain fewer: this may be another index, or the record is "
            "older than the list"
        )
    if not proof.descends:
        print("cannot confirm that the index is a later generation of the one in the record")


_LISTED = ("name", "analyzer", "documents", "tokens", "bytes", "digest")


@command("list", example="factcensus index list indexes/")
@argument("folder", type=PATH, metavar="DIR", help="a folder that holds index folders")
@json_option
def list_indexes(folder: Path, as_json: bool) -> None:
    """List the indexes in a folder."""
    from factcensus.indexer.errors import IndexerError
    from factcensus.indexer.index import CountIndex

    if not folder.is_dir():
        raise InputError(not_found("folder", folder))
    rows = []
    for each in sorted(path for path in folder.iterdir() if path.is_dir()):
        if not (each / "manifest.json").exists():
            continue
        try:
            with CountIndex.open(each) as index:
                described = index.info()
        except (IndexerError, OSError) as error:  # still show the others
            notice(str(error))
            continue
        rows.append({key: getattr(described, key) for key in _LISTED})
    if as_json:
        print_json({"indexes": rows})
    elif rows:
        print_table([list(row.values())[:-1] for row in rows], [*rows[0]][:-1])
    else:
        print(f"no indexes in {folder}")


index_group: click.Group = group(
    "index",
    "Build, change, describe and verify indexes.",
    [build, add, delete, compact, convert, slice_command, info, verify, list_indexes],
)
