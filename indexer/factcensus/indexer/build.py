"""Building an index: corpus files → spool → shards → a folder that appears in one step.

Everything is written to ``NAME.building`` beside the index. A build that was killed goes on there when it is
started again with the same sources and settings; two builds of one index exclude each other.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import multiprocessing
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from factcensus.indexer.analyzers import Analyzer, get_analyzer
from factcensus.indexer.analyzers.words import WordTable
from factcensus.indexer.corpus import BadLinePolicy, SourceFile, find_source_files
from factcensus.indexer.errors import InputError, NoIndexError
from factcensus.indexer.layout import hash_file, sync_files, write_atomically, write_hashed
from factcensus.indexer.manifest import MANIFEST, TOKENIZER, FileRecord, Manifest, ShardRecord
from factcensus.indexer.spool import BATCH_BYTES, SpoolTask, spool

#: Memory that building a shard takes per token: 13 for the arrays, the rest for scratch and repeated text.
BYTES_PER_TOKEN = 32
#: Above this a table entry would need five bytes (u32 ids).
MOST_SHARD_TOKENS = (1 << 30) - 1


class Progress(Protocol):
    """Told how far a stage is; called often."""

    def __call__(self, stage: str, done: int, total: int, unit: str) -> None:
        """``done`` of ``total`` units of a stage are finished."""
        ...


def _silent(stage: str, done: int, total: int, unit: str) -> None:
    del stage, done, total, unit


@dataclass(frozen=True, slots=True)
class BuildSettings:
    """How an index is built; part of what a resumed build must agree in, but for ``jobs``."""

    analyzer: str = "words"
    memory_bytes: int = 8 << 30
    shard_tokens: int | None = None
    text_field: str = "text"
    on_bad_line: BadLinePolicy = "fail"

    @property
    def budget_tokens(self) -> int:
        """Tokens of a shard, separators included, that fit the memory."""
        if self.shard_tokens is not None:
            return self.shard_tokens
        return min(MOST_SHARD_TOKENS, int(self.memory_bytes * 0.8) // BYTES_PER_TOKEN)


def build_index(
    sources: Sequence[str | Path],
    out: str | Path,
    *,
    analyzer: str = "words",
    jobs: int | None = None,
    memory_bytes: int = 8 << 30,
    shard_tokens: int | None = None,
    text_field: str = "text",
    on_bad_line: BadLinePolicy = "fail",
    progress: Progress | None = None,
    notice: Callable[[str], None] = lambda _message: None,
) -> Manifest:
    """Build an index of corpus files and folders.

    Args:
        sources: files, folders or fsspec URLs.
        out: the index folder; must not exist.
        analyzer: see :func:`factcensus.indexer.analyzers.get_analyzer`.
        jobs: processes that read and analyse, and threads that sort; the processors of this machine unless said
            otherwise. The result is the same, byte for byte, for any number.
        memory_bytes: bound of the memory that sorting one shard may take; more text makes more shards.
        shard_tokens: most tokens of a shard, instead of what the memory allows.
        text_field: the field that holds a document's text.
        on_bad_line: ``fail`` stops at the first, ``skip`` counts and reports them.
        progress: told how far each stage is.
        notice: told of files left out and lines skipped.

    Raises:
        InputError: a source, a line or a setting that cannot be used; ``out`` exists; a build with other settings
            was interrupted there.
        OSError: the disk; the unfinished build stays and can be continued.
    """
    out = Path(out)
    settings = BuildSettings(analyzer, memory_bytes, shard_tokens, text_field, on_bad_line)
    if out.exists():
        raise InputError(f"{out} exists; add to it with 'factcensus index add', or choose another --out")
    _check(settings)
    chosen = get_analyzer(analyzer)
    files = find_source_files(sources, notice=notice)
    with _staging(out, settings, files) as folder:
        manifest = _build(folder, chosen, settings, files, jobs, progress or _silent, notice, None)
        sync_files(folder / name for name in manifest.files)
        manifest.write(folder)
        sync_files([folder / MANIFEST])
        shutil.rmtree(folder / "spool")
        for name in ("plan.json", "lock"):
            (folder / name).unlink()
        folder.rename(out)
    sync_files([out.parent])
    return manifest


def add_to_index(
    index: str | Path,
    sources: Sequence[str | Path],
    *,
    jobs: int | None = None,
    memory_bytes: int = 8 << 30,
    shard_tokens: int | None = None,
    text_field: str = "text",
    on_bad_line: BadLinePolicy = "fail",
    progress: Progress | None = None,
    notice: Callable[[str], None] = lambda _message: None,
) -> Manifest:
    """Add documents to an index: new shards, and new words behind the known ones. See :func:`build_index`.

    Readers that have the index open keep what they opened; the new manifest takes effect in one step.
    """
    index = Path(index)
    if not (index / MANIFEST).is_file():
        raise NoIndexError(f"no index of factcensus's at {index}; make one with 'factcensus index build'")
    old = Manifest.read(index)
    name = f"hf:{index / TOKENIZER}" if (index / TOKENIZER).exists() else old.analyzer
    settings = BuildSettings(name, memory_bytes, shard_tokens, text_field, on_bad_line)
    _check(settings)
    chosen = get_analyzer(name)
    if chosen.label.partition("@")[2] != old.analyzer_label.partition("@")[2] or (
        name == old.analyzer and chosen.label != old.analyzer_label
    ):
        raise InputError(f"{index} was built with {old.analyzer_label}, here it is {chosen.label}; rebuild the index")
    files = find_source_files(sources, notice=notice)
    with _staging(index, settings, files) as folder:
        new = _build(folder, chosen, settings, files, jobs, progress or _silent, notice, (index, old))
        added = new.files.keys() - old.files.keys()
        sync_files(folder / name for name in added)
        for name in added:
            (folder / name).rename(index / name)
        new.write(index)
        sync_files([index / MANIFEST, index])
        for name in old.files.keys() - new.files.keys():
            (index / name).unlink(missing_ok=True)
        shutil.rmtree(folder)
    return new


def _build(
    folder: Path,
    analyzer: Analyzer,
    settings: BuildSettings,
    files: Sequence[SourceFile],
    jobs: int | None,
    progress: Progress,
    notice: Callable[[str], None],
    base: tuple[Path, Manifest] | None,
) -> Manifest:
    """Make all files of an index in ``folder``, or those that are added to ``base``; the manifest of the whole."""
    from factcensus.indexer.analyzers.huggingface import HuggingFaceAnalyzer
    from factcensus.indexer.shards import count_sources, merge_words, plan_shards, write_shard
    from factcensus.indexer.vocabulary import Vocabulary, write_vocabulary

    jobs = jobs or os.cpu_count() or 1
    spool_folder = folder / "spool"
    tasks = [
        SpoolTask(number, file, spool_folder, settings.analyzer, settings.text_field, settings.on_bad_line)
        for number, file in enumerate(files)
    ]
    spooled = _spool_all(tasks, jobs, progress, notice)
    if not any(file.documents for file in spooled):
        raise InputError("no documents in " + ", ".join(file.name for file in files))

    old = base[1] if base else None
    generation = None
    all_files: dict[str, FileRecord] = dict(old.files) if old else {}
    if analyzer.has_vocabulary:
        table = WordTable()
        generation = 0
        if base and old and old.vocabulary_generation is not None:
            table = Vocabulary(base[0], old.vocabulary_generation).table()
            generation = old.vocabulary_generation + 1
            all_files = {n: r for n, r in all_files.items() if not n.startswith("vocabulary.")}
        merge_words(tasks, table, lambda done: progress("merge words", done, len(tasks), "files"))
        vocabulary_size = len(table)
        digests = write_vocabulary(folder, generation, table)
        all_files |= {name: FileRecord((folder / name).stat().st_size, digest) for name, digest in digests.items()}
        del table
    else:
        vocabulary_size = analyzer.vocabulary_size  # type: ignore[attr-defined]
        if isinstance(analyzer, HuggingFaceAnalyzer) and not old:
            digest = write_hashed(folder / TOKENIZER, [analyzer.to_json()])
            all_files[TOKENIZER] = FileRecord((folder / TOKENIZER).stat().st_size, digest)

    shards: list[ShardRecord] = list(old.shards) if old else []
    first = max((shard.number for shard in shards), default=-1) + 1
    for number, pieces in enumerate(plan_shards(tasks, settings.budget_tokens), first):
        finished = folder / f"spool/shard.{number}.json"
        if stored := _finished_shard(folder, finished):
            record, records = ShardRecord(**stored["shard"]), stored["files"]
        else:
            record, written = write_shard(
                folder,
                number,
                pieces,
                token_dtype=analyzer.token_dtype,
                vocabulary_size=vocabulary_size,
                threads=jobs,
                on_stage=lambda stage, done, all, n=number: progress(f"{stage} shard {n}", done, all, "tokens"),  # type: ignore[misc]
            )
            records = {name: asdict(file) for name, file in written.items()}
            write_atomically(finished, json.dumps({"shard": asdict(record), "files": records}).encode())
        shards.append(record)
        all_files |= {name: FileRecord(**file) for name, file in records.items()}

    sources = {name: dict(counts) for name, counts in (old.sources if old else {}).items()}
    for name, counts in count_sources(tasks).items():
        entry = sources.setdefault(name, {"documents": 0, "tokens": 0})
        for key, value in counts.items():
            entry[key] += value
    return Manifest(
        analyzer=old.analyzer if old else analyzer.name,
        analyzer_label=old.analyzer_label if old else analyzer.label,
        token_dtype=analyzer.token_dtype,
        vocabulary_size=vocabulary_size,
        vocabulary_generation=generation,
        shards=tuple(shards),
        sources=dict(sorted(sources.items())),
        text_bytes=sum(file.text_bytes for file in spooled) + (old.text_bytes if old else 0),
        skipped_lines=sum(file.skipped_lines for file in spooled) + (old.skipped_lines if old else 0),
        files=dict(sorted(all_files.items())),
    )


def _finished_shard(folder: Path, marker: Path) -> dict[str, Any] | None:
    """What an interrupted build said of a shard, if the disk really holds it (a power cut may keep only the marker)."""
    try:
        stored: dict[str, Any] = json.loads(marker.read_bytes())
        for name, record in stored["files"].items():
            if hash_file(folder / name) != record["sha256"]:
                return None
    except (OSError, ValueError, KeyError):
        return None
    return stored


# --- the spool stage in processes -----------------------------------------------------------------------------------

_bytes_done: Any = None
_notices: Any = None


def _start_worker(bytes_done: Any, notices: Any) -> None:
    global _bytes_done, _notices  # what a worker process shares with its parent
    _bytes_done, _notices = bytes_done, notices


def _spool_in_worker(task: SpoolTask) -> Any:
    def on_bytes(position: int) -> None:
        _bytes_done[task.number] = position

    return spool(task, on_bytes, _notices.put)


def _spool_all(tasks: Sequence[SpoolTask], jobs: int, progress: Progress, notice: Callable[[str], None]) -> list[Any]:
    total = sum(task.file.size_bytes for task in tasks)
    jobs = min(jobs, len(tasks))
    if jobs == 1 or total < 16 << 20:  # starting processes would take longer
        results = []
        before = 0
        for task in tasks:
            results.append(spool(task, lambda at, before=before: progress("analyse", before + at, total, "B"), notice))  # type: ignore[misc]
            before += task.file.size_bytes
            progress("analyse", before, total, "B")
        return results
    context = multiprocessing.get_context("spawn")
    bytes_done = context.Array("q", len(tasks), lock=False)
    notices = context.Queue()
    with ProcessPoolExecutor(jobs, context, _start_worker, (bytes_done, notices)) as pool:
        futures = [pool.submit(_spool_in_worker, task) for task in tasks]
        number_of = {future: number for number, future in enumerate(futures)}
        waiting = set(futures)
        try:
            while waiting:
                done, waiting = wait(waiting, timeout=0.5, return_when=FIRST_COMPLETED)
                for future in done:
                    future.result()
                    bytes_done[number_of[future]] = tasks[number_of[future]].file.size_bytes
                while not notices.empty():
                    notice(notices.get())
                progress("analyse", sum(bytes_done), total, "B")
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        return [future.result() for future in futures]


# --- the staging folder -----------------------------------------------------------------------------------------------


@contextmanager
def _staging(index: Path, settings: BuildSettings, files: Sequence[SourceFile]) -> Iterator[Path]:
    """The folder in which this build is made or continued, locked."""
    folder = index.with_name(index.name + ".building")
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(f"another process is building {index}; wait for it to end") from error
        plan = {"settings": asdict(settings), "batch_bytes": BATCH_BYTES, "files": [asdict(file) for file in files]}
        digest = hashlib.sha256(json.dumps(plan, sort_keys=True).encode()).hexdigest()
        stored = folder / "plan.json"
        if stored.exists() and json.loads(stored.read_bytes())["digest"] != digest:
            raise InputError(
                f"an interrupted build with other sources or settings lies in {folder}; start it again as it was, or "
                "delete that folder"
            )
        (folder / "spool").mkdir(exist_ok=True)
        write_atomically(stored, json.dumps({"digest": digest, **plan}, indent=1).encode())
        yield folder


def _check(settings: BuildSettings) -> None:
    if settings.budget_tokens < 1:
        raise InputError(f"{settings.memory_bytes} bytes of memory are too few for any shard; give at least 64MiB")
    if settings.on_bad_line not in ("fail", "skip"):
        raise InputError(f"on_bad_line is 'fail' or 'skip', not {settings.on_bad_line!r}")
