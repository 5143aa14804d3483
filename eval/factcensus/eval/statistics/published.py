"""Numbers about a whole model under the names that papers report, for comparison with their tables.

TOFU (Maini et al. 2024, arXiv 2401.06121): forget quality and model utility, with the truth ratio in both of its means.
MUSE (Shi et al. 2025, arXiv 2407.06460): four of the six criteria; the other two are series of runs. The cards
(``factcensus eval metrics forget_quality``) have definitions, limits and the differences from the published code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean, median
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from factcensus.eval.names import ORACLE

#: Relations of imported results that are separate sets of TOFU: real authors and world facts.
BENCHMARK_SETS = ("ra", "wf")
#: Membership AUC of a model that never read the forget facts, if no such model was evaluated.
CHANCE = 0.5
#: The numbers that :func:`published` returns.
METRICS = (
    "forget_quality",
    "forget_quality_distance",
    "forget_truth_ratio",
    "forget_truth_ratio_arithmetic",
    "model_utility",
    "model_utility_arithmetic",
    "verbatim_memorisation",
    "knowledge_memorisation",
    "privacy_leakage",
    "utility_preservation",
)


def forget_quality(unlearned: Sequence[float], retrained: Sequence[float]) -> tuple[float, float] | None:
    """Return p-value and distance of the Kolmogorov-Smirnov test on truth ratios; None if either set is empty."""
    if not len(unlearned) or not len(retrained):
        return None
    found: Any = stats.ks_2samp(unlearned, retrained)
    return float(found.pvalue), float(found.statistic)


def indifference(ratios: Sequence[float]) -> float | None:
    """Return the mean of min(R, 1/R): 1 if the model prefers neither the right nor the wrong answers."""
    return fmean(0.0 if ratio == 0 else min(ratio, 1 / ratio) for ratio in ratios) if len(ratios) else None


def truthfulness(ratios: Sequence[float]) -> float | None:
    """Return the mean of max(0, 1 - R): 1 if wrong answers have no probability."""
    return fmean(max(0.0, 1 - ratio) for ratio in ratios) if len(ratios) else None


def model_utility(parts: Sequence[float | None]) -> float | None:
    """Return the harmonic mean of all parts; None without parts or if one is unknown, 0 if one is 0."""
    known = [part for part in parts if part is not None]
    if not parts or len(known) < len(parts):
        return None
    return 0.0 if min(known) <= 0 else len(known) / sum(1 / part for part in known)


def membership_auc(members: Sequence[float], others: Sequence[float]) -> float | None:
    """Return the probability that a member scores above a non-member (ties count half); None if either is missing."""
    if not len(members) or not len(others):
        return None
    ranks = stats.rankdata(np.concatenate([members, others]))[: len(members)]
    return float((ranks.sum() - len(members) * (len(members) + 1) / 2) / (len(members) * len(others)))


def privacy_leakage(auc: float, retrained: float = CHANCE) -> float | None:
    """Return PrivLeak in per cent, from the AUC of :func:`membership_auc` under both models; None if undefined.

    MUSE orients its AUC the other way round, so 1 - AUC enters here.
    """
    return None if retrained >= 1 else 100 * (retrained - auc) / (1 - retrained)


def published(
    model: pd.DataFrame, retrained: pd.DataFrame, aucs: Mapping[tuple[str, int], float] | None = None
) -> dict[str, dict[str, Any]]:
    """Return every number of one model: its value over all seeds, and by seed with the number of facts.

    Args:
        model: Rows of facts.parquet of one model, with ``group``.
        retrained: Rows of the models that were trained without the forget set; may be empty.
        aucs: Imported membership AUCs by (method, seed); they replace those computed from the rows.
    """
    by_seed: dict[str, list[dict[str, Any]]] = {name: [] for name in METRICS}
    for seed, rows in model.groupby("seed"):
        method = str(rows["method"].iloc[0])
        reference = retrained[retrained["seed"] == seed]
        imported = {name: (aucs or {}).get((name, int(str(seed)))) for name in (method, ORACLE)}
        for name, (value, number) in _of_seed(rows, reference, imported, method).items():
            if value is not None:
                by_seed[name].append({"seed": int(str(seed)), "value": value, "n": number})
    return {name: _over_seeds(name, found) for name, found in by_seed.items()}


def _over_seeds(name: str, found: list[dict[str, Any]]) -> dict[str, Any]:
    average: Callable[[Sequence[float]], float] = median if name == "forget_quality" else fmean
    return {"value": average([each["value"] for each in found]) if found else None, "per_seed": found}


def _of_seed(
    rows: pd.DataFrame, retrained: pd.DataFrame, aucs: Mapping[str, float | None], method: str
) -> dict[str, tuple[float | None, int]]:
    """Return every number of one model at one seed, with the number of facts."""
    asked, forget = _in_form(rows, "question"), _of_group(_in_form(rows, "question"), "forget")
    kept = _of_group(asked, "retain", "retain_held")
    ratios, others = _values(forget, "truth_ratio"), _of_group(_in_form(retrained, "question"), "forget")
    quality = forget_quality(ratios, _values(others, "truth_ratio"))
    verbatim = _of_group(_in_form(rows, "document"), "forget")
    if not _values(verbatim, "rouge_l_f1"):
        verbatim = _of_group(_in_form(rows, "cloze"), "forget")
    sets = kept_sets(asked)
    utility = {
        name: model_utility([part for each, of_set in sets.items() for part in _parts(each, of_set, name)])
        for name in ("truth_ratio", "truth_ratio_arithmetic")
    }
    number_kept = sum(map(len, sets.values()))
    return {
        "forget_quality": (quality and quality[0], len(ratios)),
        "forget_quality_distance": (quality and quality[1], len(ratios)),
        "forget_truth_ratio": (indifference(ratios), len(ratios)),
        "forget_truth_ratio_arithmetic": (indifference(_values(forget, "truth_ratio_arithmetic")), len(ratios)),
        "model_utility": (utility["truth_ratio"], number_kept),
        "model_utility_arithmetic": (utility["truth_ratio_arithmetic"], number_kept),
        "verbatim_memorisation": _mean(verbatim, "rouge_l_f1"),
        "knowledge_memorisation": _mean(forget, "rouge_l_f1"),
        "privacy_leakage": _leakage(asked, _in_form(retrained, "question"), aucs, method),
        "utility_preservation": _mean(kept, "rouge_l_f1"),
    }


def kept_sets(asked: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the sets of facts to be kept: the retain facts, and bystanders in the sets of the benchmark if known."""
    sets = {"retain": _of_group(asked, "retain", "retain_held")}
    bystanders = _of_group(asked, "bystander", "bystander_used")
    if len(bystanders) and bystanders["relation"].isin(BENCHMARK_SETS).all():
        sets |= {str(name): rows for name, rows in bystanders.groupby("relation")}
    else:
        sets["bystander"] = bystanders
    return {name: rows for name, rows in sets.items() if len(rows)}


