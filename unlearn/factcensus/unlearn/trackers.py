"""Who else is told how a run goes: trackers, by plug-in. None is needed; the run folder has everything at the end.

``trackers = ["jsonl"]`` writes ``events.jsonl`` into the run folder while the run goes on. A package of yours may
bring another one by an entry point of the group ``factcensus.trackers``: a class without arguments that has the
methods of :class:`Tracker`. A tracker that fails is named once in the log and asked no more: no run ends because a
dashboard is away.
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
    """What a tracker does. Calls come from one thread, in this order."""

    def start(self, folder: Path, record: Mapping[str, Any]) -> None:
        """A run begins or goes on; ``record`` is what ``run.json`` holds."""
        ...

    def step(self, stage: str, values: Mapping[str, float]) -> None:
        """A training step is over; ``stage`` is ``unlearn METHOD``, ``values`` its row of ``steps.parquet``."""
        ...

    def finish(self, status: str) -> None:
        """The run is over: ``done``, ``interrupted`` or ``failed``."""
        ...


class JsonLines:
    """A line an event in the run folder, written at once. A step done again after an interruption comes twice."""

    def __init__(self) -> None:
        self._file: IO[str] | None = None

    def start(self, folder: Path, record: Mapping[str, Any]) -> None:
        """Open the file and say which run this is."""
        self._file = (folder / EVENTS).open("a", encoding="utf-8", buffering=1)
        self._write("start", {"identity": record.get("identity"), "seed": record.get("seed")})

    def step(self, stage: str, values: Mapping[str, float]) -> None:
        """One line."""
        self._write("step", {"stage": stage, **values})

    def finish(self, status: str) -> None:
        """The last line."""
        self._write("finish", {"status": status})
        if self._file is not None:
            self._file.close()

    def _write(self, event: str, values: Mapping[str, Any]) -> None:
        assert self._file is not None
        line = {"event": event, "at": datetime.now(UTC).isoformat(timespec="milliseconds"), **values}
        self._file.write(json.dumps(line, default=str) + "\n")


BUILT_IN = {"jsonl": JsonLines}


class Trackers:
    """All trackers of a run, each held apart from the run's own fate."""

    def __init__(self, trackers: Mapping[str, Tracker]) -> None:
        self._trackers = dict(trackers)

    def start(self, folder: Path, record: Mapping[str, Any]) -> None:
        """Tell all."""
        self._tell("start", folder, record)

    def progress(self, progress: Progress) -> None:
        """Tell all, if this is about a training step."""
        if progress.values is not None:
            self._tell("step", progress.stage, progress.values)

    def finish(self, status: str) -> None:
        """Tell all."""
        self._tell("finish", status)

    def _tell(self, method: str, *arguments: Any) -> None:
        for name, tracker in list(self._trackers.items()):
            try:
                getattr(tracker, method)(*arguments)
            except Exception as error:
                del self._trackers[name]
                log.warning("tracker %s failed in %s and is asked no more: %r", name, method, error)


def get_trackers(names: Sequence[str]) -> Trackers:
    """New trackers of these names.

    Raises:
        ConfigError: no installed package brings one of such a name.
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
