"""Suggestions for misspelt names: options, commands, parameters, columns, variables and settings alike."""

from __future__ import annotations

from collections.abc import Iterable

from factcensus.indexer.errors import UnknownNameError

#: Likeness (difflib's ratio, 0 to 1) from which a known name is suggested; below it all known names are listed.
_LIKENESS = 0.55
#: Longest list of known names in one message, and longest part of a user's name that is repeated.
_MOST_LISTED, _MOST_CHARACTERS = 40, 80


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that is spelled most like ``name``, without regard to case, ``-`` and ``_``.

    Returns:
        None if no known name is similar.
    """
    from difflib import get_close_matches

    spelled: dict[str, str] = {}
    for each in known:
        spelled.setdefault(_plain(each), each)
    near = get_close_matches(_plain(name), spelled, n=1, cutoff=_LIKENESS)
    return spelled[near[0]] if near else None


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return the end of a message about an unknown name: the nearest known one, or else the list of them.

    Returns:
        Such as ``; did you mean 'window'?`` or ``; known: by, limit, window``; empty if no name is known at all.
    """
    names = list(dict.fromkeys(known))
    if not names:
        return ""
    near = nearest(name, names)
    if near is not None:
        return f"; did you mean {near!r}?"
    more = f" and {len(names) - _MOST_LISTED:,} more" if len(names) > _MOST_LISTED else ""
    return f"; known: {', '.join(names[:_MOST_LISTED])}{more}"


def unknown_name(what: str, name: str, known: Iterable[str]) -> UnknownNameError:
    """Return the error for a name that does not exist, to be raised.

    Args:
        what: The kind of name, such as ``"query parameter"``.
        name: The name as the user wrote it.
        known: Every name that exists, in the order in which they should be listed.
    """
    shown = name if len(name) <= _MOST_CHARACTERS else f"{name[:_MOST_CHARACTERS]}…"
    return UnknownNameError(f"unknown {what} {shown!r}{suggestion(name, known)}")


def _plain(name: str) -> str:
    return name.casefold().replace("_", "-")
