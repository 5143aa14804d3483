"""Frozen Unicode tables of the ``words`` analyzers: what every code point does, decided once and shipped.

The tables hold Unicode 14.0.0 whatever Python runs, so an index and a query that meet years apart agree: a code
point that was unassigned then separates words for ever. Normalisation itself is Python's; Unicode guarantees that
it never changes for characters that were assigned.

Most text never needs it: for a *safe* code point the analyzed form does not depend on its neighbours, so the
compiled scanner replaces it by a stored byte string. *Unsafe* are the 1,500 or so whose result does (combining
marks, conjoining jamo, expansions that mix words and separators); the scanner hands the whitespace-delimited span
around one to :func:`factcensus.indexer.analyzers.words.exact_tokens`.

Regenerate (needs the ``regex`` package and a Python whose unicodedata is 14.0.0, such as 3.11)::

    python -m factcensus.indexer.analyzers.unicode_tables
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

import numpy as np
import numpy.typing as npt

UNICODE_VERSION = "14.0.0"
CODE_POINTS = 0x110000
#: Scripts that are written without spaces: each of their letters, marks and numbers is a token by itself.
UNSPACED_SCRIPTS = ("Han", "Hiragana", "Katakana", "Thai", "Lao", "Khmer", "Myanmar")

# What a code point is, before any folding.
OTHER, WORD, SINGLE, JOINER, FORMAT, UNASSIGNED = range(6)
# What the scanner does with it; the first four have the same numbers, and DROP stands for FORMAT.
BREAK, UNSAFE, DROP = 0, 5, 4
#: In the scanner's table, where the row of the replacement begins above these.
ROW_SHIFT = 3

Normalization = Literal["words", "words-cased"]
_FILE = Path(__file__).with_name(f"unicode-{UNICODE_VERSION}.npz")


def normalize(text: str, analyzer: Normalization) -> str:
    """The analyzer's normal form of a text that has no format characters (category Cf)."""
    if analyzer == "words":
        return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return unicodedata.normalize("NFC", text)


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
    """One byte a code point: OTHER, WORD, SINGLE, JOINER, FORMAT or UNASSIGNED."""
    with np.load(_FILE) as tables:
        return _expand(tables["class_starts"], tables["class_values"]).tobytes()


@lru_cache(maxsize=2)
def scanner_tables(analyzer: Normalization) -> ScannerTables:
    """The scanner's tables of one analyzer."""
    prefix = analyzer.replace("-", "_")
    with np.load(_FILE) as tables:
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


def _expand(starts: npt.NDArray[np.int32], values: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    return np.repeat(values, np.diff(np.append(starts, CODE_POINTS)))


def _runs(values: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.uint8]]:
    starts = np.flatnonzero(np.diff(values, prepend=values[:1] ^ 1)).astype(np.int32)
    return starts, values[starts]


def _generate() -> None:
    """Decide every code point's class and fold, and write the table file."""
    if unicodedata.unidata_version != UNICODE_VERSION:
        raise SystemExit(f"needs unicodedata {UNICODE_VERSION}; this Python has {unicodedata.unidata_version}")
    classes = _classify()
    start, value = _runs(classes)
    tables: dict[str, npt.NDArray[Any]] = {"class_starts": start, "class_values": value}
    seconds = _composition_seconds()
    tables |= _decide("words", classes, seconds) | _decide("words-cased", classes, seconds)
    cast(Any, np.savez_compressed)(_FILE, **tables)
    print(f"{_FILE.name}: {_FILE.stat().st_size:,} bytes")


def _classify() -> npt.NDArray[np.uint8]:
    import regex  # its scripts are those of a newer Unicode; only code points assigned in 14.0 are asked

    unspaced = regex.compile("[" + "".join(rf"\p{{Script={script}}}" for script in UNSPACED_SCRIPTS) + "]")
    classes = np.zeros(CODE_POINTS, np.uint8)
    for code_point in range(CODE_POINTS):
        character = chr(code_point)
        category = unicodedata.category(character)
        if category[0] in "LMN":
            classes[code_point] = SINGLE if unspaced.match(character) else WORD
        elif character in "+#":
            classes[code_point] = JOINER
        elif category == "Cf":
            classes[code_point] = FORMAT
        elif category == "Cn":
            classes[code_point] = UNASSIGNED
    return classes


def _composition_seconds() -> set[str]:
    """Characters that can compose with the one before them."""
    seconds = {chr(c) for c in (*range(0x1161, 0x1176), *range(0x11A8, 0x11C3))}  # Hangul vowels and finals
    for code_point in range(CODE_POINTS):
        decomposition = unicodedata.decomposition(chr(code_point))
        if decomposition and not decomposition.startswith("<"):
            seconds.update(chr(int(part, 16)) for part in decomposition.split()[1:])
    return seconds


def _decide(analyzer: Normalization, classes: npt.NDArray[np.uint8], seconds: set[str]) -> dict[str, npt.NDArray[Any]]:
    def starts_freely(text: str, form: Literal["NFD", "NFKD"]) -> bool:
        first = unicodedata.normalize(form, text)[0]
        return not unicodedata.combining(first) and first not in seconds

    kinds = np.zeros(CODE_POINTS, np.uint8)
    folded, lengths, replacements = [], [], bytearray()
    for code_point in range(CODE_POINTS):
        character = chr(code_point)
        if classes[code_point] == FORMAT:
            kinds[code_point] = DROP
            continue
        if classes[code_point] == UNASSIGNED or 0xD800 <= code_point < 0xE000:
            continue  # BREAK
        result = normalize(character, analyzer)
        form: Literal["NFD", "NFKD"] = "NFKD" if analyzer == "words" else "NFD"
        folds = [character, unicodedata.normalize("NFKC", character).casefold()] if analyzer == "words" else [character]
        kind_of_result = {int(classes[ord(c)]) for c in result}
        local = all(starts_freely(text, form) for text in folds)
        uniform = kind_of_result == {WORD} or (len(result) == 1 and kind_of_result <= {SINGLE, JOINER, OTHER})
        if kind_of_result == {OTHER} and local:
            continue  # BREAK, however long
        if not (local and uniform):
            kinds[code_point] = UNSAFE
            continue
        kinds[code_point] = kind_of_result.pop()
        if result != character:
            folded.append(code_point)
            replacements += result.encode()
            lengths.append(len(result.encode()))
    prefix = analyzer.replace("-", "_")
    start, value = _runs(kinds)
    return {
        f"{prefix}_kind_starts": start,
        f"{prefix}_kind_values": value,
        f"{prefix}_folded": np.array(folded, np.int32),
        f"{prefix}_fold_lengths": np.array(lengths, np.uint8),
        f"{prefix}_fold_bytes": np.frombuffer(bytes(replacements), np.uint8),
    }


if __name__ == "__main__":
    _generate()
