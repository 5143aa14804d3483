"""Configuration files in TOML, YAML or JSON, and the assignments of ``--set``."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml

from factcensus.indexer.numbers import whole_number
from factcensus.indexer.paths import not_found
from factcensus.unlearn.config.run_config import RunConfig, check_config
from factcensus.unlearn.errors import ConfigError

#: The key of the block that turns one configuration into many.
SWEEP = "sweep"


class _Loader(yaml.SafeLoader):
    """A YAML loader that refuses duplicate keys."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Return a mapping without duplicate keys; keys merged by ``<<`` may be overridden."""
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key: Any = self.construct_object(key_node, deep=True)
            if isinstance(key, str | int | float | bool | None) and key in seen:
                raise ValueError(f"the key {key!r} is given twice (line {key_node.start_mark.line + 1})")
            seen.add(str(key) if isinstance(key, list | dict) else key)
        return super().construct_mapping(node, deep)


def _add_numbers_of_yaml_1_2() -> None:
    """Read ``010`` and ``1:30`` as strings (8 and 90 in YAML 1.1), and ``1e-5`` as a number."""
    number = r"[-+]?(?:(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+)"
    tags = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
    _Loader.yaml_implicit_resolvers = {
        start: [(tag, pattern) for tag, pattern in resolvers if tag not in tags]
        for start, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    _Loader.add_implicit_resolver(tags[0], re.compile(r"[-+]?(?:0|[1-9][0-9]*)$"), list("-+0123456789"))
    _Loader.add_implicit_resolver(tags[1], re.compile(f"(?:{number})$"), list("-+.0123456789"))


_add_numbers_of_yaml_1_2()


def _read_yaml(text: str) -> Any:
    return yaml.load(text, _Loader)  # a subclass of the safe loader


def _read_json(text: str) -> Any:
    return json.loads(text, object_pairs_hook=_each_once)


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(name for name in names if names.count(name) > 1)!r} is given twice")
    return found


_READERS: dict[str, Callable[[str], Any]] = {
    ".toml": tomllib.loads,
    ".yaml": _read_yaml,
    ".yml": _read_yaml,
    ".json": _read_json,
}


def load_config(path: Path, assignments: Sequence[str] = ()) -> RunConfig:
    """Read a TOML, YAML or JSON file, apply ``a.b=value`` assignments, and check everything.

    Values of assignments are TOML values; any other value is a string. ``methods.0.gamma=2`` changes a list item.

    Raises:
        ConfigError: the file is missing or invalid, a key is unknown (with similar keys), a value is out of range, or
            there is a ``sweep`` block, which is read by :func:`factcensus.unlearn.sweep.grid.read_sweep`.
    """
    settings = load_settings(path, assignments)
    if SWEEP in settings:
        raise ConfigError(f"{path} has a sweep block, so it describes many runs; read it with read_sweep")
    return check_config(settings, str(path))


def load_settings(path: Path, assignments: Sequence[str] = ()) -> dict[str, Any]:
    """Return the file's settings with the assignments applied, unchecked; may include ``sweep``."""
    if not path.is_file():
        raise ConfigError(
            f"{not_found('configuration file', path)} (`factcensus unlearn config --example > run.toml` writes one)"
        )
    ending = path.suffix.lower()
    if ending not in _READERS:
        raise ConfigError(f"{path}: expected a file name that ends in {', '.join(_READERS)}")
    try:
        settings = _READERS[ending](path.read_text(encoding="utf-8-sig"))
    except (ValueError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: {error}") from error
    except RecursionError as error:
        raise ConfigError(f"{path}: lists or sections are nested too deeply") from error
    if not isinstance(settings, dict):
        raise ConfigError(f"{path}: expected keys and values at the top level")
    assigned: set[str] = set()
    for assignment in assignments:
        key = assignment.partition("=")[0].strip()
        if key in assigned:
            raise ConfigError(f"--set {key} is given twice; give it once")
        assigned.add(key)
        _assign(settings, assignment)
    return settings


def _assign(settings: dict[str, Any], assignment: str) -> None:
    """Apply ``a.b.0.c=value`` to nested settings."""
    path, equals, text = assignment.partition("=")
    if not equals or not path.strip():
        raise ConfigError(f"--set {assignment!r}: expected key=value, such as training.passes=2")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    except RecursionError as error:
        raise ConfigError(f"--set {assignment:.100}: lists are nested too deeply") from error
    assign(settings, path.strip(), value, f"--set {assignment!r}")


def assign(settings: dict[str, Any], path: str, value: Any, where: str) -> None:
    """Set ``a.b.0.c`` in nested settings, in place; missing sections are created.

    Raises:
        ConfigError: the path enters a value without keys, or an index is out of range; the message begins with
            ``where``.
    """
    *parents, last = path.split(".")
    place: Any = settings
    for part in parents:
        place = _step_into(place, part, where)
    if isinstance(place, list):
        place[_position(place, last, where)] = value
    elif isinstance(place, dict):
        place[last] = value
    else:
        raise ConfigError(f"{where}: {last!r} cannot be a key, because the value before it has none")


def _step_into(place: Any, part: str, where: str) -> Any:
    if isinstance(place, list):
        position = _position(place, part, where)
        if isinstance(place[position], str):  # a method given only by the name of its preset
            place[position] = {"preset": place[position]}
        return place[position]
    if isinstance(place, dict):
        return place.setdefault(part, {})
    raise ConfigError(f"{where}: {part!r} cannot be a key, because the value before it has none")


def _position(place: list[Any], part: str, where: str) -> int:
    try:
        return whole_number(part, most=len(place) - 1)
    except ValueError:
        raise ConfigError(f"{where}: expected a number from 0 to {len(place) - 1} for {part!r}") from None
