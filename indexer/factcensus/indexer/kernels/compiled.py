"""Functions that Numba compiles, with a cache on disk that several processes may fill at the same time.

Numba's own cache numbers its files by a list that each process reads, changes and writes back. Two processes that
compile one function for different types at the same time can give both the same number; whoever loads that file then
runs machine code for other types, which ends the process at best. Numba also keeps code whose own module is
unchanged although a function that it took from another module has changed. Here the name of a file is a digest of all
that its code depends on, so neither can happen; and a cache that cannot be written costs time, not an error.
"""

from __future__ import annotations

import hashlib
import pickle
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeVar, cast
from uuid import uuid4

import numba
from numba.core import config, serialize

#: The folder of factcensus.indexer.
_PACKAGE = Path(__file__).parents[1]
_IMPORT = re.compile(r"^from factcensus\.indexer\.([\w.]+) import", re.MULTILINE)
Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(*, inline: Literal["never", "always"] = "never") -> Callable[[Function], Function]:
    """Compile a function when it is first called with arguments of new types, or take it from the cache.

    It runs without the interpreter's lock, and without checks of bounds: its callers answer for what they give it.
    (``NUMBA_BOUNDSCHECK=1`` adds them, for tests.)

    Args:
        inline: ``always`` for small functions inside loops.
    """

    def decorate(function: Function) -> Function:
        dispatcher: Any = numba.njit(nogil=True, inline=inline)(function)
        try:
            dispatcher.enable_caching()
        except (RuntimeError, AttributeError):  # no folder can be written; or NUMBA_DISABLE_JIT=1, for a debugger
            return cast(Function, dispatcher)
        dispatcher._cache._cache_file = _CacheFile(dispatcher._cache._cache_file, Path(function.__code__.co_filename))
        return cast(Function, dispatcher)

    return decorate


class _CacheFile:
    """One function's place in the cache: a file for each combination of types, named by all that decides its code."""

    def __init__(self, numbas: Any, module: Path) -> None:
        self._folder = Path(numbas._cache_path)
        self._prefix = f"{Path(numbas._index_path).stem}.{digest_sources(module)}."

    def flush(self) -> None:
        self._remove(lambda _name: True)

    def load(self, key: Any) -> Any:
        try:
            stored, data = pickle.loads((self._folder / self._name(key)).read_bytes())
        except (OSError, EOFError, pickle.UnpicklingError, ValueError):
            return None
        return data if stored == key else None

    def save(self, key: Any, data: Any) -> None:
        try:
            self._write(self._name(key), cast(Any, serialize).dumps((key, data)))
            self._remove(lambda name: not name.startswith(self._prefix))
        except OSError:
            pass  # a full or read-only disk: compiled again next time

    def _write(self, name: str, content: bytes) -> None:
        partial = self._folder / f"{name}.{uuid4().hex}"
        try:
            partial.write_bytes(content)
            partial.replace(self._folder / name)
        finally:
            partial.unlink(missing_ok=True)

    def _name(self, key: Any) -> str:
        return f"{self._prefix}{hashlib.sha256(repr(key).encode()).hexdigest()[:16]}.nbc"

    def _remove(self, which: Callable[[str], bool]) -> None:
        """Remove this function's files, those of other versions among them, as far as they are ``which``."""
        function = self._prefix.rpartition("-")[0] + "-"  # behind that its line and Python's version
        for path in self._folder.iterdir():
            if path.name.startswith(function) and path.suffix == ".nbc" and which(path.name):
                path.unlink(missing_ok=True)


@cache
def digest_sources(module: Path) -> str:
    """A digest of a module and all that it imports of this package, of Numba, and of how it is told to compile.

    Constants of other modules are part of compiled code as their functions are.
    """
    digest = hashlib.sha256(f"{numba.__version__} {cast(Any, config).BOUNDSCHECK}".encode())
    found, waiting = {module}, [module]
    while waiting:
        for name in _IMPORT.findall(waiting.pop().read_text(encoding="utf-8")):
            path = _PACKAGE.joinpath(*name.split("."))
            for file in path.glob("*.py") if path.is_dir() else [path.with_suffix(".py")]:
                if file not in found:
                    found.add(file)
                    waiting.append(file)
    for path in sorted(found):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
