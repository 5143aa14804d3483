"""Fact weights have mean 1; all kinds use the same weights but assign them differently."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from factcensus.unlearn.errors import ConfigError
from factcensus.unlearn.objectives.weights import WEIGHT_KINDS, count_weights, fact_weights

COUNTS = st.lists(st.integers(0, 10**9), min_size=2, max_size=40)


def test_count_weights_equal_the_case_computed_by_hand() -> None:
    weights = count_weights([0, 99], strength=1.0)  # log10(1 + c) is 0 and 2, z is -1 and 1
    assert weights == pytest.approx([2 / (1 + math.e**2), 2 * math.e**2 / (1 + math.e**2)])


@given(COUNTS, st.floats(-2, 2), st.integers(0, 99))
def test_all_kinds_have_mean_one_and_the_same_weights(counts: list[int], strength: float, seed: int) -> None:
    loss = np.random.default_rng(seed).random(len(counts))
    dealt = {
        kind: fact_weights(kind, facts=len(counts), counts=counts, original_loss=loss, strength=strength, seed=seed)
        for kind in WEIGHT_KINDS
    }
    assert dealt["uniform"] == pytest.approx(np.ones(len(counts)))
    for kind in ("count", "loss_rank", "shuffled_count"):
        assert dealt[kind].mean() == pytest.approx(1)
        assert np.sort(dealt[kind]) == pytest.approx(np.sort(dealt["count"]))


@given(COUNTS)
def test_larger_counts_never_weigh_less(counts: list[int]) -> None:
    weights = count_weights(counts, 0.7)
    order = np.argsort(counts, kind="stable")
    assert (np.diff(weights[order]) >= -1e-12).all()


def test_the_surest_fact_has_the_largest_weight() -> None:
    weights = fact_weights("loss_rank", facts=3, counts=[1, 10, 100], original_loss=[0.5, 0.1, 3.0], strength=1.0)
    assert list(np.argsort(-weights)) == [1, 0, 2]


def test_strength_zero_and_equal_counts_give_uniform_weights() -> None:
    assert count_weights([1, 5, 9], 0.0) == pytest.approx([1, 1, 1])
    assert count_weights([7, 7, 7], 2.0) == pytest.approx([1, 1, 1])


def test_missing_counts_and_unknown_kinds_are_errors() -> None:
    with pytest.raises(ConfigError, match="count_column"):
        fact_weights("count", facts=2)
    with pytest.raises(ConfigError, match="loss_rank"):
        fact_weights("popularity", facts=2)
    with pytest.raises(ConfigError, match="losses"):
        fact_weights("loss_rank", facts=2, counts=[1, 2])
