"""Converting an index to another layout, with the same documents, words, changes and counts."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from factcensus.indexer.analyzers import NUMPY_DTYPE
from factcensus.indexer.building.assembly import finished_shard
from factcensus.indexer.building.run import Progress, check_settings, name_of, run_of
from factcensus.indexer.building.settings import BuildSettings
from factcensus.indexer.building.shards import ShardForm, SortSettings, write_search_files
from factcensus.indexer.building.staging import complete, finish, staging
from factcensus.indexer.errors import InputError
from factcensus.indexer.paths import index_folder
from factcensus.indexer.storage.index_analyzer import load_analyzer
from factcensus.indexer.storage.layout import write_hashed
from factcensus.indexer.storage.maintain import check_files, read_documents_of, read_manifest, write_state
from factcensus.indexer.storage.manifest import TOKENIZER, FileRecord, Layout, Manifest, ShardRecord, kept_name
from factcensus.indexer.storage.shard import Shard
from factcensus.indexer.storage.shards import open_text, open_vocabulary, write_lexicon
from factcensus.indexer.system.files import place_file, write_atomically
from factcensus.indexer.system.locks import lock_folder

#: The files that are derived from others, and so are not read.
_DERIVED = ("table.", "first.", "sample.", "frequent.")


def convert_index(
    index: str | Path,
    layout: Layout,
    out: str | Path,
    *,
    keep_text: bool = False,
    jobs: int | None = None,
    memory_bytes: int = 8 << 30,
    device: str = "auto",
    progress: Progress | None = None,
) -> Manifest:
    """Convert an index to another layout; repeating the call continues an interrupted conversion.

    The result equals an index that was built with this layout, byte for byte, if the index was not changed since.

    Args:
        index: A factcensus index folder.
        layout: The layout of the result.
        out: The new folder.
        keep_text: The result also has the original texts that the index keeps; otherwise they are left out.
        jobs: Number of threads that sort; by default one per processor.
        memory_bytes: Memory limit; it must be enough for the shards of the index.
        device: The device that sorts; see :func:`build_index`.
        progress: Called with the progress of each stage.

    Returns:
        The manifest of the result.

    Raises:
        InputError: ``out`` exists; the index has this layout already, or does not have the texts to keep; or the memory
            is too little for its shards.
        VerificationError: A file needed for the result is damaged.
    """
    index, out = index_folder(index), Path(out)
    if out.exists():
        raise InputError(f"{out} exists; choose another --out")
    run = run_of(jobs, device, progress)
    read_manifest(index)
    with lock_folder(index):
        old = read_manifest(index)
        if old.layout == layout:
            raise InputError(f"{index} has the layout {layout} already; give the other one")
        largest = max(shard.tokens + shard.documents for shard in old.shards)
        settings = BuildSettings(name_of(index, old), memory_bytes, largest, layout=layout, keep_text=keep_text)
        check_settings(settings)
        digest = old.digest
        if keep_text:
            old.check_keeps_text(index)
        else:
            old = old.without_text()
        check_files(index, old, [name for name in old.files if not name.startswith(_DERIVED)], run.checked)
        with staging(out, settings, load_analyzer(index, old), [], base=digest) as folder:
            new = complete(folder)
            if new is None:
                sort = SortSettings(run.jobs, run.device)
                new = _converted(index, old, folder, layout, sort, run.progress)
            finish(folder, out, new)
    return new


def _converted(
    index: Path, old: Manifest, folder: Path, layout: Layout, run: SortSettings, progress: Progress
) -> Manifest:
    """Write all files of the result, and return its manifest."""
    files: dict[str, FileRecord] = {}
    if old.vocabulary_generation is not None:
        table = open_vocabulary(index, old.vocabulary_generation, old.layout).table()
        files |= write_lexicon(folder, old.vocabulary_generation, table, layout)
        del table
    if TOKENIZER in old.files:
        place_file(index / TOKENIZER, folder / TOKENIZER)
        files[TOKENIZER] = old.files[TOKENIZER]
    shards: list[ShardRecord] = []
    states = {what: read_documents_of(index, old, what) for what in ("deleted", "repeated")}
    nothing = np.zeros(0, np.uint32)
    for record in old.shards:
        marker = folder / f"spool/shard.{record.number}.json"
        if stored := finished_shard(folder, marker):
            written = {name: FileRecord(**file) for name, file in stored["files"].items()}
        else:

            def on_stage(stage: str, done: int, all: int, number: int = record.number) -> None:
                progress(f"{stage} shard {number}", done, all, "tokens")

            written = _convert_shard(index, old, record, folder, layout, run, on_stage)
            gone, again = (each.get(record.number, nothing) for each in states.values())
            written |= write_state(folder, record, layout, gone, again, folder)[1]
            stored = {name: asdict(file) for name, file in written.items()}
            write_atomically(marker, json.dumps({"files": stored}).encode())
        shards.append(record)
        files |= written
    return replace(old, layout=layout, shards=tuple(shards), files=dict(sorted(files.items())))


def _convert_shard(
    index: Path,
    old: Manifest,
    record: ShardRecord,
    folder: Path,
    layout: Layout,
    run: SortSettings,
    on_stage: Callable[[str, int, int], None],
) -> dict[str, FileRecord]:
    """Write the files of one shard, except those that list its deleted and repeated documents."""
    names = [f"documents.{record.number}.parquet", kept_name(record.number)]
    files = {name: old.files[name] for name in names if name in old.files}
    for name in files:
        place_file(index / name, folder / name)
    shard = open_text(index, record, old.layout)
    dtype = NUMPY_DTYPE[old.token_dtype]
    tokens = shard.tokens(0, shard.size)
    on_stage("read", shard.size, shard.size)
    if layout == "suffix-array":
        name = f"tokenized.{record.number}"
        digest = write_hashed(folder / name, np.ascontiguousarray(tokens, dtype.newbyteorder("<")))
        files[name] = FileRecord((folder / name).stat().st_size, digest)
    contents = _places(shard, tokens, old.vocabulary_size, dtype)
    del tokens, shard
    form = ShardForm(old.token_dtype, old.vocabulary_size, layout)
    return files | write_search_files(folder, record.number, contents, form, run, on_stage)


def _places(
    shard: Shard, tokens: npt.NDArray[np.integer[Any]], vocabulary_size: int, dtype: np.dtype[Any]
) -> list[npt.NDArray[Any]]:
    """Return the arrays from which :func:`write_search_files` writes a shard."""
    starts = np.array(shard.document_starts, np.int64)
    used = np.zeros(vocabulary_size, np.bool_)
    ends = np.append(starts[1:], shard.size)
    for first in range(0, len(starts), 4096):  # ids of a part of the documents at a time, to bound the memory
        part = tokens[starts[first] : ends[min(first + 4096, len(ends)) - 1]]
        used[part[part != np.iinfo(dtype).max]] = True
    types = np.flatnonzero(used).astype(dtype)
    types = types[np.argsort(types.byteswap())]
    place_of = np.zeros(vocabulary_size + 1, np.uint32)  # never empty
    place_of[types] = np.arange(len(types), dtype=np.uint32)
    places = np.empty(len(tokens), np.uint32)
    step = 1 << 22
    for begin in range(0, len(tokens), step):
        part = tokens[begin : begin + step]
        separators = part == np.iinfo(dtype).max
        places[begin : begin + step] = np.where(separators, len(types), place_of[np.where(separators, 0, part)])
    return [places, starts, types]
