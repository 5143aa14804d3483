"""The usual spellings of a phone number, an e-mail address, or another number.

Each spelling is a string of letters and digits that is divided in any way, so the words of an index are searched for
all divisions that occur, and a regular expression finds it in a folded text (:mod:`folding`).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import product
from typing import Literal, get_args

from factcensus.indexer.arrays import TokenIds
from factcensus.indexer.counting.boundaries import is_whole, is_whole_number
from factcensus.indexer.counting.folding import fold
from factcensus.indexer.errors import InputError, MissingExtraError, UnknownNameError
from factcensus.indexer.names import nearest

Normalisation = Literal["phone", "email", "digits"]

#: Characters between the digits of a number: spaces, dots, hyphens and dashes, slashes, brackets.
_BETWEEN = r"[\s\u200b.\-\u2010-\u2015\u2212()\[\]/·_]{0,4}"
#: Prefixes for calls abroad, the first five of which are too rare as numbers to be anything else before a country code.
_ABROAD = ("00", "011", "0011", "010", "810", "001", "002", "009")
#: The code of a country before a number.
_COUNTRY_CODE = re.compile(rf"(?:\+|\b(?:{'|'.join(_ABROAD[:5])}))\s?\d{{1,3}}{_BETWEEN}\Z")
#: Characters before a number in which its country code may be.
_BEFORE = 16
#: The digits 0 of other scripts: Arabic, Persian and Urdu, Devanagari, Bengali, Thai, and full-width.
_ZEROS = "\u0660\u06f0\u0966\u09e6\u0e50\uff10"
#: An extension that is attached to a number.
_EXTENSION = re.compile(r"(?:x|ext)[0-9]{1,7}", re.IGNORECASE)
#: White space in an address. All repetitions are bounded: others take quadratic time in long white space.
_SPACE = r"[\s\u200b]{0,4}"
#: Ways to write a full stop and the at sign of an address.
_DOT, _AT = (
    rf"(?:{_SPACE}[\[({{<]?{_SPACE}{sign}{_SPACE}[\])}}>]?{_SPACE}|{_SPACE}[\[({{<_*\-]?{_SPACE}{word}{_SPACE}[\])}}>_*\-]?{_SPACE})"
    for sign, word in ((r"\.", "dot"), ("@", "at"))
)
#: The digit of mobile numbers after some country codes: Argentina, Mexico.
_MOBILE = {"54": "9", "52": "1"}
_ADDRESS = re.compile(r"[^@\s]+@[^@\s.]+(?:\.[^@\s.]+)+")


@dataclass(frozen=True)
class Spellings:
    """What to search for.

    Attributes:
        divided: Strings of letters and digits that may be divided into words in any way.
        fixed: Sequences of words.
        pattern: Finds all spellings in a folded text.
        national: The strings of ``divided`` without a country code, which must not follow another country code.
        has_extensions: Whether an extension, such as x12, may be attached to the last digit.
    """

    divided: tuple[str, ...]
    fixed: tuple[tuple[str, ...], ...]
    pattern: re.Pattern[str]
    national: frozenset[str] = frozenset()
    has_extensions: bool = False

    @property
    def has_letters(self) -> bool:
        """Whether a spelling has letters, whose case may differ."""
        return bool(self.fixed) or any(character.isalpha() for string in self.divided for character in string)

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Return start and end of every spelling in a text that is not part of a longer string."""
        folded = fold(text)
        return [folded.original(begin, end) for begin, end in self._found(folded.text)]

    def _found(self, text: str) -> Iterator[tuple[int, int]]:
        at = 0
        while found := self.pattern.search(text, at):
            if self._is_one(text, found):
                yield found.span()
                at = found.end()
            else:
                at = found.start() + 1

    def _is_one(self, text: str, found: re.Match[str]) -> bool:
        begin, end = found.span()
        if self.fixed:
            return is_whole(text, begin, end)
        extension = _EXTENSION.match(text, end) if self.has_extensions else None
        if not is_whole_number(text, begin, extension.end() if extension else end):
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
    characters = "".join(character for character in fold(text).text if character.isalnum())
    if not characters.isascii() or sum(map(str.isdigit, characters)) < 3:
        raise InputError(f"{text!r} is not a number of at least three digits 0-9; give one such as '4929 1234 5678'")
    divided = dict.fromkeys([characters, characters.lower(), characters.upper()])
    return Spellings(_in_all_digits(divided), (), _divided_pattern([characters]))


def _in_all_digits(strings: Iterable[str]) -> tuple[str, ...]:
    """Return strings also with the digits of other scripts."""
    others = ({ord("0") + value: chr(ord(zero) + value) for value in range(10)} for zero in _ZEROS)
    return (*strings, *(string.translate(digits) for digits in others for string in strings))


