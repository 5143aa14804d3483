"""The OpenAPI document: the one the framework derives from the routes, with our errors instead of its own.

``python -m factcensus.api.write_openapi > api/openapi.json`` writes the checked copy; a test compares the two.
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

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
                "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
            }
        }
        for operations in document["paths"].values():
            for operation in operations.values():
                operation["responses"].pop("422", None)
                operation["responses"]["default"] = {"$ref": "#/components/responses/Problem"}
        app.openapi_schema = document
    return app.openapi_schema
