"""The input and output of the readers of imported results."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd


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
