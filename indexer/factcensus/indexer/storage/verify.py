"""Verification of an index folder: every size, every checksum, and the order of the suffix array."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from factcensus.indexer.errors import IndexFormatError, InputError, NoIndexError, VerificationError
from factcensus.indexer.index import CountIndex
from factcensus.indexer.infini_gram.published import read_published
from factcensus.indexer.paths import no_index
from factcensus.indexer.storage.layout import hash_file
from factcensus.indexer.storage.manifest import MANIFEST, Manifest, refuse_unfinished
from factcensus.indexer.storage.record import read_record, verify_record
from factcensus.indexer.storage.shard import Shard

#: Neighbouring suffixes of each shard that are compared unless the order is proven in full.
SAMPLED_ROWS = 100_000


def verify_index(
    path: str | Path,
    *,
    full: bool = False,
    record: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Check all files of an index against its manifest, and the order of its tables.

    An index of infini-gram's has no manifest; only sizes and order are checked there.

    Args:
        path: the folder.
        full: prove the order of the whole table (4 bytes of memory a token of the largest shard), instead of that of
            a sample.
        record: the record of a deletion, to be proven as well (:mod:`record`).
        progress: called with (bytes done, all).

    Returns:
        What was checked: ``files``, ``bytes`` and ``rows_compared``; with a record also ``record``, see
        :class:`record.Proof`.

    Raises:
        VerificationError: a file is missing, cut off or altered, or a table is out of order; the message names it. Or
            the record does not hold.
        InputError: the record cannot be read.
        IndexFormatError: there is no index.
    """
    folder = Path(path)
    if record is not None:
        read_record(Path(record))  # a wrong path is said before hours of checks
    if not folder.is_dir():
        raise no_index(folder)
    checked: dict[str, Any] = {"files": 0, "bytes": 0, "rows_compared": 0}
    if (folder / MANIFEST).exists():
        try:
            manifest = Manifest.read(folder)
        except IndexFormatError as error:
            raise VerificationError(str(error)) from error
        total = sum(expected.bytes for expected in manifest.files.values())
        for name, expected in manifest.files.items():
            file = folder / name
            if not file.is_file():
                raise VerificationError(f"{file} is missing")
            if file.stat().st_size != expected.bytes:
                raise VerificationError(f"{file} has {file.stat().st_size} bytes, the manifest says {expected.bytes}")
        for name, expected in manifest.files.items():
            if hash_file(folder / name) != expected.sha256:
                raise VerificationError(f"{folder / name} is altered: its SHA-256 is not the manifest's")
            checked["files"] += 1
            checked["bytes"] += expected.bytes
            if progress:
                progress(checked["bytes"], total)
    else:
        try:
            refuse_unfinished(folder)
        except NoIndexError:
            raise
        except IndexFormatError as error:
            raise VerificationError(str(error)) from error
    for shard in _shards_of(folder):
        rows = shard.size - 1
        if full:
            wrong, compared = shard.first_wrong_row(), rows
        else:
            rng = np.random.default_rng(0)
            sample = np.sort(rng.choice(rows, min(rows, SAMPLED_ROWS), replace=False))
            wrong, compared = shard.first_disorder(sample), len(sample)
        if wrong is not None:
            raise VerificationError(f"{shard.folder / shard.table_name} is out of order at row {wrong}")
        checked["rows_compared"] += compared
    if record is not None:
        if not (folder / MANIFEST).exists():
            raise InputError(
                f"{folder} was built by infini-gram, which deletes no documents; the record is of another index"
            )
        with CountIndex.open(folder) as index:
            checked["record"] = asdict(verify_record(index, Path(record)))
    return checked


def _shards_of(folder: Path) -> list[Shard]:
    """The shards of an index, opened with all checks that opening makes."""
    try:
        if not (folder / MANIFEST).exists():  # infini-gram's; in which tokens does not matter here
            return [published.shard for published in read_published([folder])]
        with CountIndex.open(folder) as index:
            return list(index.shards)
    except NoIndexError:
        raise
    except IndexFormatError as error:
        raise VerificationError(str(error)) from error
