"""Evaluation of models into a run folder without unlearning: one model, or all models that a run kept."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from factcensus.eval.asking.prompting import Prompting
from factcensus.eval.errors import EvaluationInputError
from factcensus.eval.evaluator import StandardEvaluator
from factcensus.eval.extras import Checkpoint, Extras, attack, utility_of
from factcensus.eval.names import AFTER, BEFORE, COUNT, ORIGINAL
from factcensus.indexer.system.files import explain_full_disk
from factcensus.indexer.tables.added import check_one_analyzer
from factcensus.indexer.tables.complete import complete_facts
from factcensus.unlearn.progress import Progress, ProgressFunction, silent
from factcensus.unlearn.run_folder import (
    Cell,
    RunFolder,
    check_run_folder,
    library_versions,
    merge_tables,
    open_run,
    read_record,
)

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

#: The effect of running an evaluation again after the disk was full.
_KEPT = "finished tables are kept, and it continues with the others"
#: The tables that attacks and utility add to a run, and all tables of an evaluation.
ADDED = ("attacks", "attack_facts", "utility")
TABLES = ("facts", "tokens", "steps", *ADDED)


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
    record = read_record(folder)
    kept = [ModelToAsk(str(path), path.parent.name) for path in sorted(folder.glob("cells/*/model"))]
    config = record.get("config") or {}
    if not kept or "model" not in config:
        raise EvaluationInputError(
            f"{folder} kept no models to evaluate; run it with save_models = true, or give the folder of a model"
        )
    return [ModelToAsk(str(config["model"])), *kept], record


def evaluate_models(  # noqa: PLR0913  # a public function; everything after the folder is optional and named
    models: Sequence[ModelToAsk],
    facts: pa.Table,
    out: Path,
    *,
    seed: int = 0,
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
        prompting: How the models are asked; by default with the plain template.
        count_column: The count column that the statistics use.

    Raises:
        RunFolderError: ``out`` contains something else, or another process uses it.
        EvaluationInputError: the table lacks the columns that an attack or the count needs.
        InputError: the table has counts of different analyzers, or cannot be completed.
        ConfigError, ExampleError: a model cannot be loaded, or a fact cannot be asked.
        DiskFullError: the disk is full; the same call continues.
    """
    from factcensus.unlearn.limits import limits_of
    from factcensus.unlearn.models import load_model_config, model_digest, parameter_count
    from factcensus.unlearn.training.runtime import resolve_device

    facts = complete_facts(facts)
    check_one_analyzer(facts)
    if count_column != COUNT and count_column not in facts.column_names:
        raise EvaluationInputError(
            f"the fact table has no count column {count_column!r}; its columns are {', '.join(facts.column_names)}"
        )
    work = _Work(
        models=models,
        facts=facts,
        seed=seed,
        prompting=_continued(prompting or Prompting(), out).fixed(models[0].model),
        device=resolve_device(device),
        threads=threads,
        evaluator=evaluator or StandardEvaluator(),
        extras=extras or Extras(),
        progress=progress,
    )
    first, prompting, extras = models[0], work.prompting, work.extras
    digests = {each.method: model_digest(each.model, None) for each in models}
    identity = work.identity(digests)
    check_run_folder(out, identity, _differing)
    there = read_record(out)
    done_before = there["identity"]["extras"]["attacks"] if there.get("status") == "done" else None
    if done_before is not None and set(extras.attacks) <= set(done_before):
        return out
    identity["extras"]["attacks"] = sorted({*extras.attacks, *(done_before or ())})
    limits = limits_of(load_model_config(first.model, None))
    work.evaluator.check(prompting.tokenizer(first.model), facts, template=prompting.template, limits=limits)
    begun = time.monotonic()
    record = {
        "seed": seed,
        "template": prompting.template,
        "prompt": prompting.record(),
        "count_column": count_column,
        "versions": library_versions(),
        "device": str(work.device),
        "model": {
            "name": first.model,
            "digest": digests[first.method],
            "parameters": parameter_count(first.model, None),
        },
        "facts": {"digest": identity["facts"], "rows": facts.num_rows},
    }
    with explain_full_disk(out, _KEPT), open_run(out, identity, record, _differing) as run:
        for done, each in enumerate(models):
            progress(Progress(f"evaluate {each.method}", done, len(models)))
            _evaluate_one(each, run.cell(each.method), work)
            progress(Progress(f"evaluate {each.method}", done + 1, len(models)))
        merge_tables([run.cell(each.method).folder for each in models], out, TABLES)
        run.update(seconds=round(time.monotonic() - begun, 2), finished=datetime.now(UTC).isoformat(timespec="seconds"))
    return out


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
    from factcensus.unlearn.training.runtime import resolve_device

    models, record = models_of(str(run))
    config = (record or {}).get("config") or {}
    work = _Work(
        models=models,
        facts=complete_facts(facts),
        seed=int(config.get("seed", 0)),
        prompting=Prompting.of(record).fixed(models[0].model),
        device=resolve_device(str(config.get("device", "auto"))),
        threads=threads,
        evaluator=evaluator or StandardEvaluator(),
        extras=extras,
        progress=progress,
    )
    cells = RunFolder(run, record or {}).cell
    with explain_full_disk(run, _KEPT):
        for each in models:
            if methods is None or each.method in methods:
                _evaluate_one(each, cells(each.method), work)
        merge_tables([cells(each.method).folder for each in models], run, ADDED)


