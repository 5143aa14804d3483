"""The definition of the analyzers ``words`` and ``words-cased``, version 2, in plain Python.

:func:`folded` normalises the spelling of a text, and :func:`exact_tokens` splits the result into words. The order of
the steps is part of the definition.
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

#: Ranges of the Cyrillic letters (category L), for a regular expression.
CYRILLIC_LETTERS = "\u0400-\u0481\u048a-\u052f\u1c80-\u1c88\u1d2b\u1d78\ua640-\ua66e\ua67f-\ua69d"
# Consecutive stress marks are removed together: once the first is gone, the next directly follows the letter.
_STRESS_MARK = "\u0301"
_STRESS_MARKS = re.compile(f"(?<=[{CYRILLIC_LETTERS}]){_STRESS_MARK}+")
#: Classes of characters that need no treatment before folding.
_PLAIN = bytes((OTHER, WORD, SINGLE, JOINER))
# A token as a pattern of character classes.
_TOKEN = re.compile(b"%c+(?:%c++(?!%c))?|%c" % (WORD, JOINER, WORD, SINGLE))


def exact_tokens(text: str, analyzer: Normalization) -> list[str]:
    """Return the tokens of a text as defined.

    A run of + or # belongs to the word before it, unless the next character would continue the word: C++ and C# are
    words, but a+b is two words.
    """
    text, found = folded(text, analyzer, character_classes())
    return [text[token.start() : token.end()] for token in _TOKEN.finditer(found)]


def folded(text: str, analyzer: Normalization, classes: bytes) -> tuple[str, bytes]:
    """Return the normalised spelling of a text, and the class of each of its characters.

    Args:
        text: Any text.
        analyzer: ``words`` folds compatibility characters (NFKC) and case; ``words-cased`` folds neither.
        classes: the class of each code point, see :func:`unicode_tables.character_classes`.
    """
    found = _classes_of(text, classes)
    if UNASSIGNED in found:
        # A newer Python must not normalise them differently.
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
    """Remove ignored characters, then stress marks after Cyrillic letters."""
    if IGNORED not in found and _STRESS_MARK not in text:
        return text, found
    text = "".join(character for character, kind in zip(text, found, strict=True) if kind != IGNORED)
    text = _STRESS_MARKS.sub("", text)
    return text, _classes_of(text, classes)


def _set_apart(text: str, found: bytes) -> str:
    """Replace separators with spaces, and put spaces around the digits of superscripts and fractions."""
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
