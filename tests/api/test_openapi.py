"""The OpenAPI document equals the checked file, is self-contained, and has every public route."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest

CHECKED = Path(__file__).resolve().parents[2] / "api" / "openapi.json"


@pytest.fixture
def document(http: httpx.Client) -> dict[str, Any]:
    found: dict[str, Any] = http.get("/openapi.json").json()
    return found


def test_the_document_equals_the_checked_file(document: dict[str, Any]) -> None:
    checked = json.loads(CHECKED.read_text(encoding="utf-8"))
    assert document == checked, "routes changed: python -m factcensus.api.write_openapi > api/openapi.json"


def test_every_public_route_is_documented(document: dict[str, Any]) -> None:
    routes = {f"{method.upper()} {path}" for path, methods in document["paths"].items() for method in methods}
    assert routes == {
        "GET /healthz",
        "GET /readyz",
        "GET /version",
        "GET /metrics",
        "GET /docs",
        "GET /trace",
        "GET /",
        "POST /",
        "POST /v1/admin/reload",
        "GET /v1/jobs",
        "GET /v1/jobs/{job}",
        "DELETE /v1/jobs/{job}",
        "GET /v1/jobs/{job}/result",
        "GET /v1/indexes",
        "GET /v1/indexes/{index}",
        "GET /v1/indexes/{index}/count",
        "GET /v1/indexes/{index}/complete",
        "GET /v1/indexes/{index}/examples",
        "POST /v1/indexes/{index}/count",
        "GET /v1/indexes/{index}/cooccurrence",
        "POST /v1/indexes/{index}/cooccurrence",
        "POST /v1/indexes/{index}/facts:count",
        "POST /v1/indexes/{index}/facts:replicate",
        "POST /v1/indexes/{index}/documents",
        "POST /v1/indexes/{index}/trace",
    }


def test_every_reference_resolves_and_every_error_is_a_problem(document: dict[str, Any]) -> None:
    for reference in set(re.findall(r'"\$ref": "#/([^"]+)"', json.dumps(document))):
        place: Any = document
        for step in reference.split("/"):
            place = place[step]
    for operations in document["paths"].values():
        for operation in operations.values():
            assert operation["responses"]["default"] == {"$ref": "#/components/responses/Problem"}
            assert "422" not in operation["responses"]
            assert operation["summary"]
            assert operation["description"]


def test_the_reference_page_shows_every_route_and_type(http: httpx.Client, document: dict[str, Any]) -> None:
    page = http.get("/docs").text
    for path, operations in document["paths"].items():
        for method in operations:
            assert f"<code>{method.upper()} {path}</code>" in page
    for name in document["components"]["schemas"]:
        assert f'<h3 id="{name}">' in page
    ids = set(re.findall(r'id="([^"]+)"', page))
    assert set(re.findall(r'href="#([^"]+)"', page)) <= ids


def test_keys_and_servers_are_declared(document: dict[str, Any]) -> None:
    schemes = document["components"]["securitySchemes"]
    assert {name: scheme["type"] for name, scheme in schemes.items()} == {
        "bearer": "http",
        "header": "apiKey",
        "basic": "http",
    }
    assert document["security"] == [{"bearer": []}, {"header": []}, {"basic": []}, {}]
    without = {path for path, methods in document["paths"].items() for each in methods.values() if "security" in each}
    assert without == {"/healthz", "/readyz"}
    assert document["servers"][0]["url"] == "/"


def test_every_limited_response_declares_the_rate_limit_headers(document: dict[str, Any]) -> None:
    for path, operations in document["paths"].items():
        for operation in operations.values():
            for status, response in operation["responses"].items():
                limited = path not in ("/healthz", "/readyz") and status != "default"
                assert ("RateLimit-Remaining" in response.get("headers", {})) == limited, (path, status)
