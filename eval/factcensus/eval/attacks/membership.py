"""Membership inference: whether forgotten facts still differ from facts of the same kind that were never seen.

The measure is the AUC, the probability that a forgotten fact scores above a phantom of the same relation. Perfect
forgetting gives 0.5. Below 0.5 the forgotten facts differ too, because they are suppressed below unseen facts.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from scipy import optimize, stats

from factcensus.eval.attacks.target import PHANTOM, Target, result
from factcensus.eval.errors import EvaluationInputError
from factcensus.unlearn.selection import Row

#: Measures, and the columns of facts.parquet whose higher values indicate membership.
SCORES = {
    "auc_loss": "log_probability_mean",
    "auc_zlib": "zlib_ratio",
    "auc_min_k": "min_k",
    "auc_min_k_plus_plus": "min_k_plus_plus",
}


def membership(target: Target) -> Iterator[Row]:
    """Yield the scores of forgotten facts and phantoms; :func:`auc_of` computes the AUC from them.

    Raises:
        EvaluationInputError: there are no phantoms.
    """
    questions = target.questions(*target.settings.forms)
    if not any(target.part_of(question.row) == PHANTOM for question in questions):
        raise EvaluationInputError(
            "membership needs never-seen facts for comparison (rows with role 'phantom'); add them, or omit the attack"
        )
    reference = target.reference()
    for question in questions:
        row = reference.get(target.key(question))
        if row is None:
            continue
        for measure, column in SCORES.items():
            yield result(
                question,
                0,
                "",
                target.part_of(question.row),
                row[column],
                measure=measure,
                log_probability=row["log_probability"],
                reference=0.5,
            )


def auc_of(
    members: Sequence[tuple[str, str, float]], others: Sequence[tuple[str, str, float]]
) -> tuple[float, tuple[float, float], int] | None:
    """Return the AUC within relations, its 95% interval, and the number of members; None if no relation has both.

    Args:
        members, others: (relation, subject, score) of each fact.

    Facts are compared within their relation, and relations are weighted by their number of members. The interval is
    Newcombe's (2006, method 5, a score interval) with the number of *subjects* as sample size: facts about one person
    are correlated, and counting them as one is conservative.
    """
    scores: dict[str, list[float]] = defaultdict(list)
    for relation, _, score in others:
        scores[relation].append(score)
    compared = [(relation, subject, score) for relation, subject, score in members if relation in scores]
    if not compared:
        return None
    unseen = {relation: np.asarray(of_relation) for relation, of_relation in scores.items()}
    wins = [np.mean(score > unseen[name]) + 0.5 * np.mean(score == unseen[name]) for name, _, score in compared]
    relations = {relation for relation, _, _ in compared}
    subjects = {subject for _, subject, _ in compared}
    other_subjects = {subject for relation, subject, _ in others if relation in relations}
    value = float(np.mean(wins))
    return value, newcombe(value, len(subjects), len(other_subjects)), len(compared)


def newcombe(auc: float, members: int, others: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return Newcombe's score interval of an AUC, which stays within 0 to 1 and has a width even at 0 and 1."""
    z = float(stats.norm.ppf(0.5 + confidence / 2))
    half = (members + others) / 2 - 1

    def beyond(theta: float) -> float:
        spread = 1 + half * (1 - theta) / (2 - theta) + half * theta / (1 + theta)
        return abs(auc - theta) - z * math.sqrt(theta * (1 - theta) * spread / (members * others))

    # Where theta is the AUC `beyond` is negative, and at 0 and 1, where the variance is 0, it is not.
    inside = min(max(auc, 1e-12), 1 - 1e-12)
    low = 0.0 if auc <= 0 else _root(beyond, 0.0, inside)
    high = 1.0 if auc >= 1 else _root(beyond, inside, 1.0)
    return low, high


def _root(function: Callable[[float], float], low: float, high: float) -> float:
    found: Any = optimize.brentq(function, low, high)
    return float(found)
