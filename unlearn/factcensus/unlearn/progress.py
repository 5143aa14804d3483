"""Progress reports: long operations call a function, and the command line prints them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from factcensus.indexer.system.progress import ConsoleProgress


@dataclass(frozen=True, slots=True)
class Progress:
    """One report: ``done`` of ``total`` units of the stage are finished.

    Attributes:
        stage: Name of the stage, such as ``pretrain``, ``evaluate original`` or ``unlearn simnpo``.
        done: Number of finished units; at ``total`` the stage is complete.
        total: Total number of units.
        detail: A few words for people, such as ``loss 1.93``.
        values: The record of a training step, for trackers; None for other stages.
    """

    stage: str
    done: int
    total: int
    detail: str = ""
    values: Mapping[str, float] | None = None


ProgressFunction = Callable[[Progress], None]


def silent(progress: Progress) -> None:
    """Report nothing."""


def stderr_progress() -> ProgressFunction:
    """Return a function that prints progress to stderr."""
    console = ConsoleProgress()
    return lambda progress: console(progress.stage, progress.done, progress.total, detail=progress.detail)
