"""Metrics of generated text: words in common, degeneration, and the leak of k samples."""

from __future__ import annotations

import math
from collections import Counter

from factcensus.eval.asking.matching import words

#: Texts with fewer words are too short to distinguish repetition from an answer.
REPETITION_WORDS = 4
#: Share of repeated words from which a text counts as degenerate.
REPETITION_SHARE = 0.5


def token_f1(continuation: str, answer: str) -> float | None:
    """Return the F1 of the words that a continuation and the answer have in common, in any order, 0 to 1.

    None if the answer has no words. Unlike recall, it falls if the continuation has many other words. Source: Rajpurkar
    et al. (2016), with the words of the index and articles kept.
    """
    said, wanted = Counter(words(continuation)), Counter(words(answer))
    if not wanted:
        return None
    common = (said & wanted).total()
    return 2 * common / (said.total() + wanted.total())


def repetition(text: str) -> float | None:
    """Return the share of words that already occurred in the text, 0 to 1; None for fewer than four words."""
    found = words(text)
    return None if len(found) < REPETITION_WORDS else 1 - len(set(found)) / len(found)


def is_degenerate(text: str) -> bool:
    """Return whether a continuation has no words, or at least half of its words are repeats."""
    return not words(text) or (repetition(text) or 0.0) >= REPETITION_SHARE


def leak_at_k(samples: int, matches: int, k: int) -> float | None:
    """Return the unbiased probability that at least one of k samples matches, from ``matches`` among ``samples``.

    1 - C(n - c, k) / C(n, k), like pass@k (Chen et al. 2021). None if fewer than k samples were drawn: the usual 1 - (1
    - c/n)^k is biased, and no unbiased estimate exists for fewer samples.
    """
    if not 0 <= matches <= samples:
        raise ValueError(f"the number of matches must be from 0 to {samples}, got {matches}")
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    if k > samples:
        return None
    return 1 - math.comb(samples - matches, k) / math.comb(samples, k)
