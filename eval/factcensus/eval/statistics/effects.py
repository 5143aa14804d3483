"""Effects of the count on outcomes: slopes and odds of a table of outcomes, in the format of the summary.

Everything is per factor 10 of the count, with an intercept for every seed and relation. A count of 0 has no logarithm;
such facts are counted as excluded.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from factcensus.eval.names import COUNT, MAIN_FORMS, ORACLE
from factcensus.eval.statistics.logistic import LogOdds, difference, logistic_slope
from factcensus.eval.statistics.seeds import AcrossSeeds, holm, random_effects
from factcensus.eval.statistics.slope import Slope, slope

#: Kinds of clusters.
CLUSTERS = ("subject", "object")
CONFIDENCE_BEFORE = "log_probability_before"
_KEY = ["seed", "fact_id", "variant"]


def known(rows: pd.DataFrame) -> pd.Series[bool]:
    """Return which facts the original model knew."""
    return rows["known_before"].fillna(False).astype(bool)


def slope_of(rows: pd.DataFrame, outcome: str, covariates: Iterable[str] = ()) -> Slope:
    """Return the slope of an outcome per decade of the count, over rows with a count above 0 and finite numbers."""
    covariates = list(covariates)
    rows = _usable(rows, outcome, covariates)
    return slope(_decades(rows), rows[outcome].astype(float), **_beside(rows, covariates))


def odds_of(rows: pd.DataFrame, outcome: str, covariates: Iterable[str] = ()) -> LogOdds:
    """Return the slope of the log-odds of a boolean outcome per decade of the count, over the same rows."""
    covariates = list(covariates)
    rows = _usable(rows, outcome, covariates)
    return logistic_slope(_decades(rows), rows[outcome].astype(float), **_beside(rows, covariates))


def _decades(rows: pd.DataFrame) -> npt.NDArray[np.float64]:
    found: npt.NDArray[np.float64] = np.log10(rows[COUNT].to_numpy(dtype=float))
    return found


def _beside(rows: pd.DataFrame, covariates: Iterable[str]) -> dict[str, Any]:
    """Return the other arguments of both regressions: covariates, an intercept per seed and relation, clusters."""
    return {
        "covariates": [rows[name].astype(float) for name in covariates],
        "groups": rows["relation_code"].to_numpy(),
        "clusters": _clusters(rows),
    }


def _usable(rows: pd.DataFrame, outcome: str, covariates: Sequence[str]) -> pd.DataFrame:
    usable = rows[COUNT].to_numpy(dtype=float, na_value=np.nan) > 0
    for name in (outcome, *covariates):
        usable = usable & _finite(rows, name)
    return rows[usable]


def _finite(rows: pd.DataFrame, outcome: str) -> npt.NDArray[np.bool_]:
    """Return a mask of the rows with a finite value in this column."""
    return np.isfinite(rows[outcome].astype("Float64").to_numpy(dtype=float, na_value=np.nan))


def _clusters(rows: pd.DataFrame) -> dict[str, npt.NDArray[Any]]:
    return {kind: rows[f"{kind}_code"].to_numpy() for kind in CLUSTERS}


def slope_json(found: Slope) -> dict[str, Any]:
    """Return a slope in the format of the summary."""
    return {
        "value": found.value,
        "ci95": found.ci95,
        "n": found.n,
        "p": found.p,
        "ci95_by": found.ci95_by,
        "clusters": found.clusters,
        "minimum_detectable_effect": found.minimum_detectable_effect,
    }


def odds_json(found: LogOdds) -> dict[str, Any]:
    """Return a log-odds slope in the format of the summary, with the odds ratio."""
    return {
        "value": found.value,
        "ci95": found.ci95,
        "n": found.n,
        "p": found.p,
        "odds_ratio": None if found.value is None else float(np.exp(found.value)),
        "odds_ratio_ci95": None if found.ci95 is None else tuple(float(np.exp(bound)) for bound in found.ci95),
        "minimum_detectable_effect": found.minimum_detectable_effect,
        "penalised": found.penalised,
    }


def slope_by_seed(rows: pd.DataFrame, outcome: str, *, only_known: bool = True) -> dict[str, Any]:
    """Return the pooled slope, the slope of each seed, the interval across seeds, and the numbers of excluded facts.

    Args:
        only_known: Whether to use only facts known before.
    """
    kept = rows[known(rows)] if only_known else rows
    per_seed = {int(str(seed)): slope_of(of_seed, outcome) for seed, of_seed in kept.groupby("seed")}
    across = _across(list(per_seed.values()))
    counted = kept[COUNT].astype(float) > 0
    return {
        **slope_json(slope_of(kept, outcome)),
        "per_seed": [
            {"seed": seed, "value": found.value, "ci95": found.ci95, "n": found.n} for seed, found in per_seed.items()
        ],
        "ci95_across_seeds": across.ci95,
        "across_seeds": {
            "value": across.value,
            "seeds": across.seeds,
            "between_seeds_deviation": across.between,
            "heterogeneity_p": across.heterogeneity_p,
        },
        "excluded": {
            "not_known_before": len(rows) - len(kept),
            "count_zero_or_missing": int((~counted).sum()),
            "not_finite": int((counted & ~_finite(kept, outcome)).sum()),
        },
    }


def _across(slopes: Sequence[Slope]) -> AcrossSeeds:
    """Return the random effects over the seeds whose slope has a standard error."""
    usable = [(each.value, each.standard_error) for each in slopes if each.value is not None and each.standard_error]
    return random_effects([value for value, _ in usable], [error for _, error in usable if error])


def adjusted_slope(rows: pd.DataFrame) -> dict[str, Any]:
    """Return the slope of the change at equal initial confidence, and also at equal marginals and answer length.

    A less confident fact has the larger gradient (1 - p) and falls faster at any frequency. After adjusting for the
    log-probability before, only the part of the effect that does not run through confidence remains.
    """
    rows = with_covariates(rows[known(rows)])
    further = further_covariates(rows)
    confidence = _confidence(rows)
    full = slope_of(rows, "logprob_change", [*confidence, *further])
    return {
        **slope_json(slope_of(rows, "logprob_change", confidence)),
        "covariates": confidence,
        "full": {"value": full.value, "ci95": full.ci95, "covariates": [*confidence, *further]},
    }


def _confidence(rows: pd.DataFrame) -> list[str]:
    """Return the covariate for confidence before; none where only matches are known, as in an imported table."""
    return [CONFIDENCE_BEFORE] if _finite(rows, CONFIDENCE_BEFORE).any() else []


def with_covariates(rows: pd.DataFrame) -> pd.DataFrame:
    """Add log10(1 + documents) of subject and object, if the table has them."""
    made = {
        f"log_{kind}_documents": np.log10(1.0 + rows[f"{kind}_documents"].astype(float))
        for kind in CLUSTERS
        if f"{kind}_documents" in rows.columns
    }
    return rows.assign(**made)


def further_covariates(rows: pd.DataFrame) -> list[str]:
    """Return the covariates besides confidence that have no missing values and add information to the count.

    If all texts about a subject state its facts, its document count is a function of the co-occurrence count, and at
    equal subject documents the count could not vary.
    """
    found = []
    for name in ("log_subject_documents", "log_object_documents", "answer_tokens"):
        if name not in rows.columns or not rows[name].notna().all() or not len(rows):
            continue
        if rows.groupby("relation_code")[name].nunique().max() < 2:
            continue  # the intercepts of relations explain it already
        if name == "log_subject_documents" and _follows_the_count(rows, name):
            continue
        found.append(name)
    return found


def _follows_the_count(rows: pd.DataFrame, name: str) -> bool:
    """Return whether the count explains more than 95% of the variance of a covariate."""
    counted = rows[rows[COUNT].astype(float) > 0]
    x, y = np.log10(counted[COUNT].astype(float).to_numpy()), counted[name].to_numpy(float)
    if len(counted) < 3 or x.std() == 0 or y.std() == 0:
        return True
    return bool(np.corrcoef(x, y)[0, 1] ** 2 > 0.95)


def level_slope(rows: pd.DataFrame) -> dict[str, Any]:
    """Return the slope of the original model's log-probability of the answer on the count, over all forget facts."""
    return slope_json(slope_of(rows, "log_probability"))


