"""The standard evaluator: asks a model every question of a fact table, and writes what a run folder is read for.

``unlearn run`` finds it by the entry point ``factcensus.evaluators``; ``eval run`` and the demo use it directly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from factcensus.eval.errors import EvaluationInputError
from factcensus.eval.generation import Continuation, continue_greedily, token_limit
from factcensus.eval.matching import match_answer, rouge_l
from factcensus.eval.questions import Asked, questions_of
from factcensus.eval.token_record import TokenScores, score_answers
from factcensus.unlearn.examples import Example, encode

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

#: Columns of a fact table that say how to ask; the rows have the prompt itself.
_ASKING = ("question", "cloze", "answer", "paraphrases", "paraphrase", "subject_aliases", "object_aliases")


@dataclass(frozen=True, slots=True)
class StandardEvaluator:
    """Teacher-forced token record and greedy continuation of every question.

    Attributes:
        paraphrases: Paraphrases asked of each fact, at most; the first so many.
        batch_tokens: Tokens of a batch, at most.
    """

    paraphrases: int = 1
    batch_tokens: int = 4096

    def evaluate(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        facts: pa.Table,
        *,
        template: str,
        point: str,
        seed: int,  # noqa: ARG002 - of the protocol; greedy decoding draws nothing
    ) -> tuple[pa.Table, pa.Table]:
        """Ask everything.

        Args:
            facts: The run's fact table, with strata where there are any, and ``used``.
            template: How a question becomes a prompt (:mod:`factcensus.unlearn.examples`); a cloze is always plain.
            point: Written into the rows: "before" or "after".

        Returns:
            A row per (fact, form, variant), and a row per answer token; columns in docs/runs.md.
        """
        asked = questions_of(facts, paraphrases=self.paraphrases)
        encoded = [_encode(tokenizer, question, template) for question in asked]
        scores = score_answers(model, encoded, batch_tokens=self.batch_tokens)
        continuations = continue_greedily(
            model,
            tokenizer,
            [example.prompt_ids for example in encoded],
            [token_limit(len(example.answer_ids)) for example in encoded],
            batch_tokens=self.batch_tokens,
        )
        rows = [_fact_row(*each) for each in zip(asked, scores, continuations, strict=True)]
        return _fact_table(facts, asked, rows, point), _token_table(facts, asked, scores, point)

    def finish(self, run_folder: Path) -> None:
        """Write summary.json and report.html from the run's tables."""
        from factcensus.eval.run_folder import read_run, write_results

        write_results(read_run(run_folder), run_folder)


def _encode(tokenizer: PreTrainedTokenizerBase, question: Asked, template: str) -> Example:
    template = "plain" if question.plain else template
    return encode(tokenizer, question.prompt, question.answer, template, f"row {question.row + 1}, {question.form}")


def _fact_row(question: Asked, scores: TokenScores, continuation: Continuation) -> dict[str, Any]:
    """What was measured of one question. A metric that can say nothing is None."""
    match = match_answer(continuation.text, question.accepted)
    rouge = rouge_l(continuation.text, question.answer)
    tokens = len(scores.token_id)
    total = _finite(scores.total_log_probability)
    return {
        "form": question.form,
        "variant": question.variant,
        "prompt": question.prompt,
        "answer": question.answer,
        "answer_tokens": tokens,
        "log_probability": total,
        "log_probability_mean": None if total is None else total / tokens,
        "rank_worst": int(scores.rank.max()),
        "margin_least": _finite(float(scores.margin.min())),
        "exact_memorisation": scores.exact_memorisation,
        "extraction_strength": scores.extraction_strength,
        "generation": continuation.text,
        "generation_finished": continuation.finished,
        "exact_match": None if match is None else match.exact,
        "match": None if match is None else match.contains,
        "rouge_l_recall": None if rouge is None else rouge.recall,
        "rouge_l_f1": None if rouge is None else rouge.f1,
    }


_FACT_SCHEMA = pa.schema(
    [
        ("form", pa.string()), ("variant", pa.int16()), ("prompt", pa.string()), ("answer", pa.string()),
        ("answer_tokens", pa.int32()), ("log_probability", pa.float64()), ("log_probability_mean", pa.float64()),
        ("rank_worst", pa.int32()), ("margin_least", pa.float64()), ("exact_memorisation", pa.float64()),
        ("extraction_strength", pa.float64()), ("generation", pa.string()), ("generation_finished", pa.bool_()),
        ("exact_match", pa.bool_()), ("match", pa.bool_()), ("rouge_l_recall", pa.float64()),
        ("rouge_l_f1", pa.float64()),
    ]
)  # fmt: skip


def _finite(value: float) -> float | None:
    """The value, or None if the model gave no number (a collapsed model's logits are NaN)."""
    return value if np.isfinite(value) else None


def _fact_table(facts: pa.Table, asked: Sequence[Asked], rows: list[dict[str, Any]], point: str) -> pa.Table:
    """The facts' own columns beside what was measured; a fact's row is repeated for every form."""
    carried = with_fact_ids(facts).drop_columns([name for name in _ASKING if name in facts.column_names])
    measured = pa.Table.from_pylist(rows, schema=_FACT_SCHEMA)
    carried = carried.drop_columns([name for name in measured.column_names if name in carried.column_names])
    table = carried.take(pa.array([question.row for question in asked]))
    table = table.append_column("point", pa.array([point] * len(asked)))
    for name in measured.column_names:
        table = table.append_column(name, measured[name])
    return table


def _token_table(facts: pa.Table, asked: Sequence[Asked], scores: Sequence[TokenScores], point: str) -> pa.Table:
    """The token record, one row per answer token."""
    fact_ids = with_fact_ids(facts)["fact_id"].to_pylist()
    lengths = [len(each.token_id) for each in scores]
    columns: dict[str, Any] = {
        "fact_id": np.repeat([fact_ids[question.row] for question in asked], lengths),
        "point": [point] * sum(lengths),
        "form": np.repeat([question.form for question in asked], lengths),
        "variant": pa.array(np.repeat([question.variant for question in asked], lengths), pa.int16()),
        "position": pa.array(np.concatenate([np.arange(length) for length in lengths]), pa.int32()),
    }
    integers = {"token_id", "rank", "top1_id"}
    for field in fields(TokenScores):
        values = np.concatenate([getattr(each, field.name) for each in scores])
        columns[field.name] = pa.array(values, pa.int32() if field.name in integers else pa.float32())
    return pa.table(columns)


def with_fact_ids(facts: pa.Table) -> pa.Table:
    """The facts with ``fact_id`` as a string; a table without one gets its row numbers, from 1.

    Raises:
        EvaluationInputError: two facts have the same one.
    """
    names = facts.column_names
    ids = [str(each) for each in (facts["fact_id"].to_pylist() if "fact_id" in names else range(1, facts.num_rows + 1))]
    if len(set(ids)) < len(ids):
        twice = next(each for each in ids if ids.count(each) > 1)
        raise EvaluationInputError(f"fact_id {twice!r} stands twice in the fact table; every fact needs one of its own")
    column = pa.array(ids)
    return (
        facts.set_column(names.index("fact_id"), "fact_id", column)
        if "fact_id" in names
        else facts.add_column(0, "fact_id", column)
    )
