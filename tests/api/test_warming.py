"""The service warms up its indexes before it is ready; short counts on warm indexes use no thread."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from loopback import serving, until

from factcensus.api.app import create_app
from factcensus.api.serving import caching, warming
from factcensus.api.settings import Settings
from factcensus.indexer import CountIndex, Deadline, build_index
from factcensus.indexer.errors import IndexFormatError
from factcensus.indexer.storage.manifest import Layout

COUNT, COOC = "/v1/indexes/tiny/count", "/v1/indexes/tiny/cooccurrence"
PAIR = {"subject": {"name": "Curie", "aliases": ["Marie"]}, "object": {"name": "Warsaw"}, "window": 3}


def test_the_service_is_healthy_but_not_ready_during_warm_up(
    index_folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    gate = threading.Event()
    monkeypatch.setattr(warming, "ask_everything", lambda *_, **__: gate.wait(60))
    with caplog.at_level(logging.INFO), serving(create_app(Settings(indexes=(index_folder,)))) as url:
        assert httpx.get(f"{url}/healthz").status_code == 200
        answer = httpx.get(f"{url}/readyz")
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
        assert "warmed up" in answer.json()["detail"]
        assert httpx.post(url + COUNT, json={"text": "Paris"}).json()["documents"] == 3, "who cannot wait is answered"
        gate.set()
        until(lambda: httpx.get(f"{url}/readyz").status_code == 200)
    assert "index 'tiny' is warm" in caplog.text


def test_without_warm_up_the_service_is_ready_at_once(index_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(warming, "ask_everything", lambda *_, **__: asked.append(1))
    with serving(Settings(indexes=(index_folder,), warm_up=False)) as url:
        assert httpx.get(f"{url}/readyz").status_code == 200
    assert not asked


def test_a_failed_warm_up_is_logged_and_does_not_block(
    index_folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise IndexFormatError("damaged")

    monkeypatch.setattr(warming, "ask_everything", fail)
    with serving(Settings(indexes=(index_folder,))) as url:
        assert httpx.get(f"{url}/readyz").status_code == 200
    assert "index 'tiny' could not be warmed up: damaged" in caplog.text


def test_a_warm_up_stops_with_the_service(index_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = threading.Event()

    def endless(*_: Any, deadline: Deadline, **__: Any) -> None:
        begun.set()
        while True:
            deadline.check()

    monkeypatch.setattr(warming, "ask_everything", endless)
    with serving(create_app(Settings(indexes=(index_folder,)))):
        assert begun.wait(60)
    assert not [thread for thread in threading.enumerate() if thread.name == "warm-up"]


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Record every count that runs in a thread; no count waits for the disk, whatever else the machine does."""
    monkeypatch.setattr(warming.resource, "getrusage", lambda _: SimpleNamespace(ru_majflt=0))
    taken: list[Any] = []
    real = caching.within

    async def noted(*arguments: Any, **named: Any) -> Any:
        taken.append(1)
        return await real(*arguments, **named)

    monkeypatch.setattr(caching, "within", noted)
    return taken


def test_short_counts_use_no_thread_and_return_the_same_numbers(
    index_folder: Path, index: CountIndex, monkeypatch: pytest.MonkeyPatch, threads: list[Any]
) -> None:
    asked = [(COUNT, {"text": text}) for text in ("Paris", "Marie Curie", "absent", "capital of absent")] + [
        (COOC, PAIR)
    ]
    answers: list[list[Any]] = []
    for few in (warming.FEW_ROWS, -1):
        monkeypatch.setattr(warming, "FEW_ROWS", few)
        with serving(Settings(indexes=(index_folder,))) as url, httpx.Client(base_url=url) as client:
            answers.append([client.post(path, json=body).json() for path, body in asked])
            assert len(threads) == (0 if few > 0 else len(asked))
            assert client.post(COUNT, json={"text": "..."}).json()["type"].endswith(":empty-query")
    assert answers[0] == answers[1]
    assert answers[0][1] == index.count("Marie Curie").as_json()


@pytest.mark.parametrize("layout", ["suffix-array", "compact"])
def test_texts_with_stored_counts_use_no_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads: list[Any], layout: Layout
) -> None:
    texts = [f"{'paris ' * 200} text{number}" for number in range(30)]
    (tmp_path / "corpus.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    build_index([tmp_path / "corpus.jsonl"], tmp_path / "tiny", layout=layout, jobs=1)
    monkeypatch.setattr(warming, "FEW_ROWS", 2000)
    with serving(Settings(indexes=(tmp_path / "tiny",))) as url, httpx.Client(base_url=url) as client:
        for words, in_threads in ((1, 0), (8, 0), (9, 1)):  # counts of up to 8 tokens are stored
            answer = client.post(COUNT, json={"text": "paris " * words}).json()
            assert (answer["occurrences"], answer["documents"]) == (30 * (201 - words), 30)
            assert len(threads) == in_threads
        client.post(COOC, json={"subject": {"name": "paris"}, "object": {"name": "text3"}}).raise_for_status()
        assert len(threads) == 2, "pairs read all mentions"


@pytest.mark.parametrize(
    "body", [{"text": "Paris", "by": "source"}, {"text": "Paris", "filter": {"source": ["wiki"]}}], ids=["by", "filter"]
)
def test_counts_that_read_more_than_occurrences_use_a_thread(
    index_folder: Path, threads: list[Any], body: dict[str, Any]
) -> None:
    with serving(Settings(indexes=(index_folder,))) as url:
        assert httpx.post(url + COUNT, json=body).status_code == 200
    assert threads == [1]


def test_an_index_that_waits_for_the_disk_is_counted_in_threads_for_a_while(
    index: CountIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = warming.ShortCounts()
    ask: Callable[[], Any] = lambda: counts.answer(index, list, lambda _: "counted")  # noqa: E731
    assert ask() is None, "it is not warm yet"
    counts.warm_up(index, Deadline())
    monkeypatch.setattr(warming.resource, "getrusage", lambda _: SimpleNamespace(ru_majflt=0))
    assert ask() == "counted"
    faults = iter(range(100))
    monkeypatch.setattr(warming.resource, "getrusage", lambda _: SimpleNamespace(ru_majflt=next(faults)))
    assert ask() == "counted", "this count detects the disk reads"
    assert ask() is None
    monkeypatch.undo()
    monkeypatch.setattr(warming, "monotonic", lambda: 1e12)
    assert ask() == "counted"
