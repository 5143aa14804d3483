"""Mutated HTTP on raw connections: the service responds or closes, without internal errors, and keeps running."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from loopback import serving

from factcensus.api.settings import Limits, Settings

PIECES = [
    b"GET ",
    b"POST ",
    b"HEAD ",
    b"BREW ",
    b"/",
    b"/healthz",
    b"/v1/indexes/tiny/count",
    b"?text=Paris",
    b"?text=%FF&text=",
    b" HTTP/1.1\r\n",
    b" HTTP/1.0\r\n",
    b" HTTP/9.9\r\n",
    b"Host: localhost\r\n",
    b"Host: \r\n",
    b"Host: a\r\nHost: b\r\n",
    b"Content-Length: 17\r\n",
    b"Content-Length: -1\r\n",
    b"Content-Length: 99999999999999999999\r\n",
    b"Content-Length: 5\r\nContent-Length: 6\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: gzip, chunked\r\n",
    b"Content-Encoding: gzip\r\n",
    b"Content-Type: application/json\r\n",
    b"Content-Type: text/csv; charset=\xff\r\n",
    b"Expect: 100-continue\r\n",
    b"Connection: upgrade\r\nUpgrade: websocket\r\n",
    b"Range: bytes=0-\r\n",
    b"\r\n",
    b'{"text": "Paris"}',
    b'5\r\n{"tex\r\n0\r\n\r\n',
    b"zz\r\n",
    b"\x1f\x8b\x08\x00",
    b"\x00",
    b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\r",
    b"\n",
    b"X: " + b"y" * 5000 + b"\r\n",
    b": novalue\r\n",
    b" folded\r\n",
    b"Accept: */*;q=x\r\n",
    b"If-None-Match: *\r\n",
]
WHOLE = (
    b"POST /v1/indexes/tiny/count HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    b'Content-Length: 17\r\n\r\n{"text": "Paris"}'
)
FEW, MANY = 300, 20_000


@pytest.fixture(scope="module")
def served(index_folder: Path) -> Iterator[str]:
    limits = Limits(header_seconds=1, body_seconds=1, deadline_seconds=1)
    with serving(Settings(indexes=(index_folder,), limits=limits)) as url:
        yield url


def mutant(random_: random.Random) -> bytes:
    """Return a request of parts in any order, or a valid one with bytes changed, removed or repeated."""
    if random_.random() < 0.5:
        return b"".join(random_.choice(PIECES) for _ in range(random_.randint(1, 12)))
    sent = bytearray(WHOLE * random_.randint(1, 3))
    for _ in range(random_.randint(1, 6)):
        place = random_.randrange(len(sent))
        match random_.randrange(4):
            case 0:
                sent[place] = random_.randrange(256)
            case 1:
                del sent[place : place + random_.randint(1, 20)]
            case 2:
                sent[place:place] = random_.choice(PIECES)
            case _:
                sent[place:place] = sent[place : place + 30]
        if not sent:
            break
    return bytes(sent)


def attack(url: str, number: int, seed: int) -> None:
    """Send mutated requests on separate connections, and close each after reading part of the response."""
    random_ = random.Random(seed)  # not for security
    host, port = url.removeprefix("http://").split(":")
    for _ in range(number):
        sent = mutant(random_)
        with socket.create_connection((host, int(port)), timeout=10) as connection, suppress(ConnectionError):
            connection.sendall(sent)
            if random_.random() < 0.7:
                connection.shutdown(socket.SHUT_WR)
            connection.settimeout(0.05)
            with suppress(TimeoutError):
                answer = connection.recv(65_536)
                assert not answer.startswith(b"HTTP/1.1 5"), (sent, answer[:300])
                assert b"Traceback" not in answer


def survived(url: str) -> None:
    answer = httpx.post(f"{url}/v1/indexes/tiny/count", json={"text": "Paris"}, timeout=30)
    assert answer.json()["documents"] == 3
    lines = httpx.get(f"{url}/metrics", timeout=30).text.splitlines()
    assert not [line for line in lines if line.startswith("factcensus_http_requests_total") and 'status="500"' in line]


def test_mutated_requests_do_not_affect_others(served: str) -> None:
    attack(served, FEW, 11)
    survived(served)


@pytest.mark.full
def test_many_mutated_requests_do_not_affect_others(served: str) -> None:
    """Eight clients attack at the same time, because most of the time of a client is waiting."""
    with ThreadPoolExecutor(8) as clients:
        for attacked in [clients.submit(attack, served, MANY // 8, seed) for seed in range(12, 20)]:
            attacked.result()
    survived(served)
