"""Served indexes at URLs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

from factcensus.api.settings import Published
from factcensus.indexer import CountIndex
from factcensus.indexer.errors import IndexerError
from factcensus.indexer.storage.manifest import MANIFEST, Manifest
from factcensus.indexer.system.places import NoFileError

#: Minimum seconds between two checks of a URL.
LOOK_S = 60.0


class RemoteFiles:
    """The files of an index at a URL, which are checked against every response of the server as they are read."""

    def changed(self) -> Path | None:
        """Return None: no file is mapped into memory."""
        return None


@dataclass(frozen=True)
class PublishedIndex:
    """An index at one or several URLs; its text names it in the log, without credentials."""

    published: Published
    _seen: _Seen = field(default_factory=lambda: _Seen(), compare=False, repr=False)

    def __str__(self) -> str:
        return str(self.published.places[0])

    def open(self, name: str) -> CountIndex:
        """Open the index under a name."""
        asked = self.published
        return CountIndex.open(
            list(asked.places), name=name, analyzer=asked.analyzer, most_requests=asked.most_requests
        )

    def look(self) -> Hashable:
        """Return the digest of the manifest; it is read at most once a minute."""
        return self._seen.digest(self._manifest)

    def files(self, index: CountIndex) -> RemoteFiles:
        """Return an object that never reports a change."""
        del index
        return RemoteFiles()

    def is_gone(self) -> bool:
        """Return False: a server that does not answer may answer later."""
        return False

    def holds_all_of(self, digest: str | None) -> bool:
        """Return what the manifest shows; True if it cannot be read, because no deletion is known then."""
        manifest = self._manifest()
        return manifest is None or manifest.holds_all_of(digest)

    def _manifest(self) -> Manifest | None:
        place = self.published.places[0] / MANIFEST
        try:
            return Manifest.parse(place.read(), place)
        except (NoFileError, IndexerError):
            return None


class _Seen:
    """The digest of the manifest at the last check."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._at: float | None = None
        self._digest: str | None = None

    def digest(self, read: Callable[[], Manifest | None]) -> str | None:
        """Return the digest; from the last check if that was less than a minute ago."""
        with self._lock:
            if self._at is None or monotonic() > self._at + LOOK_S:
                self._at = monotonic()
                if (manifest := read()) is not None:
                    self._digest = manifest.digest
            return self._digest
