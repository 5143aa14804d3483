"""The occurrences of one term in one shard, in any layout."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
import numpy.typing as npt

from factcensus.api.infini_gram.tokens import Ngram
from factcensus.indexer import Deadline
from factcensus.indexer.kernels.search import find
from factcensus.indexer.storage.compact_shard import CompactShard
from factcensus.indexer.storage.shard import Shard
from factcensus.indexer.storage.suffix_shard import SuffixArrayShard

#: Occurrences processed together.
CHUNK_ROWS = 1 << 20


class Term(Protocol):
    """The occurrences of one term in one shard.

    Attributes:
        size: Their number.
    """

    @property
    def size(self) -> int:  # noqa: D102 - an attribute
        ...

    def positions(self, first: int, last: int) -> npt.NDArray[np.int64]:
        """Return the positions of the occurrences with the numbers [first, last)."""
        ...


class Rows:
    """A range of a suffix array."""

    def __init__(self, shard: SuffixArrayShard, ngram: Ngram) -> None:
        self._shard = shard
        self._low, high = rows_of(shard, ngram)
        self.size = high - self._low

    def positions(self, first: int, last: int) -> npt.NDArray[np.int64]:
        """Return positions in the order of the suffix array; see :meth:`Term.positions`."""
        return self._shard.positions(self._low + first, self._low + last)


class Places:
    """All positions of a term in the layout ``compact``."""

    def __init__(self, shard: CompactShard, ngram: Ngram) -> None:
        self._found: npt.NDArray[np.uint32] | None = None
        self.size = 0 if ngram else shard.size  # no token occurs everywhere
        if ngram and -1 not in ngram:
            self._found = shard.occurrences_of(ngram)
            self.size = len(self._found)

    def positions(self, first: int, last: int) -> npt.NDArray[np.int64]:
        """Return positions in order; see :meth:`Term.positions`."""
        if self._found is None:
            return np.arange(first, last)
        return self._found[first:last].astype(np.int64)


def term_in(shard: Shard, ngram: Ngram) -> Term:
    """Return the occurrences of token ids, which may include separators; -1 never occurs."""
    if isinstance(shard, CompactShard):
        return Places(shard, ngram)
    assert isinstance(shard, SuffixArrayShard)
    return Rows(shard, ngram)


def chunks(term: Term, deadline: Deadline) -> Iterator[npt.NDArray[np.int64]]:
    """Yield the positions of a term, a bounded number at a time."""
    for start in range(0, term.size, CHUNK_ROWS):
        deadline.check()
        yield term.positions(start, min(term.size, start + CHUNK_ROWS))


def rows_of(shard: SuffixArrayShard, ngram: Ngram) -> tuple[int, int]:
    """Return the suffix array range of token ids; unlike ``SuffixArrayShard.find``, they may start with a separator."""
    if -1 in ngram:
        return 0, 0
    if ngram and ngram[0] == 256**shard.token_bytes - 1:
        query = np.array(ngram, shard.token_dtype).view(np.uint8)
        none = np.zeros(0, np.uint32)
        low, high = find(shard.suffix_array._replace(first=none, types=0), query)
        return int(low), int(high)
    return shard.find(ngram)
