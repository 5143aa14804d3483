"""The words of an index that a number or address may consist of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from typing import TYPE_CHECKING

from factcensus.indexer.arrays import TokenIds
from factcensus.indexer.counting.lexicon import WordLexicon
from factcensus.indexer.counting.spellings import with_extension

if TYPE_CHECKING:
    from factcensus.indexer.counting.searchable import SearchableIndex

#: Maximum number of words that begin like a number with an attached extension.
_EXTENDED = 1000


class IndexWords:
    """The words of an open index; see :class:`~factcensus.indexer.counting.divisions.DividedWords`.

    Args:
        index: An index of words.
        with_extensions: Whether the last word may end with an extension of a phone number, such as x12.
    """

    def __init__(self, index: SearchableIndex, *, with_extensions: bool) -> None:
        lexicon = index.lexicon
        assert isinstance(lexicon, WordLexicon)
        self._lexicon, self._analyzer = lexicon, index.analyzer
        self._with_extensions = with_extensions
        self.cased = index.analyzer.name != "words"
        self.part_ids = cache(self._part_ids)
        self.begins = cache(self._begins)
        self._id = cache(self._id_of)

    def ids(self, words: Sequence[str]) -> Sequence[int]:
        """Return the ids of words, -1 for a word that does not occur."""
        return [self._id(word) for word in words]

    def _part_ids(self, part: str, last: bool) -> Iterable[TokenIds]:
        found = dict.fromkeys(
            tuple(self.ids(tokens))
            for spelled in (self._cases(part) if self.cased else [part])
            if (tokens := self._tokens(spelled))
        )
        ids = [each for each in found if -1 not in each]
        if last and self._with_extensions:
            words = [
                word for sign in ("x", "X", "ext", "Ext", "EXT") for word in self._starting(part + sign, _EXTENDED)
            ]
            ids += [(self._id(word),) for word in with_extension(part, words)]
        return ids

    def starting(self, prefix: str) -> Sequence[str]:
        """Return the words that begin with a prefix."""
        return self._starting(prefix, self._lexicon.types)

    def _starting(self, prefix: str, most: int) -> Sequence[str]:
        return self._lexicon.words(self._lexicon.starting_with(prefix, most))

    def _begins(self, prefix: str) -> bool:
        return any(map(self._lexicon.begins, self._cases(prefix) if self.cased else [prefix.lower()]))

    def _cases(self, part: str) -> Iterable[str]:
        return dict.fromkeys([part, part.lower(), part.upper()])

    def _tokens(self, text: str) -> Sequence[str]:
        if text.isascii() and text.isalnum():  # fast
            return [text if self.cased else text.lower()]
        return self._analyzer.tokens(text)

    def _id_of(self, word: str) -> int:
        (id,) = self._lexicon.ids(word, [word])
        return id
