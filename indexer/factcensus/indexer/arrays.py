"""Types of arrays and token sequences in signatures (docstrings give shapes and element types); views of arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pyarrow as pa

Array = npt.NDArray[Any]
#: bool (documents,): True for documents that are counted; of size 0 if all are counted.
Mask = npt.NDArray[np.bool_]
#: int64: counts, positions, or the starts of token sequences.
Numbers = npt.NDArray[np.int64]
#: uint32: token ids of many sequences.
TokenArray = npt.NDArray[np.uint32]
#: uint8 (1,): a kernel returns early once it is set.
Stop = npt.NDArray[np.uint8]
TokenIds = tuple[int, ...]

#: Number of bytes read and written at once by :func:`eights`; such arrays have as many spare bytes at the end.
EIGHT = 8


def eights(array: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint64]:
    """Return a view (size - 7,): element i is the little-endian number in the 8 bytes from i on."""
    return np.ndarray((array.size - EIGHT + 1,), "<u8", array, strides=(1,))


def bytes_of(texts: pa.LargeBinaryArray) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Return the concatenated bytes of texts without nulls, and int64 (texts + 1,): where each begins, and the end."""
    _, offsets, content = texts.buffers()
    if offsets is None or not len(texts):
        return np.zeros(0, np.uint8), np.zeros(1, np.int64)
    starts = np.frombuffer(offsets, np.int64)[texts.offset : texts.offset + len(texts) + 1]
    first, end = int(starts[0]), int(starts[-1])
    if content is None or first == end:
        return np.zeros(0, np.uint8), starts - first
    return np.frombuffer(content, np.uint8)[first:end], starts - first if first else starts


def as_arrow(numbers: npt.NDArray[Any]) -> pa.Array:
    """Return numbers as an Arrow array without a copy; ``pa.array`` would first import pandas, which takes 0.25 s."""
    import pyarrow as pa

    values = np.ascontiguousarray(numbers)
    return pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), len(values), [None, pa.py_buffer(values)])


def as_numpy(integers: pa.Array | pa.ChunkedArray) -> Array:
    """Return an Arrow array of integers without nulls as a NumPy array; its ``to_numpy`` would first import pandas."""
    chunks = getattr(integers, "chunks", [integers])
    parts = [
        np.frombuffer(chunk.buffers()[1], str(chunk.type), len(chunk), chunk.offset * chunk.type.bit_width // 8)
        for chunk in chunks
        if len(chunk)
    ]
    if len(parts) == 1:
        return parts[0]
    return np.concatenate(parts) if parts else np.zeros(0, str(integers.type))


def repeated(text: str, rows: int) -> pa.StringArray:
    """Return an Arrow array with the same text in all rows; ``pa.repeat`` would first import pandas."""
    import pyarrow as pa

    content = text.encode()
    ends = np.arange(rows + 1, dtype=np.int32) * np.int32(len(content))
    return pa.StringArray.from_buffers(rows, pa.py_buffer(ends), pa.py_buffer(content * rows))
