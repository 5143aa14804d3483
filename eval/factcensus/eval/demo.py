"""The demo, a complete study of an invented world: corpus, index, service, counts, models, unlearning, report.

    OUT/run.json, facts.parquet, tokens.parquet, steps.parquet, summary.json, report.html     all seeds pooled
    OUT/seed-S/                 the run folder of one seed: every method on that seed's model
    OUT/retrained-S/            the run folder of its oracle, a model trained without the forget set
    OUT/work/                   worlds, indexes, counted facts, models, the log of the service

Every stage leaves a finished folder or none, so the same command continues an interrupted demo.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from factcensus.eval.errors import EvaluationInputError
from factcensus.eval.study import Console, Study, count_worlds, pool, processors, train_model, train_oracle
from factcensus.eval.workers import Task, run_tasks
from factcensus.indexer.names import suggestion
from factcensus.unlearn.progress import ProgressFunction
from factcensus.unlearn.run_folder import library_versions, open_run, read_record

if TYPE_CHECKING:
    from factcensus.unlearn import Preset, RunConfig

#: Attacks of each preset, all of which take a few seconds, and the methods they are tried on.
ATTACKED: dict[str, tuple[str, ...]] = {
    "demo": ("relearn", "quantise", "membership"),
    "gpu": ("relearn", "quantise", "few_shot", "paraphrase", "sample", "probe", "membership"),
}
ATTACKED_METHODS = ("simnpo", "idk")
#: Number of documents about bystanders used for perplexity and KL.
NEUTRAL_DOCUMENTS = 100


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
    preset, console = PRESETS[preset_name], Console()
    studies = [Study(preset, seed, out) for seed in range(preset.seeds)]
    before = float(read_record(out).get("seconds", 0.0))

    def seconds() -> float:
        return round(before + console.seconds(), 1)

    settings = json.loads(json.dumps(asdict(preset)))
    with open_run(out, {"settings": settings}, _record(preset, seconds=before)) as run:
        count_worlds(studies, console)
        try:
            run_tasks(_tasks(studies), jobs=processors(), report=console.progress)
        finally:
            run.update(seconds=seconds())
        console.say("summary and report")
        folders = [study.run for study in studies] + [study.oracle for study in studies if preset.oracle]
        return pool(folders, out, run.update, seconds)


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


def _tasks(studies: list[Study]) -> list[Task]:
    """Return the tasks: unlearning for every seed first, because it takes longest, then the oracles."""
    tasks = [Task(study.name, unlearn_seed, (study,)) for study in studies]
    return tasks + [Task(f"oracle {each.seed}", train_oracle, (each,)) for each in studies if each.preset.oracle]


def unlearn_seed(study: Study, progress: ProgressFunction) -> None:
    """Pre-train the model of one seed, unlearn it with every method of the preset, and attack the results."""
    from factcensus.unlearn import run_unlearning

    train_model(study, progress)
    config = study.config()
    run_unlearning(config, progress=progress)
    if study.preset.name in ATTACKED:
        _look_beyond(study, config, progress)


def _look_beyond(study: Study, config: RunConfig, progress: ProgressFunction) -> None:
    """Attack some of the models and measure the utility of all of them, in the run folder of the seed."""
    from factcensus.eval.attacks.target import AttackSettings
    from factcensus.eval.extras import Extras
    from factcensus.eval.model_run import extend_run
    from factcensus.unlearn.selection import read_fact_table, select
    from factcensus.unlearn.world.rows import read_texts

    preset = study.preset
    table = read_fact_table(study.strata)
    facts = select(table, config.selection, study.seed).facts
    others = {str(fact["subject"]) for fact in table.to_pylist() if fact.get("role") not in ("bystander", "phantom")}
    neutral = tuple(read_texts(study.world, others)[:NEUTRAL_DOCUMENTS])
    settings = AttackSettings(
        relearn_rate=config.training.learning_rate, relearn_steps=(16,), bits=(4,), samples=8, shots=(4,)
    )
    for attacks, methods in ((ATTACKED[preset.name], ATTACKED_METHODS), ((), None)):
        extras = Extras(attacks=attacks, attack_settings=settings, neutral=neutral)
        extend_run(study.run, facts, extras, methods=methods, threads=preset.pretraining.threads, progress=progress)
