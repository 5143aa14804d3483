"""Trackers, which receive the progress of a run. They are optional: the run folder holds all results at the end.

``trackers = ["jsonl"]`` writes ``events.jsonl`` into the run folder during the run. Other packages can add trackers by
an entry point in the group ``factcensus.trackers``: a class whose constructor takes no arguments, with the methods of
:class:`Tracker`. If a tracker fails, the failure is logged once and the tracker is not called again. A failing
dashboard never ends a run.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import entry_points
from pathlib import Path
from typing import IO, Any, Protocol

from factcensus.unlearn.errors import unknown_name
from factcensus.unlearn.progress import Progress

GROUP = "factcensus.trackers"
EVENTS = "events.jsonl"
log = logging.getLogger(__name__)


class Tracker(Protocol):
    """The interface of trackers. Calls come from one thread, in this order."""

    def start(self, folder: Path, record: Mapping[str, Any]) -> None:
        """Handle the start or resumption of a run; ``record`` is the content of ``run.json``."""
        ...

    def step(self, stage: str, values: Mapping[str, float]) -> None:
        """Handle a finished training step; ``stage`` is ``unlearn METHOD``, ``values`` its row of ``steps.parquet``."""
        ...

    def finish(self, status: str) -> None:
        """Handle the end of the run; ``status`` is ``done``, ``interrupted`` or ``failed``."""
        ...


class JsonLines:
    """Writes one line per event to the run folder at once. Steps repeated after an interruption occur twice."""

    def __init__(self) -> None:
        self._file: IO[str] | None = None

    def start(self, folder: Path, record: Mapping[str, Any]) -> None:
        """Open the file and write the identity of the run."""
        self._file = (folder / EVENTS).open("a", encoding="utf-8", buffering=1)
        self._write("start", {"identity": record.get("identity"), "seed": record.get("seed")})

    def step(self, stage: str, values: Mapping[str, float]) -> None:
        """Write one line."""
        self._write("step", {"stage": stage, **values})

    def finish(self, status: str) -> None:
        """Write the last line and close the file."""
        self._write("finish", {"status": status})
        if self._file is not None:
            self._file.close()

    def _write(self, event: str, values: Mapping[str, Any]) -> None:
        assert self._file is not None
        line = {"event": event, "at": datetime.now(UTC).isoformat(timespec="milliseconds"), **values}
        self._file.write(json.dumps(line, default=str) + "\n")


BUILT_IN = {"jsonl": JsonLines}


class Trackers:
    """All trackers of a run; their failures do not affect the run."""

    def __init__(self, trackers: Mapping[str, Tracker]) -> None:
        self._trackers = dict(trackers)

    def start(self, folder: Path, record: Mapping[str, Any]) -> None:
        """Notify all trackers of the start."""
        self._tell("start", folder, record)

    def progress(self, progress: Progress) -> None:
        """Notify all trackers if the progress is a training step."""
        if progress.values is not None:
            self._tell("step", progress.stage, progress.values)

    def finish(self, status: str) -> None:
        """Notify all trackers of the end."""
        self._tell("finish", status)

    def _tell(self, method: str, *arguments: Any) -> None:
        for name, tracker in list(self._trackers.items()):
            try:
                getattr(tracker, method)(*arguments)
            except Exception as error:
                del self._trackers[name]
                log.warning("tracker %s failed in %s and is no longer called: %r", name, method, error)


def get_trackers(names: Sequence[str]) -> Trackers:
    """Return new trackers with these names.

    Raises:
        ConfigError: no installed package has a tracker with this name.
    """
    known: dict[str, Any] = {point.name: point for point in entry_points(group=GROUP)}
    found: dict[str, Tracker] = {}
    for name in names:
        if name in BUILT_IN:
            found[name] = BUILT_IN[name]()
        elif name in known:
            found[name] = known[name].load()()
        else:
            raise unknown_name("tracker", name, sorted({*BUILT_IN, *known}))
    return Trackers(found)
