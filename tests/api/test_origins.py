"""Accepted hosts, pages of other sites, proxies, and headers for shared caches."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from loopback import serving
from test_service_problems import assert_problem

from factcensus.api.app import create_app
from factcensus.api.http.access import new_key
from factcensus.api.http.origins import host_and_port, is_loopback_name, matches
from factcensus.api.settings import Settings
from factcensus.indexer.errors import InputError

COUNT = "/v1/indexes/tiny/count"
CSV = {"facts": ("facts.csv", "subject,object\nCurie,Warsaw\n")}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


# --- Host -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8080",
        "127.0.0.1.evil.example",
        "",
        "localhost.evil",
        "[::2]",
        "a@localhost",
        "0.0.0.0",  # noqa: S104  # refused
    ],
)
def test_a_service_without_keys_on_loopback_accepts_only_loopback_names(http: httpx.Client, host: str) -> None:
    for path in ("/", COUNT + "?text=Paris", "/metrics", "/nowhere"):
        problem = assert_problem(http.get(path, headers={"Host": host}), 421, "unknown-host")
        assert "FACTCENSUS_ALLOWED_HOSTS" in problem["detail"]
    assert assert_problem(http.post("/v1/admin/reload", headers={"Host": host}), 421, "unknown-host")
    for path in ("/healthz", "/readyz"):
        assert http.get(path, headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:1", "127.0.0.1", "127.9.9.9:80", "[::1]:8080", "a.localhost", "localhost."]
)
def test_loopback_names_are_accepted(http: httpx.Client, host: str) -> None:
    assert http.get("/v1/indexes", headers={"Host": host}).status_code == 200


def test_only_allowed_names_are_accepted(index_folder: Path) -> None:
    names = ("counts.example", "*.people.example")
    with serving(Settings(indexes=(index_folder,), allowed_hosts=names)) as url:
        for host, status in (
            ("counts.example", 200),
            ("Counts.Example:443", 200),
            ("a.people.example", 200),
            ("localhost", 200),
            ("people.example", 421),
            ("xpeople.example", 421),
            ("a.counts.example", 421),
        ):
            assert httpx.get(f"{url}/v1/indexes", headers={"Host": host}).status_code == status, host


@pytest.mark.parametrize(
    "settings",
    [{"allowed_hosts": ("*",)}, {"host": "0.0.0.0", "allow_anonymous": True}, {"keys_file": "keys"}],  # noqa: S104  # it is not listened on
)
def test_any_name_is_accepted_with_keys_or_on_a_public_address(
    index_folder: Path, tmp_path: Path, settings: dict[str, str]
) -> None:
    key = new_key("ann", tmp_path / "keys")
    if "keys_file" in settings:
        settings = {"keys_file": tmp_path / "keys"}  # type: ignore[dict-item]  # the folder is known only now
    with serving(Settings(indexes=(index_folder,), **settings)) as url:  # type: ignore[arg-type]  # as above
        answer = httpx.get(f"{url}/v1/indexes", headers={"Host": "any.example", "X-API-Key": key})
        assert answer.status_code == 200


def test_hosts_are_parsed() -> None:
    assert host_and_port("Example.ORG:8080") == ("example.org", 8080)
    assert host_and_port("[::1]") == ("::1", 80)
    assert host_and_port("example.org.", "https") == ("example.org", 443)
    for wrong in ("", "a/b", "a?b", "a:x", "a:99999", "u@a", "[::1"):
        assert host_and_port(wrong)[0] == ""
    assert is_loopback_name("x.localhost")
    assert not is_loopback_name("xlocalhost")
    assert not matches("example.org", ["*.example.org"])


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("allowed_hosts", ["https://a.example", "a.example:80", "a.example/", "*.", "a b/c", "*example.org", ""]),
        ("cors_origins", ["a.example", "https://a.example/", "ftp://a.example", "https://", "null"]),
        ("forwarded_allow_ips", ["proxy", "10.0.0.1/8", "10.0.0.300", "1.2.3.4:80"]),
    ],
)
def test_values_that_can_never_match_are_refused_at_start(name: str, values: list[str]) -> None:
    for value in values:
        with pytest.raises(InputError, match=re.escape(f"FACTCENSUS_{name.upper()}") + f".*{re.escape(repr(value))}"):
            create_app(Settings(**{name: (value,)}))  # type: ignore[arg-type]  # one of the three


def test_values_that_can_match_are_accepted() -> None:
    create_app(
        Settings(
            allowed_hosts=("a.example", "*.A.example", "[::1]", "*"),
            cors_origins=("https://a.example:8443", "http://[::1]", "*"),
            forwarded_allow_ips=("10.0.0.0/8", "::1", "*"),
        )
    )


# --- other sites ------------------------------------------------------------------------------------------------------


def changing_routes() -> list[tuple[str, str]]:
    return [
        (method, route.path)  # type: ignore[attr-defined]  # every route here has one
        for route in create_app(Settings()).routes
        for method in getattr(route, "methods", None) or ()
        if method not in ("GET", "HEAD")
    ]


@pytest.mark.parametrize(("method", "path"), changing_routes())
@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:1"},
        {"Origin": "https://evil.example", "Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_pages_of_other_sites_cannot_change_or_count_anything(
    http: httpx.Client, method: str, path: str, headers: dict[str, str]
) -> None:
    path = path.format(index="tiny", job="0" * 32)
    for kind in ("application/x-www-form-urlencoded", "text/plain", "multipart/form-data; boundary=x"):
        answer = http.request(method, path, content=b"", headers={**headers, "Content-Type": kind})
        assert answer.status_code == (415 if path == "/" else 403), answer.text
    if path != "/":
        answer = http.request(method, path, content=b"{}", headers={**headers, "Content-Type": "application/json"})
        assert_problem(answer, 403, "forbidden")


def test_requests_of_the_service_pages_are_accepted(http: httpx.Client) -> None:
    for headers in ({"Origin": str(http.base_url)}, {"Origin": str(http.base_url), "Sec-Fetch-Site": "same-origin"}):
        assert http.post("/tables", data={"index": "tiny"}, files=CSV, headers=headers).status_code == 303
        assert http.post("/v1/admin/reload", headers=headers).status_code == 200
        assert http.post(COUNT, json={"text": "Paris"}, headers=headers).status_code == 200


def test_a_form_without_origin_headers_needs_the_token_of_the_page(http: httpx.Client) -> None:
    page = http.get("/tables", headers={"Accept": "text/html"}).text
    found = re.search(r'name="token" value="(\w{64})"', page)
    assert found
    for token in ({}, {"token": ""}, {"token": "0" * 64}, {"token": "é"}):
        answer = http.post("/tables", data={"index": "tiny", **token}, files=CSV)
        assert answer.status_code == 403
        assert "page of this service" in answer.text
    sent = http.post("/tables", data={"index": "tiny", "token": found[1]}, files=CSV)
    assert sent.status_code == 303
    address = f"/{sent.headers['Location']}"
    assert http.post(f"{address}/remove").status_code == 403
    assert found[0] in http.get(address, headers={"Accept": "text/html"}).text
    assert http.post(f"{address}/remove", data={"token": found[1]}).status_code == 303


def test_reload_refuses_forms(http: httpx.Client) -> None:
    for kind in ("application/x-www-form-urlencoded", "text/plain", "multipart/form-data; boundary=x"):
        answer = http.post("/v1/admin/reload", content=b"", headers={"Content-Type": kind})
        assert_problem(answer, 415, "unsupported-format")
    assert http.post("/v1/admin/reload").status_code == 200
    assert http.post("/v1/admin/reload", json={}).status_code == 200


def test_allowed_origins_may_use_scripts_but_not_forms(index_folder: Path) -> None:
    settings = Settings(indexes=(index_folder,), cors_origins=("https://a.example",))
    with serving(settings) as url, httpx.Client(base_url=url, headers={"Origin": "https://a.example"}) as client:
        assert client.post(COUNT, json={"text": "Paris"}).status_code == 200
        assert client.post("/tables", data={"index": "tiny"}, files=CSV).status_code == 403
        assert client.post("/v1/admin/reload").status_code == 403


# --- proxies ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("trusted", "statuses"), [((), [200, 200, 429]), (("127.0.0.1",), [200, 200, 200])])
def test_forwarded_addresses_are_used_only_from_configured_proxies(
    index_folder: Path, trusted: tuple[str, ...], statuses: list[int]
) -> None:
    settings = Settings(indexes=(index_folder,), requests_per_minute=2, forwarded_allow_ips=trusted)
    with serving(settings) as url:
        answers = [
            httpx.get(f"{url}/v1/indexes", headers={"X-Forwarded-For": f"203.0.113.{number}"}) for number in range(3)
        ]
    assert [answer.status_code for answer in answers] == statuses


# --- response headers -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def keyed(index_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    file = tmp_path_factory.mktemp("keys") / "keys"
    key = new_key("ann", file)
    with (
        serving(Settings(indexes=(index_folder,), keys_file=file)) as url,
        httpx.Client(base_url=url, headers={"X-API-Key": key}) as client,
    ):
        yield client


ROUTES = ("/", "/docs", "/tables", "/openapi.json", "/metrics", "/v1/jobs", "/v1/indexes", COUNT + "?text=Paris", "/no")


@pytest.mark.parametrize("route", ROUTES)
def test_responses_with_keys_are_private_to_the_client(keyed: httpx.Client, route: str) -> None:
    for headers in ({}, {"Accept": "text/html"}, {"X-API-Key": ""}):
        answer = keyed.get(route, headers=headers)
        assert "private" in answer.headers["Cache-Control"]
        assert {"Authorization", "X-API-Key"} <= {name.strip() for name in answer.headers["Vary"].split(",")}


def test_cacheable_responses_have_cache_control_and_vary(keyed: httpx.Client, http: httpx.Client) -> None:
    asked = {"text": "Paris"}
    answer = keyed.get(COUNT, params=asked)
    assert answer.headers["Cache-Control"] == "private, no-cache"
    unchanged = keyed.get(COUNT, params=asked, headers={"If-None-Match": answer.headers["ETag"]})
    assert (unchanged.status_code, unchanged.headers["Cache-Control"]) == (304, "private, no-cache")
    assert http.get(COUNT, params=asked).headers["Cache-Control"] == "no-cache"


@pytest.mark.parametrize("route", ROUTES)
def test_responses_cannot_be_sniffed_or_framed(http: httpx.Client, route: str) -> None:
    for headers in ({}, {"Accept": "text/html"}, {"Host": "evil.example"}):
        answer = http.get(route, headers=headers)
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
        assert answer.headers["Referrer-Policy"] in ("no-referrer", "same-origin")
        assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert len(answer.headers.get_list("Content-Security-Policy")) == 1
