"""The open indexes of a running service, by name.

Names in requests are looked up here and never become part of a path.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Literal

from factcensus.api.http.problems import Problem
from factcensus.api.serving.served import GRACE_S, Served
from factcensus.api.serving.sources import Source
from factcensus.indexer import CountIndex, Deadline
from factcensus.indexer.errors import FactcensusError, InputError

log = logging.getLogger("factcensus.api")
Outcome = Literal["opened", "failed"]


@dataclass(frozen=True)
class Reload:
    """The changes of a reload: names of indexes that were opened (again), closed, left unchanged, or failed to open."""

    opened: list[str] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


class Catalog:
    """Opens every index once, provides them to requests, follows their folders, and closes them.

    If an index cannot be opened, the service is not ready, but the other indexes answer.

    Args:
        sources: Returns the places of the indexes by name; called at every check.
        opened: Called with the outcome of every attempt to open an index.
        warm_up: Warms up a new index: in the background at start, and before the index is served if a reload finds it.
            A new generation of a served index answers at once and is warmed up afterwards.
        poll_s: Seconds between checks of the folders; 0 checks them only on a reload.
    """

    def __init__(
        self,
        sources: Callable[[], Mapping[str, Source]],
        opened: Callable[[Outcome], None] = lambda _: None,
        warm_up: Callable[[CountIndex, Deadline], None] | None = None,
        poll_s: float = 0.0,
    ) -> None:
        self._sources_now, self._tell, self._warm_up, self._poll_s = sources, opened, warm_up, poll_s
        #: Called, in any thread, after an index was opened, replaced or closed.
        self.listeners: list[Callable[[], None]] = []
        self._warming: threading.Thread | None = None
        self._warming_later: list[threading.Thread] = []
        self._warming_limit = Deadline()
        self._follower: threading.Thread | None = None
        self._stop = threading.Event()
        #: Replaced as a whole, so that a request sees a consistent list.
        self._served: dict[str, Served] = {}
        #: New folders that cannot be opened yet.
        self._waiting: dict[str, Served] = {}
        self._unlisted: str | None = None
        self._closed = True
        self._reloading = threading.Lock()

    def open(self) -> None:
        """Open all folders and start to follow them; failures are kept for :meth:`reasons_not_ready`.

        The service is ready once :meth:`start_warming` has warmed the indexes up.
        """
        self._closed = False
        self._stop.clear()
        try:
            self._reload(self._sources_now(), following=False)
        except InputError as error:
            log.error("no index is open: %s", error)
            self._unlisted = "the list of indexes cannot be read; the service's log has the reason"
        if self._poll_s:
            self._follower = threading.Thread(target=self._follow, name="follow-indexes", daemon=True)
            self._follower.start()

    def start_warming(self) -> None:
        """Warm up the open indexes in the background, if enabled."""
        if self._warm_up is not None:
            self._warming = threading.Thread(target=self._warm_up_all, args=(self.indexes,), name="warm-up")
            self._warming.start()

    def _warm_up_all(self, indexes: Sequence[CountIndex]) -> None:
        assert self._warm_up is not None
        for index in indexes:
            self._warm_up(index, self._warming_limit)

    def reload(self) -> Reload:
        """Check the folders now: open new and changed indexes, and close removed ones.

        Requests continue on the index they started with; its files stay mapped until the last of them ends. An index
        that can no longer be opened stays in service as it was, unless documents were deleted from it since or its
        folder is gone.

        Raises:
            InputError: The list of folders cannot be read; nothing changes.
        """
        done, replaced = self._reload(self._sources_now(), following=False)
        if self._warm_up is not None:
            self._warm_up_all(replaced)
        return done

    def _follow(self) -> None:
        while not self._stop.wait(self._poll_s):
            try:
                self._look()
            except Exception:  # a bug in the service; the next check may succeed
                log.exception("the index folders could not be checked")

    def _look(self) -> None:
        try:
            sources = self._sources_now()
        except InputError:  # the common folder is unavailable; check each index folder
            sources = {name: served.source for name, served in self._served.items()}
        known = {**self._waiting, **self._served}
        if sources.keys() == known.keys() and all(known[name].is_as_it_was() for name in sources):
            return
        done, replaced = self._reload(sources, following=True)
        if done.opened or done.closed:
            log.info("indexes changed: opened %s; closed %s", done.opened, done.closed)
        if replaced and self._warm_up is not None:
            warming = threading.Thread(target=self._warm_up_all, args=(replaced,), name="warm-up")
            self._warming_later = [each for each in self._warming_later if each.is_alive()] + [warming]
            warming.start()

    def _reload(self, sources: Mapping[str, Source], *, following: bool) -> tuple[Reload, list[CountIndex]]:
        """Update the served indexes.

        Args:
            sources: The places of the indexes to serve, by name.
            following: Whether this is a periodic check rather than a requested reload. A check skips unchanged folders,
                waits for a folder that is missing for a moment, and waits for a new folder that cannot be opened yet.

        Returns:
            The changes, and the indexes that answer already but are not warmed up.
        """
        with self._reloading:
            grace_s = GRACE_S if following else 0.0
            done, now, cold = Reload(), dict[str, Served](), list[CountIndex]()
            for name, source in sources.items():
                served = self._served.get(name)
                if served is None or served.source != source:
                    self._open_first(name, source, done, now, cold, following=following)
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
            self._waiting = {name: served for name, served in self._waiting.items() if name in sources}
        if done.opened or done.closed:
            for told in self.listeners:
                told()
        return done, cold

    def _open_first(
        self,
        name: str,
        source: Source,
        done: Reload,
        now: dict[str, Served],
        cold: list[CountIndex],
        *,
        following: bool,
    ) -> None:
        served = self._waiting.pop(name, None)
        if served is None or served.source != source:
            served = Served(name, source, source.look())
        try:
            index = served.open()
        except (FactcensusError, OSError) as error:
            if following:
                log.debug("%s is not an index yet: %s", source, error)
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
        elif self._served and self._warm_up is not None:  # the first indexes are warmed up in the background
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
        """Return whether an index has been missing from the list long enough to be closed."""
        if served.failing_since is None:
            served.failing_since = monotonic()
        return monotonic() - served.failing_since >= grace_s

    def close(self) -> None:
        """Close every index; a second call does nothing."""
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
        """Return generation and digest of each open index by name; None for indexes that infini-gram built."""
        return {index.name: {"generation": index.generation, "digest": index.digest} for index in self.indexes}

    @property
    def is_warming(self) -> bool:
        """Whether the first indexes are still being warmed up."""
        return self._warm_up is not None and (self._warming is None or self._warming.is_alive())

    def reasons_not_ready(self) -> list[str]:
        """Return the reasons why some requests would fail now; empty if all indexes are open."""
        if self._closed:
            return ["the indexes are not open yet"]
        if self.is_warming:
            return ["the indexes are being warmed up"]
        reasons = [] if self._unlisted is None else [self._unlisted]
        served = self._served.values()
        return reasons + [f"index {each.name!r}: {each.failure}" for each in served if each.failure is not None]

    def get(self, name: str) -> CountIndex:
        """Return the open index of this name.

        Raises:
            Problem: ``unknown-index``, or ``index-not-open`` for a served index that could not be opened.
        """
        served = self._served.get(name)
        opened, files = (None, None) if served is None else (served.index, served.files)
        if served is not None and files is not None and (changed := files.changed()) is not None:
            served.take_off(changed)
            opened = None
        if opened is not None:
            return opened
        if served is not None:
            raise Problem("index-not-open", f"index {name!r} is not open; /readyz has the reason")
        raise unknown_index(name, self.names)

    def serves(self, name: str) -> bool:
        """Return whether an index of this name is served, open or not."""
        return name in self._served


def unknown_index(name: str, names: Sequence[str]) -> Problem:
    """Return the problem for a name that no open index has."""
    shown = name if len(name) <= 100 else name[:100] + "…"
    return Problem("unknown-index", f"no index is named {shown!r}; open indexes: {', '.join(names) or 'none'}")
