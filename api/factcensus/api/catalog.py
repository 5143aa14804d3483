"""The indexes that a running service has open, by name.

A request can name only what is in here: a name is looked up and never becomes part of a path.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from factcensus.api.problems import Problem
from factcensus.indexer import CountIndex
from factcensus.indexer.errors import FactcensusError, InputError

log = logging.getLogger("factcensus.api")


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


class Catalog:
    """Opens every index once, hands them out, and releases them.

    One index that cannot be opened keeps the service from being ready, but not the other indexes from answering.
    """

    def __init__(self, folders: Mapping[str, Path]) -> None:
        self._folders = dict(folders)
        self._opened: dict[str, CountIndex] = {}
        self._failures: dict[str, str] = {}
        self._closed = True

    def open(self) -> None:
        """Open all folders; what fails is remembered for :meth:`reasons_not_ready`."""
        self._closed = False
        for name, folder in self._folders.items():
            try:
                self._opened[name] = CountIndex.open(folder, name=name)
            except (FactcensusError, OSError) as error:
                # The full message names paths of this machine: for the log, not for strangers.
                log.error("index %r at %s cannot be opened: %s", name, folder, error)
                self._failures[name] = "its folder cannot be opened; the service's log says why"

    def close(self) -> None:
        """Release every index; a second call does nothing."""
        self._closed = True
        while self._opened:
            self._opened.popitem()[1].close()

    @property
    def names(self) -> list[str]:
        """Names of the open indexes, in the order they were given."""
        return list(self._opened)

    def reasons_not_ready(self) -> list[str]:
        """Why some requests would fail now; empty when all indexes are open."""
        if self._closed:
            return ["the indexes are not open yet"]
        return [f"index {name!r}: {reason}" for name, reason in self._failures.items()]

    def get(self, name: str) -> CountIndex:
        """The open index of this name.

        Raises:
            Problem: ``unknown-index``, or ``index-not-open`` for one that is served but could not be opened.
        """
        if name in self._opened:
            return self._opened[name]
        if name in self._folders:
            raise Problem("index-not-open", f"index {name!r} is not open; /readyz says why")
        shown = name if len(name) <= 100 else name[:100] + "…"
        raise Problem("unknown-index", f"no index is named {shown!r}; open indexes: {', '.join(self.names) or 'none'}")
