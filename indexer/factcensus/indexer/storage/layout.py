"""The on-disk layout of one shard: infini-gram's files, and the additional files of factcensus.

All integers are little-endian. Shard ``N`` of an index folder is::

    tokenized.N   per document: the separator (all bits set), then its token ids, w = 1, 2 or 4 bytes each
    table.N       the suffix array: a byte offset into tokenized.N per token, including separators, k bytes each,
                  k = ceil(log2(size of tokenized.N) / 8), sorted by the bytes from there to the end of the file
    offset.N      per document: u64, the byte offset of its separator

and files that infini-gram's engine ignores because of their names::

    documents.N.parquet   per document: id, source, path, record, tokens, text_bytes, text_digest, metadata
    sample.N              landmarks for searches over a network (:mod:`sample`)
    first.N               u32: the first row in table.N of every 4th type (every 2^n-th of many), in byte order
    frequent.N.G          u32, six per row: the range of a frequent n-gram in table.N, and its occurrences and
                          documents, with and without repeated documents (:mod:`frequent`)
    deleted.N.G           u32 per deleted document: its number in the shard; omitted if empty
    repeated.N.G          u32 per document with the text of an earlier one: its number in the shard; omitted if empty

G is the number of times these files of the shard were rewritten (because documents were added or deleted). The folder
also has ``manifest.json`` and, for word analyzers, a vocabulary (:mod:`vocabulary`).

For example, the documents "b a" and "b" with ids b = 0, a = 1 as u8 give

    tokenized.0  ff 00 01 ff 00      offset.0  0, 3 (u64)
    table.0      04 01 02 03 00      (suffixes: 00 | 00 01 ff 00 | 01 ff 00 | ff 00 | ff 00 01 ff 00; k = 1)
"""

from __future__ import annotations

import errno
import hashlib
import os
import resource
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt

from factcensus.indexer.arrays import Array
from factcensus.indexer.errors import IndexerError, IndexFormatError, too_many_files

#: Logarithm of the number of types per entry of ``first.N``, for a vocabulary that is small next to the shard.
STEP_BITS = 2
#: ``first.N`` has at most this many entries, or one per this many rows. So it does not grow with the vocabulary.
MOST_FIRST, ROWS_PER_FIRST = 1 << 20, 64


def entry_bytes(tokenized_bytes: int) -> int:
    """Return the number of bytes of a table entry (k) for a ``tokenized.N`` of this size."""
    return max(1, (max(tokenized_bytes, 2) - 1).bit_length() + 7 >> 3)


