"""Import of OpenUnlearning's ``*_EVAL.json``: metrics by name, each with ``value_by_index``, one record per question.

    {"forget_Q_A_Prob":  {"agg_value": 0.1, "value_by_index": {"0": {"prob": 0.1, "avg_loss": 2.3}, ...}},
     "forget_Q_A_PERT_Prob": {"agg_value": 0.1, "value_by_index": {"0": {"prob": [0.1, ...], "avg_loss": [2.3, ...]}}},
     "forget_Q_A_ROUGE": {"agg_value": 0.4, "value_by_index": {"0": {"rougeL_recall": 0.5, "rougeL_f1": 0.4,
                          "input": "...", "ground_truth": "...", "generation": "..."}, ...}},
     "mia_min_k": {"agg_value": 0.5, "auc": 0.5, "forget": {...}, "holdout": {...}},
     "model_utility": {"agg_value": 0.6}, ...}

The import takes the average loss of an answer, its greedy generation with the ROUGE scores, and exact memorisation; the
truth ratios and the normalised probability are computed from the losses of the wrong answers. Matches are computed
again from the generation with the rules of this package. Extraction strength is left out, because OpenUnlearning's
cannot be lower than one over the number of answer tokens. Its loss is a mean over tokens, including the end-of-text
token, and the file does not contain the number of tokens. After an import, log-probabilities and their slopes are
therefore *per token*. Every ``agg_value`` is kept as an imported mean.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from factcensus.eval.errors import EvaluationInputError
from factcensus.eval.imports.questions import (
    ROLES,
    Key,
    contrasted,
    json_object,
    method_of,
    question_rows,
    question_table,
    single_file,
)
from factcensus.eval.imports.results import Imported, Source, mean_row, unjoined

#: Middle part of the metric names, and the form of asking that it means.
FORMS = {"Q_A": "question", "Q_A_PARA": "paraphrase", "knowmem": "question", "verbmem": "document"}
_NAME = re.compile(rf"({'|'.join(ROLES)})_({'|'.join(FORMS)})_(Prob|ROUGE)")
_WRONG = re.compile(rf"({'|'.join(ROLES)})_Q_A_PERT_Prob")
_MEMORISATION = re.compile(rf"({'|'.join(ROLES)})_exact_memorization|exact_memorization")
NOTE = (
    "Imported from OpenUnlearning. Log-probabilities and their slopes are in nats per token, including the end-of-text "
    "token. Matches were computed from the generations in the file."
)
#: Fields of a record, and the column that holds them.
_COLUMNS = {
    "input": "prompt",
    "ground_truth": "answer",
    "generation": "generation",
    "rougeL_recall": "rouge_l_recall",
    "rougeL_f1": "rouge_l_f1",
    "score": "exact_memorisation",
}


def read(sources: Sequence[Source], counted: pd.DataFrame | None, seed: int) -> Imported:
    """Read one file per model; each needs a method name, and ``original`` is the model before unlearning."""
    rows: list[dict[str, Any]] = []
    means: list[dict[str, Any]] = []
    for source in sources:
        method, path = method_of(source), single_file(source.path, "*_EVAL.json")
        metrics = json_object(path)
        rows += question_rows(_records(metrics, path), method, counted, seed)
        means += [mean_row(method, seed, *each, path) for each in _means(metrics)]
    notes = [NOTE]
    if counted is not None:
        notes += unjoined([row["fact_id"].rpartition("/")[2] for row in rows if row["role"] == "forget"], counted)
    return Imported(question_table(rows), pd.DataFrame(means), tuple(notes))


def _means(metrics: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Yield the name and value of every mean in the file."""
    for name, metric in metrics.items():
        value = metric.get("agg_value") if isinstance(metric, dict) else None
        if isinstance(value, int | float) and math.isfinite(value):
            yield name, float(value)


def _records(metrics: Mapping[str, Any], path: Path) -> dict[Key, dict[str, Any]]:
    """Collect all values of the file by (group, form, index)."""
    found: dict[Key, dict[str, Any]] = {}
    for name, metric in metrics.items():
        if match := _NAME.fullmatch(name):
            group, form = match[1], FORMS[match[2]]
        elif match := _MEMORISATION.fullmatch(name):
            group, form = match[1] or "forget", "question"
        else:
            continue
        for index, record in _by_index(metric):
            found.setdefault((group, form, index), {}).update(_measured(record))
    if not found:
        raise EvaluationInputError(
            f"{path} has no metric per question, such as forget_Q_A_Prob or forget_Q_A_ROUGE with value_by_index; its "
            f"metrics: {', '.join(map(str, metrics)) or 'none'} (*_SUMMARY.json has means only; give *_EVAL.json)"
        )
    for name, metric in metrics.items():
        if match := _WRONG.fullmatch(name):
            for index, record in _by_index(metric):
                _add_contrast(found, match[1], index, record.get("avg_loss"))
    return found


def _by_index(metric: object) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the records of a metric; a record is null if their tokenizer left no answer."""
    values = metric.get("value_by_index") if isinstance(metric, dict) else None
    for index, record in (values if isinstance(values, dict) else {}).items():
        if isinstance(record, dict):
            yield str(index), record


def _measured(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return one record in the columns of this package; lists belong to several answers."""
    plain = {name: value for name, value in record.items() if not isinstance(value, list)}
    measured = {column: plain[name] for name, column in _COLUMNS.items() if name in plain}
    loss = _loss(plain.get("avg_loss"))
    if "avg_loss" in plain:
        mean = None if loss is None else -loss
        measured |= {"log_probability": mean, "log_probability_mean": mean}
        measured["probability"] = None if mean is None else math.exp(mean)
    return measured


def _add_contrast(found: dict[Key, dict[str, Any]], group: str, index: str, wrong: object) -> None:
    """Add the comparison with the wrong answers to a question, as TOFU computes it for this group."""
    losses = [_loss(each) for each in (wrong if isinstance(wrong, list) else [wrong])]
    right, restated = (
        found.get((group, form, index), {}).get("log_probability_mean") for form in ("question", "paraphrase")
    )
    known = [loss for loss in losses if loss is not None]
    if len(known) == len(losses):
        measures = contrasted(_opposite(right), known, _opposite(restated))
        if measures:
            found.setdefault((group, "question", index), {}).update(measures)


def _opposite(value: float | None) -> float | None:
    return None if value is None else -value


def _loss(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
