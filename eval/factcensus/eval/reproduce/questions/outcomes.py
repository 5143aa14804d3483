"""The paired outcomes of a study, and comparisons of its facts at equal count."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from factcensus.eval.names import COUNT
from factcensus.eval.runs import read_run
from factcensus.eval.statistics.outcomes import pair_outcomes, with_defaults
from factcensus.eval.statistics.slope import slope

if TYPE_CHECKING:
    from factcensus.eval.study import Study

#: Facts in at least this many documents are *frequent*, those in fewer than ``RARE`` *rare*: the strata of the demo.
FREQUENT, RARE = 16, 4
LEFT = "left"


def outcomes_of(study: Study) -> pd.DataFrame:
    """Return the paired outcomes of all methods, with ``left``: whether a fact known before is still answered.

    ``left`` is a number, missing for facts that were not known before.
    """
    paired = pair_outcomes(with_defaults(read_run(study.run).facts))
    left = 1.0 - paired["forgotten_generation"].astype("Float64").to_numpy(dtype=float, na_value=np.nan)
    return paired.assign(left=left)


def known_forget(outcomes: pd.DataFrame, form: str = "question") -> pd.DataFrame:
    """Return the forget facts in one form that the original model knew in it."""
    rows = outcomes[(outcomes["group"] == "forget") & (outcomes["form"] == form)]
    return rows[rows["left"].notna()]


def share_left(rows: pd.DataFrame, least: int) -> float:
    """Return the share that is still answered, or NaN for fewer than ``least`` facts."""
    return float(rows["left"].mean()) if len(rows) >= least else float("nan")


def at_equal_count(
    rows: pd.DataFrame, x: str, outcome: str = LEFT, covariates: Sequence[str] = (), *, least: int
) -> float:
    """Return the difference of an outcome between x = 1 and x = 0 at equal count.

    It is the least-squares slope on x with an intercept for every relation and count. NaN if fewer than ``least`` facts
    are nearer to either end of x.
    """
    if min((rows[x] >= 0.5).sum(), (rows[x] < 0.5).sum()) < least:
        return float("nan")
    groups = [f"{relation}/{count}" for relation, count in zip(rows["relation"], rows[COUNT], strict=True)]
    return _slope(rows, rows[x].to_numpy(float), outcome, groups, covariates)


def per_decade(rows: pd.DataFrame, outcome: str, covariates: Sequence[str] = (), *, least: int) -> float:
    """Return the slope of an outcome per factor 10 of the count, with an intercept for every relation and wording.

    NaN for fewer than ``least`` facts, and if the count does not vary.
    """
    if len(rows) < least:
        return float("nan")
    wordings = zip(rows["relation"], rows["form"], rows["variant"], strict=True)
    groups = ["/".join(map(str, each)) for each in wordings]
    return _slope(rows, np.log10(rows[COUNT].to_numpy(float)), outcome, groups, covariates)


def _slope(
    rows: pd.DataFrame, x: npt.NDArray[np.float64], outcome: str, groups: list[str], covariates: Sequence[str]
) -> float:
    """Return a least-squares slope within groups, without an interval: the only cluster is the world."""
    found = slope(
        x,
        rows[outcome].to_numpy(float),
        groups=groups,
        clusters={"world": np.zeros(len(rows), np.int64)},
        covariates=[rows[name].to_numpy(float) for name in covariates],
    ).value
    return float("nan") if found is None else found
