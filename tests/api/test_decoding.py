"""Decoding in separate processes: a hostile body affects one request, and costs little memory and time."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import threading
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pytest
from hostile_tables import bodies, mutants, seeds
from loopback import serving, until
from test_serve_command import started

from factcensus.api.client import Client
from factcensus.api.decoding import wire
from factcensus.api.decoding.bounds import Bounds, Ending
from factcensus.api.decoding.decoders import Decoders
from factcensus.api.decoding.rows import moved
from factcensus.api.decoding.starting import PROCESS
from factcensus.api.decoding.types import WireError, schema_of_json, schema_to_json
from factcensus.api.formats import FILE_ENDINGS
from factcensus.api.http.metrics import Metrics
from factcensus.api.http.problems import Problem
from factcensus.api.settings import Limits, Settings
from factcensus.indexer import Deadline
from factcensus.indexer.errors import DeadlineError
from factcensus.indexer.numbers import also_rows
from factcensus.indexer.tables.facts import check_facts

MIB = 2**20
BOUNDS = Bounds(10**6, 64 * MIB, "FACTCENSUS_MAX_JOB_BODY_BYTES", json_bytes=64 * MIB, seconds=60)
ROUTE = "/v1/indexes/tiny/facts:count"
SHARED = Path(__file__).resolve().parents[3] / "shared" / "cases" / "hostile"
linux = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads processes from /proc (Linux)")


@pytest.fixture(scope="module")
def decoders() -> Decoders:
    return Decoders(2, Metrics())


def decode(decoders: Decoders, ending: Ending, body: bytes, seconds: float = 60) -> pa.Table | Problem:
    """Return the table in a body, or the problem."""
    try:
        with Deadline(seconds) as deadline, decoders.decoded(body, ending, BOUNDS, deadline) as decoded:
            return decoded.table()
    except Problem as problem:
        return problem


# --- forks ------------------------------------------------------------------------------------------------------------


def test_every_column_type_is_converted_to_a_plain_type(decoders: Decoders) -> None:
    for ending, body in seeds():
        table = decode(decoders, ending, body)
        assert isinstance(table, pa.Table), (ending, table)
        schema_to_json(table.schema)  # raises if a type is not plain
        if ending == "arrow":
            assert table.to_pylist() == check_facts(pa.ipc.open_stream(body).read_all()).to_pylist()


@pytest.mark.parametrize("number", [500, pytest.param(20_000, marks=pytest.mark.full)])
def test_mutated_bodies_fail_cleanly(decoders: Decoders, number: int) -> None:
    process = PROCESS.start()
    tables = refused = 0
    for ending, body in mutants(number):
        found = decode(decoders, ending, body)
        if isinstance(found, Problem):
            assert 400 <= found.status_code < 500, (ending, body, found.detail)
            refused += 1
        else:
            found.validate(full=True)
            tables += 1
    assert PROCESS.start() == process
    assert tables > number // 20
    assert refused > number // 4


def test_a_crashed_fork_affects_one_body_only(decoders: Decoders) -> None:
    """Such bodies crash a process that decodes them, because Arrow does not check indices before reading values."""
    good = decode(decoders, "csv", b"subject,object\nCurie,Warsaw\n")
    for path in sorted(SHARED.glob("segv*.arrow")):
        assert isinstance(decode(decoders, "arrow", path.read_bytes()), Problem), path
    assert good == decode(decoders, "csv", b"subject,object\nCurie,Warsaw\n")


@linux
def test_decoding_ends_at_the_timeout_and_on_cancellation(decoders: Decoders) -> None:
    body = b"subject,object\n" + b"Marie Curie,Warsaw\n" * 900_000
    with pytest.raises(DeadlineError):
        decode(decoders, "csv", body, seconds=0.3)
    with Deadline(60) as deadline, pytest.raises(DeadlineError):  # noqa: PT012  # the timer belongs to it
        threading.Timer(0.3, deadline.cancel).start()
        with decoders.decoded(body, "csv", BOUNDS, deadline):
            raise AssertionError("it came")
    until(lambda: not children_of(PROCESS.start()))
    assert isinstance(decode(decoders, "csv", b"subject,object\nCurie,Warsaw\n"), pa.Table)


def test_a_killed_decoding_process_is_restarted(decoders: Decoders) -> None:
    process = PROCESS.start()
    os.kill(process, signal.SIGKILL)
    assert isinstance(decode(decoders, "csv", b"subject,object\nCurie,Warsaw\n"), pa.Table)
    assert PROCESS.start() != process


@pytest.mark.parametrize("what", [b"", b"\x00", b"\x01\xff\xff\xff\xff", b"\x02\x02\x00\x00\x00[]"])
def test_invalid_output_of_a_fork_is_refused(what: bytes) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(what)
        theirs.shutdown(socket.SHUT_WR)
        with pytest.raises((EOFError, WireError)):  # noqa: PT012  # whichever of the two sees it
            _, content = wire.receive(ours, 100, lambda: None)
            wire.unpack_piece(content, pa.schema([("subject", pa.string())]))


def test_a_piece_with_changed_bytes_is_refused_or_valid() -> None:
    table = pa.table(
        {
            "s": ["a", None, "bcd"],
            "n": [1, 2, None],
            "l": [["x"], None, []],
            "o": [{"a": 1}, None, {"a": 2}],
            "m": pa.array([[("k", 1)], None, []], pa.map_(pa.string(), pa.int8())),
        }
    )
    (batch,) = table.to_batches()
    schema = schema_of_json(schema_to_json(table.schema))
    good = b"".join(wire.pack_piece(batch))
    assert wire.unpack_piece(bytearray(good), schema).to_pylist() == table.to_pylist()
    for place in range(len(good)):
        for changed in (0, 1, 0x7F, 0x80, 0xFF):
            damaged = bytearray(good)
            damaged[place] ^= changed
            try:
                wire.unpack_piece(damaged, schema).to_pylist()
            except WireError:
                continue


# --- a whole service --------------------------------------------------------------------------------------------------


class Watched:
    """A service in a process, with the memory of it and its forks."""

    def __init__(self, process: int, client: httpx.Client) -> None:
        self.process, self.client = process, client
        (self.decoder,) = children_of(process)
        #: Bytes that a fork shares with its parent.
        self.shared = bytes_of(self.decoder, "RssAnon")
        #: CPU seconds by process; the system does not keep those of forks that ended.
        self._cpu_s: dict[int, float] = {}
        self._over = threading.Event()
        self.peak = 0

    def memory(self) -> int:
        """Return the bytes of the service and the private bytes of its forks."""
        forks = children_of(self.decoder)
        return bytes_of(self.process, "VmRSS") + sum(max(0, bytes_of(fork, "RssAnon") - self.shared) for fork in forks)

    def ask(self, ending: Ending, body: bytes, *, page: bool) -> tuple[httpx.Response, float, int]:
        """Return a response, its CPU seconds, and the maximum growth of memory in bytes."""
        idle, self.peak = self.memory(), 0
        before = self.cpu_s()
        self._over.clear()
        watcher = threading.Thread(target=self._watch)
        watcher.start()
        try:
            if page:
                files = {"facts": (f"facts.{ending}", body)}
                form: dict[str, Any] = {"data": {"index": "tiny", "windows": ""}, "files": files}
                answer = self.client.post("/tables", **form, headers={"Origin": str(self.client.base_url)})
            else:
                answer = self.client.post(ROUTE, content=body, headers={"Content-Type": FILE_ENDINGS[ending]})
        finally:
            self._over.set()
            watcher.join()
        return answer, self.cpu_s() - before, self.peak - idle

    def cpu_s(self) -> float:
        """Return the CPU seconds of the service, the decoder and its forks until they were last seen."""
        for process in (self.process, self.decoder, *children_of(self.decoder)):
            with contextlib.suppress(OSError):  # a fork that has just ended
                self._cpu_s[process] = cpu_s_of(process)
        return sum(self._cpu_s.values())

    def _watch(self) -> None:
        while not self._over.wait(0.002):
            self.peak = max(self.peak, self.memory())
            self.cpu_s()


def children_of(process: int) -> list[int]:
    found: list[int] = []
    for thread in Path(f"/proc/{process}/task").glob("*/children"):  # each thread has a separate list
        with contextlib.suppress(OSError):  # it has just ended
            found += map(int, thread.read_text().split())
    return found


def cpu_s_of(process: int) -> float:
    """Return the CPU seconds of a process."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


