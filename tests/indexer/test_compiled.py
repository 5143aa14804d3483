"""The cache of compiled functions is never affected by concurrent or failed writes of other processes."""

from __future__ import annotations

import importlib.util
import itertools
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from factcensus.indexer.kernels import jit

SOURCE = """
from factcensus.indexer.kernels.compiled import compiled

@compiled()
def half(values):
    return values[0] / 2
"""
_numbers = itertools.count()


def fresh(folder: Path) -> Any:
    """Return the function as in a new process: imported again and not yet compiled."""
    (folder / "halves.py").write_text(SOURCE)
    spec = importlib.util.spec_from_file_location(f"halves{next(_numbers)}", folder / "halves.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.half


def cached(folder: Path) -> dict[str, Path]:
    return {path.name: path for path in (folder / "__pycache__").glob("*.nbc")}


def test_next_process_reuses_compiled_code(tmp_path: Path) -> None:
    assert fresh(tmp_path)(np.array([3])) == 1.5
    again = fresh(tmp_path)
    assert again(np.array([3])) == 1.5
    assert sum(again.stats.cache_hits.values()) == 1


def test_code_for_other_types_is_never_run(tmp_path: Path) -> None:
    """Simulates two processes that compile at the same time and choose the same file name."""
    assert fresh(tmp_path)(np.array([3], np.int64)) == 1.5
    first = cached(tmp_path)
    assert fresh(tmp_path)(np.array([3.0], np.float64)) == 1.5
    (second,) = cached(tmp_path).keys() - first.keys()
    shutil.copyfile(next(iter(first.values())), tmp_path / "__pycache__" / second)
    victim = fresh(tmp_path)
    assert victim(np.array([3.0], np.float64)) == 1.5
    assert not victim.stats.cache_hits
    assert sum(fresh_hits(tmp_path)) == 1, "and the file is right again"


def fresh_hits(folder: Path) -> list[int]:
    function = fresh(folder)
    function(np.array([3.0], np.float64))
    return list(function.stats.cache_hits.values())


@pytest.mark.parametrize("content", [b"", b"\x80", b"not a pickle"])
def test_damaged_file_is_compiled_again(content: bytes, tmp_path: Path) -> None:
    fresh(tmp_path)(np.array([3.0]))
    for path in cached(tmp_path).values():
        path.write_bytes(content)
    assert fresh(tmp_path)(np.array([3.0])) == 1.5
    assert sum(fresh_hits(tmp_path)) == 1


def test_cache_that_cannot_be_written_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_arguments: object, **_options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(jit, "write_atomically", full)
    assert fresh(tmp_path)(np.array([3.0])) == 1.5
    assert not cached(tmp_path)


def test_change_in_an_imported_module_recompiles_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jit, "_PACKAGE", tmp_path)
    uses, other, constants = (tmp_path / name for name in ("uses.py", "other.py", "constants.py"))
    uses.write_text("from factcensus.indexer.search.bounds import first\n" + SOURCE)
    (tmp_path / "search").mkdir()
    (tmp_path / "search/bounds.py").write_text("from factcensus.indexer.constants import STEP\n")
    (tmp_path / "kernels").mkdir()
    (tmp_path / "kernels/compiled.py").write_text("")
    constants.write_text("STEP = 1\n")
    other.write_text(SOURCE)

    def digest() -> str:
        jit.digest_sources.cache_clear()
        return jit.digest_sources(uses)

    before = digest()
    other.write_text(SOURCE + "\n")
    assert digest() == before
    constants.write_text("STEP = 2\n")
    assert digest() != before


def test_process_with_older_sources_leaves_no_code_for_newer_ones(tmp_path: Path) -> None:
    """It has imported the module, the module is changed, and only then is its function compiled."""
    older = fresh(tmp_path)
    (tmp_path / "halves.py").write_text(SOURCE.replace("/ 2", "/ 4"))
    os.utime(tmp_path / "halves.py", ns=(0, 0))
    assert older(np.array([3])) == 1.5
    assert not cached(tmp_path)
    spec = importlib.util.spec_from_file_location(f"halves{next(_numbers)}", tmp_path / "halves.py")
    assert spec
    assert spec.loader
    newer = importlib.util.module_from_spec(spec)
    jit.digest_sources.cache_clear()  # as in another process
    spec.loader.exec_module(newer)
    assert newer.half(np.array([3])) == 0.75
    assert len(cached(tmp_path)) == 1


def test_files_of_other_versions_are_removed(tmp_path: Path) -> None:
    fresh(tmp_path)(np.array([3.0]))
    (name,) = cached(tmp_path)
    old = tmp_path / "__pycache__" / name.replace(name.split(".")[2], "0" * 16)
    old.write_bytes(b"")
    fresh(tmp_path)(np.array([3]))
    assert not old.exists()
    assert len(cached(tmp_path)) == 2


#: Code that makes every cache folder of Numba unusable, like a read-only installation.
READ_ONLY = """
import errno
from numba.core import caching

def refuse(self):
    raise OSError(errno.EROFS, "Read-only file system")

caching._CacheLocator.ensure_cache_path = refuse
"""


def test_every_part_works_where_no_cache_can_be_written() -> None:
    """In a read-only installation without a home folder, all modules import and compiled functions run."""
    program = READ_ONLY + (
        "import importlib, pkgutil, factcensus\n"
        "for part in ('indexer', 'api', 'unlearn', 'eval'):\n"
        "    package = importlib.import_module(f'factcensus.{part}')\n"
        "    for found in pkgutil.walk_packages(package.__path__, f'factcensus.{part}.'):\n"
        "        if not found.name.endswith('__main__'):\n"
        "            importlib.import_module(found.name)\n"
        "import numpy as np\n"
        "from factcensus.indexer.kernels import linking\n"
        "found = linking._term_at(np.array([1, 3, 5]), 1, np.array([3, 5]), np.array([2]))\n"
        "print(found, type(linking._term_at._cache).__name__)\n"
    )
    environment = {**os.environ, "HOME": "/proc/no-such-home"}
    environment = {
        name: value for name, value in environment.items() if name not in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME")
    }
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["True", "NullCache"]


def test_only_the_shared_decorator_compiles() -> None:
    """Numba's own decorators need a writable cache, and keep outdated code of imported functions."""
    root = Path(__file__).parents[2]
    parts = [root / part / "factcensus" for part in ("indexer", "api", "unlearn", "eval")]
    modules = [module for part in parts for module in part.rglob("*.py") if module.name not in ("jit.py", "ahead.py")]
    assert len(modules) > 100
    assert [
        module.name for module in modules if re.search(r"^(from|import) numba\b|\bnjit\b", module.read_text())
    ] == []
