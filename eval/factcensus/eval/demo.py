"""The demo, a complete study of an invented world: corpus, index, service, counts, models, unlearning, report.

    OUT/run.json, facts.parquet, tokens.parquet, steps.parquet, summary.json, report.html     all seeds pooled
    OUT/seed-S/                 the run folder of one seed: every method on that seed's model
    OUT/retrained-S/            the run folder of its oracle, a model trained without the forget set
    OUT/work/                   worlds, indexes, counted facts, models, the log of the service

Every stage leaves a finished folder or none, so the same command continues an interrupted demo.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from factcensus.eval.errors import EvaluationInputError
from factcensus.eval.names import ORACLE
from factcensus.eval.workers import Task, run_tasks
from factcensus.indexer.names import suggestion
from factcensus.indexer.system.progress import ConsoleProgress
from factcensus.unlearn.progress import Progress, ProgressFunction
from factcensus.unlearn.run_folder import library_versions, merge_tables, open_run, read_record

if TYPE_CHECKING:
    from factcensus.unlearn import Preset, RunConfig

#: Strata of the demo: never (phantoms), 1 to 3 documents, 4 to 15, and 16 or more. The edges are fixed, so that the
#: strata are the same in every seed.
BINS = "edges:1,4,16"
#: Attacks of each preset, all of which take a few seconds, and the methods they are tried on.
ATTACKED: dict[str, tuple[str, ...]] = {
    "demo": ("relearn", "quantise", "membership"),
    "gpu": ("relearn", "quantise", "few_shot", "paraphrase", "sample", "probe", "membership"),
}
ATTACKED_METHODS = ("simnpo", "idk")
#: Number of documents about bystanders used for perplexity and KL.
NEUTRAL_DOCUMENTS = 100
#: Minimum time between progress lines of one stage.
REPORT_EVERY_S = 5.0


@dataclass(frozen=True, slots=True)
class Places:
    """The paths of all files of a demo."""

    out: Path

    def work(self, name: str, seed: int) -> Path:
        """Return a folder or file of one seed that later stages read."""
        return self.out / "work" / name.format(seed=seed)

    def world(self, seed: int) -> Path:
        """Return the folder of the world."""
        return self.work("world-{seed}", seed)

    def index(self, seed: int) -> Path:
        """Return the index of the corpus."""
        return self.work("indexes/seed-{seed}", seed)

    def strata(self, seed: int) -> Path:
        """Return the table of counted facts."""
        return self.work("strata-{seed}.parquet", seed)

    def run(self, seed: int) -> Path:
        """Return the run folder."""
        return self.out / f"seed-{seed}"

    def oracle(self, seed: int) -> Path:
        """Return the run folder of the oracle."""
        return self.out / f"{ORACLE}-{seed}"


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


def run_demo(preset_name: str, out: Path) -> dict[str, Any]:
    """Run or continue a demo and return its summary.

    Raises:
        EvaluationInputError: the preset does not exist, or ``out`` contains a demo of another preset or other files.
        TaskError: the process of a seed failed.
    """
    _refuse_another_preset(out, preset_name)
    if (finished := _finished_summary(out)) is not None:
        return finished
    from factcensus.unlearn import PRESETS  # imports torch, which a finished demo does not need

    if preset_name not in PRESETS:
        raise EvaluationInputError(f"unknown preset {preset_name!r}{suggestion(preset_name, PRESETS)}")
    preset = PRESETS[preset_name]
    places, console, seeds = Places(out), Console(), range(preset.seeds)
    before = float(read_record(out).get("seconds", 0.0))
    settings = json.loads(json.dumps(asdict(preset)))
    with open_run(out, {"settings": settings}, _record(preset, seconds=before)) as run:
        (out / "work" / "indexes").mkdir(parents=True, exist_ok=True)
        _count(places, preset, console)
        try:
            run_tasks(_tasks(places, preset), jobs=_processors(), report=console.progress)
        finally:
            run.update(seconds=round(before + time.monotonic() - console.begun, 1))
        console.say("summary and report")
        folders = [places.run(seed) for seed in seeds] + [places.oracle(seed) for seed in seeds if preset.oracle]
        return _pool(folders, out, run.update, before, console)


def _processors() -> int:
    """Return the number of processors available to this process."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _record(preset: Preset, *, seconds: float) -> dict[str, Any]:
    return {
        "preset": preset.name,
        "seeds": list(range(preset.seeds)),
        "versions": library_versions(),
        "device": preset.device,
        "seconds": seconds,
    }


def _refuse_another_preset(out: Path, preset_name: str) -> None:
    record = read_record(out)
    there = record.get("preset") if record else preset_name
    if there != preset_name:
        what = f"a demo of preset {there!r}" if there else "another kind of run"
        raise EvaluationInputError(f"{out} contains {what}; choose another --out")


def _finished_summary(out: Path) -> dict[str, Any] | None:
    """Return the summary of a finished demo, or None if the demo is incomplete."""
    if read_record(out).get("status") != "done":
        return None
    if not all((out / name).is_file() for name in ("summary.json", "report.html", "facts.parquet")):
        return None
    summary: dict[str, Any] = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    return summary


# --- what needs no model: worlds, indexes, counts ---


