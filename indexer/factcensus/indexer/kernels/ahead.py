"""Compile the functions and argument types in ``variants.json`` into an extension module, when a wheel is built.

``python -m factcensus.indexer.kernels.ahead FOLDER`` writes ``_native.….so`` and ``native.json`` to a folder, and needs
a C compiler. ``native.py`` loads them.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import numpy as np

from factcensus.indexer.kernels import compiled, native
from factcensus.indexer.system.processes import WorkerError, run_tasks

VARIANTS = Path(__file__).parent / "variants.json"
#: Processor that the code is compiled for; others get generic code.
CPUS = {"x86_64": "x86-64-v3", "AMD64": "x86-64-v3"}
#: Each process needs up to 1.3 GB of memory.
MOST_PROCESSES = 8
#: Python looks for garbage after this number of new objects; with its usual 700, that takes a fifth of the time.
GARBAGE_AFTER = 100_000


def compile_all(folder: Path, *, jobs: int = 1) -> Path:
    """Compile every variant and write the extension module to a folder.

    A variant that does not fit its function is left out with a warning; Numba then compiles the function when it is
    called.

    Args:
        folder: An empty folder.
        jobs: Number of processes; several first compile what the variants call, and share it through the disk cache.

    Returns:
        The extension module; ``native.json`` next to it describes it.

    Raises:
        Exception: There is no C compiler, or Numba cannot compile ahead of time on this machine.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the module is not developed any further
        pycc: Any = importlib.import_module("numba.pycc.compiler")
        module: Any = importlib.import_module("numba.pycc").CC("_native")

    flags_of = pycc.Flags

    def flags_without_lock() -> Any:
        flags = flags_of()
        flags.release_gil = True
        return flags

    pycc.Flags = flags_without_lock
    module.output_dir = str(folder)
    machine = os.uname().machine
    module.target_cpu = CPUS.get(machine, "generic")
    if jobs > 1:
        _fill_cache(jobs)
    exports: dict[str, dict[str, tuple[str, str | None]]] = {}
    for number, (name, key, returned) in enumerate(_variants()):
        try:
            function, signature = _checked(name, key, returned)
        except Exception as error:  # Numba raises many kinds
            reason = str(error).strip().partition("\n")[0]
            warnings.warn(
                f"{name} does not accept the types {key} of {VARIANTS.name}, so the wheel has no code for them: "
                f"{reason}",
                stacklevel=2,
            )
            continue
        export = f"f{number}"
        module.export(export, signature)(function)
        exports.setdefault(name, {})[key] = (export, returned)
    module.compile()
    (extension,) = folder.glob("_native.*")
    about = {
        "file": extension.name,
        "digest": native.digest_of(extension),
        "python": sys.implementation.cache_tag,
        "features": sorted(native.X86_64_V3) if machine in CPUS else [],
        "sources": native.digests(native.sources()),
        "exports": exports,
    }
    (folder / native.ABOUT).write_text(json.dumps(about, indent=1), encoding="utf-8")
    return extension


def _fill_cache(jobs: int) -> None:
    """Compile the functions that the variants call, in several processes, to find them in the disk cache later.

    Only time is lost if that fails.
    """
    with suppress(WorkerError, OSError), closing(run_tasks(_worker, list(_variants()), jobs=jobs)) as messages:
        for _ in messages:
            pass


def _worker() -> Callable[..., None]:
    gc.set_threshold(GARBAGE_AFTER)
    return _compile_called


def _compile_called(variant: tuple[str, str, str | None], *_report: Callable[..., None]) -> None:
    with suppress(Exception):  # compile_all() warns
        _checked(*variant)


def _variants() -> Iterator[tuple[str, str, str | None]]:
    """Yield the function, the types of its arguments, and the named tuple that it returns, of each variant."""
    for name, variants in json.loads(VARIANTS.read_text(encoding="utf-8")).items():
        for key, returned in variants.items():
            yield name, key, returned


def _checked(name: str, key: str, returned: str | None) -> tuple[Any, tuple[Any, ...]]:
    """Return the flat function of a variant and the types of its arguments.

    Raises:
        Exception: The function does not exist, or does not accept these types.
    """
    import numba
    from numba.core import compiler, registry, typed_passes

    infer: Any = typed_passes.type_inference_stage
    parsed: Any = compiler.run_frontend
    function = _flat(_kernel(name), key, returned)
    # The names of tuples are not types.
    signature = tuple(_type(part, numba.types) for part in key.split(",") if not part.endswith(("(", ")")))
    cpu: Any = registry.cpu_target
    typing, target = cpu.typing_context, cpu.target_context
    typing.refresh()
    target.refresh()
    infer(typing, target, parsed(function), signature, None)
    return function, signature


def _kernel(name: str) -> compiled.Kernel[..., Any]:
    module, _, function = name.partition(":")
    found = getattr(importlib.import_module(module), function)
    if not isinstance(found, compiled.Kernel):
        raise TypeError("it is not a compiled function")
    return found


def _type(part: str, types: Any) -> Any:
    scalars = {"i": types.int64, "float": types.float64, "float64": types.float64, "bool": types.boolean}
    if part in scalars:
        return scalars[part]
    from numba.np.numpy_support import from_dtype

    layout = "A" if part.endswith("s") else "C"
    text = part.removesuffix("s")
    return types.Array(from_dtype(np.dtype(text[:-1])), int(text[-1]), layout)


def _flat(kernel: compiled.Kernel[..., Any], key: str, returned: str | None) -> Any:
    """Return a function of flat arguments that builds the named tuples of a key and calls the kernel."""
    names: dict[str, Any] = {"kernel": kernel.dispatcher}
    call = "".join(_call(key, names))
    arguments = ", ".join(f"a{i}" for i in range(call.count("a@")))
    for i in range(call.count("a@")):
        call = call.replace("a@", f"a{i}", 1)
    body = f"    found = kernel({call})\n"
    if returned is None:
        body += "    return found\n"
    else:
        module, _, name = returned.partition(":")
        fields = getattr(importlib.import_module(module), name)._fields
        body += f"    return ({''.join(f'found.{field}, ' for field in fields)})\n"
    exec(f"def export({arguments}):\n{body}", names)  # noqa: S102 - made of the names above
    return names["export"]


def _call(key: str, names: dict[str, Any]) -> Iterator[str]:
    for part in key.split(","):
        if part.endswith("("):
            names[part[:-1]] = _named_tuple(part[:-1])
            yield part
        elif part == ")":
            yield "), "
        else:
            yield "a@, "


def _named_tuple(name: str) -> type:
    if name == "tuple":
        raise ValueError("arguments that are plain tuples have no variant")
    found = {
        each
        for module in list(sys.modules.values())
        if module is not None and getattr(module, "__name__", "").startswith("factcensus.indexer.")
        for each in vars(module).values()
        if isinstance(each, type) and each.__name__ == name and hasattr(each, "_fields")
    }
    (one,) = found
    return one


if __name__ == "__main__":
    gc.set_threshold(GARBAGE_AFTER)
    print(compile_all(Path(sys.argv[1]), jobs=min(os.cpu_count() or 1, MOST_PROCESSES)))
