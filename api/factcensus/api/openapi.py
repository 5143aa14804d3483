"""The OpenAPI document, derived from the routes by the framework, with our error responses instead of the framework's.

``python -m factcensus.api.write_openapi > api/openapi.json`` writes the checked copy; a test compares the two.
"""

from __future__ import annotations

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
#: Headers of every response of a service that limits requests, except those of the routes that need no key.
HEADERS = {
    "RateLimit-Limit": "Requests per minute.",
    "RateLimit-Remaining": "Requests that may be sent now.",
    "RateLimit-Reset": "Seconds until the limit is fully available again.",
}
_HEADERS_OF_RESPONSE = {name: {"$ref": f"#/components/headers/{name}"} for name in HEADERS}


def openapi_document(app: FastAPI) -> dict[str, Any]:
    """Return the document of this application, created once; ``app.openapi`` is set to this."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes, tags=app.openapi_tags
        )
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)
        schemas["Problem"] = PROBLEM
        document["components"]["responses"] = {
            "Problem": {
                "description": "Any error.",
                "headers": _HEADERS_OF_RESPONSE,
                "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
            }
        }
        document["components"]["securitySchemes"] = SECURITY_SCHEMES
        document["components"]["headers"] = {
            name: {"description": description, "schema": {"type": "integer"}} for name, description in HEADERS.items()
        }
        document |= {"servers": SERVERS, "security": SECURITY}
        for path, operations in document["paths"].items():
            for operation in operations.values():
                _complete(operation, is_open=path in OPEN_ROUTES)
        app.openapi_schema = document
    return app.openapi_schema


def _complete(operation: dict[str, Any], *, is_open: bool) -> None:
    """Add our errors and headers to the operation of a route, and mark it as open if it needs no key."""
    operation["responses"].pop("422", None)
    if is_open:
        operation["security"] = []
    else:
        for response in operation["responses"].values():
            response.setdefault("headers", {}).update(_HEADERS_OF_RESPONSE)
    operation["responses"]["default"] = {"$ref": "#/components/responses/Problem"}
