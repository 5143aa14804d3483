"""API keys, rate limits, and the addresses on which the service starts."""

from __future__ import annotations

import base64
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from loopback import serving, until

from factcensus.api.app import create_app
from factcensus.api.client import Client
from factcensus.api.errors import RejectedError
from factcensus.api.http.access import Key, _hash, is_loopback, new_key, read_keys
from factcensus.api.serve import serve
from factcensus.api.settings import Settings
from factcensus.api.workers import rates
from factcensus.indexer import build_index
from factcensus.indexer.cli import main
from factcensus.indexer.errors import InputError


@pytest.fixture
def keys(tmp_path: Path) -> dict[str, str]:
    """Create the keys of two holders in keys.txt."""
    return {name: new_key(name, tmp_path / "keys.txt") for name in ("alice", "bob")}


@pytest.fixture
def guarded(index_folder: Path, keys: dict[str, str], tmp_path: Path) -> Iterator[str]:
    assert keys
    with serving(Settings(indexes=(index_folder,), keys_file=tmp_path / "keys.txt")) as base_url:
        yield base_url


def basic(password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"anybody:{password}".encode()).decode()}


def test_only_requests_with_a_key_are_answered(guarded: str, keys: dict[str, str]) -> None:
    routes = ["/", "/v1/indexes", "/v1/indexes/tiny/count?text=Paris", "/docs", "/openapi.json", "/metrics", "/nothing"]
    wrong: list[dict[str, str]] = [
        {},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer x" + keys["alice"]},
        {"X-API-Key": "alice"},
        {"Authorization": keys["bob"]},
        {"Authorization": "Basic %%%"},
        basic(""),
        basic("alice"),
    ]
    for route in routes:
        for headers in wrong:
            answer = httpx.get(guarded + route, headers=headers)
            assert (answer.status_code, answer.json()["type"]) == (401, "urn:factcensus:problem:unauthorized"), headers
            challenges = answer.headers.get_list("WWW-Authenticate")
            assert [challenge.split(" ")[0] for challenge in challenges] == ["Basic", "Bearer"]
            unknown = "does not know the API key" in answer.json()["detail"]
            assert unknown == (headers in wrong[2:4] or headers == basic("alice")), headers
            assert answer.headers["X-Request-ID"]
    for key in keys.values():
        for headers in ({"Authorization": f"Bearer {key}"}, {"X-API-Key": key}, basic(key)):
            assert httpx.get(f"{guarded}/v1/indexes", headers=headers).status_code == 200
    for route in ("/healthz", "/readyz"):
        assert httpx.get(guarded + route).status_code == 200


