"""The service under mixed load for minutes; every answer is compared with a number counted beforehand.

Threads request counts, co-occurrences and tables in all formats, submit jobs that count tables, read streams slowly,
disconnect during requests and answers, send hostile bodies and hold idle connections. Meanwhile an index is repeatedly
replaced under the same name, alternately by SIGHUP and through the API, and documents are deleted one by one from a
second index. An answer names what it counted (the digest, or the number of documents), so it can be checked while the
index changes. The final report has the answers, the wrong ones, the statuses from 500 on, and the memory of the service
and its decoders over time.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from io import BytesIO
from itertools import cycle
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.corpora import Setting, write_shards
from benchmarks.measure import Report
from benchmarks.service_attacks import ARROW, PARQUET, hold_idle, hostile_bodies, mutants, takedown_corpus
from benchmarks.service_load import serve_ours
from factcensus.indexer import CountIndex, Entity, build_index, delete_documents

#: Number of texts and pairs with known counts.
KNOWN = 300
TABLE_ROWS = 3_000
#: Documents that are there to be deleted, seconds between two takedowns, and those until no answer counts the document.
TAKEDOWNS, PAUSE_S, PATIENCE_S = 1_000, 3.0, 10.0
BODIES = hostile_bodies()


@dataclass
class Known:
    """One version of the index, with its answers."""

    folder: Path
    counts: dict[str, dict[str, Any]]
    pairs: dict[tuple[str, str], dict[str, Any]]
    table: list[dict[str, Any]]


@dataclass
class Tally:
    """The results of the requests of all threads."""

    answers: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    takedown_s: list[float] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, kind: str, right: bool, what: str = "") -> None:
        """Add one answer that was compared."""
        with self.lock:
            self.answers[kind] += 1
            if not right:
                self.wrong.append(f"{kind}: {what[:1000]}")

    def failed(self, kind: str) -> None:
        """Add a status from 500 on, or a missing answer."""
        with self.lock:
            self.failures[kind] += 1


def main(setting: Setting, report: Report, minutes: float = 0.5) -> None:
    """Run the load for the given number of minutes."""
    report.title("The service under mixed load")
    place = setting.folder / "soak"
    place.mkdir()
    versions = _versions(setting, place)
    served = place / "served"
    served.mkdir()
    (served / "words").symlink_to(versions[0].folder)
    tally, over = Tally(), threading.Event()
    settings = {
        "FACTCENSUS_JOBS_FOLDER": str(place / "jobs"),
        "FACTCENSUS_LOG_LEVEL": "warning",
        "FACTCENSUS_CACHE_BYTES": "100000",
        "FACTCENSUS_JOB_RETENTION_HOURS": "1",
    }
    (place / "taken.jsonl").write_bytes(takedown_corpus(TAKEDOWNS))
    build_index([place / "taken.jsonl"], place / "taken", jobs=1)
    with serve_ours(served / "words", settings, place / "taken") as server:
        workers: list[Callable[..., None]] = [
            _single,
            _single,
            _tables,
            _tables,
            _jobs,
            _slow,
            _killed,
            _hostile,
            _mutant,
            _idle,
            _healthy,
        ]
        asker = _Asker(server.port, versions, tally)
        threads = [threading.Thread(target=_until, args=(over, tally, work, asker)) for work in workers]
        threads.append(threading.Thread(target=_reloads, args=(over, server, versions, served, asker)))
        threads.append(threading.Thread(target=_takedowns, args=(over, place / "taken", asker)))
        memory: list[tuple[float, float, float]] = []
        started = time.monotonic()
        for thread in threads:
            thread.start()
        try:
            while (passed := time.monotonic() - started) < 60 * minutes:
                memory.append((passed, *_resident_mib(server.process)))
                time.sleep(min(5.0, 6 * minutes))
        finally:
            over.set()
            for thread in threads:
                thread.join()
        time.sleep(1)
        memory.append((time.monotonic() - started, *_resident_mib(server.process)))
        right = [asker.count(index) for index in range(20)]
    _tell(report, tally, memory, all(right))


def _versions(setting: Setting, place: Path) -> list[Known]:
    """Return the corpus, and the corpus without every third document, each with its answers."""
    chance = random.Random(0)
    with CountIndex.open(setting.index) as whole:
        texts = [whole.text(shard.tokens(*_span(shard, chance)).tolist()) for shard in [*whole.shards] * KNOWN][:KNOWN]
    subjects, objects = (setting.facts[name].to_pylist() for name in ("subject", "object"))
    names = list(dict.fromkeys(zip(subjects, objects, strict=True)))[:KNOWN]
    rows = [
        {"subject": subject, "object": object, "n": n}
        for n, (subject, object) in zip(range(TABLE_ROWS), cycle(names), strict=False)
    ]
    found = []
    for number, kept in enumerate((setting.texts, [text for n, text in enumerate(setting.texts) if n % 3])):
        build_index([write_shards(place / f"corpus{number}", kept)], place / f"version{number}" / "words", jobs=1)
        with CountIndex.open(place / f"version{number}" / "words") as index:
            found.append(
                Known(
                    index.folder,
                    {text: index.count(text).as_json() for text in texts},
                    {pair: index.cooccurrence(*map(Entity, pair), window=5).as_json() for pair in names},
                    index.count_facts(pa.Table.from_pylist(rows), windows=[5]).to_pylist(),
                )
            )
    return found


def _span(shard: Any, chance: random.Random) -> tuple[int, int]:
    begin, end = shard.document_span(chance.randrange(shard.documents))
    at = chance.randrange(begin, max(begin + 1, end))
    return at, min(end, at + chance.randrange(1, 4))


class _Asker:
    """A client that asks and compares; thread-safe, one connection per request."""

    def __init__(self, port: int, versions: Sequence[Known], tally: Tally) -> None:
        self.port, self.versions, self.tally = port, versions, tally
        self.texts, self.names = list(versions[0].counts), list(versions[0].pairs)

    def ask(self, path: str, body: bytes, kind: str = "application/json", **headers: str) -> tuple[int, bytes]:
        """Return status and body of an answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        try:
            connection.request("POST" if body else "GET", path, body or None, {"Content-Type": kind, **headers})
            answer = connection.getresponse()
            status, content = answer.status, answer.read()
        finally:
            connection.close()
        if status >= 500:
            self.tally.failed(f"{status} {content[:120].decode(errors='replace')}")
        return status, content

    def count(self, number: int) -> bool:
        """Count a text."""
        text = self.texts[number % len(self.texts)]
        status, content = self.ask("/v1/indexes/words/count", json.dumps({"text": text}).encode())
        right = status == 200 and json.loads(content) in [known.counts[text] for known in self.versions]
        self.tally.add("counts", right, f"{text!r} {content.decode(errors='replace')}")
        return right


