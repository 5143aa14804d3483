"""Original texts of a remote index: ``kept.N``, or the tokens of an index of bytes, read in the needed blocks.

Most queries know the documents whose texts they need. So the places of all these texts are read in one round for all
shards, and their blocks in the next. More than :data:`PART_BYTES` are read in parts, to bound the memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np

from factcensus.indexer.arrays import Numbers
from factcensus.indexer.errors import IndexFormatError
from factcensus.indexer.remote.reader import Reader
from factcensus.indexer.remote.rounds import Span, Steps, together
from factcensus.indexer.remote.session import ObjectFile, Session
from factcensus.indexer.storage.kept import TAIL_BYTES, KeptShape, TextBlocks, blocks_of

#: Maximum number of bytes of blocks that are read in one round, unless one document is larger.
PART_BYTES = 8 << 20
#: Maximum number of documents whose places are read in one round in a search of all texts.
PART_DOCUMENTS = 4096
#: Maximum number of bytes that one query reads to search texts; about 3 GB of English text.
MOST_TEXT_BYTES = 1 << 30


class Ask(Protocol):
    """Runs work with the limits of one query."""

    def __call__(self, work: Steps[Any]) -> Any:
        """Return the result of the work."""
        ...


class TextSource(Protocol):
    """The texts of one shard. A range is the start and the end of a text in all texts of the shard, in bytes."""

    def find(self, documents: Numbers) -> Steps[Numbers]:
        """Return the ranges of documents in ascending order, int64 (n, 2)."""
        ...

    def sizes(self, ranges: Numbers) -> Numbers:
        """Return how many more bytes each of these ranges must read than those before it."""
        ...

    def read(self, ranges: Numbers) -> Steps[list[bytes]]:
        """Return the texts."""
        ...


def read_known(wanted: Sequence[tuple[TextSource, Numbers]], ask: Ask, reader: Reader) -> list[Iterator[bytes]]:
    """Return the texts of known documents, in few rounds; nothing is read if all together exceed the limit.

    Raises:
        RequestLimitError: The texts need more requests or bytes than allowed.
    """
    found = ask(together([source.find(documents) for source, documents in wanted]))
    sizes = [source.sizes(ranges) for (source, _), ranges in zip(wanted, found, strict=True)]
    total = sum(int(each.sum()) for each in sizes)
    reader.check_bytes(total)
    if total <= PART_BYTES:
        texts = ask(together([source.read(ranges) for (source, _), ranges in zip(wanted, found, strict=True)]))
        return [iter(each) for each in texts]
    return [_in_parts(source, ranges, ask) for (source, _), ranges in zip(wanted, found, strict=True)]


def read_all(source: TextSource, documents: Numbers, ask: Ask) -> Iterator[bytes]:
    """Yield the texts of many documents of a shard; each part is read when it is needed."""
    for first in range(0, len(documents), PART_DOCUMENTS):
        yield from _in_parts(source, ask(source.find(documents[first : first + PART_DOCUMENTS])), ask)


def _in_parts(source: TextSource, ranges: Numbers, ask: Ask) -> Iterator[bytes]:
    begin = 0
    while begin < len(ranges):
        sizes = np.cumsum(source.sizes(ranges[begin:]))
        end = begin + max(1, int(np.searchsorted(sizes, PART_BYTES, side="right")))
        yield from ask(source.read(ranges[begin:end]))
        begin = end


class RemoteKept(TextBlocks):
    """``kept.N`` of one remote shard.

    Args:
        session: The open index.
        file: The file.
        documents: Number of documents of the shard.
        summary: The result of :func:`read_summary`.

    Raises:
        IndexFormatError: The file is damaged, or has another number of documents.
    """

    def __init__(self, session: Session, file: ObjectFile, documents: int, summary: bytes) -> None:
        self._session, self._file = session, file
        self.size_bytes = file.size
        self._shape = _shape(summary[:TAIL_BYTES], file, documents)
        self.text_bytes = int.from_bytes(summary[TAIL_BYTES:], "little")
        #: int64 (blocks + 1,) each: ``begins`` and ``offsets``, once they were read.
        self._blocks: tuple[Numbers, Numbers] | None = None

    def texts(self, documents: Sequence[int] | Numbers) -> Iterator[bytes]:
        """Yield the texts of documents in ascending order."""
        return read_all(self, np.asarray(documents, np.int64), self._session.ask)

    def find(self, documents: Numbers) -> Steps[Numbers]:
        """Return the ranges of documents in the texts."""
        shape, cache = self._shape, self._session.cache
        name, spans = f"blocks.{self._file.name}", [Span(self._file, shape.begins, shape.size - TAIL_BYTES)]
        places = [Span(self._file, at, at + 16) for at in (shape.starts + 8 * documents).tolist()]
        if self._blocks is None and (stored := cache.load(name, spans[0].end - spans[0].begin)) is not None:
            self._keep_blocks(stored)
        if self._blocks is None:
            content, *data = yield spans + places
            self._keep_blocks(content)
            cache.store(name, content)
        else:
            data = list((yield places)) if places else []
        ranges = np.frombuffer(b"".join(data), "<i8").reshape(-1, 2)
        if np.any(ranges[:, 0] > ranges[:, 1]) or np.any(ranges < 0) or np.any(ranges > self.text_bytes):
            raise self._damaged()
        return ranges

    def _keep_blocks(self, content: bytes) -> None:
        begins, offsets = np.frombuffer(content, "<i8").reshape(2, -1)
        padded = int(offsets[-1]) + -int(offsets[-1]) % 8
        in_order = begins[0] == offsets[0] == 0 and np.all(np.diff(begins) > 0) and np.all(np.diff(offsets) > 0)
        if not in_order or begins[-1] != self.text_bytes or padded != self._shape.starts:
            raise self._damaged()
        self._blocks = begins, offsets

    def sizes(self, ranges: Numbers) -> Numbers:
        """Return the sizes of the blocks of each range that the ranges before it do not have."""
        assert self._blocks is not None
        begins, offsets = self._blocks
        firsts, lasts = blocks_of(ranges, begins)
        lasts = np.maximum(firsts, lasts)
        firsts[1:] = np.clip(firsts[1:], np.maximum.accumulate(lasts)[:-1], None)
        return offsets[np.maximum(firsts, lasts)] - offsets[firsts]

    def read(self, ranges: Numbers) -> Steps[list[bytes]]:
        """Return the texts at some ranges, each block read once."""
        assert self._blocks is not None
        begins, offsets = self._blocks
        firsts, lasts = blocks_of(ranges, begins)
        numbers = sorted(
            {number for pair in zip(firsts.tolist(), lasts.tolist(), strict=True) for number in range(*pair)}
        )
        data = yield [Span(self._file, int(offsets[number]), int(offsets[number + 1])) for number in numbers]
        frames = dict(zip(numbers, data, strict=True))

        def block(number: int) -> bytes:
            return self._decompressed(frames[number], int(begins[number + 1] - begins[number]))

        return list(self._cut(ranges, begins, block))

    def _damaged(self) -> IndexFormatError:
        return _damaged(self._file)


def read_summary(session: Session, file: ObjectFile, documents: int) -> Steps[bytes]:
    """Return the tail of ``kept.N``, and u64 the number of bytes of all texts; kept in the cache folder."""
    name = f"summary.{file.name}"
    stored = session.cache.load(name, TAIL_BYTES + 8)
    if stored is None:
        (tail,) = yield [Span(file, max(0, file.size - TAIL_BYTES), file.size)]
        offsets = _shape(tail, file, documents).offsets
        (last,) = yield [Span(file, offsets - 8, offsets)]
        stored = tail + last
        session.cache.store(name, stored)
    return stored


def _shape(tail: bytes, file: ObjectFile, documents: int) -> KeptShape:
    try:
        return KeptShape.parse(tail, file.size, documents)
    except ValueError as error:
        raise _damaged(file) from error


def _damaged(file: ObjectFile) -> IndexFormatError:
    return IndexFormatError(f"{file} is damaged; copy the index again or rebuild it")
