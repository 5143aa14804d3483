"""Opening the files of an index in its layout."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from factcensus.indexer.analyzers.words import WordTable
from factcensus.indexer.storage.manifest import FileRecord, Layout, ShardRecord
from factcensus.indexer.storage.shard import Shard
from factcensus.indexer.storage.suffix_shard import SuffixArrayShard
from factcensus.indexer.storage.vocabulary import Vocabulary, write_vocabulary

if TYPE_CHECKING:
    from factcensus.indexer.storage.compact_shard import CompactShard


def _kind_of(layout: Layout) -> type[SuffixArrayShard | CompactShard]:
    """Return the class of the shards of a layout; only the code of one is imported."""
    if layout == "suffix-array":
        return SuffixArrayShard
    from factcensus.indexer.storage.compact_shard import CompactShard

    return CompactShard


def open_shard(
    folder: Path, record: ShardRecord, layout: Layout, first_document: int, files: Mapping[str, FileRecord]
) -> Shard:
    """Open a shard of an index.

    Args:
        folder: The folder of its files.
        record: Its record in the manifest.
        layout: The layout of the index.
        first_document: Number of its first document in the whole index.
        files: The files of the manifest; optional files are only opened if they are listed.

    Raises:
        IndexFormatError: Its files do not match.
    """
    return _kind_of(layout)(folder, f".{record.number}", first_document, record, files)


def open_text(folder: Path, record: ShardRecord, layout: Layout) -> Shard:
    """Open only the text of a shard, from which other files are derived; see :func:`open_shard`."""
    return _kind_of(layout)(folder, f".{record.number}", 0)


def open_vocabulary(folder: Path, generation: int, layout: Layout) -> Vocabulary:
    """Open a generation of the vocabulary of an index of words.

    Raises:
        IndexFormatError: Its files are damaged.
    """
    if layout == "suffix-array":
        return Vocabulary(folder, generation)
    from factcensus.indexer.storage.compact_vocabulary import FrontCodedVocabulary

    return FrontCodedVocabulary(folder, generation)


def write_lexicon(folder: Path, generation: int, table: WordTable, layout: Layout) -> dict[str, FileRecord]:
    """Write a generation of the vocabulary, and return the records of its files by name."""
    if layout == "compact":
        from factcensus.indexer.storage.compact_vocabulary import write_front_coded

        return write_front_coded(folder, generation, table)
    digests = write_vocabulary(folder, generation, table)
    return {name: FileRecord((folder / name).stat().st_size, digest) for name, digest in digests.items()}
