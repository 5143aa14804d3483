"""``factcensus serve --workers 2``: every worker answers everything; limits, metrics and reloads span all workers."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import pytest
from loopback import until
from test_serve_command import is_refused

from factcensus.api.http.problems import Problem
from factcensus.api.workers.member import Member
from factcensus.api.workers.peers import PeerError, Peers
from factcensus.api.workers.rates import PLACES, Rates
from factcensus.api.workers.tally import BODY_BYTES, REQUESTS, Tally
from factcensus.indexer.building.build import add_to_index

COUNT = "/v1/indexes/tiny/count?text=Paris"
FACTS = {"facts": [{"subject": "Curie", "object": "Warsaw"}]}


class Running:
    """A service with two workers as a process, and its log."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stderr is not None
        self.process = process
        line = process.stderr.readline()
        found = re.search(r"http://\S+", line)
        assert found, line
        self.url = found[0]
        self.log: list[dict[str, Any]] = []
        self.other_lines: list[str] = []
        self._reader = threading.Thread(target=self._read, args=(process.stderr,), daemon=True)
        self._reader.start()

    def _read(self, lines: Any) -> None:
        for line in lines:
            if line.startswith("{"):
                self.log.append(json.loads(line))
            else:
                self.other_lines.append(line)

    def read_to_the_end(self) -> None:
        """Wait until the log of the ended processes is read, before its pipe is closed."""
        self._reader.join(60)
        assert not self._reader.is_alive()

    def worker_of(self, request_id: str) -> int:
        """Return the number of the worker that logged a request."""
        (entry,) = until(lambda: [each for each in self.log if each.get("request_id") == request_id])
        number: int = entry["worker"]
        return number

    @contextmanager
    def connected_to(self, number: int, **headers: str) -> Iterator[httpx.Client]:
        """Yield a client with one connection, to the worker of this number."""
        for _ in range(200):
            with httpx.Client(base_url=self.url, headers=headers, timeout=60) as client:
                if self.worker_of(client.get("/version").headers["X-Request-ID"]) == number:
                    yield client
                    return
        raise AssertionError(f"worker {number} accepts no connection")

    def messages(self, text: str) -> list[str]:
        """Return the log entries so far that contain a text."""
        return [each["message"] for each in self.log if text in each["message"]]

    def process_ids(self) -> list[int]:
        """Return the process ids of the workers, by number, from their command lines."""
        found = subprocess.run(
            ["pgrep", "-P", str(self.process.pid), "-f", "spawn_main"], capture_output=True, text=True, check=False
        )
        return [int(line) for line in found.stdout.split()]

    def is_ready(self) -> bool:
        return httpx.get(f"{self.url}/readyz", timeout=60).status_code == 200


@contextmanager
def running(*arguments: str | Path, **env: str) -> Iterator[Running]:
    command = [sys.executable, "-m", "factcensus", "serve", *map(str, arguments), "--port", "0", "--workers", "2"]
    env = {"FACTCENSUS_LOG_FORMAT": "json", "FACTCENSUS_WARM_UP": "0"} | env
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=os.environ | env
    ) as process:
        try:
            service = Running(process)
            until(service.is_ready)
            yield service
        finally:
            if process.poll() is None:
                process.terminate()
                assert process.wait(60) == 0
            service.read_to_the_end()
            assert "Traceback" not in "".join(service.other_lines)


@pytest.fixture(scope="module")
def service(index_folder: Path) -> Iterator[Running]:
    with running(index_folder, "--poll", "0") as service:
        yield service


@pytest.mark.parametrize("number", [0, 1])
def test_every_worker_counts(service: Running, number: int) -> None:
    with service.connected_to(number) as client:
        answer = client.get(COUNT)
        assert answer.json()["documents"] == 3
        assert service.worker_of(answer.headers["X-Request-ID"]) == number


@pytest.mark.parametrize(("sends", "asks"), [(0, 1), (1, 0), (1, 1)])
def test_jobs_are_the_same_in_every_worker(service: Running, sends: int, asks: int) -> None:
    with service.connected_to(sends) as sender, service.connected_to(asks) as asker:
        sent = sender.post("/v1/indexes/tiny/facts:count", json=FACTS, headers={"Prefer": "respond-async"})
        assert sent.status_code == 202
        url = sent.json()["status_url"]
        done = until(lambda: (job := asker.get(url).json())["state"] == "done" and job)
        assert [job["id"] for job in asker.get("/v1/jobs").json()["jobs"]] == [done["id"]]
        (fact,) = asker.get(f"{url}/result").json()["facts"]
        assert fact["cooccurrence_documents"] == 3
        assert done["id"] in asker.get("/tables").text
        assert asker.get(f"/tables/{done['id']}").status_code == 200
        assert asker.delete(url).status_code == 204
        assert sender.get(url).json()["type"] == "urn:factcensus:problem:unknown-job"


