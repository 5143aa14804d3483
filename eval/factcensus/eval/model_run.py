"""Evaluation of models into a run folder without unlearning: one model, or all models that a run kept."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from factcensus.eval.asking.extras import Checkpoint, Extras, attack, utility_of
from factcensus.eval.asking.prompting import Prompting
from factcensus.eval.errors import EvaluationInputError
from factcensus.eval.evaluator import StandardEvaluator
from factcensus.eval.names import AFTER, BEFORE, COUNT, ORIGINAL
from factcensus.indexer import write_table
from factcensus.indexer.system.files import write_json
from factcensus.indexer.tables.added import check_one_analyzer
from factcensus.indexer.tables.complete import complete_facts
from factcensus.unlearn.progress import Progress, ProgressFunction, silent

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

TABLES = ("facts", "tokens", "steps", "attacks", "attack_facts", "utility")
LIBRARIES = ("factcensus", "torch", "transformers", "tokenizers", "numpy", "pyarrow")


@dataclass(frozen=True, slots=True)
class ModelToAsk:
    """A model by folder or name, and its method name in the tables."""

    model: str
    method: str = ORIGINAL

    @property
    def point(self) -> str:
        """Return the evaluation point: before unlearning for the original model, after it for all others."""
        return BEFORE if self.method == ORIGINAL else AFTER


def models_of(run_or_model: str) -> tuple[list[ModelToAsk], dict[str, Any] | None]:
    """Return the models of a run folder with the record of the run, or a single model without a record.

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
            f"{folder} kept no models to evaluate; run it with save_models = true, or give the folder of a model"
        )
    return [ModelToAsk(str(config["model"])), *kept], record


def evaluate_models(
    models: Sequence[ModelToAsk],
    facts: pa.Table,
    out: Path,
    *,
    seed: int = 0,
    template: str = "plain",
    prompting: Prompting | None = None,
    count_column: str = COUNT,
    device: str = "auto",
    threads: int | None = None,
    evaluator: StandardEvaluator | None = None,
    extras: Extras | None = None,
    progress: ProgressFunction = silent,
) -> Path:
    """Ask each model every question of a fact table, run the chosen attacks on it, and write a run folder.

    Each table of each model is saved in ``cells/METHOD`` as soon as it is complete, so the same call continues an
    interrupted one, and a call with other attacks adds them. A finished folder with the same models, facts, settings
    and attacks is left unchanged.

    Args:
        prompting: How the models are asked, if there is more to set than the template.
        count_column: The count column that the statistics use.

    Raises:
        EvaluationInputError: ``out`` contains something else, or the table lacks the columns that an attack or the
            count needs.
        InputError: the table has counts of different analyzers, or cannot be completed.
        ConfigError, ExampleError: a model cannot be loaded, or a fact cannot be asked.
    """
    from factcensus.unlearn.limits import limits_of
    from factcensus.unlearn.models import load_model_config, model_digest, parameter_count
    from factcensus.unlearn.training.runtime import resolve_device, torch_threads

    evaluator, extras = evaluator or StandardEvaluator(), extras or Extras()
    facts = complete_facts(facts)
    check_one_analyzer(facts)
    place = resolve_device(device)
    if count_column != COUNT and count_column not in facts.column_names:
        raise EvaluationInputError(
            f"the fact table has no count column {count_column!r}; its columns are {', '.join(facts.column_names)}"
        )
    prompting = _continued(prompting or Prompting(template), out).fixed(models[0].model)
    template = prompting.template
    digests = {each.method: model_digest(each.model, None) for each in models}
    settings = {name: value for name, value in asdict(evaluator).items() if name != "batch_tokens"}
    identity = json.loads(
        json.dumps(
            {
                "models": digests,
                "facts": _digest(facts),
                "template": template,
                "seed": seed,
                "evaluator": settings,
                "extras": extras.identity(),
            }
            | ({"prompt": prompting.record()} if template == "chat" else {})
        )
    )
    done_before = _attacks_done(out, identity)
    if done_before is not None and set(extras.attacks) <= set(done_before):
        return out
    identity["extras"]["attacks"] = sorted({*extras.attacks, *(done_before or ())})
    limits = limits_of(load_model_config(models[0].model, None))
    evaluator.check(prompting.tokenizer(models[0].model), facts, template=template, limits=limits)
    begun = time.monotonic()
    record = {
        "seed": seed,
        "template": template,
        "prompt": prompting.record(),
        "count_column": count_column,
        "versions": versions(),
        "device": str(place),
        "model": {
            "name": models[0].model,
            "digest": digests[models[0].method],
            "parameters": parameter_count(models[0].model, None),
        },
        "facts": {"digest": identity["facts"], "rows": facts.num_rows},
        "identity": identity,
        "status": "running",
    }
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "run.json", record)
    originals = _Originals(models, place, prompting)
    for done, each in enumerate(models):
        progress(Progress(f"evaluate {each.method}", done, len(models)))
        cell = _Cell(out / "cells" / each.method, seed, each.method)
        with torch_threads(threads):
            _evaluate_one(each, facts, cell, prompting, place, evaluator, extras, originals, progress)
        progress(Progress(f"evaluate {each.method}", done + 1, len(models)))
    gather(out, [out / "cells" / each.method for each in models])
    record |= {
        "seconds": round(time.monotonic() - begun, 2),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "status": "done",
    }
    write_json(out / "run.json", record)
    return out


