"""Generate the Unicode tables of the ``words`` analyzers.

This needs a Python with unicodedata 14.0.0, such as 3.11, and the release of ``regex`` with the same Unicode version::

    pip install --target regex-14 regex==2022.9.11
    PYTHONPATH=regex-14 python -m factcensus.indexer.analyzers.unicode_generator

A newer ``regex`` is refused, because Script_Extensions grow: in Unicode 16 the combining macron below is also Thai.
"""

from __future__ import annotations

import unicodedata
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt

from factcensus.indexer.analyzers.definition import folded
from factcensus.indexer.analyzers.unicode_tables import (
    CODE_POINTS,
    DROP,
    FRACTION,
    IGNORED,
    JOINER,
    OTHER,
    SEPARATOR,
    SINGLE,
    SUPERSCRIPT,
    TABLE_FILE,
    UNASSIGNED,
    UNICODE_VERSION,
    UNSAFE,
    WORD,
    Normalization,
)

#: Scripts written without spaces; each of their letters, marks and numbers is a separate token.
UNSPACED_SCRIPTS = ("Han", "Hiragana", "Katakana", "Thai", "Lao", "Khmer", "Myanmar")
#: Default-ignorable, but it separates words: these scripts use it between words.
ZERO_WIDTH_SPACE = 0x200B
#: Arabic tatweel and vowel signs; Hebrew points and accents.
POINTS = frozenset((0x640, *range(0x64B, 0x653), 0x670, *range(0x591, 0x5BE), 0x5BF, 0x5C1, 0x5C2, 0x5C4, 0x5C5, 0x5C7))
#: Characters of a letter category that are used as apostrophes, and separate words like apostrophes.
APOSTROPHES = frozenset((*range(0x2B9, 0x2C0), 0x2C8, *range(0x2CA, 0x2CD), 0xA78B, 0xA78C))


def main() -> None:
    """Determine the class and the scanner action of every code point, and write the table file."""
    if unicodedata.unidata_version != UNICODE_VERSION:
        raise SystemExit(f"this needs a Python with unicodedata {UNICODE_VERSION}, got {unicodedata.unidata_version}")
    classes = _classify()
    start, value = _runs(classes)
    tables: dict[str, npt.NDArray[Any]] = {"class_starts": start, "class_values": value}
    seconds = _composition_seconds()
    tables |= _decide("words", classes, seconds) | _decide("words-cased", classes, seconds)
    cast(Any, np.savez_compressed)(TABLE_FILE, **tables)
    print(f"{TABLE_FILE.name}: {TABLE_FILE.stat().st_size:,} bytes")


def _classify() -> npt.NDArray[np.uint8]:
    import regex

    unassigned = regex.compile(r"\p{Cn}")
    for character in map(chr, range(CODE_POINTS)):
        if (unassigned.match(character) is None) is (unicodedata.category(character) == "Cn"):
            raise SystemExit(f"this regex does not have Unicode {UNICODE_VERSION}; install regex==2022.9.11")
    unspaced = regex.compile("[" + "".join(rf"\p{{Script_Extensions={name}}}" for name in UNSPACED_SCRIPTS) + "]")
    ignorable = regex.compile(r"\p{Default_Ignorable_Code_Point}")
    classes = np.zeros(CODE_POINTS, np.uint8)
    for code_point, character in enumerate(map(chr, range(CODE_POINTS))):
        category = unicodedata.category(character)
        if code_point in POINTS or category == "Me" or (ignorable.match(character) and code_point != ZERO_WIDTH_SPACE):
            classes[code_point] = IGNORED  # some are unassigned, but reserved for such characters
        elif category == "Cn":
            classes[code_point] = UNASSIGNED
        elif (set_apart := _set_apart(character, category)) is not None:
            classes[code_point] = set_apart
        elif category[0] in "LMN" and code_point not in APOSTROPHES:
            classes[code_point] = SINGLE if unspaced.match(character) else WORD
        elif character in "+#":
            classes[code_point] = JOINER
    return classes


