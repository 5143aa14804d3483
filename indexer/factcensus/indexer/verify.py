"""Verification of an index folder: every size, every checksum, and the order of the suffix array."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from factcensus.indexer.errors import IndexFormatError, NoIndexError, VerificationError
from factcensus.indexer.index import CountIndex
from factcensus.indexer.layout import hash_file
from factcensus.indexer.manifest import MANIFEST, Manifest

#: Neighbouring suffixes of each shard that are compared; all of them where there are fewer.
SAMPLED_ROWS = 100_000


def verify_index(path: str | Path, *, progress: Callable[[int, int], None] | None = None) -> dict[str, Any]:
    """Check all files of an index against its manifest, and the order of its tables.

    An index of infini-gram's has no manifest; only sizes and order are checked there.

    Returns:
        What was checked: ``files``, ``bytes`` and ``rows_compared``.

    Raises:
        VerificationError: a file is missing, cut off or altered, or a table is out of order; the message names it.
        IndexFormatError: there is no index.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise NoIndexError(f"no index folder at {folder}")
    checked = {"files": 0, "bytes": 0, "rows_compared": 0}
    if (folder / MANIFEST).exists():
        try:
            manifest = Manifest.read(folder)
        except IndexFormatError as error:
            raise VerificationError(str(error)) from error
        total = sum(record.bytes for record in manifest.files.values())
        for name, record in manifest.files.items():
            file = folder / name
            if not file.is_file():
                raise VerificationError(f"{file} is missing")
            if file.stat().st_size != record.bytes:
                raise VerificationError(f"{file} has {file.stat().st_size} bytes, the manifest says {record.bytes}")
        for name, record in manifest.files.items():
            if hash_file(folder / name) != record.sha256:
                raise VerificationError(f"{folder / name} is altered: its SHA-256 is not the manifest's")
            checked["files"] += 1
            checked["bytes"] += record.bytes
            if progress:
                progress(checked["bytes"], total)
    elif any(folder.glob("vocabulary.*")):
        raise VerificationError(f"{folder / MANIFEST} is missing")
    try:
        index = CountIndex.open(folder)
    except NoIndexError:
        raise
    except IndexFormatError as error:
        raise VerificationError(str(error)) from error
    with index:
        for shard in index.shards:
            rng = np.random.default_rng(0)
            rows = shard.size - 1
            sample = np.arange(rows) if rows <= SAMPLED_ROWS else np.sort(rng.choice(rows, SAMPLED_ROWS, replace=False))
            wrong = shard.first_disorder(sample)
            if wrong is not None:
                raise VerificationError(f"{folder / shard.table_name} is out of order at row {wrong}")
            checked["rows_compared"] += len(sample)
    return checked
