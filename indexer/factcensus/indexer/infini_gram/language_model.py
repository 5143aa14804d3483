"""n-gram and ∞-gram probabilities of the next token.

In an n-gram model, P(token | prompt) is the number of occurrences of the prompt followed by the token, divided by the
number of occurrences of the prompt. The ∞-gram model uses the longest suffix of the prompt that occurs in the corpus.
Both are counts. With suffix arrays, infini-gram's engine counts (``engine_counts.py``); in the layout ``compact``, we
do (``own_counts.py``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from factcensus.indexer.answers import EndOfDocument, NextToken, NextTokensAnswer, ProbabilityAnswer, Tokens
from factcensus.indexer.errors import EmptyQueryError, IndexerError, InputError
from factcensus.indexer.infini_gram.engine_counts import EngineCounts
from factcensus.indexer.infini_gram.own_counts import OwnCounts

if TYPE_CHECKING:
    from factcensus.indexer.index import CountIndex
    from factcensus.indexer.infini_gram.following import NextTokens

#: Maximum number of occurrences that the engine samples. It starts two threads per split, which is 160 at a time for
#: this number. The public service of infini-gram has the same limit.
MOST_SUPPORT = 1000

#: A text, split into tokens like the corpus, or token ids.
Query = str | Sequence[int]


class NgramModel:
    """An n-gram language model of an open index, which must stay open; queries are thread-safe.

    >>> with CountIndex.open("indexes/wiki") as index, NgramModel.open(index) as model:
    ...     model.prob("the capital of France is Paris").probability
    """

    def __init__(self, index: CountIndex, counts: NextTokens) -> None:
        self._index = index
        self._counts: NextTokens | None = counts
        self._absent_id = counts.absent_id
        self._separator = 256 ** index.shards[0].token_bytes - 1

    @classmethod
    def open(cls, index: CountIndex) -> Self:
        """Open the language model of an index.

        Raises:
            MissingExtraError: The index has suffix arrays, and the package infini-gram is not installed.
            InputError: The index is empty; or it has suffix arrays and deleted documents, or the engine would misread
                the path of the folder for temporary files.
            IndexFormatError: The counts of the engine differ from those of the index.
        """
        compact = index.manifest is not None and index.manifest.layout == "compact"
        if not any(shard.size for shard in (index.shards if compact else index.suffix_arrays)):
            raise InputError(f"index {index.name} has no documents, so it has no next tokens; add documents first")
        return cls(index, OwnCounts(index) if compact else EngineCounts.open(index))

    @property
    def engine(self) -> Any:
        """Infini-gram's engine; None if we count ourselves."""
        return self._next.engine if isinstance(self._next, EngineCounts) else None

    def close(self) -> None:
        """Release the engine; later queries raise an error."""
        self._counts = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    # --- queries --------------------------------------------------------------------------------------------------

    def prob(self, query: Query) -> ProbabilityAnswer:
        """Return the probability of the last token of a query after all previous tokens.

        Raises:
            EmptyQueryError: The query has no tokens.
            InputError: The query has only one token, or an id is not in the index.
        """
        return self._probability(query, infini=False)

    def infgram_prob(self, query: Query) -> ProbabilityAnswer:
        """Return the same as :meth:`prob` for the longest suffix of the prompt that occurs, which may be empty.

        For an empty ``suffix``, ``prompt_count`` is the number of all tokens and documents (each document ends once).
        """
        return self._probability(query, infini=True)

    def ntd(
        self, prompt: Query, *, max_support: int | None = MOST_SUPPORT, most: int | None = None
    ) -> NextTokensAnswer:
        """Return the distribution of the next token after a prompt.

        Args:
            prompt: At least one token.
            max_support: Maximum number of sampled occurrences of the prompt, 1 to 1,000. For a more frequent prompt,
                the counts are estimates from every second, fourth, … occurrence, sorted by the following text. None
                counts exactly, at about 12 µs per distinct token and shard. In the layout ``compact``, every occurrence
                is always counted.
            most: Return only this many of the most frequent tokens.

        Raises:
            EmptyQueryError: The prompt has no tokens.
            InputError: An id is not in the index, or a limit is out of range.
        """
        return self._distribution(prompt, max_support, most, infini=False)

    def infgram_ntd(
        self, prompt: Query, *, max_support: int | None = MOST_SUPPORT, most: int | None = None
    ) -> NextTokensAnswer:
        """Return the same as :meth:`ntd` for the longest suffix of the prompt that occurs, given as ``suffix``."""
        return self._distribution(prompt, max_support, most, infini=True)

    # --- implementation -------------------------------------------------------------------------------------------

    @property
    def _next(self) -> NextTokens:
        if self._counts is None:
            raise IndexerError(f"the language model of index {self._index.name} is closed")
        return self._counts

    def _probability(self, query: Query, *, infini: bool) -> ProbabilityAnswer:
        tokens = self._tokens(query)
        if len(tokens.ids) < 2:
            raise InputError(
                f"{query!r} is a single token, but a probability needs a prompt before the token; to count a token, "
                "use 'factcensus count'"
            )
        prompt, token = tokens[:-1], tokens[-1:].shown()
        found = self._next.continued(prompt.ids, tokens.ids[-1], infini=infini)
        return ProbabilityAnswer(
            *self._described(prompt, len(found.context) if infini else None),
            id=token.ids[0],
            token=token.tokens[0],
            prompt_count=found.occurrences,
            count=found.count,
            exact=True,
        )

    def _distribution(
        self, prompt: Query, max_support: int | None, most: int | None, *, infini: bool
    ) -> NextTokensAnswer:
        if most is not None and not _is_number(most, 1):
            raise InputError(f"most must be a number of tokens of at least 1, got {most!r}")
        if max_support is not None and not _is_number(max_support, 1, MOST_SUPPORT):
            raise InputError(
                f"max_support must be from 1 to {MOST_SUPPORT}, or None (--exact) to count every occurrence, got "
                f"{max_support!r}"
            )
        tokens = self._tokens(prompt)
        found = self._next.following(tokens.ids, max_support, infini=infini)
        ranking = sorted(found.counts.items(), key=lambda item: (-item[1], item[0]))[:most]
        words = self._index.words([token for token, _ in ranking])
        return NextTokensAnswer(
            *self._described(tokens, len(found.context) if infini else None),
            prompt_count=found.occurrences,
            distinct=len(found.counts),
            next=[
                NextToken(token, word, count, count / found.occurrences)
                for (token, count), word in zip(ranking, words, strict=True)
            ],
            end_of_document=EndOfDocument(found.ends, found.ends / found.occurrences if found.occurrences else None),
            sampled_every=found.step,
            max_error=found.max_error,
        )

    def _described(self, prompt: _Tokens, suffix: int | None) -> tuple[str, str, Tokens, Tokens | None]:
        """Return the first fields of an answer: index, analyzer, prompt and the suffix of this length."""
        shown = None if suffix is None else prompt[len(prompt.ids) - suffix :].shown()
        return self._index.name, self._index.analyzer.label, prompt.shown(), shown

    def _tokens(self, query: Query) -> _Tokens:
        """Return the tokens of a query; words that are not in the corpus get the absent id."""
        index = self._index
        _ = index.shards  # raises an error if the index is closed
        if isinstance(query, str):
            words = index.analyzer.tokens(query)
            whole = index.token_ids(query)
            found = [(i,) for i in whole] if whole is not None else [index.token_ids(word) for word in words]
            return _Tokens([self._absent_id if i is None else i[0] for i in found], words, self._absent_id)
        types = index.manifest.vocabulary_size if index.manifest else getattr(index.analyzer, "vocabulary_size", 0)
        limit = min(types, self._separator)
        for i in query:
            if not _is_number(i, 0, limit - 1):
                raise InputError(f"{i!r} is not a token id of index {index.name}; give ids from 0 to {limit - 1}")
        if not query:
            raise EmptyQueryError("the query is empty; give at least one token id, or a text")
        return _Tokens([*query], index.words(query), self._absent_id)


@dataclass(frozen=True, slots=True)
class _Tokens:
    """Token ids with printable tokens; ``absent_id`` is used for all words that are not in the corpus."""

    ids: list[int]
    words: list[str]
    absent_id: int

    def __getitem__(self, part: slice) -> _Tokens:
        return _Tokens(self.ids[part], self.words[part], self.absent_id)

    def shown(self) -> Tokens:
        """Return the tokens in the form that answers show."""
        return Tokens([None if i == self.absent_id else i for i in self.ids], self.words)


def _is_number(value: object, least: int, most: int | None = None) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value and (most is None or value <= most)
