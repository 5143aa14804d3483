"""Locks between processes. The system releases them when a process ends, so none is ever left behind.

They use ``flock`` and not a library, because an index folder is locked itself; a library would add a lock file to it.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from factcensus.indexer.errors import InputError


@contextmanager
def locked(path: Path, *, wait: bool) -> Iterator[int]:
    """Hold a lock on a folder, or on a file that is created if missing; yield its descriptor.

    Args:
        path: The folder or file.
        wait: Wait until other processes release it.

    Raises:
        BlockingIOError: Another process holds the lock, and ``wait`` is false.
    """
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Lock a folder against changes by other processes.

    Raises:
        InputError: Another process is changing the folder.
    """
    with ExitStack() as held:
        try:
            descriptor = held.enter_context(locked(folder, wait=False))
        except BlockingIOError as error:
            raise InputError(f"another process is changing {folder}; wait for it to end") from error
        if not folder.exists() or os.stat(folder).st_ino != os.fstat(descriptor).st_ino:
            raise InputError(f"another process has just finished with {folder}; check its result first")
        yield
