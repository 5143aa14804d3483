"""Reading the documents of a corpus, for a build, which needs them whole, and for a scan, which needs their texts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from factcensus.indexer.corpus.batches import documents_of, regrouped
from factcensus.indexer.corpus.files import SourceFile
from factcensus.indexer.corpus.records import BadRecordError, Document
from factcensus.indexer.corpus.streams import LineLimit
from factcensus.indexer.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

BadLinePolicy = Literal["fail", "skip"]
#: Called with the number of a bad record and the reason.
OnBad = Callable[[int, BadRecordError], None]
#: Bytes of text and metadata that are read at once.
BATCH_BYTES = 4 << 20
_ANY_LINE = LineLimit()
#: Bytes of a Parquet file, from a row group's first byte to the next one's, that make one piece.
PIECE_BYTES = 128 << 20


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a corpus file: all of it, or the row groups of a Parquet file that begin in a range of its bytes.

    Attributes:
        file: The file.
        begin: The first byte of the range.
        end: The byte after the last; None for the end of the file.
    """

    file: SourceFile
    begin: int = 0
    end: int | None = None

    @property
    def size_bytes(self) -> int:
        """Number of bytes of the range."""
        return (self.file.size_bytes if self.end is None else self.end) - self.begin


def pieces_of(file: SourceFile) -> list[Piece]:
    """Divide a file into pieces: ranges of a Parquet file, without reading it; any other file is one piece."""
    if not file.name.lower().endswith(".parquet") or file.size_bytes <= PIECE_BYTES:
        return [Piece(file)]
    begins = range(0, file.size_bytes - PIECE_BYTES // 2, PIECE_BYTES)  # a short rest belongs to the last piece
    return [Piece(file, begin, end) for begin, end in zip(begins, [*begins[1:], None], strict=True)]


@dataclass(frozen=True, slots=True)
class Fields:
    """The fields of a document.

    Attributes:
        text: The field or column with the text; ``a.b`` is the key ``a.b``, or the key ``b`` of the object ``a``.
        id: The field with the id, likewise.
        whole: Whether more than the text is read.
    """

    text: str
    id: str
    whole: bool = True

    @property
    def needs_id(self) -> bool:
        """Whether a record without an id is bad."""
        return self.id != "id"


def read_batches(  # noqa: PLR0913 - options, which are given by name
    piece: Piece,
    *,
    text_field: str = "text",
    id_field: str = "id",
    whole: bool = True,
    on_bad_line: BadLinePolicy = "fail",
    limit: LineLimit = _ANY_LINE,
    batch_bytes: int = BATCH_BYTES,
    on_skip: Callable[[str], None] = lambda _reason: None,
    on_bytes: Callable[[int], None] = lambda _position: None,
) -> Iterator[pa.RecordBatch]:
    """Yield the documents of a piece of a corpus file in order, as batches of at least one document (:mod:`batches`).

    Args:
        piece: A file from :func:`find_source_files`, or a part of it.
        text_field: The field or column with the text; ``a.b`` is the key ``a.b``, or the key ``b`` of the object ``a``.
        id_field: The field with the id, likewise. If it is not ``id``, a record without it is a bad line.
        whole: Read the whole documents, not only their texts. For texts alone, give no ``id_field``.
        on_bad_line: ``fail`` stops at a bad line, ``skip`` counts it and continues.
        limit: A longer line is a bad line.
        batch_bytes: A batch ends with the document that brings it to this many bytes of text and characters of
            metadata.
        on_skip: Called with the reason for each skipped line.
        on_bytes: Called from time to time with the number of (compressed) bytes read.

    Raises:
        InputError: A line is bad and ``on_bad_line`` is ``fail`` (the message has file and line number), or the file is
            truncated or does not match its ending.
    """
    from factcensus.indexer.corpus.json_lines import read_json
    from factcensus.indexer.corpus.parquet import read_parquet

    def on_bad(record: int, error: BadRecordError) -> None:
        _bad_record(piece.file, record, error, on_bad_line, on_skip)

    fields = Fields(text_field, id_field, whole)
    if piece.file.name.lower().endswith(".parquet"):
        batches = read_parquet(piece, fields, on_bad, on_bytes)
    else:
        batches = read_json(piece.file, fields, limit, on_bad, on_bytes)
    yield from regrouped(batches, batch_bytes)


def read_documents(file: SourceFile, **options: Any) -> Iterator[Document]:
    """Yield the documents of one file in order; for options and errors see :func:`read_batches`."""
    for batch in read_batches(Piece(file), **options):
        yield from documents_of(batch)


def _bad_record(
    file: SourceFile, record: int, error: BadRecordError, on_bad_line: BadLinePolicy, on_skip: Callable[[str], None]
) -> None:
    """Skip a bad line, or raise an error.

    Raises:
        InputError: ``on_bad_line`` is ``fail``; the message has file and line number.
    """
    message = f"{file.name}, line {record + 1}: {error}"
    if on_bad_line == "fail":
        raise InputError(f"{message}; fix the line, give another --text-field, or use --on-bad-line skip") from error
    on_skip(message)


class SkippedLines:
    """A counter of the skipped lines of a file, which lists only the first ones, because there may be a million."""

    #: Maximum number of lines listed per file.
    MOST_NAMED = 20

    def __init__(self, file: SourceFile, notice: Callable[[str], None]) -> None:
        self._file, self._notice = file, notice
        self.count = 0

    def __call__(self, reason: str) -> None:
        """Count a skipped line."""
        self.count += 1
        if self.count <= self.MOST_NAMED:
            self._notice(reason)
        elif self.count == self.MOST_NAMED + 1:
            self._notice(f"{self._file.name}: further bad lines are counted but not listed")
