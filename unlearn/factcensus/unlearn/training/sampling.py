"""The examples of each step, a pure function of seed, name and step, so a resumed run uses the same examples.

Each epoch is another permutation of all examples, and steps read the epochs in sequence. In k passes, every example is
used k times, even if the batch size does not divide the number of examples.
"""

from __future__ import annotations

import math
import zlib

import numpy as np


class Sampler:
    """Draws batches of indices below ``size``, without replacement within an epoch."""

    def __init__(self, size: int, batch_size: int, seed: int, name: str) -> None:
        if size < 1 or batch_size < 1:
            raise ValueError(f"size is {size} and batch_size {batch_size}; both must be at least 1")
        self.size, self.batch_size = size, batch_size
        self._key = (seed, zlib.crc32(name.encode()))
        self._epoch = -1
        self._order: list[int] = []

    def steps(self, passes: float) -> int:
        """Return the number of steps in ``passes`` passes over the examples, at least 1."""
        return max(1, math.ceil(passes * self.size / self.batch_size - 1e-9))

    def batch(self, step: int) -> list[int]:
        """Return the indices of a step; steps count from 0."""
        first = step * self.batch_size
        return [self._at(position) for position in range(first, first + self.batch_size)]

    def _at(self, position: int) -> int:
        epoch, place = divmod(position, self.size)
        if epoch != self._epoch:
            self._epoch = epoch
            self._order = np.random.default_rng([*self._key, epoch]).permutation(self.size).tolist()
        return self._order[place]
