"""Opening a shard in the layout of its index."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from factcensus.indexer.storage.manifest import FileRecord, ShardRecord
from factcensus.indexer.storage.shard import Shard
from factcensus.indexer.storage.suffix_shard import SuffixArrayShard


def open_shard(folder: Path, record: ShardRecord, first_document: int, files: Mapping[str, FileRecord]) -> Shard:
    """Open a shard of an index.

    Args:
        folder: The folder of its files.
        record: Its record in the manifest.
        first_document: Number of its first document in the whole index.
        files: The files of the manifest; optional files are only opened if they are listed.

    Raises:
        IndexFormatError: Its files do not belong together.
    """
    return SuffixArrayShard(folder, f".{record.number}", first_document, record, files)


def open_text(folder: Path, record: ShardRecord) -> Shard:
    """Open only the text of a shard, from which other files are derived; see :func:`open_shard`."""
    return SuffixArrayShard(folder, f".{record.number}", 0)
