"""Where an exact string begins and ends: not inside a longer word, number or address."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator

from factcensus.indexer.analyzers.unicode_tables import IGNORED, JOINER, WORD, character_classes

#: Characters that join the parts of a longer string if a letter or digit is on their other side: jane.doe, x-ray, a@b.
CONNECTORS = frozenset(".-_+@&'’‐‑")


def whole_occurrences(text: str, string: str) -> Iterator[int]:
    """Yield the start of each occurrence of a string that is not part of a longer string; see :func:`is_whole`."""
    at = text.find(string)
    while at >= 0:
        if is_whole(text, at, at + len(string)):
            yield at
        at = text.find(string, at + 1)


def is_whole(text: str, begin: int, end: int) -> bool:
    """Return whether a range of a text is not part of a longer word, number or address.

    An end of the range that is a letter or digit is checked; another end (a bracket, ``+``) is not. The string
    continues there if the next character is a letter or digit, or a connector (:data:`CONNECTORS`) with a letter or
    digit after it. Before the range, the same holds in the other direction. After it, ``+`` and ``#`` always continue,
    as in C++. Invisible characters are skipped. A letter of a script without spaces (Han, Thai, …) continues nothing,
    unless it composes with its neighbour.
    """
    return not _continues_after(text, end) and not _continues_before(text, begin)


def _continues_after(text: str, end: int) -> bool:
    if not _is_word(text[end - 1]):
        return end < len(text) and _compose(text[end - 1], text[end])
    at = _next(text, end, 1)
    if at is None:
        return False
    if _is_word(text[at]) or _kind(text[at]) == JOINER or _compose(text[end - 1], text[at]):
        return True
    following = _next(text, at + 1, 1)
    return text[at] in CONNECTORS and following is not None and _is_word(text[following])


def _continues_before(text: str, begin: int) -> bool:
    if not _is_word(text[begin]):
        return begin > 0 and _compose(text[begin - 1], text[begin])
    at = _next(text, begin - 1, -1)
    if at is None:
        return False
    if _is_word(text[at]) or _compose(text[at], text[begin]):
        return True
    before = _next(text, at - 1, -1)
    return text[at] in CONNECTORS and before is not None and _is_word(text[before])


def _next(text: str, at: int, step: int) -> int | None:
    """Return the first position from ``at`` on, in the direction of ``step``, with a visible character."""
    while 0 <= at < len(text):
        if _kind(text[at]) != IGNORED:
            return at
        at += step
    return None


def _is_word(character: str) -> bool:
    return _kind(character) == WORD


def _kind(character: str) -> int:
    return character_classes()[ord(character)]


def _compose(first: str, second: str) -> bool:
    """Return whether two neighbours are normalised to something else than each of them alone."""
    if first.isascii() and second.isascii():
        return False
    alone = (unicodedata.normalize("NFKC", character) for character in (first, second))
    return unicodedata.normalize("NFKC", first + second) != "".join(alone) or unicodedata.combining(second) > 0
