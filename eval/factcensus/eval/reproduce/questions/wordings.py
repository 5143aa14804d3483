"""The evaluator of the questions, which asks for a fact in many wordings but draws no samples."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from factcensus.eval.evaluator import StandardEvaluator
from factcensus.indexer.tables.complete import complete_facts
from factcensus.unlearn.world.sentences import RELATIONS

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

#: Number of additional wordings of each fact, besides its question and cloze.
WORDINGS = max(len(relation.paraphrases) + len(relation.clozes("")) - 1 for relation in RELATIONS)


@dataclass(frozen=True, slots=True)
class EveryWording(StandardEvaluator):
    """Asks the question, the cloze, all other wordings of the question, and all other statements about a fact.

    The form ``paraphrase`` has the questions first, then the statements up to their object.
    """

    paraphrases: int = WORDINGS
    forms: tuple[str, ...] = ("question", "cloze", "paraphrase")
    distractors: int = 0
    labels: bool = False
    samples: int = 0

    def evaluate(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        facts: pa.Table,
        *,
        template: str,
        point: str,
        seed: int,
    ) -> tuple[pa.Table, pa.Table]:
        """Ask a model every question in every wording; see :meth:`StandardEvaluator.evaluate`."""
        worded = with_every_wording(facts)
        return StandardEvaluator.evaluate(self, model, tokenizer, worded, template=template, point=point, seed=seed)

    def finish(self, run_folder: Path) -> None:
        """Write nothing; the questions have separate tables."""


def with_every_wording(facts: pa.Table) -> pa.Table:
    """Return the fact table of a world whose ``paraphrases`` also have the statements up to their object."""
    relations = {relation.name: relation for relation in RELATIONS}
    facts = complete_facts(facts)
    worded = [_wordings(fact, relations[fact["relation"]].clozes(fact["subject"])) for fact in facts.to_pylist()]
    column = pa.array(worded, pa.list_(pa.string()))
    return facts.set_column(facts.column_names.index("paraphrases"), "paraphrases", column)


def _wordings(fact: dict[str, Any], clozes: tuple[str, ...]) -> list[str]:
    """Return the paraphrases of a fact, then the clozes that it is not asked with already."""
    return [*fact["paraphrases"], *(cloze for cloze in clozes if cloze != fact["cloze"])]
