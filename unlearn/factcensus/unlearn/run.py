"""One run: a model, a fact table, a seed, several methods, one folder."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import torch

from factcensus.indexer.paths import check_output_folder
from factcensus.indexer.system.files import explain_full_disk, new_folder
from factcensus.unlearn.config.run_config import MethodConfig, RunConfig
from factcensus.unlearn.counted import read_counted_facts
from factcensus.unlearn.errors import NumericsError
from factcensus.unlearn.evaluation import Evaluator, get_evaluator
from factcensus.unlearn.known import known_facts
from factcensus.unlearn.material_warnings import material_warnings, warn_of_material
from factcensus.unlearn.models import (
    file_digest,
    load_model,
    load_tokenizer,
    model_digest,
    pad_id_of,
    save_model,
)
from factcensus.unlearn.planning.energy import EnergyMeter
from factcensus.unlearn.planning.hardware import check_sharding, this_machine
from factcensus.unlearn.planning.memory import PeakMemory
from factcensus.unlearn.planning.plan import MethodPlan, plan_methods, refuse_what_cannot_fit
from factcensus.unlearn.prepare import Asker, check_evaluation, index_provenance, open_asker, prepare
from factcensus.unlearn.progress import Progress, ProgressFunction, silent
from factcensus.unlearn.retrain import retrain
from factcensus.unlearn.run_folder import INPUTS, ORIGINAL, Cell, RunFolder, library_versions, merge_tables, open_run
from factcensus.unlearn.selection import Selection, balance, doubts, select
from factcensus.unlearn.stopping import check_stop, stop_on_sigterm
from factcensus.unlearn.trackers import Trackers, get_trackers
from factcensus.unlearn.training.forget_set import ForgetSet, OriginalScores, forget_set
from factcensus.unlearn.training.gradients import arithmetic
from factcensus.unlearn.training.material import Material
from factcensus.unlearn.training.over_forgetting import over_forgetting_alarms, warn_of_over_forgetting
from factcensus.unlearn.training.ranks import Ranks, current_ranks
from factcensus.unlearn.training.runtime import resolve_device, torch_threads
from factcensus.unlearn.training.train import Recipe, unlearn
from factcensus.unlearn.training.weights import whole_weights

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def run_unlearning(
    config: RunConfig,
    evaluator: Evaluator | None = None,
    progress: ProgressFunction | None = None,
    *,
    inputs: Path | None = None,
    siblings: Sequence[Path] = (),
) -> Path:
    """Run every unfinished method of a configuration and return the run folder.

    Args:
        config: A checked configuration.
        evaluator: Overrides the evaluator that the configuration names.
        progress: Called with progress reports.
        inputs: Folder for counts and known facts; by default inside the run folder.
        siblings: Other run folders. If one of them has evaluated the original model on the same facts in the same way,
            that evaluation is copied.

    Raises:
        ConfigError, ExampleError: invalid input; nothing was trained.
        MemoryPlanError: a method would not fit the device; nothing was loaded.
        ServiceLostError: the facts could not be counted; the same call continues.
        RunFolderError: the folder holds another run.
        InterruptedRunError: SIGTERM was received; the same call resumes.
        DiskFullError: the disk is full; the same call resumes.
        NumericsError: a method's loss was not finite; it is recorded as failed, and the other methods are finished.
    """
    evaluator = evaluator or get_evaluator(config.evaluator, config.evaluator_settings)
    trackers = get_trackers(config.trackers)
    check_output_folder(config.out)
    ranks = current_ranks(cpu=config.device == "cpu")
    check_sharding(config, ranks.count)
    device = resolve_device(config.device, ranks)
    report = (progress or silent) if ranks.is_first else silent
    kept = "finished methods are kept, and an interrupted one continues from its saved state"
    with stop_on_sigterm(), torch_threads(config.threads), explain_full_disk(config.out, kept):
        check_stop()
        model_config, asker = open_asker(config, ranks.now())
        inputs = inputs or config.out / INPUTS
        if not ranks.is_first:
            ranks.wait()  # until the first rank has counted and asked the model
        table = read_counted_facts(config, inputs, report)
        known = known_facts(config, table, asker.tokenizer, device, inputs, report)
        if ranks.is_first:
            ranks.wait()
        check_stop()
        selection = select(table, config.selection, config.seed, known, needs_retain=config.needs_retain)
        material = prepare(selection, asker)
        check_evaluation(evaluator, asker, selection)
        warnings = doubts(selection) + material_warnings(selection, material, config, asker.tokenizer)
        if ranks.is_first:
            warn_of_material(warnings)
        hardware = this_machine(config, device, ranks)
        plans = plan_methods(config, material, model_config, hardware)
        refuse_what_cannot_fit(config, plans, material, hardware)
        check_stop()
        sets = {
            "forget": len(selection.forget),
            "retain": len(selection.retain),
            "known_before": None if known is None else len(known),
            "balance": balance(selection, config.selection.count_column),
        }
        identity = {
            "settings": config.fingerprint(),
            "model": model_digest(config.model, config.revision),
            "facts": file_digest(config.facts),
        }
        record = {
            "config": config.resolved(),
            "seed": config.seed,
            "versions": library_versions(),
            "device": str(device),
            "processes": ranks.count,
            "model": {"name": config.model, "digest": identity["model"], **_sizes(config, plans)},
            "facts": {"path": str(config.facts), "digest": identity["facts"], "rows": len(selection.rows)},
            "index": index_provenance(selection, config),
            "prompt": asker.record(material),
            "warnings": warnings,
            "sets": sets,
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        with ExitStack() as stack:
            opened = stack.enter_context(open_run(config.out, identity, record)) if ranks.is_first else None
            ranks.wait()
            run = RunFolder(config.out, record) if opened is None else opened
            work = _Work(
                config=config,
                run=run,
                selection=selection,
                material=material,
                asker=asker,
                device=device,
                evaluator=evaluator,
                ranks=ranks,
                trackers=trackers,
                show=report,
            )
            with _tracked(work):
                _run_cells(work, siblings)
                if ranks.is_first:
                    _conclude(work, plans)
                _raise_failures(work)
    return config.out


def _sizes(config: RunConfig, plans: Sequence[MethodPlan]) -> dict[str, Any]:
    """Return the number of parameters of the model, and of those that methods with adapters train."""
    adapted = [method.name for method in config.methods if method.adapter is not None]
    trained = {plan.name: plan.trained_parameters for plan in plans if plan.name in adapted}
    return {"parameters": plans[0].parameters, "trained_parameters": trained}


@dataclass(frozen=True, slots=True)
class _Work:
    """The data that all cells of a run share. Only the first of several processes evaluates and writes."""

    config: RunConfig
    run: RunFolder
    selection: Selection
    material: Material
    asker: Asker
    device: torch.device
    evaluator: Evaluator | None
    ranks: Ranks
    trackers: Trackers
    show: ProgressFunction

    @property
    def pad_id(self) -> int:
        """A token id for padding."""
        return pad_id_of(self.asker.tokenizer, self.asker.limits.vocabulary)

    def report(self, progress: Progress) -> None:
        """Pass progress to the caller and the trackers."""
        self.show(progress)
        if self.ranks.is_first:
            self.trackers.progress(progress)


@contextmanager
def _tracked(work: _Work) -> Iterator[None]:
    """Tell the trackers when the run starts and how it ends."""
    if not work.ranks.is_first:
        yield
        return
    work.trackers.start(work.run.folder, work.run.record)
    status = "failed"
    try:
        yield
        status = "done"
    except BaseException as error:
        status = "interrupted" if getattr(error, "exit_code", 1) == 130 else status
        raise
    finally:
        work.trackers.finish(status)


def _run_cells(work: _Work, siblings: Sequence[Path]) -> None:
    """Evaluate the original model, then unlearn with each method and evaluate the result."""
    config, run, ranks = work.config, work.run, work.ranks
    pending = [method for method in config.methods if _is_pending(work, method)]
    if ranks.is_first:
        for method in config.methods:
            run.cell(method.name).claim(config.method_fingerprint(method))
        run.write_examples(work.material)
    ranks.wait()
    before, key = run.cell(ORIGINAL), _original_key(work)
    if ranks.is_first and not before.is_done():
        before.take_over(siblings, key)
    ranks.wait()
    if not pending and before.is_done():
        return
    check_stop()
    original = _load(config, work.device)
    check_stop()
    if not before.is_done() and ranks.is_first:
        clocks = _Clocks()
        _evaluate(work, original, before, "before")
        before.finish({"key": key, **clocks.read()})
    sets = _forget_sets(work, pending, original)
    check_stop()
    del original  # No method keeps the original as a second model.
    for method, forget in sets:
        try:
            _run_method(work, method, forget)
        except NumericsError as error:
            if ranks.is_first:
                run.cell(method.name).fail(config.method_fingerprint(method), str(error))


def _forget_sets(
    work: _Work, methods: Sequence[MethodConfig], original: PreTrainedModel
) -> list[tuple[MethodConfig, ForgetSet]]:
    """Return the forget set of each method; methods with equal end-of-text settings share the original scores."""
    as_trained = partial(arithmetic, work.device, work.config.dtype == "bfloat16-autocast")
    shared: dict[tuple[str, ...], OriginalScores] = {}
    sets = []
    for method in methods:
        material = work.material.of(method)
        scores = shared.setdefault(method.end_after, OriginalScores(material, original, work.pad_id, as_trained))
        sets.append((method, forget_set(method, material, scores, work.config.seed)))
    return sets


def _run_method(work: _Work, method: MethodConfig, forget: ForgetSet) -> None:
    """Unlearn with one method, evaluate, and mark its cell as done."""
    config, cell = work.config, work.run.cell(method.name)
    clocks, memory, energy = _Clocks(), PeakMemory(work.device), EnergyMeter(work.device)
    check_stop()
    model = _load(config, work.device)

    def progress(step: Progress) -> None:
        energy.update()
        work.report(step)

    recipe = Recipe(
        method,
        config.training_of(method),
        config.learning_rate_of(method),
        config.passes_of(method),
        seed=config.seed,
        pad_id=work.pad_id,
        autocast=config.dtype == "bfloat16-autocast",
        ranks=work.ranks,
        fsdp=config.fsdp,
    )
    if method.retrain_world is not None:
        rows = retrain(model, method, cell.state_path, progress)
    else:
        retain = work.material.of(method).retain
        rows = unlearn(model, forget, retain, recipe, state_path=cell.state_path, progress=progress)
    trained = {**clocks.read(), "peak_memory_bytes": memory.read_bytes(), **energy.read()}
    weights = whole_weights(model, work.ranks) if config.fsdp else {}
    if not work.ranks.is_first:
        return
    if config.fsdp:
        del model
        model = _load(config, work.device)
        model.load_state_dict(weights)
    alarms = over_forgetting_alarms(rows, config.training.over_forgotten_share)
    warn_of_over_forgetting(method.name, alarms)
    cell.write("steps", pa.Table.from_pylist(rows), config.seed)
    check_stop()
    _evaluate(work, model, cell, "after")
    if config.save_models:
        _save_model(config, model, cell)
    described = method.model_dump(mode="json")
    cell.finish({"method": described, "steps": len(rows), "training": trained, "alarms": alarms, **clocks.read()})


def _load(config: RunConfig, device: torch.device) -> PreTrainedModel:
    """Load the original model, with bfloat16 parameters only if the configuration asks for them."""
    dtype = torch.bfloat16 if config.dtype == "bfloat16" else torch.float32
    model: Any = load_model(config.model, config.revision, dtype, device, config.attention)
    if config.compile:
        model.base_model.compile(dynamic=True)  # the LM head gets gathered positions and is not compiled
    loaded: PreTrainedModel = model
    return loaded


def _evaluate(work: _Work, model: PreTrainedModel, cell: Cell, point: str) -> None:
    """Evaluate a checkpoint and store both tables with the run's seed and the cell's name."""
    config = work.config
    if work.evaluator is None:
        return
    work.report(Progress(f"evaluate {cell.name}", 0, 1))
    facts, tokens = work.evaluator.evaluate(
        model, work.asker.tokenizer, work.selection.facts, template=config.template, point=point, seed=config.seed
    )
    cell.write("facts", facts, config.seed)
    cell.write("tokens", tokens, config.seed)
    work.report(Progress(f"evaluate {cell.name}", 1, 1))


def _save_model(config: RunConfig, model: PreTrainedModel, cell: Cell) -> None:
    """Save the unlearned model as a folder that ``from_pretrained`` loads."""
    folder = cell.folder / "model"
    with new_folder(folder) as partial:
        save_model(model, partial)
        # Save the original tokenizer: the prompts of this run are fixed in run.json, not in the model.
        load_tokenizer(config.model, config.revision).save_pretrained(str(partial))
        shutil.rmtree(folder, ignore_errors=True)


def _conclude(work: _Work, plans: Sequence[MethodPlan]) -> None:
    """Write the tables of all cells, estimated and measured costs, alarms and the evaluator's summary."""
    run, methods = work.run, [method.name for method in work.config.methods]
    merge_tables([run.cell(name).folder for name in (ORIGINAL, *methods)], run.folder)
    alarms = [{"method": name, **alarm} for name in methods for alarm in run.cell(name).done().get("alarms", ())]
    run.update(costs=[_cost(run, plan) for plan in plans], alarms=alarms, failed=_failures(work))
    if work.evaluator is not None:
        work.report(Progress("summary", 0, 1))
        work.evaluator.finish(run.folder)
        work.report(Progress("summary", 1, 1))


