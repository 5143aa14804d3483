"""Checks of query parameters and form fields: unknown and repeated names are refused, never ignored.

Ignoring a misspelt ``window`` would silently change a count. So every route checks the given names against its
signature (:class:`~factcensus.api.http.routes.NamedRoute`); new routes get the check automatically.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin
from urllib.parse import unquote_to_bytes

from fastapi import Request
from fastapi.dependencies.models import Dependant
from pydantic import BaseModel

from factcensus.api.http.problems import Problem
from factcensus.indexer.names import unknown_name
from factcensus.indexer.numbers import whole_number

#: Maximum characters of a client's name that a message repeats.
_MOST_CHARACTERS = 80


def parsed_json(body: bytes) -> Any:
    """Return the value of a JSON body; repeated names in objects are refused, of which parsers take the last one.

    Raises:
        Problem: ``malformed-body``, or ``invalid-request`` for a repeated name.
    """
    try:
        return _JSON.decode(body.decode(json.detect_encoding(body), "surrogatepass"))
    except json.JSONDecodeError as error:
        raise Problem("malformed-body", f"the body is not JSON: {error.msg} at character {error.pos}") from None
    except (ValueError, RecursionError):
        raise Problem("malformed-body", "the body is not readable as JSON") from None


def unique_fields(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the fields of a JSON object; a hook for the JSON parser.

    Raises:
        Problem: ``invalid-request``; a name is given twice.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        (name, times), *_ = Counter(name for name, _ in pairs).most_common(1)
        raise Problem(
            "invalid-request", f"the field {name[:_MOST_CHARACTERS]!r} occurs {times} times in one object; give it once"
        )
    return found


#: The parser of bodies.
_JSON = json.JSONDecoder(object_pairs_hook=unique_fields)


def query_parameters(dependant: Dependant) -> dict[str, bool]:
    """Return the names of a route's query parameters, and whether each may be repeated."""
    found: dict[str, bool] = {}
    for field in dependant.query_params:
        kind = field.field_info.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            found |= {info.alias or name: _is_list(info.annotation) for name, info in kind.model_fields.items()}
        else:
            found[field.alias] = _is_list(kind)
    for dependency in dependant.dependencies:
        found |= query_parameters(dependency)
    return found


def check_names(given: Iterable[str], known: Mapping[str, bool], what: str) -> None:
    """Refuse unknown names, and repetitions of names that take one value.

    Args:
        given: The names in the request, including repetitions.
        known: Whether each known name may be repeated.
        what: The kind of name, such as ``"query parameter"``.

    Raises:
        Problem: ``invalid-request``; it suggests the nearest known name.
    """
    for name, times in Counter(given).items():
        if name not in known:
            raise refused_name(name, str(unknown_name(what, name, known)))
        if times > 1 and not known[name]:
            raise refused_name(name, f"the {what} {name!r} is given {times} times; it takes one value")


def as_number(text: Any) -> Any:
    """Return the integer of a query parameter; pydantic would also read ``1_0``, ``+10`` and ``10.0``.

    Raises:
        ValueError: The text is not an integer.
    """
    return whole_number(text, least=None) if isinstance(text, str) else text


def refuse_ignored(request: Request) -> None:
    """Refuse query parameters in a response that does not depend on any.

    Raises:
        Problem: ``invalid-request``; it names the first parameter.
    """
    for name in request.query_params:
        raise refused_name(name, f"{name!r} has no effect on this response; leave it out, or accept text/html")


def refused_name(name: str, detail: str) -> Problem:
    """Return the problem of one parameter."""
    return Problem("invalid-request", detail, errors=[{"detail": detail, "parameter": name[:_MOST_CHARACTERS]}])


def check_query(request: Request, known: Mapping[str, bool], in_body: frozenset[str]) -> None:
    """Refuse a query string with unknown names, or one that is not UTF-8.

    The framework would replace bytes that are not UTF-8 by U+FFFD and count a different text.
    """
    try:
        unquote_to_bytes(request.scope["query_string"]).decode("utf-8")
    except UnicodeDecodeError:
        raise Problem(
            "invalid-request", "the percent-encoded bytes of the query string are not UTF-8; encode the text as UTF-8"
        ) from None
    names = [name for name, _ in request.query_params.multi_items()]
    for name in names:
        if name in in_body and name not in known:
            raise refused_name(name, f"{name!r} belongs in the request body, not in the URL")
    check_names(names, known, "query parameter")


def body_fields(dependant: Dependant) -> frozenset[str]:
    """Return the names of the fields of a route's JSON body."""
    kinds = [field.field_info.annotation for field in dependant.body_params]
    return frozenset(
        name for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel) for name in kind.model_fields
    )


def _is_list(kind: Any) -> bool:
    origin = get_origin(kind)
    if origin is Annotated:
        return _is_list(get_args(kind)[0])
    if origin in (Union, UnionType):
        return any(_is_list(each) for each in get_args(kind))
    return origin is list