def _parts(name: str, rows: pd.DataFrame, ratio: str) -> list[float | None]:
    """Return the three numbers of one set that enter the model utility."""
    probability = "probability" if name == "retain" else "probability_normalised"
    return [_mean(rows, probability)[0], _mean(rows, "rouge_l_recall")[0], truthfulness(_values(rows, ratio))]


def _leakage(
    asked: pd.DataFrame, retrained: pd.DataFrame, aucs: Mapping[str, float | None], method: str
) -> tuple[float | None, int]:
    auc, number = aucs.get(method), 0
    reference = aucs.get(ORACLE)
    if auc is None:
        members = _values(_of_group(asked, "forget"), "min_k_40")
        auc, number = membership_auc(members, _values(_of_group(asked, "phantom"), "min_k_40")), len(members)
        reference = membership_auc(
            _values(_of_group(retrained, "forget"), "min_k_40"), _values(_of_group(retrained, "phantom"), "min_k_40")
        )
    return (None if auc is None else privacy_leakage(auc, CHANCE if reference is None else reference)), number


def _in_form(rows: pd.DataFrame, form: str) -> pd.DataFrame:
    return rows[(rows["form"] == form) & (rows["variant"] == 0)]


def _of_group(rows: pd.DataFrame, *groups: str) -> pd.DataFrame:
    return rows[rows["group"].isin(groups)]


def _values(rows: pd.DataFrame, column: str) -> list[float]:
    """Return the known values of a column; none if results of other code lack it."""
    return [float(value) for value in rows[column].dropna()] if column in rows.columns else []


def _mean(rows: pd.DataFrame, column: str) -> tuple[float | None, int]:
    values = _values(rows, column)
    return (fmean(values) if values else None), len(values)
