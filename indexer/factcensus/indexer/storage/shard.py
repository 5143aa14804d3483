"""One open shard of an index: the queries that every layout answers, and its documents."""

from __future__ import annotations

import errno
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from factcensus.indexer.arrays import Mask, Numbers, Stop, TokenArray
from factcensus.indexer.errors import IndexerError, IndexFormatError, too_many_files
from factcensus.indexer.kernels import search
from factcensus.indexer.kernels.entities import FormRanges
from factcensus.indexer.kernels.ngrams import NO_GROUPS, Selection
from factcensus.indexer.kernels.pairs import Mentions, select_mentions
from factcensus.indexer.storage.kept import KeptTexts, TextBlocks
from factcensus.indexer.storage.layout import HeldFile, hash_file, map_file
from factcensus.indexer.storage.manifest import FileRecord, ShardRecord, kept_name

if TYPE_CHECKING:
    from factcensus.indexer.kernels.forms import Forms


class RowReader(Protocol):
    """A source of document rows other than the document table."""

    def rows(self, documents: Sequence[int]) -> list[dict[str, Any]]:
        """Return the rows of some documents, given in ascending order."""
        ...


class Located(NamedTuple):
    """The occurrences of many forms in one shard, as the compiled code for entities and pairs reads them.

    Attributes:
        rows: The rows of all occurrences and their documents.
        forms: The forms, and the range of rows of each.
        text: The text of the shard for code that reads documents through: token ids, or a compact text.
        reading: int8 (entities,): whether the documents of the partners of an entity are read for its occurrences
            (1), or the rows of the entity are visited (0); -1 if the compiled code chooses.
    """

    rows: search.Rows
    forms: FormRanges
    text: Any
    reading: npt.NDArray[np.int8]


class Occurrences(Protocol):
    """The occurrences of the forms of a table of facts in one shard, before they are located."""

    @property
    def hits(self) -> npt.NDArray[np.int64]:
        """int64 (entities,): occurrences of all forms of each entity; an upper bound before they are located."""
        ...

    @property
    def whole(self) -> bool:
        """Whether all parts of a table can be located together; otherwise each part is located separately."""
        ...

    def locate(
        self,
        entities: npt.NDArray[np.int64],
        leaders: npt.NDArray[np.int64],
        partners: npt.NDArray[np.int64],
        threads: int,
        stop: Stop,
    ) -> Located:
        """Find the occurrences needed to count some entities, and the pairs of leaders and partners."""
        ...


