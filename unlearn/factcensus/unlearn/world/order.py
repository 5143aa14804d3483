"""The order in which pre-training reads the documents of a world, and the table of it.

Every document is read once per epoch. Documents with no arrival setting are reshuffled each epoch. *Early* documents
are read in the first half of the training, *late* ones in the second half, each as often as all others. If a world has
as many early as late documents, every part of the training has the same mixture of the two kinds of its half and of the
mixed documents.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from factcensus.unlearn.world.rows import pack
from factcensus.unlearn.world.settings import Arrival, PretrainSettings

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class Step:
    """The position of a step's rows."""

    epoch: int
    first_row: int


@dataclass(frozen=True)
class ReadingOrder:
    """The rows and steps of a training run.

    Attributes:
        lengths: Number of tokens of each document.
        arrivals: When each document is read.
        settings: Settings of the training.
        seed: Seed of the order.
    """

    lengths: Sequence[int]
    arrivals: Sequence[Arrival]
    settings: PretrainSettings
    seed: int

    def rows(self, epoch: int) -> list[list[int]]:
        """Return the documents of each row of an epoch."""
        return pack(self.lengths, self._documents(epoch).tolist(), self.settings.row_tokens)

    def steps(self) -> list[Step]:
        """Return the steps of the whole training."""
        return [
            Step(epoch, first)
            for epoch in range(self.settings.epochs)
            for first in range(0, len(self.rows(epoch)), self.settings.batch_rows)
        ]

    def table(self, ids: Sequence[str]) -> pa.Table:
        """Return the order table: the id of each document, and the list of the steps that read it, from 0."""
        import pyarrow as pa

        steps: dict[int, list[int]] = defaultdict(list)
        first = 0
        for epoch in range(self.settings.epochs):
            rows = self.rows(epoch)
            for number, row in enumerate(rows):
                for document in row:
                    steps[document].append(first + number // self.settings.batch_rows)
            first += -(-len(rows) // self.settings.batch_rows)
        lists = [steps[document] for document in range(len(ids))]
        return pa.table({"id": pa.array(ids, pa.string()), "step": pa.array(lists, pa.list_(pa.int64()))})

    def _documents(self, epoch: int) -> npt.NDArray[np.int64]:
        """Return the documents of an epoch in order; with arrivals, an equal share of all readings."""
        documents = len(self.lengths)
        if all(arrival == "mixed" for arrival in self.arrivals):
            return np.random.default_rng([self.seed, 4, epoch]).permutation(documents)
        return self._readings[epoch * documents : (epoch + 1) * documents]

    @cached_property
    def _readings(self) -> npt.NDArray[np.int64]:
        """Return the document of every reading of the training, in order."""
        documents, epochs = len(self.lengths), self.settings.epochs
        begin = np.array([0.5 if arrival == "late" else 0.0 for arrival in self.arrivals])
        share = np.array([1.0 if arrival == "mixed" else 0.5 for arrival in self.arrivals])
        times = [
            begin + share * (epoch + np.random.default_rng([self.seed, 4, epoch]).random(documents)) / epochs
            for epoch in range(epochs)
        ]
        readings: npt.NDArray[np.int64] = np.argsort(np.concatenate(times), kind="stable") % documents
        return readings
