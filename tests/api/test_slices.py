"""A service that asks slices: its answers equal those of a service of the whole index, or are errors."""

from __future__ import annotations

import json
import random
import re
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pytest
from loopback import serving, until
from starlette.requests import Request
from starlette.responses import PlainTextResponse

from factcensus.api.client import Client
from factcensus.api.settings import Limits, Settings
from factcensus.api.slices.source import slices_of
from factcensus.indexer import CountIndex, build_index, delete_documents, slice_index
from factcensus.indexer.errors import InputError
from factcensus.indexer.storage.manifest import Manifest
from servers import reserved_port

WORDS = ["Paris", "Warsaw", "Curie", "capital", "of", "the", "Ünal", "C++"]


def build_whole(folder: Path) -> Path:
    chance = random.Random(5)
    rows = [
        {
            "id": f"d{number}",
            "source": f"s{number % 3}",
            "year": 1900 + number % 7,
            "text": " ".join(chance.choices(WORDS, k=chance.randrange(1, 12))),
        }
        for number in range(160)
    ]
    folder.mkdir()
    (folder / "c.jsonl").write_text("\n".join(map(json.dumps, rows)))
    build_index(folder / "c.jsonl", folder / "whole", shard_tokens=180, jobs=1, keep_text=True)
    delete_documents(folder / "whole", ids=["d3", "d80", "d159"])
    return folder / "whole"


def slices_in(whole: Path, cuts: list[int], folder: Path) -> list[Path]:
    """Slice an index, each slice in a folder of its own under the name ``part``."""
    numbers = [shard.number for shard in Manifest.read(whole).shards]
    places = []
    for place, (first, last) in enumerate(zip([0, *cuts], [*cuts, len(numbers)], strict=True)):
        (folder / str(place)).mkdir(parents=True)
        places.append(folder / str(place) / "part")
        slice_index(whole, (numbers[first], numbers[last - 1]), places[-1], keep_text=True)
    return places


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_whole(tmp_path_factory.mktemp("slices") / "x")


@pytest.fixture(scope="module")
def services(whole: Path) -> Iterator[tuple[httpx.Client, httpx.Client]]:
    """Return a client of a service of the whole index, and one of a service that asks three slices."""
    with ExitStack() as held:
        places = slices_in(whole, [1, 3], whole.parent / "three")
        urls = [held.enter_context(serving(Settings(indexes=(place,)))) for place in places]
        random.Random(1).shuffle(urls)
        one = held.enter_context(serving(Settings(indexes=(whole,))))
        sum_of_all = held.enter_context(serving(Settings(remote=(f"whole={','.join(urls)}",))))
        clients = (held.enter_context(httpx.Client(base_url=url, timeout=600)) for url in (one, sum_of_all))
        yield tuple(clients)  # type: ignore[misc]  # two of them


QUESTIONS: list[tuple[str, dict[str, Any]]] = [
    *(("count", {"text": text}) for text in (*WORDS, "capital of", "nowhere", "of the")),
    ("count", {"text": "Paris", "by": "source"}),
    ("count", {"text": "Paris", "by": "year", "filter": {"source": ["s0", "s2"]}}),
    ("count", {"text": "Curie", "filter": {"year": {"min": 1902, "max": 1904}}}),
    ("cooccurrence", {"subject": {"name": "Paris"}, "object": {"name": "Curie"}}),
    ("cooccurrence", {"subject": {"name": "Paris", "aliases": ["Ünal"]}, "object": {"name": "of"}, "window": 1}),
    ("cooccurrence", {"subject": {"name": "the"}, "object": {"name": "C++"}, "by": "source", "window": 3}),
    ("count", {"text": "C++", "verbatim": True, "by": "source"}),
    ("count", {"text": "…"}),
    ("count", {"text": "Paris", "by": "yaer"}),
    ("count", {"text": "Paris", "filter": {"yaer": 1900}}),
    ("facts:count", {"facts": [{"subject": "Paris", "object": word} for word in WORDS], "windows": [0, 2]}),
]


