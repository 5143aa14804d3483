"""Question 1: does the count help to unlearn, beyond the model's own loss?

SimNPO weights each fact by its count, or by the rank of its loss under the original model. Both give the same weights,
to different facts, at equal rate and dose. The outcome of a world is the difference between the shares of known facts
that the two leave, averaged over model sizes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from factcensus.eval.names import COUNT
from factcensus.eval.reproduce.questions.findings import Outcome
from factcensus.eval.reproduce.questions.outcomes import (
    FREQUENT,
    RARE,
    known_forget,
    outcomes_of,
    per_decade,
    share_left,
)
from factcensus.eval.statistics.effects import CONFIDENCE_BEFORE
from factcensus.eval.statistics.worlds import Verdict

if TYPE_CHECKING:
    from factcensus.eval.study import Study

BY_COUNT, BY_LOSS, EQUAL, SHUFFLED = "simnpo_count", "simnpo_loss_rank", "simnpo", "simnpo_shuffled_count"
METHODS = (EQUAL, BY_COUNT, BY_LOSS, SHUFFLED)
#: Share of facts: half of the advantage that weights by count had over equal weights in the pilot worlds.
MARGIN = 0.03

CONCLUSIONS: Mapping[Verdict, str] = {
    "below": "The count helps beyond the loss: it leaves fewer of the frequent facts.",
    "above": "The count does worse than the loss: it leaves more of the frequent facts.",
    "equivalent": f"The count does not help beyond the loss: any difference is below {MARGIN:g}.",
    "undecided": "Undecided: these worlds neither show a difference nor exclude one that matters.",
}


def outcomes(sizes: Sequence[str]) -> list[Outcome]:
    """Return the outcomes, the primary one first."""
    return [
        Outcome("frequent", f"count minus loss rank: share left of facts in {FREQUENT} documents or more", MARGIN),
        Outcome("every", "count minus loss rank: share left of all facts", MARGIN),
        Outcome("rare", f"count minus loss rank: share left of facts in fewer than {RARE} documents", MARGIN),
        *(Outcome(f"frequent_{size}", f"the first row, {size} parameters", MARGIN) for size in sizes),
        Outcome("frequent_cloze", "the first row, asked as a cloze", MARGIN),
        Outcome("retain", "count minus loss rank: share kept of retain facts that no loss used", MARGIN),
        Outcome("bystander", "count minus loss rank: share kept of bystander facts", MARGIN),
        Outcome("frequent_equal", "count minus equal weights: share left of frequent facts", MARGIN),
        Outcome("frequent_shuffled", "count minus shuffled counts: share left of frequent facts", MARGIN),
        Outcome("predicts", "equal weights: nats per factor 10 of the count, at equal log-probability before"),
        Outcome("left", "equal weights: share left of all facts"),
    ]


def worlds(studies: Sequence[Study], least: int) -> pd.DataFrame:
    """Return one row per world: every outcome, averaged over model sizes."""
    found = []
    for seed in sorted({study.seed for study in studies}):
        by_size = {study.part: _of_study(outcomes_of(study), least) for study in studies if study.seed == seed}
        # The mean is missing if it is missing at one size, so every world weighs the sizes equally.
        row = {name: float(np.mean([each[name] for each in by_size.values()])) for name in next(iter(by_size.values()))}
        row |= {f"frequent_{size}": each["frequent"] for size, each in by_size.items()}
        found.append({"seed": seed, **row})
    return pd.DataFrame(found)


def _of_study(table: pd.DataFrame, least: int) -> dict[str, float]:
    questions, clozes = known_forget(table), known_forget(table, "cloze")
    others = table[(table["form"] == "question") & table["left"].notna()]

    def difference(rows: pd.DataFrame, other: str = BY_LOSS) -> float:
        shares = [share_left(rows[rows["method"] == method], least) for method in (BY_COUNT, other)]
        return shares[0] - shares[1]

    frequent = questions[questions[COUNT] >= FREQUENT]
    equal = questions[questions["method"] == EQUAL]
    return {
        "frequent": difference(frequent),
        "every": difference(questions),
        "rare": difference(questions[questions[COUNT] < RARE]),
        "frequent_cloze": difference(clozes[clozes[COUNT] >= FREQUENT]),
        "retain": difference(others[others["group"] == "retain_held"]),
        "bystander": difference(others[others["group"] == "bystander"]),
        "frequent_equal": difference(frequent, EQUAL),
        "frequent_shuffled": difference(frequent, SHUFFLED),
        "predicts": per_decade(equal, "logprob_change", [CONFIDENCE_BEFORE], least=least),
        "left": share_left(equal, least),
    }
