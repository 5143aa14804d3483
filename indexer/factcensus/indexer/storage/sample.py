"""``sample.N``: landmarks of a shard for searches over a network, which read it once.

All integers are little-endian:

    u64        the row step: the sample has every so-many-th row of ``table.N``, beginning with row 0
    u64        the document step: it also has the beginning of every so-many-th document
    16 × u32   numbers of sampled rows whose suffix is shorter than 16 bytes, because ``tokenized.N`` ends; the rest is
               0xFFFFFFFF
    16 × u32   the number of bytes of each of these suffixes
    16 × u8    per sampled row: the first bytes of its suffix; zeros after the end of ``tokenized.N``
    u64        per sampled document: its entry of ``offset.N``

For example, the documents "b a" and "b" of :mod:`layout` (five rows, two documents) give the row step 4096 with the
bytes ``00`` (then zeros) of row 0, which is listed as short with 1 byte, and the document step 512 with the offset 0.

A search in 4096 rows takes one read of this piece of the table and three rounds of 15 probes each. Above 2^28 rows, the
step grows to at most 2^16 rows, one more round, so that the sample stays below 34 MB for the largest shards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from factcensus.indexer.storage.layout import map_file, write_hashed

#: The smallest and largest step between sampled rows, and the number of sampled rows from which it grows.
LEAST_STEP, MOST_STEP, MANY_KEYS = 1 << 12, 1 << 16, 1 << 16
#: Step between sampled documents.
DOCUMENT_STEP = 512
KEY_BYTES = 16
_HEADER = 16 + 2 * 4 * 16
_NONE = 0xFFFFFFFF

Bytes = npt.NDArray[np.uint8]


def row_step(rows: int) -> int:
    """Return the step between sampled rows, given the number of rows of a shard."""
    step = LEAST_STEP
    while step < MOST_STEP and rows // step > MANY_KEYS:
        step *= 2
    return step


def render_sample(stream: Bytes, positions: npt.NDArray[Any], token_bytes: int, offsets: npt.NDArray[Any]) -> bytes:
    """Return the content of ``sample.N``.

    Args:
        stream: ``tokenized.N`` as uint8.
        positions: The token position of each row of the table, in order.
        token_bytes: Bytes of a token id.
        offsets: ``offset.N`` as u64.
    """
    step = row_step(len(positions))
    at = positions[::step].astype(np.int64) * token_bytes
    size = int(stream.size)
    places = at[:, None] + np.arange(KEY_BYTES)
    keys = np.where(places < size, stream[np.minimum(places, max(0, size - 1))], 0).astype(np.uint8)
    short = np.flatnonzero(at + KEY_BYTES > size)
    numbers, lengths = np.full(16, _NONE, "<u4"), np.zeros(16, "<u4")
    numbers[: len(short)], lengths[: len(short)] = short, size - at[short]
    steps = np.array([step, DOCUMENT_STEP], "<u8")
    begins = np.ascontiguousarray(offsets[::DOCUMENT_STEP], "<u8")
    return b"".join(part.tobytes() for part in (steps, numbers, lengths, keys, begins))


def write_sample(folder: Path, number: int, positions: npt.NDArray[Any], token_bytes: int) -> str:
    """Write ``sample.N`` of a shard whose ``tokenized.N`` and ``offset.N`` are written, and return its SHA-256."""
    stream, offsets = map_file(folder / f"tokenized.{number}"), map_file(folder / f"offset.{number}").view("<u8")
    return write_hashed(folder / f"sample.{number}", render_sample(stream, positions, token_bytes, offsets))


@dataclass(frozen=True)
class Sample:
    """The content of ``sample.N``.

    Attributes:
        rows: The sampled rows.
        keys: The first bytes of the suffix of each, by number.
        document_step: Step between sampled documents.
        offsets: u64: the entry of ``offset.N`` of each sampled document.
    """

    rows: range
    keys: SampleKeys
    document_step: int
    offsets: npt.NDArray[np.uint64]


class SampleKeys(Sequence[bytes]):
    """The keys of a sample as a lazy sequence; a large shard has two million."""

    def __init__(self, content: Bytes, short: dict[int, int]) -> None:
        self._content, self._short = content, short

    def __len__(self) -> int:
        return self._content.size // KEY_BYTES

    @overload
    def __getitem__(self, number: int) -> bytes: ...
    @overload
    def __getitem__(self, number: slice) -> list[bytes]: ...
    def __getitem__(self, number: int | slice) -> bytes | list[bytes]:
        """Return the key of one sampled row, or those of several."""
        if isinstance(number, slice):
            return [self[each] for each in range(*number.indices(len(self)))]
        if not 0 <= number < len(self):
            raise IndexError(number)
        begin = number * KEY_BYTES
        return bytes(self._content[begin : begin + self._short.get(number, KEY_BYTES)])


def parse_sample(content: bytes | Bytes, rows: int, documents: int) -> Sample:
    """Return the content of a ``sample.N``.

    Args:
        content: The bytes of the file.
        rows: Number of rows of the shard, and of documents.

    Raises:
        ValueError: The file does not belong to such a shard.
    """
    data = np.frombuffer(content, np.uint8) if isinstance(content, bytes) else content
    if data.size < _HEADER:
        raise ValueError(f"it has only {data.size} bytes")
    step, document_step = (int(each) for each in data[:16].view("<u8"))
    if not (0 < step <= 1 << 32 and 0 < document_step <= 1 << 32):
        raise ValueError(f"its steps are {step} and {document_step}")
    keys, sampled = -(-rows // step), -(-documents // document_step)
    if data.size != _HEADER + KEY_BYTES * keys + 8 * sampled:
        raise ValueError(f"it has {data.size} bytes, which do not fit {rows} rows and {documents} documents")
    numbers, lengths = data[16:_HEADER].view("<u4").reshape(2, 16)
    short = {int(i): int(size) for i, size in zip(numbers, lengths, strict=True) if i != _NONE}
    if any(i >= keys or size > KEY_BYTES for i, size in short.items()):
        raise ValueError("it lists an unknown short row")
    end = _HEADER + KEY_BYTES * keys
    offsets = np.frombuffer(data[end:].tobytes(), "<u8")
    return Sample(range(0, rows, step), SampleKeys(data[_HEADER:end], short), document_step, offsets)
