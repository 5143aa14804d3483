"""Frozen Unicode tables of the ``words`` analyzers, with the class of every code point.

The tables have Unicode 14.0.0 for every version of Python, so an index and a query made years apart agree. Code points
that were unassigned in this version always separate words. Python does the normalisation; Unicode guarantees that it
never changes for assigned characters.

Most text does not need the definition in :mod:`factcensus.indexer.analyzers.definition`. The analysed form of a *safe*
code point does not depend on its neighbours, so the compiled scanner replaces it with a stored byte string. About 1,500
code points are *unsafe*: combining marks, conjoining jamo, superscript digits, and expansions that mix words and
separators. The scanner passes the whitespace-delimited span around them to ``exact_tokens``.

:mod:`factcensus.indexer.analyzers.unicode_generator` generates the table file.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

UNICODE_VERSION = "14.0.0"
CODE_POINTS = 0x110000

# Classes of code points, before any folding.
#: A separator, which is dropped.
OTHER = 0
#: A letter, mark or number; a run of them is a word.
WORD = 1
#: A letter, mark or number of a script written without spaces; a separate token.
SINGLE = 2
#: + and #, which belong to the preceding word.
JOINER = 3
#: An ignored character, removed first, so that its neighbours become adjacent.
IGNORED = 4
#: Unassigned in the frozen Unicode version; a separator.
UNASSIGNED = 5
#: A superscript digit; a run of them is a separate token.
SUPERSCRIPT = 6
#: A vulgar fraction; its numerator and denominator are separate tokens.
FRACTION = 7
#: A separator even though its NFKC form may contain letters or marks: a superscript sign (™), a spacing accent (´).
SEPARATOR = 8

# Scanner actions: the first four classes keep their numbers, and DROP has the number of IGNORED.
BREAK, DROP, UNSAFE = OTHER, IGNORED, 5
#: The bit at which the row of the replacement begins in the action table of the scanner.
ROW_SHIFT = 3

Normalization = Literal["words", "words-cased"]
TABLE_FILE = Path(__file__).with_name(f"unicode-{UNICODE_VERSION}.npz")


class ScannerTables(NamedTuple):
    """The lookup tables of the scanner; all arrays are contiguous.

    Attributes:
        action: uint16 (0x110000,), one per code point: BREAK, WORD, SINGLE, JOINER, DROP or UNSAFE in the lowest three
            bits, and above them the row of its replacement, or 0 if it is unchanged.
        replacement: uint64 (rows,): the UTF-8 of each replacement as a little-endian number.
        replacement_size: int64 (rows,): the number of bytes of each replacement.
        case_bit: The bit to set in ASCII capitals, which then need no replacement: 0x20 or 0.
    """

    action: npt.NDArray[np.uint16]
    replacement: npt.NDArray[np.uint64]
    replacement_size: npt.NDArray[np.int64]
    case_bit: int


@lru_cache(maxsize=1)
def character_classes() -> bytes:
    """Return the class of every code point, one byte each."""
    with np.load(TABLE_FILE) as tables:
        return _expand(tables["class_starts"], tables["class_values"]).tobytes()


@lru_cache(maxsize=2)
def scanner_tables(analyzer: Normalization) -> ScannerTables:
    """Return the scanner tables of one analyzer."""
    prefix = analyzer.replace("-", "_")
    with np.load(TABLE_FILE) as tables:
        action = _expand(tables[f"{prefix}_kind_starts"], tables[f"{prefix}_kind_values"]).astype(np.uint16)
        folded, sizes = tables[f"{prefix}_folded"], tables[f"{prefix}_fold_lengths"]
        fold_bytes = tables[f"{prefix}_fold_bytes"].tobytes()
    action[folded] |= np.arange(1, len(folded) + 1, dtype=np.uint16) << ROW_SHIFT
    # Two Tibetan vowels have replacements of 9 bytes, too long for a 64-bit number; Python handles them.
    action[folded[sizes > 8]] = UNSAFE
    ends = zip(np.cumsum(sizes, dtype=np.int64).tolist(), sizes.tolist(), strict=True)
    replacement = [0, *(int.from_bytes(fold_bytes[end - size : end][:8], "little") for end, size in ends)]
    return ScannerTables(
        action,
        np.array(replacement, np.uint64),
        np.concatenate([[0], sizes]).astype(np.int64),
        case_bit=0x20 if analyzer == "words" else 0,
    )


def _expand(starts: npt.NDArray[Any], values: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    return np.repeat(values, np.diff(np.append(starts, CODE_POINTS)))
