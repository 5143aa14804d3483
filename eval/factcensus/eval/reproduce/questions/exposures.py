"""Questions 3 and 4: do the wording and the time of exposures matter at equal count?

The index decides which facts are compared. Question 3: documents against distinct documents. Question 4: the share of
the documents that training read in its first half, from counts as of a step.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import pandas as pd

from factcensus.eval.names import COUNT
from factcensus.eval.reproduce.questions.findings import Outcome
from factcensus.eval.reproduce.questions.other_forms import way_of
from factcensus.eval.reproduce.questions.outcomes import LEFT, at_equal_count, known_forget, outcomes_of, share_left
from factcensus.eval.statistics.effects import CONFIDENCE_BEFORE
from factcensus.eval.statistics.worlds import Verdict

if TYPE_CHECKING:
    from factcensus.eval.study import Study

METHODS = METHOD, OTHER_METHOD = "simnpo", "grad_diff"
#: Share of facts.
MARGIN = 0.10

WORDING_CONCLUSIONS: Mapping[Verdict, str] = {
    "above": "Paraphrased exposures resist more than repeated ones at equal count.",
    "below": "Paraphrased exposures resist less than repeated ones at equal count.",
    "equivalent": f"Paraphrased and repeated exposures resist alike: any difference is below {MARGIN:g}.",
    "undecided": "Undecided: these worlds neither show a difference nor exclude one that matters.",
}
ORDER_CONCLUSIONS: Mapping[Verdict, str] = {
    "above": "Facts read early in training resist more than facts read late at equal count.",
    "below": "Facts read early in training resist less than facts read late at equal count.",
    "equivalent": f"Early and late exposures resist alike: any difference is below {MARGIN:g}.",
    "undecided": "Undecided: these worlds neither show a difference nor exclude one that matters.",
}


def outcomes(contrast: str, one: str, zero: str) -> list[Outcome]:
    """Return the outcomes, the primary one first.

    Args:
        contrast: The name of the comparison, such as ``distinct minus copied``.
        one, zero: The names of its two sides.
    """
    return [
        Outcome("difference", f"{contrast}: share left, {METHOD}", MARGIN),
        Outcome("adjusted", "the first row at equal log-probability before", MARGIN),
        Outcome("other_method", f"{contrast}: share left, {OTHER_METHOD}", MARGIN),
        Outcome("statements", f"{contrast}: share left, asked as statements, {METHOD}", MARGIN),
        Outcome("questions", f"{contrast}: share left, asked in other wordings of the question, {METHOD}", MARGIN),
        Outcome("change", f"{contrast}: change of the log-probability (nats), {METHOD}"),
        Outcome("known", f"{contrast}: known before, as a share of all facts"),
        *(Outcome(f"left_{side}", f"share left of {side} facts, {METHOD}") for side in (one, zero)),
    ]


def distinct_share(study: Study) -> dict[str, float]:
    """Return 1 for each fact whose documents are all distinct and 0 for each that repeats one, by fact id.

    Facts in a single document are left out, because they are both.
    """
    from factcensus.indexer import CountIndex, Scope, read_facts

    facts = read_facts(study.world / "facts.jsonl")
    with CountIndex.open(study.index) as index:
        every, distinct = index.count_facts(facts), index.count_facts(facts, scope=Scope(duplicates=False))
    documents = zip(every["fact_id"].to_pylist(), every[COUNT].to_pylist(), distinct[COUNT].to_pylist(), strict=True)
    return {fact_id: float(different == total) for fact_id, total, different in documents if total > 1}


def early_share(study: Study) -> dict[str, float]:
    """Return the share of each fact's documents that training read in the first half of its steps, by fact id."""
    from factcensus.indexer import CountIndex, read_facts
    from factcensus.indexer.tables.orders import read_order
    from factcensus.unlearn.world.pretrain import DESCRIPTION, ORDER

    training = json.loads((study.model / DESCRIPTION).read_text(encoding="utf-8"))["training"]
    group = f"step:{-(-training['steps'] // 2)}"
    with CountIndex.open(study.index) as index:
        index.use_order(read_order(study.model / ORDER))
        counted = index.count_facts(read_facts(study.world / "facts.jsonl"), by=group).to_pylist()
    middle = group.removeprefix("step:")
    found = {}
    for fact in counted:
        by_step = {each[group]: each[COUNT] for each in fact[f"by_{group}"]}
        if fact[COUNT]:
            found[fact["fact_id"]] = by_step.get(middle, 0) / fact[COUNT]
    return found


def worlds(
    studies: Sequence[Study], least: int, share: Callable[[Study], dict[str, float]], one: str, zero: str
) -> pd.DataFrame:
    """Return one row per world with every outcome.

    Args:
        share: Returns x of each fact: 1 on one side of the comparison and 0 on the other.
    """
    return pd.DataFrame(
        [{"seed": study.seed, **_of_world(outcomes_of(study), share(study), least, one, zero)} for study in studies]
    )


def _of_world(table: pd.DataFrame, share: Mapping[str, float], least: int, one: str, zero: str) -> dict[str, float]:
    table = table.assign(x=table["fact_id"].map(share), way=way_of(table))
    table = table[(table["group"] == "forget") & table["x"].notna()]
    asked = table[(table["method"] == METHOD) & (table["form"] == "question")]
    asked = asked.assign(known=asked[LEFT].notna().astype(float))
    known = known_forget(asked)

    def difference(rows: pd.DataFrame, outcome: str = LEFT, covariates: Sequence[str] = ()) -> float:
        return at_equal_count(rows, "x", outcome, covariates, least=least)

    def otherwise(way: str) -> pd.DataFrame:
        return table[(table["method"] == METHOD) & (table["way"] == way) & table[LEFT].notna()]

    return {
        "difference": difference(known),
        "adjusted": difference(known, covariates=[CONFIDENCE_BEFORE]),
        "other_method": difference(known_forget(table[table["method"] == OTHER_METHOD])),
        "statements": difference(otherwise("statements")),
        "questions": difference(otherwise("questions")),
        "change": difference(known, "logprob_change"),
        "known": difference(asked, "known"),
        f"left_{one}": share_left(known[known["x"] >= 0.5], least),
        f"left_{zero}": share_left(known[known["x"] < 0.5], least),
    }
