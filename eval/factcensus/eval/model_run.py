"""Evaluating models without unlearning anything: one model, or those that a run has kept, into a run folder."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from factcensus.eval.errors import EvaluationInputError
from factcensus.eval.evaluator import StandardEvaluator, with_fact_ids
from factcensus.eval.names import AFTER, BEFORE, ORIGINAL
from factcensus.indexer import write_table
from factcensus.unlearn.progress import Progress, ProgressFunction, silent
from factcensus.unlearn.run_folder import write_json

TABLES = ("facts", "tokens", "steps")
LIBRARIES = ("factcensus", "torch", "transformers", "tokenizers", "numpy", "pyarrow")
#: Columns that hold counts; a CSV cell has no type, so they may arrive as texts.
_COUNTS = ("cooccurrence_documents", "object_documents", "subject_documents", "stratum", "stratum_low", "stratum_high")


@dataclass(frozen=True, slots=True)
class ModelToAsk:
    """A model by folder or name, and what it is called in the tables."""

    model: str
    method: str = ORIGINAL

    @property
    def point(self) -> str:
        """The original model is asked before unlearning, every other one after."""
        return BEFORE if self.method == ORIGINAL else AFTER


def models_of(run_or_model: str) -> tuple[list[ModelToAsk], dict[str, Any] | None]:
    """The models behind a path: those of a run folder with the run's record, or one model.

    Raises:
        EvaluationInputError: the run kept no models.
    """
    folder = Path(run_or_model)
    if not (folder / "run.json").is_file():
        return [ModelToAsk(run_or_model)], None
    record: dict[str, Any] = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    kept = [ModelToAsk(str(path), path.parent.name) for path in sorted(folder.glob("cells/*/model"))]
    config = record.get("config") or {}
    if not kept or "model" not in config:
        raise EvaluationInputError(
            f"{folder} kept no models to evaluate; run it with save_models = true, or give a model's folder"
        )
    return [ModelToAsk(str(config["model"])), *kept], record


def evaluate_models(
    models: Sequence[ModelToAsk],
    facts: pa.Table,
    out: Path,
    *,
    seed: int = 0,
    template: str = "plain",
    device: str = "auto",
    threads: int | None = None,
    evaluator: StandardEvaluator | None = None,
    progress: ProgressFunction = silent,
) -> Path:
    """Ask each model every question of a fact table, and write a run folder's tables and record.

    A finished folder of the same models and facts is left as it is.

    Raises:
        EvaluationInputError: ``out`` holds something else.
        ConfigError, ExampleError: a model cannot be loaded, or a fact cannot be asked.
    """
    import torch

    from factcensus.unlearn.models import load_model, load_tokenizer, model_digest
    from factcensus.unlearn.runtime import resolve_device, torch_threads

    evaluator = evaluator or StandardEvaluator()
    facts = with_counts_as_numbers(with_fact_ids(facts))
    place = resolve_device(device)
    digests = {each.method: model_digest(each.model, None) for each in models}
    identity = {
        "models": digests,
        "facts": _digest(facts),
        "template": template,
        "seed": seed,
        "paraphrases": evaluator.paraphrases,
    }
    if _is_finished(out, identity):
        return out
    begun = time.monotonic()
    pieces: dict[str, list[pa.Table]] = {"facts": [], "tokens": []}
    for done, each in enumerate(models):
        progress(Progress(f"evaluate {each.method}", done, len(models)))
        with torch_threads(threads):
            model = load_model(each.model, None, torch.float32, place)
            tokenizer = load_tokenizer(each.model, None)
            tables = evaluator.evaluate(model, tokenizer, facts, template=template, point=each.point, seed=seed)
        for name, table in zip(pieces, tables, strict=True):
            pieces[name].append(_labelled(table, seed, each.method))
        progress(Progress(f"evaluate {each.method}", done + 1, len(models)))
    out.mkdir(parents=True, exist_ok=True)
    for name, tables_of_all in pieces.items():
        write_table(pa.concat_tables(tables_of_all), out / f"{name}.parquet")
    record = {
        "seed": seed,
        "template": template,
        "versions": versions(),
        "device": str(place),
        "model": {"name": models[0].model, "digest": digests[models[0].method]},
        "facts": {"digest": identity["facts"], "rows": facts.num_rows},
        "identity": identity,
        "seconds": round(time.monotonic() - begun, 2),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "status": "done",
    }
    write_json(out / "run.json", record)
    return out


def _is_finished(out: Path, identity: dict[str, Any]) -> bool:
    """Whether the folder holds this very evaluation; anything else in it is refused."""
    if not out.exists() or not any(out.iterdir()):
        return False
    path = out / "run.json"
    there = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if path.is_file() and there.get("identity") == identity:
        return True
    if not path.is_file() and all(entry.suffix in (".parquet", ".partial") for entry in out.iterdir()):
        return False  # interrupted while writing
    raise EvaluationInputError(f"{out} holds something else, and is left as it is; give another --out")


def versions() -> dict[str, str]:
    """Versions of what the numbers depend on."""
    return {"python": platform.python_version()} | {name: version(name) for name in LIBRARIES}


def with_counts_as_numbers(facts: pa.Table) -> pa.Table:
    """The facts with count and stratum columns as integers.

    Raises:
        EvaluationInputError: a value is none.
    """
    for name in _COUNTS:
        if name in facts.column_names and pa.types.is_string(facts.schema.field(name).type):
            try:
                values = [int(value) if value else None for value in facts[name].to_pylist()]
            except ValueError as error:
                raise EvaluationInputError(f"column {name!r} of the fact table is not all integers: {error}") from None
            facts = facts.set_column(facts.column_names.index(name), name, pa.array(values, pa.int64()))
    return facts


def _digest(table: pa.Table) -> str:
    """SHA-256 of a table's content as JSON: equal for the same facts, whatever file they came from."""
    import hashlib

    content = json.dumps(table.to_pylist(), sort_keys=True, default=str)
    return f"sha256:{hashlib.sha256(content.encode()).hexdigest()}"


def _labelled(table: pa.Table, seed: int, method: str) -> pa.Table:
    """The table with seed and method in front."""
    table = table.drop_columns([name for name in ("seed", "method") if name in table.column_names])
    table = table.add_column(0, "seed", pa.array([seed] * table.num_rows, pa.int64()))
    return table.add_column(1, "method", pa.array([method] * table.num_rows, pa.string()))


def concatenate(folders: Sequence[Path], out: Path) -> None:
    """Write the tables of several run folders as one; columns that a folder lacks are null."""
    for name in TABLES:
        tables = [pq.read_table(path) for folder in folders if (path := folder / f"{name}.parquet").is_file()]
        if tables:
            write_table(pa.concat_tables(tables, promote_options="permissive"), out / f"{name}.parquet")


def with_uses_of(run_folder: Path, facts: pa.Table) -> pa.Table:
    """The facts with the column ``used`` as a run has it; facts that the run did not have were not used by it."""
    path = run_folder / "facts.parquet"
    if not path.is_file() or "used" not in pq.read_schema(path).names:
        return facts
    rows = pq.read_table(path, columns=["fact_id", "used"]).to_pylist()
    uses = {row["fact_id"]: row["used"] for row in rows}
    facts = with_fact_ids(facts)
    if "used" in facts.column_names:
        facts = facts.drop_columns(["used"])
    return facts.append_column("used", pa.array([uses.get(each, "none") for each in facts["fact_id"].to_pylist()]))