def first_step_bits(types: int, rows: int) -> int:
    """Return the logarithm of the number of types per entry of ``first.N``."""
    bits = STEP_BITS
    while types >> bits > max(MOST_FIRST, rows // ROWS_PER_FIRST):
        bits += 1
    return bits


def first_entries(types: int, bits: int) -> int:
    """Return the number of entries of ``first.N``: one per step of the types and the separator, and the end."""
    return (types + (1 << bits) >> bits) + 1


class ShardShape(NamedTuple):
    """The numbers that follow from the sizes of the files of a shard.

    Attributes:
        width: Bytes per entry of ``table.N``.
        token_bytes: Bytes of a token id.
        rows: Number of rows, which is the number of tokens including separators.
        documents: Number of documents.
    """

    width: int
    token_bytes: int
    rows: int
    documents: int


def shard_shape(folder: object, suffix: str, tokenized_bytes: int, table_bytes: int, offset_bytes: int) -> ShardShape:
    """Return the shape of a shard; ``folder`` and ``suffix`` (``.N``) name it in messages.

    Raises:
        IndexFormatError: The sizes do not match.
    """
    width = entry_bytes(tokenized_bytes)
    rows, rest = divmod(table_bytes, width)
    token_bytes, odd = divmod(tokenized_bytes, max(1, rows))
    if rest or odd or token_bytes not in (1, 2, 4) or offset_bytes % 8:
        raise IndexFormatError(
            f"{folder}: the sizes of tokenized{suffix} ({tokenized_bytes}), table{suffix} ({table_bytes}) and "
            f"offset{suffix} ({offset_bytes}) do not match; copy the index again or rebuild it"
        )
    return ShardShape(width, token_bytes, rows, offset_bytes // 8)


def unpack(entries: npt.NDArray[np.uint8], width: int) -> npt.NDArray[np.int64]:
    """Convert little-endian unsigned integers of ``width`` bytes each to int64."""
    if width in (1, 2, 4, 8):
        return entries.view(f"<u{width}").astype(np.int64)
    padded = np.zeros((len(entries) // width, 8), np.uint8)
    padded[:, :width] = entries.reshape(-1, width)
    return padded.view("<i8").ravel()


def pack(values: Array, width: int) -> npt.NDArray[np.uint8]:
    """Convert int64 to little-endian unsigned integers of ``width`` bytes each."""
    wide = np.ascontiguousarray(values, dtype="<u8").view(np.uint8).reshape(-1, 8)
    return np.ascontiguousarray(wide[:, :width]).ravel()


def write_table(
    path: Path, positions: npt.NDArray[np.uint32], token_bytes: int, on_rows: Callable[[int], None] | None = None
) -> str:
    """Write ``table.N`` from token positions and return its SHA-256."""
    width = entry_bytes(len(positions) * token_bytes)
    step = 1 << 20
    with hashed_file(path) as (write, digest):
        for begin in range(0, len(positions), step):
            part = positions[begin : begin + step]
            if width == 4:
                write((part * np.uint32(token_bytes)).astype("<u4", copy=False))
            else:
                write(pack(part.astype(np.uint64) * np.uint64(token_bytes), width))
            if on_rows:
                on_rows(begin + len(part))
    return digest()


@contextmanager
def hashed_file(path: Path) -> Iterator[tuple[Callable[[Any], None], Callable[[], str]]]:
    """Open a new file; yield a function that writes contiguous arrays or bytes, and one that returns its SHA-256.

    Use :func:`~factcensus.indexer.system.files.sync_files` to force it to disk.
    """
    sha = hashlib.sha256()
    with path.open("wb", buffering=0) as file:

        def write(piece: Any) -> None:
            view = memoryview(cast(Any, piece.view(np.uint8) if isinstance(piece, np.ndarray) else piece))
            sha.update(view)
            while view:  # a raw write may write only a part
                view = view[file.write(view) :]

        yield write, sha.hexdigest


def write_hashed(path: Path, content: Any) -> str:
    """Write an array or bytes to a file and return its SHA-256."""
    with hashed_file(path) as (write, digest):
        write(content)
    return digest()


def hash_file(path: Path, on_bytes: Callable[[int], None] | None = None) -> str:
    """Return the SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 22):
            digest.update(piece)
            if on_bytes:
                on_bytes(len(piece))
    return digest.hexdigest()


#: Device, inode, size and modification time of a file.
FileState = tuple[int, int, int, int]


def file_state(path: Path) -> FileState | None:
    """Return a value that changes when a file is replaced or modified; None if there is no file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


@contextmanager
def explain_unreadable(path: Path, verb: str = "open") -> Iterator[None]:
    """Turn a system error while opening or reading an index file into a clear message.

    Raises:
        IndexFormatError: The file cannot be opened or read.
        IndexerError: This process has too many open files; the file may be intact.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE):
            raise too_many_files(path) from error
        raise IndexFormatError(
            f"cannot {verb} {path} ({error.strerror}); copy the index again or rebuild it"
        ) from error


def map_file(path: Path) -> npt.NDArray[np.uint8]:
    """Map the bytes of a file read-only; an empty file gives an empty array.

    Raises:
        IndexFormatError: The file cannot be opened.
        IndexerError: This process has too many open files or mappings; the file may be intact.
    """
    with explain_unreadable(path):
        try:
            # A plain array of the mapping, because slicing a np.memmap takes several times as long.
            return np.asarray(np.memmap(path, np.uint8, "r")) if path.stat().st_size else np.zeros(0, np.uint8)
        except OSError as error:
            if error.errno != errno.ENOMEM:
                raise
            raise IndexerError(
                f"cannot map {path}: this process has too many mapped files or too little address space; raise "
                "vm.max_map_count or ulimit -v, or open fewer indexes"
            ) from error


#: The folder of the open files of this process; some containers have no /dev/fd, and macOS has no /proc.
_OPEN_FILES = Path("/proc/self/fd") if Path("/proc/self/fd").is_dir() else Path("/dev/fd")


class HeldFile:
    """A file kept open, so that it stays readable after its path was replaced or removed.

    Attributes:
        path: The path under which it was opened, for messages.
        readable: A path to the held file, valid in this process, which other libraries can open.

    Raises:
        IndexFormatError: The file cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with explain_unreadable(path):
            descriptor = _open_many(path)
        self.readable = _OPEN_FILES / str(descriptor)
        weakref.finalize(self, os.close, descriptor)


def _open_many(path: Path) -> int:
    """Open a file for reading; if needed, raise the limit of open files to the maximum that the system allows."""
    try:
        return os.open(path, os.O_RDONLY)
    except OSError as error:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if error.errno != errno.EMFILE or soft == hard:
            raise
        with suppress(ValueError, OSError):  # the actual limit on macOS is lower than reported
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        return os.open(path, os.O_RDONLY)
