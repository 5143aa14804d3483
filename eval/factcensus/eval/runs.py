"""Read run folders, pool several of them, and summarise the result."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from factcensus.eval.errors import EvaluationInputError
from factcensus.eval.names import COUNT, ORIGINAL
from factcensus.eval.passages import Passages
from factcensus.eval.summary import json_ready, summarise
from factcensus.indexer.paths import not_found
from factcensus.unlearn.run_folder import finished_cells, read_record

_ORIGINAL_KEY = ["seed", "method", "point", "fact_id", "form", "variant"]
#: Largest difference in a log-probability (nats) between evaluations of the same model on different hardware.
_SAME_MODEL_NATS = 0.05
#: Optional tables.
_MORE = ("steps", "attacks", "utility", "aggregates")


@dataclass(frozen=True, slots=True)
class Run:
    """One run or several pooled runs: folders, run.json of each folder, and the tables.

    Attributes:
        attacks, utility, aggregates: Empty if the run has none; aggregates are imported means.
        passages: A service that returns passages of the corpus, or None.
    """

    folders: tuple[Path, ...]
    records: tuple[Mapping[str, Any], ...]
    facts: pd.DataFrame
    steps: pd.DataFrame
    attacks: pd.DataFrame = field(default_factory=pd.DataFrame)
    utility: pd.DataFrame = field(default_factory=pd.DataFrame)
    aggregates: pd.DataFrame = field(default_factory=pd.DataFrame)
    passages: Passages | None = None

    @property
    def count_column(self) -> str:
        """Return the count column used in all comparisons; pooled runs share one."""
        return count_column_of(self.records[0]) if self.records else COUNT


def read_run(folder: Path) -> Run:
    """Read a finished run folder.

    Raises:
        EvaluationInputError: a file is missing or cannot be read.
    """
    if not folder.is_dir():
        raise EvaluationInputError(not_found("run folder", folder))
    if not (folder / "run.json").is_file():
        inside = sorted(each.parent for each in folder.glob("*/run.json"))
        raise EvaluationInputError(
            f"{folder} is a folder of runs; give them, such as {inside[0]}"
            if inside
            else f"{folder} is not a run folder, or its run has not begun: it has no run.json"
        )
    if read_record(folder).get("kind") == "audit":
        raise EvaluationInputError(f"{folder} is an audit, not a run; open {folder / 'report.html'}")
    if not (folder / "facts.parquet").is_file():
        raise EvaluationInputError(
            f"{folder} has no facts.parquet, so the run is not finished; is it still in progress?"
        )
    try:
        record = read_record(folder)
        facts = _read_parquet(folder / "facts.parquet")
        more: dict[str, Any] = {name: _read_if_there(folder / f"{name}.parquet") for name in _MORE}
    except (OSError, ValueError, RecursionError) as error:
        raise EvaluationInputError(f"cannot read {folder}: {error}") from error
    if missing := [name for name in ("seed", "method", "point") if name not in facts.columns]:
        raise EvaluationInputError(f"{folder / 'facts.parquet'} lacks the columns {', '.join(missing)}")
    return Run((folder,), (record,), _with_count(facts, count_column_of(record)), **more)


def with_passages(run: Run, url: str, index: str | None) -> Run:
    """Return the run with a service that returns passages of the corpus.

    Args:
        index: Name of the index in the service; by default the index that the facts were counted with.

    Raises:
        EvaluationInputError: no name is given, and the facts name no index or several.
    """
    if index is None:
        names = sorted(run.facts["index"].dropna().unique()) if "index" in run.facts.columns else []
        if len(names) != 1:
            raise EvaluationInputError(
                f"the facts were counted with {'several indexes' if names else 'an unknown index'}"
                f"{' (' + ', '.join(names) + ')' if names else ''}; name one with --index"
            )
        index = str(names[0])
    return replace(run, passages=Passages(url, index))


def count_column_of(record: Mapping[str, Any]) -> str:
    """Return the count column that the weights, strata and matching of a run follow; the evaluation uses the same."""
    selection = (record.get("config") or {}).get("selection") or {}
    return str(record.get("count_column") or selection.get("count_column") or COUNT)


def _with_count(facts: pd.DataFrame, column: str) -> pd.DataFrame:
    """Return the facts with the count of the run in the column that the statistics read; null if the run has no counts.

    Raises:
        EvaluationInputError: the column contains other values than numbers.
    """
    if column == COUNT:
        return facts
    if column not in facts.columns:
        return facts.assign(**{COUNT: float("nan")})
    try:
        return facts.assign(**{COUNT: pd.to_numeric(facts[column])})
    except (ValueError, TypeError) as error:
        raise EvaluationInputError(f"count column {column!r} contains values that are not numbers: {error}") from None


def _read_if_there(path: Path) -> pd.DataFrame:
    return _read_parquet(path) if path.is_file() else pd.DataFrame()


def read_summary(path: Path) -> dict[str, Any]:
    """Read the summary of a finished run folder, or a summary.json; compute it from the tables if the file is missing.

    Raises:
        EvaluationInputError: there is neither a summary nor a run, or it cannot be read.
    """
    if not path.exists():
        raise EvaluationInputError(not_found("run folder or summary", path))
    file = path / "summary.json" if path.is_dir() else path
    if path.is_dir() and not file.is_file():
        return summary_of(read_run(path))
    try:
        summary = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise EvaluationInputError(f"cannot read {file} as a summary: {error}") from error
    if not isinstance(summary, dict) or "methods" not in summary:
        raise EvaluationInputError(f"{file} is not the summary of a run: it has no 'methods'")
    return summary


def _read_parquet(path: Path) -> pd.DataFrame:
    """Read a table with nullable booleans, and with text as Python objects because it is only compared and grouped."""
    types = {"bool": pd.BooleanDtype(), "string": pd.StringDtype("python")}
    frame: pd.DataFrame = pq.read_table(path).to_pandas(types_mapper=lambda kind: types.get(str(kind)))
    return frame


def pool_runs(runs: Sequence[Run]) -> Run:
    """Pool several runs. They may share a seed (other methods on the same model) or a method (other seeds).

    Raises:
        EvaluationInputError: two runs have the same method at the same seed, or different original models or no fact in
            common at one seed; or their counts come from different analyzers or columns and are not comparable.
    """
    _check_same_facts(runs)
    seen: dict[tuple[int, str], Path] = {}
    for run in runs:
        for seed, method in run.facts[["seed", "method"]].drop_duplicates().itertuples(index=False):
            if method != ORIGINAL and (seed, method) in seen:
                raise EvaluationInputError(
                    f"{seen[seed, method]} and {run.folders[0]} both have method {method!r} at seed {seed}; "
                    "pool runs that differ in seed or method"
                )
            seen[seed, method] = run.folders[0]
    columns = sorted({run.count_column for run in runs})
    if len(columns) > 1:
        raise EvaluationInputError(f"the runs have different count columns ({', '.join(columns)})")
    tables = [run.facts for run in runs if len(run.facts)] or [run.facts for run in runs][:1]
    facts = pd.concat(tables, ignore_index=True)
    if "analyzer" in facts.columns and len(analyzers := sorted(facts["analyzer"].dropna().unique())) > 1:
        raise EvaluationInputError(f"the counts of the runs come from different analyzers ({', '.join(analyzers)})")
    tables_of = {name: [table for run in runs if len(table := getattr(run, name))] for name in _MORE}
    more: dict[str, Any] = {
        name: pd.concat(found, ignore_index=True) if found else pd.DataFrame() for name, found in tables_of.items()
    }
    return Run(
        tuple(folder for run in runs for folder in run.folders),
        tuple(record for run in runs for record in run.records),
        _one_original_a_seed(facts),
        **more,
    )


def _check_same_facts(runs: Sequence[Run]) -> None:
    """Check that the original models at one seed were asked about at least one common fact.

    Raises:
        EvaluationInputError: two runs ask different facts, such as those of a benchmark and those of a fact table.
    """
    asked: dict[int, tuple[Path, set[str]]] = {}
    for run in runs:
        originals = run.facts[run.facts["method"] == ORIGINAL]
        for seed, rows in originals.groupby("seed"):
            folder, facts = run.folders[0], set(rows["fact_id"])
            other, known = asked.setdefault(int(str(seed)), (folder, facts))
            if not facts & known:
                raise EvaluationInputError(f"{other} and {folder} ask different facts; pool runs of the same facts")


def _one_original_a_seed(facts: pd.DataFrame) -> pd.DataFrame:
    """Keep the rows of the original model once per seed, after checking that all runs at a seed started from the same
    model.
    """
    is_original = facts["method"] == ORIGINAL
    originals = facts[is_original]
    again = originals.duplicated(_ORIGINAL_KEY)
    values = originals.groupby(_ORIGINAL_KEY)["log_probability"].agg(["min", "max"])
    if again.any() and (differing := values[values["max"] - values["min"] > _SAME_MODEL_NATS]).size:
        seed, _, _, fact_id, *_ = differing.index[0]
        raise EvaluationInputError(
            f"the runs at seed {seed} start from different models: the original's log-probability of fact {fact_id!r} "
            f"is {differing['min'].iloc[0]:.3f} and {differing['max'].iloc[0]:.3f} nats"
        )
    return facts.drop(index=originals.index[again])


def summary_of(run: Run, *, seconds: float | None = None) -> dict[str, Any]:
    """Summarise a run; ``seconds`` defaults to the total recorded in the run folders."""
    total = _seconds(run) if seconds is None else seconds
    summary: dict[str, Any] = json_ready(summarise(run.facts, seconds=total, aucs=_imported_aucs(run.aggregates)))
    failed = [each for record in run.records for each in record.get("failed") or ()]
    return summary | {"count_column": run.count_column, "failed": failed}


def _imported_aucs(aggregates: pd.DataFrame) -> dict[tuple[str, int], float]:
    """Return the membership AUC of min-k that OpenUnlearning reported, by method and seed."""
    if not len(aggregates):
        return {}
    found = aggregates[aggregates["measure"] == "mia_min_k"]
    return {
        (str(row["method"]), int(row["seed"])): float(row["value"])
        for row in found[["method", "seed", "value"]].to_dict("records")
    }


def parameters_of(run: Run) -> int | None:
    """Return the number of parameters of the original model, or None unless all records agree on one number."""
    records = [each for record in run.records for each in (record, *record.get("runs", ()))]
    sizes = {size for each in records if (size := (each.get("model") or {}).get("parameters")) is not None}
    return int(sizes.pop()) if len(sizes) == 1 else None


def _seconds(run: Run) -> float | None:
    """Return the wall seconds of the runs: from run.json, or else summed over their finished cells; None if unknown."""
    total = 0.0
    for folder, record in zip(run.folders, run.records, strict=True):
        if isinstance(record.get("seconds"), int | float):
            total += record["seconds"]
            continue
        total += sum(float(cell.done().get("wall_seconds", 0.0)) for cell in finished_cells(folder))
    return total or None
