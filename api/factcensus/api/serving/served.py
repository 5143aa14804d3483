"""One index of a running service: the served generation, and the state of its folder."""

from __future__ import annotations

import logging
from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from factcensus.api.serving.sources import Source, WatchedFiles
from factcensus.indexer import CountIndex
from factcensus.indexer.errors import FactcensusError

log = logging.getLogger("factcensus.api")
#: Seconds for which a folder may be missing or incomplete, as when two renames replace it.
GRACE_S = 0.4
#: Maximum seconds between two attempts to open an index.
LONGEST_PAUSE_S = 5.0


@dataclass
class Served:
    """One index.

    Attributes:
        name: Name in the service.
        source: Its location.
        look: State of the source when it was last opened or found unchanged.
        index: The open generation; None if none may answer.
        files: Files of that generation.
        failure: Public reason why requests fail or an old generation answers; None without a failure.
        failing_since: Time of the first of the consecutive failures to open the folder.
        attempt_at: Time of the next attempt.
    """

    name: str
    source: Source
    look: Hashable
    index: CountIndex | None = None
    files: WatchedFiles | None = None
    failure: str | None = None
    failing_since: float | None = None
    attempt_at: float = 0.0

    def is_as_it_was(self) -> bool:
        """Return whether to skip opening the folder, because it is unchanged or the next attempt is not due yet."""
        if self.failing_since is None and self.failure is None:
            return self.source.look() == self.look
        return monotonic() < self.attempt_at and self.source.look() == self.look

    def open(self) -> CountIndex:
        """Open the current content of the folder and serve it, unless it is already served.

        Returns:
            The index in service: the previous one or a new one.

        Raises:
            FactcensusError: The folder cannot be opened; see :meth:`fail`.
        """
        look = self.source.look()
        index = self.source.open(self.name)
        files = self.source.files(index)
        if self.index is not None and index.digest is not None and index.digest == self.index.digest:
            index.close()
        else:
            self.index = index
        self.look, self.files, self.failure, self.failing_since = look, files, None, None
        return self.index or index

    def fail(self, error: FactcensusError | OSError, grace_s: float) -> None:
        """Record that the folder cannot be opened, and decide whether the previous generation may stay in service.

        ``grace_s`` seconds after the first failure, it is closed if the folder is gone or documents were deleted.
        """
        now = monotonic()
        if self.failing_since is None:
            # The full message names paths of this machine, so it goes to the log and not to clients.
            log.error("index %r at %s cannot be opened: %s", self.name, self.source, error)
            self.failing_since = now
        failing_s = now - self.failing_since
        self.look, self.attempt_at = self.source.look(), now + min(failing_s, LONGEST_PAUSE_S)
        if self.index is None:
            self.failure = "its folder cannot be opened; the service's log has the reason"
        elif self._may_go_on():
            self.failure = "its folder can no longer be opened; the previous generation is served"
        elif failing_s >= grace_s:
            log.error("index %r is no longer served: its folder is gone, or documents were deleted", self.name)
            self.index = self.files = None
            self.failure = "its folder is gone or cannot be opened; the service's log has the reason"

    def wait(self) -> None:
        """Record that the folder does not hold an index yet; it may not be complete yet."""
        now = monotonic()
        if self.failing_since is None:
            self.failing_since = now
        self.look, self.attempt_at = self.source.look(), now + min(now - self.failing_since, LONGEST_PAUSE_S)

    def _may_go_on(self) -> bool:
        assert self.index is not None
        return not self.source.is_gone() and self.source.holds_all_of(self.index.digest)

    def take_off(self, changed: Path) -> None:
        """Take the index out of service because a file was overwritten, until it is repaired and reloaded."""
        log.error("index %r is no longer served: %s was overwritten; repair it and reload", self.name, changed)
        self.index = self.files = None
        self.failure = "its files were overwritten while it was served; repair the folder and reload"
        self.attempt_at = float("inf")
