"""Alias-aware matching of continuations and answers on whole words, and ROUGE-L for comparison.

Words are those of the index's ``words`` analyzer, so "St. Louis" equals "st louis" here just as in the counts, in every
script. Only the continuation is scored: a prompt that repeats words of the answer ("What is the capital of Mexico?",
"University of ...") would otherwise give every model an undeserved score.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

from factcensus.indexer.analyzers import Analyzer, get_analyzer
from factcensus.indexer.records import clean_text


@dataclass(frozen=True, slots=True)
class Match:
    """The result of comparing a continuation with the accepted answers.

    Attributes:
        exact: The continuation has exactly the words of an accepted answer.
        contains: The continuation contains the words of an accepted answer in sequence, on word boundaries.
    """

    exact: bool
    contains: bool


@lru_cache(1 << 16)
def words(text: str) -> tuple[str, ...]:
    """Return the words of a text as the ``words`` analyzer defines them: folded, without punctuation.

    Answers recur in every form and at every checkpoint, so the last 65,536 texts are cached.
    """
    return tuple(_analyzer().tokens(clean_text(text)))


@cache
def _analyzer() -> Analyzer:
    return get_analyzer("words")


def match_answer(continuation: str, accepted: Sequence[str]) -> Match | None:
    """Compare a continuation with every accepted answer; None if no accepted answer has words."""
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
    """The longest common subsequence of words divided by the length of the answer (recall), and the F1."""

    recall: float
    f1: float


def rouge_l(continuation: str, answer: str) -> RougeL | None:
    """Return ROUGE-L of a continuation against the expected answer (not its aliases), 0 to 1; None if it has no words.

    The tokenizer of rouge-score knows a-z and 0-9 only and would give 0 for every other script, so rouge-score gets the
    words of the index; there is no stemmer.
    """
    if not words(answer):
        return None
    score = _rouge_scorer().score(answer, continuation)["rougeL"]
    return RougeL(recall=float(score.recall), f1=float(score.fmeasure))


class _Words:
    """A tokenizer with the interface that rouge-score expects."""

    def tokenize(self, text: str) -> list[str]:
        return list(words(text))


@cache
def _rouge_scorer() -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(["rougeL"], use_stemmer=False, tokenizer=_Words())
