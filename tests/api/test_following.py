"""A running service follows its indexes: deleted documents disappear within a second."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from loopback import serving, until
from test_jobs import Gate, finished, gate
from test_operation import metric

from factcensus.api.app import create_app
from factcensus.api.client import Client
from factcensus.api.errors import RejectedError
from factcensus.api.jobs import runner
from factcensus.api.serving import served
from factcensus.api.serving.catalog import Catalog
from factcensus.api.settings import Settings
from factcensus.indexer import CountIndex, add_to_index, build_index, compact_index, delete_documents, facts_from_rows
from factcensus.indexer.storage.manifest import Manifest

__all__ = ["gate"]  # a fixture

COUNT, DOCUMENTS, FACTS = (f"/v1/indexes/ix/{what}" for what in ("count", "documents", "facts:count"))
ASYNC = {"Prefer": "respond-async"}
ROWS = [{"id": f"d{i}", "source": "ab"[i % 2], "text": f"Ann met Bob in word{i}"} for i in range(12)]


def corpus(path: Path, *rows: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    build_index([corpus(tmp_path / "c.jsonl", *ROWS)], tmp_path / "indexes" / "ix", jobs=1)
    return tmp_path / "indexes" / "ix"


@pytest.fixture
def settings(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setattr(runner, "PIECE_FACTS", 20)
    return Settings(indexes=(folder,), jobs_folder=tmp_path / "jobs", poll_seconds=0.05, warm_up=False)


@pytest.fixture
def service(settings: Settings) -> Iterator[httpx.Client]:
    with serving(settings) as url, httpx.Client(base_url=url, timeout=60) as asked:
        yield asked


def count(service: httpx.Client, text: str = "Ann") -> int:
    answer = service.get(COUNT, params={"text": text})
    assert answer.status_code == 200, answer.text
    return int(answer.json()["documents"])


def more(folder: Path, *rows: dict[str, Any], **options: Any) -> None:
    add_to_index(folder, [corpus(folder.parent.parent / "more.jsonl", *rows)], jobs=1, **options)


# --- noticing ---------------------------------------------------------------------------------------------------------


def test_every_change_is_followed_and_reported(service: httpx.Client, folder: Path) -> None:
    def now(documents: int, generation: int) -> None:
        until(lambda: count(service) == documents)
        digest = Manifest.read(folder).digest
        shown = service.get("/readyz").json()
        assert shown["generations"] == {"ix": {"generation": generation, "digest": digest}}
        assert service.get("/v1/indexes/ix").json()["generation"] == generation
        assert metric(
            str(service.base_url).rstrip("/"),
            f'factcensus_index_generation{{digest="{digest}",index="ix"}} {generation}.0',
        )
        page = service.post(DOCUMENTS, json={"text": "Ann", "by": "source", "limit": 50})
        assert (page.status_code, page.json()["total"]) == (200, documents)

    now(12, 0)
    delete_documents(folder, ids=["d0"])
    now(11, 1)
    compact_index(folder, jobs=1)
    until(lambda: service.get("/readyz").json()["generations"]["ix"]["generation"] == 2)
    now(11, 2)
    more(folder, {"id": "new", "text": "Ann again"})
    now(12, 3)
    more(folder, {"id": "new", "text": "nobody"}, {"id": "d1", "text": "nobody"}, replace=True)
    now(10, 4)


@pytest.mark.parametrize("change", ["delete", "compact", "replace", "rename", "rebuild"])
def test_requests_in_flight_finish_on_their_generation(
    change: str, folder: Path, tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = threading.Event(), threading.Event()
    find = CountIndex.find_documents

    def waiting(self: CountIndex, **options: Any) -> Any:
        if options["text"] == "Bob":
            begun.set()
            assert go_on.wait(30)
        return find(self, **options)

    def rename() -> None:
        build_index([corpus(tmp_path / "other.jsonl", {"id": "x", "text": "Ann"})], tmp_path / "other", jobs=1)
        folder.rename(tmp_path / "old")
        (tmp_path / "other").rename(folder)
        shutil.rmtree(tmp_path / "old")

    def rebuild() -> None:
        shutil.rmtree(folder)
        build_index([corpus(tmp_path / "other.jsonl", {"id": "x", "text": "Ann"})], folder, jobs=1)

    changes: dict[str, Callable[[], object]] = {
        "delete": lambda: delete_documents(folder, where="id <> 'd11'"),
        "compact": lambda: (delete_documents(folder, where="id <> 'd11'"), compact_index(folder, jobs=1)),
        "replace": lambda: more(folder, *({"id": row["id"], "text": "x"} for row in ROWS[1:]), replace=True),
        "rename": rename,
        "rebuild": rebuild,
    }
    monkeypatch.setattr(CountIndex, "find_documents", waiting)
    with serving(settings) as url, ThreadPoolExecutor(1) as pool:
        asked = {"text": "Bob", "by": "source", "limit": 50}
        held = pool.submit(httpx.post, url + DOCUMENTS, json=asked, timeout=60)
        assert begun.wait(30)
        changes[change]()
        until(lambda: httpx.post(url + DOCUMENTS, json={"text": "Ann"}).json()["total"] == 1)
        go_on.set()
        answer = held.result()
        assert answer.status_code == 200
        assert [each["id"] for each in answer.json()["documents"]] == [row["id"] for row in ROWS]
        assert answer.json()["by_source"] == {"a": 6, "b": 6}


def test_without_polling_changes_are_followed_on_reload_only(settings: Settings, folder: Path) -> None:
    with serving(replace(settings, poll_seconds=0)) as url, httpx.Client(base_url=url, timeout=60) as service:
        delete_documents(folder, ids=["d0"])
        time.sleep(0.3)
        assert count(service) == 12
        assert service.post("/v1/admin/reload").json()["opened"] == ["ix"]
        assert count(service) == 11


def test_an_old_generation_and_its_files_are_released(service: httpx.Client, folder: Path) -> None:
    if not Path("/proc/self/maps").exists():
        pytest.skip("needs /proc")

    def held() -> bool:
        opened = {os.path.realpath(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd")}
        mapped = Path("/proc/self/maps").read_text(encoding="utf-8")
        return f"{folder}/tokenized.0" in mapped or any(f"{folder}/documents.0" in path for path in opened)

    assert count(service) == 12
    assert held()
    delete_documents(folder, ids=["d0"])
    compact_index(folder, jobs=1)
    until(lambda: not held())
    assert count(service) == 11


def test_a_link_with_a_new_target_is_followed(folder: Path, settings: Settings, tmp_path: Path) -> None:
    build_index([corpus(tmp_path / "other.jsonl", {"id": "x", "text": "Ann"})], tmp_path / "v2", jobs=1)
    folder.rename(tmp_path / "v1")
    folder.symlink_to(tmp_path / "v1")
    with serving(settings) as url, httpx.Client(base_url=url, timeout=60) as service:
        assert count(service) == 12
        (tmp_path / "next").symlink_to(tmp_path / "v2")
        (tmp_path / "next").rename(folder)
        until(lambda: count(service) == 1)


def test_a_removed_folder_answers_503_until_it_is_back(service: httpx.Client, folder: Path) -> None:
    shutil.move(folder, folder.with_name("away"))
    until(lambda: service.get(COUNT, params={"text": "Ann"}).status_code == 503)
    answer = service.get(COUNT, params={"text": "Ann"})
    assert answer.json()["type"] == "urn:factcensus:problem:index-not-open"
    assert service.get("/readyz").status_code == 503
    assert service.post("/", json={"index": "ix", "query_type": "count", "query": "Ann"}).status_code == 503
    shutil.move(folder.with_name("away"), folder)
    until(lambda: service.get("/readyz").status_code == 200)
    assert count(service) == 12


def test_a_folder_may_be_missing_for_a_moment_while_it_is_replaced(
    settings: Settings, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(served, "GRACE_S", 60.0)
    monkeypatch.setattr("factcensus.api.serving.catalog.GRACE_S", 60.0)
    with serving(settings) as url, httpx.Client(base_url=url, timeout=60) as service:
        folder.rename(folder.with_name("away"))
        time.sleep(0.5)
        assert count(service) == 12
        folder.with_name("away").rename(folder)
        until(lambda: service.get("/readyz").status_code == 200)


def test_deleted_documents_stay_hidden_if_the_new_generation_cannot_be_opened(
    service: httpx.Client, folder: Path
) -> None:
    # The change is made in a copy, so that the service finds the damaged file with the manifest.
    changed = shutil.copytree(folder, folder.parent.parent / "changed")
    new = delete_documents(changed, ids=["d0"]).manifest
    (changed / next(name for name in new.files if name.startswith("deleted."))).write_bytes(b"\1\0\0\0")
    for name in new.files.keys() - Manifest.read(folder).files.keys():
        shutil.copy(changed / name, folder)
    shutil.copy(changed / "manifest.json", folder / "copy")
    (folder / "copy").rename(folder / "manifest.json")
    until(lambda: service.get(COUNT, params={"text": "Ann"}).status_code == 503)


def test_a_damaged_manifest_keeps_the_old_generation_in_service(service: httpx.Client, folder: Path) -> None:
    (folder / "damaged").write_text("{", encoding="utf-8")
    (folder / "damaged").rename(folder / "manifest.json")
    until(lambda: service.get("/readyz").status_code == 503)
    time.sleep(0.6)
    assert count(service) == 12
    assert "the previous generation is served" in service.get("/readyz").json()["detail"]


def test_a_folder_of_indexes_is_followed(settings: Settings, folder: Path, tmp_path: Path) -> None:
    inside = folder.parent
    with serving(replace(settings, indexes=(), indexes_in=inside)) as url, httpx.Client(base_url=url) as service:
        shutil.copytree(folder, tmp_path / "half")
        (tmp_path / "half" / "table.0").rename(tmp_path / "table.0")
        shutil.move(tmp_path / "half", inside / "half")
        (inside / "next.building").mkdir()
        shutil.copy(folder / "tokenized.0", inside / "next.building")
        shutil.copytree(folder, inside / "new")
        until(lambda: service.get("/").json() == ["ix", "new"])
        assert service.get("/readyz").status_code == 200, "an incomplete new index is not an error"
        shutil.move(tmp_path / "table.0", inside / "half")
        until(lambda: service.get("/").json() == ["ix", "half", "new"] or len(service.get("/").json()) == 3)
        shutil.rmtree(inside / "new")
        until(lambda: service.get("/v1/indexes/new").status_code == 404)
        assert service.get("/readyz").status_code == 200
        shutil.rmtree(inside)
        until(lambda: service.get("/v1/indexes/ix").status_code in (404, 503))


# --- state of clients -------------------------------------------------------------------------------------------------


def test_etags_and_cached_responses_of_older_generations_are_never_used(settings: Settings, folder: Path) -> None:
    app = create_app(settings)
    with serving(app) as url, httpx.Client(base_url=url, timeout=60) as service:
        first = service.get(COUNT, params={"text": "Ann"})
        assert first.headers["Cache-Control"] == "no-cache"
        assert app.state.service.cache._answers
        delete_documents(folder, ids=["d0"])
        until(lambda: not app.state.service.cache._answers)
        tag = {"If-None-Match": first.headers["ETag"]}
        answer = service.get(COUNT, params={"text": "Ann"}, headers=tag)
        assert (answer.status_code, answer.json()["documents"]) == (200, 11)
        assert answer.headers["ETag"] != first.headers["ETag"]


def test_a_cursor_stays_valid_after_additions_but_not_after_deletions(service: httpx.Client, folder: Path) -> None:
    def page(cursor: str | None) -> httpx.Response:
        return service.post(DOCUMENTS, json={"text": "Ann", "limit": 4, "cursor": cursor})

    first = page(None).json()
    more(folder, {"id": "new", "text": "Ann again"})
    until(lambda: count(service) == 13)
    compact_index(folder, jobs=1)
    until(lambda: service.get("/readyz").json()["generations"]["ix"]["generation"] == 2)
    second = page(first["next"]).json()
    assert (second["total"], [each["id"] for each in second["documents"]]) == (13, ["d4", "d5", "d6", "d7"])
    delete_documents(folder, ids=["d0"])
    until(lambda: count(service) == 12)
    for cursor in (first["next"], second["next"]):
        refused = page(cursor)
        assert (refused.status_code, refused.json()["type"]) == (410, "urn:factcensus:problem:index-changed")
        assert "without a cursor" in refused.json()["detail"]
    html = service.get(
        "/",
        params={"index": "ix", "subject": "Ann", "object": "Bob", "cursor": second["next"]},
        headers={"Accept": "text/html"},
    )
    assert html.status_code == 410


def test_the_engine_is_not_opened_on_replaced_files(settings: Settings, folder: Path) -> None:
    pytest.importorskip("infini_gram.engine", reason="infini-gram has no wheel for this platform")
    asked = {"index": "ix", "query_type": "ntd", "query": "Ann"}
    facts = {"method": "paper-notebook", "facts": [{"subject": "Ann", "object": "Bob"}]}
    with serving(replace(settings, poll_seconds=0)) as url, httpx.Client(base_url=url, timeout=120) as service:
        compact_index(folder, jobs=1)
        answer = service.post("/", json=asked)
        assert (answer.status_code, "try again" in answer.json()["error"]) == (503, True)
        assert service.post("/v1/indexes/ix/facts:replicate", json=facts).status_code == 410
        service.post("/v1/admin/reload")
        answer = service.post("/", json=asked)
        assert (answer.status_code, answer.json()["prompt_cnt"]) == (200, 12)


# --- jobs -------------------------------------------------------------------------------------------------------------


def send(service: httpx.Client, rows: int = 50) -> dict[str, Any]:
    facts = [{"subject": "Ann", "object": "Bob", "n": i, "subject_aliases": ["Annie"]} for i in range(rows)]
    answer = service.post(FACTS, json={"facts": facts, "windows": [3]}, headers=ASYNC)
    assert answer.status_code == 202, answer.text
    job: dict[str, Any] = answer.json()
    return job


def documents(service: httpx.Client, job: dict[str, Any]) -> set[int]:
    rows = service.get(f"{job['status_url']}/result", params={"format": "json"}).json()["facts"]
    assert [row["n"] for row in rows] == list(range(job["facts"]))
    assert {row["index_digest"] for row in rows} == {job["index_digest"]}
    assert all(row["subject_aliases"] == ["Annie"] for row in rows)
    return {row["cooccurrence_documents"] for row in rows}


def test_a_result_stays_available_after_additions_but_not_after_deletions(settings: Settings, folder: Path) -> None:
    with serving(settings) as url, httpx.Client(base_url=url, timeout=60) as service:
        job = finished(service, send(service))
        assert (job["state"], job["index_generation"]) == ("done", 0)
        more(folder, {"id": "new", "text": "Ann met Bob"})
        until(lambda: count(service) == 13)
        assert documents(service, job) == {12}
        tag = service.get(job["result_url"]).headers["ETag"]
        delete_documents(folder, ids=["d0"])
        until(lambda: count(service) == 12)
        for headers in ({}, {"If-None-Match": tag}):
            gone = service.get(job["result_url"], headers=headers)
            assert (gone.status_code, gone.json()["type"]) == (410, "urn:factcensus:problem:index-changed")
            assert "send the table again" in gone.json()["detail"]
        shown = until(lambda: (now := service.get(job["status_url"]).json())["state"] == "outdated" and now)
        assert shown["result_url"] is None
        assert "documents were deleted" in shown["error"]
        for path in (f"/tables/{job['id']}", f"/tables/{job['id']}/strata.csv"):
            assert "cooccurrence" not in service.get(path).text
        later = finished(service, send(service))
        assert documents(service, later) == {12}


def test_the_client_reports_an_outdated_result(settings: Settings, folder: Path) -> None:
    facts = facts_from_rows([{"subject": "Ann", "object": "Bob"}])
    with serving(settings) as url, Client(url) as client:
        job = client.submit_facts("ix", facts)
        job.wait()
        delete_documents(folder, ids=["d0"])
        until(lambda: client.count("ix", "Ann").documents == 11)
        with pytest.raises(RejectedError, match="documents were deleted from the index after"):
            job.result()
        until(lambda: job.status()["state"] == "outdated")
        with pytest.raises(RejectedError, match="outdated: documents were deleted"):
            job.wait()
        assert client.count_facts("ix", facts)["cooccurrence_documents"].to_pylist() == [11]


def test_a_deletion_while_the_service_is_down_makes_results_outdated(settings: Settings, folder: Path) -> None:
    with serving(settings) as url, httpx.Client(base_url=url, timeout=60) as service:
        job = finished(service, send(service))
    delete_documents(folder, ids=["d0"])
    with serving(replace(settings, indexes=())) as url, httpx.Client(base_url=url, timeout=60) as service:
        unknown = service.get(f"{job['status_url']}/result")
        assert (unknown.status_code, unknown.json()["type"]) == (503, "urn:factcensus:problem:index-not-open")
    with serving(settings) as url, httpx.Client(base_url=url, timeout=60) as service:
        assert service.get(job["status_url"]).json()["state"] == "outdated"
        assert service.get(f"{job['status_url']}/result").status_code == 410


def test_a_job_continues_on_its_generation_while_documents_are_added(
    service: httpx.Client, folder: Path, gate: Gate
) -> None:
    job = send(service)
    until(lambda: gate.counted)
    more(folder, {"id": "new", "text": "Ann met Bob"})
    compact_index(folder, jobs=1)
    until(lambda: count(service) == 13)
    gate.allowed = 99
    done = finished(service, job)
    assert (done["state"], done["index_digest"], done["index_generation"]) == ("done", job["index_digest"], 0)
    assert gate.counted == [20, 20, 10]
    assert documents(service, done) == {12}


def test_a_job_starts_again_when_documents_are_deleted(service: httpx.Client, folder: Path, gate: Gate) -> None:
    job = send(service)
    until(lambda: gate.counted)
    delete_documents(folder, ids=["d0", "d1"])
    until(lambda: count(service) == 10)
    gate.allowed = 99
    done = finished(service, job)
    assert (done["state"], done["counted"], done["index_generation"]) == ("done", 50, 1)
    assert done["index_digest"] == Manifest.read(folder).digest
    assert sum(gate.counted) > 50
    assert documents(service, done) == {10}


def test_a_waiting_job_does_not_keep_deleted_documents_on_disk(settings: Settings, folder: Path, gate: Gate) -> None:
    app = create_app(settings)
    with serving(app) as url, httpx.Client(base_url=url, timeout=60) as service:
        first = send(service)
        until(lambda: gate.counted)
        waiting = send(service)
        assert waiting["id"] in app.state.service.jobs._pinned
        delete_documents(folder, ids=["d0"])
        until(lambda: waiting["id"] not in app.state.service.jobs._pinned)
        gate.allowed = 99
        for job in (first, waiting):
            done = finished(service, job)
            assert (done["state"], done["index_generation"]) == ("done", 1)
            assert documents(service, done) == {11}


def test_a_job_starts_again_after_a_restart_if_its_generation_is_gone(
    settings: Settings, folder: Path, gate: Gate
) -> None:
    with serving(settings) as url, httpx.Client(base_url=url, timeout=60) as service:
        job = send(service)
        until(lambda: service.get(job["status_url"]).json()["counted"] == 20)
    more(folder, {"id": "new", "text": "Ann met Bob"})
    gate.allowed = 99
    with serving(settings) as url, httpx.Client(base_url=url, timeout=60) as service:
        done = finished(service, job)
        assert (done["state"], done["index_generation"]) == ("done", 1)
        assert documents(service, done) == {13}


# --- all at once ------------------------------------------------------------------------------------------------------


@dataclass
class Seen:
    """The responses of the threads (start time, digest and numbers), and the unexpected ones."""

    answers: list[tuple[float, str, int]] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def wait_for(self, digest: str) -> None:
        """Wait for the response of a generation, or an unexpected one."""
        until(lambda: self.wrong or any(seen == digest for _, seen, _ in self.answers))


def ask(url: str, seen: Seen, stop: threading.Event) -> None:
    facts = {"facts": [{"subject": "Ann", "object": "Bob"}]}
    with httpx.Client(base_url=url, timeout=60) as client:
        while not stop.is_set():
            began = time.monotonic()
            counted = client.post(FACTS, json=facts)
            found = client.post(DOCUMENTS, json={"subject": {"name": "Ann"}, "object": {"name": "Bob"}, "by": "source"})
            tagged = client.get(COUNT, params={"text": "Ann", "by": "source"})
            for answer in (counted, found, tagged):
                if answer.status_code != 200:
                    seen.wrong.append(f"{answer.status_code}: {answer.text}")
                    return
            row = counted.json()["facts"][0]
            seen.answers.append((began, row["index_digest"], row["cooccurrence_documents"]))
            page = found.json()
            if sum(page["by_source"].values()) != page["total"]:
                seen.wrong.append(f"numbers of two generations: {page['by_source']}, {page['total']}")


@contextmanager
def asking(url: str) -> Iterator[Seen]:
    """Let three threads ask during the block."""
    seen, stop = Seen(), threading.Event()
    threads = [threading.Thread(target=ask, args=(url, seen, stop)) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        stop.set()
        for thread in threads:
            thread.join()


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, float]]:
    """Return the start and the end of each check of the folders."""
    made: list[tuple[float, float]] = []
    look = Catalog._look

    def looked(catalog: Catalog) -> None:
        began = time.monotonic()
        look(catalog)
        made.append((began, time.monotonic()))

    monkeypatch.setattr(Catalog, "_look", looked)
    return made


def test_no_response_fails_or_is_stale_while_an_index_changes_under_load(
    folder: Path, settings: Settings, looks: list[tuple[float, float]]
) -> None:
    wanted: dict[str, int] = {}
    #: The time when each generation was replaced by one without some of its documents.
    outdated: dict[str, float] = {}

    def changed(deletes: bool) -> str:
        now = time.monotonic()
        with CountIndex.open(folder) as index:
            assert index.digest is not None
            wanted[index.digest] = index.count("Ann met Bob").documents
            if deletes:
                for digest in wanted.keys() - outdated.keys() - {index.digest}:
                    outdated[digest] = now
            return index.digest

    first = changed(False)
    with serving(settings) as url, asking(url) as seen:
        seen.wait_for(first)
        for step in range(3):
            delete_documents(folder, ids=[f"d{step}"])
            seen.wait_for(changed(True))
            more(folder, {"id": f"new{step}", "text": "Ann met Bob"})
            changed(False)
            compact_index(folder, jobs=1)
            changed(False)
            more(
                folder,
                {"id": f"new{step}", "text": "nobody"},
                {"id": f"d{step + 6}", "text": "Ann met Bob"},
                replace=True,
            )
            seen.wait_for(changed(True))
    assert not seen.wrong
    assert len({digest for _, digest, _ in seen.answers}) > 4
    for began, digest, number in seen.answers:
        assert wanted[digest] == number
        if digest in outdated:
            noticed = min((ended for start, ended in looks if start > outdated[digest]), default=began + 1)
            assert began < noticed, "a deleted document was counted"


def test_folders_are_checked_often_enough_to_hide_deleted_documents_within_a_second() -> None:
    """The first check after a deletion hides them, at the latest when the folder has failed to open for a while."""
    assert 0 < Settings().poll_seconds + served.GRACE_S <= 1