@pytest.mark.parametrize(("route", "body"), QUESTIONS, ids=[f"{n}" for n in range(len(QUESTIONS))])
def test_answers_equal_those_of_the_whole(
    route: str, body: dict[str, Any], services: tuple[httpx.Client, httpx.Client]
) -> None:
    wanted, found = (client.post(f"/v1/indexes/whole/{route}", json=body) for client in services)
    assert found.status_code == wanted.status_code
    same = ("request_id", "instance")
    assert {k: v for k, v in found.json().items() if k not in same} == {
        k: v for k, v in wanted.json().items() if k not in same
    }


@pytest.mark.parametrize("limit", [1, 3, 40, 100])
@pytest.mark.parametrize(
    "query",
    [
        {"text": "Paris"},
        {"text": "Ünal", "by": "source"},
        {"subject": {"name": "the"}, "object": {"name": "of"}, "window": 0},
        {"text": "nowhere"},
        {"text": "C++", "filter": {"source": "s1"}},
        {"text": "Paris Warsaw", "verbatim": True, "by": "source"},
        {"text": "paris", "verbatim": True},
        {"pattern": "[ÜW].*C.. "},
    ],
)
def test_pages_of_documents_equal_those_of_the_whole(
    limit: int, query: dict[str, Any], services: tuple[httpx.Client, httpx.Client]
) -> None:
    pages: list[list[Any]] = []
    for client in services:
        pages.append([])
        cursor = None
        while True:
            page = client.post("/v1/indexes/whole/documents", json={**query, "limit": limit, "cursor": cursor}).json()
            cursor = page.pop("next")
            pages[-1].append(page)
            if cursor is None:
                break
    assert pages[1] == pages[0]


def test_properties_equal_those_of_the_whole(services: tuple[httpx.Client, httpx.Client]) -> None:
    wanted, found = (client.get("/v1/indexes/whole").json() for client in services)
    for name in (
        "documents",
        "tokens",
        "shards",
        "digest",
        "keeps_text",
        "sources",
        "deleted_documents",
        "repeated_documents",
    ):
        assert found[name] == wanted[name], name
    assert services[1].get("/readyz").status_code == 200
    assert services[1].get("/v1/indexes").json() == services[0].get("/v1/indexes").json()


def test_tables_equal_those_of_the_whole(services: tuple[httpx.Client, httpx.Client]) -> None:
    facts = pa.table({"subject": WORDS * 200, "object": WORDS[::-1] * 200, "mine": range(1600)})
    tables = []
    for each in services:
        with Client(str(each.base_url)) as client:
            tables.append(client.count_facts("whole", facts, [1]))
    assert tables[1].equals(tables[0])


def test_queries_that_are_no_sums_are_refused(services: tuple[httpx.Client, httpx.Client]) -> None:
    reply = services[1].post("/v1/indexes/whole/trace", json={"text": "Paris of"})
    assert (reply.status_code, reply.json()["type"]) == (422, "urn:factcensus:problem:invalid-input")
    assert "served from slices" in reply.json()["detail"]
    assert "error" in services[1].post("/", json={"index": "whole", "query_type": "count", "query": "Paris"}).text
    assert services[1].get("/").status_code == 200


def test_missing_slice_is_503_and_never_a_partial_sum(whole: Path, tmp_path: Path) -> None:
    places = slices_in(whole, [2], tmp_path)
    with ExitStack() as held:
        first = held.enter_context(serving(Settings(indexes=(places[0],))))
        second, port = ExitStack(), held.enter_context(reserved_port())
        address = second.enter_context(serving(Settings(indexes=(places[1],)), port))
        service = held.enter_context(serving(Settings(remote=(f"whole={first},{address}",))))
        http = held.enter_context(httpx.Client(base_url=service, timeout=30))
        ask = {"text": "Paris"}
        total = http.post("/v1/indexes/whole/count", json=ask).json()["occurrences"]
        second.close()
        for route, body in (
            ("count", {"text": "of"}),
            ("documents", ask),
            ("facts:count", {"facts": [{"subject": "Paris", "object": "of"}]}),
        ):
            reply = http.post(f"/v1/indexes/whole/{route}", json=body)
            assert (reply.status_code, reply.json()["type"]) == (503, "urn:factcensus:problem:slice-unavailable")
        until(lambda: http.get("/readyz").status_code == 503)
        with serving(Settings(indexes=(places[1],)), port):
            until(lambda: http.post("/v1/indexes/whole/count", json={"text": "the"}).status_code == 200)
            assert http.post("/v1/indexes/whole/count", json=ask).json()["occurrences"] == total


