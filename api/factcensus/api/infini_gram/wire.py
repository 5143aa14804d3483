"""Validation and refusal of requests in the form of the public infini-gram API.

Names, limits, messages and statuses are those of the API, so that its clients work unchanged. That includes its most
surprising behaviour: a value out of range gets status 200 and an ``error``. Client errors that the API answers with 500
(an unknown key, a missing ``s``, an engine method that is not a query) get 400 here, malformed bodies get JSON instead
of HTML, and queries are not logged.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from factcensus.api.http.negotiation import media_type_of

MAX_QUERY_CHARS = 1000
MAX_QUERY_TOKENS = 500
MAX_CLAUSES = 4
MAX_TERMS = 4
#: Options with a range: the highest value and the default.
RANGES = {
    "max_support": (1000, 1000),
    "max_clause_freq": (500_000, 50_000),
    "max_diff_tokens": (1000, 100),
    "maxnum": (10, 1),
    "max_disp_len": (10_000, 1000),
}
#: Required options that give the position of a document.
PLACES = {"get_doc_by_rank": ("s", "rank"), "get_doc_by_ptr": ("s", "ptr")}
QUERY_TYPES = (
    "count",
    "count_cnf",
    "prob",
    "ntd",
    "infgram_prob",
    "infgram_ntd",
    "find",
    "find_cnf",
    "get_doc_by_rank",
    "get_doc_by_ptr",
    "search_docs",
    "search_docs_cnf",
)
_ENVELOPE = frozenset({"index", "corpus", "query_type", "query", "query_ids", "engine", "source", "timestamp"})
_OPTIONS = frozenset({*RANGES, "s", "rank", "ptr"})


class Refusal(Exception):
    """A refused request, in the form of the API: ``{"error": …}`` and a status."""

    def __init__(self, error: str, status: int = 200) -> None:
        super().__init__(error)
        self.error = error
        self.status = status


@dataclass(frozen=True)
class Asked:
    """A request with a valid envelope.

    Attributes:
        index: Name of an index.
        query_type: One of :data:`QUERY_TYPES`.
        query: The text or the token ids, not checked yet.
        by_ids: Whether the query is given as token ids.
        options: The other keys, all of them known.
    """

    index: str
    query_type: str
    query: Any
    by_ids: bool
    options: dict[str, Any] = field(default_factory=dict)

    def option(self, name: str) -> int:
        """Return an option with a range, or its default.

        Raises:
            Refusal: It is out of range.
        """
        highest, default = RANGES[name]
        value = self.options.get(name)
        if value is None:
            return default
        if not is_integer(value) or not 1 <= value <= highest:
            raise Refusal(f"{name} must be an integer in [1, {highest}]!")
        return int(value)

    def place(self, name: str, end: int, step: int = 1) -> int:
        """Return ``s``, ``rank`` or ``ptr``: a multiple of ``step`` below ``end``.

        Raises:
            Refusal: It is not such a number.
        """
        value = self.options[name]
        if not is_integer(value) or not 0 <= value < end or value % step:
            kind = "an integer" if step == 1 else f"a multiple of {step}"
            raise Refusal(f"{name} must be {kind} in range [0, {end})")
        return int(value)


def read(body: bytes, content_type: str | None, is_index: Callable[[str], bool]) -> Asked:
    """Check the envelope of a request.

    Args:
        body: The request body.
        content_type: The Content-Type header.
        is_index: Returns whether there is an index with a name.

    Raises:
        Refusal: The envelope is invalid (status 400 or 415).
    """
    sent = _object_of(body, content_type)
    if "corpus" in sent:
        sent["index"] = sent["corpus"]
    for name in ("index", "query_type"):
        if name not in sent:
            raise Refusal(f"[Flask] Missing required field: '{name}'", 400)
    if ("query" in sent) == ("query_ids" in sent):
        raise Refusal("[Flask] Exactly one of query and query_ids must be present!", 400)
    index, query_type = sent["index"], sent["query_type"]
    if not isinstance(index, str) or not is_index(index):
        raise Refusal(f"[Flask] Invalid index: {_shown(index)}", 400)
    if query_type not in QUERY_TYPES:
        raise Refusal(f"[Flask] Invalid query_type: {_shown(query_type)}", 400)
    options = {name: value for name, value in sent.items() if name not in _ENVELOPE}
    _check_options(query_type, options)
    by_ids = "query_ids" in sent
    return Asked(index, query_type, sent["query_ids" if by_ids else "query"], by_ids, options)


def _object_of(body: bytes, content_type: str | None) -> dict[str, Any]:
    media_type = media_type_of(content_type)
    if media_type != "application/json" and not media_type.endswith("+json"):
        raise Refusal("[Flask] Unsupported Media Type: send JSON with 'Content-Type: application/json'", 415)
    try:
        sent = json.loads(body)
    except (ValueError, RecursionError):
        raise Refusal("[Flask] Bad Request: the body is not readable as JSON", 400) from None
    if not isinstance(sent, dict):
        raise Refusal("[Flask] Bad Request: the body is not a JSON object", 400)
    return sent


def _check_options(query_type: str, options: Mapping[str, Any]) -> None:
    if unknown := sorted(options.keys() - _OPTIONS):
        raise Refusal(
            f"[Flask] Bad Request: {query_type}() got an unexpected keyword argument '{unknown[0][:100]}'", 400
        )
    for name in PLACES.get(query_type, ()):
        if name not in options:
            raise Refusal(f"[Flask] Bad Request: {query_type}() missing 1 required argument: '{name}'", 400)


def is_integer(value: object) -> bool:
    """Return whether a JSON value is an integer; true and false are not."""
    return isinstance(value, int) and not isinstance(value, bool)


def _shown(value: object) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= 100 else text[:100] + "…"
