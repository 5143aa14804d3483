"""Import of OpenUnlearning's ``*_EVAL.json``: metrics by name, each with ``value_by_index``, one record per question.

    {"forget_Q_A_Prob":  {"agg_value": 0.1, "value_by_index": {"0": {"prob": 0.1, "avg_loss": 2.3}, ...}},
     "forget_Q_A_ROUGE": {"agg_value": 0.4, "value_by_index": {"0": {"rougeL_recall": 0.5, "rougeL_f1": 0.4,
                          "input": "...", "ground_truth": "...", "generation": "..."}, ...}}, ...}

The import takes the average loss of an answer, its greedy generation with the ROUGE scores, and exact memorisation.
Matches are computed again from the generation with the rules of this package. Extraction strength is left out, because
OpenUnlearning's cannot be lower than one over the number of answer tokens. Its loss is a mean over tokens, including
the end-of-text token, and the file does not contain the number of tokens. After an import, log-probabilities and their
slopes are therefore *per token*.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from factcensus.eval.asking.matching import match_answer
from factcensus.eval.errors import EvaluationInputError
from factcensus.eval.imports.results import Imported, Source, unjoined
from factcensus.eval.names import AFTER, BEFORE, ORIGINAL

#: Prefixes of the metric names, and the role of the facts; no loss uses real authors and world facts.
ROLES = {"forget": "forget", "retain": "retain", "ra": "bystander", "wf": "bystander", "holdout": "bystander"}
#: Middle part of the metric names, and the form of asking that it means.
FORMS = {"Q_A": "question", "Q_A_PARA": "paraphrase", "knowmem": "question", "verbmem": "document"}
_NAME = re.compile(rf"({'|'.join(ROLES)})_({'|'.join(FORMS)})_(Prob|ROUGE)")
_MEMORISATION = re.compile(rf"({'|'.join(ROLES)})_exact_memorization|exact_memorization")
NOTE = (
    "Imported from OpenUnlearning. Log-probabilities and their slopes are in nats per token, including the end-of-text "
    "token. Matches were computed from the generations in the file."
)


def read(sources: Sequence[Source], counted: pd.DataFrame | None, seed: int) -> Imported:
    """Read one file per model; each needs a method name, and ``original`` is the model before unlearning."""
    rows = []
    for source in sources:
        if source.method is None:
            raise EvaluationInputError(
                f"{source.path} does not name its model; write METHOD={source.path}, and original=PATH for "
                "the model before unlearning"
            )
        for path in _files(source.path):
            rows += list(_rows(path, source.method, counted, seed))
    notes = [NOTE]
    if counted is not None:
        notes += unjoined([row["fact_id"].rpartition("/")[2] for row in rows if row["role"] == "forget"], counted)
    return Imported(pd.DataFrame(rows), notes=tuple(notes))


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    found = sorted(path.rglob("*_EVAL.json"))
    if len(found) != 1:
        raise EvaluationInputError(
            f"{path} has {len(found)} *_EVAL.json files instead of one; give the path of the file to import"
        )
    return found


def _rows(path: Path, method: str, counted: pd.DataFrame | None, seed: int) -> Iterator[dict[str, Any]]:
    records = _records(path)
    # Null is None in every column: the NaN of pandas would become the text "nan".
    plain = pd.DataFrame() if counted is None else counted.astype(object).where(counted.notna(), None)
    rows: list[dict[Any, Any]] = plain.to_dict("records")
    table: dict[str, dict[str, Any]] = {row["fact_id"]: row for row in rows}
    point = BEFORE if method == ORIGINAL else AFTER
    for (group, form, index), found in records.items():
        fact = table.get(index, {}) if ROLES[group] == "forget" else {}
        truth = str(found.get("ground_truth") or fact.get("answer") or fact.get("object") or "")
        name = f"{group}/{index}"
        yield {
            **{key: value for key, value in fact.items() if not isinstance(value, list)},
            "seed": seed,
            "method": method,
            "point": point,
            "fact_id": name,
            "form": form,
            "variant": 0,
            "role": ROLES[group],
            "relation": str(fact.get("relation") or group),
            "subject": str(fact.get("subject") or name),
            "object": str(fact.get("object") or truth or name),
            "prompt": found.get("input"),
            "answer": truth or None,
            **_measured(found, fact, truth),
        }


def _measured(found: Mapping[str, Any], fact: Mapping[str, Any], truth: str) -> dict[str, Any]:
    """Return the measures of one question in the columns of this package."""
    loss = found.get("avg_loss")
    mean = -float(loss) if isinstance(loss, int | float) and math.isfinite(loss) else None
    aliases = fact.get("object_aliases")
    accepted = [str(fact["object"])] if fact.get("object") else [truth]
    accepted += [str(each) for each in aliases] if aliases is not None else []
    match = None
    if isinstance(found.get("generation"), str):
        match = match_answer(found["generation"], tuple(accepted))
    return {
        "log_probability": mean,
        "log_probability_mean": mean,
        "generation": found.get("generation"),
        "match": None if match is None else match.contains,
        "exact_match": None if match is None else match.exact,
        "rouge_l_recall": found.get("rougeL_recall"),
        "rouge_l_f1": found.get("rougeL_f1"),
        "exact_memorisation": found.get("score"),
    }


def _records(path: Path) -> dict[tuple[str, str, str], dict[str, Any]]:
    """Collect all values of the file by (group, form, index)."""
    try:
        metrics = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise EvaluationInputError(f"{path} is not JSON: {error}") from error
    found: dict[tuple[str, str, str], dict[str, Any]] = {}
    names = metrics if isinstance(metrics, dict) else {}
    for name, metric in names.items():
        if not isinstance(metric, dict) or not isinstance(metric.get("value_by_index"), dict):
            continue
        if match := _NAME.fullmatch(name):
            group, form = match[1], FORMS[match[2]]
        elif match := _MEMORISATION.fullmatch(name):
            group, form = match[1] or "forget", "question"
        else:
            continue
        for index, record in metric["value_by_index"].items():
            if isinstance(record, dict):  # null if their tokenizer left no answer
                plain = {key: value for key, value in record.items() if not isinstance(value, list)}
                found.setdefault((group, form, str(index)), {}).update(plain)
    if not found:
        raise EvaluationInputError(
            f"{path} has no metric per question, such as forget_Q_A_Prob or forget_Q_A_ROUGE with value_by_index; its "
            f"metrics: {', '.join(map(str, names)) or 'none'} (*_SUMMARY.json has means only; give *_EVAL.json)"
        )
    return found
