"""The tasks of the units of a distributed build; each function returns the content of the unit's object."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from itertools import accumulate
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from factcensus.indexer.analyzers import NUMPY_DTYPE
from factcensus.indexer.analyzers.words import WordTable
from factcensus.indexer.building.shards import Piece, ShardForm, SortSettings, plan_shards, write_shard
from factcensus.indexer.building.spool import SPOOL_FILES, SpoolTask, spool, write_words
from factcensus.indexer.storage.maintain import write_state
from factcensus.indexer.storage.manifest import MANIFEST, PLAN, TOKENIZER, FileRecord, Manifest, ShardRecord
from factcensus.indexer.storage.repeated import RECORD, Repeats, records_of, repeated_in
from factcensus.indexer.storage.shards import write_lexicon
from factcensus.indexer.storage.totals import count_totals
from factcensus.indexer.system.places import Place, read_ranges
from factcensus.indexer.work.build.objects import (
    BIN_BITS,
    BuildFolder,
    FetchedFile,
    FileTotals,
    bits_of,
    groups_of,
    pieces_to_json,
    to_json,
    words_of,
)
from factcensus.indexer.work.plan import check_unchanged

if TYPE_CHECKING:
    from factcensus.indexer.work.build.job import BuildJob

OnBytes = Callable[[int], None]
#: Files whose digests are read together.
_TOGETHER = 1000


@contextmanager
def _scratch() -> Iterator[Path]:
    with TemporaryDirectory(prefix="factcensus-") as folder:
        yield Path(folder)


def spool_file(
    job: BuildJob, build: BuildFolder, number: int, analyzer: str, on_bytes: OnBytes, notice: Callable[[str], None]
) -> bytes:
    """Analyse one corpus file."""
    file, settings = job.files[number], job.settings
    with _scratch() as folder:
        task = SpoolTask(
            number,
            file,
            folder,
            analyzer,
            settings["text_field"],
            settings["id_field"],
            settings["on_bad_line"],
            settings["line_bytes"],
            settings["keep_text"],
        )
        result = spool(task, on_bytes, notice)
        check_unchanged(file)
        words = 0
        if task.path("words.npz").exists():
            words = len(words_of(task.path("words.npz").read_bytes())[1]) - 1
        records = np.concatenate([np.zeros(0, RECORD), *records_of({0: task.path("parquet")}, {})])
        records = records[np.argsort(records["digest"], kind="stable")]
        edges = np.arange(1 << BIN_BITS, dtype=np.uint64) << np.uint64(64 - BIN_BITS)
        bins = np.append(np.searchsorted(records["digest"], edges), len(records)).astype("<u8")
        build.spooled(number, "digests").write(records.tobytes())
        build.spooled(number, "bins").write(bins.tobytes())
        for ending in SPOOL_FILES:
            if task.path(ending).exists():
                build.spooled(number, ending).upload(task.path(ending))
    return to_json(FileTotals(**asdict(result), words=words))


def merge_group(build: BuildFolder, group: int, files: range) -> bytes:
    """Merge the words of some files in order."""
    table = WordTable()
    maps = [table.extend(*words_of(build.spooled(number, "words.npz").read())).astype("<u4") for number in files]
    build.merged(group, "maps").write(np.concatenate(maps).tobytes())
    starts = table.starts[: len(table) + 1]
    content = io.BytesIO()
    write_words(content, table.arena[: starts[-1]], starts)
    build.merged(group, "words").write(content.getvalue())
    return to_json({"words": len(table)})


def find_repeats(build: BuildFolder, unit: int, bucket: int, totals: list[FileTotals]) -> bytes:
    """Find the repeated documents of one bucket of digests."""
    step = 1 << (BIN_BITS - bits_of(totals))
    first, last = bucket * step, (bucket + 1) * step
    before = list(accumulate((total.documents for total in totals), initial=0))
    parts = [np.zeros(0, RECORD)]
    for begin in range(0, len(totals), _TOGETHER):
        numbers = range(begin, min(len(totals), begin + _TOGETHER))
        bins = read_ranges([(build.spooled(number, "bins"), 8 * first, 8 * last + 8) for number in numbers])
        ranges = [np.frombuffer(each, "<u8")[[0, -1]].astype(np.int64) * RECORD.itemsize for each in bins]
        contents = read_ranges(
            [
                (build.spooled(number, "digests"), int(low), int(high))
                for number, (low, high) in zip(numbers, ranges, strict=True)
            ]
        )
        for number, content in zip(numbers, contents, strict=True):
            records = np.frombuffer(content, RECORD).copy()
            records["document"] += np.uint64(before[number])
            parts.append(records)
    found = repeated_in(np.concatenate(parts))
    build.merged(unit, "repeats").write(found.astype("<u8").tobytes())
    return to_json({"repeated": len(found)})


def make_root(job: BuildJob, build: BuildFolder) -> bytes:
    """Merge the words of all groups, write the vocabulary or the tokenizer to the index, and plan the shards."""
    totals = build.totals(len(job.files))
    files: dict[str, FileRecord] = {}
    vocabulary_size = job.settings["vocabulary_size"]
    with _scratch() as folder:
        if vocabulary_size is None:
            table = WordTable()
            for group, _ in enumerate(groups_of(len(job.files))):
                ids = table.extend(*words_of(build.merged(group, "words").read()))
                build.root(f"global.{group:06d}").write(ids.astype("<u4").tobytes())
                job.check_memory(len(table))
            vocabulary_size = len(table)
            files |= write_lexicon(folder, 0, table, job.settings["layout"])
            for name in files:
                (job.out / name).upload(folder / name)
        elif job.tokenizer:
            content = build.folder.input(TOKENIZER)
            (job.out / TOKENIZER).write(content)
            files[TOKENIZER] = FileRecord(len(content), job.settings["tokenizer"])
        spooled = [(FetchedFile(build, number, folder, len(totals)), total) for number, total in enumerate(totals)]
        shards = list(plan_shards(spooled, job.settings["shard_tokens"]))
    build.root("pieces").write(pieces_to_json(shards))
    documents = [sum(piece.last - piece.first for piece in shard) for shard in shards]
    starts = np.array(list(accumulate(documents, initial=0)), np.uint64)
    cuts = [np.searchsorted(_repeats(build, unit), starts) for unit in job.bucket_units(totals)]
    build.root("cuts").write(np.array(cuts, "<u8").tobytes())
    return to_json(
        {"vocabulary_size": vocabulary_size, "files": {name: asdict(record) for name, record in files.items()}}
    )


def _repeats(build: BuildFolder, unit: int) -> Any:
    return np.frombuffer(build.merged(unit, "repeats").read(), "<u8")


def build_shard(job: BuildJob, build: BuildFolder, number: int, pieces: list[list[Any]]) -> bytes:
    """Write all files of one shard to the index."""
    root = build.json_of("root", 0)
    dtype = NUMPY_DTYPE[job.settings["token_dtype"]]
    with _scratch() as folder, _scratch() as ids:
        made = []
        for file_number, first, last, first_token, tokens, whole, first_text_byte in pieces:
            file = FetchedFile(build, file_number, ids, len(job.files))
            file.fetch(first_token, tokens, dtype)
            made.append(Piece(file, first, last, first_token, tokens, whole, first_text_byte))
        record, files = write_shard(
            folder,
            number,
            made,
            form=ShardForm(
                job.settings["token_dtype"],
                root["vocabulary_size"],
                job.settings["layout"],
                job.settings["keep_text"],
            ),
            run=SortSettings(job.threads, job.device),
            on_stage=lambda *_: None,
        )
        for piece in made:
            piece.file.release()  # type: ignore[attr-defined]  # a fetched file
        again = _repeated_rows(job, build, number, record)
        record, states = write_state(folder, record, job.settings["layout"], np.zeros(0, np.uint32), again, folder)
        files |= states
        for name in files:
            (job.out / name).upload(folder / name)
        sources, text_bytes = count_totals({number: folder / f"documents.{number}.parquet"}, {})
        described = {
            "shard": asdict(record),
            "files": {name: asdict(each) for name, each in files.items()},
            "sources": sources,
            "text_bytes": text_bytes,
        }
    return to_json(described)


def _repeated_rows(job: BuildJob, build: BuildFolder, number: int, record: ShardRecord) -> Any:
    """Return the repeated documents of a shard, from its part of each bucket."""
    totals = build.totals(len(job.files))
    units = job.bucket_units(totals)
    cuts = np.frombuffer(build.root("cuts").read(), "<u8").reshape(len(units), -1).astype(np.int64)
    parts = read_ranges(
        [
            (build.merged(unit, "repeats"), 8 * int(cut[number]), 8 * int(cut[number + 1]))
            for unit, cut in zip(units, cuts, strict=True)
        ]
    )
    shards = json.loads(build.root("pieces").read())
    before = sum(last - first for shard in shards[:number] for _, first, last, *_ in shard)
    return Repeats(np.frombuffer(part, "<u8") for part in parts).rows(before, record.documents)


def seal(job: BuildJob, build: BuildFolder, out: Place) -> Manifest:
    """Write the manifest, which makes the index visible, and return it."""
    totals = build.totals(len(job.files))
    root = build.json_of("root", 0)
    shards = [build.json_of("shards", number) for number in range(len(json.loads(build.root("pieces").read())))]
    files = root["files"] | {name: record for shard in shards for name, record in shard["files"].items()}
    sources: dict[str, dict[str, int]] = {}
    for shard in shards:
        for source, counts in shard["sources"].items():
            total = sources.setdefault(source, dict.fromkeys(counts, 0))
            for name, count in counts.items():
                total[name] += count
    manifest = Manifest(
        analyzer=job.settings["analyzer"],
        analyzer_label=job.settings["analyzer_label"],
        token_dtype=job.settings["token_dtype"],
        vocabulary_size=root["vocabulary_size"],
        vocabulary_generation=0 if job.settings["vocabulary_size"] is None else None,
        shards=tuple(ShardRecord(**shard["shard"]) for shard in shards),
        sources=sources,
        text_bytes=sum(shard["text_bytes"] for shard in shards),
        skipped_lines=sum(total.skipped_lines for total in totals),
        contents=tuple(sorted({total.content for total in totals if total.documents and total.content})),
        files={name: FileRecord(**files[name]) for name in sorted(files)},
        layout=job.settings["layout"],
    )
    (out / MANIFEST).write(manifest.render())
    (out / PLAN).delete()
    return manifest