def bytes_of(process: int, what: str) -> int:
    """Return a value of /proc for a process, or 0 if it has ended."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(what)), 0)


def cases() -> dict[str, tuple[Ending, bytes]]:
    endings: dict[str, Ending] = {".arrow": "arrow", ".parquet": "parquet", ".ndjson": "jsonl"}
    return bodies() | {path.name: (endings[path.suffix], path.read_bytes()) for path in sorted(SHARED.glob("*.*"))}


@linux
def test_small_hostile_bodies_cost_little_memory_and_cpu_time(index_folder: Path) -> None:
    """Print the peaks in MiB and the milliseconds of CPU time of all cases (``pytest -s``) for docs/security.md."""
    with started(index_folder, "--port", "0") as (process, url), httpx.Client(base_url=url, timeout=60) as client:
        with Client(url) as ready:
            ready.wait_ready(300)
        good = {"content": b"subject,object\nCurie,Warsaw\n", "headers": {"Content-Type": "text/csv"}}
        expected = client.post(ROUTE, **good).content  # type: ignore[arg-type]  # of httpx's many types
        watched = Watched(process.pid, client)
        for name, (ending, body) in cases().items():
            for page in (False, True):
                answer, seconds, grown = watched.ask(ending, body, page=page)
                print(f"{name:45} {len(body):9} {answer.status_code} {seconds * 1000:6.0f} ms {grown / MIB:6.1f} MiB")
                assert answer.status_code in (400, 422), (name, answer.text[:500])
                assert seconds < 1, name
                assert grown < 200 * 10**6, name
        assert process.poll() is None
        assert client.post(ROUTE, **good).content == expected  # type: ignore[arg-type]
        assert until(lambda: not children_of(watched.decoder))


@linux
def test_no_process_outlives_a_killed_service(index_folder: Path) -> None:
    with started(index_folder, "--port", "0") as (process, url), httpx.Client(base_url=url, timeout=60) as client:
        with Client(url) as ready:
            ready.wait_ready(300)
        (decoder,) = children_of(process.pid)
        body = b"subject,object\n" + b"Marie Curie,Warsaw\n" * 900_000

        def send() -> None:
            with pytest.raises(httpx.TransportError):
                client.post(ROUTE, content=body, headers={"Content-Type": "text/csv"})

        sender = threading.Thread(target=send)
        sender.start()
        (fork,) = until(lambda: children_of(decoder))
        os.kill(fork, signal.SIGSTOP)  # so that it cannot finish first
        process.kill()
        os.kill(fork, signal.SIGCONT)
        sender.join()
        for ended in (fork, decoder):
            assert until(lambda ended=ended: not Path(f"/proc/{ended}").exists())


def test_reading_a_body_counts_against_the_timeout(index_folder: Path) -> None:
    body = b"subject,object\n" + b"Marie Curie,Warsaw\n" * 900_000
    limits = Limits(deadline_seconds=1)
    with serving(Settings(indexes=(index_folder,), limits=limits)) as url:
        answer = httpx.post(url + ROUTE, content=body, headers={"Content-Type": "text/csv"}, timeout=60)
        files = {"facts": ("facts.csv", body)}
        form: dict[str, Any] = {"data": {"index": "tiny", "windows": ""}, "files": files}
        on_page = httpx.post(f"{url}/tables", **form, headers={"Origin": url}, timeout=60)
    assert (answer.status_code, answer.json()["type"]) == (504, "urn:factcensus:problem:deadline-exceeded")
    assert on_page.status_code == 504


@linux
def test_long_column_names_repeated_in_every_row_use_little_memory(index_folder: Path) -> None:
    """A body of 1 MB has 1,000 rows, one with 990 long column names; the response has 1 GB, and 100 MB are read."""
    row: dict[str, Any] = {"subject": "Curie", "object": "Warsaw"}
    wide = row | {f"{n:03}{'x' * 900}": None for n in range(990)}
    body = b"".join(json.dumps(each).encode() + b"\n" for each in (wide, *[row] * 999))
    with started(index_folder, "--port", "0") as (process, url), httpx.Client(base_url=url, timeout=60) as client:
        with Client(url) as ready:
            ready.wait_ready(300)
        idle, peak, read = bytes_of(process.pid, "VmRSS"), 0, 0
        headers = {"Content-Type": "application/x-ndjson", "Accept-Encoding": "identity"}
        with client.stream("POST", ROUTE, content=body, headers=headers) as answer:
            assert answer.status_code == 200
            for chunk in answer.iter_raw():
                read, peak = read + len(chunk), max(peak, bytes_of(process.pid, "VmRSS"))
                if read > 10**8:
                    break
        assert read > 10**8
        assert peak - idle < 200 * 10**6


def test_all_row_numbers_of_a_message_are_those_of_the_whole_table() -> None:
    message = f"row 3 of the fact table: the object is empty{also_rows([4, 7, 8, 9, 10, 11])}; 2 rows"
    assert moved(message, 1000) == (
        "row 1003 of the fact table: the object is empty (also in rows 1004, 1007, 1008, 1009, 1010 and 1 more); 2 rows"
    )
    assert moved(f"row 1, object: 'row 2'{also_rows([5])}", 10) == "row 11, object: 'row 2' (also in row 15)"
