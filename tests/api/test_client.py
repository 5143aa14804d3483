"""The client returns the results of the index, and errors with a remedy."""

from __future__ import annotations

import pickle
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from loopback import serving

from factcensus.api.client import AsyncClient, Client, asking, count_facts, tables
from factcensus.api.client.steps import Steps
from factcensus.api.errors import (
    AddressError,
    NotReadyError,
    RejectedError,
    ServerFailureError,
    ServiceError,
    UnknownIndexError,
    UnreachableError,
)
from factcensus.api.settings import Limits, Settings
from factcensus.indexer import CountIndex, Entity, facts_from_rows
from factcensus.indexer.answers import IndexInfo
from factcensus.indexer.errors import EmptyQueryError, InputError
from servers import reserved_port

CURIE = Entity("Marie Curie", ("Maria Skłodowska", "Curie"))
WARSAW = Entity("Warsaw")


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    with Client(url) as opened:
        yield opened


def many_facts(rows: int) -> pa.Table:
    subjects = ["Marie Curie", "Paris", "C++", "nobody", "Warsaw"]
    return facts_from_rows(
        {
            "fact_id": f"f{row}",
            "subject": subjects[row % 5],
            "object": subjects[row % 3],
            "object_aliases": ["Polska"] * (row % 2),
            "nothing": None,
            "weight": row / 7,
            "nested": {"a": [row]},
        }
        for row in range(rows)
    )


@pytest.mark.parametrize("windows", [(), (3,), (5, 0, 5)])
@pytest.mark.parametrize("rows", [1, 7, 25])
def test_a_table_counted_by_the_service_equals_one_counted_locally(
    client: Client, index: CountIndex, monkeypatch: pytest.MonkeyPatch, rows: int, windows: tuple[int, ...]
) -> None:
    monkeypatch.setattr(tables, "BATCH_FACTS", 10)
    facts = many_facts(rows)
    told: list[tuple[int, int]] = []
    counts = client.count_facts("tiny", facts, windows, progress=lambda done, total: told.append((done, total)))
    expected = index.count_facts(facts, windows=windows)
    assert counts.schema == expected.schema
    assert counts.equals(expected)
    assert told == [(min(done + 10, rows), rows) for done in range(0, rows, 10)]


def test_types_without_json_equivalent_are_kept(client: Client, index: CountIndex) -> None:
    facts = pa.table(
        {
            "subject": pa.array(["Paris", "Curie"]).dictionary_encode(),
            "object": pa.array(["France", "Warsaw"], pa.large_string()),
            "day": [date(2026, 1, 1), None],
            "raw": [b"\xff", b""],
            "small": pa.array([1, None], pa.int8()),
            "rank": ["one", "two"],
        },
        metadata={"origin": "a test"},
    )
    counts = client.count_facts("tiny", facts)
    assert counts.equals(index.count_facts(facts), check_metadata=True)


def test_a_batch_of_large_facts_is_closed_early(
    client: Client, index: CountIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "BATCH_BYTES", 300)
    facts = many_facts(20)
    assert sum(1 for _ in tables.batches(facts)) > 3
    assert client.count_facts("tiny", facts).equals(index.count_facts(facts))


def test_the_function_count_facts_equals_the_method(url: str, index: CountIndex) -> None:
    facts = many_facts(3)
    assert count_facts(url, "tiny", facts, windows=[1]).equals(index.count_facts(facts, windows=[1]))


def test_single_counts_equal_those_of_the_index(client: Client, index: CountIndex) -> None:
    assert client.count("tiny", "C++", by="source") == index.count("C++", by="source")
    assert client.cooccurrence("tiny", CURIE, WARSAW, 3, "source") == index.cooccurrence(
        CURIE, WARSAW, window=3, by="source"
    )
    assert client.index("tiny") == index.info()
    assert [listed.name for listed in client.indexes()] == ["tiny"]


@pytest.mark.parametrize("query", [{"text": "Paris"}, {"subject": CURIE, "object": WARSAW, "window": 3}])
def test_documents_are_returned_in_pages(client: Client, index: CountIndex, query: dict[str, Any]) -> None:
    pages = list(client.documents("tiny", **query, limit=1))
    expected = index.find_documents(**query)
    assert [page.documents[0] for page in pages] == expected.documents
    assert {page.total for page in pages} == {expected.total}
    assert len(pages) == expected.total > 1


