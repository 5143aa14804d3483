"""Logarithmic axes of the report's charts say so, and their labels do not overlap."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest

from factcensus.eval.report.charts import forgetting_curves, recall_by_count


@pytest.mark.parametrize("most", [4, 40, 400])
@pytest.mark.parametrize("chart", ["recall", "forgetting"])
def test_counts_are_on_a_labelled_logarithmic_axis_with_few_ticks(chart: str, most: int) -> None:
    points = [{"count": n, "value": 0.5, "ci95": [0.4, 0.6], "isotonic": 0.5} for n in range(1, most + 1)]
    if chart == "recall":
        svg = recall_by_count({"question": points}, {}, ["question"], "documents")
    else:
        method = {"name": "a", "forgotten_by_count": {"question": {"points": points, "logistic": None}}}
        svg = forgetting_curves(method, ["question"], "documents")
    texts = re.findall(r">([^<>]+)</text>", svg)
    assert any("documents (log scale)" in text for text in texts)
    ticks = [int(text.replace(",", "")) for text in texts if re.fullmatch(r"[\d,]+", text)]
    assert ticks[0] == 1
    assert 1 < len(ticks) <= 10
    assert all(right / left >= (most ** (1 / 9)) * 0.999 for left, right in pairwise(ticks))
