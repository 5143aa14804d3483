"""One worker process among those of a service, and the memory and locks that they share."""

from __future__ import annotations

import fcntl
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_bytes


@dataclass(frozen=True)
class Member:
    """One worker process of a service; the default is the only one.

    Attributes:
        number: 0 to ``workers`` - 1; worker 0 counts the jobs.
        workers: Number of workers.
        folder: A private folder that the workers share and that is removed with the service; None for a single worker.
        secret: Random bytes that the workers share.
    """

    number: int = 0
    workers: int = 1
    folder: Path | None = None
    secret: bytes = field(default_factory=lambda: token_bytes(32), repr=False)

    @property
    def metrics_folder(self) -> Path | None:
        """Folder of the metrics of all workers; None for a single worker."""
        return None if self.folder is None else self.folder / "metrics"

    def share(self, limit: int) -> int:
        """Return this worker's share of a limit that cannot be counted over all workers, at least 1."""
        return max(1, limit // self.workers)

    def shared_memory(self, name: str, size: int) -> mmap.mmap:
        """Return bytes that all workers see and change, initially zero."""
        if self.folder is None:
            return mmap.mmap(-1, size)
        descriptor = os.open(self.folder / name, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            os.ftruncate(descriptor, size)
            return mmap.mmap(descriptor, size)
        finally:
            os.close(descriptor)

    @contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Keep the other workers out; the threads of one worker must not use the same lock."""
        if self.folder is None:
            yield
            return
        with (self.folder / name).open("ab") as file:
            fcntl.lockf(file, fcntl.LOCK_EX)
            yield
