"""The files of a distributed build in its work folder, and reading them from other machines.

In addition to the objects of finished units::

    spool/000012.ids, .parquet, .words.npz, .texts   as in a local build (:mod:`factcensus.indexer.building.spool`)
    spool/000012.digests                     the documents in order of their digests (:data:`repeated.RECORD`)
    spool/000012.bins                        u64 per 1024th of all digests, and the end: where it begins in .digests
    totals.json                              the totals of all files
    merge/000003.words, .maps                the words of a group of files; u32: the ids in it of the words of each file
    merge/000009.repeats                     u64: the repeated documents of a bucket, by number in the corpus
    root/000000.global.000003                u32: the id in the index of each word of a group
    root/000000.pieces                       the pieces of files that make each shard
    root/000000.cuts                         u64 (buckets, shards + 1): where each shard begins in .repeats
"""

from __future__ import annotations

import io
import json
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from factcensus.indexer.building.shards import Piece
from factcensus.indexer.storage.repeated import bucket_bits
from factcensus.indexer.system.places import NoFileError, Place, read_ranges
from factcensus.indexer.work import Unit, WorkFolder

Array = npt.NDArray[Any]

#: Files whose words are merged together.
GROUP_FILES = 16
#: Logarithm of the number of digest ranges whose starts a file records; also the maximum number of buckets.
BIN_BITS = 10
#: Bytes of token ids that are copied at once.
_COPIED = 8 << 20


@dataclass(frozen=True, slots=True)
class FileTotals:
    """The totals of a spooled file, as in its unit's object; see :class:`SpooledFile`.

    Attributes:
        words: Number of its words; 0 for an analyzer with fixed ids.
    """

    documents: int
    tokens: int
    text_bytes: int
    skipped_lines: int
    content: str
    words: int


class BuildFolder:
    """The work folder of a build."""

    def __init__(self, folder: WorkFolder) -> None:
        self.folder = folder
        self._totals: list[FileTotals] | None = None

    def spooled(self, number: int, ending: str) -> Place:
        """Return the place of one of the files into which a corpus file was spooled."""
        return self.folder.place / f"spool/{number:06d}.{ending}"

    def merged(self, unit: int, ending: str) -> Place:
        """Return the place of a file that a ``merge`` unit wrote."""
        return self.folder.place / f"merge/{unit:06d}.{ending}"

    def root(self, ending: str) -> Place:
        """Return the place of a file that the ``root`` unit wrote."""
        return self.folder.place / f"root/000000.{ending}"

    def json_of(self, stage: str, number: int) -> Any:
        """Return the object of a finished unit."""
        return json.loads(self.folder.read(Unit(stage, number, 0)))

    def totals(self, files: int) -> list[FileTotals]:
        """Return the totals of all corpus files, which must be spooled; the first machine that asks stores them."""
        if self._totals is None:
            place = self.folder.place / "totals.json"
            try:
                stored = json.loads(place.read())
            except NoFileError:
                stored = [self.json_of("spool", number) for number in range(files)]
                place.write(json.dumps(stored).encode())
            self._totals = [FileTotals(**each) for each in stored]
        return self._totals


def groups_of(files: int) -> list[range]:
    """Return the numbers of the files of each group."""
    return [range(first, min(files, first + GROUP_FILES)) for first in range(0, files, GROUP_FILES)]


def bits_of(totals: list[FileTotals]) -> int:
    """Return how many leading bits of a digest choose its bucket."""
    return min(BIN_BITS, bucket_bits(sum(total.documents for total in totals)))


class FetchedFile:
    """A spooled file in a work folder; this machine reads one piece of it.

    Args:
        build: The work folder.
        number: The number of the file.
        scratch: A local folder, for token ids from another machine.
    """

    def __init__(self, build: BuildFolder, number: int, scratch: Path, files: int) -> None:
        self._build, self.number, self._scratch, self._files = build, number, scratch, files
        #: The local file of token ids, and the number of the first of them.
        self._ids: Path | None = None
        self._first = 0

    def fetch(self, first: int, count: int, dtype: np.dtype[Any]) -> None:
        """Copy some token ids to this machine, unless it can read them from a disk."""
        place = self._build.spooled(self.number, "ids")
        if place.is_local:
            self._ids = place.path
            return
        self._ids, self._first = self._scratch / f"{self.number:06d}.ids", first
        left = count * dtype.itemsize
        with self._ids.open("wb") as target, place.open(at_random=True) as source:
            source.seek(first * dtype.itemsize)
            while left:
                data = source.read(min(left, _COPIED))
                if not data:
                    raise NoFileError(f"cannot read {place}: it is truncated; remove it and its unit, and run again")
                target.write(data)
                left -= len(data)

    def release(self) -> None:
        """Remove the copy."""
        if self._ids is not None and self._ids.parent == self._scratch:
            self._ids.unlink()

    def parquet(self) -> AbstractContextManager[Any]:
        """Open the document rows for reading."""
        return self._build.spooled(self.number, "parquet").open(at_random=True)

    def read_ids(self, dtype: np.dtype[Any], first: int, count: int) -> Array:
        """Return some of the fetched token ids."""
        assert self._ids is not None
        return np.fromfile(self._ids, dtype, count, offset=(first - self._first) * dtype.itemsize)

    def read_text(self, first: int, count: int) -> bytes:
        """Return some bytes of the concatenated texts of the file, if they were kept."""
        (content,) = read_ranges([(self._build.spooled(self.number, "texts"), first, first + count)])
        return bytes(content)

    def word_ids(self) -> npt.NDArray[np.uint32] | None:
        """Return the id in the index of each word of the file; None if the ids of the file are those of the index."""
        totals = self._build.totals(self._files)
        words = totals[self.number].words
        if not words:
            return None if not any(total.words for total in totals) else np.zeros(0, np.uint32)
        group = self.number // GROUP_FILES
        before = sum(total.words for total in totals[group * GROUP_FILES : self.number])
        (content,) = read_ranges([(self._build.merged(group, "maps"), 4 * before, 4 * (before + words))])
        to_index = np.frombuffer(self._build.root(f"global.{group:06d}").read(), np.uint32)
        return to_index[np.frombuffer(content, np.uint32)]


def pieces_to_json(shards: list[list[Piece]]) -> bytes:
    """Return the pieces of all shards as JSON."""
    return json.dumps(
        [
            [
                [
                    each.file.number,  # type: ignore[attr-defined]  # planned from fetched files
                    each.first,
                    each.last,
                    each.first_token,
                    each.tokens,
                    each.whole,
                    each.first_text_byte,
                ]
                for each in shard
            ]
            for shard in shards
        ]
    ).encode()


def to_json(value: Any) -> bytes:
    """Return the object of a unit; equal values give equal bytes."""
    return json.dumps(asdict(value) if isinstance(value, FileTotals) else value, sort_keys=True).encode()


def words_of(content: bytes) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Return the arena and the starts of stored words."""
    with np.load(io.BytesIO(content)) as words:
        return words["arena"], words["starts"]
