"""The steps of a study of an invented world: corpus, index, counts, model, unlearning, oracle, pooled results.

The demo and ``reproduce`` run the same steps. Every step leaves a finished file or folder or none, so the same command
continues an interrupted study.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from factcensus.eval.names import ORACLE
from factcensus.indexer.system.progress import ConsoleProgress
from factcensus.unlearn.progress import Progress, ProgressFunction
from factcensus.unlearn.run_folder import merge_tables, read_record

if TYPE_CHECKING:
    from factcensus.unlearn import Preset, RunConfig

#: Strata of the world: never (phantoms), 1 to 3 documents, 4 to 15, and 16 or more. The edges are fixed, so that the
#: strata are the same in every seed.
BINS = "edges:1,4,16"
#: Minimum time between progress lines of one stage.
REPORT_EVERY_S = 5.0


@dataclass(frozen=True, slots=True)
class Study:
    """One model of one world, unlearned with every method of a preset.

    Attributes:
        preset: Settings of the world and the model, methods and doses.
        seed: Seed of the world, the model and the run.
        out: The folder of all results; worlds and models are in ``work`` inside it.
        part: The subfolder of ``out`` with the runs of this preset; empty if there is only one preset.
        world_name: Name of the world; studies with equal names and seeds share a world, its index and its counts.
    """

    preset: Preset
    seed: int
    out: Path
    part: str = ""
    world_name: str = ""

    @property
    def name(self) -> str:
        """The name of the study in progress reports."""
        return " ".join(filter(None, (self.part, f"seed {self.seed}")))

    def _work(self, *parts: str) -> Path:
        return self.out.joinpath("work", *filter(None, parts))

    @property
    def world(self) -> Path:
        """The folder of the world."""
        return self._work(self.world_name, f"world-{self.seed}")

    @property
    def index(self) -> Path:
        """The index of the corpus; its name is unique, because one service opens the indexes of all worlds."""
        return self._work("indexes", f"{self.world_name}-{self.seed}" if self.world_name else f"seed-{self.seed}")

    @property
    def strata(self) -> Path:
        """The table of counted facts."""
        return self._work(self.world_name, f"strata-{self.seed}.parquet")

    @property
    def model(self) -> Path:
        """The folder of the model before unlearning."""
        return self._work(self.part, f"model-{self.seed}")

    @property
    def retrained_model(self) -> Path:
        """The folder of the model trained without the forget set."""
        return self._work(self.part, f"{ORACLE}-{self.seed}")

    @property
    def run(self) -> Path:
        """The run folder."""
        return self.out / self.part / f"seed-{self.seed}"

    @property
    def oracle(self) -> Path:
        """The run folder of the oracle."""
        return self.out / self.part / f"{ORACLE}-{self.seed}"

    def config(self, model: Path | None = None) -> RunConfig:
        """Return the configuration of the run, which keeps the unlearned models."""
        config = self.preset.run_config(model=model or self.model, facts=self.strata, out=self.run, seed=self.seed)
        return config.model_copy(update={"save_models": True})


@dataclass(frozen=True, slots=True)
class Console:
    """The progress of the stages on stderr, and the time since the command began."""

    lines: ConsoleProgress = field(default_factory=lambda: ConsoleProgress(interval_s=REPORT_EVERY_S, clock=True))
    begun: float = field(default_factory=time.monotonic)

    def say(self, text: str) -> None:
        """Print a line that is not about a stage."""
        self.lines.say(text)

    def progress(self, name: str, progress: Progress) -> None:
        """Show the progress of a stage of a task."""
        self.lines(f"{name}: {progress.stage}", progress.done, progress.total, detail=progress.detail)

    def seconds(self) -> float:
        """Return the seconds since the command began."""
        return time.monotonic() - self.begun


def processors() -> int:
    """Return the number of processors available to this process."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


# --- what needs no model: worlds, indexes, counts ---


def count_worlds(studies: Sequence[Study], console: Console) -> None:
    """Write the worlds of all studies, index them, and count their facts through one service."""
    from factcensus.eval.service import serving
    from factcensus.indexer import build_index
    from factcensus.unlearn import write_world

    missing = list({study.strata: study for study in studies if not study.strata.is_file()}.values())
    for study in missing:
        console.say(f"{_world(study)}: {study.preset.world.people:,} people")
        study.index.parent.mkdir(parents=True, exist_ok=True)
        write_world(study.world, study.preset.world, study.seed)
        if not study.index.exists():
            console.say(f"{_world(study)}: index of its corpus")
            build_index([study.world / "corpus"], study.index)
    if not missing:
        return
    console.say("service: starting with " + ", ".join(study.index.name for study in missing))
    with serving([study.index for study in missing], missing[0].out / "work" / "service.log") as url:
        for study in missing:
            _count(study, url, console)
    console.say("service: stopped")


def _world(study: Study) -> str:
    return " ".join(filter(None, ("world", study.world_name, str(study.seed))))


def _count(study: Study, url: str, console: Console) -> None:
    from factcensus.api.client import Client
    from factcensus.indexer import read_facts, stratify, write_table

    facts = read_facts(study.world / "facts.jsonl")
    with Client(url) as client:
        counts = client.count_facts(study.index.name, facts)
    write_table(stratify(counts, bins=BINS), study.strata)
    console.say(f"{_world(study)}: {counts.num_rows:,} facts counted at {url}")


# --- what needs models; each function is a task of its own process ---


def train_model(study: Study, progress: ProgressFunction) -> Path:
    """Pre-train the model of a study and return its folder."""
    from factcensus.unlearn import pretrain

    return pretrain(study.world, study.model, study.preset.pretraining, study.seed, progress=progress)


def train_oracle(study: Study, progress: ProgressFunction) -> None:
    """Pre-train a model without the forget set, and ask it the same questions as the unlearned models."""
    from factcensus.eval.model_run import ModelToAsk, evaluate_models
    from factcensus.unlearn import pretrain
    from factcensus.unlearn.selection import read_fact_table, select

    preset, model = study.preset, study.retrained_model
    pretrain(study.world, model, preset.pretraining, study.seed, exclude_roles=("forget",), progress=progress)
    facts = select(read_fact_table(study.strata), study.config(model).selection, study.seed).facts
    evaluate_models(
        [ModelToAsk(str(model), ORACLE)],
        facts,
        study.oracle,
        seed=study.seed,
        device=preset.device,
        threads=preset.pretraining.threads,
        progress=progress,
    )


def pool(
    folders: Sequence[Path], out: Path, update: Callable[..., None], seconds: Callable[[], float]
) -> dict[str, Any]:
    """Write the pooled tables of several run folders, their summary and report into ``out``; return the summary.

    Args:
        update: Updates the record of ``out``.
        seconds: Returns the seconds of the whole study so far.
    """
    from factcensus.eval.model_run import TABLES
    from factcensus.eval.report.page import write_results
    from factcensus.eval.runs import read_run

    merge_tables(folders, out, TABLES)
    records = [read_record(folder) for folder in folders]
    kept = ("seed", "model", "facts", "index", "sets", "config", "identity")
    update(
        runs=[
            {"folder": folder.name, **{name: record[name] for name in kept if name in record}}
            for folder, record in zip(folders, records, strict=True)
        ]
    )
    summary = write_results(read_run(out), out, seconds=seconds())
    update(seconds=seconds())
    return summary
