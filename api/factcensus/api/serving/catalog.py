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

from factcensus.api.http.problems import Problem
from factcensus.api.serving.served import GRACE_S, Served, look_at
from factcensus.api.settings import Settings
from factcensus.indexer import CountIndex, Limit
from factcensus.indexer.errors import FactcensusError, InputError
from factcensus.indexer.storage.manifest import STAGING_ENDING

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
        if not folder.name.startswith(".")
        and not folder.name.endswith(STAGING_ENDING)
        and ((folder / "manifest.json").exists() or any(folder.glob("tokenized.*")))
    ]


@dataclass(frozen=True)
class Reload:
    """What a reload changed: names of indexes that were opened, or opened anew, let go, left as they are, or failed."""

    opened: list[str] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


class Catalog:
    """Opens every index once, hands them out, follows their folders, and releases them.

    One index that cannot be opened keeps the service from being ready, but not the other indexes from answering.

    Args:
        folders: gives the folders by name; asked again at every look.
        opened: is told the outcome of every opening.
        warm_up: asks a new index before others do; those that are opened first in the background, those that a reload
            finds new before they are served. A new generation of a served index answers at once, and is warmed up then.
        poll_s: seconds between two looks at the folders; 0 for none without a reload.
    """

    def __init__(
        self,
        folders: Callable[[], Mapping[str, Path]],
        opened: Callable[[Outcome], None] = lambda _: None,
        warm_up: Callable[[CountIndex, Limit], None] | None = None,
        poll_s: float = 0.0,
    ) -> None:
        self._folders_now, self._tell, self._warm_up, self._poll_s = folders, opened, warm_up, poll_s
        #: Called, in no particular thread, after an index was opened, replaced or let go.
        self.listeners: list[Callable[[], None]] = []
        self._warming: threading.Thread | None = None
        self._warming_later: list[threading.Thread] = []
        self._warming_limit = Limit()
        self._follower: threading.Thread | None = None
        self._stop = threading.Event()
        #: Replaced as a whole, so that a request sees one list.
        self._served: dict[str, Served] = {}
        #: Folders that appeared while the others were followed, and that cannot be opened yet.
        self._waiting: dict[str, Served] = {}
        self._unlisted: str | None = None
        self._closed = True
        self._reloading = threading.Lock()

    def open(self) -> None:
        """Open all folders, and begin to follow them; what fails is remembered for :meth:`reasons_not_ready`."""
        self._closed = False
        self._stop.clear()
        try:
            self._reload(self._folders_now(), following=False)
        except InputError as error:
            log.error("no index is open: %s", error)
            self._unlisted = "the list of indexes cannot be read; the service's log says why"
        if self._warm_up is not None:
            self._warming = threading.Thread(target=self._warm_up_all, args=(self.indexes,), name="warm-up")
            self._warming.start()
        if self._poll_s:
            self._follower = threading.Thread(target=self._follow, name="follow-indexes", daemon=True)
            self._follower.start()

    def _warm_up_all(self, indexes: Sequence[CountIndex]) -> None:
        assert self._warm_up is not None
        for index in indexes:
            self._warm_up(index, self._warming_limit)

    def reload(self) -> Reload:
        """Look at the list of folders now: open new and changed indexes, let go of those that are no longer there.

        Requests go on with the index that they began with; its files stay mapped until the last of them has ended. An
        index that cannot be opened any more is served as it was opened before, unless documents were deleted from it
        since, or its folder is gone.

        Raises:
            InputError: the list itself cannot be had; then nothing changes.
        """
        done, replaced = self._reload(self._folders_now(), following=False)
        if self._warm_up is not None:
            self._warm_up_all(replaced)
        return done

    def _follow(self) -> None:
        while not self._stop.wait(self._poll_s):
            try:
                self._look()
            except Exception:  # a fault of ours: the next look may do better
                log.exception("the indexes' folders could not be looked at")

    def _look(self) -> None:
        try:
            folders = self._folders_now()
        except InputError:  # their common folder is away; each index is looked at for itself
            folders = {name: served.folder for name, served in self._served.items()}
        known = {**self._waiting, **self._served}
        if folders.keys() == known.keys() and all(known[name].is_as_it_was() for name in folders):
            return
        done, replaced = self._reload(folders, following=True)
        if done.opened or done.closed:
            log.info("indexes changed: opened %s; closed %s", done.opened, done.closed)
        if replaced and self._warm_up is not None:
            warming = threading.Thread(target=self._warm_up_all, args=(replaced,), name="warm-up")
            self._warming_later = [each for each in self._warming_later if each.is_alive()] + [warming]
            warming.start()

    def _reload(self, folders: Mapping[str, Path], *, following: bool) -> tuple[Reload, list[CountIndex]]:
        """Bring what is served up to date.

        Args:
            folders: those to serve, by name.
            following: nobody asked for it. Folders that did not change are not opened then; one that is away for a
                moment is waited for, and a new one that cannot be opened is none yet: it may be on its way.

        Returns:
            What was done, and the indexes that answer already but were not warmed up.
        """
        with self._reloading:
            grace_s = GRACE_S if following else 0.0
            done, now, cold = Reload(), dict[str, Served](), list[CountIndex]()
            for name, folder in folders.items():
                served = self._served.get(name)
                if served is None or served.folder != folder:
                    self._open_first(name, folder, done, now, cold, following=following)
                elif following and served.is_as_it_was():
                    now[name] = served
                else:
                    now[name] = served
                    self._open_again(served, done, cold, grace_s)
            for name, served in self._served.items():
                if name not in now and not self._is_let_go(served, grace_s):
                    now[name] = served
            done.closed.extend(name for name in self._served if name not in now)
            self._served, self._unlisted = now, None
            self._waiting = {name: served for name, served in self._waiting.items() if name in folders}
        if done.opened or done.closed:
            for told in self.listeners:
                told()
        return done, cold

    def _open_first(
        self,
        name: str,
        folder: Path,
        done: Reload,
        now: dict[str, Served],
        cold: list[CountIndex],
        *,
        following: bool,
    ) -> None:
        served = self._waiting.pop(name, None)
        if served is None or served.folder != folder:
            served = Served(name, folder, look_at(folder))
        try:
            index = served.open()
        except (FactcensusError, OSError) as error:
            if following:
                log.debug("%s is not an index yet: %s", folder, error)
                served.wait()
                self._waiting[name] = served
            else:
                self._failed(served, error, done, 0.0)
                now[name] = served
            return
        self._tell("opened")
        done.opened.append(name)
        if following:
            cold.append(index)
        elif self._served and self._warm_up is not None:  # those that are opened first are warmed up in the background
            self._warm_up(index, self._warming_limit)
        now[name] = served

    def _open_again(self, served: Served, done: Reload, cold: list[CountIndex], grace_s: float) -> None:
        before = served.index
        try:
            index = served.open()
        except (FactcensusError, OSError) as error:
            self._failed(served, error, done, grace_s)
            if before is not None and served.index is None:
                done.closed.append(served.name)
            return
        self._tell("opened")
        if index is before:
            done.unchanged.append(served.name)
        else:
            done.opened.append(served.name)
            cold.append(index)

    def _failed(self, served: Served, error: FactcensusError | OSError, done: Reload, grace_s: float) -> None:
        if served.failing_since is None or not grace_s:
            self._tell("failed")
        served.fail(error, grace_s)
        done.failed.append(served.name)

    @staticmethod
    def _is_let_go(served: Served, grace_s: float) -> bool:
        """Whether an index that is no longer in the list has been away for long enough."""
        if served.failing_since is None:
            served.failing_since = monotonic()
        return monotonic() - served.failing_since >= grace_s

    def close(self) -> None:
        """Release every index; a second call does nothing."""
        self._closed = True
        self._stop.set()
        if self._follower is not None:
            self._follower.join()
        self._warming_limit.cancel()
        for warming in (self._warming, *self._warming_later):
            if warming is not None:
                warming.join()
        closing, self._served = self._served, {}
        for served in closing.values():
            if served.index is not None:
                served.index.close()

    @property
    def indexes(self) -> list[CountIndex]:
        """The open indexes, in the order they were given."""
        return [served.index for served in self._served.values() if served.index is not None]

    @property
    def names(self) -> list[str]:
        """Names of the open indexes, in the order they were given."""
        return [index.name for index in self.indexes]

    def generations(self) -> dict[str, dict[str, str | int | None]]:
        """Return the generation and the digest of each open index, by name; None for indexes of infini-gram's."""
        return {index.name: {"generation": index.generation, "digest": index.digest} for index in self.indexes}

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
        reasons = [] if self._unlisted is None else [self._unlisted]
        served = self._served.values()
        return reasons + [f"index {each.name!r}: {each.failure}" for each in served if each.failure is not None]

    def get(self, name: str) -> CountIndex:
        """The open index of this name.

        Raises:
            Problem: ``unknown-index``, or ``index-not-open`` for one that is served but could not be opened.
        """
        served = self._served.get(name)
        opened, files = (None, None) if served is None else (served.index, served.files)
        if served is not None and files is not None and (changed := files.changed()) is not None:
            served.take_off(changed)
            opened = None
        if opened is not None:
            return opened
        if served is not None:
            raise Problem("index-not-open", f"index {name!r} is not open; /readyz says why")
        raise unknown_index(name, self.names)

    def serves(self, name: str) -> bool:
        """Return whether an index of this name is served, open or not."""
        return name in self._served


def unknown_index(name: str, names: Sequence[str]) -> Problem:
    """Return the problem of a name that no open index has."""
    shown = name if len(name) <= 100 else name[:100] + "…"
    return Problem("unknown-index", f"no index is named {shown!r}; open indexes: {', '.join(names) or 'none'}")
