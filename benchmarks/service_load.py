"""The service under load: requests a second and their times, beside infini-gram's engine behind two other servers.

A client in a process of its own asks the same questions in the same order of every server, in turn, round by round,
over loopback: counts of single texts, one subject with one object, and batches of facts; from one client, several, and
many.
All answer from the same index folder. We are asked with our settings as they are, but without the cache of answers,
which would otherwise give most of them; once it is left on, to show what it does.

CPU is that of the server's process, all threads. What the peers' servers do is said in :mod:`benchmarks.peer_servers`:
they count less (no documents; occurrences near one another), check nothing and cannot be stopped.
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
from factcensus.indexer import CountIndex, Entity

CLIENTS = (1, 8, 64)
#: Different questions of each kind; after the last one comes the first again.
QUESTIONS = 2_000
BATCH = 100
#: One run ends after so many requests, or so many seconds.
MOST_REQUESTS, SECONDS = 2_000, 2.0
OURS, FASTAPI, WERKZEUG = "ours", "the engine behind FastAPI", "the engine behind its own kind of server"
CACHED = "ours, answers kept"


@dataclass(frozen=True)
class Server:
    """A server that runs."""

    process: int
    port: int

    def cpu_s(self) -> float:
        """CPU seconds that its process has taken."""
        fields = Path(f"/proc/{self.process}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Run:
    """What one run of the client found."""

    per_second: float
    p50_ms: float
    p99_ms: float
    cpu_ms: float


def main(setting: Setting, report: Report) -> None:
    """All kinds of requests, at all numbers of clients."""
    report.title("The service under load")
    with ExitStack() as running, CountIndex.open(setting.index) as index:
        servers = {
            OURS: running.enter_context(serve_ours(setting.index, {"FACTCENSUS_CACHE_BYTES": "1"})),
            FASTAPI: running.enter_context(_serve_peer("fastapi", setting.index)),
            WERKZEUG: running.enter_context(_serve_peer("werkzeug", setting.index)),
            CACHED: running.enter_context(serve_ours(setting.index, {})),
        }
        texts = _texts(index)
        pairs = [
            (str(subject), str(object))
            for subject, object in zip(setting.facts["subject"], setting.facts["object"], strict=True)
        ][:QUESTIONS]
        _check(index, servers, texts, pairs)
        report.note(
            f"{index.info()['tokens'] / 1e6:.2f} M tokens; {len(texts):,} different texts, {len(pairs):,} pairs; runs "
            f"of up to {MOST_REQUESTS:,} requests and {SECONDS:g} s. CPU is the server's."
        )
        name = index.name
        counts = [_post(f"/v1/indexes/{name}/count", {"text": text}) for text in texts]
        _compare(report, "single counts", "request", servers, dict.fromkeys(servers, counts) | {
            WERKZEUG: [_wire(text) for text in texts],
        })  # fmt: skip
        both = [_post(f"/v1/indexes/{name}/cooccurrence", _pair(pair)) for pair in pairs]
        del servers[CACHED]
        alone = [_wire(f"{subject} AND {object}") for subject, object in pairs]
        _compare(report, "one subject with one object", "request", servers, dict.fromkeys(servers, both) | {
            WERKZEUG: alone,
        })  # fmt: skip
        batches = [
            _post(
                f"/v1/indexes/{name}/facts:count",
                {"facts": [{"subject": s, "object": o} for s, o in pairs[at:][:BATCH]]},
            )
            for at in range(0, len(pairs) - BATCH + 1, BATCH)
        ]
        _compare(report, f"batches of {BATCH} facts (the last server takes one at a time)", "fact", servers,
                 dict.fromkeys(servers, batches) | {WERKZEUG: alone}, {OURS: BATCH, FASTAPI: BATCH})  # fmt: skip


def _compare(
    report: Report,
    what: str,
    thing: str,
    servers: Mapping[str, Server],
    requests: Mapping[str, Sequence[str]],
    things: Mapping[str, int] = {},  # is only read
) -> None:
    """One kind of request, at each number of clients; a request asks for so many ``things``."""
    for clients in CLIENTS:
        for name, server in servers.items():
            _run(server, requests[name][:200], clients, 1)
        runs: dict[str, list[Run]] = {name: [] for name in servers}
        for _ in range(report.rounds):
            for name, server in servers.items():
                runs[name].append(_run(server, requests[name], clients, things.get(name, 1)))
        rows = []
        for name, found in runs.items():
            ratios = [our.per_second / their.per_second for our, their in zip(runs[OURS], found, strict=True)]
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
                ]
            )
        report.heading(f"{what}, {clients} client{'s'[: clients != 1]}")
        report.table(
            ["", f"{thing}s a second", "p50", "p99", f"CPU a {thing}", f"ours ÷ this, {thing}s a second"], rows
        )


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
    """What :func:`benchmarks.load_client.drive` finds, in a process of its own."""
    asked = {"port": port, "requests": list(requests), "clients": clients, "most": MOST_REQUESTS, "seconds": SECONDS}
    command = [sys.executable, "-m", "benchmarks.load_client"]
    done = subprocess.run(command, input=json.dumps(asked), stdout=subprocess.PIPE, text=True, check=True)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


@contextmanager
def serve_ours(folder: Path, settings: Mapping[str, str], *more: str | Path) -> Iterator[Server]:
    """Our service on an index, as ``factcensus serve`` starts it."""
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
    """N-grams of one to five words from random places of the corpus."""
    from benchmarks.counting import random_ngrams

    return [index.text(ngram) for ngram in random_ngrams(index)[:QUESTIONS]]


def _check(
    index: CountIndex, servers: Mapping[str, Server], texts: Sequence[str], pairs: Sequence[tuple[str, str]]
) -> None:
    """The servers give the numbers that the index gives."""
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
                assert answer["occurrences"] == wanted["occurrences"], (name, text)
        for pair in pairs[:50]:
            url = f"http://127.0.0.1:{servers[OURS].port}/v1/indexes/{index.name}/cooccurrence"
            assert client.post(url, json=_pair(pair)).json() == index.cooccurrence(*map(Entity, pair)), pair


def _pair(pair: tuple[str, str]) -> dict[str, Any]:
    return {"subject": {"name": pair[0]}, "object": {"name": pair[1]}}


def _wire(query: str) -> str:
    return _post("/", {"index": "words", "query_type": "count", "query": query})


def _post(path: str, body: dict[str, Any]) -> str:
    """A whole request, one character a byte."""
    content = json.dumps(body)
    return (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"Accept: */*\r\nContent-Length: {len(content)}\r\n\r\n{content}"
    )
