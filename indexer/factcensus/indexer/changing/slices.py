"""Slices: indexes made of consecutive shards of a whole index, for a process or machine that holds only a part.

Every count is a sum over shards. So the sum over the slices of an index equals the count in the whole index, also for
counts without repeated documents, of a range of the corpus, or by source: a slice keeps which documents repeat an
earlier one of the whole index, and the position of its first document in the corpus.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from factcensus.indexer.answers import IndexSlice
from factcensus.indexer.errors import InputError
from factcensus.indexer.paths import index_folder
from factcensus.indexer.storage.maintain import read_documents_of, read_manifest
from factcensus.indexer.storage.manifest import TOKENIZER, Manifest
from factcensus.indexer.storage.totals import count_totals
from factcensus.indexer.system.files import explain_full_disk, new_folder, place_file, sync_files
from factcensus.indexer.system.locks import lock_folder


def slice_index(index: str | Path, shards: tuple[int, int], out: str | Path, *, keep_text: bool = False) -> Manifest:
    """Make a slice, an index made of some shards of another index; its files are hard links or copies.

    Args:
        index: A whole index.
        shards: The numbers of the first and the last shard, as in the names of their files.
        out: The folder of the slice; must not exist.
        keep_text: The slice also has the original texts that the index keeps; otherwise they are left out.

    Returns:
        The manifest of the slice.

    Raises:
        InputError: ``index`` is itself a slice, has no such shards or not the texts to keep, or ``out`` exists.
        NoIndexError: There is no factcensus index.
        DiskFullError: The slice is a copy and does not fit.
    """
    index, out = index_folder(index), Path(out)
    if out.exists():
        raise InputError(f"{out} exists; choose another --out")
    read_manifest(index)
    with lock_folder(index), explain_full_disk(out.parent, "it starts over"), new_folder(out) as folder:
        whole = read_manifest(index)
        if keep_text:
            whole.check_keeps_text(index)
        manifest = _sliced(index, whole, *shards)
        if not keep_text:
            manifest = manifest.without_text()
        for name in manifest.files:
            place_file(index / name, folder / name)
        sync_files(folder / name for name in manifest.files)
        manifest.write(folder)
    sync_files([out.parent])
    return manifest


def _sliced(index: Path, whole: Manifest, first: int, last: int) -> Manifest:
    numbers = [shard.number for shard in whole.shards]
    if not numbers[0] <= first <= last <= numbers[-1]:
        raise InputError(
            f"{index} has the shards {numbers[0]} to {numbers[-1]}, got {first}-{last}; give a range within them"
        )
    before = [shard for shard in whole.shards if shard.number < first]
    chosen = tuple(shard for shard in whole.shards if first <= shard.number <= last)
    if not chosen:
        raise InputError(f"{index} has no shard from {first} to {last}")
    tables = {shard.number: index / f"documents.{shard.number}.parquet" for shard in chosen}
    deleted = {number: rows for number, rows in read_documents_of(index, whole, "deleted").items() if number in tables}
    sources, text_bytes = count_totals(tables, deleted)
    return replace(
        whole,
        shards=chosen,
        sources=sources,
        text_bytes=text_bytes,
        changes=(),
        files={name: record for name, record in whole.files.items() if _shard_of(name) in (None, *tables)},
        slice=IndexSlice(
            whole=whole.digest,
            first_document=sum(shard.documents for shard in before),
            first_token=sum(shard.tokens for shard in before),
            first_shard=len(before),
            whole_shards=len(whole.shards),
        ),
    )


def _shard_of(name: str) -> int | None:
    """Return the number of the shard to which a file belongs; None for a file of the whole index."""
    return None if name == TOKENIZER or name.startswith("vocabulary.") else int(name.split(".")[1])
