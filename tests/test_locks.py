"""The lock files pin every dependency that ``pyproject.toml`` declares, at a version that it allows."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCKS = {
    "indexer/requirements.lock": [],
    "api/requirements.lock": ["api"],
    "unlearn/requirements.lock": ["all"],
    ".ci/requirements.lock": ["dev"],
}


def declared(requirements: list[str]) -> Iterator[Requirement]:
    """Yield the requirements, with factcensus's own extras replaced by their contents."""
    for requirement in map(Requirement, requirements):
        if requirement.name == "factcensus":
            for extra in requirement.extras:
                yield from declared(PROJECT["optional-dependencies"][extra])
        elif requirement.name != "torch":  # pinned in constraints.txt
            yield requirement


@pytest.mark.parametrize("lock", LOCKS)
def test_lock_pins_every_declared_dependency_with_hashes(lock: str) -> None:
    entries = re.split(r"\n(?=\w)", (ROOT / lock).read_text())
    assert all("--hash=sha256:" in entry for entry in entries)
    pinned: dict[str, list[str]] = {}
    for entry in entries:
        name, version = entry.split(maxsplit=1)[0].split("==")
        pinned.setdefault(canonicalize_name(name), []).append(version)
    wanted = PROJECT["dependencies"] + [f"factcensus[{extra}]" for extra in LOCKS[lock]]
    for requirement in declared(wanted):
        versions = pinned.get(canonicalize_name(requirement.name), [])
        assert versions, f"{lock} does not pin {requirement.name}; run: make lock"
        assert all(requirement.specifier.contains(version) for version in versions), f"{requirement}: run: make lock"


def test_no_lock_pins_torch() -> None:
    for lock in LOCKS:
        assert not re.search(r"^(torch==|nvidia-|triton)", (ROOT / lock).read_text(), re.MULTILINE)