def _until(over: threading.Event, tally: Tally, work: Callable[..., None], asker: _Asker) -> None:
    chance = random.Random(work.__name__ + threading.current_thread().name)
    while not over.is_set():
        try:
            work(asker, chance)
        except (OSError, http.client.HTTPException) as error:
            tally.failed(f"{work.__name__}: {type(error).__name__} {error}"[:120])
            time.sleep(0.1)


def _single(asker: _Asker, chance: random.Random) -> None:
    asker.count(chance.randrange(10**6))
    pair = chance.choice(asker.names)
    body = {"subject": {"name": pair[0]}, "object": {"name": pair[1]}, "window": 5}
    status, content = asker.ask("/v1/indexes/words/cooccurrence", json.dumps(body).encode())
    right = status == 200 and json.loads(content) in [known.pairs[pair] for known in asker.versions]
    asker.tally.add("pairs", right, f"{pair} {content.decode(errors='replace')}")


def _table(asker: _Asker, chance: random.Random, most: int = TABLE_ROWS) -> tuple[int, int, bytes]:
    """Return the rows of a range as an Arrow stream."""
    start = chance.randrange(most - 1)
    end = min(TABLE_ROWS, start + chance.choice((1, 50, 1500, most)))
    rows = [{name: row[name] for name in ("subject", "object", "n")} for row in asker.versions[0].table[start:end]]
    return start, end, _arrow(pa.Table.from_pylist(rows))


def _arrow(table: pa.Table) -> bytes:
    sink = BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    return sink.getvalue()


