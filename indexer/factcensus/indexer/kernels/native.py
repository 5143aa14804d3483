"""Machine code that was compiled when the wheel was built.

The extension module ``_native`` has one function for each compiled function and each combination of argument types in
``variants.json``. ``native.json`` next to it names them, with the digest of the sources and the processor features that
they need. Without these files, with other sources, or on another processor, there are no variants.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import platform
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import cache, partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from factcensus.indexer.environment import NATIVE, NATIVE_FOLDER

#: The folder with the extension module; another one is used in tests.
FOLDER = Path(os.environ.get(NATIVE_FOLDER) or Path(__file__).parent)
ABOUT = "native.json"
#: Processor features of x86-64-v3, as Linux names them.
X86_64_V3 = frozenset({"avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe", "xsave"})
#: The folder of factcensus.indexer.
_PACKAGE = Path(__file__).parents[1]
IMPORT = re.compile(r"^from factcensus\.indexer\.([\w.]+) import", re.MULTILINE)
#: The time of this import; and for each module with compiled functions, when it had been changed before its import, in
#: nanoseconds.
_IMPORTED = time.time()
_changes: dict[str, int] = {}
#: The type of an argument as text.
Key = str
Variants = Mapping[Key, Callable[..., Any]]
_NONE: Variants = {}

#: The types of all calls by function, with the named tuple that each returns; None if calls are not recorded.
seen: dict[str, dict[Key, str | None]] | None = None


def record(function: Any, arguments: tuple[Any, ...], result: Any) -> None:
    """Add a call to :data:`seen`, to find the variants that a wheel needs."""
    if seen is not None:
        kind = type(result)
        returned = f"{kind.__module__}:{kind.__name__}" if hasattr(kind, "_fields") else None
        seen.setdefault(name_of(function), {})[flatten(arguments, [])] = returned


def note_import(file: str) -> None:
    """Note when the file of a module was changed last, while the module is imported."""
    with suppress(OSError):
        _changes[file] = os.stat(file).st_mtime_ns


def changed_since_import(path: Path) -> bool:
    """Return whether a module was changed after this process imported it."""
    try:
        changed = path.stat().st_mtime_ns
    except OSError:
        return True
    noted = _changes.get(str(path))
    if noted is None:  # a module without compiled functions
        return _PACKAGE in path.parents and changed > 1e9 * _IMPORTED
    return changed != noted


def name_of(function: Any) -> str:
    """Return the name of a function in ``variants.json``."""
    return f"{function.__module__}:{function.__qualname__}"


def flatten(arguments: tuple[Any, ...], flat: list[Any]) -> Key:
    """Append the arguments to ``flat``, with tuples replaced by their elements, and return the types of all.

    An array has its type, dimensions and an ``s`` if it is not contiguous. Signed integers are ``i``.
    """
    return ",".join(_types(arguments, flat))


def _types(arguments: tuple[Any, ...], flat: list[Any]) -> Iterator[str]:
    for each in arguments:
        kind = type(each)
        if kind is np.ndarray:
            flat.append(each)
            yield f"{each.dtype.str}{each.ndim}" if each.flags.c_contiguous else f"{each.dtype.str}{each.ndim}s"
        elif kind is int or kind is np.int64 or kind is np.int32:
            flat.append(each)
            yield "i"
        elif issubclass(kind, tuple):
            yield f"{kind.__name__}("
            yield from _types(each, flat)
            yield ")"
        elif isinstance(each, np.memmap):
            flat.append(each)
            yield f"{each.dtype.str}{each.ndim}" if each.flags.c_contiguous else f"{each.dtype.str}{each.ndim}s"
        else:
            flat.append(each)
            yield kind.__name__


def variants_of(function: Any) -> Variants:
    """Return the machine code of a function for each combination of argument types; empty if there is none."""
    loaded = _load()
    if loaded is None:
        return _NONE
    module, exports = loaded
    found = exports.get(name_of(function), {})
    return {
        key: getattr(module, name) if returned is None else partial(_returning, getattr(module, name), returned)
        for key, (name, returned) in found.items()
    }


def _returning(function: Callable[..., Any], returned: str, *arguments: Any) -> Any:
    """Call a function and return its tuple as a named tuple, given as ``module:name``."""
    module, _, name = returned.partition(":")
    return getattr(import_module(module), name)(*function(*arguments))


@cache
def _load() -> tuple[Any, dict[str, dict[str, tuple[str, str | None]]]] | None:
    about = FOLDER / ABOUT
    if os.environ.get(NATIVE) == "0" or os.environ.get("NUMBA_DISABLE_JIT") == "1" or not about.exists():
        return None
    if os.environ.get("NUMBA_BOUNDSCHECK", "0") != "0":
        return None
    stored = json.loads(about.read_text(encoding="utf-8"))
    if stored["python"] != sys.implementation.cache_tag or not set(stored["features"]) <= processor_features():
        return None
    extension = FOLDER / stored["file"]
    # Loading a truncated file would crash the process.
    if stored["sources"] != digests(stored["sources"]) or stored["digest"] != digest_of(extension):
        return None
    spec = importlib.util.spec_from_file_location("_native", extension)
    assert spec is not None
    assert spec.loader is not None
    try:
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    except (ImportError, OSError):  # built for another system
        return None
    return module, stored["exports"]


def sources() -> list[str]:
    """Return the modules of the indexer that compiled code can contain, relative to the package."""
    found = {path for path in _PACKAGE.rglob("*.py") if "kernels.compiled import" in path.read_text(encoding="utf-8")}
    waiting = list(found)
    while waiting:
        for name in IMPORT.findall(waiting.pop().read_text(encoding="utf-8")):
            path = _PACKAGE.joinpath(*name.split(".")).with_suffix(".py")
            if path.exists() and path not in found:
                found.add(path)
                waiting.append(path)
    return sorted(str(path.relative_to(_PACKAGE)) for path in found)


def digests(names: Iterable[str]) -> dict[str, str]:
    """Return the digest of each module; empty text if it does not exist."""
    return {name: digest_of(_PACKAGE / name) for name in names}


def digest_of(path: Path) -> str:
    """Return the digest of a file; empty text if it cannot be read."""
    try:
        return hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()
    except OSError:
        return ""


def processor_features() -> frozenset[str]:
    """Return the features of this processor, as Linux names them; empty if they are unknown."""
    if platform.machine() not in ("x86_64", "AMD64"):
        return frozenset()
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
            return next((frozenset(line.split()[2:]) for line in file if line.startswith("flags")), frozenset())
    except OSError:
        return frozenset()
