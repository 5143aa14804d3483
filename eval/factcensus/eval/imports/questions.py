"""Rows of facts.parquet from the results of a benchmark: one record per group, form and index of a question."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import pandas as pd

from factcensus.eval.asking.matching import match_answer
from factcensus.eval.errors import EvaluationInputError
from factcensus.eval.imports.results import Source
from factcensus.eval.names import AFTER, BEFORE, ORACLE, ORIGINAL

#: Groups of questions, and the role of their facts; no loss uses real authors (ra) and world facts (wf).
ROLES = {"forget": "forget", "retain": "retain", "ra": "bystander", "wf": "bystander", "holdout": "bystander"}

#: Columns that every summary reads.
_SCORES = ("log_probability", "log_probability_mean")

#: (group, form, index) of a question.
Key = tuple[str, str, str]
#: The measures of a question under the names of this package, with ``prompt``, ``answer`` and ``generation``.
Record = Mapping[str, Any]


def method_of(source: Source) -> str:
    """Return the method of a source, which its file does not state.

    Raises:
        EvaluationInputError: the source has no method.
    """
    if source.method is None:
        raise EvaluationInputError(
            f"{source.path} does not name its model; write METHOD={source.path}, original=PATH for the model before "
            f"unlearning, and {ORACLE}=PATH for the model trained without the forget set"
        )
    return source.method


def json_object(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file; empty for other JSON values.

    Raises:
        EvaluationInputError: the file cannot be read as JSON.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise EvaluationInputError(f"{path} is not JSON: {error}") from error
    return found if isinstance(found, dict) else {}


def single_file(path: Path, pattern: str) -> Path:
    """Return a file, or the only file of a folder that matches a pattern.

    Raises:
        EvaluationInputError: the folder has none or several.
    """
    if path.is_file():
        return path
    found = sorted(path.rglob(pattern))
    if len(found) != 1:
        raise EvaluationInputError(
            f"{path} has {len(found)} {pattern} files instead of one; give the path of the file to import"
        )
    return found[0]


def question_table(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return the rows as facts.parquet; columns that no question has are null numbers."""
    frame = pd.DataFrame(rows)
    missing = {name: float("nan") for name in _SCORES if name not in frame.columns}
    frame = frame.assign(**missing)
    return frame.astype(dict.fromkeys(_SCORES, "float64"))


def question_rows(
    records: Mapping[Key, Record], method: str, counted: pd.DataFrame | None, seed: int
) -> Iterator[dict[str, Any]]:
    """Yield one row per question; forget questions are joined with the fact table by their index."""
    # Null is None in every column: the NaN of pandas would become the text "nan".
    plain = pd.DataFrame() if counted is None else counted.astype(object).where(counted.notna(), None)
    rows: list[dict[Any, Any]] = plain.to_dict("records")
    table: dict[str, dict[str, Any]] = {row["fact_id"]: row for row in rows}
    for (group, form, index), record in records.items():
        fact = table.get(index, {}) if ROLES[group] == "forget" else {}
        truth = str(record.get("answer") or fact.get("answer") or fact.get("object") or "")
        name = f"{group}/{index}"
        yield {
            **{key: value for key, value in fact.items() if not isinstance(value, list)},
            "seed": seed,
            "method": method,
            "point": BEFORE if method == ORIGINAL else AFTER,
            "fact_id": name,
            "form": form,
            "variant": 0,
            "role": ROLES[group],
            "relation": str(fact.get("relation") or group),
            "subject": str(fact.get("subject") or name),
            "object": str(fact.get("object") or truth or name),
            **record,
            "answer": truth or None,
            **_matched(record.get("generation"), fact, truth),
        }


def _matched(generation: object, fact: Mapping[str, Any], truth: str) -> dict[str, Any]:
    """Return whether a generation contains the object, or the whole answer if the fact is unknown."""
    aliases = fact.get("object_aliases")
    accepted = [str(fact["object"])] if fact.get("object") else [truth]
    accepted += [str(each) for each in aliases] if aliases is not None else []
    match = match_answer(generation, tuple(accepted)) if isinstance(generation, str) else None
    return {
        "generation": generation,
        "match": None if match is None else match.contains,
        "exact_match": None if match is None else match.exact,
    }


def contrasted(
    right: float | None, wrong: Sequence[float], restated: float | None = None
) -> dict[str, float | int | None]:
    """Return the measures that compare the right answer with wrong ones, from losses in nats per token.

    Args:
        right: The loss of the answer, which the normalised probability uses.
        wrong: The losses of the wrong answers; empty if there are none.
        restated: The loss of a paraphrase of the answer, which the truth ratio uses if there is one.
    """
    base = right if restated is None else restated
    if base is None or not wrong or not all(map(math.isfinite, [base, *wrong])):
        return {}
    found: dict[str, float | int | None] = {
        "choices": len(wrong) + 1,
        "truth_ratio": _exp(base - fmean(wrong)),
        "truth_ratio_arithmetic": fmean(_exp(base - each) for each in wrong),
    }
    if right is not None and math.isfinite(right):
        found["probability_normalised"] = 1 / (1 + sum(_exp(right - each) for each in wrong))
    return found


def _exp(value: float) -> float:
    return math.exp(min(value, 700.0))  # larger ones overflow
