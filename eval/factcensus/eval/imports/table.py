"""Import of outcomes from a user's table: CSV, JSON Lines or Parquet.

The long format has one row per fact and model: ``fact_id``, ``method`` (``original`` before unlearning), and ``match``
(whether the answer was given: true or false, 1 or 0, yes or no), ``log_probability``, or both. The wide format has one
row per fact and method: ``match_before`` and ``match_after``, or ``log_probability_before`` and
``log_probability_after``. If present, ``seed``, ``form`` (default: question), ``variant``, ``subject``, ``object``,
``relation``, ``role``, ``samples``, ``sample_matches``, counts and strata are taken from the table; other columns can
be joined from a fact table by ``fact_id``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from factcensus.eval.errors import EvaluationInputError
from factcensus.eval.imports.results import Imported, Source, unjoined
from factcensus.eval.names import AFTER, BEFORE, ORIGINAL
from factcensus.indexer.names import unknown_name
from factcensus.indexer.tables.columns import STRATUM_COLUMNS, TEXT_COLUMNS, is_count
from factcensus.indexer.tables.files import read_table
from factcensus.indexer.tables.restored import restored
from factcensus.indexer.tables.values import is_list, text_column

MEASURED = ("match", "log_probability", "samples", "sample_matches")
_KEY = ["seed", "method", "fact_id", "form", "variant"]
#: Numeric measures, besides the log-probabilities.
_NUMBERS = ("samples", "sample_matches", "answer_tokens", "rouge_l_recall", "rouge_l_f1", "token_f1")
_TRUE, _FALSE = ("true", "1", "1.0", "yes", "y", "t"), ("false", "0", "0.0", "no", "n", "f")


def read(sources: Sequence[Source], counted: pd.DataFrame | None, seed: int) -> Imported:
    """Read and concatenate all tables."""
    pieces = [_read(source, seed) for source in sources]
    facts = pd.concat(pieces, ignore_index=True)
    # In wide tables every method repeats the rows of the original model; they must agree.
    originals = facts["method"] == ORIGINAL
    values = facts[originals].groupby(_KEY)[list(MEASURED[:2])].nunique()
    if len(differing := values[(values > 1).any(axis=1)]):
        seed_of, _, fact_id, form, _ = differing.index[0]
        raise EvaluationInputError(
            f"the original model has several different outcomes for fact {fact_id!r} ({form}) at seed {seed_of}; "
            "import results of another original model as a separate run"
        )
    facts = facts[~(originals & facts.duplicated(_KEY))]
    notes = ["Imported from a table of outcomes."]
    if counted is not None:
        notes += unjoined(facts["fact_id"], counted)
        brought = [name for name in counted.columns if name == "fact_id" or name not in facts.columns]
        plain = [name for name in brought if not counted[name].map(lambda value: isinstance(value, list)).any()]
        facts = facts.merge(counted[plain], on="fact_id", how="left", validate="many_to_one")
    for name in ("subject", "object"):
        facts[name] = (facts[name] if name in facts.columns else facts["fact_id"]).fillna(facts["fact_id"]).astype(str)
    if not originals.any():
        raise EvaluationInputError(
            "there are no rows of the original model; add rows with method 'original', or the columns match_before and "
            "match_after"
        )
    return Imported(facts, notes=tuple(notes))


def _read(source: Source, seed: int) -> pd.DataFrame:
    frame = _frame(source.path)
    if source.method is not None:
        frame = frame.assign(method=source.method)
    if "fact_id" not in frame.columns:
        raise EvaluationInputError(f"{source.path} has no column 'fact_id'; its columns are {', '.join(frame.columns)}")
    if frame["fact_id"].isna().any():
        row = int(np.flatnonzero(frame["fact_id"].isna())[0]) + 1
        raise EvaluationInputError(f"{source.path}: row {row} has no fact_id")
    wide = [name for name in MEASURED if f"{name}_before" in frame.columns or f"{name}_after" in frame.columns]
    if wide:
        frame = _from_wide(frame, wide, source.path)
    elif not any(name in frame.columns for name in MEASURED[:2]):
        raise EvaluationInputError(
            f"{source.path} has no outcomes; it needs 'match' or 'log_probability', or these with _before and _after; "
            f"its columns are {', '.join(frame.columns)}"
        )
    if "method" not in frame.columns:
        raise EvaluationInputError(f"{source.path} has no column 'method'; add it, or write METHOD={source.path}")
    points = [BEFORE if method == ORIGINAL else AFTER for method in frame["method"]]
    if "point" in frame.columns:
        _check_points(frame, points, source.path)
    frame = frame.assign(point=points)
    defaults: dict[str, Any] = {"seed": seed, "form": "question", "variant": 0}
    for name, value in defaults.items():
        if name not in frame.columns:
            frame = frame.assign(**{name: value})
    return _typed(frame, source.path)


def _check_points(frame: pd.DataFrame, points: Sequence[str], path: Path) -> None:
    for row, (given, point) in enumerate(zip(frame["point"], points, strict=True), 1):
        if pd.notna(given) and given != point:
            raise EvaluationInputError(
                f"{path}: row {row} has the point {given!r} for the method {frame['method'].iloc[row - 1]!r}; the "
                f"point of {ORIGINAL!r} is {BEFORE!r}, and that of every other method {AFTER!r}; correct or remove it"
            )


def _check_values(frame: pd.DataFrame, path: Path) -> None:
    """Check forms and log-probabilities, whose wrong values would only show in the report."""
    from factcensus.eval.asking.questions import FORMS

    for form in frame["form"].unique():
        if form not in FORMS:
            raise unknown_name(f"form in {path}:", str(form), FORMS)
    for name in ("log_probability", "log_probability_mean"):
        above = frame[frame[name] > 1e-6]
        if len(above):
            raise EvaluationInputError(
                f"{path}, fact {above['fact_id'].iloc[0]!r}: {name} is {above[name].iloc[0]:g}, and the logarithm of a "
                "probability is at most 0; write losses with the opposite sign"
            )


def _frame(path: Path) -> pd.DataFrame:
    """Read a table: text unchanged, counts and measures as numbers, empty CSV cells as null."""
    table = read_table(path)
    for place, name in enumerate(table.column_names):
        if is_count(name) or name in STRATUM_COLUMNS:
            table = table.set_column(place, name, restored(table[name], name))
        elif name in TEXT_COLUMNS and not is_list(table.schema.field(name).type):
            table = table.set_column(place, name, text_column(table[name], name))
    frame: pd.DataFrame = table.to_pandas(ignore_metadata=True).replace({"": None})
    for name in _NUMBERS:
        if name in frame.columns:
            frame[name] = _numbers(frame[name], name, path)
    return frame


def _numbers(
    values: pd.Series[Any], name: str, path: Path, kind: Literal["int64", "float64"] | None = None
) -> pd.Series[Any]:
    """Return the numbers of a column, as a type of NumPy if ``kind`` names one."""
    try:
        numbers = pd.to_numeric(values)
        return numbers if kind is None else numbers.astype(kind)
    except (ValueError, TypeError) as error:
        what = "integers" if kind == "int64" else "numbers"
        raise EvaluationInputError(f"{path}: column {name!r} contains values that are not {what}: {error}") from None


def _from_wide(frame: pd.DataFrame, measured: Sequence[str], path: Path) -> pd.DataFrame:
    """Split wide rows into rows of the original model and rows of the method."""
    if missing := [
        f"{name}_{point}" for name in measured for point in (BEFORE, AFTER) if f"{name}_{point}" not in frame
    ]:
        raise EvaluationInputError(
            f"{path} lacks the column {missing[0]!r}; columns with _before and _after come in pairs"
        )
    if "method" not in frame.columns:
        frame = frame.assign(method="unlearned")
    others = [name for name in frame.columns if not name.endswith((f"_{BEFORE}", f"_{AFTER}"))]
    pieces = []
    for point in (BEFORE, AFTER):
        piece = frame[others].assign(**{name: frame[f"{name}_{point}"] for name in measured})
        pieces.append(piece.assign(method=ORIGINAL) if point == BEFORE else piece)
    return pd.concat(pieces, ignore_index=True)


def _typed(frame: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Convert matches to booleans and measures to numbers; missing values are null."""
    if "match" in frame.columns:
        words = frame["match"].map(lambda value: None if pd.isna(value) else str(value).strip().lower())
        odd = words[words.notna() & ~words.isin([*_TRUE, *_FALSE])]
        if len(odd):
            raise EvaluationInputError(
                f"{path}, fact {frame['fact_id'][odd.index[0]]!r}: match is {odd.iloc[0]!r}, not true or false (1 or 0)"
            )
        match = pd.Series([None if word is None else word in _TRUE for word in words], index=frame.index)
    else:
        match = pd.Series(None, index=frame.index, dtype=object)
    frame = frame.assign(match=match.astype("boolean"))
    for name in ("seed", "variant"):
        frame = frame.assign(**{name: _numbers(frame[name], name, path, "int64")})
    for name in ("log_probability", "log_probability_mean"):
        values = frame[name] if name in frame.columns else pd.Series(float("nan"), index=frame.index)
        frame = frame.assign(**{name: _numbers(values, name, path, "float64")})
    if "answer_tokens" in frame.columns:
        per_token = frame["log_probability"] / frame["answer_tokens"].astype(float)
        frame = frame.assign(log_probability_mean=frame["log_probability_mean"].fillna(per_token))
    frame = frame.assign(log_probability_mean=frame["log_probability_mean"].fillna(frame["log_probability"]))
    _check_values(frame, path)
    return frame