def test_a_refused_table_is_refused_by_every_worker(service: Running) -> None:
    facts = {"facts": [{"subject": "Curie", "object": ""}]}
    answers = []
    for number in (0, 1):
        with service.connected_to(number) as client:
            answer = client.post("/v1/indexes/tiny/facts:count", json=facts, headers={"Prefer": "respond-async"})
            answers.append((answer.status_code, answer.json()["detail"]))
    assert answers[0][0] == 422
    assert answers[0] == answers[1]


@pytest.mark.parametrize("number", [0, 1])
def test_an_uploaded_form_may_come_from_another_worker(service: Running, number: int) -> None:
    with service.connected_to(1 - number) as shows, service.connected_to(number) as takes:
        token = re.search(r'name="token" value="([^"]+)"', shows.get("/tables").text)
        assert token
        answer = takes.post(
            "/tables",
            data={"index": "tiny", "token": token[1]},
            files={"facts": ("facts.csv", "subject,object\nCurie,Warsaw\n")},
        )
        assert answer.status_code == 303


def counted(text: str, name: str, labels: str = "") -> float:
    """Return the sum of the samples of one metric whose labels contain this."""
    samples = [line for line in text.splitlines() if re.match(rf"{name}[ {{]", line) and labels in line]
    return sum(float(line.rpartition(" ")[2]) for line in samples)


def test_metrics_span_all_workers(service: Running) -> None:
    with service.connected_to(0) as zero, service.connected_to(1) as one:
        # An answered request is in flight until its worker has counted it, which may be after the answer was read.
        def settled(client: httpx.Client) -> str:
            return until(
                lambda: counted(text := client.get("/metrics").text, "factcensus_http_requests_in_flight") == 1 and text
            )

        counts = ("factcensus_http_requests_total", 'route="/v1/indexes/{index}/count"')
        before = counted(settled(zero), *counts)
        for client in (zero, one):
            for _ in range(5):
                client.get(COUNT)
        for client in (zero, one):
            text = settled(client)
            assert counted(text, *counts) - before == 10
            assert counted(text, "factcensus_connections") >= 2
            assert counted(text, "factcensus_indexes_open") == 1
            assert counted(text, "factcensus_build_info") == 1


@pytest.mark.parametrize("way", ["signal", "route of worker 0", "route of worker 1"])
def test_a_reload_reaches_every_worker(index_folder: Path, tmp_path: Path, way: str) -> None:
    folder = shutil.copytree(index_folder, tmp_path / "tiny")
    with running(folder, "--poll", "0") as service, service.connected_to(0) as zero, service.connected_to(1) as one:
        (tmp_path / "more.jsonl").write_text(json.dumps({"id": "m", "text": "Paris again"}) + "\n")
        add_to_index(folder, [tmp_path / "more.jsonl"])
        assert [client.get(COUNT).json()["documents"] for client in (zero, one)] == [3, 3]
        if way == "signal":
            service.process.send_signal(signal.SIGHUP)
        else:
            reloaded = (zero if way == "route of worker 0" else one).post("/v1/admin/reload")
            assert reloaded.json()["opened"] == ["tiny"]
        for client in (zero, one):
            until(lambda client=client: client.get(COUNT).json()["documents"] == 4)


def test_the_rate_limit_is_shared(index_folder: Path) -> None:
    with running(index_folder, FACTCENSUS_REQUESTS_PER_MINUTE="60") as service:
        began, seen = time.monotonic(), list[tuple[int, str]]()
        with httpx.Client(base_url=service.url, headers={"Connection": "close"}) as client:
            while not seen or seen[-1][0] == 200:
                answer = client.get(COUNT)
                seen.append((answer.status_code, answer.headers["RateLimit-Remaining"]))
        assert seen[-1] == (429, "0")
        allowed = len(seen) - 1
        assert 60 <= allowed <= 60 + time.monotonic() - began, "60 at once, and one more each second"


def test_a_worker_that_ends_is_started_again_and_no_job_is_lost(index_folder: Path) -> None:
    with running(index_folder) as service:
        with service.connected_to(1) as client:
            sent = client.post("/v1/indexes/tiny/facts:count", json=FACTS, headers={"Prefer": "respond-async"}).json()
            until(lambda: client.get(sent["status_url"]).json()["state"] == "done")
        before = counted(httpx.get(f"{service.url}/metrics").text, "factcensus_http_requests_total")
        first = service.process_ids()
        assert len(first) == 2
        for process in first:
            os.kill(process, signal.SIGKILL)
            until(lambda process=process: process not in service.process_ids() and len(service.process_ids()) == 2)
        until(service.is_ready)
        ended = until(lambda: len(found := service.messages("it starts again in")) == 2 and found)
        assert all("by signal 9" in message for message in ended)
        for number in (0, 1):
            with service.connected_to(number) as client:
                assert client.get(f"{sent['status_url']}/result").status_code == 200
        after = counted(httpx.get(f"{service.url}/metrics").text, "factcensus_http_requests_total")
        assert after > before, "counters of a process that ended are kept"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_all_workers_end_with_the_service_and_leave_no_files(index_folder: Path, number: signal.Signals) -> None:
    with TemporaryDirectory(prefix="w") as folder, running(index_folder, TMPDIR=folder) as service:
        workers = service.process_ids()
        assert len(workers) == 2
        service.process.send_signal(number)
        assert service.process.wait(60) == (-9 if number == signal.SIGKILL else 0)
        until(lambda: not any(Path(f"/proc/{process}").exists() for process in workers))
        assert list(Path(folder).iterdir()) == []


