"""Suggestions for misspelt names of options, commands, parameters, columns, variables and settings."""

from __future__ import annotations

from collections.abc import Iterable

from factcensus.indexer.errors import UnknownNameError

#: Minimum similarity (difflib's ratio, 0 to 1) of a suggested name; if no name is similar, all names are listed.
_LIKENESS = 0.55
#: Maximum number of names listed in one message, and maximum length of a repeated user-given name.
_MOST_LISTED, _MOST_CHARACTERS = 40, 80


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name most similar to ``name``, ignoring case and the difference between ``-`` and ``_``.

    For the last part of a nested name (``title``), it is the only nested name that ends with it (``metadata.title``).

    Returns:
        None if no known name is similar.
    """
    from difflib import get_close_matches

    spelled: dict[str, str] = {}
    for each in known:
        spelled.setdefault(_plain(each), each)
    if (same := spelled.get(_plain(name))) is not None:
        return same
    nested = [each for plain, each in spelled.items() if plain.endswith(f".{_plain(name)}")]
    if len(nested) == 1:
        return nested[0]
    near = get_close_matches(_plain(name), spelled, n=1, cutoff=_LIKENESS)
    return spelled[near[0]] if near else None


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return the hint that ends a message about an unknown name: the most similar known name, or a list of all names.

    Returns:
        A text such as ``; did you mean 'window'?`` or ``; known: by, limit, window``; empty if no names are known.
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
    """Return the error to raise for a name that does not exist.

    Args:
        what: The kind of name, such as ``"query parameter"``.
        name: The name as the user wrote it.
        known: Every name that exists, in the order in which they should be listed.
    """
    shown = name if len(name) <= _MOST_CHARACTERS else f"{name[:_MOST_CHARACTERS]}…"
    return UnknownNameError(f"unknown {what} {shown!r}{suggestion(name, known)}")


def _plain(name: str) -> str:
    return name.casefold().replace("_", "-")
