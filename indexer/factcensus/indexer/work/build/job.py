"""Dividing a build into units of a work folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, cast

from factcensus.indexer.analyzers import FixedAnalyzer, get_analyzer
from factcensus.indexer.building.settings import BuildSettings
from factcensus.indexer.corpus import SourceFile, find_source_files
from factcensus.indexer.errors import InputError
from factcensus.indexer.storage.manifest import FORMAT, MANIFEST, PLAN, TOKENIZER, read_content
from factcensus.indexer.system.files import PARTIAL
from factcensus.indexer.system.places import NoFileError, Place
from factcensus.indexer.system.processes import check_main_guard
from factcensus.indexer.work import Plan, Run, RunUnit, Unit, WorkFolder, run_job
from factcensus.indexer.work.build import units
from factcensus.indexer.work.build.objects import BuildFolder, FileTotals, bits_of, groups_of, to_json
from factcensus.indexer.work.job import Progress, Runner, progress_of
from factcensus.indexer.work.runners import LocalRunner

KIND = "build"
STAGES = ("spool", "merge", "root", "shards", "seal")
#: The stages of one unit.
SINGLE = ("root", "seal")
#: The stages for each value of ``--stage``.
STAGES_OF = {"spool": ("spool",), "merge": ("merge", "root"), "shards": ("shards",), "seal": ("seal",)}


@dataclass(frozen=True)
class BuildJob:
    """A build; picklable.

    Attributes:
        plan: What determines the index.
        files: The corpus files, with the credentials of their URLs.
        out: The folder of the index.
        memory_bytes: Memory limit of a machine; like the others below, it does not change the index.
        unit_bytes: Part of it for one unit of the present stage.
        threads: Threads per shard.
        device: The device that sorts.
    """

    plan: Plan
    files: tuple[SourceFile, ...]
    out: Place
    memory_bytes: int = 8 << 30
    unit_bytes: int = 0
    threads: int = 1
    device: str = "auto"
    stages: Sequence[str] = STAGES

    @property
    def settings(self) -> Any:
        """The settings of the plan."""
        return self.plan.settings

    @property
    def tokenizer(self) -> bool:
        """Whether the analyzer is a tokenizer, which is stored in the work folder."""
        return TOKENIZER in self.plan.inputs

    def check_memory(self, types: int) -> None:
        """Check that the memory is enough for a vocabulary; see :meth:`BuildSettings.check_memory`."""
        BuildSettings(memory_bytes=self.memory_bytes, shard_tokens=self.settings["shard_tokens"]).check_memory(types)

    def bucket_units(self, totals: list[FileTotals]) -> range:
        """Return the numbers of the units of ``merge`` that find repeated documents."""
        groups = len(groups_of(len(self.files))) if self.settings["vocabulary_size"] is None else 0
        return range(groups, groups + (1 << bits_of(totals)))

    def units(self, stage: str, folder: WorkFolder) -> Sequence[Unit]:
        """Return the units of a stage; all earlier stages are finished."""
        if stage == "spool":
            return [Unit(stage, n, file.size_bytes, None, (file.name,)) for n, file in enumerate(self.files)]
        build = BuildFolder(folder)
        totals = build.totals(len(self.files))
        if not any(total.documents for total in totals):
            raise InputError("no documents in " + ", ".join(file.name for file in self.files))
        buckets = self.bucket_units(totals)
        if stage == "merge":
            groups = groups_of(len(self.files)) if buckets.start else []
            words = [sum(totals[number].words for number in group) for group in groups]
            documents = sum(total.documents for total in totals)
            return [
                *(Unit(stage, n, 16 * size, None) for n, size in enumerate(words)),
                *(Unit(stage, n, 32 * documents // len(buckets), None) for n in buckets),
            ]
        if stage == "shards":
            shards = json.loads(build.root("pieces").read())
            return [Unit(stage, n, 4 * sum(piece[4] for piece in shard), shard) for n, shard in enumerate(shards)]
        return [Unit(stage, 0, 1)]

    def start(self, folder: WorkFolder) -> RunUnit:
        """Return the function that runs units."""
        build = BuildFolder(folder)
        analyzer = self.settings["analyzer"]
        if self.tokenizer:
            path = Path(mkdtemp(prefix="factcensus-")) / TOKENIZER
            path.write_bytes(folder.input(TOKENIZER))
            analyzer = f"hf:{path}"

        def run(unit: Unit, on_bytes: Callable[[int], None], notice: Callable[[str], None]) -> bytes:
            if unit.stage == "spool":
                return units.spool_file(self, build, unit.number, analyzer, on_bytes, notice)
            content = self._run(unit, build)
            on_bytes(unit.size_bytes)
            return content

        return run

    def _run(self, unit: Unit, build: BuildFolder) -> bytes:
        if unit.stage == "merge":
            totals = build.totals(len(self.files))
            buckets = self.bucket_units(totals)
            if unit.number in buckets:
                return units.find_repeats(build, unit.number, unit.number - buckets.start, totals)
            return units.merge_group(build, unit.number, groups_of(len(self.files))[unit.number])
        if unit.stage == "root":
            return units.make_root(self, build)
        if unit.stage == "shards":
            return units.build_shard(self, build, unit.number, unit.what)
        return to_json({"digest": units.seal(self, build, self.out).digest})

    def finish(self, folder: WorkFolder, out: Place, *, allow_missing: bool = False) -> str:
        """Write the manifest if it is missing, and return one line about the index.

        Raises:
            InputError: Units are missing, or the shards were written to another place.
        """
        if allow_missing:
            raise InputError("an index needs all units; leave out --allow-missing")
        if str(out) != self.settings["out"]:
            raise InputError(f"the shards were written to {self.settings['out']}, not {out}; give the first as --out")
        now = progress_of(self, folder)
        if now.stage is None:
            return f"{out}: {read_content(json.loads((out / MANIFEST).read())).summary()}"
        if now.stage != "seal":
            raise InputError(
                f"{len(now.missing):,} units of the stage {now.stage} are missing; run 'factcensus index build' again"
            )
        return f"{out}: {units.seal(replace(self, out=out), BuildFolder(folder), out).summary()}"


def from_plan(plan: Plan) -> BuildJob:
    """Return the job for the plan of a work folder; it can finish but not run, because a plan has no credentials."""
    files = tuple(SourceFile(file.url, file.name, file.size_bytes, file.tag) for file in plan.files)
    return BuildJob(plan, files, Place.of(plan.settings["out"]))


@dataclass(frozen=True, slots=True)
class Resources:
    """The resources of one machine for a build; they do not affect the index.

    Attributes:
        runner: Returns the runner with a number of processes.
        jobs: Number of processors to use.
        device: See :func:`factcensus.indexer.build_index`.
    """

    runner: Callable[[int], Runner]
    jobs: int = 1
    device: str = "auto"


def build_with_work(
    sources: str | Path | Sequence[str | Path],
    out: str | Path | Place,
    work: str | Path | Place,
    settings: BuildSettings,
    resources: Resources,
    *,
    stages: Sequence[str] = STAGES,
    run: Run | None = None,
) -> tuple[Progress, BuildJob]:
    """Build an index as far as this machine can, with a work folder that other machines may share.

    The index equals the one that :func:`factcensus.indexer.build_index` makes with the same settings, byte for byte.

    Args:
        sources: Files, folders or URLs, which all machines give alike.
        out: The folder or URL of the index; must not exist, except from this work.
        work: The work folder.
        settings: The settings of the build; the size of shards follows from the memory if it is not given.
        resources: The runner and the processors of this machine.
        stages: Run only these stages.
        run: Callbacks.

    Returns:
        How far the work is, and the job.

    Raises:
        InputError: A source, line or setting is invalid; ``out`` exists; or the work folder has another plan.
        PlaceError: Files could not be read or written; the other units are done.
    """
    check_main_guard()
    run = run or Run()
    settings.check_memory()
    settings.check_layout()
    folder, target = WorkFolder(Place.of(work)), Place.of(out)
    files = tuple(find_source_files(sources, notice=run.notice))
    plan, inputs = _plan(settings, files, target)
    if (folder.place / PLAN).exists():
        folder.claim(plan, inputs)  # only compares; a difference of settings is the better message
    _claim_out(target, plan, folder)
    folder.claim(plan, inputs)
    _mark_out(target, plan, folder)
    job = BuildJob(plan, files, target, settings.memory_bytes, device=resources.device)
    now = progress_of(job, folder)
    if now.stage is None or now.stage not in stages:
        return now, job
    with getattr(resources.runner(resources.jobs), "connected", nullcontext)():  # one cluster for all stages
        while now.stage is not None and now.stage in stages:
            before = now.stage
            jobs, threads = _share(settings, now.stage, resources.jobs)
            runner = _runner_of(resources.runner(jobs), now.stage)
            unit_bytes = settings.memory_bytes // settings.processes(now.stage)
            now = run_job(
                replace(job, threads=threads, unit_bytes=unit_bytes), folder, runner, run, stages=(now.stage,)
            )
            if now.stage == before:
                break  # other machines have the rest
    return now, job


def _runner_of(runner: Runner, stage: str) -> Runner:
    """Return the runner of a stage; if it has one unit, any part may run it, so the last to finish begins the next."""
    return replace(runner, part=0, parts=1) if stage in SINGLE and isinstance(runner, LocalRunner) else runner


def _share(settings: BuildSettings, stage: str, jobs: int) -> tuple[int, int]:
    """Return the number of processes and of threads per process for a stage, within the memory limit."""
    fit = min(jobs, settings.processes(stage))
    return fit, (max(1, jobs // fit) if stage == "shards" else 1)


def _plan(settings: BuildSettings, files: Sequence[SourceFile], out: Place) -> tuple[Plan, dict[str, bytes]]:
    from factcensus.indexer.analyzers.huggingface import HuggingFaceAnalyzer

    analyzer = get_analyzer(settings.analyzer)
    inputs = {TOKENIZER: analyzer.to_json()} if isinstance(analyzer, HuggingFaceAnalyzer) else {}
    chosen = {
        "analyzer": analyzer.name,
        "analyzer_label": analyzer.label,
        "token_dtype": analyzer.token_dtype,
        "vocabulary_size": None if analyzer.has_vocabulary else cast(FixedAnalyzer, analyzer).vocabulary_size,
        "tokenizer": hashlib.sha256(inputs[TOKENIZER]).hexdigest() if inputs else None,
        "shard_tokens": settings.budget_tokens,
        "line_bytes": settings.line_bytes,
        "text_field": settings.text_field,
        "id_field": settings.id_field,
        "on_bad_line": settings.on_bad_line,
        "layout": settings.layout,
        "keep_text": settings.stores_text,
        "out": str(out),
    }
    return Plan.of(KIND, chosen, files, inputs, job_format=FORMAT), inputs


def _claim_out(out: Place, plan: Plan, folder: WorkFolder) -> None:
    """Refuse an output folder with content that this work did not write.

    Raises:
        InputError: It has; or it cannot be written.
    """
    (out / MANIFEST).check_writable()
    try:
        stored: Any = json.loads((out / PLAN).read())
    except (NoFileError, ValueError):
        stored = None
    if isinstance(stored, dict) and stored != _mark(plan, folder):
        raise InputError(f"{out} belongs to the work in {stored.get('work')}; choose another --out, or continue that")
    if stored is not None or folder.has(Unit("seal", 0, 0)) or not _has_content(out):
        return  # the plan of finished work is compared when it is claimed
    if (out / MANIFEST).facts() is None or not _sealed_by(plan, folder):
        raise InputError(f"{out} exists; choose another --out")


def _has_content(out: Place) -> bool:
    if out.is_local:
        return out.exists() and (not out.is_folder() or any(path.suffix != PARTIAL for path in out.path.iterdir()))
    return out.exists()


def _sealed_by(plan: Plan, folder: WorkFolder) -> bool:
    """Return whether this work was killed between writing the manifest and recording that it is done."""
    try:
        return folder.plan() == plan and bool(folder.done("shards"))
    except InputError:
        return False


def _mark(plan: Plan, folder: WorkFolder) -> dict[str, str]:
    return {"digest": plan.digest, "work": str(folder)}


def _mark_out(out: Place, plan: Plan, folder: WorkFolder) -> None:
    """Mark the output folder as unfinished, so that it is not opened as an index that infini-gram built."""
    if not folder.has(Unit("seal", 0, 0)) and (out / MANIFEST).facts() is None:
        (out / PLAN).write(json.dumps(_mark(plan, folder)).encode())
