"""The mapping from text to the token ids of an index and back, by a vocabulary or by the analyzer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

from factcensus.indexer.arrays import TokenIds
from factcensus.indexer.kernels.forms import TextForms, flat_texts

if TYPE_CHECKING:
    import pyarrow as pa

    from factcensus.indexer.analyzers import FixedAnalyzer
    from factcensus.indexer.analyzers.words import WordsAnalyzer
    from factcensus.indexer.storage.vocabulary import Vocabulary


class Lexicon(Protocol):
    """The token ids of one index; the id -1 means that a token does not occur in the corpus."""

    @property
    def types(self) -> int | None:
        """Number of distinct tokens; None if the index has no vocabulary."""
        ...

    def ids(self, text: str, tokens: Sequence[str]) -> list[int]:
        """Return the ids of a text, given its tokens."""
        ...

    def name_ids(self, name: str) -> list[TokenIds]:
        """Return the possible token sequences of a name; empty for a name without tokens."""
        ...

    def text_forms(self, texts: pa.Array) -> TextForms:
        """Return :meth:`name_ids` for many strings."""
        ...

    def words(self, token_ids: Sequence[int]) -> list[str]:
        """Return the printable tokens of ids."""
        ...

    def text(self, token_ids: Sequence[int]) -> str:
        """Return a token sequence as readable text."""
        ...


class WordLexicon:
    """Ids from the vocabulary of an index of words."""

    def __init__(self, analyzer: WordsAnalyzer, vocabulary: Vocabulary) -> None:
        self._analyzer, self._vocabulary = analyzer, vocabulary

    @property
    def types(self) -> int:
        """Number of distinct words."""
        return len(self._vocabulary)

    def ids(self, text: str, tokens: Sequence[str]) -> list[int]:  # noqa: ARG002 - the tokens decide
        """Return the ids of a text, given its tokens."""
        return list(map(self._vocabulary.id, tokens))

    def name_ids(self, name: str) -> list[TokenIds]:
        """Return the possible token sequences of a name; empty for a name without tokens."""
        ids = tuple(map(self._vocabulary.id, self._analyzer.tokens(name)))
        return [ids] if ids else []

    def text_forms(self, texts: pa.Array) -> TextForms:
        """Return :meth:`name_ids` for many strings."""
        encoder = self._analyzer.encoder()
        ids, lengths = encoder.encode(texts.cast("large_binary"))
        starts = np.concatenate([[0], np.cumsum(lengths)])
        return TextForms(self._vocabulary.ids_of(encoder.table)[ids], starts, np.arange(len(texts) + 1))

    def starting_with(self, prefix: str, most: int) -> list[int]:
        """Return the lowest ids of the words that begin with a prefix; see :meth:`Vocabulary.starting_with`."""
        return self._vocabulary.starting_with(prefix, most)

    def begins(self, prefix: str) -> bool:
        """Return whether a word begins with a prefix."""
        return self._vocabulary.begins(prefix)

    def words(self, token_ids: Sequence[int]) -> list[str]:
        """Return the printable tokens of ids."""
        return self._vocabulary.words(token_ids)

    def text(self, token_ids: Sequence[int]) -> str:
        """Return a token sequence as readable text."""
        return " ".join(self._vocabulary.words(token_ids))


class FixedLexicon:
    """Ids defined by the analyzer: bytes, or the ids of a tokenizer."""

    types = None

    def __init__(self, analyzer: FixedAnalyzer) -> None:
        self._analyzer = analyzer

    def ids(self, text: str, tokens: Sequence[str]) -> list[int]:  # noqa: ARG002 - the text decides
        """Return the ids of a text, given its tokens."""
        return self._analyzer.ids(text)

    def name_ids(self, name: str) -> list[TokenIds]:
        """Return the possible token sequences of a name; empty for a name without tokens."""
        return self._analyzer.name_ids(name)

    def text_forms(self, texts: pa.Array) -> TextForms:
        """Return :meth:`name_ids` for many strings."""
        return flat_texts([self._analyzer.name_ids(text) for text in texts.to_pylist()])

    def words(self, token_ids: Sequence[int]) -> list[str]:
        """Return the printable tokens of ids."""
        return [self._analyzer.token(token_id) for token_id in token_ids]

    def text(self, token_ids: Sequence[int]) -> str:
        """Return a token sequence as readable text."""
        return self._analyzer.decode(token_ids)
