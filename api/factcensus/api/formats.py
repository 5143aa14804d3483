"""The formats in which a table of facts comes in and its counts go out. A new format is one more row of FORMATS."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from typing import Literal

import orjson
import pyarrow as pa
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError

from factcensus.api.bodies import FactsBody
from factcensus.api.negotiation import media_type_of, preferred
from factcensus.api.problems import Problem
from factcensus.indexer import facts_from_rows, read_facts
from factcensus.indexer.tables import render


@dataclass(frozen=True)
class FactsFormat:
    """One format: what it is called, how a body becomes a fact table, how a counts table becomes an answer.

    ``read`` gives the table and, where the body itself names them, the windows.
    """

    media_type: str
    other_names: tuple[str, ...]
    read: Callable[[bytes], tuple[pa.Table, list[int] | None]]
    write: Callable[[pa.Table], bytes]


def _read_json(body: bytes) -> tuple[pa.Table, list[int] | None]:
    try:
        parsed = FactsBody.model_validate_json(body)
    except ValidationError as error:
        found = error.errors(include_input=False)
        if found[0]["type"] == "json_invalid":
            raise Problem("malformed-body", f"the body is not JSON: {found[0]['msg']}") from None
        raise RequestValidationError([{**each, "loc": ("body", *each["loc"])} for each in found]) from None
    return facts_from_rows(parsed.facts), parsed.windows


def _write_json(table: pa.Table) -> bytes:
    return orjson.dumps({"facts": table.to_pylist()})


def _text_format(media_type: str, other_names: tuple[str, ...], format: Literal["csv", "jsonl"]) -> FactsFormat:
    """A format that the command line reads and writes as well, down to the bytes."""
    return FactsFormat(
        media_type,
        other_names,
        read=lambda body: (read_facts(BytesIO(body), format), None),
        write=lambda table: b"".join(render(table, format)),
    )


FORMATS = (
    FactsFormat("application/json", (), _read_json, _write_json),
    _text_format(
        "application/x-ndjson", ("application/ndjson", "application/jsonl", "application/x-jsonlines"), "jsonl"
    ),
    _text_format("text/csv", ("application/csv",), "csv"),
)


def format_of_body(content_type: str | None) -> FactsFormat:
    """The format that a ``Content-Type`` names.

    Raises:
        Problem: ``unsupported-format``.
    """
    media_type = media_type_of(content_type)
    for known in FORMATS:
        if media_type == known.media_type or media_type in known.other_names:
            return known
    raise Problem(
        "unsupported-format",
        f"the body is {media_type[:100] or 'of no stated type'}; "
        f"send one of {', '.join(known.media_type for known in FORMATS)} and name it in Content-Type",
    )


def format_of_answer(accept: str | None, body: FactsFormat) -> FactsFormat:
    """The format that an ``Accept`` header prefers; of equals, that of the body.

    Raises:
        Problem: ``not-acceptable``.
    """
    in_order = [body, *(known for known in FORMATS if known is not body)]
    offers = {name: known for known in in_order for name in (known.media_type, *known.other_names)}
    chosen = preferred(accept, list(offers))
    if chosen is None:
        raise Problem("not-acceptable", f"the answer can be one of {', '.join(known.media_type for known in FORMATS)}")
    return offers[chosen]
