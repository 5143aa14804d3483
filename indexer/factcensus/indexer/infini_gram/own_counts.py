"""Our own counts of next tokens, in an index in the layout ``compact``.

A single token after a prompt is counted as the prompt with the token at its end. To count all tokens, every occurrence
of the prompt is found, and the token after it is read. Deleted documents are not counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from factcensus.indexer.counting.deadline import NO_DEADLINE
from factcensus.indexer.counting.scope import EVERY_DOCUMENT, column_of
from factcensus.indexer.infini_gram.following import Continued, Following
from factcensus.indexer.storage.compact_shard import CompactShard

if TYPE_CHECKING:
    from factcensus.indexer.arrays import Mask
    from factcensus.indexer.index import CountIndex

#: An id that no token has: it exceeds two bytes, is not the four-byte separator, and no vocabulary is that large.
_ABSENT_ID = 2**32 - 2


class OwnCounts:
    """The :class:`NextTokens` of an open index in the layout ``compact``."""

    def __init__(self, index: CountIndex) -> None:
        self._index = index
        self.absent_id = _ABSENT_ID

    def continued(self, prompt: Sequence[int], token: int, *, infini: bool) -> Continued:
        """Count a token after a prompt; see :meth:`NextTokens.continued`."""
        context = self._longest_suffix(prompt) if infini else prompt
        return Continued(context, self._occurrences(context), self._occurrences([*context, token]))

    def following(self, prompt: Sequence[int], max_support: int | None, *, infini: bool) -> Following:
        """Count all tokens after a prompt, always exactly; see :meth:`NextTokens.following`."""
        del max_support
        context = self._longest_suffix(prompt) if infini else prompt
        counts: Counter[int] = Counter()
        ends = 0
        for shard, counted in self._shards():
            tokens, times, ends_here = shard.next_tokens(context, counted)
            counts.update(dict(zip(tokens.tolist(), times.tolist(), strict=True)))
            ends += ends_here
        return Following(context, counts.total() + ends, dict(counts), ends)

    def _shards(self) -> list[tuple[CompactShard, Mask]]:
        return [(shard, counted) for shard, counted in self._index.counted_shards() if isinstance(shard, CompactShard)]

    def _occurrences(self, context: Sequence[int]) -> int:
        """Return the occurrences of token ids; if there are none, the number of tokens and ends of documents."""
        if not context:
            return sum(shard.living_size(counted) for shard, counted in self._shards())
        column = column_of(EVERY_DOCUMENT)
        return sum(shard.count(context, counted, column, NO_DEADLINE)[0] for shard, counted in self._shards())

    def _longest_suffix(self, prompt: Sequence[int]) -> Sequence[int]:
        """Return the longest suffix of a prompt that occurs."""
        occurs, most = 0, len(prompt)  # the longest suffix has a length in [occurs, most]
        while occurs < most:
            middle = (occurs + most + 1) // 2
            if self._occurrences(prompt[len(prompt) - middle :]):
                occurs = middle
            else:
                most = middle - 1
        return prompt[len(prompt) - occurs :]