def test_service_starts_without_its_slices_and_follows_them(whole: Path, tmp_path: Path) -> None:
    (place,) = slices_in(whole, [], tmp_path)
    with serving(Settings(remote=("whole=http://127.0.0.1:9",))) as service:
        reply = httpx.post(f"{service}/v1/indexes/whole/count", json={"text": "of"})
        assert (reply.status_code, reply.json()["type"]) == (503, "urn:factcensus:problem:index-not-open")
        assert httpx.get(f"{service}/readyz").status_code == 503
    with serving(Settings(indexes=(place,))) as address, serving(Settings(remote=(f"whole={address}",))) as service:
        assert httpx.post(f"{service}/v1/indexes/whole/count", json={"text": "of"}).status_code == 200


def test_replaced_slices_are_an_error_until_all_are_of_one_generation(tmp_path: Path) -> None:
    again = build_whole(tmp_path / "again")
    places = slices_in(again, [2], tmp_path / "old")

    def totals() -> dict[str, int]:
        with CountIndex.open(again) as index:
            return {word: index.count(word).occurrences for word in WORDS}

    with ExitStack() as held:
        urls = [held.enter_context(serving(Settings(indexes=(place,), poll_seconds=0.05))) for place in places]
        service = held.enter_context(serving(Settings(remote=(f"whole={','.join(urls)}",))))
        http = held.enter_context(httpx.Client(base_url=service, timeout=30))

        def occurrences(word: str) -> Any:
            reply = http.post("/v1/indexes/whole/count", json={"text": word})
            assert reply.status_code in (200, 503)
            return reply.json().get("occurrences")

        before = totals()
        assert occurrences("Paris") == before["Paris"]
        delete_documents(again, where="source = 's1'")
        now = totals()
        for old, new in zip(places, slices_in(again, [2], tmp_path / "new"), strict=True):
            old.rename(old.with_name("gone"))
            new.rename(old)
            for word in WORDS * 2:  # an answer of one generation or none, never a sum of both
                assert occurrences(word) in (None, before[word], now[word])
                time.sleep(0.02)
        until(lambda: occurrences("Paris") == now["Paris"])
        assert {word: occurrences(word) for word in WORDS} == now


@pytest.mark.parametrize("cuts", [([0, 2], "missing before"), ([0, 1, 1], "given twice"), ([0, 1], "have only")])
def test_slices_that_are_not_a_whole_are_refused(
    cuts: tuple[list[int], str], whole: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    chosen, message = cuts
    places = slices_in(whole, [1, 2], tmp_path)
    with ExitStack() as held:
        urls = [held.enter_context(serving(Settings(indexes=(place,)))) for place in places]
        remote = f"whole={','.join(urls[number] for number in chosen)}"
        service = held.enter_context(serving(Settings(remote=(remote,))))
        assert httpx.post(f"{service}/v1/indexes/whole/count", json={"text": "of"}).status_code == 503
        assert message in caplog.text


def test_deadline_passes_through_to_the_slices(whole: Path, tmp_path: Path) -> None:
    """A slice that never answers is given up at the deadline of the service, which ends the connection to it."""
    places = slices_in(whole, [2], tmp_path)
    let_go = threading.Event()

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        if request.method == "GET":
            async with httpx.AsyncClient() as client:
                answer = await client.get(f"{second}{request.url.path}")
            kind = answer.headers["content-type"]
            await PlainTextResponse(answer.content, answer.status_code, media_type=kind)(scope, receive, send)
            return
        await request.body()
        with suppress(Exception):
            while (await receive())["type"] != "http.disconnect":
                pass
        let_go.set()

    with (
        serving(Settings(indexes=(places[0],))) as first,
        serving(Settings(indexes=(places[1],))) as second,
        serving(slow) as slow_url,
        serving(Settings(remote=(f"whole={first},{slow_url}",), limits=Limits(deadline_seconds=1))) as service,
    ):
        reply = httpx.post(f"{service}/v1/indexes/whole/count", json={"text": "of"}, timeout=60)
        assert reply.json()["type"].rpartition(":")[2] in ("deadline-exceeded", "slice-unavailable")
        assert let_go.wait(60)


@pytest.mark.parametrize("text", ["whole", "whole=", "=http://a", "whole=ftp://a", "whole=http://a,b", "a/b=http://a"])
def test_invalid_remote_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="--remote"):
        slices_of(Settings(remote=(text,)))


