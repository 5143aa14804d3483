"""The input and output of the readers of imported results."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from factcensus.eval.errors import EvaluationInputError
from factcensus.eval.names import AFTER, BEFORE, ORIGINAL


@dataclass(frozen=True, slots=True)
class Source:
    """A file or folder with the method of its results; None if the file states the method itself."""

    path: Path
    method: str | None = None


@dataclass(frozen=True, slots=True)
class Imported:
    """The tables of an imported run, and notes for its readers."""

    facts: pd.DataFrame
    aggregates: pd.DataFrame = field(default_factory=pd.DataFrame)
    notes: tuple[str, ...] = ()


def mean_row(method: str, seed: int, measure: str, value: float, source: Path) -> dict[str, Any]:
    """Return a row of aggregates.parquet for a mean without checkpoints and strata."""
    return {
        "method": method,
        "seed": seed,
        "point": BEFORE if method == ORIGINAL else AFTER,
        "checkpoint": 0,
        "is_last": True,
        "measure": measure,
        "split": "",
        "stratum": None,
        "stratum_label": None,
        "value": value,
        "source": str(source),
    }


def unjoined(ids: Iterable[str], counted: pd.DataFrame) -> list[str]:
    """Return a note on results whose fact is not in the fact table, and so has no counts.

    Args:
        ids: The ids of the results that are joined with the fact table.
        counted: The fact table.

    Raises:
        EvaluationInputError: none of them is.
    """
    asked, known = dict.fromkeys(map(str, ids)), set(map(str, counted["fact_id"]))
    unknown = [each for each in asked if each not in known]
    if not unknown:
        return []
    if len(unknown) == len(asked):
        raise EvaluationInputError(
            f"no result has a fact_id of the fact table: the results have ids such as {unknown[0]!r}, the table "
            f"{counted['fact_id'].iloc[0]!r}; ids must be equal as texts (007 is not 7)"
        )
    return [
        f"{len(unknown):,} of {len(asked):,} facts are not in the fact table and have no counts (such as "
        f"{unknown[0]!r})."
    ]