def test_errors_have_the_fields_of_the_problem(client: Client, url: str) -> None:
    with pytest.raises(UnknownIndexError, match="no index is named 'absent'; open indexes: tiny") as unknown:
        client.count("absent", "Paris")
    assert unknown.value.status == 404
    assert unknown.value.type == "urn:factcensus:problem:unknown-index"
    assert unknown.value.title == "No index has this name"
    assert unknown.value.request_id
    assert unknown.value.exit_code == 2
    with pytest.raises(UnknownIndexError, match=r"invalid index name 'indexes/tiny'"):
        client.count_facts("indexes/tiny", many_facts(1))
    with pytest.raises(RejectedError, match="finds no token") as rejected:
        client.count("tiny", "...")
    assert rejected.value.status == 422
    with pytest.raises(ServiceError, match=r"404.*there is no such route"), Client(f"{url}/elsewhere") as elsewhere:
        elsewhere.indexes()


def test_an_invalid_table_is_refused_before_it_is_sent(client: Client) -> None:
    with pytest.raises(InputError, match="row 2"):
        client.count_facts("tiny", pa.table({"subject": ["a", ""], "object": ["b", "c"]}))
    with pytest.raises(InputError, match="no rows"):
        client.count_facts(
            "tiny", pa.table({"subject": pa.array([], pa.string()), "object": pa.array([], pa.string())})
        )


def test_an_invalid_row_in_a_later_batch_is_named(
    client: Client, index: CountIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "BATCH_FACTS", 4)
    facts = pa.concat_tables([many_facts(6), many_facts(1).set_column(1, "subject", [["..."]])])
    with pytest.raises(EmptyQueryError, match="row 7"):
        index.count_facts(facts)
    with pytest.raises(RejectedError, match=r"row 3 .*row 1 is row 5 of the whole table"):
        client.count_facts("tiny", facts)


def test_an_unreachable_url_is_an_error_with_the_remedy() -> None:
    with (
        reserved_port() as port,
        Client(f"http://127.0.0.1:{port}", attempts=2) as client,
        pytest.raises(UnreachableError, match=rf"nothing responds at http://127.0.0.1:{port} .*factcensus serve"),
    ):
        client.indexes()
    with pytest.raises(AddressError, match="invalid service URL 'localhost:8080'"):
        Client("localhost:8080")
    with pytest.raises(ServiceError, match="invalid service URL"), Client("http://127.0.0.1:notaport") as client:
        client.indexes()


def test_a_url_that_includes_the_path_of_a_route_gets_a_hint(url: str) -> None:
    for path in ("/v1", "/v1/indexes/tiny/"):
        with Client(f"{url}{path}") as client, pytest.raises(RejectedError, match=f"URL without '{path.rstrip('/')}'"):
            client.count("tiny", "Curie")
    with Client(url) as client, pytest.raises(RejectedError) as error:
        client.job("absent").status()
    assert "URL without" not in str(error.value)


def test_a_read_timeout_is_not_retried() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        Client(f"http://127.0.0.1:{silent.getsockname()[1]}", timeout_s=0.2) as client,
    ):
        with pytest.raises(UnreachableError, match=r"did not respond within 0\.2 s.*timeout_s"):
            client.indexes()
        silent.settimeout(1)
        silent.accept()[0].close()
        with pytest.raises(TimeoutError):
            silent.accept()  # a second attempt would be in the queue


def test_a_timeout_of_one_request_is_named_in_its_error() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        Client(f"http://127.0.0.1:{silent.getsockname()[1]}", timeout_s=60) as client,
        pytest.raises(UnreachableError, match=r"did not respond within 0\.2 s"),
    ):
        client.indexes(timeout_s=0.2)


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf")])
def test_an_invalid_timeout_of_one_request_is_refused_before_it_is_sent(seconds: float) -> None:
    with Client("http://127.0.0.1:8080") as client, pytest.raises(InputError, match="timeout_s must be a number"):
        client.indexes(timeout_s=seconds)


