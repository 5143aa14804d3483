r"""``kept.N``: the original texts of the documents of a shard, compressed in small blocks.

A block holds whole documents: it ends after the document with which it reaches :data:`BLOCK_BYTES`. So the text of an
ordinary document is in one block, and reading it decompresses about 32 KiB. A longer document has blocks of its own.
Blocks of 128 KiB would save 1 % of the space, and the highest compression levels another 5 %.

Layout, all integers little-endian::

    blocks      one zstd frame per block, then zero bytes up to a multiple of 8
    starts      u64 (documents + 1,): the start of each document in the concatenated texts, and the end of the last
    begins      u64 (blocks + 1,): the start of each block in the concatenated texts, and the end of the last
    offsets     u64 (blocks + 1,): the start of each block in this file, and the end of the last
    tail        u64 number of documents, u64 number of blocks, "fckept1\n"
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import zstandard

from factcensus.indexer.errors import IndexFormatError
from factcensus.indexer.storage.layout import hashed_file, map_file
from factcensus.indexer.storage.manifest import FileRecord

#: Bytes of text with which a block ends, and at most.
BLOCK_BYTES, MOST_BLOCK_BYTES = 32 << 10, 64 << 10
#: Compresses at 260 MB/s. Level 9 saves 5 % of the space but would take longer than the rest of a build.
LEVEL = 3
_KIND = b"fckept1\n"
_TAIL_BYTES = 24


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


class KeptTexts:
    """The kept texts of one shard, read-only; safe for several threads.

    Raises:
        IndexFormatError: The file is damaged, or has another number of documents.
    """

    def __init__(self, path: Path, documents: int) -> None:
        self._path = path
        self._content = map_file(path)
        tail = self._content[-_TAIL_BYTES:]
        if self._content.size % 8 or tail.size < _TAIL_BYTES or bytes(tail[16:]) != _KIND:
            raise self._damaged()
        count, blocks = tail[:16].view("<u8").tolist()
        sizes = np.array([count + 1, blocks + 1, blocks + 1])
        begin = self._content.size - _TAIL_BYTES - 8 * int(sizes.sum())
        if count != documents or begin < 0:
            raise self._damaged()
        numbers: npt.NDArray[np.int64] = self._content[begin:-_TAIL_BYTES].view("<i8")
        self._starts, self._begins, self._offsets = np.split(numbers, np.cumsum(sizes)[:-1])
        if self._starts[-1] != self._begins[-1] or self._offsets[-1] + -self._offsets[-1] % 8 != begin:
            raise self._damaged()

    @property
    def size_bytes(self) -> int:
        """Size of the file."""
        return int(self._content.size)

    @property
    def text_bytes(self) -> int:
        """Number of bytes of all texts."""
        return int(self._starts[-1])

    def text(self, document: int) -> bytes:
        """Return the text of a document as UTF-8."""
        return next(self.texts([document]))

    def texts(self, documents: Sequence[int] | npt.NDArray[np.int64]) -> Iterator[bytes]:
        """Yield the texts of documents; each block is decompressed once if the documents are in ascending order."""
        numbers = np.asarray(documents, np.int64)
        begins, ends = self._starts[numbers], self._starts[numbers + 1]
        firsts = np.searchsorted(self._begins, begins, side="right") - 1
        lasts = np.searchsorted(self._begins, ends, side="left")
        known, block = -1, b""
        for begin, end, first, last in zip(*(each.tolist() for each in (begins, ends, firsts, lasts)), strict=True):
            if not 0 <= begin <= end <= self._begins[-1]:
                raise self._damaged()
            parts = []
            for number in range(first, last):
                if number != known:
                    known, block = number, self._block(number)
                start = int(self._begins[number])
                parts.append(block[max(0, begin - start) : end - start])
            text = b"".join(parts)
            if len(text) != end - begin:
                raise self._damaged()
            yield text

    def _block(self, number: int) -> bytes:
        start, stop = self._begins[number : number + 2].tolist()
        begin, end = self._offsets[number : number + 2].tolist()
        try:
            content = zstandard.ZstdDecompressor().decompress(
                self._content[begin:end].data, max_output_size=stop - start
            )
        except zstandard.ZstdError as error:
            raise self._damaged() from error
        if len(content) != stop - start:
            raise self._damaged()
        return content

    def _damaged(self) -> IndexFormatError:
        return IndexFormatError(f"{self._path} is damaged; run 'factcensus index verify'")
