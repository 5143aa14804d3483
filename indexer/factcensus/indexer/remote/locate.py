"""Finding the documents of token positions of a remote shard, by reading parts of ``offset.N``.

``sample.N`` has the beginning of every 512th document, so one read per position finds its document. Without it, the
place in ``offset.N`` is interpolated, because documents are about equally long on average: two or three reads that wait
for one another, if few positions are asked for. When the parts would cost more than the whole file, it is read once and
kept in the cache folder.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from factcensus.indexer.arrays import Numbers
from factcensus.indexer.errors import IndexFormatError
from factcensus.indexer.remote.rounds import RemoteFile, Span, Steps

#: Number of documents whose offsets are read at a time.
BLOCK_DOCUMENTS = 512
#: Number of bytes whose transfer costs as much as one request.
REQUEST_BYTES = 32 << 10
#: A smaller file of offsets is read completely.
SMALL_BYTES = 2 << 20
#: Number of rounds that trust the average length of documents; later ones also divide the documents evenly.
_INTERPOLATED = 3


@dataclass
class Offsets:
    """The beginnings of the documents of one remote shard.

    Attributes:
        file: ``offset.N``.
        token_bytes: Bytes of a token id.
        documents: Number of documents.
        size: Number of tokens, including separators.
        known: int64 (n,), some documents in order, beginning with 0 and ending with ``documents``.
        begins: int64 (n,): the position of the separator of each of these; the last is ``size``.
        whole: int64 (documents,), all beginnings, once they were read.
    """

    file: RemoteFile
    token_bytes: int
    documents: int
    size: int
    known: Numbers = field(init=False)
    begins: Numbers = field(init=False)
    whole: Numbers | None = None

    def __post_init__(self) -> None:
        self.known = np.array([0, self.documents], np.int64)
        self.begins = np.array([0, self.size], np.int64)

    def sampled(self, step: int, begins: Numbers) -> None:
        """Take the beginnings of every ``step``-th document from ``sample.N``."""
        self.known = np.append(np.arange(0, self.documents, step), self.documents)
        self.begins = np.append(begins, self.size)

    def read(self, data: bytes, first: int) -> Numbers:
        """Return the positions in a part of the file that begins with the document ``first``.

        Raises:
            IndexFormatError: The positions are not in order or not within the shard.
        """
        begins = np.frombuffer(data, "<u8").astype(np.int64) // self.token_bytes
        outside = len(begins) and not (begins[0] >= 0 and begins[-1] < self.size)
        if outside or np.any(begins[1:] <= begins[:-1]) or (first == 0 and len(begins) and begins[0] != 0):
            raise IndexFormatError(
                f"{self.file} is damaged: documents are out of order near document {first}; copy the index again or "
                "rebuild it"
            )
        return begins

    def keep(self, begins: Numbers) -> None:
        """Keep all beginnings."""
        self.whole = begins


def distinct(values: Numbers) -> Numbers:
    """Return the distinct values in order; faster than ``np.unique``, which hashes them."""
    ordered = np.sort(values)
    found: Numbers = ordered[np.diff(ordered, prepend=ordered[:1] - 1) != 0]
    return found


def locate(offsets: Offsets, positions: Numbers, whole: Steps[None] | None = None) -> Steps[Numbers]:
    """Return the document of each position.

    Args:
        offsets: The beginnings of the documents.
        positions: int64, sorted.
        whole: Reads all beginnings; used if that is cheaper than reading parts.

    Raises:
        IndexFormatError: ``offset.N`` is damaged.
    """
    if not len(positions):
        return np.zeros(0, np.int64)
    if offsets.whole is None and whole is not None and _whole_is_cheaper(offsets, positions):
        yield from whole
    if offsets.whole is not None:
        return np.searchsorted(offsets.whole, positions, side="right") - 1
    return (yield from _locate_by_parts(offsets, positions))


def _whole_is_cheaper(offsets: Offsets, positions: Numbers) -> bool:
    size = 8 * offsets.documents
    cost = REQUEST_BYTES + 8 * BLOCK_DOCUMENTS
    if int(np.diff(offsets.known).max()) <= BLOCK_DOCUMENTS:  # one block per position
        return size < cost * len(distinct(np.searchsorted(offsets.begins, positions, side="right")))
    return size <= SMALL_BYTES or size < 2 * cost * len(distinct(positions >> 16))


def _locate_by_parts(offsets: Offsets, positions: Numbers) -> Steps[Numbers]:
    """Locate positions by reading blocks of offsets, closer to the documents in each round."""
    documents = np.full(len(positions), -1, np.int64)
    known, begins = offsets.known, offsets.begins
    rounds = 0
    while (left := np.flatnonzero(documents < 0)).size:
        place = np.searchsorted(begins, positions[left], side="right") - 1
        single = known[place + 1] - known[place] == 1
        documents[left[single]] = known[place[single]]
        left, place = left[~single], place[~single]
        if not left.size:
            break
        blocks = _blocks(positions[left], known, begins, place, interpolate=rounds < _INTERPOLATED)
        data = yield [Span(offsets.file, 8 * first, 8 * last) for first, last in blocks]
        found = [offsets.read(each, first) for each, (first, _) in zip(data, blocks, strict=True)]
        known = np.concatenate([known, *(np.arange(first, last) for first, last in blocks)])
        begins = np.concatenate([begins, *found])
        order = np.argsort(known, kind="stable")
        order = order[np.diff(known[order], prepend=-1) != 0]
        known, begins = known[order], begins[order]
        if np.any(begins[1:] <= begins[:-1]):
            raise IndexFormatError(
                f"{offsets.file} is damaged: documents are out of order; copy the index again or rebuild it"
            )
        rounds += 1
    return documents


def _blocks(
    positions: Numbers, known: Numbers, begins: Numbers, place: Numbers, *, interpolate: bool
) -> Sequence[tuple[int, int]]:
    """Return ranges of documents to read around the likely document of each position; ranges that touch are joined."""
    low, high = known[place][:, None], known[place + 1][:, None]
    shares = ((positions - begins[place]) / (begins[place + 1] - begins[place]))[:, None]
    if not interpolate:  # documents of very different lengths lie between known ones
        shares = np.concatenate([shares, np.tile(np.arange(1, 16) / 16, (len(shares), 1))], axis=1)
    guess = low + ((high - low) * shares).astype(np.int64)
    first = np.maximum(low, np.minimum(guess - BLOCK_DOCUMENTS // 2, high - BLOCK_DOCUMENTS))
    firsts = distinct(first.ravel())
    lasts = np.minimum(firsts + BLOCK_DOCUMENTS, known[np.searchsorted(known, firsts, side="right")])
    cuts = np.flatnonzero(np.append(True, firsts[1:] > lasts[:-1]))
    return list(zip(firsts[cuts].tolist(), np.append(lasts[cuts[1:] - 1], lasts[-1]).tolist(), strict=True))
