"""Building an index: corpus files → spool files → shards → a folder that appears in one step.

A build writes to ``NAME.building`` next to the index. If it is interrupted, it continues there when it is started again
with the same sources and settings. Two builds of the same index cannot run at the same time.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol, cast

from factcensus.indexer.analyzers import Analyzer, FixedAnalyzer, get_analyzer
from factcensus.indexer.analyzers.words import WordTable
from factcensus.indexer.building.device_sort import choose_device
from factcensus.indexer.building.estimate import check_disk, estimate_build
from factcensus.indexer.building.settings import BuildSettings
from factcensus.indexer.building.spool import SpooledFile, SpoolTask, spool, spool_index
from factcensus.indexer.building.staging import (
    already_done,
    complete,
    discard,
    finish,
    move_in,
    staging,
    staging_folder,
)
from factcensus.indexer.building.upload import uploaded
from factcensus.indexer.corpus import BadLinePolicy, SourceFile, find_source_files
from factcensus.indexer.errors import InputError
from factcensus.indexer.paths import index_folder
from factcensus.indexer.storage.documents import (
    Chosen,
    count_sources,
    count_text_bytes,
    find_replaced,
    join_documents,
)
from factcensus.indexer.storage.index_analyzer import load_analyzer
from factcensus.indexer.storage.layout import hash_file, write_hashed
from factcensus.indexer.storage.maintain import (
    check_files,
    read_documents_of,
    read_manifest,
    write_states,
)
from factcensus.indexer.storage.manifest import (
    TOKENIZER,
    FileRecord,
    Layout,
    Manifest,
    ShardRecord,
)
from factcensus.indexer.system.files import write_atomically
from factcensus.indexer.system.locks import lock_folder
from factcensus.indexer.system.places import Place
from factcensus.indexer.system.processes import check_main_guard, map_tasks

#: Number of shards from which on ``add`` suggests ``compact``.
MANY_SHARDS = 32
#: The files from which compaction rebuilds an index (it derives the others), and the files that adding extends.
_COMPACTED = ("tokenized.", "offset.", "text.", "lists.", "kept.", "documents.", "vocabulary.", "deleted.")
_CONTINUED = ("vocabulary.", "deleted.")


class Progress(Protocol):
    """A progress callback, called often."""

    def __call__(self, stage: str, done: int, total: int, unit: str) -> None:
        """Report that ``done`` of ``total`` units of a stage are finished."""
        ...


def _silent(stage: str, done: int, total: int, unit: str) -> None:
    del stage, done, total, unit


def build_index(  # noqa: PLR0913 - options, which are given by name
    sources: str | Path | Sequence[str | Path],
    out: str | Path | Place,
    *,
    analyzer: str = "words",
    layout: Layout = "suffix-array",
    jobs: int | None = None,
    memory_bytes: int = 8 << 30,
    shard_tokens: int | None = None,
    text_field: str = "text",
    id_field: str = "id",
    on_bad_line: BadLinePolicy = "fail",
    keep_text: bool = False,
    device: str = "auto",
    progress: Progress | None = None,
    notice: Callable[[str], None] = lambda _message: None,
) -> Manifest:
    """Build an index of corpus files and folders.

    Args:
        sources: Files, folders or URLs.
        out: The index folder, which must not exist; or a URL, where the index is uploaded when it is complete.
        analyzer: See :func:`factcensus.indexer.analyzers.get_analyzer`.
        layout: ``suffix-array``, or ``compact``, which takes a third of the space and gives the same counts.
        jobs: Number of processes that read and analyse (fewer if memory is short) and of threads that sort; by default
            one per processor. The result is identical byte for byte for any number.
        memory_bytes: Memory limit for all processes together.
        shard_tokens: Maximum number of tokens of a shard, with one separator per document; by default as many as fit in
            memory. With a fixed number, the index is the same for any memory limit.
        text_field: The field with the text of a document; nested: ``a.b``.
        id_field: The field with its id, likewise.
        on_bad_line: ``fail`` stops at the first bad line, ``skip`` counts and reports bad lines.
        keep_text: Store the original texts as well, so that passages show them and strings are found exactly. It takes
            about 0.4 bytes per byte of text. The tokens of the analyzer ``bytes`` are the texts already.
        device: The device that sorts: ``cpu``, a PyTorch device such as ``cuda``, or ``auto``, which uses a CUDA device
            if there is one and the shard is large enough. The result is the same.
        progress: Called with the progress of each stage.
        notice: Called with a message about files left out in folders and lines skipped.

    Raises:
        InputError: A source, line or setting is invalid; ``out`` exists; or an interrupted build with other settings
            is there.
        OSError: The disk failed; the unfinished build stays and can be continued.
        PlaceError: A source cannot be read, or the index cannot be uploaded.
    """
    check_main_guard()
    if not (place := Place.of(out)).is_local:
        with uploaded(place, progress or _silent) as local:
            return build_index(
                sources,
                local,
                analyzer=analyzer,
                layout=layout,
                jobs=jobs,
                memory_bytes=memory_bytes,
                shard_tokens=shard_tokens,
                text_field=text_field,
                id_field=id_field,
                on_bad_line=on_bad_line,
                keep_text=keep_text,
                device=device,
                progress=progress,
                notice=notice,
            )
    out = place.path
    settings = BuildSettings(
        analyzer, memory_bytes, shard_tokens, text_field, id_field, on_bad_line, layout=layout, keep_text=keep_text
    )
    if out.exists():
        raise InputError(f"{out} exists; add to it with 'factcensus index add', or choose another --out")
    check_settings(settings)
    chosen = get_analyzer(analyzer)
    files = find_source_files(sources, notice=notice)
    run = run_of(jobs, device, progress, notice)
    estimate = estimate_build(
        files,
        chosen,
        memory_bytes=memory_bytes,
        jobs=run.jobs,
        layout=layout,
        keep_text=settings.stores_text,
    )
    check_disk(estimate, out, staging_folder(out))
    with staging(out, settings, chosen, files) as folder:
        new = complete(folder) or _build(folder, chosen, settings, _spool_files(folder, settings, files, run), run)
        finish(folder, out, new)
    return Manifest.read(out)


def add_to_index(  # noqa: PLR0913 - options, which are given by name
    index: str | Path,
    sources: str | Path | Sequence[str | Path],
    *,
    jobs: int | None = None,
    memory_bytes: int = 8 << 30,
    shard_tokens: int | None = None,
    text_field: str = "text",
    id_field: str = "id",
    on_bad_line: BadLinePolicy = "fail",
    replace: bool = False,
    allow_repeat: bool = False,
    device: str = "auto",
    progress: Progress | None = None,
    notice: Callable[[str], None] = lambda _message: None,
) -> Manifest:
    """Add documents to an index as new shards, and append new words to its vocabulary. See :func:`build_index`.

    Readers that have the index open continue with the old generation; the new manifest takes effect in one step.

    Args:
        index: A factcensus index folder.
        sources: As in :func:`build_index`, like all other arguments.
        replace: In the same step, delete old documents that have the id of an added one.
        allow_repeat: Also add files whose documents (ids and texts) are already in the index.

    Raises:
        InputError: As in :func:`build_index`; a file was already added, and neither ``replace`` nor ``allow_repeat`` is
            given; or with ``replace``, an added document has no id or the id of another added document.
        VerificationError: The vocabulary of the index, or its list of deleted documents, is damaged.
    """
    check_main_guard()
    index = index_folder(index)
    files = find_source_files(sources, notice=notice)
    run = run_of(jobs, device, progress, notice)
    read_manifest(index)
    with lock_folder(index):
        old = read_manifest(index)
        chosen = load_analyzer(index, old)
        settings = BuildSettings(
            name_of(index, old),
            memory_bytes,
            shard_tokens,
            text_field,
            id_field,
            on_bad_line,
            replace,
            old.layout,
            old.keeps_text,
        )
        check_settings(settings)
        if already_done(index, old, settings, files):
            return old
        check_files(index, old, [name for name in old.files if name.startswith(_CONTINUED)])
        with staging(index, settings, chosen, files, base=old.digest) as folder:
            tasks = _spool_files(folder, settings, files, run)
            if not replace and not allow_repeat:
                _refuse_repeated(folder, old, tasks)
            replaced = _find_replaced(index, old, tasks) if replace else {}
            new = _build(folder, chosen, settings, tasks, run, (index, old), replaced=replaced)
            new = new.after(old, "replace" if replaced else "add")
            move_in(folder, index, old, new)
    if len(new.shards) >= MANY_SHARDS:
        run.notice(
            f"{index} has {len(new.shards)} shards, and every count searches each of them; "
            f"run 'factcensus index compact {index}' to merge them"
        )
    return new


def _refuse_repeated(folder: Path, old: Manifest, tasks: Sequence[SpoolTask]) -> None:
    """Refuse files whose documents are already in an index; if so, remove the staging folder."""
    known = set(old.contents)
    results = [(task.file.name, task.finished()) for task in tasks]
    repeated = [name for name, result in results if result and result.documents and result.content in known]
    if repeated:
        discard(folder)
        shown = ", ".join(repeated[:5]) + (", …" if len(repeated) > 5 else "")
        raise InputError(
            f"the documents of {shown} are already in the index ({len(repeated)} of {len(tasks)} files), so nothing "
            "was added; leave these files out, or give --allow-repeat to count them again"
        )


def compact_index(
    index: str | Path,
    out: str | Path | Place | None = None,
    *,
    jobs: int | None = None,
    memory_bytes: int = 8 << 30,
    shard_tokens: int | None = None,
    device: str = "auto",
    progress: Progress | None = None,
) -> Manifest:
    """Rebuild an index from its tokens, without deleted documents and in as few shards as memory allows.

    The result equals that of :func:`build_index` for the remaining documents, except for their recorded files and
    lines. Ids and shards get new numbers.

    Args:
        index: A factcensus index folder.
        out: A new folder or URL for the result; by default the result replaces the index. Readers that have the old
            index open continue with it. In both cases, the disk temporarily holds both indexes.
        jobs: As in :func:`build_index`, like all other arguments.

    Raises:
        InputError: ``out`` exists, or every document is deleted.
        VerificationError: A file needed for the result is damaged.
    """
    index = index_folder(index)
    place = None if out is None else Place.of(out)
    if place is not None and not place.is_local:
        with uploaded(place, progress or _silent) as local:
            return compact_index(
                index,
                local,
                jobs=jobs,
                memory_bytes=memory_bytes,
                shard_tokens=shard_tokens,
                device=device,
                progress=progress,
            )
    if place is not None and place.path.exists():
        raise InputError(f"{out} exists; choose another --out")
    target = index if place is None else place.path
    run = run_of(jobs, device, progress)
    read_manifest(index)
    with lock_folder(index):
        old = read_manifest(index)
        chosen = load_analyzer(index, old)
        settings = BuildSettings(
            name_of(index, old), memory_bytes, shard_tokens, layout=old.layout, keep_text=old.keeps_text
        )
        check_settings(settings)
        if out is None and already_done(index, old, settings, []):
            return old
        if not old.documents:
            raise InputError(f"every document of {index} is deleted; remove the folder instead")
        check_files(index, old, [name for name in old.files if name.startswith(_COMPACTED)], run.checked)
        with staging(target, settings, chosen, [], base=old.digest) as folder:
            if out is not None and (new := complete(folder)):
                finish(folder, target, new)
                return new
            tasks = spool_index(index, old, folder / "spool", settings.analyzer, run.progress)
            first = 0 if out else 1 + max(shard.number for shard in old.shards)
            generation = 0 if out else (old.vocabulary_generation or 0) + 1
            new = _build(folder, chosen, settings, tasks, run, first_shard=first, generation=generation)
            new = replace(new, skipped_lines=old.skipped_lines, contents=old.contents).after(old, "compact")
            if out is None:
                move_in(folder, index, old, new)
            else:
                finish(folder, target, new)
    return new


def name_of(index: Path, manifest: Manifest) -> str:
    """Return a name by which this machine can load the analyzer of an index."""
    return f"hf:{index / TOKENIZER}" if TOKENIZER in manifest.files else manifest.analyzer


@dataclass(frozen=True, slots=True)
class Run:
    """The callbacks and resources of a build, which do not change the result."""

    jobs: int
    device: str
    progress: Progress
    notice: Callable[[str], None]

    def checked(self, done: int, total: int) -> None:
        """Report the number of checked bytes of the files to rewrite."""
        self.progress("check", done, total, "B")


def run_of(
    jobs: int | None, device: str, progress: Progress | None, notice: Callable[[str], None] = lambda _message: None
) -> Run:
    """Return the callbacks and resources of a build; the device must be usable."""
    choose_device(device, 0)  # refuses an unusable device before hours of work
    return Run(jobs or os.cpu_count() or 1, device, progress or _silent, notice)


def _build(  # noqa: PLR0913 - options, which are given by name
    folder: Path,
    analyzer: Analyzer,
    settings: BuildSettings,
    tasks: Sequence[SpoolTask],
    run: Run,
    base: tuple[Path, Manifest] | None = None,
    *,
    first_shard: int = 0,
    generation: int | None = 0,
    replaced: Chosen = MappingProxyType({}),
) -> Manifest:
    """Make all files of an index in ``folder`` from spool files, or the files to add to ``base``.

    Args:
        folder: The staging folder.
        analyzer: The analyzer of the index.
        settings: The settings of the build.
        tasks: The spooled corpus files.
        run: Callbacks and resources.
        base: The folder and manifest of the index to which documents are added.
        first_shard: Number of the first new shard; ignored with a base.
        generation: Generation of the vocabulary; ignored with a base.
        replaced: Documents of ``base`` to delete.

    Returns:
        The manifest of the complete index.
    """
    from factcensus.indexer.analyzers.huggingface import HuggingFaceAnalyzer
    from factcensus.indexer.building.shards import ShardForm, SortSettings, merge_words, plan_shards, write_shard
    from factcensus.indexer.storage.shards import open_vocabulary, write_lexicon

    spooled = [file for task in tasks if (file := task.finished())]
    if not any(file.documents for file in spooled):
        raise InputError("no documents in " + ", ".join(task.file.name for task in tasks))
    old = base[1] if base else None
    files: dict[str, FileRecord] = {}
    if not analyzer.has_vocabulary:
        generation = None
        vocabulary_size = cast(FixedAnalyzer, analyzer).vocabulary_size
        if isinstance(analyzer, HuggingFaceAnalyzer) and not old:
            digest = write_hashed(folder / TOKENIZER, analyzer.to_json())
            files[TOKENIZER] = FileRecord((folder / TOKENIZER).stat().st_size, digest)
    else:
        table = WordTable()
        if base and old and old.vocabulary_generation is not None:
            table = open_vocabulary(base[0], old.vocabulary_generation, settings.layout).table()
            generation = old.vocabulary_generation + 1
        for done in merge_words(tasks, table):
            settings.check_memory(len(table))  # before the vocabulary exceeds the memory limit
            run.progress("merge words", done, len(tasks), "files")
        vocabulary_size = len(table)
        files |= write_lexicon(folder, cast(int, generation), table, settings.layout)
        del table

    shards: list[ShardRecord] = []
    first = max((shard.number for shard in old.shards), default=-1) + 1 if old else first_shard
    for number, pieces in enumerate(
        plan_shards([(task, task.finished()) for task in tasks], settings.budget_tokens), first
    ):
        finished = folder / f"spool/shard.{number}.json"
        if stored := finished_shard(folder, finished):
            record, records = ShardRecord(**stored["shard"]), stored["files"]
        else:
            record, written = write_shard(
                folder,
                number,
                pieces,
                form=ShardForm(analyzer.token_dtype, vocabulary_size, settings.layout, settings.stores_text),
                run=SortSettings(run.jobs, run.device),
                on_stage=lambda stage, done, all, n=number: run.progress(f"{stage} shard {n}", done, all, "tokens"),  # type: ignore[misc]
            )
            records = {name: asdict(file) for name, file in written.items()}
            write_atomically(finished, json.dumps({"shard": asdict(record), "files": records}).encode())
        shards.append(record)
        files |= {name: FileRecord(**file) for name, file in records.items()}

    folders = {base[0]: base[1].shards, folder: shards} if base else {folder: shards}
    deleted = join_documents(read_documents_of(base[0], base[1], "deleted"), replaced) if base else {}
    states, state_files = write_states(
        folders,
        folder,
        deleted,
        old,
        lambda done, all: run.progress("count frequent", done, all, "shards"),
        layout=settings.layout,
    )
    tables = {shard.number: at / f"documents.{shard.number}.parquet" for at, part in folders.items() for shard in part}
    return Manifest(
        analyzer=analyzer.name,
        analyzer_label=analyzer.label,
        token_dtype=analyzer.token_dtype,
        vocabulary_size=vocabulary_size,
        vocabulary_generation=generation,
        shards=tuple(states),
        sources=count_sources(tables, deleted),
        text_bytes=count_text_bytes(tables, deleted),
        skipped_lines=sum(file.skipped_lines for file in spooled) + (old.skipped_lines if old else 0),
        contents=tuple(sorted({file.content for file in spooled if file.documents and file.content} | _contents(old))),
        files=dict(sorted((_lasting(state_files) | files).items())),
        layout=settings.layout,
    )


def _lasting(files: dict[str, FileRecord]) -> dict[str, FileRecord]:
    """Return all files except those of the vocabulary, which a build replaces by a new generation."""
    return {name: record for name, record in files.items() if not name.startswith("vocabulary.")}


def _contents(old: Manifest | None) -> set[str]:
    return set(old.contents) if old else set()


def _find_replaced(index: Path, old: Manifest, tasks: Sequence[SpoolTask]) -> Chosen:
    """Return the documents of an index that have the id of a spooled one."""
    tables = {shard.number: index / f"documents.{shard.number}.parquet" for shard in old.shards}
    return find_replaced(tables, read_documents_of(index, old, "deleted"), [task.path("parquet") for task in tasks])


def finished_shard(folder: Path, marker: Path) -> dict[str, Any] | None:
    """Return the record of a shard of an interrupted build if its files exist; a power cut may leave only that."""
    try:
        stored: dict[str, Any] = json.loads(marker.read_bytes())
        for name, record in stored["files"].items():
            if hash_file(folder / name) != record["sha256"]:
                return None
    except (OSError, ValueError, KeyError):
        return None
    return stored


def _spool_files(folder: Path, settings: BuildSettings, files: Sequence[SourceFile], run: Run) -> list[SpoolTask]:
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
    # Start with the largest, so that no large file runs alone at the end.
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


def check_settings(settings: BuildSettings) -> None:
    """Check the settings of a build.

    Raises:
        InputError: A setting is invalid, or the memory is too little.
    """
    settings.check_memory()
    settings.check_layout()
    if settings.on_bad_line not in ("fail", "skip"):
        raise InputError(f"on_bad_line must be 'fail' or 'skip', got {settings.on_bad_line!r}")
