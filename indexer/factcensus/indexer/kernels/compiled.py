"""Functions compiled by Numba, with a disk cache that several processes can fill at the same time.

Numba's own cache numbers its files with a list that each process reads, changes and writes back. If two processes
compile the same function for different types at the same time, both may use the same number. A process that loads this
file runs machine code for the wrong types and crashes at best. Numba also keeps cached code if only an inlined function
from another module has changed. Here the name of a file is a digest of everything its code depends on, which avoids
both problems. If the cache cannot be written, compiling takes time but raises no error.
"""

from __future__ import annotations

import hashlib
import pickle
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

import numba
from numba.core import config, serialize

from factcensus.indexer.system.files import write_atomically

#: The folder of factcensus.indexer.
_PACKAGE = Path(__file__).parents[1]
_IMPORT = re.compile(r"^from factcensus\.indexer\.([\w.]+) import", re.MULTILINE)
Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(*, inline: Literal["never", "always"] = "never") -> Callable[[Function], Function]:
    """Compile a function when it is first called with arguments of new types, or load it from the cache.

    It runs without the interpreter's lock and without bounds checks, so its callers must pass valid arguments.
    (``NUMBA_BOUNDSCHECK=1`` enables the checks, for tests.)

    Args:
        inline: ``always`` for small functions inside loops.
    """

    def decorate(function: Function) -> Function:
        dispatcher: Any = numba.njit(nogil=True, inline=inline)(function)
        try:
            dispatcher.enable_caching()
        except (RuntimeError, AttributeError):  # no writable folder, or NUMBA_DISABLE_JIT=1 for a debugger
            return cast(Function, dispatcher)
        dispatcher._cache._cache_file = _CacheFile(dispatcher._cache._cache_file, Path(function.__code__.co_filename))
        return cast(Function, dispatcher)

    return decorate


class _CacheFile:
    """The cache files of one function, one per combination of types, named after all that determines its code."""

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
            content = cast(Any, serialize).dumps((key, data))
            write_atomically(self._folder / self._name(key), content, shared=True)
            self._remove(lambda name: not name.startswith(self._prefix))
        except OSError:
            pass  # the disk is full or read-only; compile again next time

    def _name(self, key: Any) -> str:
        return f"{self._prefix}{hashlib.sha256(repr(key).encode()).hexdigest()[:16]}.nbc"

    def _remove(self, which: Callable[[str], bool]) -> None:
        """Remove the files of this function, including those of other versions, for which ``which`` is true."""
        function = self._prefix.rpartition("-")[0] + "-"  # followed by its line and the version of Python
        for path in self._folder.iterdir():
            if path.name.startswith(function) and path.suffix == ".nbc" and which(path.name):
                path.unlink(missing_ok=True)


@cache
def digest_sources(module: Path) -> str:
    """Return a digest of a module, its imports from this package, Numba, and the compiler settings.

    Compiled code contains functions and constants of other modules.
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
