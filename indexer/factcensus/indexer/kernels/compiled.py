"""The decorator of every compiled function.

A compiled function runs from the extension module that the wheel contains, if it was built for this processor and for
arguments of these types (``native.py``). Otherwise Numba compiles it when it is first called (``jit.py``). Numba is
imported only then, because the import alone takes longer than most counts.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import cached_property, update_wrapper
from types import CodeType
from typing import Any, Generic, Literal, ParamSpec, TypeVar, cast

from factcensus.indexer.kernels import native

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")
_LOCK = threading.RLock()


class Lazy:
    """An object that compiled functions use and only Numba can make, such as an instruction of the processor.

    Attributes:
        dispatcher: What Numba compiles in its place.
    """

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make

    @cached_property
    def dispatcher(self) -> Any:
        """Make the object; this imports Numba."""
        return self._make()


class Kernel(Generic[Parameters, Result]):
    """A function that runs as machine code; its other attributes are those of Numba's dispatcher."""

    def __init__(self, function: Callable[Parameters, Result], inline: Literal["never", "always"]) -> None:
        update_wrapper(self, function)
        self.py_func = function
        self._inline: Literal["never", "always"] = inline
        self._variants = native.variants_of(function)
        native.note_import(cast(Any, function).__code__.co_filename)
        self._dispatcher: Any = None

    def __call__(self, *arguments: Parameters.args, **named: Parameters.kwargs) -> Result:
        """Run the function. It releases the interpreter's lock and checks no bounds."""
        if native.seen is not None:
            result = self.dispatcher(*arguments, **named)
            native.record(self.py_func, arguments, result)
            return cast(Result, result)
        if self._variants and not named:
            flat: list[Any] = []
            found = self._variants.get(native.flatten(arguments, flat))
            if found is not None:
                return cast(Result, found(*flat))
        return cast(Result, self.dispatcher(*arguments, **named))

    def for_types_of(self, *arguments: Any) -> Callable[..., Result]:
        """Return the function for arguments of exactly these types; its callers must not pass others.

        A call takes about a microsecond less, because the types are not checked. No argument may be a tuple.
        """
        if native.seen is not None:
            return cast("Callable[..., Result]", self)
        found = self._variants.get(native.flatten(arguments, [])) if self._variants else None
        return cast("Callable[..., Result]", found or self.dispatcher)

    @property
    def dispatcher(self) -> Any:
        """Numba's dispatcher, which compiles the function."""
        if self._dispatcher is None:
            with _LOCK:
                if self._dispatcher is None:
                    self._dispatcher = self._compile_lazily()
        return self._dispatcher

    def _compile_lazily(self) -> Any:
        from factcensus.indexer.kernels.jit import compile_lazily

        names = cast(Any, self.py_func).__globals__
        used = {name: names.get(name) for name in _names_in(cast(Any, self.py_func).__code__)}
        kernels = {name: each.dispatcher for name, each in used.items() if isinstance(each, Kernel | Lazy)}
        return compile_lazily(self.py_func, self._inline, kernels)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.dispatcher, name)

    def __reduce__(self) -> str:
        return self.py_func.__qualname__


def _names_in(code: CodeType) -> set[str]:
    inner = [each for each in code.co_consts if isinstance(each, CodeType)]
    return set(code.co_names).union(*map(_names_in, inner))


def compiled(
    *, inline: Literal["never", "always"] = "never"
) -> Callable[[Callable[Parameters, Result]], Kernel[Parameters, Result]]:
    """Compile a function; see :class:`Kernel`.

    It runs without the interpreter's lock and without bounds checks, so its callers must pass valid arguments.
    (``NUMBA_BOUNDSCHECK=1`` enables the checks, for tests.)

    Args:
        inline: ``always`` for small functions inside loops.
    """
    return lambda function: Kernel(function, inline)
