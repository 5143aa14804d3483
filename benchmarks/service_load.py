"""The service under load: requests per second and latencies, compared with infini-gram's engine behind two servers.

A client in a separate process sends the same questions in the same order to every server, alternately by round, over
loopback: counts of single texts, one subject with one object, and batches of facts; from one, several, and many
clients. All servers answer from the same index folder. Ours runs with its default settings but without the answer
cache, which would otherwise give most answers; one run with the cache shows its effect, and one shows several workers.

CPU time is that of the server process, all threads. :mod:`benchmarks.peer_servers` describes the peers: they count less
(no documents, and occurrences near one another), validate nothing and cannot be cancelled.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from benchmarks.corpora import FACTCENSUS, Setting
from benchmarks.measure import Report, spread
from factcensus.api.client import Client
from factcensus.indexer import CountIndex, Entity

CLIENTS = (1, 8, 64)
#: Number of different questions of each kind; repeated from the start after the last one.
QUESTIONS = 2_000
BATCH = 100
#: Maximum number of requests and seconds of one run.
MOST_REQUESTS, SECONDS = 2_000, 2.0
OURS, FASTAPI, WERKZEUG = "ours", "the engine behind FastAPI", "the engine behind its own kind of server"
CACHED = "ours, answers kept"
#: One worker for each processor, at most four.
WORKERS = min(4, os.cpu_count() or 1)
TOGETHER = f"ours, {WORKERS} workers"


@dataclass(frozen=True)
class Server:
    """A running server."""

    process: int
    port: int

    def cpu_s(self) -> float:
        """Return the CPU seconds that the process and its workers have used."""
        return sum(map(_cpu_s, [self.process, *_children(self.process)]))


def _cpu_s(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _children(process: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


@dataclass(frozen=True)
class Run:
    """The results of one run of the client."""

    per_second: float
    p50_ms: float
    p99_ms: float
    cpu_ms: float


def main(setting: Setting, report: Report) -> None:
    """Run all kinds of requests with all numbers of clients."""
    report.title("The service under load")
    with ExitStack() as running, CountIndex.open(setting.index) as index:
        servers = {
            OURS: running.enter_context(serve_ours(setting.index, {"FACTCENSUS_CACHE_BYTES": "1"})),
            FASTAPI: running.enter_context(_serve_peer("fastapi", setting.index)),
            WERKZEUG: running.enter_context(_serve_peer("werkzeug", setting.index)),
            TOGETHER: running.enter_context(
                serve_ours(setting.index, {"FACTCENSUS_CACHE_BYTES": "1"}, "--workers", str(WORKERS))
            ),
            CACHED: running.enter_context(serve_ours(setting.index, {})),
        }
        texts = _texts(index)
        pairs = [
            (str(subject), str(object))
            for subject, object in zip(setting.facts["subject"], setting.facts["object"], strict=True)
        ][:QUESTIONS]
        _check(index, servers, texts, pairs)
        report.note(
            f"{index.info().tokens / 1e6:.2f} M tokens; {len(texts):,} different texts, {len(pairs):,} pairs; runs "
            f"of up to {MOST_REQUESTS:,} requests and {SECONDS:g} s. CPU is the server's."
        )
        name = index.name
        counts = [_post(f"/v1/indexes/{name}/count", {"text": text}) for text in texts]
        _compare(
            report,
            "single counts",
            "request",
            servers,
            dict.fromkeys(servers, counts)
            | {
                WERKZEUG: [_wire(text) for text in texts],
            },
        )
        both = [_post(f"/v1/indexes/{name}/cooccurrence", _pair(pair)) for pair in pairs]
        del servers[CACHED]
        alone = [_wire(f"{subject} AND {object}") for subject, object in pairs]
        _compare(
            report,
            "one subject with one object",
            "request",
            servers,
            dict.fromkeys(servers, both)
            | {
                WERKZEUG: alone,
            },
        )
        batches = [
            _post(
                f"/v1/indexes/{name}/facts:count",
                {"facts": [{"subject": s, "object": o} for s, o in pairs[at:][:BATCH]]},
            )
            for at in range(0, len(pairs) - BATCH + 1, BATCH)
        ]
        _compare(
            report,
            f"batches of {BATCH} facts (the last server takes one at a time)",
            "fact",
            servers,
            dict.fromkeys(servers, batches) | {WERKZEUG: alone},
            {OURS: BATCH, TOGETHER: BATCH, FASTAPI: BATCH},
        )


def _compare(
    report: Report,
    what: str,
    thing: str,
    servers: Mapping[str, Server],
    requests: Mapping[str, Sequence[str]],
    things: Mapping[str, int] = {},  # read only
) -> None:
    """Compare the servers on one kind of request, at each number of clients; a request has ``things`` items."""
    for clients in CLIENTS:
        for name, server in servers.items():
            _run(server, requests[name][:200], clients, 1)
        runs: dict[str, list[Run]] = {name: [] for name in servers}
        for _ in range(report.rounds):
            for name, server in servers.items():
                runs[name].append(_run(server, requests[name], clients, things.get(name, 1)))
        rows = []
        for name, found in runs.items():
            ratios = _ratios(runs[OURS], found)
            rows.append(
                [
                    name,
                    spread([run.per_second for run in found], lambda value: f"{value:,.0f}"),
                    *(
                        f"{statistics.median(getattr(run, part) for run in found):.3g} ms"
                        for part in ("p50_ms", "p99_ms")
                    ),
                    f"{statistics.median(run.cpu_ms for run in found):.3g} ms",
                    "" if name == OURS else spread(ratios),
                    "" if name == FASTAPI else spread(_ratios(found, runs[FASTAPI])),
                ]
            )
        report.heading(f"{what}, {clients} client{'s'[: clients != 1]}")
        report.table(
            [
                "",
                f"{thing}s per second",
                "p50",
                "p99",
                f"CPU per {thing}",
                f"ours ÷ this, {thing}s per second",
                "this ÷ the engine behind FastAPI",
            ],
            rows,
        )


def _ratios(these: Sequence[Run], others: Sequence[Run]) -> list[float]:
    """Return the ratios of requests per second, by round."""
    return [this.per_second / other.per_second for this, other in zip(these, others, strict=True)]


def _run(server: Server, requests: Sequence[str], clients: int, things: int) -> Run:
    cpu = server.cpu_s()
    found = ask(server.port, requests, clients)
    cpu = server.cpu_s() - cpu
    assert not found["failed"], f"{found['failed']} requests were not answered with 200"
    latencies = sorted(found["latencies_us"])
    done = len(latencies)
    return Run(
        things * done / found["seconds"],
        latencies[done // 2] / 1e3,
        latencies[min(done - 1, done * 99 // 100)] / 1e3,
        1e3 * cpu / (things * done),
    )


def ask(port: int, requests: Sequence[str], clients: int) -> dict[str, Any]:
    """Run :func:`benchmarks.load_client.drive` in a separate process."""
    asked = {"port": port, "requests": list(requests), "clients": clients, "most": MOST_REQUESTS, "seconds": SECONDS}
    command = [sys.executable, "-m", "benchmarks.load_client"]
    done = subprocess.run(command, input=json.dumps(asked), stdout=subprocess.PIPE, text=True, check=True)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


@contextmanager
def serve_ours(folder: Path, settings: Mapping[str, str], *more: str | Path) -> Iterator[Server]:
    """Serve an index with ``factcensus serve``."""
    with TemporaryFile() as log:
        command = [*FACTCENSUS, "serve", folder, "--port", "0", *more]
        process = subprocess.Popen(command, stderr=log, env=os.environ | settings)
        try:
            while not (said := _said(log)).partition("(Ctrl+C")[1]:
                if process.poll() is not None:
                    raise RuntimeError(f"the service did not start: {said[-2000:]}")
                with suppress(subprocess.TimeoutExpired):
                    process.wait(0.05)
            port = int(said.partition("http://")[2].partition(":")[2].split()[0])
            with Client(f"http://127.0.0.1:{port}") as client:
                client.wait_ready(600)
            yield Server(process.pid, port)
        finally:
            process.terminate()
            process.wait()


def _said(log: Any) -> str:
    return os.pread(log.fileno(), 1 << 16, 0).decode(errors="replace")


@contextmanager
def _serve_peer(kind: str, folder: Path) -> Iterator[Server]:
    command = [sys.executable, "-m", "benchmarks.peer_servers", kind, str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield Server(process.pid, int(process.stdout.readline() or 0))
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def _texts(index: CountIndex) -> list[str]:
    """Return n-grams of one to five words from random positions of the corpus."""
    from benchmarks.counting import random_ngrams

    return [index.text(ngram) for ngram in random_ngrams(index)[:QUESTIONS]]


def _check(
    index: CountIndex, servers: Mapping[str, Server], texts: Sequence[str], pairs: Sequence[tuple[str, str]]
) -> None:
    """Check that the servers return the numbers of the index."""
    import httpx

    with httpx.Client(timeout=600) as client:
        for text in texts[:50]:
            wanted = index.count(text)
            for name, server in servers.items():
                url = f"http://127.0.0.1:{server.port}"
                answer = (
                    client.post(url, json={"query": text})
                    if name == WERKZEUG
                    else client.post(f"{url}/v1/indexes/{index.name}/count", json={"text": text})
                ).json()
                assert answer["occurrences"] == wanted.occurrences, (name, text)
        for pair in pairs[:50]:
            url = f"http://127.0.0.1:{servers[OURS].port}/v1/indexes/{index.name}/cooccurrence"
            assert client.post(url, json=_pair(pair)).json() == index.cooccurrence(*map(Entity, pair)).as_json(), pair


def _pair(pair: tuple[str, str]) -> dict[str, Any]:
    return {"subject": {"name": pair[0]}, "object": {"name": pair[1]}}


def _wire(query: str) -> str:
    return _post("/", {"index": "words", "query_type": "count", "query": query})


def _post(path: str, body: dict[str, Any]) -> str:
    """Return a complete request, one character per byte."""
    content = json.dumps(body)
    return (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"Accept: */*\r\nContent-Length: {len(content)}\r\n\r\n{content}"
    )
