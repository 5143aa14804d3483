"""Properties of an open index: its size, documents, sources and settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from factcensus.indexer.answers import IndexInfo, SourceSize

if TYPE_CHECKING:
    from factcensus.indexer.opened import OpenedIndex


def describe(index: OpenedIndex) -> IndexInfo:
    """Return the properties of an index."""
    manifest = index.manifest
    size = index.file_bytes()
    deleted = sum(len(shard.deleted) for shard in index.shards)
    documents = sum(shard.documents for shard in index.shards)
    sources = manifest.sources if manifest else None
    part = manifest.slice if manifest else None
    return IndexInfo(
        name=index.name,
        digest=index.digest,
        generation=index.generation,
        analyzer=index.analyzer.label,
        layout=manifest.layout if manifest else "suffix-array",
        documents=documents - deleted,
        repeated_documents=sum(len(shard.repeated) for shard in index.shards) if manifest else None,
        deleted_documents=deleted if manifest else None,
        tokens=manifest.tokens if manifest else sum(shard.size for shard in index.shards) - documents,
        types=index.lexicon.types,
        shards=len(index.shards),
        bytes=size,
        text_bytes=manifest.text_bytes if manifest else None,
        bytes_per_text_byte=round(size / manifest.text_bytes, 4) if manifest and manifest.text_bytes else None,
        keeps_text=index.keeps_text,
        kept_bytes_per_text_byte=_kept_per_text_byte(index),
        skipped_lines=manifest.skipped_lines if manifest else None,
        sources=None if sources is None else {name: SourceSize(**size) for name, size in sources.items()},
        slice=part,
    )


def _kept_per_text_byte(index: OpenedIndex) -> float | None:
    """Return the size of the kept texts per byte of all texts, including deleted documents."""
    kept = [shard.kept for shard in index.shards if shard.kept is not None]
    texts = sum(each.text_bytes for each in kept)
    return round(sum(each.size_bytes for each in kept) / texts, 4) if texts else None
