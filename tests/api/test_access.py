"""Keys and limits by rate: who gets in, who waits, and on which addresses the service starts."""

from __future__ import annotations

import base64
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from loopback import serving

from factcensus.api import access
from factcensus.api.access import is_loopback, new_key, read_keys
from factcensus.api.client import Client
from factcensus.api.errors import RejectedError
from factcensus.api.server import serve
from factcensus.api.settings import Settings
from factcensus.indexer.cli import main
from factcensus.indexer.errors import InputError


@pytest.fixture
def keys(tmp_path: Path) -> dict[str, str]:
    """The keys of two holders, whose hashes stand in keys.txt."""
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
        {}, {"Authorization": "Bearer"}, {"Authorization": "Bearer x" + keys["alice"]}, {"X-API-Key": "alice"},
        {"Authorization": keys["bob"]}, {"Authorization": "Basic %%%"}, basic(""), basic("alice"),
    ]  # fmt: skip
    for route in routes:
        for headers in wrong:
            answer = httpx.get(guarded + route, headers=headers)
            assert (answer.status_code, answer.json()["type"]) == (401, "urn:factcensus:problem:unauthorized"), headers
            assert "Basic" in answer.headers["WWW-Authenticate"]
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
        assert client.count("tiny", "Paris")["documents"] == 3
    monkeypatch.setenv("FACTCENSUS_API_KEY", keys["alice"])
    with Client(guarded) as client:
        assert client.indexes()[0]["name"] == "tiny"


def test_file_holds_no_key_and_is_its_owners_alone(keys: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "keys.txt"
    assert not any(key in file.read_text() for key in keys.values())
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert read_keys(file).keys() == keys.keys()


@pytest.mark.parametrize("content", ["alice", "alice 123\n", "# fine\n\na " + "0" * 64 + "\na " + "1" * 64, "\xff"])
def test_file_that_is_none_of_keys_is_refused_by_name(content: str, tmp_path: Path) -> None:
    file = tmp_path / "keys.txt"
    file.write_bytes(content.encode("latin-1"))
    with pytest.raises(InputError, match=r"keys\.txt"):
        read_keys(file)


def test_key_command_prints_a_key_and_refuses_a_second_of_the_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["key", "create", "carol", "--file", str(tmp_path / "k")]) == 0
    key = capsys.readouterr().out.strip()
    assert read_keys(tmp_path / "k") == {"carol": access._hash(key)}
    for name in ("carol", "two words", ""):
        assert main(["key", "create", name, "--file", str(tmp_path / "k")]) == 2
    assert len(read_keys(tmp_path / "k")) == 1


def test_requests_that_come_too_fast_wait_and_others_do_not(
    index_folder: Path, keys: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(access, "monotonic", lambda: now[0])
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


def test_holders_that_are_remembered_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "MOST_HOLDERS", 5)
    guard = access.Access(None, {}, 1)  # type: ignore[arg-type]
    for number in range(50):
        guard._admit({"type": "http", "client": (f"10.0.0.{number}", 1), "headers": []})
    assert len(guard._left) == 5


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_loopback_addresses_are_known(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "example.org", ""])  # noqa: S104  # refused
def test_service_without_keys_does_not_start_where_others_reach_it(host: str, index_folder: Path) -> None:
    with pytest.raises(InputError, match=r"FACTCENSUS_KEYS_FILE.*FACTCENSUS_ALLOW_ANONYMOUS"):
        serve(Settings(indexes=(index_folder,), host=host))


def test_service_that_may_be_asked_by_everybody_gets_further(index_folder: Path, tmp_path: Path) -> None:
    missing: Any = tmp_path / "missing"
    with pytest.raises(InputError, match="no index folder"):
        serve(Settings(indexes=(missing,), host="0.0.0.0", allow_anonymous=True))  # noqa: S104
    with pytest.raises(InputError, match="cannot be read"):
        serve(Settings(indexes=(index_folder,), host="127.0.0.1", port=0, keys_file=missing))
