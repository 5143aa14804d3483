"""Changes of an index: its deleted and repeated documents, and the step from one generation to the next.

Deleted documents stay in the files until the index is compacted, but are excluded from all counts. Small separate files
(:mod:`layout`) list them. A change writes new versions of these files, and then replaces the manifest in one step.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from factcensus.indexer.errors import InputError, NoIndexError, VerificationError
from factcensus.indexer.paths import indexes_in, no_index
from factcensus.indexer.storage.chosen import Chosen
from factcensus.indexer.storage.index_analyzer import load_analyzer
from factcensus.indexer.storage.layout import hash_file, write_hashed
from factcensus.indexer.storage.manifest import MANIFEST, FileRecord, Layout, Manifest, ShardRecord
from factcensus.indexer.storage.repeated import SHUFFLE_PREFIX, Repeats, find_repeated
from factcensus.indexer.storage.shards import open_text
from factcensus.indexer.system.files import sync_files

#: A pattern for the file names of an index.
_OWN_FILE = re.compile(
    r"(tokenized|table|offset|first|sample|text|lists|kept)\.\d+|(frequent|deleted|repeated)\.\d+\.\d+"
    r"|documents\.\d+\.parquet|vocabulary\.\d+\.(utf8|starts|sorted|front)|manifest\.json\.partial"
)


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of an index that will be changed.

    Raises:
        InputError: The index is a slice.
        NoIndexError: There is no factcensus index.
        IndexFormatError: The index was built with another version of the analyzer.
    """
    if not (folder / MANIFEST).is_file():
        if not folder.is_dir() or indexes_in(folder):
            raise no_index(folder)
        raise NoIndexError(f"no factcensus index at {folder}; build one with 'factcensus index build'")
    manifest = Manifest.read(folder)
    if manifest.slice is not None:
        raise InputError(
            f"{folder} is a slice; repeated documents depend on the other slices, so change the whole index and slice "
            "it again"
        )
    load_analyzer(folder, manifest)
    return manifest


def commit(folder: Path, old: Manifest, new: Manifest) -> None:
    """Replace the old manifest in one step by a new one, whose files are all in the folder."""
    sync_files(folder / name for name in new.files.keys() - old.files.keys())
    new.write(folder)
    remove_strays(folder, new)


def remove_strays(folder: Path, manifest: Manifest) -> None:
    """Remove files that changes, completed or interrupted, left behind and that are not part of the index."""
    for path in folder.iterdir():
        if path.name.startswith(SHUFFLE_PREFIX):
            shutil.rmtree(path, ignore_errors=True)
        elif path.name not in manifest.files and _OWN_FILE.fullmatch(path.name):
            path.unlink(missing_ok=True)


def read_documents_of(folder: Path, manifest: Manifest, what: str) -> dict[int, npt.NDArray[np.uint32]]:
    """Return the ``deleted`` or ``repeated`` documents by shard."""
    names = {shard.number: f"{what}.{shard.number}.{shard.generation}" for shard in manifest.shards}
    return {number: _stored(folder, manifest, name) for number, name in names.items() if name in manifest.files}


def write_states(
    shards: Mapping[Path, Sequence[ShardRecord]],
    out: Path,
    deleted: Chosen,
    old: Manifest | None = None,
    progress: Callable[[int, int], None] | None = None,
    *,
    layout: Layout,
) -> tuple[list[ShardRecord], dict[str, FileRecord]]:
    """Write ``frequent``, ``deleted`` and ``repeated`` of every shard for which they have changed.

    Args:
        shards: The shards by the folder of their files; those of ``old`` come first.
        out: The folder to write to.
        deleted: The deleted documents of all shards.
        old: The current manifest.
        progress: Called with (shards done, all shards).
        layout: The layout of the index.

    Returns:
        All shards, and the files of the whole index: those of ``old`` that are still valid, and the new ones.
    """
    tables = {shard.number: folder / f"documents.{shard.number}.parquet" for folder, shard in _placed(shards)}
    with find_repeated(tables, deleted, out) as repeated:
        return _write_states(shards, out, deleted, repeated, old, progress, layout)


def _placed(shards: Mapping[Path, Sequence[ShardRecord]]) -> Iterator[tuple[Path, ShardRecord]]:
    for folder, records in shards.items():
        for shard in records:
            yield folder, shard


