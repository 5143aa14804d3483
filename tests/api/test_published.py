"""Indexes that the service asks at their URLs: the same answers, only URLs of the command line, no credentials."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from click.testing import CliRunner
from loopback import serving

from factcensus.api.client import Client
from factcensus.api.commands import serve
from factcensus.api.serving.sources import sources_of
from factcensus.api.settings import Published, Settings
from factcensus.indexer import CountIndex
from factcensus.indexer.errors import InputError
from factcensus.indexer.system.places import Place

if TYPE_CHECKING:
    from servers import WebServer


@pytest.fixture
def site(index_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WebServer]:
    """Serve a copy of the toy index as ``far``."""
    from servers import web_server

    monkeypatch.setenv("FACTCENSUS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("factcensus.indexer.system.places.failures._FIRST_WAIT_S", 0.0)
    monkeypatch.setattr("factcensus.indexer.system.places.failures._LONGEST_WAIT_S", 0.0)
    shutil.copytree(index_folder, tmp_path / "site/far")
    with web_server(tmp_path / "site") as server:
        yield server


def settings_of(site: WebServer, **options: int) -> Settings:
    host = site.url.removeprefix("http://")
    return Settings(published=(Published((Place.of(f"http://me:pa55@{host}/far?token=s3cr3t"),), **options),))


def test_service_answers_from_a_url_like_from_a_folder(site: WebServer, index_folder: Path) -> None:
    with serving(settings_of(site)) as url, Client(url) as client, CountIndex.open(index_folder, name="far") as local:
        assert [each.name for each in client.indexes()] == ["far"]
        assert client.count("far", "Paris") == local.count("Paris")
        assert client.cooccurrence("far", "Paris", "France", window=9) == local.cooccurrence(
            "Paris", "France", window=9
        )
        facts = [{"subject": "Paris", "object": "France"}, {"subject": "Berlin", "object": "Germany"}]
        assert client.count_facts("far", facts).to_pydict() == local.count_facts(facts).to_pydict()
        assert list(client.documents("far", text="Paris")) == [local.find_documents(text="Paris")]
        assert httpx.get(f"{url}/readyz").status_code == 200


INFINI_GRAM_QUERIES: list[tuple[str, dict[str, Any]]] = [
    ("count", {"query": "Paris"}),
    ("count", {"query": "Paris AND France"}),
    ("count", {"query": "Paris OR Berlin"}),
    ("count", {"query": ""}),
    ("prob", {"query": "of France"}),
    ("ntd", {"query": "of"}),
    ("ntd", {"query": ""}),
    ("infgram_prob", {"query": "of France"}),
    ("infgram_ntd", {"query": "of"}),
    ("find", {"query": "Paris"}),
    ("find_cnf", {"query": "Paris AND France"}),
    ("get_doc_by_rank", {"query": "Paris", "s": 0, "rank": 0}),
    ("get_doc_by_ptr", {"query": "Paris", "s": 0, "ptr": 4}),
    ("search_docs", {"query": "Paris"}),
    ("search_docs", {"query": "Paris AND France"}),
]


ANSWERED_AT_A_URL = [{"index": "far", "query_type": "count", "query": "Paris"}]


def test_infini_gram_queries_at_a_url_have_the_same_answer_or_say_what_to_do(
    site: WebServer, index_folder: Path, tmp_path: Path
) -> None:
    local = Settings(indexes=(shutil.copytree(index_folder, tmp_path / "local/far"),))
    with serving(settings_of(site)) as at_url, serving(local) as in_folder:
        for query_type, options in INFINI_GRAM_QUERIES:
            sent = {"index": "far", "query_type": query_type, **options}
            found, wanted = (httpx.post(f"{url}/", json=sent, timeout=300) for url in (at_url, in_folder))
            assert (found.status_code, wanted.status_code) == (200, 200), sent
            answers = [{**answer.json(), "latency": 0} for answer in (found, wanted)]
            assert "error" not in answers[1], sent
            refused = "at a URL, but this query needs a local folder" in answers[0].get("error", "")
            assert refused or answers[0] == answers[1], sent
            assert refused == (sent not in ANSWERED_AT_A_URL), sent


def test_failures_and_credentials_are_kept_from_clients(
    site: WebServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "factcensus")
    with serving(settings_of(site)) as url:
        shown = [httpx.get(f"{url}{path}").text for path in ("/", "/v1/indexes", "/v1/indexes/far", "/metrics")]
        (tmp_path / "site/far/table.0").unlink()
        answer = httpx.get(f"{url}/v1/indexes/far/count", params={"text": "Paris"})
        assert answer.status_code == 503
        assert answer.json()["detail"] == "the index cannot be read at its URL; the service's log has the reason"
    assert any("far/table.0" in record.getMessage() for record in caplog.records if record.name == "factcensus.api")
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("factcensus")]
    for text in (*shown, answer.text, *ours):
        assert "s3cr3t" not in text
        assert "pa55" not in text
        assert site.url not in text or text in ours


def test_query_with_too_many_requests_is_refused(site: WebServer) -> None:
    with serving(settings_of(site, most_requests=1)) as url:
        answer = httpx.get(f"{url}/v1/indexes/far/count", params={"text": "Paris"})
        assert answer.status_code == 422
        assert "at most 1 are allowed" in answer.json()["detail"]


def test_no_url_of_a_request_is_opened(site: WebServer) -> None:
    with serving(settings_of(site)) as url:
        site.requests.clear()
        other = f"{site.url}/secret"
        for name in (other, "..%2Ffar", "http:"):
            assert httpx.get(f"{url}/v1/indexes/{name}/count", params={"text": other}).status_code in (404, 422)
        httpx.post(f"{url}/v1/indexes/far/cooccurrence", json={"subject": {"name": other}, "object": {"name": other}})
        httpx.post(f"{url}/v1/indexes/far/facts:count", json={"facts": [{"subject": other, "object": other}]})
        httpx.post(f"{url}/", json={"index": other, "query_type": "count", "query": "Paris"})
        assert {path.partition("?")[0].split("/")[1] for _, path, _ in site.requests} <= {"far"}


def test_names_of_urls_and_folders_are_unique(site: WebServer, index_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(index_folder, tmp_path / "far")
    published = Published((Place.of(f"{site.url}/far"),))
    with pytest.raises(InputError, match="names must be unique"):
        sources_of(Settings(indexes=(tmp_path / "far",), published=(published,)))
    assert list(sources_of(Settings(published=(published,)))) == ["far"]


def test_command_line_takes_urls_and_their_options(monkeypatch: pytest.MonkeyPatch, index_folder: Path) -> None:
    taken: list[Settings] = []
    monkeypatch.setattr("factcensus.api.serve.serve", taken.append)
    urls = ["s3://bucket/one", "--also", "s3://bucket/two", "--anonymous", "--requester-pays"]
    done = CliRunner().invoke(serve, [*urls, "--analyzer", "hf:t.json", "--most-requests", "7", str(index_folder)])
    assert done.exit_code == 0, done.output
    (published,) = taken[0].published
    assert [str(place) for place in published.places] == ["s3://bucket/one", "s3://bucket/two"]
    assert all(place.access.anonymous and place.access.requester_pays for place in published.places)
    assert (published.analyzer, published.most_requests) == ("hf:t.json", 7)
    assert taken[0].indexes == (index_folder,)
    assert CliRunner().invoke(serve, [str(index_folder), "--also", "s3://bucket/two"]).exit_code == 2