def test_client_sends_its_key(guarded: str, keys: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    with Client(guarded) as client, pytest.raises(RejectedError, match="key"):
        client.indexes()
    with Client(guarded, api_key=keys["bob"]) as client:
        assert client.count("tiny", "Paris").documents == 3
    monkeypatch.setenv("FACTCENSUS_API_KEY", keys["alice"])
    with Client(guarded) as client:
        assert client.indexes()[0].name == "tiny"


def test_key_file_has_only_hashes_and_is_private(keys: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "keys.txt"
    assert not any(key in file.read_text() for key in keys.values())
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert read_keys(file).keys() == keys.keys()


@pytest.mark.parametrize("content", ["alice", "alice 123\n", "# fine\n\na " + "0" * 64 + "\na " + "1" * 64, "\xff"])
def test_invalid_key_files_are_refused_by_name(content: str, tmp_path: Path) -> None:
    file = tmp_path / "keys.txt"
    file.write_bytes(content.encode("latin-1"))
    with pytest.raises(InputError, match=r"keys\.txt"):
        read_keys(file)


def test_key_command_prints_a_key_and_refuses_a_repeated_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["key", "create", "carol", "--file", str(tmp_path / "k")]) == 0
    key = capsys.readouterr().out.strip()
    assert read_keys(tmp_path / "k") == {"carol": Key(_hash(key))}
    for name in ("carol", "two words", ""):
        assert main(["key", "create", name, "--file", str(tmp_path / "k")]) == 2
    assert len(read_keys(tmp_path / "k")) == 1


def test_rate_limit_applies_per_holder(
    index_folder: Path, keys: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(rates, "monotonic", lambda: now[0])
    settings = Settings(indexes=(index_folder,), keys_file=tmp_path / "keys.txt", requests_per_minute=3)
    with serving(settings) as base_url:

        def ask(name: str, route: str = "/v1/indexes") -> httpx.Response:
            return httpx.get(base_url + route, headers={"X-API-Key": keys[name]})

        assert [ask("alice").status_code for _ in range(4)] == [200, 200, 200, 429]
        refused = ask("alice")
        assert refused.json()["type"] == "urn:factcensus:problem:too-many-requests"
        assert refused.headers["Retry-After"] == "21"
        assert ask("bob").status_code == 200
        assert ask("alice", "/healthz").status_code == 200
        assert [httpx.get(f"{base_url}/v1/indexes").status_code for _ in range(4)] == [401, 401, 401, 429]
        now[0] += 21
        assert [ask("alice").status_code for _ in range(2)] == [200, 429]


def test_every_limited_response_has_the_rate_limit_headers(
    index_folder: Path, keys: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rates, "monotonic", lambda: 0.0)
    settings = Settings(indexes=(index_folder,), keys_file=tmp_path / "keys.txt", requests_per_minute=4)
    with serving(settings) as base_url, httpx.Client(base_url=base_url) as client:
        alice = {"X-API-Key": keys["alice"]}
        answers = [
            client.get(path, headers=alice) for path in ("/v1/indexes", "/nothing", "/docs", "/metrics", "/docs")
        ]
        assert [answer.status_code for answer in answers] == [200, 404, 200, 200, 429]
        named = ("RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset")
        assert [tuple(answer.headers[name] for name in named) for answer in answers] == [
            ("4", "3", "15"),
            ("4", "2", "30"),
            ("4", "1", "45"),
            ("4", "0", "60"),
            ("4", "0", "60"),
        ]
        assert client.get("/v1/indexes").headers["RateLimit-Remaining"] == "3", "a 401 is counted for the address"
        assert "RateLimit-Limit" not in client.get("/healthz", headers=alice).headers


def test_log_lines_of_refused_requests_have_the_route_and_the_key(
    index_folder: Path, keys: dict[str, str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = Settings(indexes=(index_folder,), keys_file=tmp_path / "keys.txt", requests_per_minute=1)
    with caplog.at_level("INFO"), serving(settings) as base_url:
        for headers in ({}, {"X-API-Key": keys["alice"]}, {"X-API-Key": keys["alice"]}):
            httpx.get(f"{base_url}/v1/indexes/tiny/count?text=Paris", headers=headers)
        httpx.get(f"{base_url}/metrics")
    route = "/v1/indexes/{index}/count"
    lines = [record for record in caplog.records if getattr(record, "status", 0) in (401, 429)]
    assert [(line.status, line.route, line.holder) for line in lines] == [  # type: ignore[attr-defined]  # our extra fields
        (401, route, None),
        (429, route, "alice"),
        (429, "/metrics", None),
    ]
    assert lines[0].getMessage().endswith(f"(route {route}, key -)")
    assert lines[1].getMessage().endswith(f"(route {route}, key alice)")
    assert keys["alice"] not in caplog.text


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_loopback_addresses_are_recognised(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "example.org", ""])  # noqa: S104  # refused
def test_service_without_keys_does_not_start_on_public_addresses(host: str, index_folder: Path) -> None:
    with pytest.raises(InputError, match=r"FACTCENSUS_KEYS_FILE.*FACTCENSUS_ALLOW_ANONYMOUS"):
        serve(Settings(indexes=(index_folder,), host=host))


def test_service_without_keys_starts_if_anonymous_requests_are_allowed(index_folder: Path, tmp_path: Path) -> None:
    missing: Any = tmp_path / "missing"
    with pytest.raises(InputError, match="no index folder"):
        serve(Settings(indexes=(missing,), host="0.0.0.0", allow_anonymous=True))  # noqa: S104
    with pytest.raises(InputError, match="cannot read the key file"):
        serve(Settings(indexes=(index_folder,), host="127.0.0.1", port=0, keys_file=missing))


# --- keys restricted to indexes ---------------------------------------------------------------------------------------


@pytest.fixture
def two_indexes(index_folder: Path, tmp_path: Path) -> tuple[Path, Path]:
    """Return the index ``tiny`` and another one whose name must be encoded in the key file."""
    build_index([index_folder.parent / "corpus"], tmp_path / "a, b", jobs=1)
    return index_folder, tmp_path / "a, b"


def test_restricted_key_sees_nothing_of_other_indexes(two_indexes: tuple[Path, Path], tmp_path: Path) -> None:
    file = tmp_path / "keys"
    all_, bound = new_key("all", file), new_key("bound", file, ["a, b"])
    with (
        serving(Settings(indexes=two_indexes, keys_file=file)) as url,
        httpx.Client(base_url=url, headers={"X-API-Key": bound}, timeout=60) as client,
        httpx.Client(base_url=url, headers={"X-API-Key": all_}, timeout=60) as other,
    ):
        assert client.get("/").json() == ["a, b"]
        assert other.get("/").json() == ["tiny", "a, b"]
        assert [each["name"] for each in client.get("/v1/indexes").json()["indexes"]] == ["a, b"]
        assert client.get("/v1/indexes/a%2C%20b/count", params={"text": "Paris"}).json()["documents"] == 3
        pair = {"subject": {"name": "Curie"}, "object": {"name": "Warsaw"}}
        facts = {"facts": [{"subject": "Curie", "object": "Warsaw"}]}
        refused = [
            client.get("/v1/indexes/tiny"),
            client.get("/v1/indexes/tiny/count", params={"text": "Paris"}),
            client.post("/v1/indexes/tiny/count", json={"text": "Paris"}),
            client.post("/v1/indexes/tiny/cooccurrence", json=pair),
            client.post("/v1/indexes/tiny/documents", json=pair),
            client.post("/v1/indexes/tiny/facts:count", json=facts),
            client.post("/v1/indexes/tiny/facts:replicate", json={**facts, "method": "paper-notebook"}),
        ]
        for answer in refused:
            assert answer.json()["type"] == "urn:factcensus:problem:unknown-index"
            assert answer.json()["detail"] == "no index is named 'tiny'; open indexes: a, b"
        wire = client.post("/", json={"index": "tiny", "query_type": "count", "query": "paris"})
        assert wire.json() == {"error": "[Flask] Invalid index: tiny"}
        form = {"index": "tiny", "subject": "Curie", "object": "Warsaw"}
        page = client.get("/", params=form, headers={"Accept": "text/html"})
        assert page.status_code == 404
        uploaded = client.post(
            "/tables",
            data={"index": "tiny"},
            files={"facts": ("facts.csv", "subject,object\nCurie,Warsaw\n")},
            headers={"Origin": url},
        )
        assert uploaded.status_code == 404


def test_key_restricted_later_no_longer_sees_jobs_of_other_indexes(
    two_indexes: tuple[Path, Path], tmp_path: Path
) -> None:
    file = tmp_path / "keys"
    key = new_key("ann", file)
    settings = Settings(indexes=two_indexes, keys_file=file, jobs_folder=tmp_path / "jobs")
    facts = {"facts": [{"subject": "Curie", "object": "Warsaw"}]}
    with serving(settings) as url, httpx.Client(base_url=url, headers={"X-API-Key": key}, timeout=60) as client:
        job = client.post("/v1/indexes/tiny/facts:count", json=facts, headers={"Prefer": "respond-async"}).json()
        until(lambda: client.get(job["status_url"]).json()["state"] == "done")
    file.write_text(file.read_text().rstrip() + " indexes=a%2C%20b\n")
    with serving(settings) as url, httpx.Client(base_url=url, headers={"X-API-Key": key}, timeout=60) as client:
        assert client.get("/v1/jobs").json() == {"jobs": []}
        assert job["id"] not in client.get("/tables").text
        for path in (
            job["status_url"],
            f"{job['status_url']}/result",
            f"/tables/{job['id']}",
            f"/tables/{job['id']}/strata.csv",
        ):
            assert client.get(path).status_code == 404


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (f"ann {'0' * 64} index=tiny", "unknown key option 'index'; did you mean 'indexes'?"),
        (f"ann {'0' * 64} indexes=", "indexes=A,B"),
        (f"ann {'0' * 64} indexes=a indexes=b", "indexes=A,B once"),
        (f"ann {'0' * 64} tiny", "unknown key option 'tiny'"),
    ],
)
def test_key_file_errors_name_the_line(line: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "keys.txt").write_text(f"# keys\n{line}\n")
    with pytest.raises(InputError, match=r"keys\.txt, line 2: ") as refused:
        read_keys(tmp_path / "keys.txt")
    assert says in str(refused.value)


def test_unknown_key_and_index_names_prevent_the_start(index_folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "keys"
    new_key("ann", file, ["tinny"])
    with pytest.raises(InputError, match=r"unknown index of the key 'ann' 'tinny'; did you mean 'tiny'\?"):
        create_app(Settings(indexes=(index_folder,), keys_file=file))
    new_key("bob", tmp_path / "others")
    settings = Settings(indexes=(index_folder,), keys_file=tmp_path / "others", admin_keys=("bobb",))
    with pytest.raises(InputError, match=r"FACTCENSUS_ADMIN_KEYS 'bobb'; did you mean 'bob'\?"):
        create_app(settings)


def test_key_command_restricts_a_key_to_indexes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["key", "create", "carol", "--file", str(tmp_path / "k"), "--index", "tiny", "--index", "a, b"]
    assert main(command) == 0
    assert capsys.readouterr().out.strip()
    assert read_keys(tmp_path / "k")["carol"].indexes == {"tiny", "a, b"}
