"""Scratch memory for threads that count in a shard; it is reused between counts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np

from factcensus.indexer.kernels.entities import Stamps

if TYPE_CHECKING:
    from factcensus.indexer.storage.shard import Shard

#: Initial number of positions per thread.
BUFFER_ROWS = 1 << 19
#: Maximum number of positions to which the buffer grows for one item. Every part of its documents costs a pass over
#: all its rows, so there should be at most about :data:`PASSES` parts.
MOST_BUFFER_ROWS = 1 << 25
PASSES = 8


class Workspace:
    """The scratch memory of one thread for one shard: 12 bytes per document and 24 bytes per position."""

    def __init__(self, documents: int) -> None:
        self.stamps = Stamps(
            leader=np.zeros(documents, np.uint32),
            leader_mentions=np.zeros(documents, np.int32),
            fact=np.zeros(documents, np.uint32),
            last=np.zeros(1, np.uint32),
        )
        self.buffer_rows = BUFFER_ROWS
        self.keys = np.empty(self.buffer_rows, np.uint64)
        self.starts = np.empty(self.buffer_rows, np.int64)
        self.ends = np.empty(self.buffer_rows, np.int64)
        #: Rows and tokens visited, with which tests evaluate the plans.
        self.work = np.zeros(2, np.int64)

    def grow(self, rows: int) -> None:
        """Make room for this many positions."""
        self.buffer_rows = rows
        self.keys = np.empty(self.buffer_rows, np.uint64)
        self.starts, self.ends = np.empty(self.buffer_rows, np.int64), np.empty(self.buffer_rows, np.int64)

    def renew(self, facts: int) -> None:
        """Make sure that enough stamps are left for this many facts."""
        if int(self.stamps.last[0]) + 4 * facts + 4 >= 1 << 32:
            self.stamps.leader[:], self.stamps.fact[:], self.stamps.last[0] = 0, 0, 0


#: Workspaces that no thread currently uses.
_idle: WeakKeyDictionary[Shard, list[Workspace]] = WeakKeyDictionary()


@contextmanager
def workspace_of(shard: Shard) -> Iterator[Workspace]:
    """Lend a workspace to one thread; later counts in the shard reuse it."""
    idle = _idle.setdefault(shard, [])
    try:
        space = idle.pop()
    except IndexError:
        space = Workspace(shard.documents)
    yield space
    if space.buffer_rows <= BUFFER_ROWS:  # grown workspaces are dropped, as are all after an error
        idle.append(space)
