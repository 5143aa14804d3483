"""One shard of a remote index: its files, and the reads that gather the parts that a query needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from factcensus.indexer.arrays import Mask, Numbers, Stop, TokenArray
from factcensus.indexer.errors import IndexFormatError, InputError
from factcensus.indexer.infini_gram.metadata import metadata_row, wrong_line
from factcensus.indexer.kernels.ngrams import Selection
from factcensus.indexer.remote.gathered import Found, GatheredShard
from factcensus.indexer.remote.landmarks import FixedLandmarks, Grid, parse_grid, render_grid
from factcensus.indexer.remote.locate import Offsets, locate
from factcensus.indexer.remote.rounds import Span, Steps
from factcensus.indexer.remote.rows import read_table_rows
from factcensus.indexer.remote.search import KEY_BYTES, Loaded, Table, read_rows, search
from factcensus.indexer.remote.session import ObjectFile, Session
from factcensus.indexer.remote.texts import RemoteKept, TextSource
from factcensus.indexer.storage.layout import HeldFile, shard_shape
from factcensus.indexer.storage.sample import KEY_BYTES as SAMPLE_KEY_BYTES
from factcensus.indexer.storage.sample import Sample
from factcensus.indexer.storage.shard import Occurrences, Shard

if TYPE_CHECKING:
    from factcensus.indexer.kernels.forms import Forms

Ngram = tuple[int, ...]

#: Number of occurrences from which a count reads ``frequent.N.G`` instead of the rows, if the index has it.
MANY_OCCURRENCES = 1 << 18
#: Maximum number of occurrences that one query gathers in a shard; they take about 40 bytes of memory each.
MOST_OCCURRENCES = 1 << 27


@dataclass(frozen=True)
class ShardFiles:
    """The files of one shard.

    Attributes:
        folder: Its folder, and ``suffix`` the suffix of the file names (``.N``, or empty), for messages.
        rows: ``documents.N.parquet``, or None.
        frequent: ``frequent.N.G``, or None.
        metadata: ``metadata.N`` and ``metaoff.N``, or None.
    """

    folder: str
    suffix: str
    tokenized: ObjectFile
    table: ObjectFile
    offset: ObjectFile
    rows: ObjectFile | None = None
    metadata: tuple[ObjectFile, ObjectFile] | None = None
    frequent: ObjectFile | None = None


class RemoteShard(Shard):
    """A shard that is read over a network, only in the parts that a query needs.

    Args:
        session: The open index.
        files: The files of the shard.
        number: Number of the shard.
        first_document: Number of its first document in the whole index.
        sample: The content of ``sample.N``, or None.
        deleted: The numbers of deleted documents; ``repeated`` those with the text of an earlier one.
    """

    def __init__(
        self,
        session: Session,
        files: ShardFiles,
        number: int,
        first_document: int,
        sample: Sample | None = None,
        deleted: npt.NDArray[np.uint32] | None = None,
        repeated: npt.NDArray[np.uint32] | None = None,
    ) -> None:
        self.session, self.files = session, files
        self.number, self.first_document = number, first_document
        shape = shard_shape(files.folder, files.suffix, files.tokenized.size, files.table.size, files.offset.size)
        self.token_bytes, self.size, self.documents = shape.token_bytes, shape.rows, shape.documents
        self.token_dtype = np.dtype(f"<u{self.token_bytes}")
        self.deleted, self.repeated = _numbers(deleted), _numbers(repeated)
        self.frequent = _numbers(None).reshape(-1, 6)
        self.table = Table(
            files.tokenized,
            files.table,
            shape.width,
            shape.token_bytes,
            shape.rows,
            self._load_grid(),
            FixedLandmarks(SAMPLE_KEY_BYTES, sample.rows, sample.keys) if sample else FixedLandmarks(),
        )
        self.offsets = Offsets(files.offset, shape.token_bytes, shape.documents, shape.rows)
        if sample is not None:
            self.offsets.sampled(sample.document_step, sample.offsets.astype(np.int64) // shape.token_bytes)
        if session.cache.has(files.offset.name, files.offset.size):
            self._keep_offsets(session.cache.load(files.offset.name) or b"")

    # --- reading ------------------------------------------------------------------------------------------------------

    def gather(self, ngrams: Sequence[Ngram], reach: int, *, stored: bool = False) -> Steps[GatheredShard]:
        """Read all occurrences of some n-grams.

        Args:
            ngrams: The n-grams, without repetitions.
            reach: The largest number of tokens between two mentions that matters.
            stored: The counts stored in ``frequent.N.G`` are enough for very frequent n-grams.

        Raises:
            InputError: There are too many occurrences for the memory.
            IndexFormatError: A file is damaged.
        """
        loaded = Loaded()
        stored = stored and self.files.frequent is not None
        inside = MANY_OCCURRENCES if stored else MOST_OCCURRENCES // max(1, len(ngrams))
        found_ranges = yield from search(self.table, self.queries(ngrams), loaded, inside=inside)
        ranges: list[tuple[int, int]] = [(low, high) for low, high in found_ranges.tolist()]
        counts: dict[int, npt.NDArray[np.uint32]] = {}
        many = [i for i, (low, high) in enumerate(ranges) if high - low > MANY_OCCURRENCES]
        if many and stored and self.files.frequent is not None:
            content = yield from self.session.cached(self.files.frequent)
            counts = _stored_counts(np.frombuffer(content, "<u4").reshape(-1, 6), ranges, many)
            for i in counts:
                ranges[i] = (0, 0)
        self._check_occurrences(sum(high - low for low, high in ranges))
        positions = yield from read_rows(self.table, ranges, loaded)
        found = Found.of(positions)
        documents = yield from locate(self.offsets, found.positions, self._read_offsets())
        self.save_grid()
        return GatheredShard(self, ngrams, positions, found, documents, reach, counts)

    def _check_occurrences(self, occurrences: int) -> None:
        if occurrences > MOST_OCCURRENCES:
            size = occurrences * self.table.width
            raise InputError(
                f"the texts occur {occurrences:,} times in shard {self.number}; counting their documents would read "
                f"{size / 1e9:,.1f} GB; query rarer texts, or copy the index to this machine"
            )

    def queries(self, ngrams: Sequence[Ngram]) -> list[bytes]:
        """Return the bytes of each n-gram in ``tokenized.N``."""
        return [np.array(ngram, self.token_dtype).tobytes() for ngram in ngrams]

    def _read_offsets(self) -> Steps[None]:
        content = yield from self.session.cached(self.files.offset)
        self._keep_offsets(content)

    def _keep_offsets(self, content: bytes) -> None:
        self.offsets.whole = self.offsets.read(content, 0)

    def read_tokens(self, parts: Sequence[tuple[int, int]]) -> Steps[list[npt.NDArray[np.integer[Any]]]]:
        """Read the token ids at several ranges of positions."""
        width = self.token_bytes
        data = yield [Span(self.files.tokenized, begin * width, end * width) for begin, end in parts]
        return [np.frombuffer(each, self.token_dtype) for each in data]

    @property
    def text_source(self) -> TextSource:
        """The original texts, which the index must have: its kept texts, or tokens that are bytes."""
        return self.kept if isinstance(self.kept, RemoteKept) else _ByteTexts(self)

    def read_spans(self, documents: Sequence[int]) -> Steps[list[tuple[int, int]]]:
        """Read the start (at the separator) and the end of documents."""
        if self.offsets.whole is None:
            data = yield [
                Span(self.files.offset, 8 * document, min(8 * document + 16, self.files.offset.size))
                for document in documents
            ]
            begins = [self.offsets.read(each, document) for each, document in zip(data, documents, strict=True)]
        else:
            begins = [self.offsets.whole[document : document + 2] for document in documents]
        return [(int(each[0]), int(each[1]) if len(each) > 1 else self.size) for each in begins]

    # --- landmarks ----------------------------------------------------------------------------------------------------

    def _load_grid(self) -> Grid:
        grid = Grid(KEY_BYTES)
        stored = self.session.cache.load(f"grid.{self.files.table.name}")
        if stored is not None:
            grid.add(parse_grid(stored, self.size, KEY_BYTES))
            if grid.disorder() is not None:
                grid = Grid(KEY_BYTES)
        grid.changed = False
        return grid

    def save_grid(self) -> None:
        """Keep the rows that searches probed, for later commands."""
        grid = self.table.grid
        if grid.changed:
            grid.changed = False
            self.session.cache.store(f"grid.{self.files.table.name}", render_grid(grid))

    # --- one query of this shard alone --------------------------------------------------------------------------------

    def _gathered(self, ngrams: Sequence[Sequence[int]], reach: int = 0) -> GatheredShard:
        return self.session.ask(self.gather(list(dict.fromkeys(map(tuple, ngrams))), reach))

    @property
    def document_starts(self) -> Numbers:
        """int64 (documents,): the position of the separator of each document; reads the whole file once."""
        if self.offsets.whole is None:
            self.session.ask(self._read_offsets())
        assert self.offsets.whole is not None
        return self.offsets.whole

    def count(self, token_ids: Sequence[int], counted: Mask, column: int, stop: Stop) -> tuple[int, int]:
        """Return occurrences and documents of these tokens."""
        return self._gathered([token_ids]).count(token_ids, counted, column, stop)

    def count_all(
        self, tokens: TokenArray, starts: Numbers, counted: Mask, column: int, stop: Stop, counts: Numbers
    ) -> None:
        """Add occurrences and documents of each ``tokens[starts[i]:starts[i + 1]]`` to ``counts``."""
        gathered = self._gathered(flat_ngrams(tokens, starts))
        gathered.count_all(tokens, starts, counted, column, stop, counts)

    def count_groups(
        self, token_ids: Sequence[int], counted: Mask, groups: npt.NDArray[np.int32], stop: Stop, counts: Numbers
    ) -> None:
        """Add occurrences and documents of these tokens per group of documents to ``counts``."""
        self._gathered([token_ids]).count_groups(token_ids, counted, groups, stop, counts)

    def occurrences(self, forms: Forms, selection: Selection, reading: int) -> Occurrences:
        """Return the occurrences of the forms of a table of facts."""
        raise NotImplementedError("an index at a URL counts tables of facts in the parts that it has gathered")

    def most_occurrences(self, token_ids: Sequence[int]) -> int:
        """Return the number of occurrences of these tokens."""
        query = np.array(token_ids, self.token_dtype).tobytes()
        (found,) = self.session.ask(search(self.table, [query], Loaded())).tolist()
        return int(found[1] - found[0])

    def positions_of(self, token_ids: Sequence[int]) -> Numbers:
        """Return the positions of all occurrences of these tokens."""
        return self._gathered([token_ids]).positions_of(token_ids)

    def documents_of(self, positions: Numbers) -> Numbers:
        """Return the document of each position."""
        order = np.argsort(positions, kind="stable")
        documents = np.empty(len(positions), np.int64)
        documents[order] = self.session.ask(locate(self.offsets, positions[order], self._read_offsets()))
        return documents

    def tokens(self, begin: int, end: int) -> npt.NDArray[np.integer[Any]]:
        """Return the token ids at the positions [begin, end)."""
        (found,) = self.session.ask(self.read_tokens([(begin, end)]))
        return found

    def document_span(self, document: int) -> tuple[int, int]:
        """Return the positions [begin, end) of the tokens of a document, without its separator."""
        begins, ends = self.document_spans(np.array([document]))
        return int(begins[0]) + 1, int(ends[0])

    def document_spans(self, documents: Numbers) -> tuple[Numbers, Numbers]:
        """Return the start (at the separator) and the end of each given document, read in one round."""
        spans = np.array(self.session.ask(self.read_spans(documents.tolist())), np.int64).reshape(-1, 2)
        return spans[:, 0], spans[:, 1]

    def token_parts(self, parts: Sequence[tuple[int, int]]) -> list[npt.NDArray[np.integer[Any]]]:
        """Run :meth:`tokens` for many ranges, in one round."""
        return self.session.ask(self.read_tokens(parts))

    def check_order(self, most: int | None) -> int:
        """Refuse the check, which needs a local folder."""
        del most
        raise InputError(f"{self.files.table} cannot be verified over a network; copy the index to this machine")

    def count_frequent(
        self, living: npt.NDArray[np.bool_] | None, distinct: npt.NDArray[np.bool_] | None
    ) -> npt.NDArray[np.uint32]:
        """Refuse the count, which needs a local folder."""
        del living, distinct
        raise InputError(f"{self.files.table} cannot be changed over a network; copy the index to this machine")

    # --- document rows ------------------------------------------------------------------------------------------------

    def held_rows(self) -> HeldFile | None:
        """Return the document table, which is read completely once and kept in the cache folder; None without one."""
        file = self.files.rows
        if file is None:
            return None
        if not self.session.cache.has(file.name, file.size):
            self.session.ask(self.session.cached(file))
        return HeldFile(self.session.cache.path(file.name))

    def check_rows(self, rows: int) -> None:
        """Check the number of rows found in the document table.

        Raises:
            IndexFormatError: The number differs from the number of documents.
        """
        if rows != self.documents:
            raise IndexFormatError(
                f"{self.files.rows} has {rows} rows for {self.documents} documents; copy the index again"
            )

    def rows(self, documents: Sequence[int]) -> list[dict[str, Any]]:
        """Return the document rows of some documents in ascending order; without a document table, empty records."""
        if self.files.rows is not None:
            return self.session.ask(read_table_rows(self.session, self.files.rows, documents))
        if self.files.metadata is not None:
            return self.session.ask(self._metadata_rows(*self.files.metadata, documents))
        return [{} for _ in documents]

    def _metadata_rows(
        self, file: ObjectFile, offsets: ObjectFile, documents: Sequence[int]
    ) -> Steps[list[dict[str, Any]]]:
        data = yield [Span(offsets, 8 * each, min(8 * each + 16, offsets.size)) for each in documents]
        ends = [np.frombuffer(each, "<u8").tolist() for each in data]
        lines = [(each[0], each[1] if len(each) > 1 else file.size) for each in ends]
        for document, (begin, end) in zip(documents, lines, strict=True):
            if not 0 <= begin <= end <= file.size:
                raise wrong_line(file, document)
        # Each with the byte before it, which must end another line.
        found = yield [Span(file, max(0, begin - 1), end) for begin, end in lines]
        return [
            metadata_row(file, document, each[: min(1, begin)], each[min(1, begin) :])
            for document, (begin, _), each in zip(documents, lines, found, strict=True)
        ]


class _ByteTexts:
    """The texts of a shard whose tokens are bytes."""

    def __init__(self, shard: RemoteShard) -> None:
        self._shard = shard

    def find(self, documents: Numbers) -> Steps[Numbers]:
        """Return the ranges of documents, without their separators."""
        spans = yield from self._shard.read_spans(documents.tolist())
        ranges = np.array(spans, np.int64).reshape(-1, 2)
        ranges[:, 0] += 1
        return ranges

    def sizes(self, ranges: Numbers) -> Numbers:
        """Return the number of bytes of each range."""
        return ranges[:, 1] - ranges[:, 0]

    def read(self, ranges: Numbers) -> Steps[list[bytes]]:
        """Return the texts."""
        found = yield from self._shard.read_tokens([(begin, end) for begin, end in ranges.tolist()])
        return [each.tobytes() for each in found]


def _stored_counts(
    frequent: npt.NDArray[np.uint32], ranges: Sequence[tuple[int, int]], many: Sequence[int]
) -> dict[int, npt.NDArray[np.uint32]]:
    """Return the four stored counts of those ranges of the table that have them."""
    found = {}
    lows = frequent[:, 0]
    for i in many:
        low, high = ranges[i]
        first, last = np.searchsorted(lows, [low, low + 1])
        for row in frequent[first:last]:
            if row[1] == high:
                found[i] = row[2:]
    return found


def flat_ngrams(tokens: npt.NDArray[np.uint32], starts: Numbers) -> list[Ngram]:
    """Return the distinct sequences ``tokens[starts[i]:starts[i + 1]]``."""
    ids = tokens.tolist()
    return list(dict.fromkeys(tuple(ids[begin:end]) for begin, end in pairwise(starts.tolist())))


def _numbers(values: npt.NDArray[np.uint32] | None) -> npt.NDArray[np.uint32]:
    numbers = np.zeros(0, np.uint32) if values is None else values
    numbers.flags.writeable = False  # like a mapped file, so that code is compiled only once
    return numbers
