r"""Characters that a text has as escapes of HTML, URLs or program code, as web corpora often have them.

``jane&#64;example.org``, ``jane%40example.org`` and ``jane\u0040example.org`` are the same address. :func:`unescape`
returns the text with these characters, and :class:`Escapes` the words that an index has for such an escape.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from html import unescape as unescape_html
from html.entities import html5
from itertools import product
from string import hexdigits
from typing import Protocol

from factcensus.indexer.counting.folding import Folded

_HEX = "[0-9A-Fa-f]"
#: A percent sign, which may itself be escaped.
_PERCENT = "%(?:25)?"
_ESCAPE = re.compile(
    rf"(?P<url>{_PERCENT}(?:[2-7]{_HEX}|0[9AaDd])|{_PERCENT}[CDcd]{_HEX}{_PERCENT}[89ABab]{_HEX}"
    rf"|{_PERCENT}[Ee]{_HEX}(?:{_PERCENT}[89ABab]{_HEX}){{2}})"
    rf"|&(?:amp;)?(?P<html>\#0{{0,3}}[1-9][0-9]{{0,5}}|\#[xX]0{{0,3}}[1-9A-Fa-f]{_HEX}{{0,4}}|[A-Za-z][A-Za-z0-9]{{1,31}});"
    rf"|\\{{1,4}}(?P<code>u{_HEX}{{4}}|x{_HEX}{{2}}|[nrt])"
)
#: Such an escape of program code at the beginning of a word; the backslash before it separates words.
_IN_WORD = re.compile(rf"u{_HEX}{{4}}|x{_HEX}{{2}}")
_IN_CODE = {"n": "\n", "r": "\r", "t": "\t"}
#: Characters between the parts of a number or address whose escapes are searched for: white space, dashes, brackets and
#: invisible characters, such as direction marks.
SEPARATORS = (
    "\t\n\r .-()[]/_<>{}*\u00a0\u00ad\u00b7\u061c\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u200b\u200c\u200d\u200e\u200f\u2010\u2011\u2012\u2013\u2014\u2015\u202a\u202b\u202c\u202d\u202e\u202f\u205f\u2060"
    "\u2066\u2067\u2068\u2069\u2212\u3000\ufeff\uff0d"
)
#: Numbers by which old pages name dashes.
_OLD_NUMBERS = {"\u2013": 150, "\u2014": 151}


def unescape(text: str) -> Folded:
    """Return a text with the characters that its escapes mean; escapes of other control characters stay."""
    if not ("%" in text or "&" in text or "\\" in text):
        return Folded(text)
    pieces: list[str] = []
    moved: list[tuple[int, int]] = []
    starts: list[int] = []
    at = size = 0
    for found in _ESCAPE.finditer(text):
        character = _meaning(found)
        if character is None:
            continue
        begin, end = found.span()
        pieces += [text[at:begin], character]
        size += begin - at
        moved.append((begin, end))
        starts.append(size)
        size += 1
        at = end
    return Folded("".join([*pieces, text[at:]]), moved, starts, [start + 1 for start in starts])


def _meaning(found: re.Match[str]) -> str | None:
    """Return the one character of an escape; None if it has another meaning."""
    url, name, code = found["url"], found["html"], found["code"]
    if url is not None:
        try:
            return bytes.fromhex("".join(re.findall(rf"{_PERCENT}({_HEX}{{2}})", url))).decode()
        except UnicodeDecodeError:
            return None
    if name is not None:
        character = unescape_html(f"&{name};") if name[0] == "#" else html5.get(f"{name};", "")
    else:
        character = _IN_CODE.get(code) or chr(int(code[1:], 16))
    known = len(character) == 1 and (character.isprintable() or character in "\t\n\r" or ord(character) > 127)
    return character if known and not "\ud800" <= character <= "\udfff" else None


class Words(Protocol):
    """The words of an index."""

    @property
    def cased(self) -> bool:
        """Whether words differ in case."""
        ...

    def ids(self, words: Sequence[str]) -> Sequence[int]:
        """Return the ids of words, -1 for a word that does not occur."""
        ...

    def begins(self, prefix: str) -> bool:
        """Return whether a word begins with a prefix of letters and digits."""
        ...

    def starting(self, prefix: str) -> Sequence[str]:
        """Return the words that begin with a prefix."""
        ...


@dataclass(frozen=True)
class Escapes:
    """Escapes of one character, as words of an index.

    Attributes:
        apart: The ids of the words of each HTML entity, whose ampersand may itself be an entity (``&amp;nbsp;``).
        begun: For each other escape, the ids of its complete words, and the beginning of the word after them.
    """

    apart: Sequence[tuple[int, ...]]
    begun: Sequence[tuple[tuple[int, ...], str]]


def escapes_of(character: str, words: Words) -> Escapes:
    """Return the escapes of a character that may occur in an index of words."""
    apart = [tuple(words.ids(each)) for each in _words_of(_entities(character), words.cased)]
    begun = [(tuple(words.ids(each[:-1])), each[-1]) for each in _words_of(_codes(character), words.cased)]
    return Escapes(
        [ids for ids in apart if -1 not in ids],
        [(ids, code) for ids, code in begun if -1 not in ids and words.begins(code)],
    )


@lru_cache(maxsize=1 << 10)
def _words_of(escapes: tuple[str, ...], cased: bool) -> list[tuple[str, ...]]:
    """Return the words of escapes, which are all ASCII."""
    return list(dict.fromkeys(tuple(re.findall(r"\w+", each if cased else each.lower())) for each in escapes))


@cache
def codes_before() -> tuple[str, ...]:
    """Return the codes of escapes to which a number or address after them is joined: 3a of ``mailto%3A``.

    Escapes that begin with x or u are left out; see :func:`codes_in`.
    """
    before = {character for code in (9, 10, 13, *range(32, 127)) if not (character := chr(code)).isalnum()}
    codes = [written for character in sorted(before.union(SEPARATORS)) for written in _codes(character)]
    words = [word for written in codes if not _IN_WORD.fullmatch(word := re.split(r"[%\\]", written)[-1])]
    return tuple(dict.fromkeys([*words, *(each for byte in range(0x80, 0xC0) for each in _cases(f"{byte:02x}"))]))


def codes_in(words: Words) -> Mapping[str, Sequence[str]]:
    r"""Return the codes in an index to which other characters are joined: u201c of ``\u201cjane``.

    Any character may be before a number or address, so these codes are taken from the index, by the character after
    them.
    """
    codes: defaultdict[str, dict[str, None]] = defaultdict(dict)
    for sign in "xu":
        for digit in hexdigits if words.cased else hexdigits[:16]:
            for word in words.starting(sign + digit):
                if (found := _IN_WORD.match(word)) and found.end() < len(word):
                    codes[word[found.end()]][found.group()] = None
    return {character: list(found) for character, found in codes.items()}


@lru_cache(maxsize=1 << 10)
def _entities(character: str) -> tuple[str, ...]:
    code = ord(character)
    names = [name.removesuffix(";") for name in _names()[character]]
    numbers = [f"#{'0' * zeros}{number}" for zeros in range(4) for number in {code, _OLD_NUMBERS.get(character, code)}]
    numbers += [f"#{x}{'0' * zeros}{spelled}" for zeros in range(4) for x in "xX" for spelled in _cases(f"{code:x}")]
    return tuple(f"&{name};" for name in [*names, *numbers])


@lru_cache(maxsize=1 << 10)
def _codes(character: str) -> tuple[str, ...]:
    code = ord(character)
    written = [f"\\u{spelled}" for spelled in _cases(f"{code:04x}")]
    if code < 256:
        written += [f"\\x{spelled}" for spelled in _cases(f"{code:02x}")]
    written += [f"\\{letter}" for letter, meant in _IN_CODE.items() if meant == character]
    spelled_bytes = [_cases(f"{byte:02x}") for byte in character.encode()]
    for percent in ("%", "%25"):
        written += ["".join(percent + byte for byte in spelled) for spelled in product(*spelled_bytes)]
    return tuple(written)


def _cases(digits: str) -> list[str]:
    """Return hexadecimal digits with each combination of capitals."""
    return list(map("".join, product(*(dict.fromkeys([digit, digit.upper()]) for digit in digits))))


@cache
def _names() -> defaultdict[str, list[str]]:
    names: defaultdict[str, list[str]] = defaultdict(list)
    for name, characters in html5.items():
        if name.endswith(";"):
            names[characters].append(name)
    return names
