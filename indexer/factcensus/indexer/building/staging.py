"""The staging folder ``NAME.building`` of a build, and the plan from which an interrupted build resumes."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from factcensus.indexer.analyzers import Analyzer
from factcensus.indexer.building.failed import FAILED, has_work, start_over
from factcensus.indexer.building.settings import BuildSettings
from factcensus.indexer.corpus import SourceFile
from factcensus.indexer.errors import InputError
from factcensus.indexer.records import clean_text
from factcensus.indexer.storage.maintain import commit, remove_strays
from factcensus.indexer.storage.manifest import FORMAT, MANIFEST, PLAN, STAGING_ENDING, Manifest
from factcensus.indexer.system.files import explain_full_disk, place_file, sync_files, write_atomically
from factcensus.indexer.system.locks import lock_folder


def staging_folder(index: Path) -> Path:
    """Return the staging folder of an index, a sibling of its folder."""
    index = index.resolve()  # next to the real folder if this is a link
    if clean_text(str(index)) != str(index):
        raise InputError(f"the path {str(index)!r} is not valid UTF-8, so DuckDB cannot open it; choose another path")
    return index.with_name(index.name + STAGING_ENDING)


@contextmanager
def staging(
    index: Path, settings: BuildSettings, analyzer: Analyzer, files: Sequence[SourceFile], base: str | None = None
) -> Iterator[Path]:
    """Lock and yield the folder of this build, new or continued; ``base`` is the digest of the index to change."""
    folder = staging_folder(index)
    with explain_full_disk(folder, "it continues where it stopped"):
        folder.mkdir(parents=True, exist_ok=True)
        with lock_folder(folder):
            if base is None and index.exists():
                folder.rmdir()
                raise InputError(f"{index} exists: another process has just built it")
            plan = {**_plan(settings, files), "analyzer": analyzer.label, "format": FORMAT, "base": base}
            digest = hashlib.sha256(json.dumps(plan, sort_keys=True).encode()).hexdigest()
            stored = _read_plan(folder)
            if stored and stored["digest"] != digest and FAILED in stored:
                start_over(folder, stored, json.loads(json.dumps(plan)), PLAN)
                stored = None
            if stored and stored["digest"] != digest:
                raise InputError(
                    f"{folder} has an interrupted build with other sources or settings; restart it with the same ones, "
                    "or delete that folder"
                )
            (folder / "spool").mkdir(exist_ok=True)
            if not stored:
                _write_plan(folder, {"digest": digest, **plan})
            try:
                yield folder
            except InputError as error:
                _keep_or_discard(folder, str(error))
                raise


def _keep_or_discard(folder: Path, error: str) -> None:
    """After bad input, keep only work that a corrected command can use; it may then replace this build."""
    plan = _read_plan(folder) if folder.exists() else None
    if plan is None or (folder / MANIFEST).exists():
        return
    if has_work(folder / "spool"):
        _write_plan(folder, {**plan, FAILED: error})
    else:
        discard(folder)


def _plan(settings: BuildSettings, files: Sequence[SourceFile]) -> dict[str, Any]:
    return {"settings": asdict(settings), "files": [{**asdict(file), "url": file.shown} for file in files]}


def _read_plan(folder: Path) -> dict[str, Any] | None:
    try:
        plan: dict[str, Any] = json.loads((folder / PLAN).read_bytes())
        if isinstance(plan["digest"], str):
            return plan
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        pass
    raise InputError(f"{folder / PLAN} is damaged, so the build cannot continue; delete {folder} and start again")


def _write_plan(folder: Path, plan: dict[str, Any]) -> None:
    write_atomically(folder / PLAN, json.dumps(plan, indent=1).encode(), durable=True)


def complete(folder: Path) -> Manifest | None:
    """Return the manifest of a staging folder with a complete index, which only needs to be renamed."""
    return Manifest.read(folder) if (folder / MANIFEST).exists() else None


def finish(folder: Path, out: Path, manifest: Manifest) -> None:
    """Rename a finished index to its final name."""
    if out.exists():
        raise InputError(f"{out} was created during the build; the finished index is in {folder}, rename it")
    sync_files(folder / name for name in manifest.files)
    manifest.write(folder)
    shutil.rmtree(folder / "spool")
    folder.rename(out)
    (out / PLAN).unlink()
    sync_files([out, out.parent])


def move_in(folder: Path, index: Path, old: Manifest, new: Manifest) -> None:
    """Move new files from ``folder`` into an index and replace its manifest."""
    added = new.files.keys() - old.files.keys()
    sync_files(folder / name for name in added)
    _write_plan(folder, {**(_read_plan(folder) or {}), "result": new.digest})
    for name in added:
        place_file(folder / name, index / name)
    commit(index, old, new)
    discard(folder)


def already_done(index: Path, manifest: Manifest, settings: BuildSettings, files: Sequence[SourceFile]) -> bool:
    """Return whether a killed process already finished this change; if so, clean up after it."""
    folder = staging_folder(index)
    plan = _read_plan(folder)
    if plan is None or not manifest.descends_from(plan.get("result")):
        return False
    remove_strays(index, manifest)
    discard(folder)
    return _plan(settings, files).items() <= plan.items()


def discard(folder: Path) -> None:
    """Remove a staging folder; the plan goes last, because :func:`already_done` needs it."""
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != PLAN:
            path.unlink()
    (folder / PLAN).unlink()
    folder.rmdir()
