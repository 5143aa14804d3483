"""Finding repeated documents: a shuffle by digest, so that memory does not grow with the corpus.

A document repeats an earlier one if the 64-bit digests of their texts, their bytes and their tokens are equal. Such
documents have the same leading bits of the digest. So the documents are first distributed over buckets by these bits,
and then each bucket is sorted on its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from factcensus.indexer.arrays import as_numpy
from factcensus.indexer.storage.chosen import Chosen

#: One document: the digest and size of its text, and its number in the whole index.
RECORD = np.dtype([("digest", "<u8"), ("text_bytes", "<u8"), ("tokens", "<u8"), ("document", "<u8")])
#: Documents per bucket on average (32 bytes each, and twice that to sort them).
BUCKET_DOCUMENTS = 1 << 22
#: The prefix of the folder of the buckets, which an interrupted change may leave.
SHUFFLE_PREFIX = ".shuffle-"
COLUMNS = ("text_digest", "text_bytes", "tokens")

Records = npt.NDArray[np.void]


def bucket_bits(documents: int) -> int:
    """Return how many leading bits of a digest choose the bucket among this many documents."""
    return max(0, (documents - 1) // BUCKET_DOCUMENTS).bit_length()


def bucket_of(records: Records, bits: int) -> npt.NDArray[np.uint64]:
    """Return the bucket of each record."""
    digests: npt.NDArray[np.uint64] = records["digest"]
    return digests >> np.uint64(64 - bits) if bits else np.zeros(len(records), np.uint64)


def repeated_in(records: Records) -> npt.NDArray[np.uint64]:
    """Return, in ascending order, the documents of a bucket that repeat an earlier one."""
    order = np.lexsort((records["document"], records["tokens"], records["text_bytes"], records["digest"]))
    found = records[order]
    again = np.zeros(len(found), np.bool_)
    again[1:] = True
    for column in ("digest", "text_bytes", "tokens"):
        again[1:] &= found[column][1:] == found[column][:-1]
    return np.sort(found["document"][again])


class Repeats:
    """The repeated documents of an index, by their number in the whole index; one sorted list per bucket."""

    def __init__(self, lists: Iterable[npt.NDArray[np.uint64]]) -> None:
        self._lists = list(lists)

    def rows(self, first: int, documents: int) -> npt.NDArray[np.uint32]:
        """Return the repeated ones among the ``documents`` documents from number ``first`` on, renumbered from 0."""
        parts = []
        for each in self._lists:
            low, high = np.searchsorted(each, np.array([first, first + documents], np.uint64))
            parts.append(np.asarray(each[low:high] - np.uint64(first)).astype(np.uint32))
        return np.sort(np.concatenate([np.zeros(0, np.uint32), *parts]))


@contextmanager
def find_repeated(tables: dict[int, Path], deleted: Chosen, folder: Path) -> Iterator[Repeats]:
    """Yield the repeated documents of an index; a document repeats an earlier one in the order of ``tables``.

    Args:
        tables: The document table of each shard by its number, in the order of the index.
        deleted: The deleted documents of each shard, which repeat nothing and which nothing repeats.
        folder: A folder with space for the buckets: 32 bytes per document, and nothing for a few million documents.
    """
    bits = bucket_bits(sum(pq.read_metadata(table).num_rows for table in tables.values()))
    if not bits:
        yield Repeats([repeated_in(np.concatenate([np.zeros(0, RECORD), *records_of(tables, deleted)]))])
        return
    with TemporaryDirectory(prefix=SHUFFLE_PREFIX, dir=folder) as place:
        for records in records_of(tables, deleted):
            distribute(records, Path(place), bits)
        yield Repeats(_sorted_buckets(Path(place)))


def distribute(records: Records, folder: Path, bits: int) -> None:
    """Append each record to the file of its bucket."""
    buckets = bucket_of(records, bits)
    order = np.argsort(buckets, kind="stable")
    cuts = np.flatnonzero(np.diff(buckets[order])) + 1
    for part in np.split(order, cuts):
        if len(part):
            with (folder / f"{int(buckets[part[0]]):06d}").open("ab") as file:
                file.write(records[part].tobytes())


def _sorted_buckets(folder: Path) -> Iterator[npt.NDArray[np.uint64]]:
    """Replace each bucket by its repeated documents, and yield these as a mapped file."""
    for path in sorted(folder.iterdir()):
        found = repeated_in(np.fromfile(path, RECORD))
        path.unlink()
        if len(found):
            found.tofile(path)
            yield np.memmap(path, np.uint64, "r")


def records_of(tables: dict[int, Path], deleted: Chosen) -> Iterator[Records]:
    """Yield the records of all documents that are not deleted, a bounded number at a time."""
    first = 0
    for number, table in tables.items():
        gone = deleted.get(number, np.zeros(0, np.uint32))
        row = 0
        with pq.ParquetFile(table) as file:
            for batch in file.iter_batches(columns=[*COLUMNS]):
                records = np.empty(batch.num_rows, RECORD)
                for name, column in zip(("digest", "text_bytes", "tokens"), COLUMNS, strict=True):
                    records[name] = as_numpy(batch[column])
                records["document"] = np.arange(first + row, first + row + batch.num_rows)
                low, high = np.searchsorted(gone, [row, row + batch.num_rows])
                yield np.delete(records, gone[low:high].astype(np.int64) - row)
                row += batch.num_rows
        first += row