@dataclass(frozen=True)
class _Work:
    """Everything that the evaluations of several models share."""

    models: Sequence[ModelToAsk]
    facts: pa.Table
    seed: int
    prompting: Prompting
    device: torch.device
    threads: int | None
    evaluator: StandardEvaluator
    extras: Extras
    progress: ProgressFunction

    def identity(self, digests: Mapping[str, str]) -> dict[str, Any]:
        """Return everything that determines the results, as plain JSON types."""
        settings = {name: value for name, value in asdict(self.evaluator).items() if name != "batch_tokens"}
        for name in ("as_published", "log_samples"):  # off by default; evaluations of earlier versions lack them
            if not settings[name]:
                settings.pop(name)
        identity = {
            "models": digests,
            "facts": _digest(self.facts),
            "template": self.prompting.template,
            "seed": self.seed,
            "evaluator": settings,
            "extras": self.extras.identity(),
        }
        if self.prompting.template == "chat":
            identity["prompt"] = self.prompting.record()
        if self.prompting.opening != "tokenizer":
            identity["opening"] = self.prompting.opening
        plain: dict[str, Any] = json.loads(json.dumps(identity))
        return plain

    @cached_property
    def original(self) -> PreTrainedModel | None:
        """The original model, loaded when a measure first compares with it; None if it is not among the models."""
        asked = next((each for each in self.models if each.method == ORIGINAL), None)
        return None if asked is None else self.prompting.model(asked.model, self.device)


def _continued(prompting: Prompting, out: Path) -> Prompting:
    """Return the prompting with the clock of the evaluation that is being continued, if there is one."""
    there = read_record(out)
    return (
        prompting if prompting.clock is not None or not there else replace(prompting, clock=Prompting.of(there).clock)
    )


def _evaluate_one(asked: ModelToAsk, cell: Cell, work: _Work) -> None:
    """Write all missing tables of one model."""
    from factcensus.unlearn.training.runtime import torch_threads

    extras, facts = work.extras, work.facts
    if cell.has("facts", "tokens", "utility", *map(_table_of_attack, extras.attacks)):
        return
    with torch_threads(work.threads):
        model, tokenizer = work.prompting.model(asked.model, work.device), work.prompting.tokenizer(asked.model)
        template = work.prompting.template
        checkpoint = Checkpoint(model, tokenizer, facts, template, work.seed, work.evaluator)
        if not cell.has("facts", "tokens"):
            rows, tokens = work.evaluator.evaluate(
                model, tokenizer, facts, template=template, point=asked.point, seed=work.seed
            )
            cell.write("tokens", tokens, work.seed)
            cell.write("facts", rows, work.seed)
        measured = cell.read("facts")
        if not cell.has("utility"):
            original = work.original if extras.neutral and asked.method != ORIGINAL else None
            cell.write("utility", utility_of(checkpoint, extras, measured, original), work.seed)
        pending = [name for name in extras.attacks if not cell.has(_table_of_attack(name))]
        for name, of_facts, of_strata in attack(checkpoint, pending, extras.attack_settings, measured, work.progress):
            cell.write(f"attack_facts.{name}", of_facts, work.seed)
            cell.write(_table_of_attack(name), of_strata, work.seed)


def _table_of_attack(name: str) -> str:
    return f"attacks.{name}"


def _differing(stored: Mapping[str, Any], identity: Mapping[str, Any]) -> list[str]:
    """Return the parts of an identity that differ, except the names of the attacks, which can be added later.

    The settings of attacks matter only if both evaluations have attacks.
    """
    one, other = (dict(each.get("extras") or {}) for each in (stored, identity))
    ignored = {"attacks"} if one.get("attacks") and other.get("attacks") else {"attacks", "settings"}
    found = [name for name in {**stored, **identity} if name != "extras" and stored.get(name) != identity.get(name)]
    same_extras = all(one.get(name) == other.get(name) for name in {*one, *other} - ignored)
    return found if same_extras else [*found, "extras"]


def _digest(table: pa.Table) -> str:
    """Return the SHA-256 of the content of a table as JSON: equal for equal facts, regardless of the file."""
    content = json.dumps(table.to_pylist(), sort_keys=True, default=str)
    return f"sha256:{hashlib.sha256(content.encode()).hexdigest()}"


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
