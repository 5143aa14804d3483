"""infini-gram's on-disk layout of one shard, and what factcensus keeps beside it.

All integers are little-endian. Shard ``N`` of an index folder is::

    tokenized.N   per document: the separator (all bits set), then its token ids, w = 1, 2 or 4 bytes each
    table.N       the suffix array: a byte offset into tokenized.N per token, separators included, k bytes each,
                  k = ceil(log2(size of tokenized.N) / 8), in byte order of the rest of the file
    offset.N      per document: u64, the byte offset of its separator

and, named so that infini-gram's engine takes no notice (it goes by parts of file names)::

    documents.N.parquet   per document: id, source, path, record, tokens, text_bytes, text_digest, metadata
    first.N               u32: the row of table.N at which every STEP-th type's suffixes begin, types in byte order
    frequent.N.G          u32, six a row: a range of table.N that stands for a frequent n-gram, and how often it
                          occurs and in how many documents, with repeated documents and without (:mod:`frequent`)
    deleted.N.G           u32 per deleted document: its number in the shard; no file where there is none
    repeated.N.G          u32 per document whose text an earlier one of the index has; no file where there is none

G counts the times the shard's files about its documents were made anew (documents added or deleted). The folder also
holds ``manifest.json`` and, for word analyzers, a vocabulary (:mod:`vocabulary`).

A worked miniature: the documents "b a" and "b" with ids b = 0, a = 1 as u8 give

    tokenized.0  ff 00 01 ff 00      offset.0  0, 3 (u64)
    table.0      04 01 02 03 00      (suffixes: 00 | 00 01 ff 00 | 01 ff 00 | ff 00 | ff 00 01 ff 00; k = 1)
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import resource
import shutil
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from factcensus.indexer.errors import DiskFullError, IndexerError, IndexFormatError, InputError, too_many_files

Array = npt.NDArray[Any]

#: Types that share an entry of ``first.N``.
STEP = 4


def entry_bytes(tokenized_bytes: int) -> int:
    """Bytes of a table entry (k) for a ``tokenized.N`` of that size."""
    return max(1, (max(tokenized_bytes, 2) - 1).bit_length() + 7 >> 3)


def unpack(entries: npt.NDArray[np.uint8], width: int) -> npt.NDArray[np.int64]:
    """Little-endian unsigned integers of ``width`` bytes each, as int64."""
    if width in (1, 2, 4, 8):
        return entries.view(f"<u{width}").astype(np.int64)
    padded = np.zeros((len(entries) // width, 8), np.uint8)
    padded[:, :width] = entries.reshape(-1, width)
    return padded.view("<i8").ravel()


def pack(values: Array, width: int) -> npt.NDArray[np.uint8]:
    """The inverse of :func:`unpack`."""
    wide = np.ascontiguousarray(values, dtype="<u8").view(np.uint8).reshape(-1, 8)
    return np.ascontiguousarray(wide[:, :width]).ravel()


def write_table(
    path: Path, positions: npt.NDArray[np.uint32], token_bytes: int, on_rows: Callable[[int], None] | None = None
) -> str:
    """Write ``table.N`` from token positions; its SHA-256."""
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
                on_rows(begin)
    return digest()


@contextmanager
def hashed_file(path: Path) -> Iterator[tuple[Callable[[Any], None], Callable[[], str]]]:
    """A file being written, by a function that takes contiguous arrays or bytes, and a function that gives its SHA-256.

    :func:`sync_files` brings it to the disk.
    """
    sha = hashlib.sha256()
    with path.open("wb", buffering=0) as file:

        def write(piece: Any) -> None:
            view = memoryview(cast(Any, piece.view(np.uint8) if isinstance(piece, np.ndarray) else piece))
            sha.update(view)
            while view:  # a raw write may be short
                view = view[file.write(view) :]

        yield write, sha.hexdigest


def write_hashed(path: Path, content: Any) -> str:
    """Write an array or bytes; the SHA-256."""
    with hashed_file(path) as (write, digest):
        write(content)
    return digest()


def hash_file(path: Path, on_bytes: Callable[[int], None] | None = None) -> str:
    """The SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 22):
            digest.update(piece)
            if on_bytes:
                on_bytes(len(piece))
    return digest.hexdigest()


