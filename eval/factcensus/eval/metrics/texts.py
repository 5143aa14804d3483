"""Metrics of what a model says: words in common, degeneration, and the leak of k samples."""

from __future__ import annotations

import math
from collections import Counter

from factcensus.eval.asking.matching import words

#: Below this many words a text is too short to tell repetition from an answer.
REPETITION_WORDS = 4
#: Share of words that are repeats from which a text counts as degenerate.
REPETITION_SHARE = 0.5


def token_f1(continuation: str, answer: str) -> float | None:
    """F1 of the words that a continuation and the answer have in common, in any order, 0 to 1.

    None if the answer has no word. Unlike a recall it falls when the answer is buried in other words.
    Source: Rajpurkar et al. (2016), with our words and no article dropped.
    """
    said, wanted = Counter(words(continuation)), Counter(words(answer))
    if not wanted:
        return None
    common = (said & wanted).total()
    return 2 * common / (said.total() + wanted.total())


def repetition(text: str) -> float | None:
    """Share of words that stood in the text before, 0 to 1; None under four words."""
    found = words(text)
    return None if len(found) < REPETITION_WORDS else 1 - len(set(found)) / len(found)


def is_degenerate(text: str) -> bool:
    """Whether a continuation has no word, or at least half of its words are repeats."""
    return not words(text) or (repetition(text) or 0.0) >= REPETITION_SHARE


def leak_at_k(samples: int, matches: int, k: int) -> float | None:
    """Probability that at least one of k samples has the answer: unbiased, from ``matches`` among ``samples``.

    1 - C(n - c, k) / C(n, k), as pass@k (Chen et al. 2021). None if fewer than k samples were drawn: the usual
    1 - (1 - c/n)^k is biased, and from fewer samples there is no unbiased estimate.
    """
    if not 0 <= matches <= samples:
        raise ValueError(f"{matches} matches among {samples} samples: expected 0 to {samples}")
    if k < 1:
        raise ValueError(f"k is {k}: expected 1 or more")
    if k > samples:
        return None
    return 1 - math.comb(samples - matches, k) / math.comb(samples, k)
