"""Compiling functions with Numba at their first call, with a disk cache that several processes can fill at once.

Numba's own cache numbers its files with a list that each process reads, changes and writes back. If two processes
compile the same function for different types at the same time, both may use the same number. A process that loads this
file runs machine code for the wrong types and crashes at best. Numba also keeps cached code if only an inlined function
from another module has changed. Here the name of a file is a digest of everything its code depends on, which avoids
both problems. A process whose sources changed after it imported them uses no cache, because the digest would be that of
the new sources. If the cache cannot be written, compiling takes time but raises no error.
"""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable, Mapping
from functools import cache, update_wrapper
from pathlib import Path
from types import FunctionType
from typing import Any, Literal, cast

import numba
from numba.core import config, serialize

from factcensus.indexer.kernels import native
from factcensus.indexer.system import progress
from factcensus.indexer.system.files import write_atomically

#: The folder of factcensus.indexer.
_PACKAGE = Path(__file__).parents[1]


def compile_lazily(function: Callable[..., Any], inline: Literal["never", "always"], names: Mapping[str, Any]) -> Any:
    """Return Numba's dispatcher of a function, which compiles it for new types of arguments or loads it from the cache.

    Args:
        function: A function without closure.
        inline: ``always`` for small functions inside loops.
        names: Replaces globals of the function.
    """
    source = cast(Any, function)
    copy = FunctionType(source.__code__, {**source.__globals__, **names}, source.__name__, source.__defaults__)
    dispatcher: Any = numba.njit(nogil=True, inline=inline)(update_wrapper(copy, source))
    module = Path(source.__code__.co_filename)
    digest = digest_sources(module)
    if any(map(native.changed_since_import, sources_of(module))):
        return dispatcher
    try:
        dispatcher.enable_caching()
    except (RuntimeError, AttributeError):  # no writable folder, or NUMBA_DISABLE_JIT=1 for a debugger
        return dispatcher
    dispatcher._cache._cache_file = _CacheFile(dispatcher._cache._cache_file, digest)
    return dispatcher


class _CacheFile:
    """The cache files of one function, one per combination of types, named after all that determines its code."""

    def __init__(self, numbas: Any, digest: str) -> None:
        self._folder = Path(numbas._cache_path)
        self._prefix = f"{Path(numbas._index_path).stem}.{digest}."

    def flush(self) -> None:
        self._remove(lambda _name: True)

    def load(self, key: Any) -> Any:
        try:
            stored, data = pickle.loads((self._folder / self._name(key)).read_bytes())
        except (OSError, EOFError, pickle.UnpicklingError, ValueError):
            stored, data = None, None
        if stored == key:
            return data
        progress.announce_compiling()
        return None

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
    for path in sources_of(module):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


@cache
def sources_of(module: Path) -> list[Path]:
    """Return a module and its imports from this package."""
    found, waiting = {module}, [module]
    while waiting:
        for name in native.IMPORT.findall(waiting.pop().read_text(encoding="utf-8")):
            path = _PACKAGE.joinpath(*name.split("."))
            for file in path.glob("*.py") if path.is_dir() else [path.with_suffix(".py")]:
                if file not in found:
                    found.add(file)
                    waiting.append(file)
    return sorted(found)