def _count(places: Places, preset: Preset, console: Console) -> None:
    """Write each seed's world, index it, and count its facts through the service."""
    from factcensus.eval.service import serving
    from factcensus.indexer import build_index
    from factcensus.unlearn import write_world

    missing = [seed for seed in range(preset.seeds) if not places.strata(seed).is_file()]
    for seed in missing:
        console.say(f"seed {seed}: world of {preset.world.people:,} people")
        write_world(places.world(seed), preset.world, seed)
        if not places.index(seed).exists():
            console.say(f"seed {seed}: index of its corpus")
            build_index([places.world(seed) / "corpus"], places.index(seed))
    if not missing:
        return
    console.say("service: starting with " + ", ".join(places.index(seed).name for seed in missing))
    with serving([places.index(seed) for seed in missing], places.out / "work" / "service.log") as url:
        for seed in missing:
            _count_seed(places, seed, url, console)
    console.say("service: stopped")


def _count_seed(places: Places, seed: int, url: str, console: Console) -> None:
    from factcensus.api.client import Client
    from factcensus.indexer import read_facts, stratify, write_table

    facts = read_facts(places.world(seed) / "facts.jsonl")
    with Client(url) as client:
        counts = client.count_facts(places.index(seed).name, facts)
    write_table(stratify(counts, bins=BINS), places.strata(seed))
    console.say(f"seed {seed}: {counts.num_rows:,} facts counted at {url}")


# --- what needs models, a process a seed ---


def _tasks(places: Places, preset: Preset) -> list[Task]:
    """Return the tasks: unlearning for every seed first, because it takes longest, then the oracles."""
    seeds = range(preset.seeds)
    tasks = [Task(f"seed {seed}", unlearn_seed, (places, preset.name, seed)) for seed in seeds]
    if preset.oracle:
        tasks += [Task(f"oracle {seed}", train_oracle, (places, preset.name, seed)) for seed in seeds]
    return tasks


def unlearn_seed(places: Places, preset_name: str, seed: int, progress: ProgressFunction) -> None:
    """Pre-train the model of one seed and unlearn it with every method of the preset."""
    from factcensus.unlearn import PRESETS, pretrain, run_unlearning

    preset = PRESETS[preset_name]
    model = places.work("model-{seed}", seed)
    pretrain(places.world(seed), model, preset.pretraining, seed, progress=progress)
    config = preset.run_config(model=model, facts=places.strata(seed), out=places.run(seed), seed=seed)
    config = config.model_copy(update={"save_models": True})
    run_unlearning(config, progress=progress)
    if preset_name in ATTACKED:
        _look_beyond(places, preset, config, seed, progress)


def _look_beyond(places: Places, preset: Preset, config: RunConfig, seed: int, progress: ProgressFunction) -> None:
    """Attack some of the models and measure the utility of all of them, in the run folder of the seed."""
    from factcensus.eval.attacks.target import AttackSettings
    from factcensus.eval.extras import Extras
    from factcensus.eval.model_run import extend_run
    from factcensus.unlearn.selection import read_fact_table, select
    from factcensus.unlearn.world.rows import read_texts

    table = read_fact_table(places.strata(seed))
    facts = select(table, config.selection, seed).facts
    others = {str(fact["subject"]) for fact in table.to_pylist() if fact.get("role") not in ("bystander", "phantom")}
    neutral = tuple(read_texts(places.world(seed), others)[:NEUTRAL_DOCUMENTS])
    settings = AttackSettings(
        relearn_rate=config.training.learning_rate, relearn_steps=(16,), bits=(4,), samples=8, shots=(4,)
    )
    for attacks, methods in ((ATTACKED[preset.name], ATTACKED_METHODS), ((), None)):
        extras = Extras(attacks=attacks, attack_settings=settings, neutral=neutral)
        extend_run(
            places.run(seed), facts, extras, methods=methods, threads=preset.pretraining.threads, progress=progress
        )


def train_oracle(places: Places, preset_name: str, seed: int, progress: ProgressFunction) -> None:
    """Pre-train a model without the forget set, and ask it the same questions as the unlearned models."""
    from factcensus.eval.model_run import ModelToAsk, evaluate_models
    from factcensus.unlearn import PRESETS, pretrain
    from factcensus.unlearn.selection import read_fact_table, select

    preset = PRESETS[preset_name]
    model = places.work(ORACLE + "-{seed}", seed)
    pretrain(places.world(seed), model, preset.pretraining, seed, exclude_roles=("forget",), progress=progress)
    config = preset.run_config(model=model, facts=places.strata(seed), out=places.run(seed), seed=seed)
    facts = select(read_fact_table(places.strata(seed)), config.selection, seed).facts
    evaluate_models(
        [ModelToAsk(str(model), ORACLE)],
        facts,
        places.oracle(seed),
        seed=seed,
        device=preset.device,
        threads=preset.pretraining.threads,
        progress=progress,
    )


def _pool(
    folders: list[Path], out: Path, update: Callable[..., None], before: float, console: Console
) -> dict[str, Any]:
    """Write the pooled tables, the summary and the report."""
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
    seconds = round(before + time.monotonic() - console.begun, 1)
    summary = write_results(read_run(out), out, seconds=seconds)
    update(seconds=seconds)
    return summary
