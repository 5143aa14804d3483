"""The usual spellings of a phone number, an e-mail address, or another number.

Each spelling is a string of letters and digits that is divided in any way, so the words of an index are searched for
all divisions that occur (:mod:`divisions`), and a regular expression finds it in a folded text (:mod:`folding`), as it
is written and without its escapes (:mod:`escapes`).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Container, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal, get_args

from factcensus.indexer.counting.boundaries import is_whole, is_whole_number
from factcensus.indexer.counting.divisions import Sign, Written
from factcensus.indexer.counting.escapes import unescape
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
#: Signs of an address.
_DOT = Sign(".\u3002\uff0e\uff61", ("dot", "punkt", "point", "punto", "ponto"))
_AT = Sign("@\uff20", ("at", "arroba", "arobase"))
#: The full stop and the at sign as patterns; domains may have an ideographic full stop.
_SIGNS = {
    sign: rf"(?:{_SPACE}[\[({{<]?{_SPACE}{character}{_SPACE}[\])}}>]?{_SPACE}"
    rf"|{_SPACE}[\[({{<_*\-]?{_SPACE}(?:{'|'.join(sign.words)}){_SPACE}[\])}}>_*\-]?{_SPACE})"
    for sign, character in ((_DOT, r"[.\u3002\uff61]"), (_AT, "@"))
}
#: Words that may be joined to the beginning of a phone number.
_LABELS = (
    *("t", "tel", "telefon", "telefono", "telephone", "tlf", "f", "fax", "p", "ph", "phone", "fon"),
    *("m", "mob", "mobil", "mobile", "handy", "c", "cel", "cell", "call", "sms", "whatsapp", "WhatsApp"),
)
_LABEL = re.compile(rf"(?:{'|'.join(sorted(_LABELS, key=len, reverse=True))})\Z", re.IGNORECASE)
_LONGEST_LABEL = max(map(len, _LABELS))
#: The digit of mobile numbers after some country codes: Argentina, Mexico.
_MOBILE = {"54": "9", "52": "1"}
_ADDRESS = re.compile(r"[^@\s]+@[^@\s.]+(?:\.[^@\s.]+)+")


@dataclass(frozen=True)
class Spellings:
    """What to search for.

    Attributes:
        written: Numbers or addresses, which may be divided into words.
        pattern: Finds all spellings in a folded text.
        is_address: Whether they are addresses and not numbers.
        national: The numbers without a country code, which must not follow another country code.
        is_phone: Whether they are phone numbers, which may be joined to a label before and an extension after them.
    """

    written: tuple[Written, ...]
    pattern: re.Pattern[str]
    is_address: bool = False
    national: frozenset[str] = frozenset()
    is_phone: bool = False

    @property
    def has_letters(self) -> bool:
        """Whether a spelling has letters, whose case may differ."""
        return any(each.has_letters for each in self.written)

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Return start and end of every spelling in a text that is not part of a longer string.

        These are the spellings in the text without escapes, and those in the text as it is written that overlap an
        escape, because what looks like one may have another meaning, as in ``100%20301234``.
        """
        plain = unescape(text)
        found = [plain.original(*span) for span in self._folded_spans(plain.text)]
        if not plain.moved:
            return found
        last = 0
        for begin, end in self._folded_spans(text):
            while last < len(plain.moved) and plain.moved[last][1] <= begin:
                last += 1
            if last < len(plain.moved) and plain.moved[last][0] < end:
                found.append((begin, end))
        return _without_overlaps(sorted(set(found)))

    def _folded_spans(self, text: str) -> list[tuple[int, int]]:
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
        if self.is_address:
            return is_whole(text, begin, end)
        first, last = begin, end
        if self.is_phone:
            label = _LABEL.search(text, max(0, begin - _LONGEST_LABEL), begin)
            extension = _EXTENSION.match(text, end)
            first, last = label.start() if label else begin, extension.end() if extension else end
        if not is_whole_number(text, first, last) and not is_whole_number(text, begin, last):
            return False
        written = re.sub(r"\D", "", found.group())
        return written not in self.national or not _COUNTRY_CODE.search(text[max(0, begin - _BEFORE) : begin])


def _without_overlaps(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return ascending spans without those that overlap an earlier one."""
    kept: list[tuple[int, int]] = []
    for span in spans:
        if not kept or span[0] >= kept[-1][1]:
            kept.append(span)
    return kept


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
    return Spellings(_in_all_digits([characters]), _divided_pattern([characters]))


def _in_all_digits(
    strings: Sequence[str], labels: tuple[str, ...] = (), unescaped: Container[str] = ()
) -> tuple[Written, ...]:
    """Return numbers also with the digits of other scripts; no escapes are searched for in those ``unescaped``."""
    others = [{ord("0") + value: chr(ord(zero) + value) for value in range(10)} for zero in _ZEROS]
    return (
        *(Written(tuple(each), True, labels, escaped=each not in unescaped) for each in strings),
        *(Written(tuple(each.translate(digits)), True, escaped=False) for digits in others for each in strings),
    )


def _email(text: str) -> Spellings:
    address = text.strip().removeprefix("mailto:")
    if not _ADDRESS.fullmatch(address):
        raise InputError(f"{text!r} is not an e-mail address; give one such as 'jane.doe@example.org'")
    name, _, domain = address.partition("@")
    names = fold(name).text.split(".")
    written: list[Written] = []
    patterns = []
    for each in dict.fromkeys(fold(each).text for each in _domains(domain)):
        sides = [names, each.split(".")]
        written.append(Written((*_joined(sides[0]), _AT, *_joined(sides[1])), divided=False))
        patterns.append(_SIGNS[_AT].join(_SIGNS[_DOT].join(map(re.escape, side)) for side in sides))
    return Spellings(tuple(written), re.compile("|".join(patterns), re.IGNORECASE), is_address=True)


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


def _joined(parts: Sequence[str]) -> list[str | Sign]:
    """Return the characters of some parts with full stops between them."""
    joined: list[str | Sign] = list(parts[0])
    for part in parts[1:]:
        joined += [_DOT, *part]
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
        if error.error_type == phonenumbers.NumberParseException.INVALID_COUNTRY_CODE:
            raise InputError(
                f"{text!r} has no known country code; write the number with it (+49 …), or name its country with a "
                "region (DE)"
            ) from error
        raise InputError(f"{text!r} is not a phone number; correct it") from error
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
    frequent = {
        prefix + each for prefix in ("", *_ABROAD[:2]) for each in (code + rest, code + trunk + rest)
    } | national
    longest_first = sorted(divided, key=lambda digits: (-len(digits), digits))
    return Spellings(
        _in_all_digits(longest_first, _LABELS, unescaped=divided - frequent),
        _divided_pattern(longest_first),
        national=frozenset(national),
        is_phone=True,
    )


def _divided_pattern(strings: Sequence[str]) -> re.Pattern[str]:
    """Return a pattern for strings of letters and digits with separators between any of them."""
    return re.compile("|".join(_BETWEEN.join(map(re.escape, string)) for string in strings), re.IGNORECASE)


def with_extension(part: str, words: Sequence[str]) -> list[str]:
    """Return the words that consist of a part of a number and an extension, such as 0143x12."""
    return [word for word in words if _EXTENSION.fullmatch(word, len(part))]