def _compare(asker: _Asker, kind: str, content: bytes, media_type: str, start: int, end: int) -> None:
    if media_type == ARROW:
        rows = pa.ipc.open_stream(content).read_all().to_pylist()
    elif media_type == PARQUET:
        rows = pq.read_table(BytesIO(content)).to_pylist()
    else:
        rows = [json.loads(line) for line in content.splitlines()]
    right = rows in [known.table[start:end] for known in asker.versions]
    asker.tally.add(kind, right, f"rows {start} to {end}, {len(rows)} came, the first is {rows[:1]}")


def _tables(asker: _Asker, chance: random.Random) -> None:
    start, end, body = _table(asker, chance)
    media_type = chance.choice((ARROW, PARQUET, "application/x-ndjson"))
    status, content = asker.ask("/v1/indexes/words/facts:count?windows=5", body, ARROW, Accept=media_type)
    if status == 200:
        _compare(asker, "tables", content, media_type, start, end)
    elif status < 500:
        asker.tally.add("tables", False, f"{status} {content[:200]!r}")


def _jobs(asker: _Asker, chance: random.Random) -> None:
    """Submit jobs; each counts with the index at its submission, or fails and reports that it was replaced."""
    start, end, body = _table(asker, chance)
    status, content = asker.ask("/v1/indexes/words/facts:count?windows=5", body, ARROW, Prefer="respond-async")
    if status != 202:
        if status < 500:
            asker.tally.add("jobs", False, f"{status} {content[:200]!r}")
        return
    url = json.loads(content)["status_url"]
    if chance.random() > 0.1:  # otherwise it is cancelled before it is done
        while (job := json.loads(asker.ask(url, b"")[1]))["state"] in ("queued", "running"):
            time.sleep(0.05)
        if job["state"] == "done":
            status, content = asker.ask(job["result_url"], b"", Accept=ARROW)
            if status == 200:
                _compare(asker, "jobs", content, ARROW, start, end)
            else:  # 410: the index was replaced after the table was counted
                asker.tally.add("jobs whose index was replaced", status == 410, f"{status} {content[:200]!r}")
        else:
            said = job["state"] == "outdated" or "replaced" in str(job["error"])
            asker.tally.add("jobs whose index was replaced", said, str(job))
    connection = http.client.HTTPConnection("127.0.0.1", asker.port, timeout=120)
    connection.request("DELETE", url)
    connection.getresponse().read()
    connection.close()


def _slow(asker: _Asker, chance: random.Random) -> None:
    """Read a stream in small pieces."""
    start, end, body = _table(asker, chance)
    head = (
        "POST /v1/indexes/words/facts:count?windows=5 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
        f"Content-Type: {ARROW}\r\nAccept: application/x-ndjson\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", asker.port), timeout=120) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(head.encode() + body)
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        content = bytearray()
        while bite := answer.read(8192):
            content += bite
            time.sleep(0.005)
    if answer.status == 200:
        _compare(asker, "slow readers", bytes(content), "application/x-ndjson", start, end)
    elif answer.status >= 500:
        asker.tally.failed(f"{answer.status} to a slow reader")


