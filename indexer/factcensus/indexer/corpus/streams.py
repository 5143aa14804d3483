"""The bytes of corpus files, opened locally or by URL, decompressed in bounded memory, and split into lines.

Truncated files, and files damaged after their first part, raise an error, although the standard readers of some formats
ignore this. Otherwise counts in a truncated corpus would be too low, and nobody would notice.
"""

from __future__ import annotations

import bz2
import io
import lzma
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import numpy.typing as npt
import zstandard
from isal import igzip
from isal.igzip_lib import IsalError

from factcensus.indexer.system.locks import locked
from factcensus.indexer.system.places import Place

#: Exceptions for damaged or truncated files. An OSError with a number comes from the disk or the network instead.
DAMAGE = cast(
    "tuple[type[Exception], ...]",
    (EOFError, OSError, IsalError, igzip.BadGzipFile, zstandard.ZstdError, lzma.LZMAError, zlib.error),
)
#: Endings of compressed files.
COMPRESSIONS = (".gz", ".zst", ".xz", ".bz2")
#: Only one process at a time reads a line longer than this.
LONG_LINE_BYTES = 32 << 20

_STEP = 1 << 20
#: Bytes of a block of lines; a longer line makes a larger block.
_BLOCK = 1 << 20
#: Number of decompressed bytes from which the kind of a file is determined.
_HEAD = 1 << 16
#: Number of compressed bytes that contain at least one block.
HEAD_BYTES = {"": 4 << 10, ".gz": 4 << 10, ".xz": 68 << 10, ".zst": 132 << 10, ".bz2": 1 << 20}
#: Number of compressed bytes read at once. A Zstandard frame can expand 4 bytes to 128 KiB in a single step.
_FEED = {".zst": 4 << 10, ".xz": 64 << 10, ".bz2": 64 << 10}


@dataclass(frozen=True, slots=True)
class LineLimit:
    """The maximum length of a line; picklable.

    Attributes:
        bytes: Maximum number of bytes; a longer line is a bad line and is never held in memory beyond this.
        lock: A lock file with which processes take turns at lines over LONG_LINE_BYTES; None for a single process.
        origin: What set the limit, for messages.
    """

    bytes: int = 1 << 30
    lock: Path | None = None
    origin: str = ""

    def turn(self) -> AbstractContextManager[object]:
        """Wait until no other process reads a long line."""
        return nullcontext() if self.lock is None else locked(self.lock, wait=True)


class TooLong:
    """A marker for a line longer than the limit."""


@dataclass(frozen=True, slots=True)
class LineBlock:
    """Some whole lines of a file.

    Attributes:
        content: The lines with their line ends.
        ends: int64 (lines,): the position after each line.
    """

    content: bytes
    ends: npt.NDArray[np.int64]

    def line(self, number: int) -> bytes:
        """Return a line with its line end."""
        return self.content[self.ends[number - 1] if number else 0 : self.ends[number]]


def read_blocks(stream: io.BufferedReader, limit: LineLimit) -> Iterator[LineBlock | TooLong]:
    """Yield the lines of a stream, about a mebibyte at a time, or :class:`TooLong` for a long line over the limit.

    Shorter lines over the limit are in the blocks. If the file is damaged, the lines before the damage come first.
    """
    pieces: list[bytes] = []
    size = lines_size = 0  # bytes of all pieces, and of the whole lines in them
    ended = False
    while not ended:
        damage: Exception | None = None
        try:
            piece = stream.read1(_STEP)
        except DAMAGE as error:
            damage, piece = error, b""
        ended = not piece
        if last := piece.rfind(b"\n") + 1:
            lines_size = size + last
        pieces.append(piece)
        size += len(piece)
        if ended and not damage:
            lines_size = size  # the last line may have no line end
        if lines_size and (ended or size >= _BLOCK):
            content = b"".join(pieces)
            yield _block_of(content[:lines_size])
            pieces, size, lines_size = [content[lines_size:]], size - lines_size, 0
        if damage:
            raise damage
        if not lines_size and size > min(LONG_LINE_BYTES, limit.bytes):
            with limit.turn():
                long, rest = _finish_line(stream, pieces, limit.bytes)
                yield long
                del long
            pieces, size, lines_size = [rest], len(rest), rest.rfind(b"\n") + 1


def _block_of(lines: bytes) -> LineBlock:
    ends = np.flatnonzero(np.frombuffer(lines, np.uint8) == ord("\n")) + 1
    return LineBlock(lines, ends if lines.endswith(b"\n") else np.append(ends, len(lines)))


