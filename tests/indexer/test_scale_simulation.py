"""The simulator behind the costs of docs/scale.md, in cases that can be computed by hand."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from benchmarks.scale import CORPORA, NODE_CORES, Rates, build, scan, simulate

HOUR = 3600.0
RATES = Rates(1e-8, 1e-8, 1e-7, 1e-7, 6.0, 8.0, 16.0)


def test_units_without_failures_take_the_time_of_the_fullest_core() -> None:
    done = simulate([HOUR] * 5, 2, dying=False)
    assert (done.hours, done.core_hours, done.lost) == (3, 5, 0)
    assert done.efficiency(2) == pytest.approx(5 / 6)
    assert simulate([3 * HOUR, HOUR, HOUR, HOUR], 2, dying=False).hours == 3  # the largest first


def test_dying_nodes_cost_time_but_no_units() -> None:
    whole, dying = (simulate([2 * HOUR] * 4_000, 64 * NODE_CORES, dying=dies, seed=3) for dies in (False, True))
    assert dying.core_hours == whole.core_hours == 8_000
    assert dying.lost > 100
    assert whole.hours < dying.hours < 4 * whole.hours
    assert dying == simulate([2 * HOUR] * 4_000, 64 * NODE_CORES, dying=True, seed=3)


@pytest.mark.parametrize("corpus", CORPORA, ids=lambda corpus: corpus.name)
def test_more_cores_never_take_longer_and_never_less_than_the_largest_file(corpus: object) -> None:
    for step in (scan, build):
        hours = [step(corpus, RATES, cores).hours for cores in (16, 64, 1000)]  # type: ignore[arg-type]  # a corpus
        assert hours == sorted(hours, reverse=True)
    largest = max(corpus.sizes()) * RATES.scan_s_per_byte / HOUR  # type: ignore[attr-defined]
    assert scan(corpus, RATES, 100_000).hours == pytest.approx(largest)  # type: ignore[arg-type]
