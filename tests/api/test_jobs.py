"""Jobs: creation, progress, results, cancellation, and survival of restarts."""

from __future__ import annotations

import errno
import json
import os
import random
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import duckdb
import httpx
import pyarrow as pa
import pytest
from loopback import serving, until
from test_facts_route import ALL, ARROW, NDJSON, ROUTE, arrow_of, rows_of
from test_serve_command import started
from test_streams import many

from factcensus.api.client import Client
from factcensus.api.errors import NotReadyError, RejectedError, ServerFailureError
from factcensus.api.http.access import new_key
from factcensus.api.http.problems import Problem
from factcensus.api.jobs import runner
from factcensus.api.jobs.records import Job
from factcensus.api.jobs.runner import JobRunner
from factcensus.api.jobs.store import FILE, JobStore
from factcensus.api.settings import Limits, Settings
from factcensus.indexer import CountIndex, Deadline, build_index
from factcensus.indexer.errors import DeadlineError, InputError
from full_disks import files_up_to

ASYNC = {"Content-Type": ARROW, "Prefer": "respond-async"}


@pytest.fixture
def settings(index_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setattr(runner, "PIECE_FACTS", 20)
    return Settings(indexes=(index_folder,), jobs_folder=tmp_path / "jobs", warm_up=False)


@pytest.fixture
def service(settings: Settings) -> Iterator[httpx.Client]:
    with serving(settings) as url, httpx.Client(base_url=url, timeout=60) as asked:
        yield asked


@dataclass
class Gate:
    """Limits how many pieces are counted, and records their rows."""

    allowed: int = 1
    counted: list[int] = field(default_factory=list)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    """Make counts wait until they are stopped, once no more pieces are allowed."""
    count, gate = CountIndex.count_facts, Gate()

    def counted(self: CountIndex, facts: pa.Table, *, deadline: Deadline | None = None, **options: Any) -> pa.Table:
        while deadline is not None and len(gate.counted) >= gate.allowed:
            if deadline.flag[0]:
                raise DeadlineError("stopped")
            time.sleep(0.01)
        if deadline is not None:
            gate.counted.append(facts.num_rows)
        return count(self, facts, deadline=deadline, **options)

    monkeypatch.setattr(CountIndex, "count_facts", counted)
    return gate


def send(service: httpx.Client, rows: int = 50, **options: Any) -> dict[str, Any]:
    answer = service.post(ROUTE, content=arrow_of(many(rows)), headers=ASYNC, **options)
    assert answer.status_code == 202, answer.text
    job: dict[str, Any] = answer.json()
    assert answer.headers["Location"] == job["status_url"] == f"/v1/jobs/{job['id']}"
    return job


def finished(service: httpx.Client, job: dict[str, Any]) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        found: dict[str, Any] = service.get(job["status_url"]).json()
        return found if found["state"] in ("done", "failed") else None

    shown: dict[str, Any] = until(look)
    return shown


@pytest.mark.parametrize("out", ALL)
def test_a_job_returns_the_counts_of_the_index_in_every_format(
    service: httpx.Client, index: CountIndex, out: str
) -> None:
    job = finished(service, send(service, params={"windows": [5]}))
    assert (job["state"], job["facts"], job["counted"], job["windows"]) == ("done", 50, 50, [5])
    assert job["error"] is None
    assert job["created"] <= job["started"] <= job["finished"] < job["expires"]
    expected = index.count_facts(many(50), windows=[5]).to_pylist()
    for answer in (
        service.get(job["result_url"], headers={"Accept": out}),
        service.get(job["result_url"], params={"format": dict(zip(ALL, ENDINGS, strict=True))[out]}),
    ):
        assert answer.headers["Content-Type"].partition(";")[0] == out
        rows = rows_of(out, answer.content)
        if out == "text/csv":
            rows = [row | {"n": int(row["n"])} for row in rows]
        assert rows == expected
        again = service.get(job["result_url"], headers={"Accept": out, "If-None-Match": answer.headers["ETag"]})
        assert again.status_code == 304


ENDINGS = ["json", "jsonl", "csv", "arrow", "parquet"]


def test_a_table_with_too_many_rows_becomes_a_job(settings: Settings) -> None:
    with serving(replace(settings, limits=Limits(max_facts=10))) as url:
        small = httpx.post(url + ROUTE, content=arrow_of(many(10)), headers={"Content-Type": ARROW})
        large = httpx.post(url + ROUTE, content=arrow_of(many(11)), headers={"Content-Type": ARROW})
    assert (small.status_code, large.status_code) == (200, 202)


def test_a_large_body_of_facts_becomes_a_job(settings: Settings) -> None:
    with serving(replace(settings, limits=Limits(max_body_bytes=1000, max_job_body_bytes=100_000))) as url:
        large = httpx.post(url + ROUTE, content=arrow_of(many(20)), headers={"Content-Type": ARROW})
        larger = httpx.post(url + ROUTE, content=b"x" * 100_001, headers={"Content-Type": ARROW})
        other = httpx.post(f"{url}/v1/indexes/tiny/count", json={"text": "x" * 1001})
    assert (large.status_code, larger.status_code, other.status_code) == (202, 413, 413)


def test_the_result_has_the_format_of_the_table_by_default(service: httpx.Client) -> None:
    body = b'{"subject":"Paris","object":"France"}\n'
    sent = service.post(ROUTE, content=body, headers={"Content-Type": NDJSON, "Prefer": "respond-async; wait=5"})
    job = finished(service, sent.json())
    answer = service.get(job["result_url"])
    assert answer.headers["Content-Type"].partition(";")[0] == NDJSON
    assert answer.headers["Content-Disposition"].endswith('.jsonl"')
    assert json.loads(answer.content)["cooccurrence_documents"] == 1


@pytest.mark.parametrize(
    ("rows", "status", "kind"),
    [(many(1).set_column(1, "subject", [["..."]]), 422, "empty-query"), (pa.table({"subject": ["a"]}), 422, "invalid")],
)
def test_an_invalid_table_is_refused_on_arrival(service: httpx.Client, rows: pa.Table, status: int, kind: str) -> None:
    answer = service.post(ROUTE, content=arrow_of(rows), headers=ASYNC)
    assert answer.status_code == status
    assert kind in answer.json()["type"]
    assert service.get("/v1/jobs").json() == {"jobs": []}


def test_an_unfinished_job_shows_its_progress_and_has_no_result(service: httpx.Client, gate: Gate) -> None:
    job = send(service)
    until(lambda: service.get(job["status_url"]).json()["counted"] == 20)
    shown = service.get(job["status_url"])
    assert (shown.json()["state"], shown.json()["result_url"]) == ("running", None)
    assert shown.headers["Retry-After"] == "1"
    result = service.get(f"{job['status_url']}/result")
    assert (result.status_code, result.json()["type"]) == (409, "urn:factcensus:problem:job-not-done")
    assert "20 of 50" in result.json()["detail"]
    assert gate.counted == [20]


def test_progress_never_falls_and_includes_each_piece_once(
    service: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    put, shown = JobStore.put_counts, list[int]()

    def put_and_look(store: JobStore, id: str, *rest: Any) -> None:
        shown.append(service.get(f"/v1/jobs/{id}").json()["counted"])
        put(store, id, *rest)
        shown.extend(job["counted"] for job in service.get("/v1/jobs").json()["jobs"])
        shown.append(service.get(f"/v1/jobs/{id}").json()["counted"])

    monkeypatch.setattr(JobStore, "put_counts", put_and_look)
    assert finished(service, send(service))["counted"] == 50
    assert shown == [20] * 3 + [40] * 3 + [50] * 3


def test_a_cancelled_job_is_stopped_and_removed(service: httpx.Client, gate: Gate) -> None:
    first, second = send(service), send(service)
    until(lambda: gate.counted)
    assert [job["id"] for job in service.get("/v1/jobs").json()["jobs"]] == [second["id"], first["id"]]
    assert 'factcensus_jobs{state="queued"} 1.0' in service.get("/metrics").text
    for job in (first, second):
        assert service.delete(job["status_url"]).status_code == 204
        for answer in (service.get(job["status_url"]), service.delete(job["status_url"])):
            assert (answer.status_code, answer.json()["type"]) == (404, "urn:factcensus:problem:unknown-job")
    assert service.get("/v1/jobs").json() == {"jobs": []}
    gate.allowed = 99
    assert finished(service, send(service))["state"] == "done"
    assert 'factcensus_jobs_finished_total{outcome="cancelled"} 2.0' in service.get("/metrics").text
    # A job is shown as done a moment before it is included in the metric.
    until(lambda: 'factcensus_jobs_finished_total{outcome="done"} 1.0' in service.get("/metrics").text)


def test_a_restart_keeps_results_and_continues_unfinished_jobs(
    settings: Settings, index: CountIndex, gate: Gate
) -> None:
    with serving(settings) as url, httpx.Client(base_url=url, timeout=60) as service:
        begun = send(service)
        until(lambda: service.get(begun["status_url"]).json()["counted"] == 20)
        waiting = send(service, 5)
    gate.allowed = 99
    with serving(settings) as url, httpx.Client(base_url=url, timeout=60) as service:
        assert finished(service, waiting)["state"] == "done"
        shown = finished(service, begun)
        assert (shown["state"], shown["counted"]) == ("done", 50)
        result = service.get(shown["result_url"])
        assert gate.counted == [20, 20, 10, 5]
    with serving(settings) as url, httpx.Client(base_url=url, timeout=60) as service:
        again = service.get(shown["result_url"])
    assert pa.ipc.open_stream(again.content).read_all().equals(index.count_facts(many(50)))
    assert again.content == result.content


def test_stored_jobs_survive_a_killed_process(settings: Settings, index_folder: Path) -> None:
    environment = {"FACTCENSUS_JOBS_FOLDER": str(settings.jobs_folder)}
    facts, headers = many(6000), {"Content-Type": ARROW, "Prefer": "respond-async"}
    with started(index_folder, "--port", "0", **environment) as (process, url):
        with Client(url) as client:
            client.wait_ready(300)
        job = httpx.post(url + ROUTE, content=arrow_of(facts), headers=headers, timeout=60).json()
        process.kill()
        process.communicate(timeout=20)
    with (
        serving(settings) as url,
        httpx.Client(base_url=url, timeout=60) as service,
        CountIndex.open(index_folder) as index,
    ):
        shown = finished(service, job)
        counts = pa.ipc.open_stream(service.get(shown["result_url"]).content).read_all()
        assert counts.equals(index.count_facts(facts))


def test_a_replaced_index_fails_the_job_with_a_clear_error(settings: Settings, tmp_path: Path, gate: Gate) -> None:
    with serving(settings) as url, httpx.Client(base_url=url, timeout=60) as service:
        job = send(service)
        until(lambda: gate.counted)
    gate.allowed = 99
    corpus = tmp_path / "other.jsonl"
    corpus.write_text('{"text": "another corpus"}\n', encoding="utf-8")
    build_index([corpus], tmp_path / "tiny", jobs=1)
    with (
        serving(replace(settings, indexes=(tmp_path / "tiny",))) as url,
        httpx.Client(base_url=url, timeout=60) as service,
    ):
        shown = finished(service, job)
        assert shown["state"] == "failed"
        assert "was replaced by another index" in shown["error"]
        result = service.get(f"{shown['status_url']}/result")
        assert (result.status_code, result.json()["type"]) == (409, "urn:factcensus:problem:job-failed")
        assert result.json()["detail"] == shown["error"]
    with serving(replace(settings, indexes=())) as url:
        assert httpx.get(url + shown["status_url"]).json()["state"] == "failed"


def test_an_internal_error_fails_only_one_job(service: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise ValueError("/secret/path")

    with monkeypatch.context() as patched:
        patched.setattr(CountIndex, "count_facts", fail)
        shown = finished(service, send(service))
    assert (shown["state"], "secret" in shown["error"], shown["id"] in shown["error"]) == ("failed", False, True)
    assert finished(service, send(service))["state"] == "done"


@pytest.mark.usefixtures("gate")
def test_jobs_are_limited_in_number_and_size(settings: Settings) -> None:
    limits = Limits(max_jobs=2, max_jobs_bytes=100_000)
    with serving(replace(settings, limits=limits)) as url, httpx.Client(base_url=url, timeout=60) as service:
        first = send(service)
        send(service)
        third = service.post(ROUTE, content=arrow_of(many(50)), headers=ASYNC)
        assert (third.status_code, third.json()["type"]) == (503, "urn:factcensus:problem:too-many-jobs")
        assert int(third.headers["Retry-After"]) > 0
        service.delete(first["status_url"])
        large = many(50).append_column("note", [["x" * 2000] * 50])
        full = service.post(ROUTE, content=arrow_of(large), headers=ASYNC)
        assert (full.status_code, full.json()["type"]) == (507, "urn:factcensus:problem:jobs-full")
        lines = service.get("/metrics").text.splitlines()
        assert 'factcensus_requests_rejected_total{reason="too-many-jobs"} 1.0' in lines
        assert 'factcensus_requests_rejected_total{reason="jobs-full"} 1.0' in lines


def test_results_are_kept_for_exactly_the_retention_time(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    limited = replace(settings, limits=Limits(job_retention_hours=2))
    with serving(limited) as url, httpx.Client(base_url=url, timeout=60) as service:
        job = finished(service, send(service))
        now = time.time()
        for hours, status in ((1.9, 200), (2.1, 404)):
            monkeypatch.setattr(runner, "time", lambda hours=hours: now + 3600 * hours)
            send(service, 1)
            assert service.get(job["status_url"]).status_code == status


def test_a_job_is_visible_only_to_its_owner(settings: Settings, tmp_path: Path) -> None:
    keys = {name: new_key(name, tmp_path / "keys") for name in ("ann", "bob")}
    with serving(replace(settings, keys_file=tmp_path / "keys")) as url:
        ann, bob = (
            httpx.Client(base_url=url, timeout=60, headers={"X-API-Key": keys[name]}) for name in ("ann", "bob")
        )
        with ann, bob:
            job = send(ann)
            assert finished(ann, job)["state"] == "done"
            assert bob.get("/v1/jobs").json() == {"jobs": []}
            assert len(ann.get("/v1/jobs").json()["jobs"]) == 1
            for path in (job["status_url"], f"{job['status_url']}/result"):
                assert bob.get(path).status_code == 404
            assert bob.delete(job["status_url"]).status_code == 404
            assert ann.get(f"{job['status_url']}/result").status_code == 200


def test_without_a_folder_jobs_are_lost_with_the_process(index_folder: Path) -> None:
    with serving(Settings(indexes=(index_folder,))) as url, httpx.Client(base_url=url, timeout=60) as service:
        assert finished(service, send(service))["state"] == "done"
    with serving(Settings(indexes=(index_folder,))) as url:
        assert httpx.get(f"{url}/v1/jobs").json() == {"jobs": []}


def test_an_unusable_folder_disables_only_jobs(settings: Settings) -> None:
    assert settings.jobs_folder is not None
    settings.jobs_folder.mkdir()
    (settings.jobs_folder / FILE).write_bytes(b"no database" * 1000)
    with serving(settings) as url, httpx.Client(base_url=url, timeout=60) as service:
        refused = service.post(ROUTE, content=arrow_of(many(5)), headers=ASYNC)
        assert (refused.status_code, refused.json()["type"]) == (503, "urn:factcensus:problem:jobs-unavailable")
        assert str(settings.jobs_folder) not in refused.text
        assert service.get("/v1/jobs").status_code == 503
        assert service.post(ROUTE, content=arrow_of(many(5)), headers={"Content-Type": ARROW}).status_code == 200
        assert service.get("/metrics").status_code == 200


def test_a_store_of_another_version_is_refused(tmp_path: Path) -> None:
    JobStore(tmp_path).close()
    with duckdb.connect(str(tmp_path / FILE)) as database:
        database.execute("UPDATE version SET number = 99")
    with pytest.raises(InputError, match="version 99"):
        JobStore(tmp_path)


# --- the client -------------------------------------------------------------------------------------------------------


def test_the_client_counts_a_large_table_as_a_job(
    service: httpx.Client, index: CountIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("factcensus.api.client.asking.JOB_FACTS", 40)
    facts = many(50).append_column("nested", [[{"a": [n]} for n in range(50)]])
    told: list[tuple[int, int]] = []
    with Client(str(service.base_url)) as client:
        counts = client.count_facts("tiny", facts, [3], progress=lambda done, total: told.append((done, total)))
        assert client.jobs() == []  # the client has fetched the result
    assert counts.equals(index.count_facts(facts, windows=[3]))
    assert told[-1] == (50, 50)
    assert told == sorted(told)


def test_another_client_can_continue_with_a_job(service: httpx.Client, index: CountIndex) -> None:
    with Client(str(service.base_url)) as client, Client(str(service.base_url)) as other:
        job = client.submit_facts("tiny", many(50), [3])
        taken_up = other.job(job.id)
        assert taken_up.wait()["state"] == "done"
        assert [shown["id"] for shown in other.jobs()] == [job.id]
        counts = taken_up.result()
        taken_up.remove()
        with pytest.raises(RejectedError, match="no job has the id"):
            job.status()
    assert counts.equals(index.count_facts(many(50), windows=[3]).drop_columns(["n"]))


def test_an_interrupted_client_removes_its_job(
    service: httpx.Client, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("factcensus.api.client.asking.JOB_FACTS", 40)

    def interrupt(done: int, _: int) -> None:
        if done:
            raise KeyboardInterrupt

    with Client(str(service.base_url)) as client:
        with pytest.raises(KeyboardInterrupt):
            client.count_facts("tiny", many(50), progress=interrupt)
        assert client.jobs() == []
    assert gate.counted == [20]


@pytest.mark.usefixtures("gate")
def test_the_client_raises_an_error_if_a_job_takes_too_long(service: httpx.Client) -> None:
    with Client(str(service.base_url), attempts=1) as client:
        job = client.submit_facts("tiny", many(50))
        with pytest.raises(ServerFailureError, match=r"not done within 0\.1 s; it continues"):
            job.wait(timeout_s=0.1)
        with pytest.raises(RejectedError, match=r"\d+ of 50 facts") as early:
            job.result()
        assert early.value.status == 409
        job.remove()


def test_too_many_jobs_raise_not_ready_in_the_client(settings: Settings, gate: Gate) -> None:
    with serving(replace(settings, limits=Limits(max_jobs=1))) as url, Client(url, attempts=1) as client:
        client.submit_facts("tiny", many(50))
        with pytest.raises(NotReadyError, match="FACTCENSUS_MAX_JOBS"):
            client.submit_facts("tiny", many(50))
    assert gate.counted == [20]


# --- missing resources and crashes
# ------------------------------------------------------------------------------------------------


def test_a_full_disk_refuses_new_jobs_and_keeps_accepted_ones(
    settings: Settings, index: CountIndex, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate.allowed = 0
    monkeypatch.setattr(runner, "PAUSE_S", 0.05)
    limits = Limits(max_jobs=1000)
    notes = pa.array([random.Random(n).randbytes(1000).hex() for n in range(50)])
    body = arrow_of(many(50).append_column("note", notes))
    accepted = []
    with serving(replace(settings, limits=limits)) as url, httpx.Client(base_url=url, timeout=60) as service:
        with files_up_to(2**20):
            for _ in range(100):
                answer = service.post(ROUTE, content=body, headers=ASYNC)
                if answer.status_code != 202:
                    break
                accepted.append(answer.json())
            assert (answer.status_code, answer.json()["type"]) == (507, "urn:factcensus:problem:jobs-full")
            assert len(service.get("/v1/jobs").json()["jobs"]) == len(accepted) > 5
            gate.allowed = 10**6
            time.sleep(0.5)  # the facts are counted, but there is no room for the counts
            assert {job["state"] for job in service.get("/v1/jobs").json()["jobs"]} <= {"queued", "running", "done"}
        assert {finished(service, job)["state"] for job in accepted} == {"done"}
        counts = pa.ipc.open_stream(service.get(f"{accepted[-1]['status_url']}/result").content).read_all()
    assert counts.drop_columns(["note"]).equals(index.count_facts(many(50)))


def test_jobs_that_would_fill_the_disk_are_refused(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(JobStore, "free_bytes", lambda _: runner.ROOM_BYTES + 100)
    with serving(settings) as url:
        answer = httpx.post(url + ROUTE, content=arrow_of(many(50)), headers=ASYNC)
    assert (answer.status_code, answer.json()["type"]) == (507, "urn:factcensus:problem:jobs-full")


def test_a_database_invalidated_by_a_full_disk_is_reopened(tmp_path: Path) -> None:
    """DuckDB refuses all operations after a checkpoint failed for lack of disk space."""
    store = JobStore(tmp_path)
    pieces = [pa.table({"subject": [random.Random(n).randbytes(2**19).hex()], "object": ["b"]}) for n in range(40)]
    kept = 0
    with files_up_to(20 * 2**20), pytest.raises(Problem) as full:  # noqa: PT012  # which of them fails is DuckDB's
        for n in range(200):
            store.add_pieces(f"{n}", [pieces[n % 40]])
            kept += 1
    assert full.value.kind == "jobs-full"
    assert kept > 10
    assert store.unfinished() == []
    assert store.next_piece("0") is not None
    store.add_pieces("more", pieces[:1])
    store.close()


def test_a_job_that_ends_the_service_twice_fails_with_a_clear_error(settings: Settings, gate: Gate) -> None:
    assert settings.jobs_folder is not None
    gate.allowed = 1
    with serving(settings) as url, httpx.Client(base_url=url, timeout=60) as service:
        job = send(service)
        until(lambda: service.get(job["status_url"]).json()["counted"] == 20)

    def crash() -> None:  # simulates a killed process
        with duckdb.connect(str(settings.jobs_folder / FILE)) as database:  # type: ignore[operator]  # asserted above
            database.execute("UPDATE jobs SET state = 'running'")

    crash()
    with serving(settings) as url:
        assert httpx.get(url + job["status_url"]).json()["state"] in ("queued", "running")
    crash()
    with serving(settings) as url:
        shown = httpx.get(url + job["status_url"]).json()
        assert shown["state"] == "failed"
        assert "ended 2 times" in shown["error"]
        assert "after the first 20" in shown["error"]


def test_orderly_restarts_are_not_crashes_and_progress_resets_the_count(settings: Settings, gate: Gate) -> None:
    for _ in range(4):
        with serving(settings) as url, httpx.Client(base_url=url, timeout=60) as service:
            gate.allowed = len(gate.counted)
            jobs = service.get("/v1/jobs").json()["jobs"] or [send(service)]
            until(lambda: service.get(jobs[0]["status_url"]).json()["state"] == "running")  # noqa: B023  # asked at once
    gate.allowed = 10**6
    with serving(settings) as url, httpx.Client(base_url=url, timeout=60) as service:
        assert finished(service, jobs[0])["state"] == "done"


@pytest.mark.parametrize(
    ("number", "status", "kind"), [(errno.EMFILE, 503, "overloaded"), (errno.ENOSPC, 507, "jobs-full")]
)
def test_missing_files_or_disk_space_are_not_internal_errors(
    service: httpx.Client, monkeypatch: pytest.MonkeyPatch, number: int, status: int, kind: str
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError(number, os.strerror(number), "/secret")

    with monkeypatch.context() as patched:
        patched.setattr(socket, "socketpair", fail)
        answer = service.post(ROUTE, content=arrow_of(many(5)), headers={"Content-Type": ARROW})
    assert (answer.status_code, answer.json()["type"]) == (status, f"urn:factcensus:problem:{kind}")
    assert "secret" not in answer.text
    assert "Retry-After" in answer.headers
    assert service.post(ROUTE, content=arrow_of(many(5)), headers={"Content-Type": ARROW}).status_code == 200


@pytest.mark.parametrize("looks", [1, 2, 3])
def test_a_result_dropped_during_the_request_gets_410(
    service: httpx.Client, monkeypatch: pytest.MonkeyPatch, looks: int
) -> None:
    job = finished(service, send(service))
    refuse = JobRunner.refuse_outdated
    seen: list[str] = []

    def dropped_after(jobs: JobRunner, found: Job) -> None:
        refuse(jobs, found)
        seen.append(found.id)
        if len(seen) == looks:
            jobs.store.drop_counts(found.id, time.time(), "documents were deleted")

    monkeypatch.setattr(JobRunner, "refuse_outdated", dropped_after)
    answer = service.get(job["result_url"])
    assert (answer.status_code, answer.json()["type"]) == (410, "urn:factcensus:problem:index-changed")