def _finish_line(stream: io.BufferedReader, pieces: list[bytes], most: int) -> tuple[LineBlock | TooLong, bytes]:
    """Read the rest of a long line; return the line, and the bytes that were read after it."""
    size = sum(map(len, pieces))
    while size <= most:
        piece = stream.read1(_STEP)
        end = piece.find(b"\n") + 1 or len(piece)
        pieces.append(piece[:end])
        size += end
        if not piece or piece[end - 1 : end] == b"\n":
            return LineBlock(b"".join(pieces), np.array([size])), piece[end:]
    pieces.clear()
    while piece := stream.read1(_STEP):
        if end := piece.find(b"\n") + 1:
            return TooLong(), piece[end:]
    return TooLong(), b""


def open_raw(url: str, *, at_random: bool = False) -> BinaryIO:
    """Open a file without decompressing it: a local path that begins with ``/``, or a URL; ``at_random`` for pieces."""
    return open(url, "rb") if url.startswith("/") else Place.of(url).open(at_random=at_random)


@contextmanager
def open_stream(url: str, name: str) -> Iterator[tuple[Any, io.BufferedReader]]:
    """Open a file and yield the raw file, whose position shows progress, and the stream of decompressed bytes."""
    compression = compression_of(name)
    with open_raw(url) as raw:
        if compression == ".gz":
            with igzip.GzipFile(fileobj=raw) as stream:  # type: ignore[no-untyped-call]
                yield raw, io.BufferedReader(stream, _STEP)
        elif compression:
            yield raw, io.BufferedReader(_Frames(raw, compression), _STEP)
        else:
            yield raw, raw if isinstance(raw, io.BufferedReader) else io.BufferedReader(cast(Any, raw), _STEP)


def first_bytes(content: bytes, name: str) -> bytes:
    """Decompress the first bytes of a file; empty if they are damaged.

    Empty frames at the beginning, which some compressors write, are skipped.
    """
    compression = compression_of(name)
    if not compression:
        return content
    begin = b""
    new, bounded = _DECOMPRESSORS.get(compression) or (lambda: zlib.decompressobj(31), True)
    try:
        while content and not begin:
            frame = new()
            begin = frame.decompress(content, _HEAD) if bounded else frame.decompress(content)
            content = frame.unused_data
    except DAMAGE:
        return b""
    return begin


def compression_of(name: str) -> str:
    """Return the compression ending of a file name in lower case, or an empty string."""
    return next((ending for ending in COMPRESSIONS if name.lower().endswith(ending)), "")


class _Frames(io.RawIOBase):
    """The concatenated frames of a Zstandard file, or streams of an .xz or .bz2 file.

    Raises:
        EOFError: The last frame is incomplete. The readers of the libraries ignore this, or ignore damage after the
            first frame.
    """

    def __init__(self, raw: Any, compression: str) -> None:
        self._raw = raw
        self._feed = _FEED[compression]
        self._padding = b"\0" if compression == ".xz" else b""
        self._new, self._bounded = _DECOMPRESSORS[compression]
        self._frame: Any = None
        self._rest = b""
        self._ready = memoryview(b"")

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer with the available bytes and return their number; 0 at the end."""
        while not self._ready:
            if self._frame is not None and self._bounded and not self._frame.needs_input:
                self._decompress(b"")
                continue
            data = self._rest or self._raw.read(self._feed)
            self._rest = b""
            if not data:
                if self._frame is not None:
                    raise EOFError("its last frame is incomplete")
                return 0
            if self._frame is None:
                data = data.lstrip(self._padding) if self._padding else data
                if not data:
                    continue
                self._frame = self._new()
            self._decompress(data)
        size = min(len(buffer), len(self._ready))
        buffer[:size] = self._ready[:size]
        self._ready = self._ready[size:]
        return size

    def _decompress(self, data: bytes) -> None:
        more = self._frame.decompress(data, _STEP) if self._bounded else self._frame.decompress(data)
        self._ready = memoryview(more)
        if self._frame.eof:
            self._rest, self._frame = self._frame.unused_data, None


#: For each ending, a function that returns a new decompressor, and whether its output per call is bounded.
_DECOMPRESSORS: dict[str, tuple[Callable[[], Any], bool]] = {
    # Windows of up to 2 GiB, as made by ``zstd --long=31``; memory is allocated only as the file needs it.
    ".zst": (lambda: zstandard.ZstdDecompressor(max_window_size=1 << 31).decompressobj(), False),
    ".xz": (lzma.LZMADecompressor, True),
    ".bz2": (bz2.BZ2Decompressor, True),
}