def test_credentials_of_addresses_are_not_shown() -> None:
    (source,) = slices_of(Settings(remote=("whole=http://me:secret@host:1/",))).values()
    assert "secret" not in str(source)
    with pytest.raises(InputError) as refused:
        slices_of(Settings(remote=("whole=s3://me:secret@host:1/",)))
    assert "secret" not in str(refused.value)


def test_examples_come_from_the_slices_and_count_in_all_of_them(
    whole: Path, services: tuple[httpx.Client, httpx.Client]
) -> None:
    found = services[1].get("/v1/indexes/whole/examples").json()["examples"]
    assert found
    with CountIndex.open(whole) as index:
        for each in found:
            if each["object"] is None:
                assert each["documents"] == index.count(each["subject"]).documents > 0
            else:
                together = index.cooccurrence(each["subject"], each["object"]).cooccurrence
                assert each["documents"] == together.documents > 0
    page = services[1].get("/", headers={"Accept": "text/html"}).text
    assert "Examples from whole" in page
    assert "Names are not completed in whole: it is in slices" in page
    refused = services[1].get("/v1/indexes/whole/complete", params={"text": "Par"})
    assert refused.status_code == 422
    assert "in slices" in refused.json()["detail"]


def test_field_that_a_slice_does_not_have_is_empty_there(tmp_path: Path) -> None:
    rows = [{"id": f"d{n}", "text": "Paris and Curie", **({"lang": "fr"} if n < 9 else {})} for n in range(40)]
    (tmp_path / "c.jsonl").write_text("\n".join(map(json.dumps, rows)))
    build_index(tmp_path / "c.jsonl", tmp_path / "whole", shard_tokens=60, jobs=1, keep_text=True)
    with ExitStack() as held:
        places = slices_in(tmp_path / "whole", [1], tmp_path / "two")
        urls = [held.enter_context(serving(Settings(indexes=(place,)))) for place in places]
        one = held.enter_context(
            httpx.Client(base_url=held.enter_context(serving(Settings(indexes=(tmp_path / "whole",)))))
        )
        far = Settings(remote=(f"whole={','.join(urls)}",))
        both = held.enter_context(httpx.Client(base_url=held.enter_context(serving(far)), timeout=30))
        pair = {"subject": {"name": "Paris"}, "object": {"name": "Curie"}}
        for route, body in (("count", {"text": "Paris"}), ("cooccurrence", pair), ("documents", {"text": "Paris"})):
            for by in ("lang", "year:lang"):
                asked = body | {"by": by} | ({"limit": 100} if route == "documents" else {})
                wanted, found = (each.post(f"/v1/indexes/whole/{route}", json=asked) for each in (one, both))
                assert (found.status_code, wanted.status_code) == (200, 200)
                assert found.json() == wanted.json()
        refused = both.post("/v1/indexes/whole/count", json={"text": "Paris", "filter": {"lang": "fr"}})
        assert refused.status_code == 422
        assert re.search(r"the slice at .* has no document with a field of the filter .*lang", refused.json()["detail"])
