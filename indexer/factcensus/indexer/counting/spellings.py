"""The usual spellings of a phone number, an e-mail address, or another number.

Each spelling is a string of letters and digits that is divided in any way, so the words of an index are searched for
all divisions that occur, and a regular expression finds it in a text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal, get_args

from factcensus.indexer.arrays import TokenIds
from factcensus.indexer.counting.boundaries import is_whole
from factcensus.indexer.errors import InputError, MissingExtraError, UnknownNameError
from factcensus.indexer.names import nearest

Normalisation = Literal["phone", "email", "digits"]

#: Characters between the digits of a number: spaces, dots, hyphens and dashes, slashes, brackets.
_BETWEEN = r"[\s.\-\u2010-\u2015\u2212()/·_]{0,4}"
#: Prefixes for calls abroad.
_ABROAD = ("00", "011", "0011", "010", "810")
#: The code of a country before a number.
_COUNTRY_CODE = re.compile(rf"(?:\+|\b(?:{'|'.join(_ABROAD)}))\s?\d{{1,3}}{_BETWEEN}\Z")
#: Characters before a number in which its country code may be.
_BEFORE = 16
#: Ways to write a full stop and the at sign of an address, and their words.
_DOT = r"(?:\s*[\[({<]?\s*(?:\.|dot)\s*[\])}>]?\s*)"
_AT = r"(?:\s*[\[({<]?\s*(?:@|at)\s*[\])}>]?\s*)"
_ADDRESS = re.compile(r"[^@\s]+@[^@\s.]+(?:\.[^@\s.]+)+")


@dataclass(frozen=True)
class Spellings:
    """What to search for.

    Attributes:
        divided: Strings of letters and digits that may be divided into words in any way.
        fixed: Sequences of words.
        pattern: Finds all spellings in a text.
        national: The strings of ``divided`` without a country code, which must not follow another country code.
    """

    divided: tuple[str, ...]
    fixed: tuple[tuple[str, ...], ...]
    pattern: re.Pattern[str]
    national: frozenset[str] = frozenset()

    @property
    def has_letters(self) -> bool:
        """Whether a spelling has letters, whose case may differ."""
        return bool(self.fixed) or any(character.isalpha() for string in self.divided for character in string)

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Return start and end of every spelling in a text that is not part of a longer string."""
        spans, at = [], 0
        while found := self.pattern.search(text, at):
            if self._is_one(text, found):
                spans.append(found.span())
                at = found.end()
            else:
                at = found.start() + 1
        return spans

    def _is_one(self, text: str, found: re.Match[str]) -> bool:
        begin, end = found.span()
        if not is_whole(text, begin, end):
            return False
        written = re.sub(r"\D", "", found.group())
        return written not in self.national or not _COUNTRY_CODE.search(text[max(0, begin - _BEFORE) : begin])


def spellings_of(text: str, kind: str, region: str | None) -> Spellings:
    """Return the usual spellings of a number or address.

    Args:
        text: The number or address in any spelling.
        kind: ``phone``, ``email``, or ``digits`` for any number, such as a card or an account (also with letters).
        region: For a phone number without a country code, its country as two letters (ISO 3166), such as ``DE``.

    Raises:
        InputError: The text is not a number or address of this kind.
        UnknownNameError: The kind or the region is unknown.
    """
    if kind not in get_args(Normalisation):
        near = nearest(kind, get_args(Normalisation))
        hint = f"; did you mean {near!r}?" if near else ""
        raise UnknownNameError(f"unknown normalisation {kind!r}{hint}; known: {', '.join(get_args(Normalisation))}")
    if region is not None and kind != "phone":
        raise InputError(f"a region has no meaning for the normalisation {kind}; leave it out")
    if kind == "phone":
        return _phone(text, region)
    return _email(text) if kind == "email" else _digits(text)


def _digits(text: str) -> Spellings:
    characters = "".join(character for character in text if character.isalnum())
    if not characters.isascii() or sum(map(str.isdigit, characters)) < 3:
        raise InputError(f"{text!r} is not a number of at least three digits 0-9; give one such as '4929 1234 5678'")
    divided = dict.fromkeys([characters, characters.lower(), characters.upper()])
    return Spellings(tuple(divided), (), _divided_pattern([characters]))


