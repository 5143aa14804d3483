"""The reference at ``/docs``: every route with an example that this service answers, and a form to try it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from fastapi import Request
from fastapi.responses import HTMLResponse, JSONResponse

from factcensus.api.dependencies import IndexesOf, LimitsOf, ServiceOf, new_router
from factcensus.api.pages.curl import curl_command
from factcensus.api.pages.facts import examples
from factcensus.api.pages.rendering import html

router = new_router("pages")
#: Names for an index without examples.
_SUBJECT, _OBJECT = "Marie Curie", "Warsaw"
#: Headings of the groups of routes, in the order of the page.
GROUPS = {
    "counts": "Count",
    "facts": "Count tables of facts",
    "documents": "Find documents and spans",
    "indexes": "Indexes",
    "jobs": "Jobs",
    "status": "Run the service",
    "infini-gram": "infini-gram",
    "pages": "Web pages",
}


@dataclass(frozen=True, slots=True)
class Names:
    """Names that occur in the index of the examples."""

    index: str
    subject: str
    object: str


@dataclass(frozen=True, slots=True)
class Operation:
    """A route with its description in OpenAPI and an example.

    Attributes:
        values: Example values by name of the parameter; parameters without one are left empty.
        body: The example of a body, or None.
    """

    method: str
    path: str
    described: Mapping[str, Any]
    values: Mapping[str, str]
    body: Any

    @property
    def id(self) -> str:
        """The name of the operation, which is its id on the page."""
        return str(self.described["operationId"])

    @property
    def json(self) -> str | None:
        """The example of a body as JSON, or None."""
        return None if self.body is None else json.dumps(self.body, ensure_ascii=False, indent=2)

    def curl(self, base_url: str, *, keyed: bool) -> str:
        """Return the example as a curl command, with a key if the service requires one."""
        path, query = self.path.removeprefix("/"), list[tuple[str, str]]()
        for parameter in self.described.get("parameters", []):
            name = parameter["name"]
            if parameter["in"] == "path":
                path = path.replace(f"{{{name}}}", quote(self.values.get(name, ""), safe="") or name.upper())
            elif parameter["in"] == "query" and name in self.values:
                query.append((name, self.values[name]))
        address = base_url + path + (f"?{urlencode(query)}" if query else "")
        options = [] if self.method == "GET" or self.body is not None else ["-X", self.method]
        if "text/html" in self.described["responses"].get("200", {}).get("content", {}):
            options += ["-H", "'Accept: text/html'"]
        return curl_command(address, keyed=keyed, body=self.body, indent=2, options=options)


@router.get("/docs", summary="Show this reference", response_class=HTMLResponse)
async def docs(request: Request, service: ServiceOf, indexes: IndexesOf, limits: LimitsOf) -> HTMLResponse:
    """Return the OpenAPI document as an HTML page, with examples from the first index."""
    document = request.app.openapi()
    found = await examples(request, limits, indexes)
    pair = next((each for each, _ in found if each.object), None)
    index = next(iter(indexes.names), "INDEX")
    names = Names(index, pair.subject, pair.object or _OBJECT) if pair else Names(index, _SUBJECT, _OBJECT)
    groups = {title: list[Operation]() for title in GROUPS.values()}
    for operation in operations(document, names):
        groups[GROUPS[operation.described["tags"][0]]].append(operation)
    context = {"document": document, "groups": groups, "base": str(request.base_url), "keyed": service.keyed}
    return html(request, "reference.html", context)


@router.get("/openapi.json", include_in_schema=False)
async def openapi(request: Request) -> JSONResponse:
    """Return the OpenAPI document of this application."""
    return JSONResponse(request.app.openapi())


def operations(document: Mapping[str, Any], names: Names) -> list[Operation]:
    """Return every operation of an OpenAPI document with its example."""
    values, bodies = _values(names), _bodies(names)
    return [
        Operation(
            method.upper(),
            path,
            described,
            {"index": names.index, **values.get(described["operationId"], {})},
            bodies.get(described["operationId"]),
        )
        for path, methods in document["paths"].items()
        for method, described in methods.items()
    ]


def _values(names: Names) -> dict[str, dict[str, str]]:
    """Return example values of parameters by operation."""
    pair = {"subject": names.subject, "object": names.object}
    return {
        "count_by_address": {"text": names.subject},
        "complete": {"text": names.subject[: max(2, len(names.subject) - 2)]},
        "cooccurrence_by_address": pair,
        "page": {"index": names.index, **pair},
        "trace_page": {"index": names.index, "text": f"{names.subject} {names.object}", "least_tokens": "1"},
        "job_result": {"format": "csv"},
    }


def _bodies(names: Names) -> dict[str, Any]:
    """Return example bodies by operation."""
    subject, object_ = {"name": names.subject}, {"name": names.object}
    facts = [{"fact_id": "f1", "subject": names.subject, "object": names.object}]
    return {
        "count": {"text": names.subject},
        "cooccurrence": {"subject": subject, "object": object_},
        "count_facts": {"facts": facts},
        "documents": {"subject": subject, "object": object_, "limit": 2},
        "trace": {"text": f"{names.subject} {names.object}", "least_tokens": 1, "documents": 1},
        "replicate_facts": {"method": "paper-notebook", "facts": facts},
        "infini_gram": {"index": names.index, "query_type": "count", "query": names.subject},
    }
