"""Operating the service: parallel requests, compression, other origins, reloads, logs, cache and metrics."""

from __future__ import annotations

import io
import json
import logging
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from loopback import serving, until
from test_serve_command import run, started

from factcensus.api.client import Client
from factcensus.api.http import logs
from factcensus.api.http.access import new_key
from factcensus.api.http.metrics import Metrics
from factcensus.api.server import print_url
from factcensus.api.serving import sources
from factcensus.api.serving.cache import AnswerCache
from factcensus.api.settings import Limits, Settings
from factcensus.indexer import CountIndex, add_to_index, build_index

COUNT = "/v1/indexes/tiny/count"


def corpus(folder: Path, *texts: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "part.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    return folder


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Return an event that counts wait for."""
    count, opened = CountIndex.count, threading.Event()

    def waiting(self: CountIndex, *arguments: Any, **options: Any) -> Any:
        assert opened.wait(60)
        return count(self, *arguments, **options)

    monkeypatch.setattr(CountIndex, "count", waiting)
    yield opened
    opened.set()


def metric(url: str, line: str) -> bool:
    return line in httpx.get(f"{url}/metrics", timeout=30).text.splitlines()


# --- load -------------------------------------------------------------------------------------------------------------


def test_requests_above_the_parallel_limit_get_503_with_retry_after(index_folder: Path, gate: threading.Event) -> None:
    settings = Settings(indexes=(index_folder,), limits=Limits(max_parallel_requests=2), warm_up=False)
    with serving(settings) as url, ThreadPoolExecutor(2) as pool:
        held = [pool.submit(httpx.get, url + COUNT, params={"text": text}, timeout=60) for text in ("Paris", "Curie")]
        until(lambda: metric(url, "factcensus_http_requests_in_flight 3.0"))
        refused = httpx.get(url + COUNT, params={"text": "Warsaw"}, timeout=60)
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
        assert refused.json()["type"] == "urn:factcensus:problem:overloaded"
        assert "FACTCENSUS_MAX_PARALLEL_REQUESTS" in refused.json()["detail"]
        for path in ("/healthz", "/readyz", "/version", "/metrics"):
            assert httpx.get(url + path, timeout=60).status_code == 200
        gate.set()
        assert [answer.result().status_code for answer in held] == [200, 200]
        assert httpx.get(url + COUNT, params={"text": "Warsaw"}, timeout=60).status_code == 200
        assert metric(url, 'factcensus_requests_rejected_total{reason="overloaded"} 1.0')


def test_a_missing_body_times_out(index_folder: Path) -> None:
    def stalled() -> Iterator[bytes]:
        yield b'{"text": '
        time.sleep(3)
        yield b'"Paris"}'

    with serving(Settings(indexes=(index_folder,), limits=Limits(deadline_seconds=1))) as url:
        answer = httpx.post(url + COUNT, content=stalled(), headers={"Content-Type": "application/json"}, timeout=60)
        assert (answer.status_code, answer.json()["type"]) == (408, "urn:factcensus:problem:body-too-slow")


# --- compression, other origins ---------------------------------------------------------------------------------------


def test_long_responses_are_compressed_if_accepted(http: httpx.Client) -> None:
    plain = http.get("/openapi.json", headers={"Accept-Encoding": "identity"})
    packed = http.get("/openapi.json", headers={"Accept-Encoding": "gzip"})
    assert "Content-Encoding" not in plain.headers
    assert packed.headers["Content-Encoding"] == "gzip"
    assert packed.headers["Vary"] == "Accept-Encoding"
    assert int(packed.headers["Content-Length"]) < len(plain.content) / 3
    assert packed.json() == plain.json()
    assert "Content-Encoding" not in http.get("/healthz", headers={"Accept-Encoding": "gzip"}).headers


def test_a_compressed_response_has_a_weak_etag_that_matches(http: httpx.Client) -> None:
    asked = {"text": "Paris " * 300}
    plain = http.get(COUNT, params=asked, headers={"Accept-Encoding": "identity"})
    packed = http.get(COUNT, params=asked, headers={"Accept-Encoding": "gzip"})
    assert packed.headers["ETag"] == "W/" + plain.headers["ETag"]
    for tag in (packed.headers["ETag"], plain.headers["ETag"]):
        assert http.get(COUNT, params=asked, headers={"If-None-Match": tag}).status_code == 304


def test_scripts_of_other_origins_need_a_cors_setting(index_folder: Path, http: httpx.Client) -> None:
    origin = {"Origin": "https://example.org"}
    assert "Access-Control-Allow-Origin" not in http.get("/healthz", headers=origin).headers
    settings = Settings(indexes=(index_folder,), cors_origins=("https://example.org",))
    with serving(settings) as url, httpx.Client(base_url=url, timeout=60) as client:
        answer = client.get(COUNT, params={"text": "Paris"}, headers=origin)
        assert answer.headers["Access-Control-Allow-Origin"] == "https://example.org"
        problem = client.get("/nowhere", headers=origin)
        assert problem.headers["Access-Control-Allow-Origin"] == "https://example.org"
        asking = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-api-key"}
        assert client.options(COUNT, headers=origin | asking).status_code == 200
        other = client.options(COUNT, headers=asking | {"Origin": "https://example.com"})
        assert other.status_code == 400
        assert "Access-Control-Allow-Origin" not in other.headers


# --- the cache --------------------------------------------------------------------------------------------------------


def test_a_cached_response_is_counted_once(index_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[str] = []
    count = CountIndex.count

    def noted(self: CountIndex, text: str, **options: Any) -> Any:
        counted.append(text)
        return count(self, text, **options)

    monkeypatch.setattr(CountIndex, "count", noted)
    settings = Settings(indexes=(index_folder,), warm_up=False)
    with serving(settings) as url, httpx.Client(base_url=url, timeout=60) as client:
        answers = [client.post(COUNT, json={"text": text}).json() for text in ("Paris", "Paris", "Curie", "paris")]
        assert client.post(COUNT, json={"text": "Paris", "by": "source"}).json()["by_source"]
        assert metric(url, 'factcensus_cache_lookups_total{result="hit"} 1.0')
        assert metric(url, 'factcensus_cache_lookups_total{result="miss"} 4.0')
    assert counted == ["Paris", "Curie", "paris", "Paris"]
    assert answers[0] == answers[1]
    assert answers[0]["text"] == "Paris"


def test_the_cache_keeps_its_size_and_drops_the_least_recently_used(index: CountIndex) -> None:
    cache = AnswerCache(6400, Metrics())
    keys = [cache.key(index, str(number)) for number in range(100)]
    for number, key in enumerate(keys):
        cache.put(key, b"x" * 120)
        assert cache.get(keys[0]) is not None or number >= 20
        cache.get(keys[0])
    assert cache.get(keys[0]) == b"x" * 120  # used repeatedly
    assert cache.get(keys[1]) is None
    assert sum(cache.get(key) is not None for key in keys) == 20
    large = cache.key(index, "large")
    cache.put(large, b"x" * 401)
    assert cache.get(large) is None


# --- reloads ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def indexes(tmp_path: Path) -> Path:
    """Return a folder with the indexes ``one`` and ``two``, and other files."""
    for name in ("one", "two"):
        build_index([corpus(tmp_path / "corpora" / name, f"Paris {name}")], tmp_path / "indexes" / name, jobs=1)
    (tmp_path / "indexes" / "notes").mkdir()
    (tmp_path / "indexes" / "README").write_text("no index", encoding="utf-8")
    return tmp_path / "indexes"


def test_a_reload_opens_new_and_changed_indexes_and_closes_removed_ones(indexes: Path, tmp_path: Path) -> None:
    with serving(Settings(indexes_in=indexes, poll_seconds=0)) as url, httpx.Client(base_url=url, timeout=60) as client:
        assert client.get("/readyz").json()["indexes"] == ["one", "two"]
        asked = {"text": "Paris"}
        assert client.get("/v1/indexes/one/count", params=asked).json()["documents"] == 1
        tag = client.get("/v1/indexes/one/count", params=asked).headers["ETag"]
        add_to_index(indexes / "one", [corpus(tmp_path / "more", "Paris again")])
        shutil.move(indexes / "two", tmp_path / "two")
        build_index([corpus(tmp_path / "corpora" / "new", "Paris new")], indexes / "three", jobs=1)
        assert client.get("/v1/indexes/one/count", params=asked).json()["documents"] == 1
        done = client.post("/v1/admin/reload").json()
        assert done == {
            "opened": ["one", "three"],
            "closed": ["two"],
            "unchanged": [],
            "failed": [],
            "indexes": ["one", "three"],
        }
        answer = client.get("/v1/indexes/one/count", params=asked, headers={"If-None-Match": tag})
        assert (answer.status_code, answer.json()["documents"]) == (200, 2)
        assert client.get("/v1/indexes/two/count", params=asked).status_code == 404
        assert client.post("/v1/admin/reload").json()["unchanged"] == ["one", "three"]
        assert metric(url, 'factcensus_index_opens_total{outcome="opened"} 6.0')


def test_requests_in_flight_finish_on_their_index(indexes: Path, tmp_path: Path, gate: threading.Event) -> None:
    with serving(Settings(indexes_in=indexes, poll_seconds=0, warm_up=False)) as url, ThreadPoolExecutor(2) as pool:
        held = [
            pool.submit(httpx.get, f"{url}/v1/indexes/{name}/count", params={"text": "Paris"}, timeout=60)
            for name in ("one", "two")
        ]
        until(lambda: metric(url, "factcensus_http_requests_in_flight 3.0"))
        shutil.rmtree(indexes / "one")
        build_index([corpus(tmp_path / "corpora" / "one", "Paris", "Paris")], indexes / "one", jobs=1)
        shutil.rmtree(indexes / "two")
        assert httpx.post(f"{url}/v1/admin/reload", timeout=60).json()["opened"] == ["one"]
        gate.set()
        assert [answer.result().json()["documents"] for answer in held] == [1, 1]
        assert httpx.get(f"{url}/v1/indexes/one/count", params={"text": "Paris"}).json()["documents"] == 2


def test_an_index_that_can_no_longer_be_opened_stays_in_service(indexes: Path) -> None:
    with serving(Settings(indexes_in=indexes, poll_seconds=0)) as url, httpx.Client(base_url=url, timeout=60) as client:
        (indexes / "one" / "manifest.json").unlink()  # mapped files stay readable
        (indexes / "one" / "manifest.json").write_text("{", encoding="utf-8")
        done = client.post("/v1/admin/reload").json()
        assert (done["failed"], done["unchanged"], done["indexes"]) == (["one"], ["two"], ["one", "two"])
        assert client.get("/v1/indexes/one/count", params={"text": "Paris"}).json()["documents"] == 1
        ready = client.get("/readyz")
        assert ready.status_code == 503
        assert "the previous generation is served" in ready.json()["detail"]
        shutil.rmtree(indexes)
        assert client.post("/v1/admin/reload").status_code == 422
        assert client.get("/v1/indexes/two/count", params={"text": "Paris"}).json()["documents"] == 1


@pytest.mark.parametrize("damage", ["truncated", "overwritten"])
def test_an_index_damaged_in_service_is_closed_until_it_is_repaired(
    indexes: Path, tmp_path: Path, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "LOOK_S", 0.0)
    shutil.copytree(indexes / "one", tmp_path / "copy")
    with serving(Settings(indexes_in=indexes, poll_seconds=0)) as url, httpx.Client(base_url=url, timeout=60) as client:
        table = next((indexes / "one").glob("table.*"))
        with table.open("r+b") as file:
            if damage == "truncated":
                file.truncate(1)
            else:
                file.write(b"\xff" * table.stat().st_size)
        for path in ("/v1/indexes/one/count?text=Paris", "/v1/indexes/one"):
            answer = client.get(path)
            assert (answer.status_code, answer.json()["type"]) == (503, "urn:factcensus:problem:index-not-open")
        wire = client.post("/", json={"index": "one", "query_type": "count", "query": "Paris"})
        assert wire.status_code == 503
        assert client.get("/v1/indexes/two/count", params={"text": "Paris"}).json()["documents"] == 1
        assert client.get("/healthz").status_code == client.get("/metrics").status_code == 200
        assert "repair the folder" in client.get("/readyz").json()["detail"]
        shutil.rmtree(indexes / "one")
        shutil.copytree(tmp_path / "copy", indexes / "one")
        assert client.post("/v1/admin/reload").json()["opened"] == ["one"]
        assert client.get("/v1/indexes/one/count", params={"text": "Paris"}).json()["documents"] == 1


def test_a_half_copied_index_is_reported_and_the_others_are_served(indexes: Path) -> None:
    (indexes / "half").mkdir()
    for file in sorted((indexes / "one").iterdir())[:-2]:
        shutil.copy(file, indexes / "half")
    with serving(Settings(indexes_in=indexes, poll_seconds=0)) as url, httpx.Client(base_url=url, timeout=60) as client:
        assert client.get("/readyz").status_code == 503
        assert client.get("/v1/indexes/half").status_code in (404, 503)
        assert [each["name"] for each in client.get("/v1/indexes").json()["indexes"]] == ["one", "two"]


def test_reload_needs_an_administrator_key_or_loopback(indexes: Path, tmp_path: Path) -> None:
    keys = {name: new_key(name, tmp_path / "keys") for name in ("ann", "bob")}
    settings = Settings(indexes_in=indexes, keys_file=tmp_path / "keys", admin_keys=("ann",))
    with serving(settings) as url:
        for headers, status in (({}, 401), ({"X-API-Key": keys["bob"]}, 403), ({"X-API-Key": keys["ann"]}, 200)):
            assert httpx.post(f"{url}/v1/admin/reload", headers=headers).status_code == status
        lines = httpx.get(f"{url}/metrics", headers={"X-API-Key": keys["bob"]}).text
        for reason in ("unauthorized", "forbidden"):
            assert f'factcensus_requests_rejected_total{{reason="{reason}"}} 1.0' in lines
    with serving(Settings(indexes_in=indexes, host="0.0.0.0", allow_anonymous=True)) as url:  # noqa: S104  # it is not listened on
        assert httpx.post(f"{url}/v1/admin/reload").status_code == 403


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="this platform has no SIGHUP")
def test_a_signal_reloads_and_logs_are_json_with_request_ids(indexes: Path, tmp_path: Path) -> None:
    with started("--indexes-in", indexes, "--port", "0", FACTCENSUS_LOG_FORMAT="json") as (process, url):
        with Client(url, timeout_s=120) as client:
            client.wait_ready(300)
            build_index([corpus(tmp_path / "corpora" / "new", "Paris new")], indexes / "three", jobs=1)
            process.send_signal(signal.SIGHUP)
            until(lambda: len(client.indexes()) == 3)
            lines: list[str] = []
            assert process.stderr is not None
            for line in process.stderr:
                lines.append(line)
                if "opened ['three']" in line:  # logged a moment after the index is in service
                    break
            assert client.count("three", "Paris").documents == 1
        httpx.get(
            f"{url}/v1/indexes/three/count", params={"text": "Paris"}, headers={"X-Request-ID": "my-id"}, timeout=60
        )
        process.terminate()
        lines += process.stderr  # communicate() would lose the data read with the first lines
        process.wait(60)
    assert process.returncode == 0
    entries = [json.loads(line) for line in lines]
    (entry,) = [each for each in entries if each.get("request_id") == "my-id"]
    assert entry["level"] == "info"
    assert (entry["method"], entry["route"], entry["status"]) == ("GET", "/v1/indexes/{index}/count", 200)
    assert entry["path"] == "/v1/indexes/three/count"
    assert entry["milliseconds"] > 0
    assert any("opened ['three']" in each["message"] for each in entries)


@pytest.mark.parametrize("format", ["text", "json"])
def test_the_url_is_the_first_line_in_the_format_of_the_log(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, format: str
) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(logs.JsonLines(1) if format == "json" else logging.Formatter("%(message)s"))
    monkeypatch.setattr(logging.getLogger(), "handlers", [handler])
    print_url(["tiny"], "http://127.0.0.1:8080")
    line = capsys.readouterr().err
    message = "serving tiny on http://127.0.0.1:8080 (Ctrl+C to stop)"
    if format == "text":
        assert line == f"factcensus: {message}\n"
    else:
        entry = json.loads(line)
        assert (entry["message"], entry["level"], entry["worker"]) == (message, "info", 1)


def test_a_traceback_is_one_json_line_with_its_request_id() -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logs.JsonLines())
    logger = logging.Logger("test")
    logger.addHandler(handler)
    try:
        raise ValueError("line one\nline two \ud800")
    except ValueError:
        logger.exception("request %s failed", "r1", extra={"request_id": "r1"})
    (line,) = stream.getvalue().splitlines()
    entry = json.loads(line)
    assert (entry["request_id"], entry["level"], entry["message"]) == ("r1", "error", "request r1 failed")
    assert "line two" in entry["traceback"]


def test_serving_without_an_index_is_wrong_usage(tmp_path: Path) -> None:
    refused = run()
    assert refused.returncode == 2
    assert "no index to serve" in refused.stderr
    absent = run("--indexes-in", tmp_path / "absent")
    assert absent.returncode == 2
    assert "cannot read the folder of indexes" in absent.stderr


def test_an_empty_folder_of_indexes_can_be_served(tmp_path: Path) -> None:
    with (
        serving(Settings(indexes_in=tmp_path, poll_seconds=0)) as url,
        httpx.Client(base_url=url, timeout=60) as client,
    ):
        assert client.get("/v1/indexes").json() == {"indexes": []}
        build_index([corpus(tmp_path / ".corpus", "Paris")], tmp_path / "late", jobs=1)
        assert client.post("/v1/admin/reload").json()["opened"] == ["late"]
    assert os.listdir(tmp_path)


# --- jobs folder ------------------------------------------------------------------------------------------------------


def test_an_unusable_jobs_folder_ends_the_command(index_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    refused = run(index_folder, "--port", "0", FACTCENSUS_JOBS_FOLDER=str(tmp_path / "file"))
    assert refused.returncode == 2
    assert "FACTCENSUS_JOBS_FOLDER" in refused.stderr
