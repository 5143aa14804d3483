"""Compaction: an index is rebuilt from its tokens, without its deleted documents."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from factcensus.indexer.building.assembly import assemble
from factcensus.indexer.building.run import Progress, check_settings, name_of, run_of, silent
from factcensus.indexer.building.settings import BuildSettings
from factcensus.indexer.building.spool import spool_index
from factcensus.indexer.building.staging import already_done, complete, finish, move_in, staging
from factcensus.indexer.building.upload import uploaded
from factcensus.indexer.errors import InputError
from factcensus.indexer.paths import index_folder
from factcensus.indexer.storage.index_analyzer import load_analyzer
from factcensus.indexer.storage.maintain import check_files, read_manifest
from factcensus.indexer.storage.manifest import Manifest
from factcensus.indexer.system.locks import lock_folder
from factcensus.indexer.system.places import Place

#: The files from which an index is rebuilt; the others are derived from them.
_COMPACTED = ("tokenized.", "offset.", "text.", "lists.", "kept.", "documents.", "vocabulary.", "deleted.")


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
        with uploaded(place, progress or silent) as local:
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
            new = assemble(folder, chosen, settings, tasks, run, first_shard=first, generation=generation)
            new = replace(new, skipped_lines=old.skipped_lines, contents=old.contents).after(old, "compact")
            if out is None:
                move_in(folder, index, old, new)
            else:
                finish(folder, target, new)
    return new
