"""Corpora: their files (:mod:`files`), bytes (:mod:`streams`) and documents (:mod:`records`).

Documents are streamed, and no file is held in memory. A bad line either raises an error with its file and line number,
or is counted and skipped.
"""

from factcensus.indexer.corpus.files import ENDINGS, SourceFile, find_source_files
from factcensus.indexer.corpus.records import (
    UNKNOWN_SOURCE,
    BadLinePolicy,
    BadRecordError,
    Document,
    SkippedLines,
    document_of_fields,
    parse_line,
    read_documents,
)
from factcensus.indexer.corpus.streams import LineLimit
from factcensus.indexer.corpus.texts import Piece, pieces_of, read_text_records, read_texts

__all__ = [
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
    "read_documents",
    "read_text_records",
    "read_texts",
]
