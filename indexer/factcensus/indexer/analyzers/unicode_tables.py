"""Frozen Unicode tables of the ``words`` analyzers: the class of every code point, decided once and shipped.

The tables hold Unicode 14.0.0 whatever Python runs, so an index and a query that meet years apart agree: a code
point that was unassigned then separates words for ever. Normalisation itself is Python's; Unicode guarantees that
it never changes for characters that were assigned.

Most text never needs the definition in :mod:`factcensus.indexer.analyzers.definition`: for a *safe* code point the
analyzed form does not depend on its neighbours, so the compiled scanner replaces it by a stored byte string. *Unsafe*
are the 1,500 or so whose result does (combining marks, conjoining jamo, superscript digits, expansions that mix words
and separators); the scanner hands the whitespace-delimited span around one to ``exact_tokens``.

:mod:`factcensus.indexer.analyzers.unicode_generator` makes the table file.
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
#: Separates, and is dropped.
OTHER = 0
#: A letter, mark or number; runs of them are words.
WORD = 1
#: A letter, mark or number of a script that is written without spaces, which is a token by itself.
SINGLE = 2
#: + and #, which belong to the word before them.
JOINER = 3
#: Not part of a word's spelling: removed before anything else, so that its neighbours meet.
IGNORED = 4
#: Not assigned in the frozen Unicode version: separates.
UNASSIGNED = 5
#: A superscript digit: a run of them is a token by itself.
SUPERSCRIPT = 6
#: A vulgar fraction: its numerator and its denominator are tokens by themselves.
FRACTION = 7
#: Separates although its NFKC form may have letters or marks: a superscript sign (™), a spacing accent (´).
SEPARATOR = 8

# What the scanner does with a code point; the first four have the same numbers, and DROP has that of IGNORED.
BREAK, DROP, UNSAFE = OTHER, IGNORED, 5
#: In the scanner's table, where the row of the replacement begins above these.
ROW_SHIFT = 3

Normalization = Literal["words", "words-cased"]
TABLE_FILE = Path(__file__).with_name(f"unicode-{UNICODE_VERSION}.npz")


class ScannerTables(NamedTuple):
    """What the scanner looks up; all arrays are contiguous.

    Attributes:
        action: uint16 (0x110000,), a code point each: BREAK, WORD, SINGLE, JOINER, DROP or UNSAFE in the lowest three
            bits, above them the row of its replacement, 0 where it stays as it is.
        replacement: uint64 (rows,): the UTF-8 of each replacement as a little-endian number.
        replacement_size: int64 (rows,): its bytes.
        case_bit: what to set in capital ASCII letters, so that only other code points need a replacement: 0x20 or 0.
    """

    action: npt.NDArray[np.uint16]
    replacement: npt.NDArray[np.uint64]
    replacement_size: npt.NDArray[np.int64]
    case_bit: int


@lru_cache(maxsize=1)
def character_classes() -> bytes:
    """Return one byte per code point: its class, one of the constants above."""
    with np.load(TABLE_FILE) as tables:
        return _expand(tables["class_starts"], tables["class_values"]).tobytes()


@lru_cache(maxsize=2)
def scanner_tables(analyzer: Normalization) -> ScannerTables:
    """Return the scanner's tables of one analyzer."""
    prefix = analyzer.replace("-", "_")
    with np.load(TABLE_FILE) as tables:
        action = _expand(tables[f"{prefix}_kind_starts"], tables[f"{prefix}_kind_values"]).astype(np.uint16)
        folded, sizes = tables[f"{prefix}_folded"], tables[f"{prefix}_fold_lengths"]
        fold_bytes = tables[f"{prefix}_fold_bytes"].tobytes()
    action[folded] |= np.arange(1, len(folded) + 1, dtype=np.uint16) << ROW_SHIFT
    # Two Tibetan vowels have replacements of 9 bytes, which fit no number; Python decides these.
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
