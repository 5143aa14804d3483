"""The asynchronous client has the methods, answers, retries and errors of the blocking one."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import pytest
from loopback import serving
from test_client import CURIE, WARSAW, many_facts
from test_client_retries import Moody, busy

from factcensus.api.app import create_app
from factcensus.api.client import AsyncClient, AsyncRemoteJob, Client, RemoteJob
from factcensus.api.errors import NotReadyError, RejectedError, ServiceError, UnknownIndexError, UnreachableError
from factcensus.api.settings import Settings
from factcensus.indexer import CountIndex

Answer = TypeVar("Answer")


def asked(url: str, question: Callable[[AsyncClient], Awaitable[Answer]], attempts: int = 5) -> Answer:
    """Ask one question in an event loop of its own."""

    async def ask() -> Answer:
        async with AsyncClient(url, attempts=attempts) as client:
            return await question(client)

    return asyncio.run(ask())


@pytest.mark.parametrize(("one", "other"), [(Client, AsyncClient), (RemoteJob, AsyncRemoteJob)])
def test_both_clients_have_the_same_methods(one: type, other: type) -> None:
    def methods(kind: type) -> dict[str, list[str]]:
        return {
            name: [str(each).replace("Async", "") for each in inspect.signature(method).parameters.values()]
            for name, method in vars(kind).items()
            if inspect.isfunction(method) and not name.startswith("__")
        }

    assert methods(one) == methods(other)
    assert inspect.signature(Client.__init__) == inspect.signature(AsyncClient.__init__)


def test_answers_equal_those_of_the_index(url: str, index: CountIndex) -> None:
    async def all_at_once(client: AsyncClient) -> Sequence[object]:
        return await asyncio.gather(
            client.count("tiny", "C++", by="source"),
            client.cooccurrence("tiny", CURIE, WARSAW, 3, "source"),
            client.index("tiny"),
            client.trace("tiny", "Marie Curie was born in Warsaw", documents=0),
        )

    count, cooccurrence, info, trace = asked(url, all_at_once)
    assert count == index.count("C++", by="source")
    assert cooccurrence == index.cooccurrence(CURIE, WARSAW, window=3, by="source")
    assert info == index.info()
    assert trace == index.trace("Marie Curie was born in Warsaw", documents=0)


def test_tables_and_documents_equal_those_of_the_index(url: str, index: CountIndex) -> None:
    async def counted(client: AsyncClient) -> pa.Table:
        return await client.count_facts("tiny", many_facts(7), [3])

    assert asked(url, counted).equals(index.count_facts(many_facts(7), windows=[3]))

    async def pages(client: AsyncClient) -> list[object]:
        return [
            document async for page in client.documents("tiny", text="Paris", limit=1) for document in page.documents
        ]

    assert asked(url, pages) == index.find_documents(text="Paris").documents


def test_jobs_are_awaited_and_removed(url: str, index: CountIndex) -> None:
    async def by_job(client: AsyncClient) -> pa.Table:
        job = await client.submit_facts("tiny", many_facts(9), [3])
        assert (await client.job(job.id).wait())["state"] == "done"
        counts = await job.result()
        await job.remove()
        assert await client.jobs() == []
        with pytest.raises(RejectedError, match="no job has the id"):
            await job.status()
        return counts

    counts = asked(url, by_job)
    expected = index.count_facts(many_facts(9), windows=[3])
    assert counts["cooccurrence_documents_w3"].equals(expected["cooccurrence_documents_w3"])


def test_a_cancelled_count_removes_its_job(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("factcensus.api.client.asking.JOB_FACTS", 5)

    async def cancelled(client: AsyncClient) -> None:
        task = asyncio.current_task()
        assert task is not None

        def cancel(done: int, _: int) -> None:
            if done < 9:
                task.cancel()

        try:
            await client.count_facts("tiny", many_facts(9), progress=cancel)
        except asyncio.CancelledError:
            task.uncancel()
        assert await client.jobs() == []

    asked(url, cancelled)


def test_a_busy_service_is_retried_after_the_pause_it_asks_for(
    index_folder: Path, index: CountIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr("stamina._core._smart_sleep", pause)
    application = Moody(create_app(Settings(indexes=(index_folder,))), [busy(429, Retry_After="7"), busy(503)])
    with serving(application) as url:
        assert asked(url, lambda client: client.count("tiny", "Paris"), attempts=3) == index.count("Paris")
        application.answers.extend([busy(503)] * 3)
        with pytest.raises(NotReadyError, match="503"):
            asked(url, lambda client: client.count("tiny", "Paris"), attempts=3)
    assert pauses == [7, 0.4, 0.2, 0.4]


def test_errors_are_those_of_the_blocking_client(url: str) -> None:
    with pytest.raises(UnknownIndexError, match="no index is named 'absent'"):
        asked(url, lambda client: client.count("absent", "Paris"))
    with pytest.raises(UnreachableError, match="nothing responds"):
        asked("http://127.0.0.1:9", lambda client: client.indexes(), attempts=1)
    with pytest.raises(ServiceError, match="invalid service URL"):
        asked("http://127.0.0.1:notaport", lambda client: client.indexes())
    asked(url, lambda client: client.wait_ready(1))


def test_the_loop_runs_while_the_client_waits(url: str) -> None:
    async def waiting(client: AsyncClient) -> int:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0)

        ticking = asyncio.create_task(tick())
        await client.count("tiny", "Paris")
        ticking.cancel()
        return ticks

    assert asked(url, waiting) > 1