class Shard(ABC):
    """The files of one shard, read-only. Each layout is a subclass.

    Attributes:
        number: The shard number in the names of its files.
        token_bytes: Width of a token id; ``token_dtype`` is its NumPy type. The largest id separates documents.
        size: Number of tokens, including separators.
        documents: Number of documents, including deleted ones.
        first_document: Number of its first document in the whole index.
        deleted: uint32, the numbers of deleted documents; ``repeated`` those with the text of an earlier document.
        kept: The original texts of its documents, or None.
        frequent: The stored counts of frequent n-grams by their rows, uint32 (n-grams, 6); empty if the layout stores
            them by their tokens.
    """

    token_bytes: int
    token_dtype: np.dtype[Any]
    size: int
    documents: int
    deleted: npt.NDArray[np.uint32]
    repeated: npt.NDArray[np.uint32]
    frequent: npt.NDArray[np.uint32]
    kept: TextBlocks | None = None

    def __init__(self, folder: Path, suffix: str, first_document: int, record: ShardRecord | None) -> None:
        self.folder = folder
        self._suffix = suffix
        self.number = int(suffix[1:] or 0)
        self._record = record
        self.first_document = first_document
        #: The document table at the time of opening; None in an index built by infini-gram.
        self.rows_file = HeldFile(folder / f"documents{suffix}.parquet") if record else None
        #: Reads document rows in an index built by infini-gram.
        self.metadata: RowReader | None = None

    def open_kept(self, files: Mapping[str, FileRecord]) -> None:
        """Open the original texts, if the manifest lists them; the number of documents must be known."""
        if (name := kept_name(self.number)) in files:
            self.kept = KeptTexts(self.folder / name, self.documents)

    def _open_states(self, files: Mapping[str, FileRecord]) -> None:
        """Open the original texts, and the lists of deleted and repeated documents.

        The number of documents must be known.
        """
        self.open_kept(files)
        _, deleted, repeated = self._record.state_files if self._record else (None, None, None)
        self.deleted = open_numbers(self.folder, deleted, files)
        if deleted and deleted in files and hash_file(self.folder / deleted) != files[deleted].sha256:
            # Otherwise a deleted document could silently be counted again; the file is small.
            raise IndexFormatError(f"{self.folder / deleted} was altered; copy the index again or rebuild it")
        self.repeated = open_numbers(self.folder, repeated, files)
        if max(self.deleted.max(initial=0), self.repeated.max(initial=0)) >= max(1, self.documents):
            raise IndexFormatError(
                f"{self.folder}: shard {self._suffix[1:]} lists unknown deleted or repeated documents; copy "
                "the index again or rebuild it"
            )

    # --- the queries of a layout --------------------------------------------------------------------------------------

    @property
    @abstractmethod
    def document_starts(self) -> npt.NDArray[np.int64]:
        """int64 (documents,): the position of the separator of each document.

        Raises:
            IndexFormatError: The positions are not in order.
        """

    @abstractmethod
    def count(self, token_ids: Sequence[int], counted: Mask, column: int, stop: Stop) -> tuple[int, int]:
        """Return occurrences and documents of these tokens; see :func:`ngrams.count_range`."""

    @abstractmethod
    def count_all(
        self, tokens: TokenArray, starts: Numbers, counted: Mask, column: int, stop: Stop, counts: Numbers
    ) -> None:
        """Add occurrences and documents of each ``tokens[starts[i]:starts[i + 1]]`` to ``counts``, int64 (n, 2)."""

    @abstractmethod
    def count_groups(
        self, token_ids: Sequence[int], counted: Mask, groups: npt.NDArray[np.int32], stop: Stop, counts: Numbers
    ) -> None:
        """Add occurrences and documents of these tokens per group of documents to ``counts``, int64 (groups, 2)."""

    @abstractmethod
    def occurrences(self, forms: Forms, selection: Selection, reading: int) -> Occurrences:
        """Return the occurrences of the forms of a table of facts.

        Args:
            forms: The surface forms of all entities.
            selection: The documents to count and their groups.
            reading: 1 or 0 to force or forbid reading documents through, -1 to choose.
        """

    @abstractmethod
    def most_occurrences(self, token_ids: Sequence[int]) -> int:
        """Return an upper bound of the number of occurrences of these tokens, without visiting them."""

    def most_visited(self, token_ids: Sequence[int], counted: Mask, column: int) -> int:  # noqa: ARG002  # for layouts
        """Return an upper bound of the occurrences that :meth:`count` visits; stored counts need no visit."""
        return self.most_occurrences(token_ids)

    @abstractmethod
    def positions_of(self, token_ids: Sequence[int]) -> npt.NDArray[np.int64]:
        """Return the positions of all occurrences of these tokens, in any order."""

    @abstractmethod
    def tokens(self, begin: int, end: int) -> npt.NDArray[np.integer[Any]]:
        """Return the token ids at the positions [begin, end)."""

    @abstractmethod
    def check_order(self, most: int | None) -> int:
        """Check that the files of the shard agree with each other, beyond their checksums.

        Args:
            most: Maximum number of checked rows; None to check all of them.

        Returns:
            The number of checked rows.

        Raises:
            VerificationError: They do not; the message names the file.
        """

    @abstractmethod
    def count_frequent(
        self, living: npt.NDArray[np.bool_] | None, distinct: npt.NDArray[np.bool_] | None
    ) -> npt.NDArray[np.uint32]:
        """Return the content of ``frequent.N.G``; see :func:`frequent.count_frequent`."""

    def selection(self, counted: Mask, column: int, groups: npt.NDArray[np.int32] | None = None) -> Selection:
        """Return the documents to count and their groups; see :class:`ngrams.Selection`."""
        return Selection(counted, NO_GROUPS if groups is None else groups, self.frequent, column)

    # --- documents ----------------------------------------------------------------------------------------------------

    @cached_property
    def blocks(self) -> npt.NDArray[np.int32]:
        """The rank structure for finding the document of a position; see :func:`search.block_documents`."""
        return search.block_documents(self.document_starts, self.size)

    @property
    def _positions(self) -> search.Rows:
        """Rows for finding the documents of positions; only their documents and blocks are used."""
        return self._own_positions

    @cached_property
    def _own_positions(self) -> search.Rows:
        """Rows that are positions themselves."""
        nothing = np.zeros(0, np.uint32)
        nothing.flags.writeable = False
        return search.Rows(nothing, 1, 1, self.document_starts, self.blocks, self.size)

    def documents_of(self, positions: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return the document of each position."""
        return search.documents_of(self._positions, positions)

    def mentions(self, forms: Sequence[Sequence[int]], counted: Mask, *, overlapping: bool = False) -> Mentions:
        """Return the mentions of an entity in the counted documents.

        Args:
            forms: The token ids of its surface forms.
            counted: bool (documents,), or of size 0 for all.
            overlapping: Return every occurrence of the only form instead of leftmost-longest mentions.
        """
        positions = [self.positions_of(form) for form in forms]
        if overlapping:
            starts = np.sort(positions[0])
            ends = starts + len(forms[0])
        else:
            starts, ends = select_mentions(positions, [len(form) for form in forms])
        documents = self.documents_of(starts)
        if len(counted):
            kept = counted[documents]
            starts, ends, documents = starts[kept], ends[kept], documents[kept]
        return Mentions(starts, ends, documents)

    def document_span(self, document: int) -> tuple[int, int]:
        """Return the positions [begin, end) of the tokens of a document, without its separator."""
        starts = self.document_starts
        end = int(starts[document + 1]) if document + 1 < len(starts) else self.size
        return int(starts[document]) + 1, end

    def starts_of(self, documents: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return the position of the separator of each given document."""
        return self.document_starts[documents]

    def document_spans(self, documents: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return the start (at the separator) and the end of each given document."""
        following = np.minimum(documents + 1, self.documents - 1)
        ends = np.where(documents + 1 < self.documents, self.starts_of(following), self.size)
        return self.starts_of(documents), ends

    def token_parts(self, parts: Sequence[tuple[int, int]]) -> list[npt.NDArray[np.integer[Any]]]:
        """Run :meth:`tokens` for many ranges."""
        return [self.tokens(begin, end) for begin, end in parts]

    @property
    def rows_path(self) -> Path:
        """The path of the document table, which does not exist in an index built by infini-gram."""
        return self.folder / f"documents{self._suffix}.parquet"

    def check_rows(self, rows: int) -> None:
        """Check the number of rows found in the document table, on which compiled code relies.

        Raises:
            IndexFormatError: The number differs from the number of documents.
        """
        if rows != self.documents:
            raise IndexFormatError(
                f"{self.rows_path} has {rows} rows for {self.documents} documents; run 'factcensus index verify'"
            )

    @contextmanager
    def _table(self) -> Iterator[pq.ParquetFile]:
        path = self.rows_file.readable if self.rows_file else self.rows_path
        with _readable(self.rows_path), pq.ParquetFile(path, page_checksum_verification=True) as file:
            yield file

    def row_batches(self, columns: Sequence[str] | None = None) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Yield the document table, or some columns, in batches, each with the number of its first document."""
        first = 0
        with self._table() as file:
            for group in range(file.num_row_groups):
                for batch in file.read_row_group(group, columns=columns).to_batches():
                    yield first, batch
                    first += batch.num_rows

    def rows(self, documents: Sequence[int]) -> list[dict[str, Any]]:
        """Return the document rows of some documents in ascending order; without a document table, empty records."""
        if self._record is None:
            return self.metadata.rows(documents) if self.metadata else [{} for _ in documents]
        with self._table() as file:
            return take_rows(file, documents)


def row_groups_of(metadata: pq.FileMetaData, documents: Sequence[int]) -> tuple[Numbers, Numbers]:
    """Return the number of the row group of each document, and the first document of each row group."""
    sizes = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
    first_rows = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    return np.searchsorted(first_rows, documents, side="right") - 1, first_rows


def take_rows(file: pq.ParquetFile, documents: Sequence[int]) -> list[dict[str, Any]]:
    """Return the rows of a document table with these numbers, in ascending order."""
    rows: list[dict[str, Any]] = []
    groups, first_rows = row_groups_of(file.metadata, documents)
    for group in np.unique(groups).tolist():
        wanted = np.asarray(documents)[groups == group] - first_rows[group]
        rows += file.read_row_group(group).take(pa.array(wanted, pa.int64())).to_pylist()
    return rows


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except MemoryError as error:  # pa.ArrowMemoryError is one
        raise IndexerError(f"not enough memory to read {path} ({error})") from error
    except (OSError, pa.ArrowException) as error:
        if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
            raise too_many_files(path) from error
        raise IndexFormatError(f"cannot read {path} ({error}); run 'factcensus index verify'") from error


def open_numbers(folder: Path, name: str | None, files: Collection[str]) -> npt.NDArray[np.uint32]:
    """Map a file of u32; empty if it is not in the manifest, because an interrupted change may leave other files."""
    if name is not None and name in files:
        return map_file(folder / name).view("<u4")
    nothing = np.zeros(0, np.uint32)
    nothing.flags.writeable = False  # the same type as a mapped file, so that code is compiled only once
    return nothing