def _write_states(
    shards: Mapping[Path, Sequence[ShardRecord]],
    out: Path,
    deleted: Chosen,
    repeated: Repeats,
    old: Manifest | None,
    progress: Callable[[int, int], None] | None,
    layout: Layout,
) -> tuple[list[ShardRecord], dict[str, FileRecord]]:
    files = dict(old.files) if old else {}
    nothing = np.zeros(0, np.uint32)
    new_records: list[ShardRecord] = []
    total = sum(map(len, shards.values()))
    first = 0
    for folder, record in _placed(shards):
        gone, again = deleted.get(record.number, nothing), repeated.rows(first, record.documents)
        first += record.documents
        known = old if old is not None and record in old.shards else None
        if known is None or not _is_stored(folder, known, record, (gone, again)):
            if known is not None:
                for name in record.state_files:
                    files.pop(name, None)
                record = replace(record, generation=record.generation + 1)
            record, written = write_state(folder, record, layout, gone, again, out)
            files |= written
        new_records.append(record)
        if progress:
            progress(len(new_records), total)
    return new_records, files


def write_state(
    folder: Path,
    record: ShardRecord,
    layout: Layout,
    deleted: npt.NDArray[np.uint32],
    repeated: npt.NDArray[np.uint32],
    out: Path,
) -> tuple[ShardRecord, dict[str, FileRecord]]:
    """Write ``frequent``, ``deleted`` and ``repeated`` of one shard.

    Args:
        folder: The folder of the other files of the shard.
        record: The shard.
        layout: The layout of the index.
        deleted: Its deleted documents.
        repeated: Its repeated documents.
        out: The folder to write to.

    Returns:
        The record of the shard with the numbers of these documents, and the records of the files.
    """
    shard = open_text(folder, record, layout)
    lengths = np.diff(shard.document_starts, append=shard.size) - 1
    record = replace(
        record,
        deleted_documents=len(deleted),
        deleted_tokens=int(lengths[deleted].sum()),
        repeated_documents=len(repeated),
    )
    living = _mask(shard.documents, deleted)
    distinct = _mask(shard.documents, np.union1d(deleted, repeated))
    contents = (shard.count_frequent(living, distinct), deleted, repeated)
    files = {}
    for name, content in zip(record.state_files, contents, strict=True):
        if len(content):
            digest = write_hashed(out / name, content.astype("<u4"))
            files[name] = FileRecord((out / name).stat().st_size, digest)
    return record, files


def check_files(
    folder: Path, manifest: Manifest, names: Sequence[str], progress: Callable[[int, int], None] | None = None
) -> None:
    """Compare files of an index with their checksums before new files are derived from them.

    The new files get new checksums, so damage in the old files could never be found again.

    Args:
        folder: The index folder.
        manifest: Its manifest.
        names: The names of the files.
        progress: Called with (bytes done, all bytes).

    Raises:
        VerificationError: A file was altered; the message names it.
    """
    done, total = 0, sum(manifest.files[name].bytes for name in names)
    for name in names:
        try:
            intact = hash_file(folder / name) == manifest.files[name].sha256
        except FileNotFoundError as error:
            raise VerificationError(f"{folder / name} is missing; copy the index again or rebuild it") from error
        if not intact:
            raise VerificationError(
                f"{folder / name} was altered: its SHA-256 differs from the manifest; nothing was changed; copy the "
                "index again or rebuild it"
            )
        done += manifest.files[name].bytes
        if progress:
            progress(done, total)


def _is_stored(
    folder: Path, manifest: Manifest, record: ShardRecord, documents: Sequence[npt.NDArray[np.uint32]]
) -> bool:
    """Return whether the files of a shard list these deleted and repeated documents."""
    return all(
        np.array_equal(_stored(folder, manifest, name), wanted)
        for name, wanted in zip(record.state_files[1:], documents, strict=True)
    )


def _stored(folder: Path, manifest: Manifest, name: str) -> npt.NDArray[np.uint32]:
    if name not in manifest.files:
        return np.zeros(0, np.uint32)
    check_files(folder, manifest, [name])
    return np.fromfile(folder / name, "<u4")


def _mask(documents: int, out: npt.NDArray[np.uint32]) -> npt.NDArray[np.bool_] | None:
    if not len(out):
        return None
    mask = np.ones(documents, np.bool_)
    mask[out] = False
    return mask
