"""Samplers and schedules are pure functions of the step."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factcensus.unlearn.training.sampling import Sampler
from factcensus.unlearn.training.schedule import rate_at


@given(st.integers(1, 40), st.integers(1, 17), st.integers(0, 5), st.integers(1, 4))
def test_every_example_is_seen_once_per_pass(size: int, batch_size: int, seed: int, passes: int) -> None:
    sampler = Sampler(size, batch_size, seed, "forget")
    stream = [index for step in range(sampler.steps(passes)) for index in sampler.batch(step)]
    for epoch in range(passes):
        assert sorted(stream[epoch * size : (epoch + 1) * size]) == list(range(size))


@given(st.integers(1, 40), st.integers(1, 17), st.lists(st.integers(0, 30), min_size=1))
def test_batches_do_not_depend_on_earlier_draws(size: int, batch_size: int, steps: list[int]) -> None:
    used = Sampler(size, batch_size, 0, "forget")
    for step in steps:
        assert used.batch(step) == Sampler(size, batch_size, 0, "forget").batch(step)


def test_names_and_seeds_give_different_orders() -> None:
    drawn = [Sampler(100, 100, seed, name).batch(0) for seed in (0, 1) for name in ("forget", "retain")]
    assert len({tuple(batch) for batch in drawn}) == 4


def test_an_empty_set_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Sampler(0, 1, 0, "forget")


@given(st.integers(1, 200), st.floats(0, 1), st.sampled_from(["constant", "linear", "cosine"]))
def test_rates_stay_between_zero_and_the_peak(steps: int, warmup_share: float, schedule: str) -> None:
    rates = [rate_at(step, steps, 0.5, warmup_share, schedule) for step in range(steps)]  # type: ignore[arg-type]
    assert all(0 < rate <= 0.5 for rate in rates)


def test_schedules_equal_the_case_computed_by_hand() -> None:
    assert [rate_at(step, 4, 1.0, 0.5, "linear") for step in range(4)] == [0.5, 1.0, 1.0, 0.5]
    assert [rate_at(step, 4, 1.0, 0.0, "cosine") for step in range(4)] == pytest.approx(
        [1, 0.853553, 0.5, 0.146447], abs=1e-6
    )
    assert [rate_at(step, 3, 1.0, 0.0, "constant") for step in range(3)] == [1, 1, 1]
