"""A grid of runs from one configuration file, with the name of each run.

The block ``sweep`` gives several values to some keys; every combination is one run::

    sweep:
      seed: [0, 1, 2]
      training.learning_rate: [1e-5, 1e-4]
      methods: [simnpo, npo, [grad_diff, idk]]     # one run each; the last one with two methods

Keys may be dotted or nested. A list of such blocks is the union of their grids, for designs that are not a full
product. Each run has a subfolder of ``out``. A run is identified by the settings that determine its result, not by its
name, so values can be added, removed and reordered without repeating finished work.
"""

from __future__ import annotations

import copy
import hashlib
import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from factcensus.unlearn.config.files import SWEEP, assign, load_settings
from factcensus.unlearn.config.run_config import RunConfig, check_config
from factcensus.unlearn.errors import ConfigError

LONGEST_NAME = 100


@dataclass(frozen=True, slots=True)
class GridPoint:
    """One run of a grid.

    Attributes:
        name: Its folder inside the folder of the sweep.
        values: The varied keys with their values in this run.
        config: The complete configuration; ``out`` is the folder of the run.
    """

    name: str
    values: Mapping[str, Any]
    config: RunConfig


@dataclass(frozen=True, slots=True)
class Sweep:
    """A grid: its folder, the varied keys, and the runs in the order of the file."""

    out: Path
    keys: tuple[str, ...]
    points: tuple[GridPoint, ...]


def has_sweep(path: Path, assignments: Sequence[str] = ()) -> bool:
    """Return whether a configuration file describes a grid."""
    return SWEEP in load_settings(path, assignments)


def read_sweep(path: Path, assignments: Sequence[str] = ()) -> Sweep:
    """Read a file with a ``sweep`` block and check every run, without loading models or writing files.

    Raises:
        ConfigError: the block is not a grid, or the configuration of a run is invalid; the message names the run.
    """
    settings = load_settings(path, assignments)
    block = settings.pop(SWEEP, None)
    blocks = block if isinstance(block, list) else [block]
    grids = [_axes(each, str(path)) for each in blocks]
    keys = tuple(dict.fromkeys(key for axes in grids for key in axes))
    if "out" in keys:
        raise ConfigError(f"{path}: sweep.out cannot vary, because each run gets a subfolder of `out`; remove it")
    points: dict[str, GridPoint] = {}
    for values in itertools.chain.from_iterable(_combinations(axes) for axes in grids):
        point = _point(settings, values, keys, path)
        points.setdefault(point.name, point)
    return Sweep(Path(str(settings.get("out", ""))), keys, tuple(points.values()))


def single(config: RunConfig) -> Sweep:
    """Return a grid of one run for a configuration, in the folder of the run."""
    return Sweep(config.out.parent, (), (GridPoint(config.out.name, {}, config),))


def _axes(block: Any, where: str) -> dict[str, list[Any]]:
    """Return dotted keys with their values."""
    if not isinstance(block, dict) or not block:
        raise ConfigError(f"{where}: sweep is {block!r}; expected keys with lists of values, such as seed = [0, 1, 2]")
    axes: dict[str, list[Any]] = {}
    for key, value in block.items():
        if isinstance(value, dict):
            found = {f"{key}.{inner}": values for inner, values in _axes(value, f"{where}: sweep.{key}").items()}
        elif isinstance(value, list) and value:
            found = {str(key): value}
        else:
            raise ConfigError(f"{where}: sweep.{key} is {value!r}; expected a list of values, such as [{value!r}]")
        if twice := sorted(found.keys() & axes.keys()):
            raise ConfigError(f"{where}: sweep has {twice[0]!r} twice, dotted and nested; give it once")
        axes |= found
    return axes


def _combinations(axes: Mapping[str, list[Any]]) -> Iterator[dict[str, Any]]:
    for values in itertools.product(*axes.values()):
        yield dict(zip(axes, values, strict=True))


def _point(settings: Mapping[str, Any], values: dict[str, Any], keys: Sequence[str], path: Path) -> GridPoint:
    own = copy.deepcopy(dict(settings))
    name = _name(values, keys)
    for key, value in values.items():
        one_method = key == "methods" and not isinstance(value, list)
        assign(own, key, [value] if one_method else copy.deepcopy(value), f"{path}: sweep.{key}")
    if "out" in own:
        own["out"] = str(Path(str(own["out"])) / name)
    return GridPoint(name, values, check_config(own, f"{path}: the run {name}"))


def _name(values: Mapping[str, Any], keys: Sequence[str]) -> str:
    """Return a name such as ``seed=0,learning_rate=1e-05``, with a digest if it would be too long or ambiguous."""
    last = [key.rpartition(".")[2] for key in keys]
    plain, exact = [], True
    for key, value in values.items():
        short = key.rpartition(".")[2]
        text = _text(value)
        shown = re.sub(r"[^A-Za-z0-9._+-]+", "-", text).strip("-.")
        exact = exact and shown == text and "{" not in json.dumps(value, default=str)
        plain.append(f"{short if last.count(short) == 1 else key}={shown}")
    name = ",".join(plain)
    if exact and len(name) <= LONGEST_NAME:
        return name
    digest = hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()[:8]
    return f"{name[: LONGEST_NAME - 9]},{digest}"


def _text(value: Any) -> str:
    if isinstance(value, list):
        return "+".join(map(_text, value))
    if isinstance(value, dict):
        return str(value.get("name") or value.get("preset") or json.dumps(value, sort_keys=True))
    return str(value)
