"""The saved state of a training: one file of the first process, or one file per process if weights are sharded.

Files of several processes are complete only together. Each save therefore writes new files, named after the step, and
deletes the older ones once every process has finished. A kill at any moment leaves one complete set.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from factcensus.unlearn.errors import ConfigError
from factcensus.unlearn.training.ranks import Ranks
from factcensus.unlearn.training.runtime import load_state, save_state

_PART = re.compile(r"\.(\d+)\.(\d+)-of-(\d+)$")


class SavedState:
    """The state of one training.

    Args:
        path: The file, such as ``state.pt``; parts are ``state.STEP.INDEX-of-COUNT.pt`` in the same folder.
        ranks: The processes of the training.
        parts: Whether every process has its own part.
    """

    def __init__(self, path: Path, ranks: Ranks, *, parts: bool) -> None:
        self._path, self._ranks, self._parts = path, ranks, parts

    def save(self, state: Callable[[], dict[str, Any]], step: int) -> None:
        """Write the state after a step; with parts, every process must call this."""
        if not self._parts:
            if self._ranks.is_first:
                save_state(state(), self._path)
            return
        older = [path for path, _, index, _ in _parts_of(self._path) if index == self._ranks.index]
        mine = self._part(step)
        save_state(state(), mine)
        self._ranks.wait()
        for path in older:
            if path != mine:
                path.unlink(missing_ok=True)

    def load(self, device: torch.device) -> dict[str, Any] | None:
        """Return the state, or None if there is none.

        Raises:
            ConfigError: the training was started with another setting of ``fsdp`` or another number of processes.
        """
        found = _parts_of(self._path)
        if self._parts and self._path.is_file():
            raise ConfigError(f"{self._path} was saved without fsdp; set fsdp = false, or delete it to begin again")
        if found and not self._parts:
            raise ConfigError(
                f"{self._path.parent} holds a state that was saved with fsdp; set fsdp = true, or delete "
                f"{self._path.stem}.*{self._path.suffix} there to begin again"
            )
        if not self._parts:
            return load_state(self._path, device)
        complete = _complete_steps(found)
        counts = {count for _, count in complete}
        if counts and self._ranks.count not in counts:
            raise ConfigError(
                f"{self._path.parent} holds a state in {max(counts)} parts, but there are {self._ranks.count} "
                f"processes; start {max(counts)}, or delete {self._path.stem}.*{self._path.suffix} there to begin again"
            )
        steps = [step for step, count in complete if count == self._ranks.count]
        return load_state(self._part(max(steps)), device) if steps else None

    def _part(self, step: int) -> Path:
        name = f"{self._path.stem}.{step}.{self._ranks.index}-of-{self._ranks.count}{self._path.suffix}"
        return self._path.with_name(name)


def _parts_of(path: Path) -> list[tuple[Path, int, int, int]]:
    """Return every part of a state: its file, step, index and number of parts."""
    found = []
    for part in sorted(path.parent.glob(f"{path.stem}.*{path.suffix}")):
        if match := _PART.search(part.stem):
            found.append((part, int(match[1]), int(match[2]), int(match[3])))
    return found


def _complete_steps(found: list[tuple[Path, int, int, int]]) -> list[tuple[int, int]]:
    """Return (step, number of parts) of every save that has all its parts."""
    indices: dict[tuple[int, int], set[int]] = defaultdict(set)
    for _, step, index, count in found:
        indices[step, count].add(index)
    return [key for key, there in indices.items() if there == set(range(key[1]))]
