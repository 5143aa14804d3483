"""The indexes that a running service has open, by name.

A request can name only what is in here: a name is looked up and never becomes part of a path.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Literal

from factcensus.api.problems import Problem
from factcensus.api.settings import Settings
from factcensus.indexer import CountIndex, Limit
from factcensus.indexer.errors import FactcensusError, InputError

log = logging.getLogger("factcensus.api")
Outcome = Literal["opened", "failed"]


def named_folders(folders: Sequence[Path]) -> dict[str, Path]:
    """Index folders by the name each has in the service, in the order given.

    Raises:
        InputError: two folders have one name, or a path has none (such as ``/``).
    """
    named: dict[str, Path] = {}
    for folder in folders:
        # abspath, not resolve: a link named "current" serves the index "current", wherever it points today.
        name = os.path.basename(os.path.abspath(folder))
        if not name:
            raise InputError(f"{folder} cannot be served: an index is named by its folder, and this path has no name")
        if name in named:
            raise InputError(
                f"two index folders are named {name!r} ({named[name]} and {folder}); "
                "a service needs one name for each: rename one of them"
            )
        named[name] = folder
    return named


def index_folders(settings: Settings) -> dict[str, Path]:
    """The folders that settings name and those that are in their folder of indexes, by name.

    Raises:
        InputError: two have one name, or the folder of indexes cannot be read.
    """
    inside = [] if settings.indexes_in is None else folders_in(settings.indexes_in)
    return named_folders([*settings.indexes, *inside])


def folders_in(parent: Path) -> list[Path]:
    """The folders of a folder that hold an index, by name; those that begin with a dot are left out.

    Raises:
        InputError: there is no such folder.
    """
    try:
        inside = sorted(parent.iterdir())
    except OSError as error:
        raise InputError(f"the folder of indexes {parent} cannot be read ({error.strerror or error})") from error
    return [
        folder
        for folder in inside
        if not folder.name.startswith(".") and ((folder / "manifest.json").exists() or any(folder.glob("tokenized.*")))
    ]


@dataclass(frozen=True)
class Reload:
    """What a reload changed: names of indexes that were opened, or opened anew, let go, left as they are, or failed."""

    opened: list[str] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


#: Seconds between two looks at the files of an index that is asked.
LOOK_S = 0.05


class _Files:
    """The files of an index as they were when it was opened.

    They are mapped into memory. A file that is shortened or written to afterwards, as ``cp`` onto it does, would end
    the process or give wrong counts; one that is replaced by another (``mv``, or ``factcensus index add``) does no
    harm, nor does one that is deleted. So they are looked at before a query. What happens during a query is not seen
    in time.
    """

    def __init__(self, index: CountIndex) -> None:
        folders = {index.folder, *(shard.folder for shard in index.shards)}
        self._states = {
            file: _state(file)
            for folder in folders
            for file in folder.iterdir()
            if file.is_file() and file.name != "manifest.json"
        }
        self._looked = monotonic()

    def changed(self) -> Path | None:
        """A file that is no longer what it was; None where there is none, or where the last look was just now."""
        now = monotonic()
        if now - self._looked < LOOK_S:
            return None
        self._looked = now
        for file, before in self._states.items():
            state = _state(file)
            if state is not None and before is not None and state[0] == before[0] and state != before:
                return file
        return None


def _state(file: Path) -> tuple[int, int, int] | None:
    """Which file it is, its size and when it was written to; None if there is none."""
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


class Catalog:
    """Opens every index once, hands them out, and releases them.

    One index that cannot be opened keeps the service from being ready, but not the other indexes from answering.

    Args:
        folders: gives the folders by name; asked again at every reload.
        opened: is told the outcome of every opening.
        warm_up: asks a new index before others do; those that are opened first in the background, those that a reload
            opens before they take the place of what was served.
    """

    def __init__(
        self,
        folders: Callable[[], Mapping[str, Path]],
        opened: Callable[[Outcome], None] = lambda _: None,
        warm_up: Callable[[CountIndex, Limit], None] | None = None,
    ) -> None:
        self._folders_now, self._tell, self._warm_up = folders, opened, warm_up
        self._warming: threading.Thread | None = None
        self._warming_limit = Limit()
        self._folders: dict[str, Path] = {}
        self._opened: dict[str, CountIndex] = {}
        self._files: dict[str, _Files] = {}
        self._failures: dict[str, str] = {}
        self._closed = True
        self._reloading = threading.Lock()

    def open(self) -> None:
        """Open all folders; what fails is remembered for :meth:`reasons_not_ready`."""
        self._closed = False
        try:
            self._reload(None)
        except InputError as error:
            log.error("no index is open: %s", error)
            self._failures = {"": "the list of indexes cannot be read; the service's log says why"}
        if self._warm_up is not None:
            self._warming = threading.Thread(target=self._warm_up_all, args=(self.indexes,), name="warm-up")
            self._warming.start()

    def _warm_up_all(self, indexes: Sequence[CountIndex]) -> None:
        assert self._warm_up is not None
        for index in indexes:
            self._warm_up(index, self._warming_limit)

    def reload(self) -> Reload:
        """Look at the list of folders again: open new and changed indexes, let go of those that are no longer there.

        Requests go on with the index that they began with; its files stay mapped until the last of them has ended. An
        index that cannot be opened any more is served as it was opened before, if its files allow.

        Raises:
            InputError: the list itself cannot be had; then nothing changes.
        """
        return self._reload(self._warm_up)

    def _reload(self, warm_up: Callable[[CountIndex, Limit], None] | None) -> Reload:
        with self._reloading:
            folders = dict(self._folders_now())
            done, failures, now, files = Reload(), dict[str, str](), dict[str, CountIndex](), dict[str, _Files]()
            for name, folder in folders.items():
                before = self._opened.get(name) if self._folders.get(name) == folder else None
                try:
                    index = CountIndex.open(folder, name=name)
                    files[name] = _Files(index)
                except (FactcensusError, OSError) as error:
                    # The full message names paths of this machine: for the log, not for strangers.
                    log.error("index %r at %s cannot be opened: %s", name, folder, error)
                    failures[name] = "its folder cannot be opened; the service's log says why"
                    if before is not None:
                        now[name], files[name] = before, self._files[name]
                        failures[name] = "its folder cannot be opened any more, it is served as it was before"
                    done.failed.append(name)
                    self._tell("failed")
                    continue
                self._tell("opened")
                if before is not None and index.digest is not None and index.digest == before.digest:
                    index.close()
                    now[name], files[name] = before, self._files[name]
                    done.unchanged.append(name)
                else:
                    if warm_up is not None:
                        warm_up(index, self._warming_limit)
                    now[name] = index
                    done.opened.append(name)
            done.closed.extend(name for name in self._opened if name not in now)
            # One assignment each: a request sees the old list or the new one. Old indexes are not closed but dropped.
            self._folders, self._failures, self._files, self._opened = folders, failures, files, now
            return done

    def close(self) -> None:
        """Release every index; a second call does nothing."""
        self._closed = True
        self._warming_limit.cancel()
        if self._warming is not None:
            self._warming.join()
        opened, self._opened = self._opened, {}
        for index in opened.values():
            index.close()

    @property
    def indexes(self) -> list[CountIndex]:
        """The open indexes, in the order they were given."""
        return list(self._opened.values())

    @property
    def names(self) -> list[str]:
        """Names of the open indexes, in the order they were given."""
        return list(self._opened)

    @property
    def is_warming(self) -> bool:
        """Whether the indexes that were opened first are still warmed up."""
        return self._warming is not None and self._warming.is_alive()

    def reasons_not_ready(self) -> list[str]:
        """Why some requests would fail now; empty when all indexes are open."""
        if self._closed:
            return ["the indexes are not open yet"]
        if self.is_warming:
            return ["the indexes are being warmed up, so that the first counts do not wait for that"]
        return [f"index {name!r}: {reason}" if name else reason for name, reason in self._failures.items()]

    def get(self, name: str) -> CountIndex:
        """The open index of this name.

        Raises:
            Problem: ``unknown-index``, or ``index-not-open`` for one that is served but could not be opened.
        """
        opened, files = self._opened.get(name), self._files.get(name)
        if opened is not None and files is not None and (changed := files.changed()) is not None:
            log.error("index %r is no longer served: %s was written to; mend it and reload", name, changed)
            self._failures[name] = "its files were changed while it was served; mend the folder and reload"
            self._opened.pop(name, None)
            opened = None
        if opened is not None:
            return opened
        if name in self._folders:
            raise Problem("index-not-open", f"index {name!r} is not open; /readyz says why")
        raise unknown_index(name, self.names)

    def serves(self, name: str) -> bool:
        """Return whether an index of this name is served, open or not."""
        return name in self._folders


def unknown_index(name: str, names: Sequence[str]) -> Problem:
    """Return the problem of a name that no open index has."""
    shown = name if len(name) <= 100 else name[:100] + "…"
    return Problem("unknown-index", f"no index is named {shown!r}; open indexes: {', '.join(names) or 'none'}")
