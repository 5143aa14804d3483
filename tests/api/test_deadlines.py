"""Counts that stop at a timeout or when the client disconnects, and revalidation of responses."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from loopback import serving

from factcensus.api.serving import warming
from factcensus.api.settings import Limits, Settings
from factcensus.indexer import CountIndex, Deadline


@pytest.fixture
def endless(monkeypatch: pytest.MonkeyPatch) -> list[Deadline]:
    """Make counts run until their deadline is reached, and return the deadlines that stopped counts."""
    stopped: list[Deadline] = []

    def count(*_: Any, deadline: Deadline, **__: Any) -> None:
        for _ in range(3_000):
            if deadline.flag[0]:
                stopped.append(deadline)
                deadline.check()
            time.sleep(0.01)

    monkeypatch.setattr(warming, "FEW_ROWS", -1)  # so that no count is short enough to run without a thread
    for name in ("count", "cooccurrence", "count_facts"):
        monkeypatch.setattr(CountIndex, name, count)
    return stopped


@pytest.fixture
def impatient(index_folder: Path) -> Iterator[str]:
    with serving(Settings(indexes=(index_folder,), limits=Limits(deadline_seconds=1), warm_up=False)) as base_url:
        yield base_url


@pytest.mark.parametrize(
    ("route", "body"),
    [
        ("count", None),
        ("count", {"text": "Paris"}),
        ("cooccurrence", {"subject": {"name": "Paris"}, "object": {"name": "France"}}),
        ("facts:count", {"facts": [{"subject": "Paris", "object": "France"}]}),
    ],
)
def test_a_slow_count_is_stopped_with_504(
    impatient: str, endless: list[Deadline], route: str, body: dict[str, Any] | None
) -> None:
    url = f"{impatient}/v1/indexes/tiny/{route}"
    answer = httpx.get(url, params={"text": "Paris"}) if body is None else httpx.post(url, json=body, timeout=20)
    assert (answer.status_code, answer.json()["type"]) == (504, "urn:factcensus:problem:deadline-exceeded")
    assert "1 s" in answer.json()["detail"]
    assert len(endless) == 1


def test_a_count_is_stopped_when_the_client_disconnects(url: str, endless: list[Deadline]) -> None:
    with pytest.raises(httpx.ReadTimeout):  # a new text, because responses are cached
        httpx.post(f"{url}/v1/indexes/tiny/count", json={"text": "gone with Paris"}, timeout=0.5)
    for _ in range(200):
        if endless:
            break
        threading.Event().wait(0.05)
    assert len(endless) == 1
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
