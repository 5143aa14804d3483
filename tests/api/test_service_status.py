"""Health, readiness, version, metrics and request ids."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import httpx
import pytest
from loopback import serving

from factcensus.api.app import create_app
from factcensus.api.settings import Settings
from factcensus.indexer.errors import InputError


def test_health_readiness_and_version_are_reported(http: httpx.Client) -> None:
    assert http.get("/healthz").json() == {"status": "ok"}
    (listed,) = http.get("/v1/indexes").json()["indexes"]
    generations = {"tiny": {"generation": 0, "digest": listed["digest"]}}
    assert http.get("/readyz").json() == {"status": "ready", "indexes": ["tiny"], "generations": generations}
    lines = http.get("/metrics").text.splitlines()
    assert f'factcensus_index_generation{{digest="{listed["digest"]}",index="tiny"}} 0.0' in lines
    assert http.get("/version").json()["name"] == "factcensus"


def test_before_its_lifespan_a_service_is_healthy_but_not_ready(index_folder: Path) -> None:
    async def ask() -> tuple[httpx.Response, httpx.Response]:
        transport = httpx.ASGITransport(create_app(Settings(indexes=(index_folder,))))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.get("/healthz"), await client.get("/readyz")

    healthy, ready = asyncio.run(ask())
    assert healthy.status_code == 200
    assert ready.status_code == 503
    assert ready.json()["type"] == "urn:factcensus:problem:not-ready"
    assert "not open yet" in ready.json()["detail"]


def test_a_damaged_index_is_reported_while_the_others_answer(index_folder: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(index_folder, damaged)
    largest = max(damaged.iterdir(), key=lambda file: file.stat().st_size)
    largest.write_bytes(largest.read_bytes()[:-1])
    folders = (damaged, index_folder, tmp_path / "absent")
    with serving(Settings(indexes=folders)) as url, httpx.Client(base_url=url) as http:
        ready = http.get("/readyz")
        assert ready.status_code == 503
        assert ready.headers["Retry-After"] == "1"
        assert [error["detail"].partition(":")[0] for error in ready.json()["errors"]] == [
            "index 'damaged'",
            "index 'absent'",
        ]
        assert str(tmp_path) not in ready.text  # file paths appear only in the log
        assert http.get("/healthz").status_code == 200
        assert http.get("/v1/indexes/tiny/count", params={"text": "Paris"}).status_code == 200
        refused = http.get("/v1/indexes/damaged/count", params={"text": "Paris"})
        assert refused.status_code == 503
        assert refused.json()["type"] == "urn:factcensus:problem:index-not-open"


def test_two_folders_with_the_same_name_are_refused(index_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="two index folders are named 'tiny'"):
        create_app(Settings(indexes=(index_folder, tmp_path / "tiny")))


def test_metrics_count_by_route_template_method_and_status(index_folder: Path) -> None:
    with serving(Settings(indexes=(index_folder,))) as url, httpx.Client(base_url=url) as http:
        for path in ("/v1/indexes/tiny/count?text=Paris", "/v1/indexes/none/count?text=Paris", "/a/b", "/c"):
            http.get(path)
        http.request("PURGE", "/healthz")  # the parser refuses methods that no standard names
        http.post("/v1/indexes/tiny/facts:count", json={"facts": [{"subject": "Curie", "object": "Paris"}] * 3})
        answer = http.get("/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain")
    lines = answer.text.splitlines()
    count = 'factcensus_http_requests_total{method="GET",route="/v1/indexes/{index}/count",status="%s"} 1.0'
    assert count % 200 in lines
    assert count % 404 in lines
    assert 'factcensus_http_requests_total{method="GET",route="unmatched",status="404"} 2.0' in lines
    assert 'factcensus_http_requests_total{method="other",route="/healthz",status="405"} 1.0' in lines
    assert "factcensus_facts_counted_total 3.0" in lines
    assert "factcensus_indexes_open 1.0" in lines
    assert "factcensus_http_requests_in_flight 1.0" in lines  # this request
    assert any(line.startswith("factcensus_http_request_seconds_bucket") for line in lines)


def test_a_valid_request_id_is_returned_and_others_are_replaced(http: httpx.Client) -> None:
    assert http.get("/healthz", headers={"X-Request-ID": "job-7/step.3"}).headers["X-Request-ID"] == "job-7/step.3"
    for given in ("", "a b", "x" * 129, '"><b>'):
        made = http.get("/healthz", headers={"X-Request-ID": given}).headers["X-Request-ID"]
        assert len(made) == 32
    problem = http.get("/nowhere", headers={"X-Request-ID": "mine"})
    assert problem.json()["request_id"] == problem.headers["X-Request-ID"] == "mine"


def test_head_is_answered_like_get_without_a_body(http: httpx.Client) -> None:
    answer = http.head("/v1/indexes")
    assert answer.status_code == 200
    assert answer.content == b""
    assert int(answer.headers["Content-Length"]) == len(http.get("/v1/indexes").content)
