"""The known environment variables that begin with ``FACTCENSUS_``, and the check for unknown ones.

Without this check a misspelt variable would be ignored silently, and a service could start without its API keys.
Each part adds its variables with :func:`register`. The command line checks the environment before it runs a command.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from factcensus.indexer.errors import UnknownNameError
from factcensus.indexer.names import nearest

PREFIX = "FACTCENSUS_"
#: If set to 1, the command line prints a traceback instead of a one-line error.
DEBUG = f"{PREFIX}DEBUG"
#: The folder of the real corpora and fact tables for the tests.
TEST_DATA = f"{PREFIX}TEST_DATA"
#: If set to 0, the counting code is compiled when it is first used, even if the wheel contains it compiled.
NATIVE = f"{PREFIX}NATIVE"
#: Another folder with compiled counting code, for the tests.
NATIVE_FOLDER = f"{PREFIX}NATIVE_FOLDER"

#: The folder in which parts of indexes at URLs are kept, instead of the usual one of the system.
CACHE = f"{PREFIX}CACHE"

_registered: list[Callable[[], Iterable[str]]] = [lambda: (CACHE, DEBUG, TEST_DATA, NATIVE, NATIVE_FOLDER)]


def register(names: Callable[[], Iterable[str]]) -> None:
    """Add the variables of a part; ``names`` returns their full names, and is only called if a variable is set."""
    _registered.append(names)


def known_variables() -> list[str]:
    """Return the variables of all parts, in alphabetical order."""
    return sorted({name for names in _registered for name in names()})


def check_environment(names: Iterable[str]) -> None:
    """Check that every name with the prefix is a known variable; other names are ignored.

    Raises:
        UnknownNameError: A name with the prefix is unknown; the message suggests the most similar variable.
    """
    ours = [name for name in names if name.startswith(PREFIX)]
    if not ours:
        return
    known = {name.removeprefix(PREFIX): name for name in known_variables()}
    for name in ours:
        short = name.removeprefix(PREFIX)
        if short not in known:
            near = nearest(short, known)  # with the prefix, all names would be similar
            hint = f"; did you mean {known[near]!r}?" if near else f"; known: {', '.join(known.values())}"
            raise UnknownNameError(f"unknown environment variable {name!r}{hint}")
