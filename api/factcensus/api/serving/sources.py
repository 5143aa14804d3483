"""The sources of served indexes: folders by name, and the detection of changes."""

from __future__ import annotations

import os
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Protocol

from factcensus.api.serving.published import PublishedIndex
from factcensus.api.settings import Settings
from factcensus.indexer import CountIndex
from factcensus.indexer.errors import IndexFormatError, InputError
from factcensus.indexer.storage.layout import file_state
from factcensus.indexer.storage.manifest import MANIFEST, STAGING_ENDING, Manifest

#: Minimum seconds between checks of the files of an index that is used.
LOOK_S = 0.05


class Files:
    """The state of the files of an index when it was opened.

    The files are memory-mapped. Truncating or overwriting one afterwards, as ``cp`` does, would end the process or give
    wrong counts. Replacing one (``mv``, or ``factcensus index add``) or deleting it does no harm. So the files are
    checked before each query; a change during a query is not detected in time.
    """

    def __init__(self, index: CountIndex) -> None:
        self._states = {file: file_state(file) for file in _files_of(index)}
        self._looked = monotonic()

    def changed(self) -> Path | None:
        """Return a file that was overwritten, or None; checks at most once per :data:`LOOK_S` seconds."""
        now = monotonic()
        if now - self._looked < LOOK_S:
            return None
        self._looked = now
        for file, before in self._states.items():
            state = file_state(file)
            if state is not None and before is not None and state[:2] == before[:2] and state != before:
                return file
        return None


def _files_of(index: CountIndex) -> Iterable[Path]:
    if index.manifest is not None:
        return [index.folder / name for name in index.manifest.files]
    folders = {index.folder, *(shard.folder for shard in index.shards)}
    return [file for folder in folders for file in folder.iterdir() if file.is_file()]


class WatchedFiles(Protocol):
    """The files of an open index."""

    def changed(self) -> Path | None:
        """Return a file that was overwritten, or None."""


class Source(Protocol):
    """The source of an index that the service opens, follows and closes; ``str()`` is its name in the log."""

    def open(self, name: str) -> CountIndex:
        """Open the current content under a name.

        Raises:
            FactcensusError: It cannot be opened.
        """
        ...

    def look(self) -> Hashable:
        """Return a value that changes when the place gets another generation or another index."""
        ...

    def files(self, index: CountIndex) -> WatchedFiles:
        """Return the state of the files of an index that was just opened."""
        ...

    def is_gone(self) -> bool:
        """Return whether the index is gone."""
        ...

    def holds_all_of(self, digest: str | None) -> bool:
        """Return whether no document of the generation with this digest was deleted, as far as the manifest shows."""
        ...


@dataclass(frozen=True)
class Folder:
    """An index folder on a local or network file system."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    def open(self, name: str) -> CountIndex:
        """Open the index under a name."""
        return CountIndex.open(self.path, name=name)

    def look(self) -> Hashable:
        """Return the state of the manifest, or of the folder without one."""
        manifest = file_state(self.path / MANIFEST)
        return (None, manifest) if manifest else (file_state(self.path), None)

    def files(self, index: CountIndex) -> Files:
        """Return the state of the index files."""
        return Files(index)

    def is_gone(self) -> bool:
        """Return whether the folder is gone."""
        return not self.path.is_dir()

    def holds_all_of(self, digest: str | None) -> bool:
        """Return what the manifest shows; True if it cannot be read, because no deletion is known then."""
        try:
            return Manifest.read(self.path).holds_all_of(digest)
        except IndexFormatError:
            return True


def named_folders(folders: Sequence[Path]) -> dict[str, Path]:
    """Return index folders by their names in the service, in the order given.

    Raises:
        InputError: Two folders have the same name, or a path has no name (such as ``/``).
    """
    named: dict[str, Path] = {}
    for folder in folders:
        # abspath rather than resolve: a link named "current" serves the index "current", whatever its target is.
        name = os.path.basename(os.path.abspath(folder))
        if not name:
            raise InputError(f"cannot serve {folder}: an index is named after its folder, and this path has no name")
        if name in named:
            raise InputError(
                f"two index folders are named {name!r} ({named[name]} and {folder}); "
                "names must be unique: rename one of them"
            )
        named[name] = folder
    return named


def sources_of(settings: Settings) -> dict[str, Source]:
    """Return the index folders of the settings, those inside ``indexes_in``, and the indexes at URLs, by name.

    Raises:
        InputError: Two indexes have the same name, or ``indexes_in`` cannot be read.
    """
    inside = [] if settings.indexes_in is None else folders_in(settings.indexes_in)
    sources: dict[str, Source] = {
        name: Folder(path) for name, path in named_folders([*settings.indexes, *inside]).items()
    }
    for published in settings.published:
        name = published.places[0].name
        if name in sources or not name:
            other = f"{sources[name]} and " if name in sources else ""
            raise InputError(f"cannot serve {other}{published.places[0]} as {name!r}; names must be unique")
        sources[name] = PublishedIndex(published)
    return sources


def folders_in(parent: Path) -> list[Path]:
    """Return the subdirectories that hold an index, sorted by name, without hidden ones.

    Raises:
        InputError: The folder cannot be read.
    """
    try:
        inside = sorted(parent.iterdir())
    except OSError as error:
        raise InputError(f"cannot read the folder of indexes {parent} ({error.strerror or error})") from error
    return [
        folder
        for folder in inside
        if not folder.name.startswith(".")
        and not folder.name.endswith(STAGING_ENDING)
        and ((folder / "manifest.json").exists() or any(folder.glob("tokenized.*")))
    ]
