"""The OpenAPI document, derived from the routes by the framework, with our error responses instead of the framework's.

``python -m factcensus.api.write_openapi > api/openapi.json`` writes the checked copy; a test compares the two.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from factcensus.api.http.access import OPEN_ROUTES
from factcensus.api.http.problems import KINDS, MEDIA_TYPE

PROBLEM: dict[str, Any] = {
    "type": "object",
    "description": "An error (RFC 9457); its status is the status of the response.",
    "required": ["type", "title", "status", "detail", "instance", "request_id"],
    "properties": {
        "type": {
            "type": "string",
            "description": "about:blank if the status is enough, otherwise urn:factcensus:problem: and one of "
            + ", ".join(KINDS),
        },
        "title": {"type": "string", "description": "The kind of problem."},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "The error and the remedy."},
        "instance": {"type": "string", "description": "The path of the request."},
        "request_id": {"type": "string", "description": "As in the header X-Request-ID and in the service's log."},
        "errors": {
            "type": "array",
            "description": "Every error, with a JSON pointer into the body or the name of the parameter.",
            "items": {"type": "object"},
        },
    },
}

SERVERS: list[dict[str, Any]] = [
    {"url": "/", "description": "The service that sent this document."},
    {
        "url": "http://{host}:{port}",
        "description": "The address that factcensus serve prints.",
        "variables": {"host": {"default": "127.0.0.1"}, "port": {"default": "8080"}},
    },
]
#: The ways to send a key; the last alternative of :data:`SECURITY` is a service without keys.
SECURITY_SCHEMES: dict[str, Any] = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "A key of factcensus key create."},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "The same key."},
    "basic": {"type": "http", "scheme": "basic", "description": "Any user name, and the key as the password."},
}
SECURITY: list[dict[str, list[str]]] = [{"bearer": []}, {"header": []}, {"basic": []}, {}]
#: The groups of routes.
TAGS = {
    "counts": "Count a text or a pair of entities; complete names.",
    "facts": "Count a table of facts.",
    "documents": "Find the documents behind a number.",
    "infini-gram": "The wire format of the public infini-gram API, and the counts of a published notebook.",
    "status": "Health, readiness, version, metrics and reload.",
    "pages": "Web pages for people.",
    "indexes": "List and describe the indexes.",
    "jobs": "Count large tables in the background.",
}
#: Headers of every response of a service that limits requests, except those of the routes that need no key.
HEADERS = {
    "RateLimit-Limit": "Requests per minute.",
    "RateLimit-Remaining": "Requests that may be sent now.",
    "RateLimit-Reset": "Seconds until the limit is fully available again.",
}
#: Headers of some responses, with the type of their values.
OTHER_HEADERS = {
    "X-Request-ID": "The id of the request, which the log of the service has, too.",
    "ETag": "Identifies this response; send it as If-None-Match to learn whether it is still valid.",
    "Location": "The URL of the job.",
    "Retry-After": "Seconds to wait before asking again.",
}


def _headers(names: Iterable[str]) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def openapi_document(app: FastAPI) -> dict[str, Any]:
    """Return the document of this application, created once; ``app.openapi`` is set to this."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title,
            version=app.version,
            description=app.description,
            routes=app.routes,
            tags=[{"name": name, "description": description} for name, description in TAGS.items()],
            license_info={"name": "Apache 2.0", "identifier": "Apache-2.0"},
        )
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)
        schemas["Problem"] = PROBLEM
        document["components"]["responses"] = {
            "Problem": {
                "description": "Any error.",
                "headers": _headers([*HEADERS, "X-Request-ID", "Retry-After"]),
                "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
            }
        }
        document["components"]["securitySchemes"] = SECURITY_SCHEMES
        document["components"]["headers"] = {
            name: {
                "description": description,
                "schema": {"type": "integer" if name in (*HEADERS, "Retry-After") else "string"},
            }
            for name, description in (HEADERS | OTHER_HEADERS).items()
        }
        document |= {"servers": SERVERS, "security": SECURITY}
        for path, operations in document["paths"].items():
            for operation in operations.values():
                _complete(operation, is_open=path in OPEN_ROUTES)
                _name_bodies(operation, schemas)
        app.openapi_schema = document
    return app.openapi_schema


def _name_bodies(operation: dict[str, Any], schemas: dict[str, Any]) -> None:
    """Move the bodies that a route describes itself to the schemas, so that generated clients have types with names."""
    for content in operation.get("requestBody", {}).get("content", {}).values():
        if (name := content["schema"].get("title")) is not None:
            schemas[name] = content["schema"]
            content["schema"] = {"$ref": f"#/components/schemas/{name}"}


def _complete(operation: dict[str, Any], *, is_open: bool) -> None:
    """Add our errors and headers to the operation of a route, and mark it as open if it needs no key."""
    responses = operation["responses"]
    responses.pop("422", None)
    if is_open:
        operation["security"] = []
    for status, response in responses.items():
        names = ["X-Request-ID"] if is_open else [*HEADERS, "X-Request-ID"]
        names += ["ETag"] * (status == "304" or (status == "200" and "304" in responses))
        names += ["Location", "Retry-After"] * (status == "202")
        response.setdefault("headers", {}).update(_headers(names))
    responses["default"] = {"$ref": "#/components/responses/Problem"}
