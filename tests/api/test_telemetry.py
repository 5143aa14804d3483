"""Traces: off unless configured, one span per request, and nothing secret in it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import httpx
import pytest
from loopback import serving

from factcensus.api.app import create_app
from factcensus.api.http import telemetry
from factcensus.api.http.access import new_key
from factcensus.api.settings import Settings
from factcensus.indexer.errors import InputError


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch, missing: Callable[[str], NoReturn]) -> Callable[[], list[Any]]:
    """Collect the spans of services in memory."""
    try:
        from opentelemetry.sdk.trace.export import SimpleSpanProcessor
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
    except ImportError:
        missing("OpenTelemetry is not installed: pip install factcensus[otel]")
    exporter = InMemorySpanExporter()
    monkeypatch.setattr(telemetry, "span_processor", lambda: SimpleSpanProcessor(exporter))
    return lambda: list(exporter.get_finished_spans())


def test_each_request_is_a_span(index_folder: Path, spans: Callable[[], list[Any]], tmp_path: Path) -> None:
    key = new_key("alice", tmp_path / "keys.txt")
    settings = Settings(indexes=(index_folder,), telemetry=True, keys_file=tmp_path / "keys.txt")
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    with serving(settings) as url, httpx.Client(base_url=url) as client:
        client.get("/v1/indexes/tiny/count?text=secret", headers={"X-API-Key": key, "traceparent": parent})
        client.get("/v1/indexes/absent", headers={"X-API-Key": key, "X-Request-ID": "mine"})
        client.get("/v1/indexes")
        client.get("/healthz")
    counted, absent, refused = spans()
    assert counted.name == "GET /v1/indexes/{index}/count"
    assert counted.kind.name == "SERVER"
    assert dict(counted.attributes) == {
        "http.request.method": "GET",
        "http.route": "/v1/indexes/{index}/count",
        "http.response.status_code": 200,
        "factcensus.request_id": counted.attributes["factcensus.request_id"],
        "factcensus.key": "alice",
    }
    assert f"{counted.context.trace_id:032x}" == parent.split("-")[1]
    assert f"{counted.parent.span_id:016x}" == parent.split("-")[2]
    assert counted.resource.attributes["service.name"] == "factcensus"
    assert (absent.attributes["factcensus.request_id"], absent.attributes["error.type"]) == ("mine", "unknown-index")
    assert absent.status.status_code.name == "UNSET", "a wrong request is not an error of the service"
    assert refused.attributes["http.response.status_code"] == 401
    assert "factcensus.key" not in refused.attributes
    for span in (counted, absent, refused):
        assert key not in span.to_json()
        assert "secret" not in span.to_json()


def test_a_failure_is_marked_without_its_message(
    index_folder: Path, spans: Callable[[], list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    from factcensus.indexer import CountIndex

    def fail(*_: object) -> NoReturn:
        raise RuntimeError("about Jane Roe")

    application = create_app(Settings(indexes=(index_folder,), telemetry=True))
    with serving(application) as url:
        monkeypatch.setattr(CountIndex, "info", fail)
        assert httpx.get(f"{url}/v1/indexes").status_code == 500
        monkeypatch.undo()
    [span] = spans()
    assert span.status.status_code.name == "ERROR"
    assert "Jane Roe" not in span.to_json()


def test_traces_are_off_by_default(index_folder: Path, spans: Callable[[], list[Any]]) -> None:
    with serving(Settings(indexes=(index_folder,))) as url:
        httpx.get(f"{url}/v1/indexes")
    assert spans() == []


def test_a_missing_package_is_named(index_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.resources", None)
    with pytest.raises(InputError, match=r"install factcensus\[otel\]"):
        create_app(Settings(indexes=(index_folder,), telemetry=True))
