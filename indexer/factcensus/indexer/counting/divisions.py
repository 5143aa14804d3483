"""The divisions of a number or address into words that occur in an index.

A number such as 030901820 may be written as ``030 90 18 20``, ``030&nbsp;901820`` or ``tel=%2B4930901820``. An index of
words has other words for each of these. The search tries them all from the last word on, but continues a division only
while its words occur next to each other. Few of the 2^n divisions are therefore tried.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Protocol

from factcensus.indexer.arrays import TokenIds
from factcensus.indexer.counting.escapes import SEPARATORS, Escapes, Words, codes_before, codes_in, escapes_of

#: Maximum number of escaped separators between two characters.
_MOST_SEPARATORS = 4
#: Maximum number of divisions with escapes that are tried; numbers of few digits have very many in a large corpus.
MOST_TRIED = 1 << 20


class Sign(NamedTuple):
    """A sign of an address in its usual forms, and the words that may replace it."""

    characters: str
    words: tuple[str, ...]


@dataclass(frozen=True)
class Written:
    """A number or address without the characters that divide it.

    Attributes:
        symbols: Its characters, and the signs of an address.
        divided: Whether it may be divided between any two characters, and not only at signs.
        labels: Words that may be joined to its beginning, such as ``tel``.
        escaped: Whether the search also tries escapes: of separators, and in addresses of any character.
    """

    symbols: tuple[str | Sign, ...]
    divided: bool
    labels: tuple[str, ...] = ()
    escaped: bool = True

    @property
    def has_letters(self) -> bool:
        """Whether it has letters, whose case may differ."""
        return any(isinstance(symbol, Sign) or symbol.isalpha() for symbol in self.symbols)


class DividedWords(Words, Protocol):
    """The words of an index, and how it divides parts of a number into them."""

    def part_ids(self, part: str, last: bool) -> Iterable[TokenIds]:
        """Return the ids of the words for a part of a number, and whether it is the last part."""
        ...


class _State(NamedTuple):
    """The end of a division.

    Attributes:
        ids: Its words.
        left: Number of symbols before it.
        separators: Number of escaped separators at its beginning.
        apart: Whether a word may end before it.
        entity: Whether it begins with an HTML entity.
    """

    ids: TokenIds
    left: int
    separators: int
    apart: bool
    entity: bool = False


class Divisions:
    """The search for divisions in one index.

    Attributes:
        complete: Whether all divisions were tried so far.

    Args:
        words: The words of the index.
        occurring: Returns whether each sequence of words may occur next to each other; may raise an error to stop.
    """

    def __init__(self, words: DividedWords, occurring: Callable[[Sequence[TokenIds]], Sequence[bool]]) -> None:
        self.complete = True
        self._words, self._occurring = words, occurring
        self._escapes: dict[str, Escapes] = {}

    def of(self, written: Sequence[Written], *, escaped: bool) -> set[TokenIds]:
        """Return the divisions of numbers or addresses that may occur; ``escaped`` also with escapes.

        Divisions with equally many words are tried together, because an index at a URL answers many questions in few
        rounds.
        """
        complete: set[TokenIds] = set()
        begun = [(number, _State((), len(each.symbols), 0, True)) for number, each in enumerate(written)]
        known: dict[TokenIds, bool] = {(): True}
        while begun:
            longer = {  # the same state may be reached in several ways
                (number, before)
                for number, state in begun
                for before in self._before(written[number], state, escaped and written[number].escaped)
            }
            tried = list(dict.fromkeys(state.ids for _, state in longer if state.ids not in known))
            if escaped and len(known) + len(tried) > MOST_TRIED:
                self.complete = False
                break
            known.update(zip(tried, self._occurring(tried), strict=True) if tried else ())
            alive = [(number, state) for number, state in longer if known[state.ids]]
            complete |= {state.ids for _, state in alive if not state.left}
            begun = [(number, state) for number, state in alive if state.left]
        return complete

    def _before(self, written: Written, state: _State, escaped: bool) -> Iterator[_State]:
        """Yield the states with one more word, sign or escape before."""
        symbol = written.symbols[state.left - 1]
        if isinstance(symbol, Sign):
            yield _State(state.ids, state.left - 1, 0, True)
            for word in symbol.words:
                yield from self._with_part(written, state, word, state.left - 1, escaped)
        elif state.apart:
            part = ""
            for begin in range(state.left - 1, -1, -1):
                symbol = written.symbols[begin]
                if isinstance(symbol, Sign):
                    break
                part = symbol + part
                yield from self._with_part(written, state, part, begin, escaped)
        if escaped:
            yield from self._with_escape(written, state)

    def _with_escape(self, written: Written, state: _State) -> Iterator[_State]:
        """Yield the states with one more escape, or with the escaped ampersand of an entity."""
        if state.entity and (amp := self._id("amp")) >= 0:
            yield _State((amp, *state.ids), state.left, state.separators, True)
        for left, separators, escapes in self._escapes_before(written, state):
            for ids in escapes.apart:
                yield _State(ids + state.ids, left, separators, True, entity=True)
            for words, code in escapes.begun:
                if (last := self._id(code)) >= 0:
                    yield _State((*words, last, *state.ids), left, separators, True)

    def _with_part(self, written: Written, state: _State, part: str, begin: int, escaped: bool) -> Iterator[_State]:
        """Yield the states with one more word, which may be joined to a label or to the end of an escape before it."""
        symbols = written.symbols
        last = state.left == len(symbols)
        whole = begin == 0 or isinstance(symbols[begin - 1], Sign) or isinstance(symbols[begin], Sign)
        for ids in self._words.part_ids(part, last):
            yield _State(ids + state.ids, begin, 0, written.divided or whole)
        joined: list[tuple[int, int, Sequence[tuple[TokenIds, str]]]] = []
        if begin == 0:
            labels = [*written.labels, *(self._codes_before(part[0]) if escaped else ())]
            joined.append((0, 0, [((), each) for label in labels for each in _in_cases(label, self._words.cased)]))
        if escaped:
            after = _State((), begin, 0, True)
            joined += [
                (left, separators, each.begun) for left, separators, each in self._escapes_before(written, after)
            ]
        for left, separators, begun in joined:
            for words, code in begun:
                if self._words.begins(code + part):
                    for ids in self._words.part_ids(code + part, last):
                        yield _State(words + ids + state.ids, left, separators, True)

    def _escapes_before(self, written: Written, state: _State) -> Iterator[tuple[int, int, Escapes]]:
        """Yield the escapes that may be before a state, with the symbols and separators that are then before."""
        if not state.left:
            return
        symbol = written.symbols[state.left - 1]
        if not written.divided:
            for character in symbol.characters if isinstance(symbol, Sign) else _in_cases(symbol, True):
                yield state.left - 1, 0, self._escapes_of(character)
        if state.separators < _MOST_SEPARATORS and state.left < len(written.symbols):
            for escapes in self._separators:
                yield state.left, state.separators + 1, escapes

    def _escapes_of(self, character: str) -> Escapes:
        if character not in self._escapes:
            self._escapes[character] = escapes_of(character, self._words)
        return self._escapes[character]

    @cached_property
    def _separators(self) -> Sequence[Escapes]:
        """The escapes of separators that occur in the index."""
        escapes = map(self._escapes_of, SEPARATORS)
        return [each for each in escapes if each.apart or each.begun]

    @cached_property
    def _codes_in(self) -> Mapping[str, Sequence[str]]:
        return codes_in(self._words)

    def _codes_before(self, first: str) -> Iterator[str]:
        """Yield the codes of escapes that may be joined to a number or address with this first character."""
        yield from codes_before()
        for each in _in_cases(first, self._words.cased):
            yield from self._codes_in.get(each, ())

    def _id(self, word: str) -> int:
        return self._words.ids([word])[0]


def _in_cases(text: str, cased: bool) -> tuple[str, ...]:
    """Return a text also in lower case, in upper case and with a capital, if words differ in case."""
    return tuple(dict.fromkeys([text, text.lower(), text.upper(), text.capitalize()])) if cased else (text,)
