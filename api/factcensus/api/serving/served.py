"""One index of a running service: the served generation, and the state of its folder."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from factcensus.indexer import CountIndex
from factcensus.indexer.errors import FactcensusError, IndexFormatError
from factcensus.indexer.storage.layout import FileState, file_state
from factcensus.indexer.storage.manifest import MANIFEST, Manifest

log = logging.getLogger("factcensus.api")
#: Minimum seconds between checks of the files of an index that is used.
LOOK_S = 0.05
#: Seconds for which a folder may be missing or incomplete, as when two renames replace it.
GRACE_S = 0.4
#: Maximum seconds between two attempts to open an index.
LONGEST_PAUSE_S = 5.0

#: State of a folder or its manifest, which changes with the generation of the index.
Look = tuple[FileState | None, FileState | None]


def look_at(folder: Path) -> Look:
    """Return a value that changes when a folder gets another generation or another index."""
    manifest = file_state(folder / MANIFEST)
    return (None, manifest) if manifest else (file_state(folder), None)


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
        """Return a file that was overwritten; None if there is none or the last check was just now."""
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


@dataclass
class Served:
    """One index.

    Attributes:
        name: Name in the service.
        folder: The index folder.
        look: State of the folder when it was last opened or found unchanged.
        index: The open generation; None if none may answer.
        files: Files of that generation.
        failure: Public reason why requests fail or an old generation answers; None without a failure.
        failing_since: Time of the first of the consecutive failures to open the folder.
        attempt_at: Time of the next attempt.
    """

    name: str
    folder: Path
    look: Look
    index: CountIndex | None = None
    files: Files | None = None
    failure: str | None = None
    failing_since: float | None = None
    attempt_at: float = 0.0

    def is_as_it_was(self) -> bool:
        """Return whether the folder need not be opened: it is unchanged, or it is too early to try again."""
        if self.failing_since is None and self.failure is None:
            return look_at(self.folder) == self.look
        return monotonic() < self.attempt_at and look_at(self.folder) == self.look

    def open(self) -> CountIndex:
        """Open the current content of the folder and serve it, unless it is already served.

        Returns:
            The index in service: the previous one or a new one.

        Raises:
            FactcensusError: The folder cannot be opened; see :meth:`fail`.
        """
        look = look_at(self.folder)
        index = CountIndex.open(self.folder, name=self.name)
        files = Files(index)
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
            log.error("index %r at %s cannot be opened: %s", self.name, self.folder, error)
            self.failing_since = now
        failing_s = now - self.failing_since
        self.look, self.attempt_at = look_at(self.folder), now + min(failing_s, LONGEST_PAUSE_S)
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
        self.look, self.attempt_at = look_at(self.folder), now + min(now - self.failing_since, LONGEST_PAUSE_S)

    def _may_go_on(self) -> bool:
        assert self.index is not None
        if not self.folder.is_dir():
            return False
        try:
            return Manifest.read(self.folder).holds_all_of(self.index.digest)
        except IndexFormatError:  # the manifest is unreadable, so nothing is known
            return True

    def take_off(self, changed: Path) -> None:
        """Take the index out of service because a file was overwritten, until it is repaired and reloaded."""
        log.error("index %r is no longer served: %s was overwritten; repair it and reload", self.name, changed)
        self.index = self.files = None
        self.failure = "its files were overwritten while it was served; repair the folder and reload"
        self.attempt_at = float("inf")
