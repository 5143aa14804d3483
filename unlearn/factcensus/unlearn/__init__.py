"""Unlearning: a controlled world, forget and retain sets chosen by count, objectives, and the training loop.

The names below are imported on first use, so that importing this package costs neither torch nor transformers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import factcensus.indexer  # noqa: F401  (sets __version__ of the namespace)

if TYPE_CHECKING:
    from factcensus.unlearn.config.run_config import RunConfig
    from factcensus.unlearn.presets import PRESETS, Preset
    from factcensus.unlearn.progress import Progress
    from factcensus.unlearn.run import run_unlearning
    from factcensus.unlearn.world.pretrain import pretrain
    from factcensus.unlearn.world.settings import PretrainSettings, WorldSettings
    from factcensus.unlearn.world.write import write_world

__all__ = [
    "PRESETS",
    "Preset",
    "PretrainSettings",
    "Progress",
    "RunConfig",
    "WorldSettings",
    "pretrain",
    "run_unlearning",
    "write_world",
]

_MODULE_OF = {
    "PRESETS": "presets",
    "Preset": "presets",
    "PretrainSettings": "world.settings",
    "Progress": "progress",
    "RunConfig": "config.run_config",
    "WorldSettings": "world.settings",
    "pretrain": "world.pretrain",
    "run_unlearning": "run",
    "write_world": "world.write",
}


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
