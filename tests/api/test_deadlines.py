"""Counts that stop at a timeout or when the client disconnects, and revalidation of responses."""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from loopback import serving, until

from factcensus.api.serving import warming
from factcensus.api.settings import Limits, Settings
from factcensus.indexer import CountIndex, Deadline


@dataclass
class Counts:
    """The deadlines of the counts that began, and of those that were stopped."""

    begun: list[Deadline] = field(default_factory=list)
    stopped: list[Deadline] = field(default_factory=list)


@pytest.fixture
def endless(monkeypatch: pytest.MonkeyPatch) -> Counts:
    """Make counts run until their deadline is reached."""
    counts = Counts()

    def count(*_: Any, deadline: Deadline, **__: Any) -> None:
        counts.begun.append(deadline)
        for _ in range(6_000):
            if deadline.flag[0]:
                counts.stopped.append(deadline)
                deadline.check()
            time.sleep(0.01)

    monkeypatch.setattr(warming, "FEW_ROWS", -1)  # so that no count is short enough to run without a thread
    for name in ("count", "cooccurrence", "count_facts"):
        monkeypatch.setattr(CountIndex, name, count)
    return counts


@pytest.mark.parametrize(
    ("route", "body", "seconds"),
    [
        ("count", None, 1),
        ("count", {"text": "Paris"}, 1),
        ("cooccurrence", {"subject": {"name": "Paris"}, "object": {"name": "France"}}, 1),
        # The time for decoding is part of it.
        ("facts:count", {"facts": [{"subject": "Paris", "object": "France"}]}, 4),
    ],
)
def test_a_slow_count_is_stopped_with_504(
    index_folder: Path, endless: Counts, route: str, body: dict[str, Any] | None, seconds: int
) -> None:
    limits = Limits(deadline_seconds=seconds)
    with serving(Settings(indexes=(index_folder,), limits=limits, warm_up=False)) as base_url:
        url = f"{base_url}/v1/indexes/tiny/{route}"
        answer = httpx.get(url, params={"text": "Paris"}) if body is None else httpx.post(url, json=body)
    assert (answer.status_code, answer.json()["type"]) == (504, "urn:factcensus:problem:deadline-exceeded")
    assert f"{seconds} s" in answer.json()["detail"]
    assert len(endless.stopped) == 1


def test_a_count_is_stopped_when_the_client_disconnects(url: str, endless: Counts) -> None:
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        query = "/v1/indexes/tiny/count?text=gone+with+Paris"  # a new text, because responses are cached
        connection.sendall(f"GET {query} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        until(lambda: endless.begun)
    until(lambda: endless.stopped)
    assert len(endless.stopped) == 1
    assert httpx.get(f"{url}/healthz").status_code == 200


def test_an_unchanged_response_is_not_sent_again(http: httpx.Client) -> None:
    first = http.get("/v1/indexes/tiny/count", params={"text": "Paris"})
    tag = first.headers["ETag"]
    assert first.headers["Cache-Control"] == "no-cache"
    for sent in (tag, f'"other", {tag}', f"W/{tag}", "*"):
        again = http.get("/v1/indexes/tiny/count", params={"text": "Paris"}, headers={"If-None-Match": sent})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["ETag"] == tag
    other = http.get("/v1/indexes/tiny/count", params={"text": "France"}, headers={"If-None-Match": tag})
    assert other.status_code == 200
    assert other.headers["ETag"] != tag