def _continued(prompting: Prompting, out: Path) -> Prompting:
    """Return the prompting with the clock of the evaluation that is being continued, if there is one."""
    path = out / "run.json"
    if prompting.clock is not None or not path.is_file():
        return prompting
    there = json.loads(path.read_text(encoding="utf-8"))
    return replace(prompting, clock=Prompting.of(there).clock)


def _evaluate_one(
    asked: ModelToAsk,
    facts: pa.Table,
    cell: _Cell,
    prompting: Prompting,
    place: torch.device,
    evaluator: StandardEvaluator,
    extras: Extras,
    originals: _Originals,
    progress: ProgressFunction,
) -> None:
    """Write all missing tables of one model."""
    if cell.has("facts", "tokens", "utility", *(_attack_name(name) for name in extras.attacks)):
        return
    model, tokenizer, template = (
        prompting.model(asked.model, place),
        prompting.tokenizer(asked.model),
        prompting.template,
    )
    checkpoint = Checkpoint(model, tokenizer, facts, template, cell.seed, evaluator)
    if not cell.has("facts", "tokens"):
        rows, tokens = evaluator.evaluate(model, tokenizer, facts, template=template, point=asked.point, seed=cell.seed)
        cell.write("tokens", tokens)
        cell.write("facts", rows)
    measured = cell.read("facts")
    if not cell.has("utility"):
        original = originals.beside(asked) if extras.neutral else None
        cell.write("utility", utility_of(checkpoint, extras, measured, original))
    pending = [name for name in extras.attacks if not cell.has(_attack_name(name))]
    for name, of_facts, of_strata in attack(checkpoint, pending, extras.attack_settings, measured, progress):
        cell.write(f"attack_facts.{name}", of_facts)
        cell.write(_attack_name(name), of_strata)


def extend_run(
    run: Path,
    facts: pa.Table,
    extras: Extras,
    *,
    methods: Sequence[str] | None = None,
    evaluator: StandardEvaluator | None = None,
    threads: int | None = None,
    progress: ProgressFunction = silent,
) -> None:
    """Attack models that ``unlearn run`` kept and measure their utility, in the folder of the run.

    The answers without attack come from facts.parquet of the run. Results that already exist are not computed again.

    Args:
        methods: Names of the methods; by default the original model and all kept ones.

    Raises:
        EvaluationInputError: the run kept no models, or the table lacks the columns that an attack needs.
    """
    from factcensus.unlearn.training.runtime import resolve_device, torch_threads

    models, record = models_of(str(run))
    config = (record or {}).get("config") or {}
    facts = complete_facts(facts)
    place = resolve_device(str(config.get("device", "auto")))
    prompting = Prompting.of(record).fixed(models[0].model)
    originals = _Originals(models, place, prompting)
    for each in models:
        if methods is None or each.method in methods:
            cell = _Cell(run / "cells" / each.method, int(config.get("seed", 0)), each.method)
            with torch_threads(threads):
                _evaluate_one(
                    each, facts, cell, prompting, place, evaluator or StandardEvaluator(), extras, originals, progress
                )
    gather(run, [run / "cells" / each.method for each in models], only=("attacks", "attack_facts", "utility"))


def _attack_name(name: str) -> str:
    return f"attacks.{name}"