def _email(text: str) -> Spellings:
    address = text.strip().removeprefix("mailto:")
    if not _ADDRESS.fullmatch(address):
        raise InputError(f"{text!r} is not an e-mail address; give one such as 'jane.doe@example.org'")
    name, _, domain = address.partition("@")
    names = fold(name).text.split(".")
    forms: list[tuple[str, ...]] = []
    patterns = []
    for written in dict.fromkeys(fold(each).text for each in _domains(domain)):
        domains = written.split(".")
        for at, *dots in product([(), ("at",)], [(), ("dot",)], [(), ("dot",)]):
            before, after = (_joined(side, dot) for side, dot in zip((names, domains), dots, strict=True))
            forms.append((*before, *at, *after))
        patterns.append(_AT.join(_DOT.join(map(re.escape, side)) for side in (names, domains)))
    return Spellings((), tuple(dict.fromkeys(forms)), re.compile("|".join(patterns), re.IGNORECASE))


def _domains(domain: str) -> tuple[str, str]:
    """Return a domain in Unicode and in the ASCII form of the domain name system."""
    written, encoded = [], []
    for label in unicodedata.normalize("NFKC", domain).lower().split("."):
        decoded = label
        if label.startswith("xn--"):
            with suppress(UnicodeError):
                decoded = label.removeprefix("xn--").encode().decode("punycode")
        written.append(decoded)
        encoded.append(decoded if decoded.isascii() else "xn--" + decoded.encode("punycode").decode())
    return ".".join(written), ".".join(encoded)


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
    if number.extension:
        raise InputError(
            f"{text!r} has the extension {number.extension}, but a search finds a number with any extension; leave the "
            "extension out, or search for all its digits with the normalisation 'digits'"
        )
    code, rest = str(number.country_code), phonenumbers.national_significant_number(number)
    written = re.sub(r"\D", "", phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.NATIONAL))
    metadata = phonenumbers.PhoneMetadata.metadata_for_region(phonenumbers.region_code_for_number(number) or "", None)
    trunk = (metadata and metadata.national_prefix) or ""
    national = {written, trunk + rest} if code != trunk else {written, rest}
    divided = {code + rest, *(abroad + code + rest for abroad in _ABROAD), *national}
    if trunk and trunk != code:
        divided |= {code + trunk + rest, *(abroad + code + trunk + rest for abroad in _ABROAD)}  # +49 (0)30 …
    mobile = _MOBILE.get(code)  # written only in calls from abroad, and not always
    if mobile is not None:
        bare = rest.removeprefix(mobile)
        divided |= {prefix + code + other for prefix in ("", *_ABROAD) for other in (bare, mobile + bare)}
    longest_first = sorted(divided, key=lambda digits: (-len(digits), digits))
    return Spellings(
        _in_all_digits(longest_first),
        (),
        _divided_pattern(longest_first),
        frozenset(national),
        has_extensions=True,
    )


def _divided_pattern(strings: Sequence[str]) -> re.Pattern[str]:
    """Return a pattern for strings of letters and digits with separators between any of them."""
    return re.compile("|".join(_BETWEEN.join(map(re.escape, string)) for string in strings), re.IGNORECASE)


def divisions(
    strings: Sequence[str],
    ids_of: Callable[[str, bool], Sequence[int]],
    occurring: Callable[[Sequence[TokenIds]], Sequence[bool]],
) -> set[TokenIds]:
    """Return the divisions of strings into words that may occur in an index.

    A division is only continued while its first words occur next to each other, so few of the 2^n divisions are tried.
    Those with equally many words are tried together, because an index at a URL answers many questions in few rounds.

    Args:
        strings: Letters and digits.
        ids_of: Returns the ids of the words for a part of a string, and whether it is the last part.
        occurring: Returns whether each sequence of words may occur next to each other; may raise an error to stop.
    """
    complete: set[TokenIds] = set()
    begun: list[tuple[TokenIds, str]] = [((), string) for string in strings]  # words, and the rest of the string
    while begun:
        longer = [
            ((*words, id), rest[end:])
            for words, rest in begun
            for end in range(1, len(rest) + 1)
            for id in ids_of(rest[:end], end == len(rest))
        ]
        tried = list(dict.fromkeys(words for words, _ in longer))
        known = dict(zip(tried, occurring(tried), strict=True)) if tried else {}
        complete |= {words for words, rest in longer if known[words] and not rest}
        begun = [(words, rest) for words, rest in longer if known[words] and rest]
    return complete


def with_extension(part: str, words: Sequence[str]) -> list[str]:
    """Return the words that consist of a part of a number and an extension, such as 0143x12."""
    return [word for word in words if _EXTENSION.fullmatch(word, len(part))]