def _set_apart(character: str, category: str) -> int | None:
    """Return the class of a character that is kept apart from its neighbours; None for any other character."""
    mapping = unicodedata.decomposition(character)
    folded = unicodedata.normalize("NFKC", character)
    if mapping.startswith("<super>") and category in ("No", "So", "Sm", "Sk"):
        # Numbers other than digits are kanbun marks, with which Japanese readers number Chinese words.
        return SUPERSCRIPT if folded.isdecimal() else SEPARATOR
    if mapping.startswith("<fraction>"):
        return FRACTION
    return SEPARATOR if folded.startswith(" ") and folded != " " else None


def _composition_seconds() -> set[str]:
    """Return the characters that can compose with the preceding character."""
    seconds = {chr(c) for c in (*range(0x1161, 0x1176), *range(0x11A8, 0x11C3))}  # Hangul vowels and finals
    for code_point in range(CODE_POINTS):
        decomposition = unicodedata.decomposition(chr(code_point))
        if decomposition and not decomposition.startswith("<"):
            seconds.update(chr(int(part, 16)) for part in decomposition.split()[1:])
    return seconds


def _decide(analyzer: Normalization, classes: npt.NDArray[np.uint8], seconds: set[str]) -> dict[str, npt.NDArray[Any]]:
    """Return the scanner actions for all code points, as arrays by name."""
    kinds = np.zeros(CODE_POINTS, np.uint8)
    rows, lengths, replacements = [], [], bytearray()
    class_bytes = classes.tobytes()
    for code_point in range(CODE_POINTS):
        if classes[code_point] == IGNORED:
            kinds[code_point] = DROP
            continue
        if classes[code_point] == UNASSIGNED or 0xD800 <= code_point < 0xE000:
            continue  # BREAK
        character = chr(code_point)
        result, found = folded(character, analyzer, class_bytes)
        kinds[code_point] = UNSAFE
        if classes[code_point] not in (SUPERSCRIPT, FRACTION) and _is_free(character, result, analyzer, seconds):
            kinds[code_point] = _action(found)
        if kinds[code_point] in (WORD, SINGLE, JOINER) and result != character:
            rows.append(code_point)
            replacements += result.encode()
            lengths.append(len(result.encode()))
    prefix = analyzer.replace("-", "_")
    start, value = _runs(kinds)
    return {
        f"{prefix}_kind_starts": start,
        f"{prefix}_kind_values": value,
        f"{prefix}_folded": np.array(rows, np.int32),
        f"{prefix}_fold_lengths": np.array(lengths, np.uint8),
        f"{prefix}_fold_bytes": np.frombuffer(bytes(replacements), np.uint8),
    }


def _is_free(character: str, result: str, analyzer: Normalization, seconds: set[str]) -> bool:
    """Return whether neither a character nor ``result``, its folded form, can compose with the preceding character."""

    def starts_freely(text: str, form: Literal["NFD", "NFKD"]) -> bool:
        first = unicodedata.normalize(form, text)[:1]
        return not unicodedata.combining(first or " ") and first not in seconds

    free = starts_freely(character, "NFD") and starts_freely(result, "NFD")
    if analyzer == "words":
        in_lower_case = unicodedata.normalize("NFKC", character).casefold()
        free = free and starts_freely(character, "NFKD") and starts_freely(in_lower_case, "NFKD")
    return free


def _action(found: bytes) -> int:
    """Return the scanner action for a character that is folded to characters of these classes."""
    if not found:
        return DROP
    kinds = set(found)
    if kinds == {OTHER}:
        return OTHER  # however long
    uniform = kinds == {WORD} or (len(found) == 1 and kinds <= {SINGLE, JOINER})
    return found[0] if uniform else UNSAFE


def _runs(values: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.uint8]]:
    starts = np.flatnonzero(np.diff(values, prepend=values[:1] ^ 1)).astype(np.int32)
    return starts, values[starts]


if __name__ == "__main__":
    main()
