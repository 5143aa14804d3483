"""Batches of equal length: the way this part avoids padding altogether.

A padded batch needs an attention mask, position ids that skip the padding, and a model that honours both; a recurrent
layer or an absolute position table often does not. Sequences of one length need none of it, so a number can never
depend on what else stood in its batch. Facts are short and their lengths few, so the batches stay large: a
thousand facts of 8 to 24 tokens make 17 groups.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from factcensus.unlearn.stopping import check_stop


def equal_length_batches(lengths: Sequence[int], batch_tokens: int) -> Iterator[list[int]]:
    """Indices of sequences that have the same length, shortest first, in batches of at most ``batch_tokens`` tokens.

    A sequence longer than ``batch_tokens`` is a batch by itself. Every index comes exactly once.

    Raises:
        InterruptedRunError: SIGTERM arrived, where a run turns it into a request to stop.
    """
    by_length: dict[int, list[int]] = defaultdict(list)
    for index, length in enumerate(lengths):
        by_length[length].append(index)
    for length, indices in sorted(by_length.items()):
        size = max(1, batch_tokens // max(1, length))
        for start in range(0, len(indices), size):
            check_stop()
            yield indices[start : start + size]
