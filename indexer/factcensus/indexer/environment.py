"""Environment variables that begin with ``FACTCENSUS_``: the ones that exist, and the check that no other is set.

A misspelt variable would otherwise be ignored silently, and a service meant to have API keys would start without them.
A part adds its own variables with :func:`register`; the command line checks all of them before it runs a command.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from factcensus.indexer.errors import UnknownNameError
from factcensus.indexer.names import nearest

PREFIX = "FACTCENSUS_"
#: Set to 1, the command line prints a traceback instead of one line about an error.
DEBUG = f"{PREFIX}DEBUG"
#: Folder of the real corpora and fact tables that the tests use.
TEST_DATA = f"{PREFIX}TEST_DATA"

_registered: list[Callable[[], Iterable[str]]] = [lambda: (DEBUG, TEST_DATA)]


def register(names: Callable[[], Iterable[str]]) -> None:
    """Add variables of a part; ``names`` returns their full names, and is called only when a variable is set."""
    _registered.append(names)


def known_variables() -> list[str]:
    """Return every variable that some part reads, in alphabetical order."""
    return sorted({name for names in _registered for name in names()})


def check_environment(names: Iterable[str]) -> None:
    """Check the names of the variables that are set; those without the prefix are not ours and pass.

    Raises:
        UnknownNameError: a variable with the prefix does not exist; the message has the nearest one.
    """
    ours = [name for name in names if name.startswith(PREFIX)]
    if not ours:
        return
    known = {name.removeprefix(PREFIX): name for name in known_variables()}
    for name in ours:
        short = name.removeprefix(PREFIX)
        if short not in known:
            near = nearest(short, known)  # with the prefix, all names would look alike
            hint = f"; did you mean {known[near]!r}?" if near else f"; known: {', '.join(known.values())}"
            raise UnknownNameError(f"unknown environment variable {name!r}{hint}")