#: Device, inode, size and time of the last change of a file.
FileState = tuple[int, int, int, int]


def file_state(path: Path) -> FileState | None:
    """Return a value that differs once a file was replaced or written to; None if there is no file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def map_file(path: Path) -> npt.NDArray[np.uint8]:
    """Map a file's bytes, read-only; an empty array for an empty file.

    Raises:
        IndexFormatError: it cannot be opened.
        IndexerError: the system has no more open files or mappings for this process; nothing is wrong with the file.
    """
    try:
        # A plain array over the mapping: slicing a np.memmap costs several times as much.
        return np.asarray(np.memmap(path, np.uint8, "r")) if path.stat().st_size else np.zeros(0, np.uint8)
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE):
            raise too_many_files(path) from error
        if error.errno == errno.ENOMEM:
            raise IndexerError(
                f"{path} cannot be mapped: this process has too many mapped files or too little address space; raise "
                "vm.max_map_count or ulimit -v, or open fewer indexes"
            ) from error
        raise IndexFormatError(f"{path} cannot be opened ({error.strerror}); the index is half-copied") from error


#: Where a process finds its own open files; some containers have no /dev/fd, and macOS no /proc.
_OPEN_FILES = Path("/proc/self/fd") if Path("/proc/self/fd").is_dir() else Path("/dev/fd")


class HeldFile:
    """A file kept open, so that it can be read as it was although its path names another file, or none, by now.

    Attributes:
        path: the path under which it was opened, for messages.
        readable: a path of this process that leads to the held file; other libraries may open it.

    Raises:
        IndexFormatError: the file cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            descriptor = _open_many(path)
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                raise too_many_files(path) from error
            raise IndexFormatError(f"{path} cannot be opened ({error.strerror})") from error
        self.readable = _OPEN_FILES / str(descriptor)
        weakref.finalize(self, os.close, descriptor)


def _open_many(path: Path) -> int:
    """Open a file for reading; use all the open files that the system allows this process before giving up."""
    try:
        return os.open(path, os.O_RDONLY)
    except OSError as error:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if error.errno != errno.EMFILE or soft == hard:
            raise
        with suppress(ValueError, OSError):  # macOS has a lower limit than it says
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        return os.open(path, os.O_RDONLY)


@contextmanager
def replaced_file(path: Path, *, durable: bool = False) -> Iterator[Path]:
    """Yield the path of a new file that takes the place of ``path`` in one step; remove it if that fails.

    On a full disk, what was written of it would take the room that is needed.
    """
    temporary = path.with_name(path.name + ".partial")
    try:
        yield temporary
        if durable:
            sync_files([temporary])
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if durable:
        sync_files([path.parent])


def write_atomically(path: Path, content: bytes, *, durable: bool = False) -> None:
    """Replace a small file in one step; ``durable``: also a power cut leaves either the old one or the new one."""
    with replaced_file(path, durable=durable) as temporary:
        temporary.write_bytes(content)


def place_file(source: Path, target: Path) -> None:
    """Let a file also stand at another place, in the place of what stood there; copied where it cannot be linked."""
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        shutil.copyfile(source, target)


def sync_files(paths: Iterable[Path]) -> None:
    """Wait until files, or the entries of folders, are on the disk."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def explain_full_disk(folder: Path, then: str) -> Iterator[None]:
    """Say what to do when a disk is full; ``then`` is what running the same command again does.

    Raises:
        DiskFullError: it is.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise DiskFullError(
            f"the disk of {folder} is full ({error.strerror}); make room there and run the same command again: {then}"
        ) from error


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Exclude every other process that changes a folder.

    Raises:
        InputError: another one is at work there.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(f"another process is changing {folder}; wait for it to end") from error
        if not folder.exists() or os.stat(folder).st_ino != os.fstat(descriptor).st_ino:
            raise InputError(f"another process has just finished with {folder}; look at its result first")
        yield
    finally:
        os.close(descriptor)