@pytest.mark.parametrize("kind", [Client, AsyncClient])
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"timeout_s": 0}, "timeout_s must be a number of seconds above 0, got 0"),
        ({"timeout_s": float("nan")}, "above 0, got nan"),
        ({"timeout_s": float("inf")}, "above 0, got inf"),
        ({"timeout_s": None}, "above 0, got None"),
        ({"attempts": 0}, "attempts must be at least 1, got 0"),
        ({"api_key": "secret\n"}, "the API key has a line break or a character that is not ASCII"),
        ({"api_key": "schlüssel"}, "the API key has a line break or a character that is not ASCII"),
    ],
)
def test_invalid_settings_are_refused_at_once_without_showing_the_key(
    kind: type, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message) as error:
        kind("http://127.0.0.1:8080", **settings)
    assert str(settings.get("api_key", "no key")).strip() not in str(error.value)


def test_a_pickled_client_has_the_settings_and_its_own_connections(
    client: Client, index: CountIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pickle.loads(pickle.dumps(client)) as copy:
        assert copy.count("tiny", "Curie") == index.count("Curie")
        assert repr(copy) == repr(client) == f"Client({client.base_url!r})"
    monkeypatch.setenv("FACTCENSUS_API_KEY", "from-environment")
    for kind in (Client, AsyncClient):
        assert b"from-environment" not in pickle.dumps(kind(client.base_url))
        own = kind(client.base_url, 7.5, attempts=2, api_key="explicit")
        copy = pickle.loads(pickle.dumps(own))
        assert copy._connection.arguments == (client.base_url, 7.5, 2, "explicit")
        assert "explicit" not in repr(copy)


class OwnClient(Client):
    """A client that a user extended."""


def test_pickled_jobs_and_clients_of_own_classes_stay_what_they_are(client: Client) -> None:
    assert type(pickle.loads(pickle.dumps(OwnClient(client.base_url)))) is OwnClient
    job = client.submit_facts("tiny", [{"subject": "Curie", "object": "Warsaw"}])
    copy = pickle.loads(pickle.dumps(job))
    try:
        assert (copy.id, copy.wait()["state"]) == (job.id, "done")
    finally:
        copy._connection.close()


def test_wait_ready_returns_once_the_indexes_are_open(client: Client, tmp_path: Path) -> None:
    client.wait_ready(1)
    with serving(Settings(indexes=(tmp_path / "absent",))) as url, Client(url) as waiting:
        with pytest.raises(NotReadyError, match=r"not ready within 0\.5 s: index 'absent'") as error:
            waiting.wait_ready(0.5)
        assert error.value.status == 503


def test_the_service_may_allow_fewer_facts_than_a_batch(index_folder: Path) -> None:
    settings = Settings(indexes=(index_folder,), limits=Limits(max_facts=5))
    with serving(settings) as url, Client(url) as client, CountIndex.open(index_folder) as index:
        facts = many_facts(6)
        assert client.count_facts("tiny", facts, windows=[3]).equals(index.count_facts(facts, windows=[3]))
        assert client.jobs() == [], "the service made a job, which the client removed"


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (b"", "returned 0 of 1 facts"),
        (b"{}\n", "not a counts table"),
        (b"nonsense\n", "not a counts table"),
        (b"1\n", "not a counts table"),
    ],
)
def test_a_response_that_is_not_a_counts_table_is_refused(answer: bytes, says: str) -> None:
    with pytest.raises(ServerFailureError, match=says):
        tables.counted_batch(many_facts(1), answer, (), "digest")


def test_an_index_replaced_between_two_batches_is_an_error(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    old = replace(client.index("tiny"), digest="of the old one")

    def described(*_: object) -> Steps[IndexInfo]:
        yield from ()
        return old

    monkeypatch.setattr(asking, "index", described)
    with pytest.raises(ServerFailureError, match="the index was replaced"):
        client.count_facts("tiny", many_facts(1))


def test_the_client_needs_neither_the_web_framework_nor_torch() -> None:
    code = (
        "import sys, factcensus.api.client; "
        "print(*({'fastapi', 'starlette', 'uvicorn', 'torch', 'numba', 'pydantic'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout, run.stderr) == (0, "\n", "")
