"""Building an index: corpus files → spool files → shards → a folder that appears in one step.

A build writes to ``NAME.building`` next to the index. If it is interrupted, it continues there when it is started again
with the same sources and settings. Two builds of the same index cannot run at the same time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from factcensus.indexer.analyzers import get_analyzer
from factcensus.indexer.building.assembly import Base, assemble, spool_files
from factcensus.indexer.building.estimate import check_disk, estimate_build
from factcensus.indexer.building.run import Progress, check_settings, name_of, run_of, silent
from factcensus.indexer.building.settings import BuildSettings
from factcensus.indexer.building.spool import SpoolTask
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
from factcensus.indexer.corpus import BadLinePolicy, find_source_files
from factcensus.indexer.errors import InputError
from factcensus.indexer.paths import index_folder
from factcensus.indexer.storage.chosen import Chosen
from factcensus.indexer.storage.index_analyzer import load_analyzer
from factcensus.indexer.storage.maintain import check_files, read_documents_of, read_manifest
from factcensus.indexer.storage.manifest import Layout, Manifest
from factcensus.indexer.system.locks import lock_folder
from factcensus.indexer.system.places import Place
from factcensus.indexer.system.processes import check_main_guard

#: Number of shards from which on ``add`` suggests ``compact``.
MANY_SHARDS = 32
#: The files that adding extends.
_CONTINUED = ("vocabulary.", "deleted.")


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
        with uploaded(place, progress or silent) as local:
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
        new = complete(folder) or assemble(folder, chosen, settings, spool_files(folder, settings, files, run), run)
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
            tasks = spool_files(folder, settings, files, run)
            if not replace and not allow_repeat:
                _refuse_repeated(folder, old, tasks)
            replaced = _find_replaced(index, old, tasks) if replace else {}
            new = assemble(folder, chosen, settings, tasks, run, Base(index, old, replaced))
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


def _find_replaced(index: Path, old: Manifest, tasks: Sequence[SpoolTask]) -> Chosen:
    """Return the documents of an index that have the id of a spooled one."""
    from factcensus.indexer.storage.documents import find_replaced

    tables = {shard.number: index / f"documents.{shard.number}.parquet" for shard in old.shards}
    return find_replaced(tables, read_documents_of(index, old, "deleted"), [task.path("parquet") for task in tasks])