def _email(text: str) -> Spellings:
    address = text.strip().removeprefix("mailto:")
    if not _ADDRESS.fullmatch(address):
        raise InputError(f"{text!r} is not an e-mail address; give one such as 'jane.doe@example.org'")
    name, _, domain = address.partition("@")
    sides = name.split("."), domain.split(".")
    forms = []
    for at, *dots in product([(), ("at",)], [(), ("dot",)], [(), ("dot",)]):
        names, domains = (_joined(side, dot) for side, dot in zip(sides, dots, strict=True))
        forms.append((*names, *at, *domains))
    pattern = _AT.join(_DOT.join(re.escape(part) for part in side) for side in sides)
    return Spellings((), tuple(dict.fromkeys(forms)), re.compile(pattern, re.IGNORECASE))


def _joined(parts: Sequence[str], between: tuple[str, ...]) -> list[str]:
    joined = [parts[0]]
    for part in parts[1:]:
        joined += [*between, part]
    return joined


def _phone(text: str, region: str | None) -> Spellings:
    try:
        import phonenumbers
    except ImportError as error:
        raise MissingExtraError("phonenumbers", "privacy") from error

    if region is not None and region.upper() not in phonenumbers.SUPPORTED_REGIONS:
        raise UnknownNameError(f"unknown region {region!r}; give two letters of ISO 3166, such as DE or US")
    try:
        number = phonenumbers.parse(text, region and region.upper())
    except phonenumbers.NumberParseException as error:
        without = error.error_type == phonenumbers.NumberParseException.INVALID_COUNTRY_CODE
        remedy = "write its country code (+49 …), or name its country with a region (DE)" if without else "correct it"
        raise InputError(f"{text!r} is not a phone number ({error}); {remedy}") from error
    if not phonenumbers.is_possible_number(number):
        raise InputError(f"{text!r} has too few or too many digits for a phone number of its country; correct it")
    code, rest = str(number.country_code), phonenumbers.national_significant_number(number)
    written = re.sub(r"\D", "", phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.NATIONAL))
    metadata = phonenumbers.PhoneMetadata.metadata_for_region(phonenumbers.region_code_for_number(number) or "", None)
    trunk = (metadata and metadata.national_prefix) or ""
    national = {written, trunk + rest} if code != trunk else {written, rest}
    divided = {code + rest, *(abroad + code + rest for abroad in _ABROAD), *national}
    if trunk and trunk != code:
        divided |= {code + trunk + rest, *(abroad + code + trunk + rest for abroad in _ABROAD)}  # +49 (0)30 …
    longest_first = sorted(divided, key=lambda digits: (-len(digits), digits))
    return Spellings(tuple(longest_first), (), _divided_pattern(longest_first), frozenset(national))


def _divided_pattern(strings: Sequence[str]) -> re.Pattern[str]:
    """Return a pattern for strings of letters and digits with separators between any of them."""
    return re.compile("|".join(_BETWEEN.join(map(re.escape, string)) for string in strings), re.IGNORECASE)


def divisions(
    strings: Sequence[str], id_of: Callable[[str], int], occurring: Callable[[Sequence[TokenIds]], Sequence[bool]]
) -> set[TokenIds]:
    """Return the divisions of strings into words that may occur in an index.

    A division is only continued while its first words occur next to each other, so few of the 2^n divisions are tried.
    Those with equally many words are tried together, because an index at a URL answers many questions in few rounds.

    Args:
        strings: Letters and digits.
        id_of: Returns the id of a word; -1 if it does not occur.
        occurring: Returns whether each sequence of words may occur next to each other; may raise an error to stop.
    """
    complete: set[TokenIds] = set()
    begun: list[tuple[TokenIds, str]] = [((), string) for string in strings]  # words, and the rest of the string
    while begun:
        longer = [
            ((*words, id), rest[end:])
            for words, rest in begun
            for end in range(1, len(rest) + 1)
            if (id := id_of(rest[:end])) >= 0
        ]
        tried = list(dict.fromkeys(words for words, _ in longer))
        known = dict(zip(tried, occurring(tried), strict=True)) if tried else {}
        complete |= {words for words, rest in longer if known[words] and not rest}
        begun = [(words, rest) for words, rest in longer if known[words] and rest]
    return complete
