"""Names for arrays and token sequences in signatures; the docstrings have shapes and element types."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
#: bool (documents,): True for documents that are counted; of size 0 if all are counted.
Mask = npt.NDArray[np.bool_]
TokenIds = tuple[int, ...]
