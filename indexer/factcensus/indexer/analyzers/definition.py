"""The definition of the analyzers ``words`` and ``words-cased``, in plain Python, version 2.

:func:`folded` spells a text the way words are compared, and :func:`exact_tokens` splits the result. The order of the
steps is part of the definition.
"""

from __future__ import annotations

import re
import unicodedata
from itertools import groupby
from operator import itemgetter

from factcensus.indexer.analyzers.unicode_tables import (
    FRACTION,
    IGNORED,
    JOINER,
    OTHER,
    SEPARATOR,
    SINGLE,
    SUPERSCRIPT,
    UNASSIGNED,
    WORD,
    Normalization,
    character_classes,
)

#: Ranges of the letters (category L) of the script Cyrillic, as a regular expression has them.
CYRILLIC_LETTERS = "\u0400-\u0481\u048a-\u052f\u1c80-\u1c88\u1d2b\u1d78\ua640-\ua66e\ua67f-\ua69d"
# Several stress marks in a row are removed together: each is directly after the letter once the one before is gone.
_STRESS_MARK = "\u0301"
_STRESS_MARKS = re.compile(f"(?<=[{CYRILLIC_LETTERS}]){_STRESS_MARK}+")
#: Classes of characters that nothing is done to before they are folded.
_PLAIN = bytes((OTHER, WORD, SINGLE, JOINER))
# A token in the classes of a text's characters.
_TOKEN = re.compile(b"%c+(?:%c++(?!%c))?|%c" % (WORD, JOINER, WORD, SINGLE))


def exact_tokens(text: str, analyzer: Normalization) -> list[str]:
    """Return the tokens of a text, by the definition.

    A run of + or # belongs to the word before it unless a character follows that would continue the word: C++ and C#
    are words, a+b is two.
    """
    text, found = folded(text, analyzer, character_classes())
    return [text[token.start() : token.end()] for token in _TOKEN.finditer(found)]


def folded(text: str, analyzer: Normalization, classes: bytes) -> tuple[str, bytes]:
    """Return the spelling of a text in which its words are compared, and the class of each of its characters.

    Args:
        text: any.
        analyzer: ``words`` folds compatibility characters (NFKC) and case; ``words-cased`` neither.
        classes: the class of each code point, see :func:`unicode_tables.character_classes`.
    """
    found = _classes_of(text, classes)
    if UNASSIGNED in found:
        # A newer Python must not normalise them to something else.
        text = "".join(" " if kind == UNASSIGNED else character for character, kind in zip(text, found, strict=True))
    composed = unicodedata.normalize("NFC", text)
    if composed != text or UNASSIGNED in found:
        text, found = composed, _classes_of(composed, classes)
    if found.translate(None, _PLAIN) or _STRESS_MARK in text:
        text = _set_apart(*_remove_ignored(text, found, classes))
    if analyzer == "words":
        text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    else:
        text = unicodedata.normalize("NFC", text)
    return _remove_ignored(text, _classes_of(text, classes), classes)


def _classes_of(text: str, classes: bytes) -> bytes:
    return bytes([classes[ord(character)] for character in text])


def _remove_ignored(text: str, found: bytes, classes: bytes) -> tuple[str, bytes]:
    """Remove what is not part of a word's spelling, then stress marks after Cyrillic letters."""
    if IGNORED not in found and _STRESS_MARK not in text:
        return text, found
    text = "".join(character for character, kind in zip(text, found, strict=True) if kind != IGNORED)
    text = _STRESS_MARKS.sub("", text)
    return text, _classes_of(text, classes)


def _set_apart(text: str, found: bytes) -> str:
    """Put spaces in place of separators and around the digits of superscripts and fractions."""
    parts = []
    for kind, pairs in groupby(zip(found, text, strict=True), key=itemgetter(0)):
        run = "".join(character for _, character in pairs)
        if kind == SUPERSCRIPT:
            run = f" {unicodedata.normalize('NFKC', run)} "
        elif kind == FRACTION:
            run = "".join(f" {unicodedata.normalize('NFKC', character)} " for character in run)
        elif kind == SEPARATOR:
            run = " "
        parts.append(run)
    return "".join(parts)