def forgotten_odds(rows: pd.DataFrame) -> dict[str, Any]:
    """Return logistic regressions of forgetting by generation and by probability, total and at equal covariates."""
    rows = with_covariates(rows[known(rows)])
    covariates = [*_confidence(rows), *further_covariates(rows)]
    return {
        outcome: {
            **odds_json(odds_of(rows, f"forgotten_{outcome}")),
            "adjusted": {**odds_json(odds_of(rows, f"forgotten_{outcome}", covariates)), "covariates": covariates},
        }
        for outcome in ("generation", "probability")
    }


def contrasts(forgotten: pd.DataFrame, name: str, reference: str, forms: Sequence[str]) -> dict[str, Any]:
    """Compare two methods on the same facts, by form: differences in the slope of the change and in the log-odds."""
    return {
        "slope_per_decade": {form: _slope_contrast(forgotten, name, reference, form) for form in forms},
        "forgotten_odds_per_decade": {form: _odds_contrast(forgotten, name, reference, form) for form in forms},
    }


def _slope_contrast(forgotten: pd.DataFrame, name: str, reference: str, form: str) -> dict[str, Any]:
    rows = forgotten[(forgotten["form"] == form) & known(forgotten)]
    other = rows.loc[rows["method"] == reference, [*_KEY, "logprob_change"]]
    both = rows[rows["method"] == name].merge(other, on=_KEY, suffixes=("", "_reference"))
    both = both.assign(difference=both["logprob_change"] - both["logprob_change_reference"])
    return slope_json(slope_of(both, "difference"))


def _odds_contrast(forgotten: pd.DataFrame, name: str, reference: str, form: str) -> dict[str, Any]:
    """Return the interaction of count and method, which is the difference in the slopes of the log-odds."""
    rows = forgotten[(forgotten["form"] == form) & known(forgotten)]
    first, second = (odds_of(rows[rows["method"] == each], "forgotten_generation") for each in (name, reference))
    return odds_json(difference(first, second))


def with_holm(methods: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Add ``p_holm`` to the slopes of the change in the main forms: one family of tests, without the oracle.

    Without any effect, at least one of a dozen intervals would exclude 0 in almost half of all runs.
    """
    tested = [
        method["slope_per_decade"][form]
        for method in methods
        if method["name"] != ORACLE
        for form in MAIN_FORMS
        if form in method["slope_per_decade"]
    ]
    for found, adjusted in zip(tested, holm([found["p"] for found in tested]), strict=True):
        found["p_holm"] = adjusted
    return methods
