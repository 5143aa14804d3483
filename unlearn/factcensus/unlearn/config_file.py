"""Configuration files: TOML, YAML or JSON, and the assignments of ``--set`` on top."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml

from factcensus.unlearn.config import RunConfig, check_config
from factcensus.unlearn.errors import ConfigError

_READERS: dict[str, Callable[[str], Any]] = {
    ".toml": tomllib.loads,
    ".yaml": yaml.safe_load,
    ".yml": yaml.safe_load,
    ".json": json.loads,
}


def load_config(path: Path, assignments: Sequence[str] = ()) -> RunConfig:
    """Read a TOML, YAML or JSON file, apply ``a.b=value`` assignments, and check everything.

    Values of assignments are TOML values; what is none of those is a text. ``methods.0.gamma=2`` reaches into lists.

    Raises:
        ConfigError: no such file, not readable, an unknown key (with near misses), or a value out of range.
    """
    if not path.is_file():
        raise ConfigError(f"{path}: no such configuration file")
    if path.suffix not in _READERS:
        raise ConfigError(f"{path}: expected a name that ends in {', '.join(_READERS)}")
    try:
        settings = _READERS[path.suffix](path.read_text(encoding="utf-8"))
    except (ValueError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: {error}") from error
    if not isinstance(settings, dict):
        raise ConfigError(f"{path}: expected keys and values at the top")
    for assignment in assignments:
        _assign(settings, assignment)
    return check_config(settings, str(path))


def _assign(settings: dict[str, Any], assignment: str) -> None:
    """Apply ``a.b.0.c=value`` to nested settings."""
    path, equals, text = assignment.partition("=")
    if not equals or not path.strip():
        raise ConfigError(f"--set {assignment!r}: expected key=value, such as training.passes=2")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    *parents, last = path.strip().split(".")
    place: Any = settings
    for part in parents:
        place = _step_into(place, part, assignment)
    if isinstance(place, list):
        place[_position(place, last, assignment)] = value
    elif isinstance(place, dict):
        place[last] = value
    else:
        raise ConfigError(f"--set {assignment!r}: {last!r} is asked of a value that has no keys")


def _step_into(place: Any, part: str, assignment: str) -> Any:
    if isinstance(place, list):
        position = _position(place, part, assignment)
        if isinstance(place[position], str):  # a method given by its preset's name alone
            place[position] = {"preset": place[position]}
        return place[position]
    if isinstance(place, dict):
        return place.setdefault(part, {})
    raise ConfigError(f"--set {assignment!r}: {part!r} is asked of a value that has no keys")


def _position(place: list[Any], part: str, assignment: str) -> int:
    if not part.isdigit() or int(part) >= len(place):
        raise ConfigError(f"--set {assignment!r}: expected a number from 0 to {len(place) - 1} for {part!r}")
    return int(part)
