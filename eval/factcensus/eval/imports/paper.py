"""Import of ``results.jsonl`` of the paper's code: one line per checkpoint, means only.

    {"checkpoint": "checkpoint_0", "tinyMMLU...": 0.4, "eval_forget_paraphrased": 0.6, "eval_retain": 0.8, ...}

``config.yaml`` in the same folder is the resolved configuration of the run, with its loss, seed, retain weight and
forget split (``forget_high_count``). These files list no facts, so slopes, intervals and the known-before filter are
unavailable. The means become ``aggregates.parquet``, which the report shows unchanged next to runs with facts.
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

#: The order of the splits by count.
STRATA = {"low": 0, "medium": 1, "high": 2}
NOTE = (
    "Imported from the paper's code: means over all facts of a split, including those not known before, without "
    "intervals. Its ROUGE recall covers prompt and continuation together, so words of the question count."
)


def read(sources: Sequence[Source], counted: pd.DataFrame | None, seed: int) -> Imported:
    """Read every ``results.jsonl`` in the sources and their subdirectories."""
    if counted is not None:
        raise EvaluationInputError(
            "results of the paper's code contain no single facts, so no fact table can be joined; omit --facts"
        )
    rows = []
    for source in sources:
        files = sorted(source.path.rglob("results.jsonl")) if source.path.is_dir() else [source.path]
        if not files:
            raise EvaluationInputError(f"there is no results.jsonl in {source.path} or its subdirectories")
        for path in files:
            rows += list(_rows(path, source.method, seed))
    return Imported(_no_facts(), pd.DataFrame(rows), (NOTE,))


def _no_facts() -> pd.DataFrame:
    """Return an empty facts.parquet, so that runs of means can be pooled with runs that have facts."""
    texts = ("method", "point", "fact_id", "form", "subject", "object")
    return pd.DataFrame(
        {
            "seed": pd.Series(dtype="int64"),
            "variant": pd.Series(dtype="int64"),
            **{name: pd.Series(dtype="string") for name in texts},
            "log_probability": pd.Series(dtype="float64"),
            "log_probability_mean": pd.Series(dtype="float64"),
            "match": pd.Series(dtype="boolean"),
        }
    )


def _rows(path: Path, method: str | None, seed: int) -> Iterator[dict[str, Any]]:
    """Yield one row per checkpoint and measure."""
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
                    "point": BEFORE if checkpoint == 0 else AFTER,
                    "checkpoint": checkpoint,
                    "is_last": checkpoint == lines[-1][0],
                    "measure": measure.removeprefix("eval_"),
                    "split": split,
                    "stratum": None if level is None else STRATA[level],
                    "stratum_label": level or split,
                    "value": float(value),
                    "source": str(path),
                }


def _lines(path: Path) -> list[tuple[int, dict[str, Any]]]:
    """Return the checkpoints in order; if one was evaluated twice, its last line counts."""
    found: dict[int, dict[str, Any]] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        record: dict[str, Any] = {}
        try:
            record = json.loads(line)
            step = re.fullmatch(r"checkpoint_(\d+)", str(record["checkpoint"]))
        except (ValueError, KeyError, TypeError, RecursionError):
            step = None
        if step is None:
            raise EvaluationInputError(
                f'{path}, line {number}: expected an object with "checkpoint": "checkpoint_N", as the paper\'s '
                "unlearn_eval.py writes it"
            )
        found[int(step[1])] = record
    if not found:
        raise EvaluationInputError(f"{path} is empty")
    return sorted(found.items())


def _config(folder: Path) -> Mapping[str, Any]:
    """Return the configuration in the folder of the results; empty if there is none."""
    import yaml

    path = folder / "config.yaml"
    if not path.is_file():
        return {}
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise EvaluationInputError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    return found if isinstance(found, Mapping) else {}


def _split_of(path: Path) -> str:
    """Return the split from the folder name, as in .../forget_high_count/checkpoints/results.jsonl."""
    return next((part for part in reversed(path.parts) if part.startswith("forget_")), "forget")
