"""The client retries requests to a busy or unavailable service, a limited number of times and with pauses."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from pathlib import Path
from types import SimpleNamespace

import httpx
import pyarrow as pa
import pytest
from hostile_tables import arrow_of
from loopback import serving
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from factcensus.api.app import create_app
from factcensus.api.client import Client
from factcensus.api.client.replies import LONGEST_PAUSE_S, pause_s
from factcensus.api.errors import NotReadyError, RejectedError, ServerFailureError
from factcensus.api.settings import Settings
from factcensus.indexer import CountIndex, facts_from_rows
from servers import reserved_port


class Moody:
    """The service with other responses to the first requests; it counts the requests."""

    def __init__(self, service: ASGIApp, answers: list[Response]) -> None:
        self.service = service
        self.answers = answers
        self.requests = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            self.requests += 1
            if self.answers:
                await self.answers.pop(0)(scope, receive, send)
                return
        await self.service(scope, receive, send)


@contextmanager
def moody(index_folder: Path, *answers: Response) -> Iterator[tuple[Moody, Client]]:
    application = Moody(create_app(Settings(indexes=(index_folder,))), list(answers))
    with serving(application) as url, Client(url, attempts=3) as client:
        yield application, client


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Record the pauses of the client instead of sleeping."""
    made: list[float] = []
    monkeypatch.setattr("tenacity.nap.time", SimpleNamespace(sleep=made.append))
    return made


def busy(status: int, **headers: str) -> Response:
    return PlainTextResponse("busy", status, {name.replace("_", "-"): value for name, value in headers.items()})


def test_a_busy_service_is_retried_with_increasing_pauses(
    index_folder: Path, index: CountIndex, pauses: list[float]
) -> None:
    with moody(index_folder, busy(503), busy(429)) as (application, client):
        assert client.count("tiny", "Paris") == index.count("Paris")
    assert application.requests == 3
    assert pauses == [0.2, 0.4]


def test_the_client_obeys_retry_after(index_folder: Path, pauses: list[float]) -> None:
    with moody(index_folder, busy(429, Retry_After="7"), busy(503, Retry_After="0")) as (_, client):
        client.count("tiny", "Paris")
    assert pauses == [7, 0.4]


def test_the_client_stops_retrying_a_busy_service(index_folder: Path, pauses: list[float]) -> None:
    with moody(index_folder, *[busy(503)] * 9) as (application, client), pytest.raises(NotReadyError, match="503"):
        client.count("tiny", "Paris")
    assert application.requests == 3
    assert len(pauses) == 2


@pytest.mark.parametrize(
    ("status", "error"), [(500, ServerFailureError), (502, ServerFailureError), (404, RejectedError)]
)
def test_other_errors_are_not_retried(
    index_folder: Path, pauses: list[float], status: int, error: type[Exception]
) -> None:
    with moody(index_folder, busy(status)) as (application, client), pytest.raises(error):
        client.count("tiny", "Paris")
    assert (application.requests, pauses) == (1, [])


def test_a_server_of_another_kind_is_recognised(index_folder: Path) -> None:
    with (
        moody(index_folder, PlainTextResponse("<h1>It works!</h1>")) as (_, client),
        pytest.raises(ServerFailureError, match="is it the URL of a factcensus service"),
    ):
        client.indexes()


def test_a_retry_between_two_batches_loses_no_fact(
    index_folder: Path, index: CountIndex, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("factcensus.api.client.tables.BATCH_FACTS", 2)
    facts = facts_from_rows({"subject": "Curie", "object": name} for name in ("Paris", "Warsaw", "France", "Poland"))
    with moody(index_folder) as (application, client):

        def interrupt(done: int, total: int) -> None:
            application.answers.extend([busy(503)] if done < total else [])

        counts = client.count_facts("tiny", facts, progress=interrupt)
    assert counts.equals(index.count_facts(facts))
    assert pauses == [0.2]


def test_a_broken_connection_is_reopened(index_folder: Path, index: CountIndex) -> None:
    """The service restarts on the same port between two requests, so the old connection is dead."""
    with reserved_port() as port, Client(f"http://127.0.0.1:{port}") as client:
        for _ in range(2):
            with serving(Settings(indexes=(index_folder,)), port=port):
                assert client.count("tiny", "Paris") == index.count("Paris")


@pytest.mark.parametrize(
    ("value", "low", "high"),
    [
        ("3", 3, 3),
        (formatdate(4e9, usegmt=True), LONGEST_PAUSE_S, LONGEST_PAUSE_S),
        (formatdate(0, usegmt=True), 0, 0),
        ("99999", LONGEST_PAUSE_S, LONGEST_PAUSE_S),
        ("soon", 0, 0),
        ("", 0, 0),
        ("-5", 0, 0),
    ],
)
def test_retry_after_is_a_number_or_a_date(value: str, low: float, high: float) -> None:
    assert low <= pause_s(httpx.Response(503, headers={"Retry-After": value})) <= high


def test_retry_after_counts_from_now() -> None:
    now = time.time()
    pause = pause_s(httpx.Response(503, headers={"Retry-After": formatdate(now + 30, usegmt=True)}))
    assert 29 - (time.time() - now) < pause <= 30, "the date has no fractions of a second"


def test_a_result_with_unexpected_types_is_not_read(index_folder: Path) -> None:
    """Damaged dictionaries can crash the process that reads them."""
    table = pa.table({"subject": pa.array(["Curie"]).dictionary_encode()})
    answers = [Response(body) for body in (arrow_of(table), arrow_of(pa.table({"subject": ["a"]}))[:-60])]
    with moody(index_folder, *answers) as (_, client):
        for _ in range(2):
            with pytest.raises(ServerFailureError, match="is not an Arrow stream"):
                client.job("a").result()


def test_a_deeply_nested_json_response_is_a_server_failure(index_folder: Path) -> None:
    with moody(index_folder, Response(b"[" * 10**5)) as (_, client), pytest.raises(ServerFailureError):
        client.indexes()
