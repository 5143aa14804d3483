"""Paths and URLs from requests, table cells or file names are never opened."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pytest
from loopback import serving
from test_facts_route import arrow_of, parquet_of

from factcensus.api.settings import Settings

#: Part of every name below, and of no name that the service opens by itself.
MARK = "factcensus-mark"
EVENTS = ("open", "os.", "socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "subprocess", "glob", "shutil")
_watching = threading.Event()
_seen: list[tuple[str, str]] = []
_hooked: list[bool] = []


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if _watching.is_set() and event.startswith(EVENTS) and MARK in repr(arguments):
        _seen.append((event, repr(arguments)))


@contextmanager
def watched() -> Iterator[list[tuple[str, str]]]:
    """Record opened files and connections whose name contains the mark; the audit hook stays until the process ends."""
    if not _hooked:
        sys.addaudithook(_hook)
        _hooked.append(True)
    _seen.clear()
    _watching.set()
    try:
        yield _seen
    finally:
        _watching.clear()


def test_the_watch_records_opened_files(tmp_path: Path) -> None:
    with watched() as seen:
        (tmp_path / MARK).write_text("x", encoding="utf-8")
    assert [event for event, _ in seen][:1] == ["open"]


@pytest.mark.parametrize("kind", ["path", "file-url", "http-url", "s3-url", "chain", "parent", "unc"])
def test_nothing_from_a_request_is_opened(index_folder: Path, tmp_path: Path, kind: str) -> None:
    target = tmp_path / f"{MARK}.csv"
    target.write_text("subject,object\nCurie,Warsaw\n", encoding="utf-8")
    name = {
        "path": str(target),
        "file-url": f"file://{target}",
        "http-url": f"http://127.0.0.1:9/{MARK}",
        "s3-url": f"s3://{MARK}/x.parquet",
        "chain": f"zip://x::file://{target}",
        "parent": f"../../{MARK}",
        "unc": f"\\\\{MARK}\\share",
    }[kind]
    cell = {"subject": name, "object": name, "subject_aliases": [name], "note": name, "fact_id": name, name: name}
    table = pa.Table.from_pylist([cell])
    base = "/v1/indexes/tiny"
    with (
        serving(Settings(indexes=(index_folder,))) as url,
        httpx.Client(base_url=url, timeout=60, headers={"Origin": url}) as client,
        watched() as seen,
    ):
        entity = {"name": name, "aliases": [name]}
        for path, body in (
            (f"{base}/count", {"text": name}),
            (f"{base}/count", {"text": "Paris", "by": name}),
            (f"{base}/count", {"text": "Paris", "filter": {name: name}}),
            (f"{base}/count", {"text": "Paris", "filter": {"source": name}}),
            (f"{base}/cooccurrence", {"subject": entity, "object": entity}),
            (f"{base}/documents", {"text": name, "cursor": name}),
            (f"{base}/facts:count", {"facts": [cell]}),
            ("/", {"index": name, "query_type": "count", "query": name}),
            ("/", {"index": "tiny", "query_type": "count", "query": name}),
            ("/v1/admin/reload", {}),
        ):
            assert client.post(path, content=json.dumps(body), headers={"Content-Type": "application/json"})
        for media_type, sent in (
            ("text/csv", f'subject,object,note\n"{name}","{name}","{name}"\n'.encode()),
            ("application/vnd.apache.arrow.stream", arrow_of(table)),
            ("application/vnd.apache.parquet", parquet_of(table)),
        ):
            for headers in ({}, {"Prefer": "respond-async"}):
                client.post(f"{base}/facts:count", content=sent, headers={"Content-Type": media_type, **headers})
        for address in ("/v1/indexes/", "/v1/jobs/", "/tables/"):
            client.get(httpx.URL(url).join(httpx.URL(path=address + name.replace("?", ""))))
        client.get("/", params={"index": name, "subject": name, "object": name}, headers={"Accept": "text/html"})
        client.get("/", params={"index": "tiny", "subject": name, "object": name}, headers={"Accept": "text/html"})
        for uploaded in (name, f"{name}.csv", f"{name}.parquet"):
            client.post("/tables", data={"index": "tiny"}, files={"facts": (uploaded, f"subject,object\n{name},a\n")})
        headers = {
            "X-Forwarded-For": name,
            "X-Request-ID": name,
            "Referer": name,
            "If-None-Match": name,
            "X-API-Key": "x",
        }
        assert client.get(f"{base}/count", params={"text": "Paris"}, headers=headers).status_code == 200
    assert seen == []
