"""Names for arrays and token sequences in signatures; the docstrings have shapes and element types."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

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
