"""The OpenAPI document equals the checked file, is self-contained, and has every public route."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
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


#: The words that a schema uses; tools ignore all others, so a bound in another word is no bound.
WORDS = {
    *("$ref", "anyOf", "oneOf", "const", "enum", "type", "format", "title", "description", "default", "examples"),
    *("items", "minItems", "maxItems", "minLength", "maxLength", "minimum", "maximum"),
    *("properties", "required", "additionalProperties", "propertyNames", "maxProperties"),
}


def schemas(node: Any) -> Iterator[dict[str, Any]]:
    """Yield a schema and every schema in it."""
    yield node
    for word in ("items", "additionalProperties", "propertyNames"):
        if isinstance(node.get(word), dict):
            yield from schemas(node[word])
    for each in [*node.get("anyOf", []), *node.get("oneOf", []), *node.get("properties", {}).values()]:
        yield from schemas(each)


def test_every_schema_uses_words_of_json_schema(document: dict[str, Any]) -> None:
    roots = list(document["components"]["schemas"].values())
    for operations in document["paths"].values():
        for operation in operations.values():
            roots += [parameter["schema"] for parameter in operation.get("parameters", [])]
            contents = [operation.get("requestBody", {}), *operation["responses"].values()]
            roots += [media["schema"] for each in contents for media in each.get("content", {}).values()]
    assert {word for root in roots for schema in schemas(root) for word in schema} <= WORDS
    parameters = document["paths"]["/v1/indexes/{index}/complete"]["get"]["parameters"]
    [limit] = [each for each in parameters if each["name"] == "limit"]
    assert (limit["schema"]["minimum"], limit["schema"]["maximum"]) == (1, 50)


def test_every_parameter_and_field_of_a_body_is_described(document: dict[str, Any]) -> None:
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            for parameter in operation.get("parameters", []):
                assert parameter.get("description"), (method, path, parameter["name"])
                if parameter.get("required") and parameter["in"] == "query":
                    assert parameter["schema"]["examples"], (method, path, parameter["name"])
    for name, schema in document["components"]["schemas"].items():
        for field, described in schema["properties"].items():
            if name.endswith("Body") or name == "Range":
                assert described.get("description"), (name, field)


def test_every_body_of_json_is_a_named_type(document: dict[str, Any]) -> None:
    contents = [
        operation["requestBody"]["content"]["application/json"]["schema"]
        for operations in document["paths"].values()
        for operation in operations.values()
        if "requestBody" in operation
    ]
    assert len(contents) == 7
    assert {"$ref"} == {word for schema in contents for word in schema}


def test_every_group_of_routes_is_described(document: dict[str, Any]) -> None:
    used = {tag for operations in document["paths"].values() for each in operations.values() for tag in each["tags"]}
    assert {tag["name"] for tag in document["tags"] if tag["description"]} == used
    assert document["info"]["license"]["identifier"] == "Apache-2.0"


def test_the_headers_of_a_response_are_declared(document: dict[str, Any], http: httpx.Client) -> None:
    declared = document["paths"]["/v1/indexes/{index}/count"]["get"]["responses"]
    assert {"ETag", "X-Request-ID"} <= declared["200"]["headers"].keys() & declared["304"]["headers"].keys()
    sent = http.get("/v1/indexes/tiny/count", params={"text": "Paris"}).headers
    assert sent["ETag"]
    assert sent["X-Request-ID"]
    accepted = document["paths"]["/v1/indexes/{index}/facts:count"]["post"]["responses"]["202"]
    assert {"Location", "Retry-After"} <= accepted["headers"].keys()


def test_the_first_path_declares_both_of_its_formats(document: dict[str, Any]) -> None:
    assert document["paths"]["/"]["get"]["responses"]["200"]["content"].keys() == {"text/html", "application/json"}
