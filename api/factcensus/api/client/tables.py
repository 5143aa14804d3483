"""Splitting a table of facts into batches, and adding the returned counts to its rows.

Only names and aliases are sent. The other columns stay with the client, so their types cannot change and the result
equals that of ``CountIndex.count_facts``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson
import pyarrow as pa

from factcensus.api.errors import ServerFailureError

#: Facts per request: few enough to show progress and to repeat cheaply, far below the limit of the service.
BATCH_FACTS = 1000
#: Maximum bytes of a batch, for entities with many aliases: a quarter of the limit of the service.
BATCH_BYTES = 4 * 2**20
SENT = ("subject", "object", "subject_aliases", "object_aliases")
LABELS = {"index": pa.string(), "index_digest": pa.string(), "analyzer": pa.string(), "exact": pa.bool_()}


def batches(facts: pa.Table) -> Iterator[tuple[pa.Table, bytes]]:
    """Split a checked fact table into batches, each with the NDJSON body of its request."""
    sent = facts.select([name for name in SENT if name in facts.column_names])
    start, lines, size = 0, list[bytes](), 0
    for row in sent.to_pylist():
        line = orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)
        if lines and (len(lines) == BATCH_FACTS or size + len(line) > BATCH_BYTES):
            yield facts.slice(start, len(lines)), b"".join(lines)
            start, lines, size = start + len(lines), [], 0
        lines.append(line)
        size += len(line)
    if lines:
        yield facts.slice(start, len(lines)), b"".join(lines)


def counted_batch(rows: pa.Table, answer: bytes, windows: Sequence[int], digest: str | None) -> pa.Table:
    """Return the rows with the counts of their NDJSON response.

    Raises:
        ServerFailureError: The response does not match these rows, or the index does not have this digest.
    """
    try:
        counts = [orjson.loads(line) for line in answer.splitlines()]
    except ValueError as error:
        raise _no_counts(error) from error
    return counted_table(rows, counts, windows, digest)


def counted_table(
    rows: pa.Table, counts: Sequence[Mapping[str, Any]], windows: Sequence[int], digest: str | None
) -> pa.Table:
    """Return the rows with their counts.

    Raises:
        ServerFailureError: The counts do not match these rows, or the index does not have this digest.
    """
    try:
        columns = {
            name: pa.array([count[name] for count in counts], of_type)
            for name, of_type in count_columns(windows).items()
        }
    except (ValueError, TypeError, KeyError, pa.ArrowException) as error:
        raise _no_counts(error) from error
    if len(counts) != rows.num_rows:
        raise ServerFailureError(f"the service returned {len(counts)} of {rows.num_rows} facts; try again")
    if any(count["index_digest"] != digest for count in counts):
        raise ServerFailureError("the index was replaced while the facts were counted; count them again from the start")
    table = rows
    for name, values in columns.items():
        table = table.append_column(name, values)
    return table


def _no_counts(error: Exception) -> ServerFailureError:
    return ServerFailureError(
        f"the response is not a counts table ({error!r}); client and service may have different versions"
    )


def count_columns(windows: Sequence[int]) -> dict[str, pa.DataType]:
    """Return names and types of the columns that counting adds, in order."""
    numbers = [f"{role}_{what}" for what in ("mentions", "documents") for role in ("subject", "object")]
    for suffix in ("", *(f"_w{window}" for window in dict.fromkeys(windows))):
        numbers += [f"cooccurrence_documents{suffix}", f"cooccurrence_pairs{suffix}"]
    return {name: pa.int64() for name in numbers} | LABELS
