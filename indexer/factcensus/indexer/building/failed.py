"""Cleaning up after a build that bad input stopped; files that were already analysed are kept."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from factcensus.indexer.building.spool import SPOOL_FILES

#: The field of a plan with the error of a build that bad input stopped.
FAILED = "failed"


def has_work(spool: Path) -> bool:
    """Return whether the folder holds an analysed file, which the same command need not read again."""
    return spool.is_dir() and any(path.suffix == ".json" for path in spool.iterdir())


def start_over(folder: Path, before: Mapping[str, Any], now: Mapping[str, Any], plan_name: str) -> None:
    """Remove the work of a build that bad input stopped, except the work on corpus files that have not changed.

    Args:
        folder: The staging folder, locked.
        before: The plan of that build.
        now: The plan of the new build.
        plan_name: The file of the plan, which stays.
    """
    kept: set[str] = set()
    if all(before.get(name) == value for name, value in now.items() if name != "files"):
        pairs = enumerate(zip(before["files"], now["files"], strict=False))
        kept = {
            f"{number:06d}.{ending}" for number, (old, new) in pairs if old == new for ending in ("json", *SPOOL_FILES)
        }
    for path in [*folder.iterdir(), *(folder / "spool").iterdir()]:
        if path.name in (plan_name, "spool") or (path.parent != folder and path.name in kept):
            continue
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
