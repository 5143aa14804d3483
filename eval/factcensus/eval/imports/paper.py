"""``results.jsonl`` of the paper's code: a line a checkpoint, means only.

    {"checkpoint": "checkpoint_0", "tinyMMLU...": 0.4, "eval_forget_paraphrased": 0.6, "eval_retain": 0.8, ...}

Beside it lies ``config.yaml``, the run's resolved configuration: its loss, seed, retain weight and forget split
(``forget_high_count``). No fact stands in these files, so there are no slopes, intervals or known-before filter to be
had; the means become the table ``aggregates.parquet``, which the report shows as they are, beside runs that have facts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from factcensus.eval.errors import EvaluationInputError
from factcensus.eval.imports.results import Imported, Source
from factcensus.eval.names import AFTER, BEFORE

#: Order of their splits by count.
STRATA = {"low": 0, "medium": 1, "high": 2}
NOTE = (
    "Imported from the paper's code: means over all facts of a split, known before or not, without intervals. Its "
    "ROUGE recall is of prompt and continuation together, so words of the question count."
)


def read(sources: Sequence[Source], counted: pd.DataFrame | None, seed: int) -> Imported:
    """Every ``results.jsonl`` at or below the sources."""
    if counted is not None:
        raise EvaluationInputError("the paper's results have no facts to join a fact table to; leave --facts out")
    rows = []
    for source in sources:
        files = sorted(source.path.rglob("results.jsonl")) if source.path.is_dir() else [source.path]
        if not files:
            raise EvaluationInputError(f"there is no results.jsonl below {source.path}")
        for path in files:
            rows += list(_rows(path, source.method, seed))
    return Imported(_no_facts(), pd.DataFrame(rows), (NOTE,))


def _no_facts() -> pd.DataFrame:
    """A facts.parquet without rows, so that a run of means can be pooled with runs that have them."""
    texts = ("method", "point", "fact_id", "form", "subject", "object")
    return pd.DataFrame(
        {
            "seed": pd.Series(dtype="int64"), "variant": pd.Series(dtype="int64"),
            **{name: pd.Series(dtype="string") for name in texts},
            "log_probability": pd.Series(dtype="float64"), "log_probability_mean": pd.Series(dtype="float64"),
            "match": pd.Series(dtype="boolean"),
        }
    )  # fmt: skip


def _rows(path: Path, method: str | None, seed: int) -> Iterator[dict[str, Any]]:
    """A row a checkpoint and measure."""
    config = _config(path.parent)
    dataset = config.get("dataset") if isinstance(config.get("dataset"), Mapping) else {}
    split = str((dataset or {}).get("forget_split") or _split_of(path))
    level = next((name for name in STRATA if name in split.split("_")), None)
    lines = _lines(path)
    for checkpoint, record in lines:
        for measure, value in record.items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                yield {
                    "seed": int(config.get("seed", seed)),
                    "method": method or str(config.get("loss_type", "unknown")).lower(),
                    "point": BEFORE if checkpoint == 0 else AFTER, "checkpoint": checkpoint,
                    "is_last": checkpoint == lines[-1][0],
                    "measure": measure.removeprefix("eval_"), "split": split,
                    "stratum": None if level is None else STRATA[level], "stratum_label": level or split,
                    "value": float(value), "source": str(path),
                }  # fmt: skip


def _lines(path: Path) -> list[tuple[int, dict[str, Any]]]:
    """Checkpoints in order; the last line of a checkpoint that was evaluated twice stands."""
    found: dict[int, dict[str, Any]] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        record: dict[str, Any] = {}
        try:
            record = json.loads(line)
            step = re.fullmatch(r"checkpoint_(\d+)", str(record["checkpoint"]))
        except (ValueError, KeyError, TypeError):
            step = None
        if step is None:
            raise EvaluationInputError(
                f'{path}, line {number}: expected an object with "checkpoint": "checkpoint_N", as the paper\'s '
                "unlearn_eval.py writes it"
            )
        found[int(step[1])] = record
    if not found:
        raise EvaluationInputError(f"{path} has no line")
    return sorted(found.items())


def _config(folder: Path) -> Mapping[str, Any]:
    """The configuration beside the results; empty without one."""
    import yaml

    path = folder / "config.yaml"
    if not path.is_file():
        return {}
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise EvaluationInputError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    return found if isinstance(found, Mapping) else {}


def _split_of(path: Path) -> str:
    """The split by the folder's name: .../forget_high_count/checkpoints/results.jsonl."""
    return next((part for part in reversed(path.parts) if part.startswith("forget_")), "forget")
