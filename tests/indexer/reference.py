"""The reference implementation (oracle) of every number, in the slowest and simplest way.

It is independent of ``factcensus.indexer`` and works on Python lists.

The word analyzers are frozen at Unicode 14.0, and so is this oracle on every Python version.
``unicode_14_assigned.txt`` lists the code points assigned in 14.0. Every other character is first replaced by a space,
unless it is default-ignorable. This has the same effect as in 14.0: an unassigned character is a starter without
decomposition, so like a space it prevents reordering and composition across it, and separates words.
``unicode_14_properties.txt`` has properties of 14.0 that Python does not provide. For assigned characters, the
stability policies of Unicode guarantee that normalisation and case folding never change. There is no such guarantee for
categories; ``test_unicode_14.py`` checks, where possible, that the categories used here have not changed.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from itertools import groupby
from pathlib import Path

Token = str | int
Tokens = Sequence[Token]
Span = tuple[int, int]
#: The number of tokens below which the mentions in a text are kept.
SHORT = 200

# ---------------------------------------------------------------------------------------------- analyzers

_FOLDER = Path(__file__).parent


def _range(text: str) -> range:
    first, _, last = text.strip().partition("..")
    return range(int(first, 16), int(last or first, 16) + 1)


def _lines(file: str) -> list[str]:
    lines = (_FOLDER / file).read_text(encoding="ascii").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def _read_assigned() -> frozenset[int]:
    """Return the code points assigned in Unicode 14.0 (category other than Cn)."""
    return frozenset(code_point for line in _lines("unicode_14_assigned.txt") for code_point in _range(line))


def _read_properties() -> dict[str, frozenset[str]]:
    """Return the characters with each property in ``unicode_14_properties.txt`` in Unicode 14.0."""
    found: dict[str, set[str]] = {}
    for line in _lines("unicode_14_properties.txt"):
        code_points, _, name = line.partition(";")
        found.setdefault(name.strip(), set()).update(map(chr, _range(code_points)))
    return {name: frozenset(characters) for name, characters in found.items()}


ASSIGNED_IN_14 = _read_assigned()
PROPERTIES_OF_14 = _read_properties()

#: Scripts in which each letter, mark or number is a separate token.
LONE_SCRIPTS = ("Han", "Hiragana", "Katakana", "Thai", "Lao", "Khmer", "Myanmar")
_OF_LONE_SCRIPTS = frozenset().union(*(PROPERTIES_OF_14[f"Script_Extensions={name}"] for name in LONE_SCRIPTS))
_CYRILLIC = PROPERTIES_OF_14["Script=Cyrillic"]
_DEFAULT_IGNORABLE = PROPERTIES_OF_14["Default_Ignorable_Code_Point"]
_ARABIC_SIGNS = "\u0640\u064b\u064c\u064d\u064e\u064f\u0650\u0651\u0652\u0670"
_HEBREW_POINTS = "".join(map(chr, range(0x591, 0x5BE))) + "\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7"
_LETTERS_USED_AS_APOSTROPHES = "ʹʺʻʼʽʾʿˈˊˋˌ\ua78b\ua78c"


@cache
def is_word_character(character: str) -> bool:
    """Return whether a character is a letter, mark or number, except letters used as apostrophes."""
    return unicodedata.category(character)[0] in "LMN" and character not in _LETTERS_USED_AS_APOSTROPHES


@cache
def is_lone(character: str) -> bool:
    """Return whether a character is a letter, mark or number of a script written without spaces."""
    return is_word_character(character) and character in _OF_LONE_SCRIPTS


def continues_a_word(character: str) -> bool:
    """Return whether a character belongs to the same token as the preceding letter."""
    return is_word_character(character) and not is_lone(character)


def split_words(text: str) -> list[str]:
    """Return the tokens of a text that is already folded and normalised."""
    tokens = []
    i = 0
    while i < len(text):
        if not is_word_character(text[i]):
            i += 1
        elif is_lone(text[i]):
            tokens.append(text[i])
            i += 1
        else:
            end = i
            while end < len(text) and continues_a_word(text[end]):
                end += 1
            after_signs = end
            while after_signs < len(text) and text[after_signs] in "+#":
                after_signs += 1
            signs_belong = after_signs == len(text) or not continues_a_word(text[after_signs])
            tokens.append(text[i : after_signs if signs_belong else end])
            i = after_signs
    return tokens


@cache
def _is_no_spelling(character: str) -> bool:
    """Return whether a character is always removed."""
    if character == "\u200b":
        return False
    return (
        character in _DEFAULT_IGNORABLE
        or unicodedata.category(character) == "Me"
        or character in _ARABIC_SIGNS
        or character in _HEBREW_POINTS
    )


@cache
def _is_cyrillic_letter(character: str) -> bool:
    return character in _CYRILLIC and unicodedata.category(character)[0] == "L"


def _only_spelling(text: str) -> str:
    """Do the removals of step 1."""
    kept: list[str] = []
    for character in text:
        if _is_no_spelling(character):
            continue
        if character == "\u0301" and kept and _is_cyrillic_letter(kept[-1]):
            continue  # the next mark then directly follows the same letter
        kept.append(character)
    return "".join(kept)


@cache
def _way_to_separate(character: str) -> str | None:
    """Return whether a character is a superscript digit, a fraction, or another separator of step 2."""
    mapping = unicodedata.decomposition(character).partition(" ")
    if mapping[0] == "<fraction>":
        return "fraction"
    if mapping[0] == "<super>" and unicodedata.category(character) in ("No", "So", "Sm", "Sk"):
        return "digit" if mapping[2] in [f"{ord(digit):04X}" for digit in "0123456789"] else "separator"
    return "separator" if unicodedata.normalize("NFKC", character)[0] == " " else None


def _words(text: str, fold: Callable[[str], str]) -> list[str]:
    """Apply the three steps; separators split the text into pieces that are folded one by one."""
    text = "".join(c if ord(c) in ASSIGNED_IN_14 or c in _DEFAULT_IGNORABLE else " " for c in text)
    text = _only_spelling(unicodedata.normalize("NFC", text))
    tokens = []
    for way, run in groupby(text, _way_to_separate):
        if way is None:
            tokens += split_words(_only_spelling(fold("".join(run))))
        elif way == "digit":
            tokens.append("".join(str(unicodedata.digit(character)) for character in run))
        elif way == "fraction":
            for character in run:
                tokens += [n for n in unicodedata.normalize("NFKC", character).split("\N{FRACTION SLASH}") if n]
    return tokens


def words(text: str) -> list[str]:
    """Return the tokens of the analyzer ``words``."""
    return _words(text, lambda piece: _nfkc(_nfkc(piece).casefold()))


def words_cased(text: str) -> list[str]:
    """Return the tokens of the analyzer ``words-cased``."""
    return _words(text, partial(unicodedata.normalize, "NFC"))


def _nfkc(text: str) -> str:
    return unicodedata.normalize("NFKC", text)


def utf8_bytes(text: str) -> list[int]:
    """Return the tokens of the analyzer ``bytes``; each token is the value of a byte."""
    return list(text.encode("utf-8"))


ANALYZERS = {"words": words, "words-cased": words_cased, "bytes": utf8_bytes}

# ---------------------------------------------------------------------------------------------- counting


@dataclass(frozen=True)
class Document:
    """One document of the oracle."""

    tokens: Tokens
    source: str | None = None


def occurrences(tokens: Tokens, ngram: Tokens) -> int:
    """Return the positions at which the n-gram occurs, including overlapping ones."""
    n = len(ngram)
    return sum(list(tokens[i : i + n]) == list(ngram) for i in range(len(tokens) - n + 1))


def mentions(tokens: Tokens, forms: Iterable[Tokens]) -> list[Span]:
    """Return the spans of mentions of an entity: the longest form at each position, then after its end.

    The mentions in a short text are kept, because each of n entities is asked about in 2n pairs.
    """
    found = _mentions if len(tokens) < SHORT else _mentions.__wrapped__
    return found(tuple(tokens), tuple(map(tuple, forms)))


@lru_cache(maxsize=20_000)
def _mentions(tokens: tuple[Token, ...], forms: tuple[tuple[Token, ...], ...]) -> list[Span]:
    spans = []
    position = 0
    while position < len(tokens):
        lengths = [len(form) for form in forms if form and tokens[position : position + len(form)] == form]
        if lengths:
            spans.append((position, position + max(lengths)))
            position += max(lengths)
        else:
            position += 1
    return spans


def tokens_between(one: Span, other: Span) -> int | None:
    """Return the number of tokens strictly between two spans; None if they overlap."""
    if one[1] <= other[0]:
        return other[0] - one[1]
    if other[1] <= one[0]:
        return one[0] - other[1]
    return None


def pairs(subject: Iterable[Span], object_: Iterable[Span], window: int | None = None) -> int:
    """Return the number of pairs (subject mention, object mention) that do not overlap and are within the window."""
    object_ = list(object_)
    count = 0
    for one in subject:
        for other in object_:
            between = tokens_between(one, other)
            if between is not None and (window is None or between <= window):
                count += 1
    return count


def count(documents: Sequence[Document], ngram: Tokens) -> dict[str, int]:
    """Return the numbers of ``count --json``."""
    found = [occurrences(document.tokens, ngram) for document in documents]
    return {"occurrences": sum(found), "documents": sum(n > 0 for n in found)}


def fact(
    documents: Sequence[Document], subject: Sequence[Tokens], object_: Sequence[Tokens], windows: Iterable[int] = ()
) -> dict[str, int]:
    """Return the numbers of one row of the counts table by column name."""
    found = [(mentions(document.tokens, subject), mentions(document.tokens, object_)) for document in documents]
    numbers = {
        "subject_mentions": sum(len(s) for s, _ in found),
        "object_mentions": sum(len(o) for _, o in found),
        "subject_documents": sum(bool(s) for s, _ in found),
        "object_documents": sum(bool(o) for _, o in found),
    }
    for window in (None, *windows):
        suffix = "" if window is None else f"_w{window}"
        by_document = [pairs(s, o, window) for s, o in found]
        numbers["cooccurrence_documents" + suffix] = sum(n > 0 for n in by_document)
        numbers["cooccurrence_pairs" + suffix] = sum(by_document)
    return numbers


def of_source(documents: Sequence[Document], source: str | None) -> list[Document]:
    """Return the documents of one source."""
    return [document for document in documents if document.source == source]


# ---------------------------------------------------------------------------------------------- strata


def stratum_by_edges(value: int, edges: Sequence[int]) -> int:
    """Return how many of the ascending edges the value has reached; 0 below the first."""
    return sum(value >= edge for edge in edges)


def stratum_by_log10(value: int) -> int:
    """Return 0 for a count of 0, 1 for 1 to 9, 2 for 10 to 99, …: the number of decimal digits."""
    return 0 if value == 0 else len(str(value))
