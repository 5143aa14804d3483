"""Queries for strings in original texts: an exact string, the spellings of a number or address, a pattern."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from factcensus.indexer.arrays import TokenIds
from factcensus.indexer.counting.boundaries import whole_occurrences
from factcensus.indexer.counting.deadline import Deadline
from factcensus.indexer.counting.divisions import Divisions
from factcensus.indexer.counting.spelled_words import IndexWords
from factcensus.indexer.counting.spellings import Spellings, spellings_of
from factcensus.indexer.errors import EmptyQueryError, InputError, MissingExtraError
from factcensus.indexer.records import clean_text

if TYPE_CHECKING:
    from factcensus.indexer.counting.searchable import SearchableIndex

#: Memory for the automaton of a pattern.
_PATTERN_BYTES = 16 << 20
#: Divisions of a number that are tried together.
_TRIED = 1024


@dataclass(frozen=True)
class StringQuery:
    """Strings to find.

    Attributes:
        spans: Returns start and end of each string in a text, in ascending order.
        in_bytes: Returns whether a text in UTF-8 may have such a string; faster than ``spans``.
        forms: The token sequences that a document with such a string has; None if all documents must be searched.
        complete: Whether every document with such a string has one of these sequences.
        needs_text: Whether there is no answer without the original texts.
    """

    spans: Callable[[str], list[tuple[int, int]]]
    in_bytes: Callable[[bytes], bool]
    forms: Sequence[TokenIds] | None
    complete: bool = True
    needs_text: bool = True


def string_query(
    index: SearchableIndex,
    text: str | None,
    *,
    verbatim: bool = False,
    normalise: str | None = None,
    region: str | None = None,
    pattern: str | None = None,
    deadline: Deadline | None = None,
) -> StringQuery | None:
    """Return the query for a string; None if the arguments request the usual search for tokens.

    Raises:
        InputError: The arguments cannot be combined, or one is invalid.
        EmptyQueryError: The text has no tokens.
    """
    if [verbatim, normalise is not None, pattern is not None].count(True) > 1:
        raise InputError("give only one of verbatim, normalise and pattern")
    if region is not None and normalise != "phone":
        raise InputError(
            "a region can only be used to normalise a phone number; use normalise phone, or leave the region out"
        )
    if pattern is not None:
        if text is not None:
            raise InputError("give either a text or a pattern")
        return _pattern(pattern)
    if not verbatim and normalise is None:
        return None
    if text is None:
        raise InputError("verbatim and normalise can only be used with a text; give one")
    text = clean_text(text)
    return _verbatim(index, text) if normalise is None else _spelled(index, text, normalise, region, deadline)


def _verbatim(index: SearchableIndex, text: str) -> StringQuery:
    fixed = index.analyzer.has_vocabulary or index.analyzer.name == "bytes"
    if fixed:
        ids = index.token_ids(text)
        forms = [] if ids is None else [ids]
    else:  # the tokens of a name depend on the text before it
        forms = [form for form in index.lexicon.name_ids(text) if form]
        if not forms:
            index.token_ids(text)  # raises the error of a text without tokens
    needle = text.encode()
    return StringQuery(
        spans=lambda content: [(at, at + len(text)) for at in whole_occurrences(content, text)],
        in_bytes=lambda content: needle in content,
        forms=forms,
        complete=fixed,
    )


def _spelled(
    index: SearchableIndex, text: str, kind: str, region: str | None, deadline: Deadline | None
) -> StringQuery:
    spellings = spellings_of(text, kind, region)
    if not index.analyzer.has_vocabulary:
        raise InputError(
            f"normalise {kind} finds the words of a number or address, but index {index.name} has the analyzer "
            f"{index.analyzer.name}; use an index of words, or a pattern"
        )
    divisions = _divisions(index, spellings, deadline or Deadline())
    forms = divisions.of(spellings.written, escaped=True)
    complete = divisions.complete
    if not complete or not index.keeps_text:
        plain = divisions.of(spellings.written, escaped=False)
        if index.keeps_text:
            forms |= plain
        else:  # words alone do not show whether 160 is a number or &#160;
            complete = complete and forms <= plain
            forms = plain
    # An index with cased words has a sequence for each mixture of capitals, of which only some are tried.
    complete = complete and (index.analyzer.name == "words" or not spellings.has_letters)
    return StringQuery(
        spans=spellings.spans,
        in_bytes=lambda _content: True,
        forms=sorted(forms),
        complete=complete,
        needs_text=False,
    )


def _divisions(index: SearchableIndex, spellings: Spellings, deadline: Deadline) -> Divisions:
    """Return the search for the divisions of spellings."""

    def occurring(sequences: Sequence[TokenIds]) -> list[bool]:
        # Deleted documents count as well, because a deletion also looks for those that were deleted before.
        found = []
        for first in range(0, len(sequences), _TRIED):
            deadline.check()
            found += index.occurring(sequences[first : first + _TRIED], deadline)
        deadline.check()
        return found

    return Divisions(IndexWords(index, with_extensions=spellings.is_phone), occurring)


def _pattern(pattern: str) -> StringQuery:
    try:
        import re2
    except ImportError as error:
        raise MissingExtraError("google-re2", "privacy") from error

    options = re2.Options()
    options.log_errors, options.max_mem = False, _PATTERN_BYTES
    try:
        compiled: Any = re2.compile(clean_text(pattern), options)
        # The same pattern for texts in UTF-8.
        encoded: Any = re2.compile(clean_text(pattern).encode(), options)
    except re2.error as error:
        reason = error.args[0].decode(errors="replace") if isinstance(error.args[0], bytes) else error
        raise InputError(
            f"invalid pattern {pattern!r:.200}: {reason}; see the syntax of RE2, which has no look-around and no "
            "references to groups"
        ) from error
    if compiled.search("") is not None:
        raise EmptyQueryError(f"the pattern {pattern!r:.200} matches the empty text, so it is in every document")
    return StringQuery(
        spans=lambda text: [span for found in compiled.finditer(text) if (span := found.span())[0] < span[1]],
        in_bytes=lambda content: encoded.search(content) is not None,
        forms=None,
    )
