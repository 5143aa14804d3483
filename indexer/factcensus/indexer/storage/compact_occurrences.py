"""The occurrences of the forms of a table of facts in a shard in the layout ``compact``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from factcensus.indexer.arrays import Stop
from factcensus.indexer.kernels.compact_search import Reader
from factcensus.indexer.kernels.entities import FormRanges
from factcensus.indexer.kernels.ngrams import Selection
from factcensus.indexer.storage.shard import Located

if TYPE_CHECKING:
    from factcensus.indexer.kernels.forms import Forms
    from factcensus.indexer.storage.compact_shard import CompactShard

#: Upper bound of occurrences (4 bytes each) for which the forms of a whole table are located together.
MOST_LOCATED = 1 << 28
#: Cost in nanoseconds of finding the occurrences of a leader in a document, and of one of its blocks in the whole text.
_DOCUMENT_NS, _BLOCK_NS, _ROW_NS = 400, 75, 8


class CompactOccurrences:
    """The occurrences of the forms of a table of facts in one shard, located when they are needed.

    The mentions of a leader are searched only in the documents of its partners, if that is cheaper than reading all of
    its blocks.
    """

    def __init__(self, shard: CompactShard, forms: Forms, selection: Selection, reading: int) -> None:
        self._shard, self._forms, self._selection, self._reading = shard, forms, selection, reading
        self._plan = shard.plan(forms.tokens, forms.starts)
        column = -1 if len(selection.groups) else selection.column
        self._stored = shard.stored(self._plan, selection.documents, column)
        if len(selection.groups):
            self._stored[:] = -1
        self._hits_of_form = self._plan.most.copy()
        self.hits = forms.sums(self._hits_of_form)
        self.whole = int(self._plan.most.sum()) <= MOST_LOCATED

    def locate(
        self,
        entities: npt.NDArray[np.int64],
        leaders: npt.NDArray[np.int64],
        partners: npt.NDArray[np.int64],
        threads: int,
        stop: Stop,
    ) -> Located:
        """Find the occurrences needed to count entities, and pairs of leaders and partners."""
        forms, plan = self._forms, self._plan
        size = len(forms)
        sizes = np.diff(forms.entities)
        wanted = np.zeros(size, np.bool_)
        single = forms.simple[entities] & (sizes[entities] == 1)
        single[single] = self._stored[forms.entities[entities[single]], 0] >= 0
        wanted[entities[~single]] = True
        wanted[partners] = True
        ranges = np.zeros((len(plan.most), 2), np.int64)
        positions = self._find(wanted, ranges, threads, stop)
        reading = self._choose(leaders, partners, wanted)
        missing = np.zeros(size, np.bool_)
        missing[leaders[self.hits[partners] > 0]] = True
        missing &= ~wanted & (reading != 1)
        if missing.any():
            more = np.zeros_like(ranges)
            found = self._find(missing, more, threads, stop)
            chosen = more[:, 1] > more[:, 0]
            ranges[chosen] = more[chosen] + len(positions)
            positions = np.concatenate([positions, found])
        shard = self._shard
        return Located(
            shard.rows_at(positions),
            FormRanges(*forms.arrays, ranges, self._stored),
            Reader(shard.text, shard.lists, plan),
            reading,
        )

    def _find(
        self, entities: npt.NDArray[np.bool_], ranges: npt.NDArray[np.int64], threads: int, stop: Stop
    ) -> npt.NDArray[np.uint32]:
        """Locate the forms of entities, and replace the upper bounds of their occurrences by their number."""
        chosen = np.flatnonzero(np.repeat(entities, np.diff(self._forms.entities)) & (self._plan.most > 0))
        positions = self._shard.locate(self._plan, chosen, ranges, stop, threads)
        self._hits_of_form[chosen] = ranges[chosen, 1] - ranges[chosen, 0]
        self.hits[:] = self._forms.sums(self._hits_of_form)
        return positions

    def _choose(
        self, leaders: npt.NDArray[np.int64], partners: npt.NDArray[np.int64], located: npt.NDArray[np.bool_]
    ) -> npt.NDArray[np.int8]:
        """Return for each entity whether it is searched in the documents of its partners; see :class:`Located`."""
        if self._reading >= 0:
            return np.full(len(self._forms), self._reading, np.int8)
        hits = self.hits
        reading_ns = np.bincount(leaders, weights=hits[partners], minlength=len(hits)) * _DOCUMENT_NS
        reading_ns *= np.diff(self._forms.entities)
        blocks = self._forms.sums(self._plan.anchors[:, 2])
        visiting_ns = hits * _ROW_NS + np.where(located, 0, blocks * _BLOCK_NS)
        return (reading_ns < visiting_ns).astype(np.int8)
