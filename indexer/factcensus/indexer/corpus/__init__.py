"""Corpora: their files (:mod:`files`), bytes (:mod:`streams`) and documents (:mod:`reading`).

Documents are streamed, and no file is held in memory. A bad line either raises an error with its file and line number,
or is counted and skipped.
"""

from factcensus.indexer.corpus.files import ENDINGS, SourceFile, find_source_files
from factcensus.indexer.corpus.reading import (
    BATCH_BYTES,
    BadLinePolicy,
    Piece,
    SkippedLines,
    pieces_of,
    read_batches,
    read_documents,
)
from factcensus.indexer.corpus.records import (
    UNKNOWN_SOURCE,
    BadRecordError,
    Document,
    document_of_fields,
    parse_line,
)
from factcensus.indexer.corpus.streams import LineLimit

__all__ = [
    "BATCH_BYTES",
    "ENDINGS",
    "UNKNOWN_SOURCE",
    "BadLinePolicy",
    "BadRecordError",
    "Document",
    "LineLimit",
    "Piece",
    "SkippedLines",
    "SourceFile",
    "document_of_fields",
    "find_source_files",
    "parse_line",
    "pieces_of",
    "read_batches",
    "read_documents",
]