def test_a_temporary_folder_with_too_long_a_path_is_refused(index_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 90)
    folder.mkdir()
    command = [sys.executable, "-m", "factcensus", "serve", str(index_folder), "--port", "0", "--workers", "2"]
    refused = subprocess.run(
        command, env=os.environ | {"TMPDIR": str(folder)}, capture_output=True, text=True, check=False, timeout=120
    )
    assert refused.returncode == 2
    assert re.fullmatch(r"factcensus: error: the path of .* is too long for sockets; set TMPDIR .*\n", refused.stderr)


def test_a_request_in_flight_is_answered_after_the_signal(index_folder: Path) -> None:
    body = json.dumps({"text": "Paris"}).encode()

    def slow() -> Iterator[bytes]:
        yield body[:5]
        until(lambda: counted(httpx.get(f"{service.url}/metrics").text, "factcensus_http_requests_in_flight") == 2)
        service.process.terminate()
        until(lambda: is_refused(service.url))
        yield body[5:]

    with running(index_folder) as service:
        headers = {"Content-Type": "application/json", "Content-Length": str(len(body))}
        answer = httpx.post(f"{service.url}/v1/indexes/tiny/count", content=slow(), headers=headers)
        assert answer.json()["documents"] == 3


# --- shared numbers, in one process -----------------------------------------------------------------------------------


@pytest.fixture
def members(tmp_path: Path) -> tuple[Member, Member]:
    return Member(0, 2, tmp_path, b"secret"), Member(1, 2, tmp_path, b"secret")


def test_workers_add_up_their_numbers(members: tuple[Member, Member]) -> None:
    zero, one = map(Tally, members)
    zero.add(REQUESTS, 3)
    one.add(REQUESTS, 4)
    one.add(BODY_BYTES, 10**12)
    assert zero.total(REQUESTS) == one.total(REQUESTS) == 7
    assert zero.total(BODY_BYTES) == 10**12
    assert Tally(members[1]).total(REQUESTS) == 3, "a new worker starts with zeros"


def test_workers_share_the_requests_of_a_holder(members: tuple[Member, Member]) -> None:
    now = [100.0]
    zero, one = (Rates(2, member, clock=lambda: now[0]) for member in members)
    assert [quota.left for quota in (zero.take("a"), one.take("a"))] == [1, 0]
    assert (one.take("a").wait_s, zero.take("a").wait_s, zero.take("b").wait_s) == (31, 31, 0)
    now[0] += 30
    assert (one.take("a").wait_s, zero.take("a").wait_s) == (0, 31)


def test_the_least_recent_holder_of_a_full_table_is_dropped() -> None:
    clock = count(100.0, 0.001)
    guard = Rates(1, Member(), holders=PLACES, clock=lambda: next(clock))
    for number in range(PLACES + 1):
        assert not guard.take(str(number)).wait_s
    assert not guard.take("0").wait_s, "dropped, so counted from the start"
    assert guard.take(str(PLACES)).wait_s


@pytest.fixture
def asking(members: tuple[Member, Member]) -> Iterator[Callable[..., Any]]:
    """Return the question function of worker 1; worker 0 answers."""

    def refuse(pieces: Iterator[int]) -> None:
        raise Problem("too-many-jobs", f"full after {next(pieces)}", headers={"Retry-After": "10"})

    answers, gate = Peers(members[0]), threading.Event()
    answers.answer(
        {
            "add": lambda a, b: a + b,
            "total": lambda pieces: sum(pieces),
            "numbers": lambda most: iter(range(most)),
            "refuse": refuse,
            "wait": gate.wait,
        }
    )
    yield Peers(members[1]).ask
    gate.set()
    answers.close()


def test_workers_ask_each_other(asking: Callable[..., Any]) -> None:
    assert asking(0, "add", 1, 2) == 3
    assert asking(0, "total", pieces=iter(range(1000))) == 499_500
    assert list(asking(0, "numbers", 5)) == [0, 1, 2, 3, 4]
    with pytest.raises(PeerError, match=r"did not answer within 0\.05 s"):
        asking(0, "wait", seconds=0.05)
    with pytest.raises(PeerError, match="worker 1 is starting"):
        asking(1, "add", 1, 2)


def test_an_error_of_another_worker_is_raised_here(asking: Callable[..., Any]) -> None:
    with pytest.raises(Problem) as refused:  # although many more pieces could be sent
        asking(0, "refuse", pieces=(b"x" * 10_000 for _ in range(10_000)))
    assert refused.value.kind == "too-many-jobs"
    assert refused.value.headers == {"Retry-After": "10"}


def test_an_error_while_sending_reaches_the_sender(asking: Callable[..., Any]) -> None:
    def pieces() -> Iterator[int]:
        yield 1
        raise ValueError("row 2")

    with pytest.raises(ValueError, match="row 2"):
        asking(0, "total", pieces=pieces())
