"""Completions of a name while it is typed, from the words of an index."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from factcensus.indexer.answers import Completion, CompletionAnswer
from factcensus.indexer.counting.deadline import Deadline
from factcensus.indexer.counting.lexicon import WordLexicon
from factcensus.indexer.counting.searchable import SearchableIndex
from factcensus.indexer.errors import InputError
from factcensus.indexer.records import clean_text

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from factcensus.indexer.arrays import TokenIds

#: Maximum number of completions in an answer.
MOST_COMPLETIONS = 50
#: Words that are counted to complete a text. If more begin like its last word, those that occur first in the corpus.
CANDIDATES = 512
#: Maximum number of characters after the last space of a text that is completed.
LONGEST = 100


class CompletableIndex(SearchableIndex, Protocol):
    """An open index that counts many token sequences together; ``CountIndex`` is one."""

    @property
    def no_completions(self) -> str | None:
        """The reason why names are not completed; None if they are."""
        ...

    def count_ngrams(
        self, ngrams: Sequence[Sequence[int]], *, deadline: Deadline | None = None
    ) -> npt.NDArray[np.int64]:
        """Return the occurrences and documents of each token sequence."""
        ...

    def words(self, token_ids: Sequence[int]) -> list[str]:
        """Return the printable tokens of ids."""
        ...

    def usage(self) -> object | None:
        """Return the reads of an index at a URL so far; None for a local folder."""
        ...


def complete(
    index: CompletableIndex, text: str, *, limit: int = 10, deadline: Deadline | None = None
) -> CompletionAnswer:
    """Complete the last word of a text with words of the corpus, and count each completion exactly.

    Args:
        index: An open index of words in a local folder.
        text: The beginning of a name. If it does not end in a word, there is nothing to complete.
        limit: Maximum number of completions.
        deadline: Stops counts that take too long.

    Returns:
        The completions that occur in the corpus, those in most documents first.

    Raises:
        InputError: The index has no words, or is at a URL; or the limit is out of range.
        DeadlineError: The deadline was reached.
    """
    if not 1 <= limit <= MOST_COMPLETIONS:
        raise InputError(f"limit must be from 1 to {MOST_COMPLETIONS}, got {limit}")
    if (reason := index.no_completions) is not None:
        raise InputError(f"names are not completed in index {index.name}: {reason}")
    lexicon = index.lexicon
    assert isinstance(lexicon, WordLexicon)
    text = clean_text(text)
    begun, prefix = _split(index, text)
    before = lexicon.ids(begun, index.analyzer.tokens(begun))
    found: list[Completion] = []
    if prefix and -1 not in before:
        ids = lexicon.starting_with(prefix, CANDIDATES)
        found = _counted(index, [(*before, token_id) for token_id in ids], deadline)
    kept = sorted(found, key=lambda each: (-each.documents, -each.occurrences, each.text))[:limit]
    typed = text[len(begun) :]
    completed = [Completion(begun + _as_typed(each.text, typed), each.occurrences, each.documents) for each in kept]
    return CompletionAnswer(index.name, index.analyzer.label, text, completed, True)


def no_completions(index: CompletableIndex) -> str | None:
    """Return the reason why names are not completed in an index; None if they are."""
    if not isinstance(index.lexicon, WordLexicon):
        return f"it has no list of words, because its analyzer is {index.analyzer.name}"
    if index.usage() is not None:
        return "it is at a URL, where each keystroke would count hundreds of words; a local copy completes names"
    return None


def _counted(index: CompletableIndex, ngrams: Sequence[TokenIds], deadline: Deadline | None) -> list[Completion]:
    """Count token sequences, and return those that occur, each with its last word as the text."""
    counts = index.count_ngrams(ngrams, deadline=deadline).tolist()
    words = index.words([ngram[-1] for ngram in ngrams])
    return [Completion(word, *count) for word, count in zip(words, counts, strict=True) if count[1]]


def _split(index: SearchableIndex, text: str) -> tuple[str, str]:
    """Return the text before its last word, and that word as a token.

    The word is empty if the text does not end in a word that one more letter would continue.
    """
    tokens = index.analyzer.tokens
    start = max(text.rfind(space) for space in {" ", *(each for each in text if each.isspace())}) + 1
    last = tokens(text[start:])
    if not last or len(text) - start > LONGEST or len(tokens(text[start:] + "a")) > len(last):
        return text, ""
    for at in range(start, len(text)):  # the longest end of the text that is this token alone
        if text[at].isalnum() and tokens(text[at:]) == last[-1:]:
            return text[:at], last[-1]
    return text, ""


def _as_typed(word: str, typed: str) -> str:
    """Return a word with a capital if it was typed with one."""
    capital = word[:1].upper()
    return capital + word[1:] if typed[:1].isupper() and capital.casefold() == word[:1] else word