class _Originals:
    """The original model, loaded at most once for measures that compare with it."""

    def __init__(self, models: Sequence[ModelToAsk], place: torch.device, prompting: Prompting) -> None:
        self._asked = next((each for each in models if each.method == ORIGINAL), None)
        self._place, self._prompting = place, prompting
        self._model: PreTrainedModel | None = None

    def beside(self, other: ModelToAsk) -> PreTrainedModel | None:
        """Return the original model, or None if there is none or ``other`` is the original itself."""
        if self._asked is None or other is self._asked:
            return None
        if self._model is None:
            self._model = self._prompting.model(self._asked.model, self._place)
        return self._model


@dataclass(frozen=True, slots=True)
class _Cell:
    """The tables of one model; each is either complete or absent."""

    folder: Path
    seed: int
    method: str

    def has(self, *names: str) -> bool:
        return all((self.folder / f"{name}.parquet").is_file() for name in names)

    def read(self, name: str) -> pa.Table:
        return pq.read_table(self.folder / f"{name}.parquet")

    def write(self, name: str, table: pa.Table) -> None:
        write_table(_labelled(table, self.seed, self.method), self.folder / f"{name}.parquet")


def gather(out: Path, cells: Sequence[Path], only: Sequence[str] | None = None) -> None:
    """Merge the tables of all models by kind; tables split into several files (one per attack) become one."""
    for name in only or TABLES:
        paths = [path for cell in cells for path in [*sorted(cell.glob(f"{name}.*.parquet")), cell / f"{name}.parquet"]]
        tables = [pq.read_table(path) for path in paths if path.is_file()]
        if tables:
            write_table(pa.concat_tables(tables, promote_options="permissive"), out / f"{name}.parquet")


def _attacks_done(out: Path, identity: dict[str, Any]) -> list[str] | None:
    """Return the attacks of the finished evaluation that this one repeats or extends; None if there is no finished one.

    Raises:
        EvaluationInputError: the folder contains something else.
    """
    if not out.exists() or not any(out.iterdir()):
        return None
    path = out / "run.json"
    there = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if _without_attacks(there.get("identity") or {}, identity) != _without_attacks(
        identity, there.get("identity") or {}
    ):
        raise EvaluationInputError(f"{out} contains another evaluation or other files; choose another --out")
    return list(there["identity"]["extras"]["attacks"]) if there.get("status") == "done" else None


def _without_attacks(identity: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Return the parts of an identity that must be equal: all but the attack names, and the attack settings only if
    both have attacks.
    """
    extras = dict(identity.get("extras") or {})
    attacked = [bool((each.get("extras") or {}).get("attacks")) for each in (identity, other)]
    dropped = ("attacks",) if all(attacked) else ("attacks", "settings")
    return {**identity, "extras": {name: value for name, value in extras.items() if name not in dropped}}


def versions() -> dict[str, str]:
    """Return the versions of the libraries that affect the numbers."""
    return {"python": platform.python_version()} | {name: version(name) for name in LIBRARIES}


def _digest(table: pa.Table) -> str:
    """Return the SHA-256 of the content of a table as JSON: equal for equal facts, regardless of the file."""
    import hashlib

    content = json.dumps(table.to_pylist(), sort_keys=True, default=str)
    return f"sha256:{hashlib.sha256(content.encode()).hexdigest()}"


def _labelled(table: pa.Table, seed: int, method: str) -> pa.Table:
    """Return the table with ``seed`` and ``method`` as its first columns."""
    table = table.drop_columns([name for name in ("seed", "method") if name in table.column_names])
    table = table.add_column(0, "seed", pa.array([seed] * table.num_rows, pa.int64()))
    return table.add_column(1, "method", pa.array([method] * table.num_rows, pa.string()))


def concatenate(folders: Sequence[Path], out: Path) -> None:
    """Concatenate the tables of several run folders; missing columns are null."""
    for name in TABLES:
        tables = [pq.read_table(path) for folder in folders if (path := folder / f"{name}.parquet").is_file()]
        if tables:
            write_table(pa.concat_tables(tables, promote_options="permissive"), out / f"{name}.parquet")


def with_uses_of(run_folder: Path, facts: pa.Table) -> pa.Table:
    """Return the facts with the column ``used`` of a run; facts that the run does not contain get ``none``."""
    path = run_folder / "facts.parquet"
    if not path.is_file() or "used" not in pq.read_schema(path).names:
        return facts
    rows = pq.read_table(path, columns=["fact_id", "used"]).to_pylist()
    uses = {row["fact_id"]: row["used"] for row in rows}
    facts = complete_facts(facts)
    if "used" in facts.column_names:
        facts = facts.drop_columns(["used"])
    return facts.append_column("used", pa.array([uses.get(each, "none") for each in facts["fact_id"].to_pylist()]))
