"""What readers of other code's results are given and give."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd


@dataclass(frozen=True, slots=True)
class Source:
    """A file or folder, and the method its results are of; None where the file says so itself."""

    path: Path
    method: str | None = None


@dataclass(frozen=True, slots=True)
class Imported:
    """Tables of a run, and what a reader must know of them."""

    facts: pd.DataFrame
    aggregates: pd.DataFrame = field(default_factory=pd.DataFrame)
    notes: tuple[str, ...] = ()