def _killed(asker: _Asker, chance: random.Random) -> None:
    """Disconnect in the middle of the request, right after it, or in the middle of the answer."""
    _, _, body = _table(asker, chance)
    head = (
        "POST /v1/indexes/words/facts:count HTTP/1.1\r\nHost: a\r\n"
        f"Content-Type: {ARROW}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", asker.port), timeout=120) as connection:
        how = chance.randrange(3)
        connection.sendall(head.encode() + (body[: len(body) // 2] if how == 0 else body))
        if how == 2:
            connection.recv(1000)
        elif chance.random() < 0.5:  # reset, not closed
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    asker.tally.add("clients that went", True)


def _hostile(asker: _Asker, chance: random.Random) -> None:
    route, kind, body = chance.choice(BODIES)
    status, content = asker.ask(f"/v1/indexes/words{route}", body, kind)
    asker.tally.add("hostile bodies", 400 <= status < 500, f"{route} {kind} {status} {content[:200]!r}")
    time.sleep(0.01)


def _mutant(asker: _Asker, chance: random.Random) -> None:
    kind, body = next(mutants(chance))
    status, content = asker.ask("/v1/indexes/words/facts:count", body, kind)
    asker.tally.add("tables with changed bytes", status in (200, 400, 406, 422), f"{kind} {status} {content[:200]!r}")
    time.sleep(0.01)


def _idle(asker: _Asker, chance: random.Random) -> None:
    opened, closed = hold_idle(asker.port, chance)
    for number in range(opened):
        asker.tally.add("idle connections, closed by the service", number < closed, "one was still open")


def _healthy(asker: _Asker, _: random.Random) -> None:
    started = time.monotonic()
    status, _content = asker.ask("/healthz", b"")
    took = time.monotonic() - started
    asker.tally.add("health checks", status == 200 and took < PATIENCE_S, f"{status} after {took:.1f} s")
    time.sleep(0.5)


def _takedowns(over: threading.Event, folder: Path, asker: _Asker) -> None:
    """Delete a document every few seconds; answers count it, and then never again."""
    for number in range(TAKEDOWNS):
        if over.wait(PAUSE_S):
            return
        if _count_taken(asker, number) != 1:
            asker.tally.add("takedowns", False, f"document {number} was not there before")
        delete_documents(folder, ids=[f"d{number}"])
        started = time.monotonic()
        while (count := _count_taken(asker, number)) and time.monotonic() - started < PATIENCE_S:
            time.sleep(0.02)
        asker.tally.takedown_s.append(time.monotonic() - started)
        again = _count_taken(asker, number)
        asker.tally.add("takedowns", count == again == 0, f"document {number} is still counted")


def _count_taken(asker: _Asker, number: int) -> int:
    content = asker.ask("/v1/indexes/taken/count", json.dumps({"text": f"taken{number}"}).encode())[1]
    return int(json.loads(content)["documents"])


def _reloads(over: threading.Event, server: Any, versions: Sequence[Known], served: Path, asker: _Asker) -> None:
    """Switch to the other version every few seconds by replacing a link."""
    turn = 0
    while not over.wait(3.0):
        turn += 1
        fresh = served / f".link{turn}"
        fresh.symlink_to(versions[turn % len(versions)].folder)
        os.replace(fresh, served / "words")
        if turn % 2:
            os.kill(server.process, signal.SIGHUP)
        else:
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)
            connection.request("POST", "/v1/admin/reload")
            answer = connection.getresponse()
            asker.tally.add("reloads by the route", answer.status == 200, answer.read().decode())
            connection.close()


def _resident_mib(process: int) -> tuple[float, float]:
    """Own memory of a process, and that of its children: not the mapped files, which the kernel takes back."""
    own = _anonymous_mib(process)
    waiting, decoders = _children(process), 0.0
    while waiting:
        child = waiting.pop()
        decoders += _anonymous_mib(child)
        waiting += _children(child)
    return own, decoders


def _children(process: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{process}/task").glob("*/children"):
        with suppress(OSError):
            found += map(int, task.read_text().split())
    return found


def _anonymous_mib(process: int) -> float:
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:  # a decoder that has ended meanwhile
        return 0.0
    fields = dict(line.split(":", 1) for line in lines)
    return int(fields.get("RssAnon", "0 kB").split()[0]) / 1024


def _tell(report: Report, tally: Tally, memory: Sequence[tuple[float, float, float]], last: bool) -> None:
    rows = [[kind, f"{number:,}"] for kind, number in sorted(tally.answers.items())]
    report.heading(f"{sum(tally.answers.values()):,} answers in {memory[-1][0] / 60:.1f} minutes")
    report.table(["", "number"], rows)
    quarters = [memory[len(memory) * part // 8][1] for part in (1, 2, 4, 6)] + [memory[-2][1], memory[-1][1]]
    names = ("1/8", "1/4", "1/2", "3/4", "the end", "a second after")
    report.heading("memory of the service's process (RssAnon)")
    report.table(["at", "MiB"], [[name, f"{size:.0f}"] for name, size in zip(names, quarters, strict=True)])
    report.note(f"Its decoders together: at most {max(decoders for _, _, decoders in memory):.0f} MiB.")
    if tally.takedown_s:
        late = sorted(tally.takedown_s)
        report.note(f"Seconds until a takedown is followed: median {late[len(late) // 2]:.2f}, at most {late[-1]:.2f}.")
    report.note(f"Wrong answers: {len(tally.wrong)}. 5xx or no answer: {sum(tally.failures.values())}.")
    for line in [*tally.wrong[:10], *(f"{number} × {what}" for what, number in tally.failures.most_common(10))]:
        report.note(line)
    assert last, "the service no longer answers, or answers wrongly"
    assert not tally.wrong
