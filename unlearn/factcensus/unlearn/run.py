"""One run: a model, a fact table, a seed, several methods, one folder."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import torch

from factcensus.indexer.paths import check_output_folder
from factcensus.indexer.system.files import new_folder
from factcensus.unlearn.config.run_config import MethodConfig, RunConfig
from factcensus.unlearn.counted import read_counted_facts
from factcensus.unlearn.errors import NumericsError
from factcensus.unlearn.evaluation import Evaluator, get_evaluator
from factcensus.unlearn.known import known_facts
from factcensus.unlearn.material import Material
from factcensus.unlearn.material_warnings import material_warnings, warn_of_material
from factcensus.unlearn.models import (
    file_digest,
    load_model,
    load_tokenizer,
    model_digest,
    pad_id_of,
    quiet_transformers,
)
from factcensus.unlearn.planning.energy import EnergyMeter
from factcensus.unlearn.planning.memory import PeakMemory
from factcensus.unlearn.planning.plan import MethodPlan, plan_methods, refuse_what_cannot_fit
from factcensus.unlearn.prepare import Asker, check_evaluation, index_provenance, open_asker, prepare
from factcensus.unlearn.progress import Progress, ProgressFunction, silent
from factcensus.unlearn.run_folder import INPUTS, ORIGINAL, Cell, RunFolder, library_versions, merge_tables, open_run
from factcensus.unlearn.selection import Selection, balance, doubts, select
from factcensus.unlearn.stopping import check_stop, stop_on_sigterm
from factcensus.unlearn.trackers import Trackers, get_trackers
from factcensus.unlearn.training.forget_set import ForgetSet, OriginalScores, forget_set
from factcensus.unlearn.training.over_forgetting import over_forgetting_alarms, warn_of_over_forgetting
from factcensus.unlearn.training.ranks import Ranks, current_ranks
from factcensus.unlearn.training.runtime import resolve_device, torch_threads
from factcensus.unlearn.training.train import Dose, unlearn

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
        NumericsError: a method's loss was not finite; it is recorded as failed, and the other methods are finished.
    """
    evaluator = evaluator or get_evaluator(config.evaluator)
    trackers = get_trackers(config.trackers)
    check_output_folder(config.out)
    ranks = current_ranks(cpu=config.device == "cpu")
    device = resolve_device(config.device, ranks)
    report = (progress or silent) if ranks.is_first else silent
    with stop_on_sigterm(), torch_threads(config.threads):
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
        warnings = [
            *doubts(selection),
            *material_warnings(selection, material, config.training.forms, asker.tokenizer),
        ]
        if ranks.is_first:
            warn_of_material(warnings)
        plans = plan_methods(config, material, model_config, device)
        refuse_what_cannot_fit(config, plans, material, device)
        check_stop()
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
            "model": {
                "name": config.model,
                "digest": identity["model"],
                "parameters": plans[0].parameters,
                "trained_parameters": {
                    method.name: plan.trained_parameters
                    for method, plan in zip(config.methods, plans, strict=True)
                    if method.adapter is not None
                },
            },
            "facts": {"path": str(config.facts), "digest": identity["facts"], "rows": len(selection.rows)},
            "index": index_provenance(selection, config),
            "prompt": asker.record(material),
            "warnings": warnings,
            "sets": {
                "forget": len(selection.forget),
                "retain": len(selection.retain),
                "known_before": None if known is None else len(known),
                "balance": balance(selection, config.selection.count_column),
            },
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        with ExitStack() as stack:
            opened = stack.enter_context(open_run(config.out, identity, record)) if ranks.is_first else None
            ranks.wait()
            run = RunFolder(config.out, record) if opened is None else opened
            work = _Work(config, run, selection, material, asker, device, evaluator, ranks, trackers, report)
            work.all_cells(plans, siblings)
    return config.out