def _cost(run: RunFolder, plan: MethodPlan) -> dict[str, Any]:
    """Return estimated and measured costs of one method."""
    measured = run.cell(plan.name).done().get("training", {})
    memory, seconds = measured.get("peak_memory_bytes"), measured.get("wall_seconds")
    return {
        "method": plan.name,
        "estimated_memory_bytes": plan.memory_bytes,
        "measured_memory_bytes": memory,
        "estimated_over_measured": round(plan.memory_bytes / memory, 4) if memory else None,
        "estimated_seconds": plan.seconds,
        "measured_seconds": seconds,
        "estimated_flop": plan.flop,
        "energy_joules": measured.get("energy_joules"),
        "energy_read_from": measured.get("energy_read_from", []),
        "simulated": plan.simulated,
    }


def _is_pending(work: _Work, method: MethodConfig) -> bool:
    """Return whether the method must still run: it is not finished, and has not failed with the same settings."""
    cell = work.run.cell(method.name)
    return not cell.is_done() and not cell.has_failed(work.config.method_fingerprint(method))


def _failures(work: _Work) -> list[dict[str, str]]:
    """Return name and error of each failed method."""
    cells = [work.run.cell(method.name) for method in work.config.methods]
    return [{"method": cell.name, "error": cell.failure()["error"]} for cell in cells if cell.has_failed()]


def _raise_failures(work: _Work) -> None:
    """Raise NumericsError if a method failed, now or in an earlier call."""
    work.ranks.wait()
    if failed := _failures(work):
        raise NumericsError(
            f"{len(failed)} of {len(work.config.methods)} methods failed: "
            + "; ".join(each["error"] for each in failed)
            + f". The other methods are finished in {work.run.folder}. The same command skips failed methods; "
            "change the settings of a method to run it again, or remove its folder in cells/ to retry it"
        )


def _original_key(work: _Work) -> str:
    """Return a key that is the same for equal evaluations of the original model."""
    identity = work.run.record.get("identity", {})
    clock = f" {work.asker.clock.isoformat()}" if work.asker.clock else ""
    return f"{work.config.original_fingerprint()} {identity.get('model')} {identity.get('facts')}{clock}"


class _Clocks:
    """Measures elapsed time for done.json; tables contain no times, so equal settings give equal tables."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.monotonic(), time.process_time()

    def read(self) -> dict[str, Any]:
        """Return wall and processor seconds since construction."""
        return {
            "wall_seconds": round(time.monotonic() - self._wall, 2),
            "cpu_seconds": round(time.process_time() - self._cpu, 2),
        }
