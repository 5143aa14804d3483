"""Verification of an index folder: every size, every checksum, and the order of the suffix array."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from factcensus.indexer.answers import Verification
from factcensus.indexer.errors import IndexFormatError, InputError, NoIndexError, VerificationError
from factcensus.indexer.index import CountIndex
from factcensus.indexer.infini_gram.published import read_published
from factcensus.indexer.paths import index_folder, no_index
from factcensus.indexer.storage.index_analyzer import load_analyzer
from factcensus.indexer.storage.layout import hash_file
from factcensus.indexer.storage.manifest import MANIFEST, TOKENIZER, FileRecord, Manifest, kept_name, refuse_unfinished
from factcensus.indexer.storage.shard import Shard

#: Number of neighbouring suffixes and of original texts per shard that are compared if only a sample is verified.
SAMPLED_ROWS, SAMPLED_TEXTS = 100_000, 1_000


def verify_index(
    path: str | Path,
    *,
    full: bool = False,
    record: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Verification:
    """Check all files of an index against its manifest, and the order of its tables.

    An index built by infini-gram has no manifest, so only sizes and order are checked.

    Args:
        path: The index folder.
        full: Verify the order of the whole table instead of a sample (4 bytes of memory per token of the largest
            shard).
        record: The record of a deletion to verify as well (:mod:`record`).
        progress: Called with (bytes done, all bytes).

    Returns:
        What was checked, if all of it is intact.

    Raises:
        VerificationError: A file is missing, truncated or altered, or a table is out of order (the message names it);
            or the record is contradicted.
        InputError: The record cannot be read.
        IndexFormatError: There is no index.
    """
    folder = index_folder(path)
    if record is not None:
        from factcensus.indexer.changing.record import read_record

        read_record(Path(record))  # reports a wrong path before hours of checks
    if not folder.is_dir():
        raise no_index(folder)
    proof = None
    manifest: Manifest | None = None
    with _as_verification_error():
        if (folder / MANIFEST).exists():
            manifest = Manifest.read(folder)
            if TOKENIZER not in manifest.files:  # a tokenizer is read only after its checksum was compared
                load_analyzer(folder, manifest)  # refuses another version before hours of checks
        else:
            refuse_unfinished(folder)
    files = {} if manifest is None else manifest.files
    _check_files(folder, files, progress or (lambda _done, _all: None))
    rows_compared = 0
    for shard in _shards_of(folder):
        rows_compared += shard.check_order(None if full else SAMPLED_ROWS)
        _check_texts(shard, None if full else SAMPLED_TEXTS)
    if record is not None:
        if manifest is None:
            raise InputError(
                f"{folder} was built by infini-gram, which cannot delete documents; give the index of the record"
            )
        from factcensus.indexer.changing.record import verify_record

        with CountIndex.open(folder) as index:
            proof = verify_record(index, Path(record))
    return Verification(len(files), sum(file.bytes for file in files.values()), rows_compared, proof)


@contextmanager
def _as_verification_error() -> Iterator[None]:
    """Report files that do not belong to the same index as a failed verification."""
    try:
        yield
    except NoIndexError:
        raise
    except IndexFormatError as error:
        raise VerificationError(str(error)) from error


def _check_files(folder: Path, files: Mapping[str, FileRecord], progress: Callable[[int, int], None]) -> None:
    """Compare all sizes first, because that takes no time, and then all bytes."""
    for name, expected in files.items():
        file = folder / name
        if not file.is_file():
            raise VerificationError(f"{file} is missing; copy the index again or rebuild it")
        if file.stat().st_size != expected.bytes:
            raise VerificationError(
                f"{file} has {file.stat().st_size} bytes, but the manifest requires {expected.bytes}"
            )
    done, total = 0, sum(expected.bytes for expected in files.values())
    for name, expected in files.items():
        if hash_file(folder / name) != expected.sha256:
            raise VerificationError(f"{folder / name} was altered: its SHA-256 differs from the manifest")
        done += expected.bytes
        progress(done, total)


def _check_texts(shard: Shard, most: int | None) -> None:
    """Compare the original texts of a shard, or of its first documents, with the digests in its document table."""
    if shard.kept is None:
        return
    last = shard.documents if most is None else min(shard.documents, most)
    for first, batch in shard.row_batches(["text_digest"]):
        documents = range(first, min(first + batch.num_rows, last))
        texts = shard.kept.texts(documents)
        for document, text, wanted in zip(documents, texts, batch["text_digest"].to_pylist(), strict=False):
            if int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little") != wanted:
                raise VerificationError(
                    f"{shard.folder / kept_name(shard.number)} has another text for document {document} than the "
                    "document table; copy the index again or rebuild it"
                )
        if first + batch.num_rows >= last:
            return


def _shards_of(folder: Path) -> list[Shard]:
    """Open the shards of an index with all checks that opening performs."""
    with _as_verification_error():
        if not (folder / MANIFEST).exists():  # built by infini-gram; the tokenizer does not matter here
            return [published.shard for published in read_published([folder])]
        with CountIndex.open(folder) as index:
            return list(index.shards)
