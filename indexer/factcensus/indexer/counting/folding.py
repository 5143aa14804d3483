"""Texts in which every way to write the same letters and digits looks alike, for the search for spellings.

Full-width and other digits become 0-9, composed and decomposed letters become equal, and invisible characters vanish,
as in the words of an index. Superscripts, such as the number of a footnote, stay apart from the digits before them.
"""

from __future__ import annotations

import unicodedata
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from factcensus.indexer.analyzers.unicode_tables import (
    CODE_POINTS,
    DROP,
    FRACTION,
    IGNORED,
    ROW_SHIFT,
    SEPARATOR,
    SINGLE,
    SUPERSCRIPT,
    UNSAFE,
    WORD,
    character_classes,
    scanner_tables,
)

#: Classes of characters that stay as they are.
_APART = (SUPERSCRIPT, FRACTION, SEPARATOR)
#: Punctuation with other widths: （ ＠ ． ﹙
_WIDE = ((0xFF01, 0xFF5F), (0xFE50, 0xFE6C))
_PLAIN, _ALONE, _FOLLOWS = 0, 1, 2


@dataclass(frozen=True)
class Folded:
    """A folded text.

    Attributes:
        text: The folded text.
        moved: The ranges of the original text that are not one character in both texts, in ascending order.
        starts: The start of each of these ranges in the folded text.
        stops: Likewise, the end.
    """

    text: str
    moved: Sequence[tuple[int, int]] = ()
    starts: Sequence[int] = ()
    stops: Sequence[int] = ()

    def original(self, begin: int, end: int) -> tuple[int, int]:
        """Return the range in the original text of a range of the folded text, which is not empty."""
        return self._range_of(begin)[0], self._range_of(end - 1)[1]

    def _range_of(self, at: int) -> tuple[int, int]:
        """Return the range in the original text of one character."""
        number = bisect_right(self.starts, at) - 1
        if number < 0:
            return at, at + 1
        beyond = at - self.stops[number]
        if beyond < 0:
            return self.moved[number]
        first = self.moved[number][1] + beyond
        return first, first + 1


def fold(text: str) -> Folded:
    """Return the folded text; capitals of ASCII stay."""
    if text.isascii():
        return Folded(text)
    pieces: list[str] = []
    moved: list[tuple[int, int]] = []
    starts: list[int] = []
    stops: list[int] = []
    at = size = 0
    for begin, end in _clusters(text):
        cluster = _folded(text[begin:end])
        pieces += [text[at:begin], cluster]
        size += begin - at
        if (end - begin, len(cluster)) != (1, 1):
            moved.append((begin, end))
            starts.append(size)
            stops.append(size + len(cluster))
        size += len(cluster)
        at = end
    return Folded("".join([*pieces, text[at:]]), moved, starts, stops)


def _clusters(text: str) -> Iterator[tuple[int, int]]:
    """Yield the ranges that must be folded: characters with other forms, with the marks that follow them."""
    kinds = _kinds()[np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)]
    begin = end = -1
    for place in np.flatnonzero(kinds).tolist():
        follows = kinds[place] == _FOLLOWS
        if follows and place <= end:
            end = place + 1
            continue
        if end > begin:
            yield begin, end
        begin, end = max(end, place - 1, 0) if follows else place, place + 1
    if end > begin:
        yield begin, end


@lru_cache(maxsize=1 << 12)
def _folded(cluster: str) -> str:
    classes = character_classes()
    seen = "".join(each for each in cluster if classes[ord(each)] != IGNORED)
    if classes[ord(cluster[0])] in _APART:
        return seen
    form = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", seen).casefold())
    return "".join(_digit(each) for each in form if classes[ord(each)] != IGNORED)


def _digit(character: str) -> str:
    value = None if character.isascii() else unicodedata.decimal(character, None)
    return character if value is None else str(value)


@lru_cache(maxsize=1)
def _kinds() -> npt.NDArray[np.uint8]:
    """Return for each code point whether it is folded, and whether together with the character before it."""
    action = scanner_tables("words").action
    classes = np.frombuffer(character_classes(), np.uint8)
    kinds = np.zeros(CODE_POINTS, np.uint8)
    kinds[(action >> ROW_SHIFT) > 0] = _ALONE
    for first, last in _WIDE:
        kinds[first:last] = _ALONE
    words = np.flatnonzero((classes == WORD) | (classes == SINGLE))
    kinds[[code for code in words.tolist() if unicodedata.decimal(chr(code), None) is not None]] = _ALONE
    moved = action & ((1 << ROW_SHIFT) - 1)
    kinds[(moved == UNSAFE) | (moved == DROP)] = _FOLLOWS
    kinds[np.isin(classes, _APART)] = _PLAIN
    kinds[:128] = _PLAIN
    return kinds
