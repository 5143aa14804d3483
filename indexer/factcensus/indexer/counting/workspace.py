"""Scratch memory for threads that count in a shard; it is reused between counts and between shards."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from factcensus.indexer.kernels.entities import Stamps

#: Initial number of positions per thread.
BUFFER_ROWS = 1 << 19
#: Maximum number of positions to which the buffer grows for one item. Every part of its documents costs a pass over
#: all its rows, so there should be at most about :data:`PASSES` parts.
MOST_BUFFER_ROWS = 1 << 25
PASSES = 8


class Workspace:
    """The scratch memory of one thread: 12 bytes per document of a shard and 24 bytes per position."""

    def __init__(self) -> None:
        self._new_stamps(0)
        self.buffer_rows = BUFFER_ROWS
        self.keys = np.empty(self.buffer_rows, np.uint64)
        self.starts = np.empty(self.buffer_rows, np.int64)
        self.ends = np.empty(self.buffer_rows, np.int64)
        #: Rows and tokens visited, with which tests evaluate the plans.
        self.work = np.zeros(2, np.int64)

    def _new_stamps(self, documents: int) -> None:
        self.stamps = Stamps(
            leader=np.zeros(documents, np.uint32),
            leader_mentions=np.zeros(documents, np.int32),
            fact=np.zeros(documents, np.uint32),
            last=np.zeros(1, np.uint32),
        )

    def cover(self, documents: int) -> None:
        """Make room for the documents of a shard; stamps of other shards are older than any new one."""
        if len(self.stamps.fact) < documents:
            self._new_stamps(documents)

    def grow(self, rows: int) -> None:
        """Make room for this many positions."""
        self.buffer_rows = rows
        self.keys = np.empty(self.buffer_rows, np.uint64)
        self.starts, self.ends = np.empty(self.buffer_rows, np.int64), np.empty(self.buffer_rows, np.int64)

    def renew(self, facts: int) -> None:
        """Make sure that enough stamps are left for this many facts."""
        if int(self.stamps.last[0]) + 4 * facts + 4 >= 1 << 32:
            self.stamps.leader[:], self.stamps.fact[:], self.stamps.last[0] = 0, 0, 0


#: Workspaces that no thread currently uses; not one per shard, of which there may be thousands.
_idle: list[Workspace] = []
_MOST_IDLE = os.cpu_count() or 1


@contextmanager
def lend_workspace(documents: int) -> Iterator[Workspace]:
    """Lend a workspace for a shard with this many documents to one thread; later counts reuse it."""
    try:
        space = _idle.pop()
    except IndexError:
        space = Workspace()
    space.cover(documents)
    yield space
    if space.buffer_rows <= BUFFER_ROWS and len(_idle) < _MOST_IDLE:  # grown ones are dropped, as are all after errors
        _idle.append(space)
