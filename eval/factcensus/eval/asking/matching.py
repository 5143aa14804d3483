"""Does a continuation say the answer? Alias-aware matches on whole words, and ROUGE-L for comparison.

Words are those of the index's ``words`` analyzer, so that "St. Louis" equals "st louis" here exactly as it does where
facts are counted, in every script. Only the continuation is judged: a prompt that repeats the answer's words ("What
is the capital of Mexico?", "University of ...") would otherwise lend every model a score it did not earn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

from factcensus.indexer.analyzers import Analyzer, clean_text, get_analyzer


@dataclass(frozen=True, slots=True)
class Match:
    """How a continuation compares with the accepted answers.

    Attributes:
        exact: Its words are those of an accepted answer, no more and no less.
        contains: The words of an accepted answer stand in it next to one another, on word boundaries.
    """

    exact: bool
    contains: bool


@lru_cache(1 << 16)
def words(text: str) -> tuple[str, ...]:
    """Return the words of a text as the analyzer ``words`` has them: folded, punctuation dropped.

    Answers recur in every form and at every checkpoint, so the last 65 536 texts are remembered.
    """
    return tuple(_analyzer().tokens(clean_text(text)))


@cache
def _analyzer() -> Analyzer:
    return get_analyzer("words")


def match_answer(continuation: str, accepted: Sequence[str]) -> Match | None:
    """Compare a continuation with every accepted answer; None if no accepted answer has a word (nothing to find)."""
    said = words(continuation)
    wanted = [answer for answer in map(words, accepted) if answer]
    if not wanted:
        return None
    return Match(exact=said in wanted, contains=any(_stands_in(answer, said) for answer in wanted))


def _stands_in(needle: tuple[str, ...], text: tuple[str, ...]) -> bool:
    size = len(needle)
    return any(text[start : start + size] == needle for start in range(len(text) - size + 1))


@dataclass(frozen=True, slots=True)
class RougeL:
    """Longest common subsequence of words over the answer's length (recall), and its F1 with the continuation's."""

    recall: float
    f1: float


def rouge_l(continuation: str, answer: str) -> RougeL | None:
    """ROUGE-L of a continuation against the gold answer (not its aliases), 0 to 1; None if the answer has no word.

    rouge-score's own tokenizer knows a-z and 0-9 only and would give 0 to every other script, so it gets our words;
    there is no stemmer.
    """
    if not words(answer):
        return None
    score = _rouge_scorer().score(answer, continuation)["rougeL"]
    return RougeL(recall=float(score.recall), f1=float(score.fmeasure))


class _Words:
    """The tokenizer interface of rouge-score."""

    def tokenize(self, text: str) -> list[str]:
        return list(words(text))


@cache
def _rouge_scorer() -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(["rougeL"], use_stemmer=False, tokenizer=_Words())
