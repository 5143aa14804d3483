"""Import of ``eval_log_aggregated.json`` of the TOFU code: one object per set, each with measures by question.

    {"eval_log_forget.json": {"avg_gt_loss": {"0": 1.8, ...}, "gt_loss": {"0": 31.2, ...},
                              "num_token_gt": {"0": 17, ...},
                              "generated_text": {"0": ["the prompt", "the continuation", "the answer"], ...},
                              "rougeL_recall": {"0": 0.7, ...}, "avg_paraphrased_loss": {"0": 4.0, ...},
                              "average_perturb_loss": {"0": [3.3, 3.7, ...], ...}, ...},
     "eval_log.json": {...}, "eval_real_author_wo_options.json": {...}, "eval_real_world_wo_options.json": {...}}

The four sets become the groups forget, retain, ra and wf of :mod:`factcensus.eval.imports.questions`. Forget quality
and model utility are not in these files; the report computes them from the rows (``retrained=PATH`` names the model
trained without the forget set). Results of two processes, whose values are lists, have no order and are refused.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from factcensus.eval.errors import EvaluationInputError
from factcensus.eval.imports.questions import (
    Key,
    contrasted,
    json_object,
    method_of,
    question_rows,
    question_table,
    single_file,
)
from factcensus.eval.imports.results import Imported, Source, unjoined

FILE = "eval_log_aggregated.json"
SETS = {
    "eval_log_forget.json": "forget",
    "eval_log.json": "retain",
    "eval_real_author_wo_options.json": "ra",
    "eval_real_world_wo_options.json": "wf",
}
NOTE = (
    "Imported from the TOFU code. Log-probabilities include the end-of-text token. Truth ratios divide by a paraphrase "
    "of the answer. Matches were computed from the generations in the file; ROUGE recall is theirs, with a stemmer."
)


def read(sources: Sequence[Source], counted: pd.DataFrame | None, seed: int) -> Imported:
    """Read one file per model; each needs a method name, and ``original`` is the model before unlearning."""
    rows: list[dict[str, Any]] = []
    for source in sources:
        method, path = method_of(source), single_file(source.path, FILE)
        rows += question_rows(_records(path), method, counted, seed)
    notes = [NOTE]
    if counted is not None:
        notes += unjoined([row["fact_id"].rpartition("/")[2] for row in rows if row["role"] == "forget"], counted)
    return Imported(question_table(rows), notes=tuple(notes))


def _records(path: Path) -> dict[Key, dict[str, Any]]:
    """Collect the measures of every question by (group, form, index)."""
    logs = json_object(path)
    found: dict[Key, dict[str, Any]] = {}
    for name, group in SETS.items():
        measures = logs.get(name)
        if not isinstance(measures, dict):
            continue
        losses = measures.get("avg_gt_loss")
        if isinstance(losses, list):
            raise EvaluationInputError(
                f"{path}: the values of {name} are lists without question numbers (results of several processes); "
                "merge them with the TOFU code first"
            )
        for index in losses if isinstance(losses, dict) else ():
            found[group, "question", str(index)] = _measured(measures, index)
    if not found:
        raise EvaluationInputError(
            f"{path} has none of the sets {', '.join(SETS)} with avg_gt_loss; its entries: "
            f"{', '.join(map(str, logs)) or 'none'}"
        )
    return found


def _measured(measures: Mapping[str, Any], index: str) -> dict[str, Any]:
    """Return the measures of one question in the columns of this package."""

    def of(name: str) -> Any:
        values = measures.get(name)
        return values.get(index) if isinstance(values, dict) else None

    loss = _number(of("avg_gt_loss"))
    total = _number(of("gt_loss"))
    text = of("generated_text")
    wrong = [_number(each) for each in of("average_perturb_loss") or ()]
    known = [each for each in wrong if each is not None]
    prompt, generation, answer = text if isinstance(text, list) and len(text) == 3 else (None, None, None)
    return {
        "prompt": prompt,
        "generation": generation,
        "answer": None if answer is None else str(answer).strip(),
        "answer_tokens": of("num_token_gt"),
        "log_probability": None if total is None else -total,
        "log_probability_mean": None if loss is None else -loss,
        "probability": None if loss is None else math.exp(-loss),
        "rouge_l_recall": of("rougeL_recall"),
        **(contrasted(loss, known, _number(of("avg_paraphrased_loss"))) if len(known) == len(wrong) else {}),
    }


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
