"""Batches of sequences of equal length, which need no padding.

A padded batch needs an attention mask, position ids that skip the padding, and a model that respects both; recurrent
layers and absolute position tables often do not. With sequences of one length, a number cannot depend on the other
sequences in its batch. Facts are short and have few different lengths, so the batches stay large: a thousand facts of 8
to 24 tokens form 17 groups.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from factcensus.unlearn.stopping import check_stop


def equal_length_batches(lengths: Sequence[int], batch_tokens: int) -> Iterator[list[int]]:
    """Yield the indices of sequences of the same length, shortest first, in batches of at most ``batch_tokens`` tokens.

    A sequence longer than ``batch_tokens`` forms its own batch. Every index is yielded exactly once.

    Raises:
        InterruptedRunError: SIGTERM arrived during a run that handles it as a request to stop.
    """
    by_length: dict[int, list[int]] = defaultdict(list)
    for index, length in enumerate(lengths):
        by_length[length].append(index)
    for length, indices in sorted(by_length.items()):
        size = max(1, batch_tokens // max(1, length))
        for start in range(0, len(indices), size):
            check_stop()
            yield indices[start : start + size]
