"""From spool files to all files of an index, in its staging folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

from factcensus.indexer.analyzers import Analyzer, FixedAnalyzer
from factcensus.indexer.analyzers.words import WordTable
from factcensus.indexer.building.run import Run
from factcensus.indexer.building.settings import BuildSettings
from factcensus.indexer.building.spool import SpooledFile, SpoolTask, spool
from factcensus.indexer.corpus import SourceFile
from factcensus.indexer.errors import InputError
from factcensus.indexer.storage.chosen import Chosen, join_documents
from factcensus.indexer.storage.layout import hash_file, write_hashed
from factcensus.indexer.storage.maintain import read_documents_of, write_states
from factcensus.indexer.storage.manifest import TOKENIZER, FileRecord, Manifest, ShardRecord
from factcensus.indexer.storage.totals import count_totals
from factcensus.indexer.system.files import write_atomically
from factcensus.indexer.system.processes import map_tasks


def spool_files(folder: Path, settings: BuildSettings, files: Sequence[SourceFile], run: Run) -> list[SpoolTask]:
    """Analyse all files that are not yet spooled, several at a time."""
    tasks = [
        SpoolTask(
            number,
            file,
            folder / "spool",
            settings.analyzer,
            settings.text_field,
            settings.id_field,
            settings.on_bad_line,
            settings.line_bytes,
            settings.stores_text,
        )
        for number, file in enumerate(files)
    ]
    # Largest files first; a large one started last would keep a single process busy at the end.
    ordered = sorted(tasks, key=lambda task: -task.file.size_bytes)
    for _ in map_tasks(
        _spooler,
        ordered,
        [task.file.size_bytes for task in ordered],
        jobs=min(run.jobs, settings.processes("spool")),
        progress=lambda done, total: run.progress("analyse", done, total, "B"),
        notice=run.notice,
    ):
        pass
    return tasks


def _spooler() -> Callable[[SpoolTask, Callable[[int], None], Callable[[str], None]], SpooledFile]:
    return spool


@dataclass(frozen=True, slots=True)
class Base:
    """The index to which documents are added.

    Attributes:
        folder: Its folder.
        manifest: Its manifest.
        replaced: Its documents to delete.
    """

    folder: Path
    manifest: Manifest
    replaced: Chosen

    def deleted(self) -> Chosen:
        """Return the deleted documents of the base, including the replaced ones."""
        return join_documents(read_documents_of(self.folder, self.manifest, "deleted"), self.replaced)


@dataclass(frozen=True, slots=True)
class _Vocabulary:
    """The vocabulary of an index; its generation is None if the ids are those of the analyzer."""

    size: int
    generation: int | None
    files: dict[str, FileRecord]


def assemble(
    folder: Path,
    analyzer: Analyzer,
    settings: BuildSettings,
    tasks: Sequence[SpoolTask],
    run: Run,
    base: Base | None = None,
    *,
    first_shard: int = 0,
    generation: int = 0,
) -> Manifest:
    """Make all files of an index in ``folder`` from spool files, or the files to add to ``base``.

    Args:
        folder: The staging folder.
        analyzer: The analyzer of the index.
        settings: The settings of the build.
        tasks: The spooled corpus files.
        run: Callbacks and resources.
        base: The index to which documents are added.
        first_shard: Number of the first new shard; ignored with a base.
        generation: Generation of the vocabulary, if there is one; ignored with a base.

    Returns:
        The manifest of the complete index.
    """
    spooled = [file for task in tasks if (file := task.finished())]
    if not any(file.documents for file in spooled):
        raise InputError("no documents in " + ", ".join(task.file.name for task in tasks))
    old = base.manifest if base else None
    if analyzer.has_vocabulary:
        vocabulary = _merge_vocabulary(folder, settings, tasks, run, base, generation)
    else:
        vocabulary = _fixed_vocabulary(folder, cast(FixedAnalyzer, analyzer), old)
    first = max((shard.number for shard in old.shards), default=-1) + 1 if old else first_shard
    shards, shard_files = _write_shards(folder, analyzer, settings, tasks, run, first, vocabulary.size)

    folders = {base.folder: base.manifest.shards, folder: shards} if base else {folder: shards}
    deleted = base.deleted() if base else {}
    states, state_files = write_states(
        folders,
        folder,
        deleted,
        old,
        lambda done, all: run.progress("count frequent", done, all, "shards"),
        layout=settings.layout,
    )
    tables = {shard.number: at / f"documents.{shard.number}.parquet" for at, part in folders.items() for shard in part}
    sources, text_bytes = count_totals(tables, deleted)
    return Manifest(
        analyzer=analyzer.name,
        analyzer_label=analyzer.label,
        token_dtype=analyzer.token_dtype,
        vocabulary_size=vocabulary.size,
        vocabulary_generation=vocabulary.generation,
        shards=tuple(states),
        sources=sources,
        text_bytes=text_bytes,
        skipped_lines=sum(file.skipped_lines for file in spooled) + (old.skipped_lines if old else 0),
        contents=tuple(sorted({file.content for file in spooled if file.documents and file.content} | _contents(old))),
        files=dict(sorted((_lasting(state_files) | vocabulary.files | shard_files).items())),
        layout=settings.layout,
    )


def _merge_vocabulary(
    folder: Path,
    settings: BuildSettings,
    tasks: Sequence[SpoolTask],
    run: Run,
    base: Base | None,
    generation: int,
) -> _Vocabulary:
    """Merge the words of all files into a vocabulary, after the words of the base."""
    from factcensus.indexer.building.shards import merge_words
    from factcensus.indexer.storage.shards import open_vocabulary, write_lexicon

    table = WordTable()
    if base and base.manifest.vocabulary_generation is not None:
        table = open_vocabulary(base.folder, base.manifest.vocabulary_generation, settings.layout).table()
        generation = base.manifest.vocabulary_generation + 1
    for done in merge_words(tasks, table):
        settings.check_memory(len(table))  # before the vocabulary exceeds the memory limit
        run.progress("merge words", done, len(tasks), "files")
    return _Vocabulary(len(table), generation, write_lexicon(folder, generation, table, settings.layout))


def _fixed_vocabulary(folder: Path, analyzer: FixedAnalyzer, old: Manifest | None) -> _Vocabulary:
    """Return the vocabulary of the analyzer; a new index gets a copy of its tokenizer."""
    files: dict[str, FileRecord] = {}
    if analyzer.name.startswith("hf:") and not old:
        from factcensus.indexer.analyzers.huggingface import HuggingFaceAnalyzer

        assert isinstance(analyzer, HuggingFaceAnalyzer)
        digest = write_hashed(folder / TOKENIZER, analyzer.to_json())
        files[TOKENIZER] = FileRecord((folder / TOKENIZER).stat().st_size, digest)
    return _Vocabulary(analyzer.vocabulary_size, None, files)


def _write_shards(
    folder: Path,
    analyzer: Analyzer,
    settings: BuildSettings,
    tasks: Sequence[SpoolTask],
    run: Run,
    first: int,
    vocabulary_size: int,
) -> tuple[list[ShardRecord], dict[str, FileRecord]]:
    """Write all shards that an interrupted build has not finished; return their records, and those of their files."""
    from factcensus.indexer.building.shards import ShardForm, SortSettings, plan_shards, write_shard

    form = ShardForm(analyzer.token_dtype, vocabulary_size, settings.layout, settings.stores_text)
    shards: list[ShardRecord] = []
    files: dict[str, FileRecord] = {}
    plan = plan_shards([(task, task.finished()) for task in tasks], settings.budget_tokens)
    for number, pieces in enumerate(plan, first):
        finished = folder / f"spool/shard.{number}.json"
        if stored := finished_shard(folder, finished):
            record, records = ShardRecord(**stored["shard"]), stored["files"]
        else:
            on_stage = partial(_report_stage, run, number)
            sort = SortSettings(run.jobs, run.device)
            record, written = write_shard(folder, number, pieces, form=form, run=sort, on_stage=on_stage)
            records = {name: asdict(file) for name, file in written.items()}
            write_atomically(finished, json.dumps({"shard": asdict(record), "files": records}).encode())
        shards.append(record)
        files |= {name: FileRecord(**file) for name, file in records.items()}
    return shards, files


def _report_stage(run: Run, number: int, stage: str, done: int, all: int) -> None:
    run.progress(f"{stage} shard {number}", done, all, "tokens")


def finished_shard(folder: Path, marker: Path) -> dict[str, Any] | None:
    """Return the record of a shard of an interrupted build if its files exist; a power cut may lose them."""
    try:
        stored: dict[str, Any] = json.loads(marker.read_bytes())
        for name, record in stored["files"].items():
            if hash_file(folder / name) != record["sha256"]:
                return None
    except (OSError, ValueError, KeyError):
        return None
    return stored


def _lasting(files: dict[str, FileRecord]) -> dict[str, FileRecord]:
    """Return all files except those of the vocabulary, which a build replaces by a new generation."""
    return {name: record for name, record in files.items() if not name.startswith("vocabulary.")}


def _contents(old: Manifest | None) -> set[str]:
    return set(old.contents) if old else set()
