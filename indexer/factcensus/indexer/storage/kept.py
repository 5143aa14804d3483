r"""``kept.N``: the original texts of the documents of a shard, compressed in small blocks.

A block holds whole documents: it ends after the document that brings it to :data:`BLOCK_BYTES`. So the text of an
ordinary document is in one block, and reading it decompresses about 32 KiB. A longer document has separate blocks.
Blocks of 128 KiB would save 1% of the space, and the highest compression levels another 5%.

Layout, all integers little-endian::

    blocks      one zstd frame per block, then zero bytes up to a multiple of 8
    starts      u64 (documents + 1,): the start of each document in the concatenated texts, and the end of the last
    begins      u64 (blocks + 1,): the start of each block in the concatenated texts, and the end of the last
    offsets     u64 (blocks + 1,): the start of each block in this file, and the end of the last
    tail        u64 number of documents, u64 number of blocks, "fckept1\n"
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import zstandard

from factcensus.indexer.arrays import Numbers
from factcensus.indexer.errors import IndexFormatError
from factcensus.indexer.storage.layout import hashed_file, map_file
from factcensus.indexer.storage.manifest import FileRecord

#: Bytes of text with which a block ends, and at most.
BLOCK_BYTES, MOST_BLOCK_BYTES = 32 << 10, 64 << 10
#: Compresses at 260 MB/s. Level 9 saves 5% of the space but would take longer than the rest of a build.
LEVEL = 3
_KIND = b"fckept1\n"
#: Size of the tail.
TAIL_BYTES = 24


def write_kept(path: Path, texts: Iterable[bytes]) -> FileRecord:
    """Write the texts of the documents of a shard, in order, in bounded memory."""
    starts, begins, offsets = (array("Q", [0]) for _ in range(3))
    compressor = zstandard.ZstdCompressor(level=LEVEL)
    with hashed_file(path) as (write, digest):
        for block in _blocks(texts, starts):
            frame = compressor.compress(block)
            write(frame)
            begins.append(begins[-1] + len(block))
            offsets.append(offsets[-1] + len(frame))
        write(bytes(-offsets[-1] % 8))
        for numbers in (starts, begins, offsets, [len(starts) - 1, len(begins) - 1]):
            write(np.asarray(numbers, "<u8"))
        write(_KIND)
    return FileRecord(path.stat().st_size, digest())


def _blocks(texts: Iterable[bytes], starts: array[int]) -> Iterator[bytes]:
    """Yield the blocks of texts, and append the end of each text to ``starts``."""
    block = bytearray()
    for text in texts:
        if block and len(text) >= BLOCK_BYTES:  # a long document begins a block
            yield bytes(block)
            block.clear()
        block += text
        starts.append(starts[-1] + len(text))
        if len(block) >= BLOCK_BYTES:
            for begin in range(0, len(block), MOST_BLOCK_BYTES):
                yield bytes(block[begin : begin + MOST_BLOCK_BYTES])
            block.clear()
    if block:
        yield bytes(block)


@dataclass(frozen=True)
class KeptShape:
    """The sizes and offsets of the arrays in a file of kept texts.

    Attributes:
        documents: Number of documents.
        blocks: Number of blocks.
        size: Size of the file in bytes.
    """

    documents: int
    blocks: int
    size: int

    @classmethod
    def parse(cls, tail: bytes, size: int, documents: int) -> KeptShape:
        """Return the shape of a file of ``size`` bytes that ends in ``tail``.

        Raises:
            ValueError: The file is damaged, or has another number of documents.
        """
        if size % 8 or len(tail) < TAIL_BYTES or tail[16:] != _KIND:
            raise ValueError("it has no valid tail")
        count, blocks = np.frombuffer(tail, "<u8", 2).tolist()
        shape = cls(count, blocks, size)
        if count != documents or shape.starts < 0:
            raise ValueError("its tail does not fit")
        return shape

    @property
    def starts(self) -> int:
        """The offset of ``starts`` in the file."""
        return self.begins - 8 * (self.documents + 1)

    @property
    def begins(self) -> int:
        """The offset of ``begins`` in the file."""
        return self.offsets - 8 * (self.blocks + 1)

    @property
    def offsets(self) -> int:
        """The offset of ``offsets`` in the file, which end before the tail."""
        return self.size - TAIL_BYTES - 8 * (self.blocks + 1)


class TextBlocks(ABC):
    """The kept texts of one shard, read-only; safe for several threads.

    Attributes:
        size_bytes: Size of the file.
        text_bytes: Number of bytes of all texts.
    """

    size_bytes: int
    text_bytes: int

    @abstractmethod
    def texts(self, documents: Sequence[int] | Numbers) -> Iterator[bytes]:
        """Yield the texts of documents; each block is decompressed once if the documents are in ascending order."""

    def text(self, document: int) -> bytes:
        """Return the text of a document as UTF-8."""
        return next(self.texts([document]))

    @abstractmethod
    def _damaged(self) -> IndexFormatError:
        """Return the error of a damaged file."""

    def _cut(self, ranges: Numbers, begins: Numbers, block: Callable[[int], bytes]) -> Iterator[bytes]:
        """Yield the texts at ``ranges``, int64 (n, 2), from the blocks that begin at ``begins``."""
        firsts, lasts = blocks_of(ranges, begins)
        known, content = -1, b""
        for (begin, end), first, last in zip(ranges.tolist(), firsts.tolist(), lasts.tolist(), strict=True):
            if not 0 <= begin <= end <= begins[-1]:
                raise self._damaged()
            parts = []
            for number in range(first, last):
                if number != known:
                    known, content = number, block(number)
                start = int(begins[number])
                parts.append(content[max(0, begin - start) : end - start])
            text = b"".join(parts)
            if len(text) != end - begin:
                raise self._damaged()
            yield text

    def _decompressed(self, frame: bytes | memoryview, size: int) -> bytes:
        """Return the content of a block, which has ``size`` bytes."""
        try:
            content = zstandard.ZstdDecompressor().decompress(frame, max_output_size=size)
        except zstandard.ZstdError as error:
            raise self._damaged() from error
        if len(content) != size:
            raise self._damaged()
        return content


def blocks_of(ranges: Numbers, begins: Numbers) -> tuple[Numbers, Numbers]:
    """Return the first block of each range of the texts, and the block after its last one."""
    firsts = np.searchsorted(begins, ranges[:, 0], side="right") - 1
    return firsts, np.searchsorted(begins, ranges[:, 1], side="left")


class KeptTexts(TextBlocks):
    """The kept texts of one shard of a local index.

    Raises:
        IndexFormatError: The file is damaged, or has another number of documents.
    """

    def __init__(self, path: Path, documents: int) -> None:
        self._path = path
        self._content = map_file(path)
        self.size_bytes = int(self._content.size)
        try:
            shape = KeptShape.parse(self._content[-TAIL_BYTES:].tobytes(), self.size_bytes, documents)
        except ValueError as error:
            raise self._damaged() from error
        numbers: npt.NDArray[np.int64] = self._content[shape.starts : -TAIL_BYTES].view("<i8")
        self._starts, self._begins, self._offsets = np.split(
            numbers, np.cumsum([shape.documents + 1, shape.blocks + 1])
        )
        if self._starts[-1] != self._begins[-1] or self._offsets[-1] + -self._offsets[-1] % 8 != shape.starts:
            raise self._damaged()
        self.text_bytes = int(self._starts[-1])

    def texts(self, documents: Sequence[int] | Numbers) -> Iterator[bytes]:
        """Yield the texts of documents; each block is decompressed once if the documents are in ascending order."""
        numbers = np.asarray(documents, np.int64)
        return self._cut(
            np.stack([self._starts[numbers], self._starts[numbers + 1]], axis=1), self._begins, self._block
        )

    def _block(self, number: int) -> bytes:
        start, stop = self._begins[number : number + 2].tolist()
        begin, end = self._offsets[number : number + 2].tolist()
        return self._decompressed(self._content[begin:end].data, stop - start)

    def _damaged(self) -> IndexFormatError:
        return IndexFormatError(f"{self._path} is damaged; run 'factcensus index verify'")
