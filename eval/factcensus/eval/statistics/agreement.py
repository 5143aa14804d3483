"""An index of how far probability and generation agree about remaining knowledge, signed and without a threshold.

Both look for a fact, and each is measured by how well it separates facts from people without any text (phantoms):

* **P**, by probability: the probability that the score of a fact under the model exceeds that of a phantom of the same
seed, relation and form (ties count half), which is the area under the ROC curve. The score is the margin against
matched wrong answers if it was measured (``choice_margin``), otherwise the log-probability per token.
* **G**, by generation: the probability that one continuation, sampled at temperature 1, gives the fact and one for a
phantom does not, where ties again count half: 1/2 + (share of matching samples of a fact - that of a phantom) / 2.

Both are 0.5 if no knowledge is left and 1 if all is. The **index** is P - G. Above 0 the model still ranks
answers high that it no longer gives (hidden), below 0 it still gives answers that it no longer ranks high (brittle).
The **excess** is the index minus that of the original model over the same facts, because the original also ranks facts
high that it does not always give.

The index does not depend on a threshold: any increasing function of the score gives the same P. Its expectation does
not depend on the number of samples, because G is a mean over single samples. (The area under the curve of 8-sample
shares would depend on it and approach P with more samples.) The interval needs at least 8 samples per fact; with fewer,
the greedy continuation is used as the only sample, and the result reports this.

The interval combines the variance over subjects and over phantoms (DeLong, DeLong and Clarke-Pearson 1988, for
clustered data Obuchowski 1997); ``tests/eval/test_recovery.py`` measures how often it is right.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from factcensus.eval.statistics.intervals import CONFIDENCE, Floats, label_codes
from factcensus.eval.statistics.outcomes import ASKED
from factcensus.eval.statistics.slope import DETECTABLE_STANDARD_ERRORS, MIN_CLUSTERS

LEAST_SAMPLES = 8
#: Minimum number of phantoms in a cell (seed, relation, form, variant) for ranks.
LEAST_PHANTOMS = 5
_CELL = ["seed", "relation", "form", "variant"]
_GROUPS = ("forget", "phantom")
_MEASURED = ("p", "g", "p_before", "g_before")
_INTEGERS = ("rows", "subject", "stranger_subject")


def agreement(after: pd.DataFrame, before: pd.DataFrame) -> tuple[dict[str, Any], pd.DataFrame]:
    """Return the index of one method over forget facts that were known before.

    Args:
        after, before: Rows of facts.parquet of the method and of the original model, after
            :func:`factcensus.eval.statistics.outcomes.with_defaults`; groups other than ``forget`` and ``phantom`` are
            ignored.

    Returns:
        The index: ``n`` facts and ``phantoms``; ``probability`` and ``generation`` (P and G after); ``index``,
            ``original`` (the index of the original model), ``excess`` with ``ci95`` and ``minimum_detectable_effect``;
            ``rank_correlation``: Kendall's tau-b between the score and the share of matching samples over these facts;
            ``scores``: the measures behind P and G; ``by_stratum``: the same in each stratum, without facts that have
            no stratum. Values are None if there is nothing to compare. And the compared facts, each with its part of
            the ``excess``, for a regression on the count.
    """
    score, samples = _scores(after, before)
    rows = _paired(after, before, score, samples)
    facts = rows[(rows["group"] == "forget") & rows["known"]]
    phantoms = _Side.of(rows[rows["group"] == "phantom"])
    ours = _Side.of(facts)
    placed = _place(ours, phantoms)
    strata = facts["stratum"].to_numpy(float, na_value=np.nan)
    found = {
        **_index(placed),
        "rank_correlation": _rank_correlation(ours),
        "scores": {"probability": score, "generation": "samples" if samples else "greedy", "samples": samples or 1},
        "by_stratum": [
            {"stratum": int(each), **_index(_place(ours.where(strata == each), phantoms))}
            for each in np.unique(strata[~np.isnan(strata)])
        ],
    }
    return found, facts.iloc[placed.rows].assign(excess=placed.excess)


@dataclass(frozen=True, slots=True)
class _Side:
    """Facts or phantoms as arrays: cell and subject codes, and scores after and before."""

    cell: npt.NDArray[np.int64]
    subject: npt.NDArray[np.int64]
    p: Floats
    g: Floats
    p_before: Floats
    g_before: Floats

    @classmethod
    def of(cls, rows: pd.DataFrame) -> _Side:
        codes = (rows[name].to_numpy(np.int64) for name in ("cell", "subject_code"))
        return cls(*codes, *(rows[name].to_numpy(float) for name in _MEASURED))

    def where(self, kept: npt.NDArray[np.bool_]) -> _Side:
        return _Side(*(getattr(self, field.name)[kept] for field in fields(self)))


@dataclass(frozen=True, slots=True)
class _Placed:
    """Facts ranked among phantoms (``rows``: indices of the facts), and phantoms among facts.

    Attributes:
        stranger: The deviation of each phantom's excess from the mean of its cell, times the number of facts it
            represents.
    """

    rows: npt.NDArray[np.int64]
    probability: Floats
    generation: Floats
    original: Floats
    excess: Floats
    subject: npt.NDArray[np.int64]
    stranger: Floats
    stranger_subject: npt.NDArray[np.int64]


def _scores(after: pd.DataFrame, before: pd.DataFrame) -> tuple[str, int | None]:
    """Return the score used for probability, and the number of samples for generation (None: greedy answer)."""
    both = [rows[rows["group"].isin(_GROUPS)] for rows in (after, before)]
    margins = all("choice_margin" in rows and len(rows) and rows["choice_margin"].notna().all() for rows in both)
    drawn = min(
        int(rows["samples"].min()) if "samples" in rows and len(rows) and rows["samples"].notna().all() else 0
        for rows in both
    )
    return "choice_margin" if margins else "log_probability_mean", drawn if drawn >= LEAST_SAMPLES else None


def _paired(after: pd.DataFrame, before: pd.DataFrame, score: str, samples: int | None) -> pd.DataFrame:
    """Pair facts and phantoms under both models, with p and g of each; incomplete rows are left out."""

    def measured(rows: pd.DataFrame) -> pd.DataFrame:
        rows = rows[rows["group"].isin(_GROUPS)]
        said = _floats(rows["sample_matches"]) / _floats(rows["samples"]) if samples else _floats(rows["match"])
        return rows.assign(p=_floats(rows[score]), g=said)

    theirs = measured(before)[[*ASKED, "p", "g", "match"]].rename(columns={"match": "known"})
    rows = measured(after).merge(theirs, on=ASKED, suffixes=("", "_before"), validate="one_to_one")
    rows = rows.assign(known=_floats(rows["known"]) == 1.0)
    complete = np.asarray(np.isfinite(rows[list(_MEASURED)].to_numpy(float)).all(axis=1), np.bool_)
    return pd.DataFrame(rows[complete]).assign(cell=rows[complete].groupby(_CELL, sort=False, dropna=False).ngroup())


def _floats(values: pd.Series[Any]) -> Floats:
    return np.asarray(values.astype("Float64").to_numpy(dtype=float, na_value=np.nan), np.float64)


def _place(facts: _Side, phantoms: _Side) -> _Placed:
    """Compare within each cell; cells with too few phantoms are left out."""
    parts: list[tuple[npt.NDArray[Any], ...]] = []
    for cell in np.unique(facts.cell):
        rows, strangers = facts.cell == cell, phantoms.cell == cell
        if strangers.sum() < LEAST_PHANTOMS:
            continue
        ours, theirs = facts.where(rows), phantoms.where(strangers)
        p, g = _compare(ours.p, theirs.p), 0.5 + (ours.g[:, None] - theirs.g) / 2
        then = _compare(ours.p_before, theirs.p_before) - 0.5 - (ours.g_before[:, None] - theirs.g_before) / 2
        excess = p - g - then
        stranger = excess.mean(axis=0)
        weight = len(ours.p) / len(theirs.p)
        parts.append(
            (
                np.flatnonzero(rows),
                p.mean(axis=1),
                g.mean(axis=1),
                then.mean(axis=1),
                excess.mean(axis=1),
                ours.subject,
                (stranger - stranger.mean()) * weight,
                theirs.subject,
            )
        )
    if not parts:
        return _Placed(*(np.zeros(0, np.int64 if field.name in _INTEGERS else float) for field in fields(_Placed)))
    return _Placed(*(np.concatenate(each) for each in zip(*parts, strict=True)))


def _compare(ours: Floats, theirs: Floats) -> Floats:
    """Return for each fact and phantom whether the score of the fact is higher (1), equal (1/2) or lower (0)."""
    found: Floats = (ours[:, None] > theirs) + 0.5 * (ours[:, None] == theirs)
    return found


def _index(placed: _Placed) -> dict[str, Any]:
    """Return the means over facts, and the interval of the excess."""
    n = len(placed.rows)
    if not n:
        names = ("probability", "generation", "index", "original", "excess", "ci95", "minimum_detectable_effect")
        return {"n": 0, "phantoms": 0, **dict.fromkeys(names)}
    probability, generation = float(placed.probability.mean()), float(placed.generation.mean())
    excess = float(placed.excess.mean())
    parts = [_variance(placed.excess - excess, placed.subject), _variance(placed.stranger, placed.stranger_subject)]
    interval = effect = None
    error = math.sqrt(sum(variance for variance, _ in parts)) / n
    # Equal facts and equal phantoms say nothing about further ones.
    if error > 1e-12 and all(size >= MIN_CLUSTERS for _, size in parts):
        half = float(stats.t.ppf(0.5 + CONFIDENCE / 2, min(size for _, size in parts) - 1)) * error
        interval, effect = (excess - half, excess + half), DETECTABLE_STANDARD_ERRORS * error
    return {
        "n": n,
        "phantoms": len(placed.stranger),
        "probability": probability,
        "generation": generation,
        "index": probability - generation,
        "original": float(placed.original.mean()),
        "excess": excess,
        "ci95": interval,
        "minimum_detectable_effect": effect,
    }


def _variance(parts: Floats, clusters: npt.NDArray[np.int64]) -> tuple[float, int]:
    """Return the variance of a sum from its parts, and the number of clusters."""
    codes, size = label_codes(clusters)
    return size / max(1, size - 1) * float((np.bincount(codes, weights=parts) ** 2).sum()), size


def _rank_correlation(facts: _Side) -> float | None:
    """Return Kendall's tau-b between the score and the share of matching samples; None if either is constant."""
    if min(len(np.unique(facts.p)), len(np.unique(facts.g))) < 2:
        return None
    found: Any = stats.kendalltau(facts.p, facts.g)
    return float(found.statistic)
