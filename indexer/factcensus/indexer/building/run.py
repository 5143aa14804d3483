"""What builds, additions and compactions share: callbacks, resources, and checks of settings."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from factcensus.indexer.building.device_sort import choose_device
from factcensus.indexer.building.settings import BuildSettings
from factcensus.indexer.errors import InputError
from factcensus.indexer.storage.manifest import TOKENIZER, Manifest


class Progress(Protocol):
    """A progress callback, called often."""

    def __call__(self, stage: str, done: int, total: int, unit: str) -> None:
        """Report that ``done`` of ``total`` units of a stage are finished."""
        ...


def silent(stage: str, done: int, total: int, unit: str) -> None:
    """Report nothing."""
    del stage, done, total, unit


@dataclass(frozen=True, slots=True)
class Run:
    """The callbacks and resources of a build, which do not change the result."""

    jobs: int
    device: str
    progress: Progress
    notice: Callable[[str], None]

    def checked(self, done: int, total: int) -> None:
        """Report the number of checked bytes of the files to rewrite."""
        self.progress("check", done, total, "B")


def run_of(
    jobs: int | None, device: str, progress: Progress | None, notice: Callable[[str], None] = lambda _message: None
) -> Run:
    """Return the callbacks and resources of a build; the device must be usable."""
    choose_device(device, 0)  # refuses an unusable device before hours of work
    return Run(jobs or os.cpu_count() or 1, device, progress or silent, notice)


def name_of(index: Path, manifest: Manifest) -> str:
    """Return a name by which this machine can load the analyzer of an index."""
    return f"hf:{index / TOKENIZER}" if TOKENIZER in manifest.files else manifest.analyzer


def check_settings(settings: BuildSettings) -> None:
    """Check the settings of a build.

    Raises:
        InputError: A setting is invalid, or the memory is too little.
    """
    settings.check_memory()
    settings.check_layout()
    if settings.on_bad_line not in ("fail", "skip"):
        raise InputError(f"on_bad_line must be 'fail' or 'skip', got {settings.on_bad_line!r}")
