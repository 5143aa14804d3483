from __future__ import annotations

import pytest

from factcensus.eval.report.formatting import (
    detectable,
    duration,
    interval,
    number,
    percent,
    probability,
    quantity,
    ratio,
    span,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (number(0.5), "+0.50"),
        (number(-1.234), "−1.23"),
        (number(None), "-"),
        (detectable(0.5), "±0.50"),
        (number(-0.001), "0.00"),
        (detectable(None), "-"),
        (percent(0.256), "26%"),
        (percent(-0.1), "−10%"),
        (percent(None), "-"),
        (probability(0.0002), "< 0.001"),
        (probability(0.25), "0.250"),
        (probability(None), "-"),
        (ratio(1.0), "1.0"),
        (ratio(9.96), "10"),
        (ratio(0.0664), "0.066"),
        (ratio(547.0), "550"),
        (ratio(0.0006), "0.00060"),
        (ratio(2.3e7), "2e+07"),
        (ratio(3e-9), "3e-09"),
        (ratio(None), "-"),
        (quantity(2.24e10, "FLOP"), "22.4 GFLOP"),
        (quantity(999.7, "J"), "1 kJ"),
        (quantity(0.5, "J"), "0.5 J"),
        (quantity(0.0, "J"), "0 J"),
        (quantity(1e6, ""), "1 M"),
        (quantity(None, "J"), "-"),
        (interval((-0.5, 1.0), number), "[−0.50, +1.00]"),
        (interval(None, number), "-"),
        (span(1, 1), "1"),
        (span(4.0, 1500.0), "4 to 1,500"),
        (span(None, None), "-"),
        (duration(42.4), "42 s"),
        (duration(203.0), "3.4 min"),
        (duration(9000.0), "2.5 h"),
        (duration(None), "-"),
    ],
)
def test_numbers_are_formatted_for_readers(text: str, expected: str) -> None:
    assert text == expected
