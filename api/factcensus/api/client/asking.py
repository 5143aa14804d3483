"""The steps of the methods of both clients: what they send, and how they read the responses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import monotonic
from typing import Any
from urllib.parse import quote

import httpx
import pyarrow as pa

from factcensus.api.client.connections import FIRST_PAUSE_S
from factcensus.api.client.jobs import ProgressFunction, submit, take_counts
from factcensus.api.client.replies import answer_of, json_of
from factcensus.api.client.steps import Json, Steps, pause, send
from factcensus.api.client.tables import batches, counted_batch
from factcensus.api.errors import NotReadyError, RejectedError, UnknownIndexError, UnreachableError
from factcensus.indexer.answers import (
    CompletionAnswer,
    CooccurrenceAnswer,
    CountAnswer,
    DocumentsAnswer,
    ExamplesAnswer,
    IndexInfo,
    IndexSummary,
    TraceAnswer,
)
from factcensus.indexer.records import Entity, as_entity, windows_of
from factcensus.indexer.tables.added import countable
from factcensus.indexer.tables.facts import Facts

#: Values that documents must have to be counted, by column of the document table or metadata field (nested: ``a.b``):
#: one value, a list of values, or ``{"min": …, "max": …}``; None or "" selects documents without the column.
Filter = Mapping[str, Any]
#: Maximum facts of a table that is not counted as a job; the default limit of the service.
JOB_FACTS = 10_000
NDJSON = "application/x-ndjson"


def wait_ready(base_url: str, timeout_s: float) -> Steps[None]:
    """Wait until every index of the service is open and warm."""
    deadline = monotonic() + timeout_s
    while True:
        try:
            yield from send("GET", "/readyz", attempts=1)
            return
        except (NotReadyError, UnreachableError) as error:
            if monotonic() + FIRST_PAUSE_S > deadline:
                message = f"{base_url} was not ready within {timeout_s:g} s: {error.detail}"
                raise type(error)(message, status=error.status, title=error.title, type=error.type) from error
        yield from pause(FIRST_PAUSE_S)


def indexes(timeout_s: float | None) -> Steps[list[IndexSummary]]:
    """List the open indexes."""
    reply = yield from send("GET", "/v1/indexes", timeout_s=timeout_s)
    return answer_of(reply, lambda json: [IndexSummary.from_json(each) for each in json["indexes"]])


def index(name: str, timeout_s: float | None) -> Steps[IndexInfo]:
    """Describe an index."""
    return answer_of((yield from send("GET", path_of(name), timeout_s=timeout_s)), IndexInfo.from_json)


def ask(name: str, route: str, body: Json, timeout_s: float | None = None) -> Steps[httpx.Response]:
    """Send a body to a route of an index."""
    return (yield from send("POST", path_of(name, route), json=body, timeout_s=timeout_s))


def count(name: str, text: str, by: str | None, verbatim: bool, filter: Filter | None) -> Steps[CountAnswer]:
    """Count a text."""
    body = {"text": text, "by": by, "filter": dict(filter or {})} | ({"verbatim": True} if verbatim else {})
    return answer_of((yield from ask(name, "count", body)), CountAnswer.from_json)


def cooccurrence(
    name: str,
    subject: Entity | str,
    object: Entity | str,
    window: int | None,
    by: str | None,
    filter: Filter | None,
) -> Steps[CooccurrenceAnswer]:
    """Count two entities."""
    body = {"subject": _entity(subject), "object": _entity(object), "window": window, "by": by}
    reply = yield from ask(name, "cooccurrence", {**body, "filter": dict(filter or {})})
    return answer_of(reply, CooccurrenceAnswer.from_json)


def count_facts(
    name: str, table: Facts, windows: Sequence[int], progress: ProgressFunction | None, timeout_s: float | None
) -> Steps[pa.Table]:
    """Count a table of facts, in batches or as a job."""
    facts, windows = countable(table), windows_of(windows)
    digest = (yield from index(name, timeout_s)).digest
    if facts.num_rows > JOB_FACTS:
        job = yield from submit(path_of(name, "facts:count"), facts, windows)
        return (yield from take_counts(job, facts, windows, digest, progress))
    counted: list[pa.Table] = []
    done = 0
    for rows, body in batches(facts):
        try:
            reply = yield from send(
                "POST",
                path_of(name, "facts:count"),
                params={"windows": [str(window) for window in windows]},
                content=body,
                headers={"Content-Type": NDJSON, "Accept": NDJSON},
                timeout_s=timeout_s,
            )
        except RejectedError as error:
            if done:
                error.add_rows_before(done)
            raise
        if reply.status_code == 202:  # more facts than this service counts within a request
            counted.append((yield from take_counts(json_of(reply)["id"], rows, windows, digest)))
        else:
            counted.append(counted_batch(rows, reply.content, windows, digest))
        done += rows.num_rows
        if progress is not None:
            progress(done, facts.num_rows)
    return pa.concat_tables(counted)


def submit_facts(name: str, table: Facts, windows: Sequence[int]) -> Steps[str]:
    """Send a fact table as a job, and return the id of the job."""
    return (yield from submit(path_of(name, "facts:count"), countable(table), windows_of(windows)))


def jobs() -> Steps[list[Json]]:
    """List the jobs sent with this key."""
    listed: list[Json] = json_of((yield from send("GET", "/v1/jobs")))["jobs"]
    return listed


def documents_query(
    *,
    subject: Entity | str | None,
    object: Entity | str | None,
    verbatim: bool,
    filter: Filter | None,
    limit: int,
    by: str | None,
    **chosen: Any,
) -> Json:
    """Return the body of a request for documents; fields without a value are left out."""
    query: Json = {"limit": limit, "by": by, "filter": dict(filter or {})}
    query |= {key: value for key, value in chosen.items() if value is not None}
    if verbatim:
        query["verbatim"] = True
    if subject is not None:
        query["subject"] = _entity(subject)
    if object is not None:
        query["object"] = _entity(object)
    return query


def page(name: str, query: Json, cursor: int | str | None) -> Steps[DocumentsAnswer]:
    """Fetch one page of documents."""
    body = query if cursor is None else {**query, "cursor": cursor}
    return answer_of((yield from ask(name, "documents", body)), DocumentsAnswer.from_json)


def trace(name: str, text: str, filter: Filter | None, **chosen: int | None) -> Steps[TraceAnswer]:
    """Find the spans of a text that occur in the corpus."""
    body: Json = {"text": text, "filter": dict(filter or {})}
    body |= {key: value for key, value in chosen.items() if value is not None}
    return answer_of((yield from ask(name, "trace", body)), TraceAnswer.from_json)


def complete(name: str, text: str, limit: int) -> Steps[CompletionAnswer]:
    """Complete a name."""
    parameters = {"text": text, "limit": str(limit)}
    reply = yield from send("GET", path_of(name, "complete"), params=parameters)
    return answer_of(reply, CompletionAnswer.from_json)


def examples(name: str, timeout_s: float | None) -> Steps[ExamplesAnswer]:
    """Return examples of names and pairs."""
    return answer_of((yield from send("GET", path_of(name, "examples"), timeout_s=timeout_s)), ExamplesAnswer.from_json)


def path_of(index: str, route: str = "") -> str:
    """Return the path of an index, or of one of its routes.

    Raises:
        UnknownIndexError: The name cannot be that of an index.
    """
    if not index or "/" in index:
        raise UnknownIndexError(f"invalid index name {index!r}: use the name of the index folder without a path")
    path = f"/v1/indexes/{quote(index, safe='')}"
    return f"{path}/{route}" if route else path


def _entity(entity: Entity | str) -> Json:
    entity = as_entity(entity)
    return {"name": entity.name, "aliases": list(entity.aliases)}
