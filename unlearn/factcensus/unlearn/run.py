"""One run: a model, a fact table, a seed, several methods, one folder. Read it like the method section of a paper."""

from __future__ import annotations

import platform
import shutil
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import torch

from factcensus.unlearn.config import MethodConfig, RunConfig
from factcensus.unlearn.evaluation import Evaluator, get_evaluator
from factcensus.unlearn.models import (
    file_digest,
    load_model,
    load_tokenizer,
    model_digest,
    pad_id_of,
    quiet_transformers,
)
from factcensus.unlearn.prepare import Material, OriginalScores, forget_set, index_provenance, prepare
from factcensus.unlearn.progress import Progress, ProgressFunction, silent
from factcensus.unlearn.run_folder import ORIGINAL, Cell, RunFolder, open_run
from factcensus.unlearn.runtime import resolve_device, torch_threads
from factcensus.unlearn.selection import Selection, read_fact_table, select
from factcensus.unlearn.train import Dose, ForgetSet, unlearn

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

LIBRARIES = ("factcensus", "torch", "transformers", "tokenizers", "numpy", "pyarrow")


def run_unlearning(
    config: RunConfig, evaluator: Evaluator | None = None, progress: ProgressFunction | None = None
) -> Path:
    """Run every method of a configuration that is not finished yet; returns the run folder.

    Args:
        config: A checked configuration.
        evaluator: Instead of the one that the configuration names.
        progress: Called with what goes on.

    Raises:
        ConfigError, ExampleError: wrong input; nothing has been trained.
        RunFolderError: the folder holds another run.
        InterruptedRunError: SIGTERM; the same call continues.
    """
    evaluator = evaluator or get_evaluator(config.evaluator)
    device = resolve_device(config.device)
    selection = select(read_fact_table(config.facts), config.selection, config.seed)
    tokenizer = load_tokenizer(config.model, config.revision)
    material = prepare(selection, config, tokenizer)
    identity = {
        "settings": config.fingerprint(),
        "model": model_digest(config.model, config.revision),
        "facts": file_digest(config.facts),
    }
    record = {
        "config": config.resolved(),
        "seed": config.seed,
        "versions": {"python": platform.python_version()} | {name: version(name) for name in LIBRARIES},
        "device": str(device),
        "model": {"name": config.model, "digest": identity["model"]},
        "facts": {"path": str(config.facts), "digest": identity["facts"], "rows": len(selection.rows)},
        "index": index_provenance(selection, config),
        "sets": {"forget": len(selection.forget), "retain": len(selection.retain)},
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    with open_run(config.out, identity, record) as run, torch_threads(config.threads):
        _Work(config, run, selection, material, tokenizer, device, evaluator, progress or silent).all_cells()
    return config.out


class _Work:
    """The cells of one run, and what they share."""

    def __init__(
        self,
        config: RunConfig,
        run: RunFolder,
        selection: Selection,
        material: Material,
        tokenizer: PreTrainedTokenizerBase,
        device: torch.device,
        evaluator: Evaluator | None,
        report: ProgressFunction,
    ) -> None:
        self.config, self.run, self.selection, self.material = config, run, selection, material
        self.tokenizer, self.device, self.evaluator, self.report = tokenizer, device, evaluator, report
        self.pad_id = pad_id_of(tokenizer)

    def all_cells(self) -> None:
        """The original, then each method, then the tables and the summary of all."""
        pending = [method for method in self.config.methods if not self.run.cell(method.name).is_done()]
        before = self.run.cell(ORIGINAL)
        if pending or not before.is_done():
            original = self.load()
            if not before.is_done():
                clocks = _Clocks()
                self.evaluate(original, before, "before")
                before.finish(clocks.read())
            scores = OriginalScores(self.material, original, self.pad_id)
            sets = [(method, forget_set(method, self.material, scores, self.config.seed)) for method in pending]
            # The original has said all it will: it stays in memory only where the retain term asks it at every step.
            kept = original if any(method.retain == "kl" for method in pending) else None
            del original, scores
            for method, forget in sets:
                self.method_cell(method, forget, kept)
        self.run.concatenate([ORIGINAL, *(method.name for method in self.config.methods)])
        if self.evaluator is not None:
            self.report(Progress("summary", 0, 1))
            self.evaluator.finish(self.run.folder)
            self.report(Progress("summary", 1, 1))

    def load(self) -> PreTrainedModel:
        """The original model. Parameters are float32 unless the configuration asks for what loses updates."""
        dtype = torch.bfloat16 if self.config.dtype == "bfloat16" else torch.float32
        return load_model(self.config.model, self.config.revision, dtype, self.device)

    def method_cell(self, method: MethodConfig, forget: ForgetSet, original: PreTrainedModel | None) -> None:
        """Unlearn with one method, evaluate, and mark its cell as done."""
        config, cell = self.config, self.run.cell(method.name)
        cell.folder.mkdir(parents=True, exist_ok=True)
        clocks = _Clocks()
        model = self.load()
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
            original=original,
            autocast=config.dtype == "bfloat16-autocast",
            progress=self.report,
        )
        cell.write("steps", pa.Table.from_pylist(rows), {"seed": config.seed, "method": method.name})
        trained = clocks.read()
        self.evaluate(model, cell, "after")
        if config.save_models:
            self.save_model(model, cell)
        described = method.model_dump(mode="json")
        cell.finish({"method": described, "steps": len(rows), "training": trained, **clocks.read()})

    def evaluate(self, model: PreTrainedModel, cell: Cell, point: str) -> None:
        """Measure a checkpoint and store both tables with the run's seed and the cell's name."""
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
        columns = {"seed": self.config.seed, "method": cell.name}
        cell.write("facts", facts, columns)
        cell.write("tokens", tokens, columns)
        self.report(Progress(f"evaluate {cell.name}", 1, 1))

    def save_model(self, model: PreTrainedModel, cell: Cell) -> None:
        """Keep the unlearned model as a folder that ``from_pretrained`` loads."""
        unfinished = cell.folder / "model.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        with quiet_transformers():
            model.save_pretrained(unfinished)
        self.tokenizer.save_pretrained(str(unfinished))
        shutil.rmtree(cell.folder / "model", ignore_errors=True)
        unfinished.rename(cell.folder / "model")


class _Clocks:
    """Seconds since it was made. They go to done.json only: tables are equal whenever the settings are."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.monotonic(), time.process_time()

    def read(self) -> dict[str, Any]:
        """Wall and processor seconds."""
        return {
            "wall_seconds": round(time.monotonic() - self._wall, 2),
            "cpu_seconds": round(time.process_time() - self._cpu, 2),
        }
