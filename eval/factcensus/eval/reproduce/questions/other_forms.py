"""Question 2: does forgetting asked one way reach other ways of asking, and does this depend on the count?

Unlearning trains on one question per fact. Three further wordings of the question occur neither in pre-training nor in
unlearning; statements occur in pre-training only. *Reach* is the share of facts, among those that the model knew in
both forms and no longer answers as the question, that it no longer answers in the other form either.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import pandas as pd

from factcensus.eval.names import COUNT
from factcensus.eval.reproduce.questions.findings import Outcome
from factcensus.eval.reproduce.questions.outcomes import FREQUENT, known_forget, outcomes_of, per_decade, share_left
from factcensus.eval.statistics.worlds import Verdict
from factcensus.unlearn.world.sentences import RELATIONS

if TYPE_CHECKING:
    from factcensus.eval.study import Study

METHOD = "simnpo"
#: Share of facts per factor 10 of the count.
MARGIN = 0.10
#: Numbers of the wordings in the form ``paraphrase``: questions first, then statements up to their object.
QUESTIONS = tuple(range(min(len(relation.paraphrases) for relation in RELATIONS)))
WAYS = {"questions": "other wordings of the question", "statements": "statements"}
_DOCUMENTS = {"rarer": f"fewer than {FREQUENT} documents", "frequent": f"{FREQUENT} documents or more"}

CONCLUSIONS: Mapping[Verdict, str] = {
    "below": "Forgetting reaches other wordings less, the more frequent the fact is.",
    "above": "Forgetting reaches other wordings more, the more frequent the fact is.",
    "equivalent": f"The reach does not depend on the count: any slope is below {MARGIN:g} per factor 10.",
    "undecided": "Undecided: these worlds neither show a slope nor exclude one that matters.",
}


def outcomes() -> list[Outcome]:
    """Return the outcomes, the primary one first."""
    return [
        Outcome("slope_questions", "reach per factor 10 of the count, other wordings of the question", MARGIN),
        Outcome("slope_statements", "reach per factor 10 of the count, statements", MARGIN),
        *(Outcome(f"reach_{way}", f"reach, {label}") for way, label in WAYS.items()),
        *(
            Outcome(f"reach_{way}_{name}", f"reach of facts in {documents}, {label}")
            for way, label in WAYS.items()
            for name, documents in _DOCUMENTS.items()
        ),
        *(
            Outcome(f"lost_{way}", f"share lost without being forgotten as the question, {label}")
            for way, label in WAYS.items()
        ),
        *(Outcome(f"bystander_{way}", f"share lost by bystanders, {label}") for way, label in WAYS.items()),
        Outcome("forgotten", "share forgotten as the question"),
    ]


def way_of(rows: pd.DataFrame) -> pd.Series[str]:
    """Return how each row asks: the question that is unlearned, another question, or a statement."""
    other = rows["variant"].isin(QUESTIONS).map({True: "questions", False: "statements"})
    ways = other.where(rows["form"] == "paraphrase", "statements")
    return ways.where(rows["form"] != "question", "question")


def worlds(studies: Sequence[Study], least: int) -> pd.DataFrame:
    """Return one row per world with every outcome."""
    return pd.DataFrame([{"seed": study.seed, **_of_world(outcomes_of(study), least)} for study in studies])


def _of_world(table: pd.DataFrame, least: int) -> dict[str, float]:
    table = table[(table["method"] == METHOD) & table["left"].notna()]
    table = table.assign(way=way_of(table), reached=1.0 - table["left"])
    asked = known_forget(table).set_index("fact_id")["left"]
    row = {"forgotten": 1.0 - share_left(known_forget(table), least)}
    for way in WAYS:
        of_way = table[table["way"] == way]
        other = of_way[(of_way["group"] == "forget") & of_way["fact_id"].isin(asked.index)]
        is_forgotten = other["fact_id"].map(asked) == 0.0
        forgotten, kept = other[is_forgotten], other[~is_forgotten]
        row[f"slope_{way}"] = per_decade(forgotten, "reached", least=least)
        row[f"reach_{way}"] = 1.0 - share_left(forgotten, least)
        row[f"reach_{way}_rarer"] = 1.0 - share_left(forgotten[forgotten[COUNT] < FREQUENT], least)
        row[f"reach_{way}_frequent"] = 1.0 - share_left(forgotten[forgotten[COUNT] >= FREQUENT], least)
        row[f"lost_{way}"] = 1.0 - share_left(kept, least)
        row[f"bystander_{way}"] = 1.0 - share_left(of_way[of_way["group"] == "bystander"], least)
    return row
