"""One index of a running service: the generation that is served, and what has become of its folder since."""

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
#: Seconds between two looks at the files of an index that is asked.
LOOK_S = 0.05
#: Seconds for which a folder may be away or incomplete, as it is while another one takes its place by two renames.
GRACE_S = 0.4
#: Longest pause, in seconds, between two attempts to open an index that cannot be opened.
LONGEST_PAUSE_S = 5.0

#: What changes when a folder gets another generation of its index: the state of the folder or of its manifest.
Look = tuple[FileState | None, FileState | None]


def look_at(folder: Path) -> Look:
    """Return a value that differs once another generation of an index, or another index, is in a folder."""
    manifest = file_state(folder / MANIFEST)
    return (None, manifest) if manifest else (file_state(folder), None)


class Files:
    """The files of an index as they were when it was opened.

    They are mapped into memory. A file that is shortened or written to afterwards, as ``cp`` onto it does, would end
    the process or give wrong counts; one that is replaced by another (``mv``, or ``factcensus index add``) does no
    harm, nor does one that is deleted. So they are looked at before a query. What happens during a query is not seen
    in time.
    """

    def __init__(self, index: CountIndex) -> None:
        self._states = {file: file_state(file) for file in _files_of(index)}
        self._looked = monotonic()

    def changed(self) -> Path | None:
        """A file that was written to; None where there is none, or where the last look was just now."""
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
        name: in the service.
        folder: where it is.
        look: at the folder, when it was last opened or found as it was.
        index: the open generation; None while there is none that may answer.
        files: of that generation.
        failure: why requests fail or an old generation answers, for people who ask the service; None if all is well.
        failing_since: when the folder could not be opened for the first time in a row.
        attempt_at: when to try again.
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
        """Return whether the folder need not be opened: it holds what is served, or it is too early to try again."""
        if self.failing_since is None and self.failure is None:
            return look_at(self.folder) == self.look
        return monotonic() < self.attempt_at and look_at(self.folder) == self.look

    def open(self) -> CountIndex:
        """Open what is in the folder now, and let it answer from now on, unless it is what answers already.

        Returns:
            The index that answers: the one before, or a new one.

        Raises:
            FactcensusError: it cannot be opened; see :meth:`fail`.
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
        """Note that the folder cannot be opened, and decide whether the generation before may go on answering.

        It may not if the folder is gone, or if documents were deleted: ``grace_s`` seconds after the first failure.
        """
        now = monotonic()
        if self.failing_since is None:
            # The full message names paths of this machine: for the log, not for strangers.
            log.error("index %r at %s cannot be opened: %s", self.name, self.folder, error)
            self.failing_since = now
        failing_s = now - self.failing_since
        self.look, self.attempt_at = look_at(self.folder), now + min(failing_s, LONGEST_PAUSE_S)
        if self.index is None:
            self.failure = "its folder cannot be opened; the service's log says why"
        elif self._may_go_on():
            self.failure = "its folder cannot be opened any more, it is served as it was before"
        elif failing_s >= grace_s:
            log.error("index %r is no longer served: its folder is gone, or documents were deleted", self.name)
            self.index = self.files = None
            self.failure = "its folder is gone or cannot be opened; the service's log says why"

    def wait(self) -> None:
        """Note that the folder does not hold an index yet; it may be on its way."""
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
        except IndexFormatError:  # nothing is known of it
            return True

    def take_off(self, changed: Path) -> None:
        """Stop answering, because a file was written to, until the folder is mended and a reload is asked for."""
        log.error("index %r is no longer served: %s was written to; mend it and reload", self.name, changed)
        self.index = self.files = None
        self.failure = "its files were changed while it was served; mend the folder and reload"
        self.attempt_at = float("inf")
