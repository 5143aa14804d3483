"""The command that deletes documents of an index, and what it prints."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from factcensus.indexer.cli.chosen_index import folder_argument
from factcensus.indexer.cli.command import command, option
from factcensus.indexer.cli.options import OUTPUT_FILE, PATH, json_option, notice, strings_options
from factcensus.indexer.errors import InputError
from factcensus.indexer.numbers import counted
from factcensus.indexer.paths import not_found
from factcensus.indexer.system.console import print_json, print_table, terminal_text
from factcensus.indexer.system.progress import ConsoleProgress

if TYPE_CHECKING:
    from factcensus.indexer.changing.deletion import Deletion

#: Maximum number of ids and documents that a deletion prints.
MOST_PRINTED = 20


@command(
    "delete",
    exclusive=[("verbatim", "normalise")],
    needs={
        "verbatim": "text",
        "normalise": "text",
        "region": "normalise",
        "asked_by": "record",
        "probes": "record",
    },
    example="factcensus index delete indexes/wiki --id wiki-12 --ids withdrawn.txt --dry-run\n"
    "factcensus index delete indexes/wiki --text 'Jane Roe' --record roe.json --asked-by 'J. Roe' --probe 'Jane Roe'\n"
    "factcensus index delete indexes/wiki --text '+49 30 901820' --normalise phone --dry-run\n"
    "factcensus index delete indexes/wiki --where \"url LIKE 'https://example.org/%'\"",
)
@folder_argument
@option("--id", "ids", multiple=True, metavar="ID", help="id of a document; may be repeated")
@option("--ids", "id_file", type=PATH, metavar="FILE", help="a UTF-8 file with one id per line")
@option("--text", metavar="T", help="delete documents that contain this text, as counted by 'count'")
@strings_options
@option("--where", metavar="SQL", help="delete documents that meet a condition over columns and metadata fields")
@option("--dry-run", is_flag=True, help="show the documents without deleting them")
@option(
    "--record",
    type=OUTPUT_FILE,
    metavar="FILE",
    help="new file with a proof of the deletion, for 'index verify --record'",
)
@option("--asked-by", metavar="TEXT", help="who asked for the deletion, for the record")
@option(
    "--probe",
    "probes",
    multiple=True,
    metavar="TEXT",
    help="a text to count before and after, for the record; one that equals --text is found in the same way; may be "
    "repeated",
)
@json_option
def delete(
    index: Path,
    ids: tuple[str, ...],
    id_file: Path | None,
    dry_run: bool,
    record: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Delete documents, so that all counts exclude them.

    Running services follow automatically. The documents stay in the files until 'factcensus index compact'.
    """
    from factcensus.indexer.changing.deletion import delete_documents

    with ConsoleProgress() as progress:
        done = delete_documents(
            index,
            ids=[*ids, *(_read_ids(id_file) if id_file else ())],
            dry_run=dry_run,
            record=record,
            progress=lambda done, total: progress("count frequent", done, total, "shards"),
            **options,
        )
    if as_json:
        print_json(_deletion_json(index, done))
    else:
        _print_deletion(index, done)
        if record is not None and not dry_run:
            _print_record(record)
    if done.documents and not dry_run:
        notice(
            f"running services stop counting them within a second; they stay in the files until 'factcensus index "
            f"compact {index}'"
        )


def _deletion_json(index: Path, done: Deletion) -> dict[str, Any]:
    return {
        "index": str(index),
        "dry_run": done.dry_run,
        "documents": done.documents,
        "already_deleted": done.already_deleted,
        "documents_left": done.before.documents - done.documents,
        "documents_by_id": dict(done.matched),
        "verified": done.verified,
        "exact": done.exact,
        "first_documents": [asdict(each) for each in done.named],
        "generation": done.manifest.generation,
        "digest": done.manifest.digest,
    }


def _print_deletion(index: Path, done: Deletion) -> None:
    did = "would be deleted" if done.dry_run else "deleted"
    before = f" ({done.already_deleted:,} already deleted)" if done.already_deleted else ""
    left = done.before.documents - done.documents
    print(f"{index}: {_documents(done.documents)} {did}{before}, {left:,} left, generation {done.manifest.generation}")
    if done.verified is False:
        print(
            "documents were selected by token sequences only, because the index keeps no text: some may be other ones"
        )
    if not done.exact:
        remedy = "search for them with a pattern, too"
        if done.verified is False:
            remedy += ", in an index built with --keep-text"
        print(f"documents with other spellings or tokens of the text may be missing: {remedy}")
    if done.matched:
        print()
        first = dict(list(done.matched.items())[:MOST_PRINTED])
        print_table([[id, count] for id, count in first.items()], ["id", "documents"])
        if len(done.matched) > MOST_PRINTED:
            print(
                f"… and {len(done.matched) - MOST_PRINTED:,} more ids; {_documents(sum(done.matched.values()))} in all"
            )
    if done.dry_run and done.named:
        print()
        for each in done.named:
            print(f"{terminal_text(each.id or '(no id)')}  {terminal_text(each.title)}")
        if done.documents > len(done.named):
            print(f"… and {done.documents - len(done.named):,} more documents")


def _print_record(path: Path) -> None:
    """Print where the record is, and the counts of its probes, which show whether a name or number remains."""
    from factcensus.indexer.changing.record import read_record

    print(f"recorded in {path}")
    for probe in read_record(path).probes:
        before, after = (
            f"{counted(each.occurrences, 'time')} in {_documents(each.documents)}"
            for each in (probe.before, probe.after)
        )
        print(f"the probe {probe.text!r} occurred {before} before, and occurs {after} now")


def _documents(number: int) -> str:
    return counted(number, "document")


def _read_ids(file: Path) -> list[str]:
    if not file.is_file():
        raise InputError(not_found("file of ids", file))
    try:
        return [line for line in file.read_text(encoding="utf-8-sig").splitlines() if line]
    except UnicodeDecodeError as error:
        raise InputError(f"{file} is not a UTF-8 file with one id per line ({error})") from error
