"""Every route refuses unknown names and suggests the nearest known one."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from fastapi.routing import APIRoute
from loopback import until
from test_service_problems import assert_problem

from factcensus.api.app import create_app
from factcensus.api.http.parameters import query_parameters
from factcensus.api.http.routes import NamedRoute
from factcensus.api.settings import Settings

COUNT, COOC, FACTS = (f"/v1/indexes/tiny/{route}" for route in ("count", "cooccurrence", "facts:count"))
REPLICATE = "/v1/indexes/tiny/facts:replicate"
DOCUMENTS = "/v1/indexes/tiny/documents"
PAIR: dict[str, Any] = {"subject": {"name": "Curie"}, "object": {"name": "Warsaw"}}
#: The route that ignores its query string, like the public API.
WIRE = ("POST", "/")


def routes() -> list[tuple[str, str]]:
    """Return method and path of every route, including those outside the OpenAPI document."""
    found = [
        (method, getattr(route, "path", ""))
        for route in create_app(Settings()).routes
        for method in sorted(getattr(route, "methods", None) or ())
    ]
    return [route for route in found if route != WIRE]


def ask(http: httpx.Client, method: str, path: str, query: str) -> httpx.Response:
    path = path.format(index="tiny", job="0" * 32, ending="csv")
    return http.request(method, f"{path}?{query}", headers={"Content-Type": "application/json"}, content=b"{}")


def test_every_route_checks_parameter_names() -> None:
    others = [route for route in create_app(Settings()).routes if not isinstance(route, NamedRoute)]
    assert [(route.path, route.methods) for route in others if isinstance(route, APIRoute)] == [("/", {"POST"})]
    assert len(others) == 1


@pytest.mark.parametrize(("method", "path"), routes())
def test_no_route_ignores_an_unknown_query_parameter(http: httpx.Client, method: str, path: str) -> None:
    for name in ("no_such_name", "", "text[]"):
        problem = assert_problem(ask(http, method, path, f"{name}=1"), 422, "invalid-request")
        assert (
            f"unknown query parameter {name!r}" in problem["detail"]
            or "belongs in the request body" in problem["detail"]
        )
        assert problem["errors"][0]["parameter"] == name


@pytest.mark.parametrize(
    ("method", "path", "known"),
    [
        (method, route.path, query_parameters(route.dependant))
        for route in create_app(Settings()).routes
        if isinstance(route, NamedRoute)
        for method in route.methods
        if query_parameters(route.dependant)
    ],
)
def test_every_misspelt_parameter_is_suggested_and_repetition_is_refused(
    http: httpx.Client, method: str, path: str, known: dict[str, bool]
) -> None:
    for name, repeatable in known.items():
        misspelt = f"{name}x"
        problem = assert_problem(ask(http, method, path, f"{misspelt}=1"), 422, "invalid-request")
        assert "did you mean" in problem["detail"]
        answer = ask(http, method, path, f"{name}=1&{name}=1")
        assert (f"{name!r} is given 2 times" in answer.text) is not repeatable


@pytest.mark.parametrize(
    ("path", "name", "nearest"),
    [
        (f"{COOC}?subject=Curie&object=Warsaw&winodw=10", "winodw", "window"),
        (f"{COOC}?subject=Curie&object=Warsaw&windows=10", "windows", "window"),
        (f"{COOC}?subject=Curie&object=Warsaw&subject_aliases=Marie", "subject_aliases", "subject_alias"),
        (f"{COUNT}?text=Paris&filer=%7B%7D", "filer", "filter"),
        ("/?index=tiny&subject_aliases=Marie", "subject_aliases", "subject_alias"),
        ("/?index=tiny&Window=3", "Window", "window"),
    ],
)
def test_the_nearest_name_is_suggested(http: httpx.Client, path: str, name: str, nearest: str) -> None:
    problem = assert_problem(http.get(path), 422, "invalid-request")
    assert problem["detail"] == f"unknown query parameter {name!r}; did you mean {nearest!r}?"


@pytest.mark.parametrize("number", ["1_0", "+10", "10.0", "１０", " 10", "", "x"])
def test_other_spellings_of_numbers_are_refused(http: httpx.Client, number: str) -> None:
    """Pydantic reads the first three as 10."""
    pair = {"subject": "Curie", "object": "Warsaw", "window": number}
    problem = assert_problem(http.get(COOC, params=pair), 422, "invalid-request")
    assert problem["errors"][0]["parameter"] == "window"
    assert f"expected an integer, got {number!r}" in problem["errors"][0]["detail"]
    facts = {"facts": [{"subject": "Curie", "object": "Paris"}]}
    assert_problem(http.post(FACTS, params={"windows": number}, json=facts), 422, "invalid-request")


@pytest.mark.parametrize("query", ["index=nope", "index=tiny", "subject=Curie&object=Warsaw"])
def test_parameters_without_effect_on_the_list_of_names_are_refused(http: httpx.Client, query: str) -> None:
    json_only = {"Accept": "application/json"}
    problem = assert_problem(http.get(f"/?{query}", headers=json_only), 422, "invalid-request")
    assert "has no effect on this response" in problem["detail"]
    assert http.get("/", headers=json_only).json() == ["tiny"]


def test_body_fields_are_not_accepted_in_the_url(http: httpx.Client) -> None:
    for path, body, query in (
        (COUNT, {"text": "Paris"}, "text=Curie"),
        (COOC, PAIR, "window=3"),
        (DOCUMENTS, PAIR, "limit=1"),
    ):
        problem = assert_problem(http.post(f"{path}?{query}", json=body), 422, "invalid-request")
        assert "belongs in the request body" in problem["detail"]


def test_windows_are_accepted_in_one_place_only(http: httpx.Client) -> None:
    facts = [{"subject": "Curie", "object": "Warsaw"}]
    for windows in ([], [3]):
        answer = http.post(f"{FACTS}?windows=10", json={"facts": facts, "windows": windows})
        assert "in one place" in assert_problem(answer, 422, "invalid-request")["detail"]
    answer = http.post(f"{FACTS}?windows=10&windows=3", json={"facts": facts})
    assert "cooccurrence_pairs_w3" in answer.json()["facts"][0]
    with_file = {"facts": ("facts.json", json.dumps({"facts": facts, "windows": [3]}))}
    page = http.post(
        "/tables", data={"index": "tiny", "windows": "10"}, files=with_file, headers={"Origin": str(http.base_url)}
    )
    assert page.status_code == 422
    assert "in one place" in page.text


@pytest.mark.parametrize(
    ("path", "body", "pointer", "nearest"),
    [
        (COUNT, {"text": "Paris", "bye": "source"}, "#/bye", "by"),
        (COOC, {**PAIR, "windows": 3}, "#/windows", "window"),
        (COOC, {**PAIR, "subject": {"name": "Curie", "alias": ["Marie"]}}, "#/subject/alias", "aliases"),
        (COOC, {**PAIR, "filter": {"year": {"mim": 3}}}, "#/filter/year/mim", "min"),
        (DOCUMENTS, {"text": "Paris", "limits": 3}, "#/limits", "limit"),
        (DOCUMENTS, {**PAIR, "object": {"nane": "Warsaw"}}, "#/object/nane", "name"),
        (FACTS, {"facts": [], "window": [3]}, "#/window", "windows"),
        (REPLICATE, {"facts": [], "method": "paper-notebook", "metod": 1}, "#/metod", "method"),
    ],
)
def test_an_unknown_body_field_suggests_the_nearest_one(
    http: httpx.Client, path: str, body: dict[str, Any], pointer: str, nearest: str
) -> None:
    problem = assert_problem(http.post(path, json=body), 422, "invalid-request")
    assert problem["errors"][0]["pointer"] == pointer
    assert f"did you mean {nearest!r}?" in problem["detail"]


@pytest.mark.parametrize(
    ("path", "body", "name"),
    [
        (COUNT, '{"text": "Paris", "text": "Curie"}', "text"),
        (COUNT, '{"text": "Paris", "filter": {"source": "wiki", "source": "books"}}', "source"),
        (COOC, '{"subject": {"name": "a", "name": "b"}, "object": {"name": "c"}}', "name"),
        (DOCUMENTS, '{"text": "Paris", "limit": 1, "limit": 2}', "limit"),
    ],
)
def test_a_repeated_body_field_is_refused(http: httpx.Client, path: str, body: str, name: str) -> None:
    answer = http.post(path, content=body, headers={"Content-Type": "application/json"})
    assert f"the field {name!r} occurs 2 times" in assert_problem(answer, 422, "invalid-request")["detail"]


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        (
            {"index": "tiny", "window": "3"},
            "unknown form field &#39;window&#39;; did you mean &#39;windows&#39;?",
        ),
        ({"index": ["tiny", "tiny"]}, "is given 2 times"),
    ],
)
def test_the_upload_form_accepts_each_known_field_once(http: httpx.Client, fields: dict[str, Any], says: str) -> None:
    answer = http.post(
        "/tables",
        data=fields,
        files={"facts": ("facts.csv", "subject,object\nCurie,Warsaw\n")},
        headers={"Origin": str(http.base_url)},
    )
    assert answer.status_code == 422
    assert says in answer.text


# --- columns and metadata fields --------------------------------------------------------------------------------------

BODIES = ((COUNT, {"text": "Paris"}), (COOC, PAIR), (DOCUMENTS, {"text": "Paris"}), (DOCUMENTS, PAIR))


@pytest.mark.parametrize(("path", "body"), BODIES)
@pytest.mark.parametrize("column", [{"by": "sorce"}, {"filter": {"sorce": "wiki"}}, {"filter": {"sorce": {"min": 1}}}])
def test_an_unknown_column_is_refused_in_bodies(
    http: httpx.Client, path: str, body: dict[str, Any], column: dict[str, Any]
) -> None:
    problem = assert_problem(http.post(path, json={**body, **column}), 422, "unknown-name")
    assert "'sorce'; did you mean 'source'?" in problem["detail"]


@pytest.mark.parametrize("query", [{"by": "sorce"}, {"filter": '{"sorce": "wiki"}'}])
def test_an_unknown_column_is_refused_in_urls(http: httpx.Client, query: dict[str, str]) -> None:
    for path, asked in ((COUNT, {"text": "Paris"}), (COOC, {"subject": "Curie", "object": "Warsaw"})):
        problem = assert_problem(http.get(path, params={**asked, **query}), 422, "unknown-name")
        assert "did you mean 'source'?" in problem["detail"]


@pytest.mark.parametrize(
    ("body", "name"),
    [
        ('{"facts": [{"subject": "Curie", "subject": "Warsaw", "object": "Paris"}]}', "subject"),
        ('{"facts": [{"subject": 1, "subject": 2, "object": "Paris"}]}', "subject"),
        ('{"facts": [{"subject": "Curie", "object": "Paris"}], "windows": [1], "windows": [2]}', "windows"),
        ('{"facts": [{"subject": "Curie", "object": "Paris"}], "facts": [{"subject": "a", "object": "b"}]}', "facts"),
        ('{"facts": [{"subject": "Curie", "object": "Paris", "more": {"a": 1, "a": 2}}]}', "a"),
        ('{"facts": [{"subject": "Curie", "object": "Paris", "more": "\\": ", "more": "x"}]}', "more"),
    ],
)
def test_repeated_fields_of_facts_are_refused(http: httpx.Client, body: str, name: str) -> None:
    answer = http.post(FACTS, content=body, headers={"Content-Type": "application/json"})
    problem = assert_problem(answer, 422, "invalid-input")
    assert f"the key {name!r} is given twice" in problem["detail"]


def test_a_colon_in_a_value_is_not_a_field(http: httpx.Client) -> None:
    fact = {"subject": "Curie", "object": "Paris", "more": '"a": 1', "deep": {"subject": {"subject": "x"}}}
    (counted,) = http.post(FACTS, json={"facts": [fact], "windows": [1]}).raise_for_status().json()["facts"]
    assert {name: counted[name] for name in fact} == fact


def test_a_repeated_column_in_a_url_filter_is_refused(http: httpx.Client) -> None:
    for path, asked in ((COUNT, {"text": "Paris"}), (COOC, {"subject": "Curie", "object": "Warsaw"})):
        query = {**asked, "filter": '{"source": "wiki", "source": "books"}'}
        problem = assert_problem(http.get(path, params=query), 422, "invalid-request")
        assert "'source' occurs 2 times" in problem["detail"]


@pytest.mark.parametrize("query", [{"by": "sorce"}, {"by": "sorce", "only": "wiki"}])
def test_an_unknown_column_is_refused_on_the_page(http: httpx.Client, query: dict[str, str]) -> None:
    asked = {"index": "tiny", "subject": "Curie", "object": "Warsaw", **query}
    page = http.get("/", params=asked, headers={"Accept": "text/html"})
    assert page.status_code == 422
    assert "did you mean &#39;source&#39;?" in page.text


def test_an_unknown_column_of_strata_is_refused(http: httpx.Client) -> None:
    own = {"Origin": str(http.base_url)}
    sent = http.post(
        "/tables", data={"index": "tiny"}, files={"facts": ("f.csv", "subject,object\nCurie,Warsaw\n")}, headers=own
    )
    address = f"/{sent.headers['Location']}"
    until(lambda: 'id="progress"' not in http.get(address).text)
    wrong = {"by": "cooccurrence_document"}
    assert "did you mean &#39;cooccurrence_documents&#39;?" in http.get(address, params=wrong).text
    assert (
        "did you mean"
        in assert_problem(http.get(f"{address}/strata.csv", params=wrong), 422, "invalid-input")["detail"]
    )


# --- rows of facts ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "column", ["subject_alias", "object_alias", "subject_aliases_", "Subject_Alias", "objectaliases"]
)
def test_a_misspelt_alias_column_is_refused(http: httpx.Client, column: str) -> None:
    nearest = "subject_aliases" if column.lower().startswith("s") else "object_aliases"
    problem = assert_problem(
        http.post(FACTS, json={"facts": [{"subject": "Curie", "object": "Warsaw", column: ["Marie"]}]}),
        422,
        "unknown-name",
    )
    assert f"did you mean {nearest!r}?" in problem["detail"]
    table = f"subject,object,{column}\nCurie,Warsaw,Marie\n"
    assert_problem(http.post(FACTS, content=table, headers={"Content-Type": "text/csv"}), 422, "unknown-name")


@pytest.mark.parametrize("column", ["alias", "aliases", "subject_id", "note", "object_type"])
def test_other_columns_of_facts_are_returned_unchanged(http: httpx.Client, column: str) -> None:
    answer = http.post(FACTS, json={"facts": [{"subject": "Curie", "object": "Warsaw", column: "x"}]})
    assert answer.json()["facts"][0][column] == "x"