class _Work:
    """The cells of one run and their shared data. Only the first of several processes evaluates and writes."""

    def __init__(
        self,
        config: RunConfig,
        run: RunFolder,
        selection: Selection,
        material: Material,
        asker: Asker,
        device: torch.device,
        evaluator: Evaluator | None,
        ranks: Ranks,
        trackers: Trackers,
        report: ProgressFunction,
    ) -> None:
        self.config, self.run, self.selection, self.material = config, run, selection, material
        self.tokenizer, self.device, self.evaluator, self.ranks = asker.tokenizer, device, evaluator, ranks
        self.clock = asker.clock
        self.trackers, self._report = trackers, report
        self.pad_id = pad_id_of(asker.tokenizer, asker.limits.vocabulary)

    def report(self, progress: Progress) -> None:
        """Pass progress to the caller and the trackers."""
        self._report(progress)
        if self.ranks.is_first:
            self.trackers.progress(progress)

    def all_cells(self, plans: Sequence[MethodPlan], siblings: Sequence[Path]) -> None:
        """Evaluate the original, run each method, then write the tables and the summary."""
        if self.ranks.is_first:
            self.trackers.start(self.run.folder, self.run.record)
        status = "failed"
        try:
            self._cells(siblings)
            if self.ranks.is_first:
                self._conclude(plans)
            self._raise_failures()
            status = "done"
        except BaseException as error:
            status = "interrupted" if getattr(error, "exit_code", 1) == 130 else status
            raise
        finally:
            if self.ranks.is_first:
                self.trackers.finish(status)

    def _cells(self, siblings: Sequence[Path]) -> None:
        config = self.config
        pending = [method for method in config.methods if self._is_pending(method)]
        if self.ranks.is_first:
            for method in config.methods:
                self.run.cell(method.name).claim(config.method_fingerprint(method))
            self.run.write_examples(self.material)
        self.ranks.wait()
        before, key = self.run.cell(ORIGINAL), self._original_key()
        if self.ranks.is_first and not before.is_done():
            before.take_over(siblings, key)
        self.ranks.wait()
        if not pending and before.is_done():
            return
        check_stop()
        original = self.load()
        check_stop()
        if not before.is_done() and self.ranks.is_first:
            clocks = _Clocks()
            self.evaluate(original, before, "before")
            before.finish({"key": key, **clocks.read()})
        scores = OriginalScores(self.material, original, self.pad_id)
        sets = [(method, forget_set(method, self.material, scores, config.seed)) for method in pending]
        check_stop()
        del original, scores  # No method keeps the original as a second model.
        for method, forget in sets:
            try:
                self.method_cell(method, forget)
            except NumericsError as error:
                if self.ranks.is_first:
                    self.run.cell(method.name).fail(config.method_fingerprint(method), str(error))

    def _is_pending(self, method: MethodConfig) -> bool:
        """Return whether the method is neither finished nor failed with the same settings."""
        cell = self.run.cell(method.name)
        return not cell.is_done() and not cell.has_failed(self.config.method_fingerprint(method))

    def _failures(self) -> list[dict[str, str]]:
        """Return name and error of each failed method."""
        cells = [self.run.cell(method.name) for method in self.config.methods]
        return [{"method": cell.name, "error": cell.failure()["error"]} for cell in cells if cell.has_failed()]

    def _raise_failures(self) -> None:
        """Raise NumericsError if a method failed, now or in an earlier call."""
        self.ranks.wait()
        if failed := self._failures():
            raise NumericsError(
                f"{len(failed)} of {len(self.config.methods)} methods failed: "
                + "; ".join(each["error"] for each in failed)
                + f". The other methods are finished in {self.run.folder}. The same command skips failed methods; "
                "change the settings of a method to run it again, or remove its folder in cells/ to retry it"
            )

    def _original_key(self) -> str:
        """Return a key that equal evaluations of the original model share."""
        identity = self.run.record.get("identity", {})
        clock = f" {self.clock.isoformat()}" if self.clock else ""
        return f"{self.config.original_fingerprint()} {identity.get('model')} {identity.get('facts')}{clock}"

    def _conclude(self, plans: Sequence[MethodPlan]) -> None:
        """Write the tables of all cells, estimated and measured costs, alarms and the evaluator's summary."""
        names = [ORIGINAL, *(method.name for method in self.config.methods)]
        merge_tables([self.run.cell(name).folder for name in names], self.run.folder)
        alarms = [
            {"method": method.name, **alarm}
            for method in self.config.methods
            for alarm in self.run.cell(method.name).done().get("alarms", ())
        ]
        self.run.update(costs=[self._cost(plan) for plan in plans], alarms=alarms, failed=self._failures())
        if self.evaluator is not None:
            self.report(Progress("summary", 0, 1))
            self.evaluator.finish(self.run.folder)
            self.report(Progress("summary", 1, 1))

    def _cost(self, plan: MethodPlan) -> dict[str, Any]:
        """Return estimated and measured costs of one method."""
        measured = self.run.cell(plan.name).done().get("training", {})
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

    def load(self) -> PreTrainedModel:
        """Load the original model, with bfloat16 parameters only if the configuration asks for them."""
        dtype = torch.bfloat16 if self.config.dtype == "bfloat16" else torch.float32
        model: Any = load_model(self.config.model, self.config.revision, dtype, self.device, self.config.attention)
        if self.config.compile:
            model.base_model.compile(dynamic=True)  # the LM head gets gathered positions and is not compiled
        loaded: PreTrainedModel = model
        return loaded

    def method_cell(self, method: MethodConfig, forget: ForgetSet) -> None:
        """Unlearn with one method, evaluate, and mark its cell as done."""
        config, cell = self.config, self.run.cell(method.name)
        clocks, memory, energy = _Clocks(), PeakMemory(self.device), EnergyMeter(self.device)
        check_stop()
        model = self.load()

        def progress(step: Progress) -> None:
            energy.update()
            self.report(step)

        rows = unlearn(
            model,
            forget,
            self.material.retain,
            method,
            config.training,
            Dose(config.learning_rate_of(method), config.passes_of(method)),
            seed=config.seed,
            pad_id=self.pad_id,
            state_path=cell.state_path,
            autocast=config.dtype == "bfloat16-autocast",
            progress=progress,
            ranks=self.ranks,
        )
        if not self.ranks.is_first:
            return
        alarms = over_forgetting_alarms(rows, config.training.over_forgotten_share)
        warn_of_over_forgetting(method.name, alarms)
        cell.write("steps", pa.Table.from_pylist(rows), config.seed)
        trained = {**clocks.read(), "peak_memory_bytes": memory.read_bytes(), **energy.read()}
        check_stop()
        self.evaluate(model, cell, "after")
        if config.save_models:
            self.save_model(model, cell)
        described = method.model_dump(mode="json")
        cell.finish({"method": described, "steps": len(rows), "training": trained, "alarms": alarms, **clocks.read()})

    def evaluate(self, model: PreTrainedModel, cell: Cell, point: str) -> None:
        """Evaluate a checkpoint and store both tables with the run's seed and the cell's name."""
        if self.evaluator is None:
            return
        self.report(Progress(f"evaluate {cell.name}", 0, 1))
        facts, tokens = self.evaluator.evaluate(
            model,
            self.tokenizer,
            self.selection.facts,
            template=self.config.template,
            point=point,
            seed=self.config.seed,
        )
        cell.write("facts", facts, self.config.seed)
        cell.write("tokens", tokens, self.config.seed)
        self.report(Progress(f"evaluate {cell.name}", 1, 1))

    def save_model(self, model: PreTrainedModel, cell: Cell) -> None:
        """Save the unlearned model as a folder that ``from_pretrained`` loads."""
        folder = cell.folder / "model"
        with new_folder(folder) as partial:
            with quiet_transformers():
                model.save_pretrained(partial)
            # Save the original tokenizer: the prompts of this run are fixed in run.json, not in the model.
            load_tokenizer(self.config.model, self.config.revision).save_pretrained(str(partial))
            shutil.rmtree(folder, ignore_errors=True)


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
