"""Where an exact string begins and ends: not inside a longer word, number or address."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator

from factcensus.indexer.analyzers.unicode_tables import IGNORED, JOINER, SUPERSCRIPT, WORD, character_classes

#: Characters that join the parts of a longer string if a letter or digit is on their other side: jane.doe, x-ray, a@b.
CONNECTORS = frozenset(".-_+@&'’‐‑")
#: Classes of two neighbours in one word, and of a word with + or #.
_TOGETHER = {(WORD, WORD), (SUPERSCRIPT, SUPERSCRIPT)}
_WITH_SIGNS = {(WORD, JOINER), (JOINER, JOINER), (JOINER, WORD)}


def whole_occurrences(text: str, string: str) -> Iterator[int]:
    """Yield the start of each occurrence of a string that is not part of a longer string; see :func:`is_whole`."""
    at = text.find(string)
    while at >= 0:
        if is_whole(text, at, at + len(string)):
            yield at
        at = text.find(string, at + 1)


def is_whole(text: str, begin: int, end: int) -> bool:
    """Return whether a range of a text is not part of a longer word, number or address.

    The range continues after its end if a letter or digit is followed by a letter or digit, by ``+`` or ``#`` (as in
    C++), or by a connector (:data:`CONNECTORS`) with a letter or digit after it. It continues before its start if a
    letter or digit follows a letter or digit, or a connector with one before it. Invisible characters are skipped. A
    letter of a script without spaces (Han, Thai, …) continues nothing, unless it composes with its neighbour.
    """
    return not _continues_after(text, begin, end, _is_word) and not _continues_before(text, begin, end, _is_word)


def is_whole_number(text: str, begin: int, end: int) -> bool:
    """Return whether a range of a text, which begins and ends with a letter or digit, is not part of a longer number.

    As :func:`is_whole`, but a connector continues a number only with a digit on its other side, because letters are
    words next to the number: ``Tel.030 901820``, ``030 901820.Call me``.
    """
    return not _continues_after(text, begin, end, str.isdecimal) and not _continues_before(
        text, begin, end, str.isdecimal
    )


def _continues_after(text: str, begin: int, end: int, continues: Callable[[str], bool]) -> bool:
    last, at = _visible(text, end - 1, -1, begin), _visible(text, end, 1)
    if last is None or at is None:
        return False
    if _joined(text[last], text[at]) or (_kind(text[last]), _kind(text[at])) in _WITH_SIGNS:
        return True
    following = _visible(text, at + 1, 1)
    connects = _is_word(text[last]) and text[at] in CONNECTORS
    return connects and following is not None and continues(text[following])


def _continues_before(text: str, begin: int, end: int, continues: Callable[[str], bool]) -> bool:
    first, at = _visible(text, begin, 1, end - 1), _visible(text, begin - 1, -1)
    if first is None or at is None:
        return False
    if _joined(text[at], text[first]):
        return True
    before = _visible(text, at - 1, -1)
    connects = _is_word(text[first]) and text[at] in CONNECTORS
    return connects and before is not None and continues(text[before])


def _visible(text: str, at: int, step: int, last: int | None = None) -> int | None:
    """Return the first position from ``at`` on, in the direction of ``step``, with a visible character."""
    while 0 <= at < len(text) and (last is None or (last - at) * step >= 0):
        if _kind(text[at]) != IGNORED:
            return at
        at += step
    return None


def _joined(first: str, second: str) -> bool:
    """Return whether two neighbouring characters are in one word, or normalise differently together than alone."""
    if (_kind(first), _kind(second)) in _TOGETHER:
        return True
    if first.isascii() and second.isascii():
        return False
    alone = (unicodedata.normalize("NFKC", character) for character in (first, second))
    return unicodedata.normalize("NFKC", first + second) != "".join(alone) or unicodedata.combining(second) > 0


def _is_word(character: str) -> bool:
    return _kind(character) == WORD


def _kind(character: str) -> int:
    return character_classes()[ord(character)]
