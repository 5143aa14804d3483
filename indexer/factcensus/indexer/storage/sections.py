"""Files with several arrays: their sizes at the beginning, and each array at a multiple of 64 bytes.

Layout, all integers little-endian: 8 bytes that name the kind of file, u64 number of parameters, u64 number of arrays,
the parameters (u64 each), the size of each array in bytes (u64 each), then the arrays, each after zero bytes up to the
next multiple of 64.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from factcensus.indexer.arrays import Array
from factcensus.indexer.errors import IndexFormatError
from factcensus.indexer.storage.layout import hashed_file, map_file
from factcensus.indexer.storage.manifest import FileRecord

#: Arrays begin at multiples of the size of a cache line.
ALIGNED = 64


def write_sections(path: Path, kind: bytes, parameters: Sequence[int], arrays: Sequence[Array]) -> FileRecord:
    """Write a file.

    Args:
        path: The new file.
        kind: Eight bytes.
        parameters: Numbers of at least 0.
        arrays: Arrays of integers.
    """
    contents = [np.ascontiguousarray(each, each.dtype.newbyteorder("<")).view(np.uint8) for each in arrays]
    numbers = [len(parameters), len(arrays), *parameters, *(each.size for each in contents)]
    head = np.frombuffer(kind + np.array(numbers, "<u8").tobytes(), np.uint8)
    size = 0
    with hashed_file(path) as (write, digest):
        for content in (head, *contents):
            padding = -size % ALIGNED
            if padding:
                write(bytes(padding))
            if content.size:
                write(content)
            size += padding + content.size
    return FileRecord(size, digest())


def read_sections(path: Path, kind: bytes, dtypes: Sequence[str]) -> tuple[list[int], list[Array]]:
    """Map a file; return its parameters and its arrays, which have these types.

    Raises:
        IndexFormatError: The file is not of this kind, or is truncated.
    """
    content = map_file(path)
    if bytes(content[:8]) != kind or content.size < 24:
        raise IndexFormatError(f"{path} is not a file of this kind of index; copy the index again or rebuild it")
    count, sections = content[8:24].view("<u8").tolist()
    end = 24 + 8 * (count + sections)
    if sections != len(dtypes) or end > content.size:
        raise IndexFormatError(f"{path} is damaged; run 'factcensus index verify'")
    numbers = content[24:end].view("<u8").tolist()
    arrays = []
    for size, dtype in zip(numbers[count:], dtypes, strict=True):
        begin = end + -end % ALIGNED
        end = begin + size
        if end > content.size or size % np.dtype(dtype).itemsize:
            raise IndexFormatError(f"{path} is damaged; run 'factcensus index verify'")
        arrays.append(content[begin:end].view(dtype))
    return numbers[:count], arrays
