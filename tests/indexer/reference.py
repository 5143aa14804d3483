"""What every number means, read off the contract in the slowest and most obvious way.

Nothing here is shared with ``factcensus.indexer``: it is a second, independent reading, over Python lists.

Analyzers and the Unicode version. The analyzer ``words`` is frozen at Unicode 14.0, and so is this oracle, on every
Python: ``unicode_14_assigned.txt`` lists the code points that 14.0 assigns, and every other character is replaced by a
space before anything else is done to the text. That is what 14.0 does with it: an unassigned character is a starter
without decomposition, so it keeps its neighbours from being reordered or composed across it, as a space does, and it
separates words, as a space does. For the assigned ones Unicode's stability policies promise that normalisation and case
folding are the same in every later version. Categories and scripts have no such promise; that the three classes used
here (L, M or N; Cf; neither) have not moved is what ``test_unicode_14.py`` checks where it can.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import regex

Token = str | int
Tokens = Sequence[Token]
Span = tuple[int, int]

# ---------------------------------------------------------------------------------------------- analyzers

#: Scripts of which each letter, mark or number is a token by itself.
LONE_SCRIPTS = ("Han", "Hiragana", "Katakana", "Thai", "Lao", "Khmer", "Myanmar")
_LONE_SCRIPT = regex.compile("|".join(rf"\p{{Script={script}}}" for script in LONE_SCRIPTS))
_ASSIGNED_FILE = Path(__file__).with_name("unicode_14_assigned.txt")


def _read_assigned() -> frozenset[int]:
    """Code points that Unicode 14.0 assigns (category other than Cn)."""
    assigned: set[int] = set()
    for line in _ASSIGNED_FILE.read_text(encoding="ascii").splitlines():
        if line and not line.startswith("#"):
            first, _, last = line.partition("..")
            assigned.update(range(int(first, 16), int(last or first, 16) + 1))
    return frozenset(assigned)


ASSIGNED_IN_14 = _read_assigned()


@cache
def is_word_character(character: str) -> bool:
    """A letter, mark or number."""
    return unicodedata.category(character)[0] in "LMN"


@cache
def is_lone(character: str) -> bool:
    """A letter, mark or number of a script that is written without spaces."""
    return is_word_character(character) and _LONE_SCRIPT.match(character) is not None


def split_words(text: str) -> list[str]:
    """The tokens of a text that is already folded and normalised."""
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
            while end < len(text) and is_word_character(text[end]) and not is_lone(text[end]):
                end += 1
            after_signs = end
            while after_signs < len(text) and text[after_signs] in "+#":
                after_signs += 1
            signs_belong = after_signs == len(text) or not is_word_character(text[after_signs])
            tokens.append(text[i : after_signs if signs_belong else end])
            i = after_signs
    return tokens


def _without_format_characters(text: str) -> str:
    kept = (character for character in text if ord(character) not in ASSIGNED_IN_14 or not _is_format(character))
    return "".join(character if ord(character) in ASSIGNED_IN_14 else " " for character in kept)


@cache
def _is_format(character: str) -> bool:
    return unicodedata.category(character) == "Cf"


def words(text: str) -> list[str]:
    """The analyzer ``words``."""
    text = unicodedata.normalize("NFKC", _without_format_characters(text))
    return split_words(unicodedata.normalize("NFKC", text.casefold()))


def words_cased(text: str) -> list[str]:
    """The analyzer ``words-cased``."""
    return split_words(unicodedata.normalize("NFC", _without_format_characters(text)))


def utf8_bytes(text: str) -> list[int]:
    """The analyzer ``bytes``; each token is the byte's value."""
    return list(text.encode("utf-8"))


ANALYZERS = {"words": words, "words-cased": words_cased, "bytes": utf8_bytes}

# ---------------------------------------------------------------------------------------------- counting


@dataclass(frozen=True)
class Document:
    """One record of a corpus as the oracle sees it."""

    tokens: Tokens
    source: str | None = None


def occurrences(tokens: Tokens, ngram: Tokens) -> int:
    """Positions at which the n-gram stands; overlapping ones all count."""
    n = len(ngram)
    return sum(list(tokens[i : i + n]) == list(ngram) for i in range(len(tokens) - n + 1))


def mentions(tokens: Tokens, forms: Iterable[Tokens]) -> list[Span]:
    """Spans of the mentions of an entity, left to right: at each position the longest form, then on after its end."""
    spans = []
    position = 0
    while position < len(tokens):
        lengths = [len(form) for form in forms if form and list(tokens[position : position + len(form)]) == list(form)]
        if lengths:
            spans.append((position, position + max(lengths)))
            position += max(lengths)
        else:
            position += 1
    return spans


def tokens_between(one: Span, other: Span) -> int | None:
    """How many tokens stand strictly between two spans; None where they overlap."""
    if one[1] <= other[0]:
        return other[0] - one[1]
    if other[1] <= one[0]:
        return one[0] - other[1]
    return None


def pairs(subject: Iterable[Span], object_: Iterable[Span], window: int | None = None) -> int:
    """Pairs (subject mention, object mention) that do not overlap and stand within the window."""
    object_ = list(object_)
    count = 0
    for one in subject:
        for other in object_:
            between = tokens_between(one, other)
            if between is not None and (window is None or between <= window):
                count += 1
    return count


def count(documents: Sequence[Document], ngram: Tokens) -> dict[str, int]:
    """The numbers of ``count --json``."""
    found = [occurrences(document.tokens, ngram) for document in documents]
    return {"occurrences": sum(found), "documents": sum(n > 0 for n in found)}


def fact(
    documents: Sequence[Document], subject: Sequence[Tokens], object_: Sequence[Tokens], windows: Iterable[int] = ()
) -> dict[str, int]:
    """The numbers of one row of the counts table, under the names of its columns."""
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
    """The documents of one source."""
    return [document for document in documents if document.source == source]


# ---------------------------------------------------------------------------------------------- strata


def stratum_by_edges(value: int, edges: Sequence[int]) -> int:
    """How many of the ascending edges the value has reached: 0 below the first."""
    return sum(value >= edge for edge in edges)


def stratum_by_log10(value: int) -> int:
    """0 for a count of 0, 1 for 1 to 9, 2 for 10 to 99, ...: the number of decimal digits."""
    return 0 if value == 0 else len(str(value))
