"""Routes that count one text, or one subject with one object."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from fastapi import Query, Request, Response

from factcensus.api.bodies import By, CooccurrenceBody, CountBody, EntityBody, WindowText, filter_of_text, scope_of
from factcensus.api.dependencies import JsonBody, OpenIndex, limits_now, new_router
from factcensus.api.limits import check_entity, check_groups, check_text
from factcensus.api.serving.caching import cache_headers, cached, not_modified
from factcensus.indexer import CountIndex, Deadline, Entity
from factcensus.indexer.answers import CooccurrenceAnswer, CountAnswer, Json

router = new_router("counts")
GroupBy = Annotated[
    By,
    Query(description='"source" or another column; adds the numbers of each of its values.', examples=["source"]),
]
FilterText = Annotated[
    str,
    Query(description='As in the body of POST, as JSON: {"source": ["wiki"]}.', examples=['{"source": ["wiki"]}']),
]


@router.get(
    "/v1/indexes/{index}/count",
    summary="Count a text",
    responses={200: {"model": CountAnswer}, 304: {"description": "The response with this ETag is still valid."}},
)
async def count_by_address(
    request: Request,
    index: OpenIndex,
    text: Annotated[
        str, Query(description="The text in percent-encoded UTF-8; a bare + is a space.", examples=["Marie Curie"])
    ],
    verbatim: Annotated[bool, Query(description="As in the body of POST.")] = False,
    by: GroupBy = None,
    filter: FilterText = "{}",
) -> Response:
    """Count like POST, at a URL that can be shared, bookmarked and cached."""
    body = CountBody(text=text, verbatim=verbatim, by=by, filter=filter_of_text(filter))
    headers = cache_headers(request, index)
    if (unchanged := not_modified(request, headers)) is not None:
        return unchanged
    answer = await count(request, index, body)
    answer.headers.update(headers)
    return answer


@router.post(
    "/v1/indexes/{index}/count",
    summary="Count a text",
    responses={200: {"model": CountAnswer}},
    dependencies=[JsonBody],
)
async def count(request: Request, index: OpenIndex, body: CountBody) -> Response:
    """Return the exact number of occurrences of the text, and of documents that contain it."""
    limits = limits_now(request)
    check_text(body.text, "the text", limits)
    scope = scope_of(body.filter)

    def counted(deadline: Deadline) -> Json:
        check_groups(index, body.by, limits)
        answer = index.count(body.text, verbatim=body.verbatim, by=body.by, scope=scope, deadline=deadline)
        return answer.as_json()

    forms = None if body.by or body.filter or body.verbatim else partial(_forms, index, body.text)
    question = f"count {body.model_dump_json()}"
    return await cached(request, index, limits.deadline_seconds, counted, question, forms=forms, of_text=True)


@router.get(
    "/v1/indexes/{index}/cooccurrence",
    summary="Count a subject and an object, alone and together",
    responses={200: {"model": CooccurrenceAnswer}, 304: {"description": "The response with this ETag is still valid."}},
)
async def cooccurrence_by_address(  # noqa: PLR0913  # one argument per parameter of the URL
    request: Request,
    index: OpenIndex,
    subject: Annotated[
        str, Query(description="The subject's name in percent-encoded UTF-8.", examples=["Marie Curie"])
    ],
    object: Annotated[str, Query(description="The object's name.", examples=["Warsaw"])],
    subject_alias: Annotated[list[str], Query(description="May be given several times.", examples=[["Curie"]])] = [],  # noqa: B006  # the framework copies it
    object_alias: Annotated[list[str], Query(description="May be given several times.")] = [],  # noqa: B006
    window: Annotated[WindowText | None, Query(description="As in the body of POST.", examples=[10])] = None,
    by: GroupBy = None,
    filter: FilterText = "{}",
) -> Response:
    """Count like POST, at a URL that can be shared, bookmarked and cached."""
    body = CooccurrenceBody(
        subject=EntityBody(name=subject, aliases=subject_alias),
        object=EntityBody(name=object, aliases=object_alias),
        window=window,
        by=by,
        filter=filter_of_text(filter),
    )
    headers = cache_headers(request, index)
    if (unchanged := not_modified(request, headers)) is not None:
        return unchanged
    answer = await cooccurrence(request, index, body)
    answer.headers.update(headers)
    return answer


@router.post(
    "/v1/indexes/{index}/cooccurrence",
    summary="Count a subject and an object, alone and together",
    responses={200: {"model": CooccurrenceAnswer}},
    dependencies=[JsonBody],
)
async def cooccurrence(request: Request, index: OpenIndex, body: CooccurrenceBody) -> Response:
    """Return mentions and documents of each entity, and documents and pairs of both, within the window if given."""
    limits = limits_now(request)
    subject, object_ = body.subject.entity(), body.object.entity()
    check_entity(subject, "the subject", limits)
    check_entity(object_, "the object", limits)
    scope = scope_of(body.filter)

    def counted(deadline: Deadline) -> Json:
        check_groups(index, body.by, limits)
        answer = index.cooccurrence(subject, object_, window=body.window, by=body.by, scope=scope, deadline=deadline)
        return answer.as_json()

    forms = None if body.by or body.filter else partial(_forms, index, subject, object_)
    question = f"cooccurrence {body.model_dump_json()}"
    return await cached(request, index, limits.deadline_seconds, counted, question, forms=forms)


def _forms(index: CountIndex, *asked: str | Entity) -> list[tuple[int, ...]]:
    """Return the token sequences to look up for a text or for entities."""
    found: list[tuple[int, ...]] = []
    for each in asked:
        if isinstance(each, Entity):
            found += index.forms(each)
        elif ids := index.token_ids(each):
            found.append(ids)
    return found
