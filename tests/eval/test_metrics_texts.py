from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factcensus.eval.metrics.texts import is_degenerate, leak_at_k, repetition, token_f1


@pytest.mark.parametrize(
    ("said", "answer", "f1"),
    [
        ("New York", "new york", 1.0),
        ("york new", "New York", 1.0),
        ("In New York City", "New York", 2 * (2 / 4) * 1 / (2 / 4 + 1)),
        ("Rome", "New York", 0.0),
        ("", "New York", 0.0),
        ("new new", "New York", 0.5),  # a word counts as often as it occurs in both
        ("anything", "!", None),
    ],
)
def test_token_f1_equals_the_value_computed_by_hand(said: str, answer: str, f1: float | None) -> None:
    assert token_f1(said, answer) == (None if f1 is None else pytest.approx(f1))


@pytest.mark.parametrize(
    ("text", "share", "degenerate"),
    [
        ("rome rome rome rome", 0.75, True),
        ("she was born in rome", 0.0, False),
        ("a b a b", 0.5, True),
        ("rome rome", None, False),  # too short to decide
        ("", None, True),
        ("... !", None, True),
    ],
)
def test_degenerate_texts(text: str, share: float | None, degenerate: bool) -> None:
    assert repetition(text) == share
    assert is_degenerate(text) is degenerate


@given(st.lists(st.booleans(), min_size=1, max_size=8), st.integers(1, 8))
def test_leak_at_k_is_the_share_of_k_subsets_with_a_match(hits: list[bool], k: int) -> None:
    """By definition the mean over every subset of k of the n samples, so its expectation is exact for any n >= k."""
    found = leak_at_k(len(hits), sum(hits), k)
    if k > len(hits):
        assert found is None
    else:
        subsets = list(itertools.combinations(hits, k))
        assert found == pytest.approx(sum(map(any, subsets)) / len(subsets))


def test_leak_at_k_refuses_impossible_numbers() -> None:
    with pytest.raises(ValueError, match="must be from 0 to 8, got 9"):
        leak_at_k(8, 9, 1)
    with pytest.raises(ValueError, match="k must be at least 1, got 0"):
        leak_at_k(8, 1, 0)
