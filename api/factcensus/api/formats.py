"""The formats in which a table of facts comes in and its counts go out. A new format is one more row of FORMATS."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from typing import Literal

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError

from factcensus.api.bodies import FactsBody
from factcensus.api.negotiation import media_type_of, preferred
from factcensus.api.problems import Problem
from factcensus.api.settings import Limits
from factcensus.indexer import facts_from_rows, read_facts
from factcensus.indexer.facts import check_facts
from factcensus.indexer.tables import render


@dataclass(frozen=True)
class FactsFormat:
    """One format: what it is called, how a body becomes a fact table, how a counts table becomes an answer.

    ``read`` takes the body and the limits, and gives the table and, where the body itself names them, the windows.
    """

    media_type: str
    other_names: tuple[str, ...]
    read: Callable[[bytes, Limits], tuple[pa.Table, list[int] | None]]
    write: Callable[[pa.Table], bytes]


def _read_json(body: bytes, _limits: Limits) -> tuple[pa.Table, list[int] | None]:
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
        read=lambda body, _limits: (read_facts(BytesIO(body), format), None),
        write=lambda table: b"".join(render(table, format)),
    )


def _read_parquet(body: bytes, limits: Limits) -> tuple[pa.Table, None]:
    try:
        with pq.ParquetFile(BytesIO(body)) as file:
            groups = [file.metadata.row_group(group) for group in range(file.num_row_groups)]
            _check_size(file.metadata.num_rows, sum(group.total_byte_size for group in groups), limits)
            return check_facts(file.read()), None
    except (pa.ArrowException, OSError) as error:
        raise Problem("malformed-body", f"the body is no Parquet file that can be read ({error})") from error


def _write_parquet(table: pa.Table) -> bytes:
    out = BytesIO()
    pq.write_table(table, out, compression="zstd")
    return out.getvalue()


def _read_arrow(body: bytes, limits: Limits) -> tuple[pa.Table, None]:
    try:
        batches: list[pa.RecordBatch] = []
        with pa.ipc.open_stream(BytesIO(body)) as stream:
            for batch in stream:
                batches.append(batch)
                _check_size(sum(each.num_rows for each in batches), sum(each.nbytes for each in batches), limits)
            return check_facts(pa.Table.from_batches(batches, stream.schema)), None
    except (pa.ArrowException, OSError) as error:
        raise Problem("malformed-body", f"the body is no Arrow stream that can be read ({error})") from error


def _write_arrow(table: pa.Table) -> bytes:
    out = BytesIO()
    with pa.ipc.new_stream(out, table.schema) as stream:
        stream.write_table(table)
    return out.getvalue()


def _check_size(rows: int, size: int, limits: Limits) -> None:
    """Refuse a compressed body that would unfold to far more than a plain one may have."""
    if rows > limits.max_facts:
        raise Problem(
            "limit-exceeded",
            f"{rows} facts are more than {limits.max_facts} (FACTCENSUS_MAX_FACTS); send them in several requests",
        )
    if size > 4 * limits.max_body_bytes:
        raise Problem(
            "limit-exceeded",
            f"the table has {size} bytes uncompressed, more than four times {limits.max_body_bytes} "
            "(FACTCENSUS_MAX_BODY_BYTES); send it in several requests, or without columns that counting does not need",
        )


FORMATS = (
    FactsFormat("application/json", (), _read_json, _write_json),
    _text_format(
        "application/x-ndjson", ("application/ndjson", "application/jsonl", "application/x-jsonlines"), "jsonl"
    ),
    _text_format("text/csv", ("application/csv",), "csv"),
    FactsFormat(
        "application/vnd.apache.arrow.stream", ("application/x-apache-arrow-stream",), _read_arrow, _write_arrow
    ),
    FactsFormat(
        "application/vnd.apache.parquet",
        ("application/parquet", "application/x-parquet"),
        _read_parquet,
        _write_parquet,
    ),
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
