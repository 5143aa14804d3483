"""The public infini-gram API at ``POST /``: golden exchanges, errors and limits, with a plain client.

The expected values are the responses of the public API for the same four documents in two shards. Comments mark its
wrong numbers, and client errors that it reports as internal errors.
"""

from __future__ import annotations

import json
import shutil
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from loopback import serving
from test_serve_command import started
from toys import TOY, build

from factcensus.api.client import Client
from factcensus.api.infini_gram.wire import QUERY_TYPES, RANGES
from factcensus.api.settings import Settings
from factcensus.indexer.errors import DeadlineError, IndexFormatError

pytest.importorskip("infini_gram.engine", reason="infini-gram has no wheel for this platform")

OUTSIDE = ("latency", "token_ids", "tokens")


@pytest.fixture(scope="module")
def toy_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = build(tmp_path_factory.mktemp("toy"), TOY, "toy", shard_tokens=80)
    with serving(Settings(indexes=(folder,))) as url:
        yield url


@pytest.fixture
def ask(toy_url: str) -> Iterator[Any]:
    """Return a function that posts a body with the index name and returns status and response."""
    with httpx.Client(base_url=toy_url, timeout=30) as client:

        def asked(**body: Any) -> tuple[int, Any]:
            reply = client.post("/", json={"index": "toy"} | body)
            assert reply.headers["Content-Type"] == "application/json"
            answer = reply.json()
            assert list(answer) == sorted(answer)
            if "latency" in answer:
                assert 0 <= answer["latency"] < 60_000
                assert isinstance(answer["latency"], float)
            return reply.status_code, answer

        yield asked


def inner(answer: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a response that are specific to its query type."""
    return {name: value for name, value in answer.items() if name not in OUTSIDE}


def test_a_count_has_all_keys_of_the_api_and_document_counts(ask: Any) -> None:
    status, answer = ask(query_type="count", query="Paris")
    assert status == 200
    assert answer.pop("latency") >= 0
    assert answer == {
        "approx": False,
        "count": 3,
        "doc_count": 2,
        "token_ids": [80, 97, 114, 105, 115],
        "tokens": ["P", "a", "r", "i", "s"],
    }


@pytest.mark.parametrize(
    ("query", "count", "documents"),
    [
        ("", 138, 4),  # all tokens, and one separator per document
        ("zzz", 0, 0),
        ("Paris AND France", 3, 2),
        ("Paris OR Berlin AND capital", 3, 3),  # the engine returns 2
        ("Paris OR Berlin", 4, 3),
        ("\\x50aris", 3, 2),
        ("\\xff", 4, 4),  # separators can be counted
        ("is AND capital AND France", 2, 2),  # "capital" and "France" occur three times each, and twice together
    ],
)
def test_counts_of_the_toy_corpus(ask: Any, query: str, count: int, documents: int) -> None:
    status, answer = ask(query_type="count", query=query)
    assert (status, answer["count"], answer["approx"], answer["doc_count"]) == (200, count, False, documents)


def test_tokens_are_nested_as_clauses_and_terms(ask: Any) -> None:
    _, answer = ask(query_type="count", query="Pa OR Be AND c")
    assert answer["token_ids"] == [[[80, 97], [66, 101]], [[99]]]
    assert answer["tokens"] == [[["P", "a"], ["B", "e"]], [["c"]]]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"query_type": "prob", "query": "Pari"}, {"prompt_cnt": 3, "cont_cnt": 3, "prob": 1.0}),
        ({"query_type": "prob", "query": "zzz"}, {"prompt_cnt": 0, "cont_cnt": 0, "prob": -1.0}),
        ({"query_type": "prob", "query": "P"}, {"prompt_cnt": 138, "cont_cnt": 3, "prob": 3 / 138}),
        (
            {"query_type": "ntd", "query": "Pari"},
            {
                "prompt_cnt": 3,
                "approx": False,
                "result_by_token_id": {"115": {"token": "s", "cont_cnt": 3, "prob": 1.0}},
            },
        ),
        (
            {"query_type": "ntd", "query": "Paris."},  # the end of a document is token 0
            {
                "prompt_cnt": 1,
                "approx": False,
                "result_by_token_id": {"0": {"token": "\\x00", "cont_cnt": 1, "prob": 1.0}},
            },
        ),
        ({"query_type": "ntd", "query": "zzz"}, {"prompt_cnt": 0, "approx": False, "result_by_token_id": {}}),
        (
            {"query_type": "infgram_prob", "query": "zParis"},
            {"suffix_len": 4, "longest_suffix": "Pari", "prompt_cnt": 3, "cont_cnt": 3, "prob": 1.0},
        ),
        (
            {"query_type": "infgram_prob", "query": "P"},
            {"suffix_len": 0, "longest_suffix": "", "prompt_cnt": 138, "cont_cnt": 3, "prob": 3 / 138},
        ),
        (
            {"query_type": "infgram_ntd", "query": "zPari"},
            {
                "suffix_len": 4,
                "longest_suffix": "Pari",
                "prompt_cnt": 3,
                "approx": False,
                "result_by_token_id": {"115": {"token": "s", "cont_cnt": 3, "prob": 1.0}},
            },
        ),
        ({"query_type": "find", "query": "Paris"}, {"cnt": 3, "segment_by_shard": [[19, 22], [14, 14]]}),
        (
            {"query_type": "find_cnf", "query": "Paris AND France"},
            {
                "cnt": 3,
                "approx": False,
                "ptrs_by_shard": [[1, 25, 63], []],
                "ptrs_truncated": False,
                "doc_count": 2,
                "near_doc_count": 2,
            },
        ),
        (
            {"query_type": "find_cnf", "query": "Paris AND zzz"},
            {
                "cnt": 0,
                "approx": False,
                "ptrs_by_shard": [],
                "ptrs_truncated": False,
                "doc_count": 0,
                "near_doc_count": 0,
            },
        ),
    ],
)
def test_responses_equal_those_written_by_hand(ask: Any, body: dict[str, Any], expected: dict[str, Any]) -> None:
    status, answer = ask(**body)
    assert (status, inner(answer)) == (200, expected)


def test_the_distribution_after_an_empty_prompt_is_that_of_all_tokens(ask: Any) -> None:
    for query_type in ("ntd", "infgram_ntd"):
        _, answer = ask(query_type=query_type, query="")
        text = "".join(TOY)
        counts = {token: each["cont_cnt"] for token, each in answer["result_by_token_id"].items()}
        assert counts == {str(ord(letter)): text.count(letter) for letter in set(text)} | {"0": 4}
        assert answer["prompt_cnt"] == 138
    assert (answer["suffix_len"], answer["longest_suffix"]) == (0, "")


def test_a_search_returns_documents_with_marked_clauses(ask: Any) -> None:
    for query_type in ("search_docs", "search_docs_cnf"):
        _, answer = ask(query_type=query_type, query="Berlin AND Germany")
        assert (answer["cnt"], answer["approx"], answer["idxs"]) == (1, False, [0])
        assert answer["message"] == "1 occurrences found. Displaying the documents of occurrences #[0]"
        (document,) = answer["documents"]
        assert document["spans"] == [["Berlin", "0"], [" is the capital of ", None], ["Germany", "1"], [".", None]]
        assert bytes(document["token_ids"]).decode() == TOY[2]
        assert {name: document[name] for name in ("doc_ix", "doc_len", "disp_len", "needle_offset", "blocked")} == {
            "doc_ix": 2,
            "doc_len": 33,
            "disp_len": 33,
            "needle_offset": 0,
            "blocked": False,
        }
    _, answer = ask(query_type="search_docs", query="zzz")
    assert inner(answer) == {
        "cnt": 0,
        "approx": False,
        "idxs": [],
        "documents": [],
        "message": "0 occurrences found",
    }
    _, answer = ask(query_type="search_docs", query="Paris", maxnum=10)
    assert answer["idxs"] == [0, 1, 2]
    assert sorted(document["doc_ix"] for document in answer["documents"]) == [0, 0, 1]


def test_results_of_find_give_documents_by_rank_and_pointer(ask: Any) -> None:
    _, found = ask(query_type="find", query="Paris")
    low, high = found["segment_by_shard"][0]
    shown = [ask(query_type="get_doc_by_rank", query="Paris", s=0, rank=rank)[1] for rank in range(low, high)]
    assert sorted(document["doc_ix"] for document in shown) == [0, 0, 1]
    first = next(document for document in shown if document["doc_ix"] == 1)
    assert first["spans"] == [["The capital of France is ", None], ["Paris", "0"], [".", None]]
    assert first["needle_offset"] == 25
    # Like the API, these are the ids of the query; the ids of the document are in another key.
    assert first["token_ids"] == [80, 97, 114, 105, 115]
    assert bytes(first["doc_token_ids"]).decode() == TOY[1]
    assert first["metadata"] == ('{"path": "toy.jsonl", "linenum": 1, "metadata": {"id": "d1", "source": "toy"}}\n')

    _, found = ask(query_type="find_cnf", query="Paris AND France")
    pointer = found["ptrs_by_shard"][0][1]
    _, document = ask(query_type="get_doc_by_ptr", query="Paris AND France", s=0, ptr=pointer, max_disp_len=11)
    assert document["spans"] == [["l of ", None], ["France", "1"]]
    assert (document["disp_len"], document["needle_offset"]) == (11, 5)


@pytest.mark.parametrize(
    ("rank", "window", "text"),
    [(19, 10, "Paris"), (20, 10, "nce. Paris"), (20, 11, "nce. Paris,"), (0, 11, None)],
)
def test_the_window_is_half_before_and_half_after_the_needle(
    ask: Any, rank: int, window: int, text: str | None
) -> None:
    _, document = ask(query_type="get_doc_by_rank", query="Paris", s=0, rank=rank, max_disp_len=window)
    assert document["disp_len"] == len(document["doc_token_ids"]) <= window
    if text is not None:
        assert bytes(document["doc_token_ids"]).decode() == text


def test_ranges_and_windows_equal_those_of_the_engine(ask: Any, tmp_path: Path) -> None:
    from factcensus.indexer import CountIndex
    from factcensus.indexer.infini_gram.engine_counts import EngineCounts

    with CountIndex.open(build(tmp_path, TOY, shard_tokens=80)) as index:
        engine = EngineCounts.open(index).engine
        for query in ("Paris", " is", "zzz", ""):
            found = engine.find(input_ids=list(query.encode()))
            _, answer = ask(query_type="find", query=query)
            assert inner(answer) == {"cnt": found["cnt"], "segment_by_shard": [*map(list, found["segment_by_shard"])]}
        for s, shard in enumerate(index.shards):
            for rank in range(shard.size - shard.documents):  # the last rows are separators
                for window in (1, 10, 11, 1000):
                    expected = engine.get_doc_by_rank(s=s, rank=rank, max_disp_len=window)
                    _, answer = ask(query_type="get_doc_by_rank", query="", s=s, rank=rank, max_disp_len=window)
                    answer["token_ids"] = answer["doc_token_ids"]
                    for name in ("doc_ix", "doc_len", "disp_len", "needle_offset", "token_ids", "blocked"):
                        assert answer[name] == expected[name], (s, rank, window, name)


# --- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({"query_type": None}, "[Flask] Missing required field: 'query_type'"),
        ({"index": None}, "[Flask] Missing required field: 'index'"),
        ({"query": None}, "[Flask] Exactly one of query and query_ids must be present!"),
        ({"query_ids": [1]}, "[Flask] Exactly one of query and query_ids must be present!"),
        ({"index": "X"}, "[Flask] Invalid index: X"),
        ({"index": ["toy"]}, "[Flask] Invalid index: ['toy']"),
        ({"query_type": "X"}, "[Flask] Invalid query_type: X"),
        ({"query_type": ["count"]}, "[Flask] Invalid query_type: ['count']"),
        # The API answers these with 500 and internal details.
        ({"query_type": "attribute"}, "[Flask] Invalid query_type: attribute"),
        ({"bogus": 1}, "[Flask] Bad Request: count() got an unexpected keyword argument 'bogus'"),
        (
            {"query_type": "get_doc_by_rank", "rank": 0},
            "[Flask] Bad Request: get_doc_by_rank() missing 1 required argument: 's'",
        ),
        (
            {"query_type": "get_doc_by_rank", "s": 0},
            "[Flask] Bad Request: get_doc_by_rank() missing 1 required argument: 'rank'",
        ),
    ],
)
def test_an_invalid_envelope_gets_400(toy_url: str, body: dict[str, Any], error: str) -> None:
    sent = {"index": "toy", "query_type": "count", "query": "Paris"} | body
    reply = httpx.post(toy_url, json={name: value for name, value in sent.items() if value is not None})
    assert (reply.status_code, reply.json()) == (400, {"error": error})


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({"query": 5}, "query must be a string!"),
        ({"query": None}, "query must be a string!"),
        ({"query": "a" * 1001}, "Please limit your input to <= 1000 characters!"),
        ({"query": "é" * 251}, "Please limit your input to <= 500 tokens!"),
        ({"query_ids": [[[1] * 300], [[2] * 201]]}, "Please limit your input to <= 500 tokens!"),
        ({"query": "a AND b AND c AND d AND e"}, "Please enter at most 4 disjunctive clauses!"),
        ({"query_ids": [[[1]]] * 5}, "Please enter at most 4 disjunctive clauses!"),
        ({"query": "a OR b OR c OR d OR e"}, "Please enter at most 4 terms in each disjunctive clause!"),
        ({"query_ids": [256]}, "Some item(s) in your query_ids are out-of-range!"),
        ({"query_ids": [-1]}, "Some item(s) in your query_ids are out-of-range!"),
        ({"query_ids": [[[1], [70000]]]}, "Some item(s) in your query_ids are out-of-range!"),
        *(
            (
                {"query_ids": wrong},
                "query_ids must be a list of integers, or a triply-nested list of integers!",
            )
            for wrong in ([[1]], "Paris", 5, None, {}, [1.5], [True], [1, [2]], [[[1]], [2]], [[["a"]]], [[[[1]]]])
        ),
    ],
)
def test_an_invalid_query_gets_an_error_with_200(ask: Any, body: dict[str, Any], error: str) -> None:
    for query_type in ("count", "ntd", "find_cnf"):
        assert ask(query_type=query_type, **body) == (200, {"error": error})


CLAUSES = "cnf must be a non-empty, triply-nested list of integers in range [0, 255]"


@pytest.mark.parametrize(
    ("body", "error"),
    [
        *(
            ({"query_type": query_type, "query": "a AND b", name: wrong}, f"{name} must be an integer in [1, {most}]!")
            for query_type, name, most in (
                ("count", "max_clause_freq", 500_000),
                ("count", "max_diff_tokens", 1000),
                ("find_cnf", "max_clause_freq", 500_000),
                ("find_cnf", "max_diff_tokens", 1000),
                ("search_docs", "maxnum", 10),
                ("search_docs", "max_disp_len", 10_000),
            )
            for wrong in (0, -1, most + 1, 1.0, "1", True)
        ),
        ({"query_type": "ntd", "query": "a", "max_support": 1001}, "max_support must be an integer in [1, 1000]!"),
        ({"query_type": "infgram_ntd", "query": "a", "max_support": 0}, "max_support must be an integer in [1, 1000]!"),
        ({"query_type": "prob", "query": ""}, "Please provide a non-empty query!"),
        ({"query_type": "infgram_prob", "query_ids": []}, "Please provide a non-empty query!"),
        ({"query_type": "count", "query": "Paris AND "}, CLAUSES),
        ({"query_type": "count", "query": " AND "}, CLAUSES),
        ({"query_type": "count", "query_ids": [[[]]]}, CLAUSES),
        ({"query_type": "count", "query_ids": [[]]}, CLAUSES),
        ({"query_type": "find_cnf", "query": "Paris"}, CLAUSES),
        ({"query_type": "count_cnf", "query": "Paris"}, CLAUSES),
        ({"query_type": "search_docs_cnf", "query": "Paris"}, CLAUSES),
        ({"query_type": "find", "query": "a AND b"}, "input_ids must be a list of integers in range [0, 255]"),
        ({"query_type": "prob", "query": "a AND b"}, "prompt_ids must be a list of integers in range [0, 255]"),
        ({"query_type": "ntd", "query": "a OR b"}, "prompt_ids must be a list of integers in range [0, 255]"),
        *(
            ({"query_type": "get_doc_by_rank", "query": "a", "s": s, "rank": 0}, "s must be an integer in range [0, 2)")
            for s in (2, -1, "0", None, True)
        ),
        (
            {"query_type": "get_doc_by_rank", "query": "a", "s": 1, "rank": 59},
            "rank must be an integer in range [0, 59)",
        ),
        (
            {"query_type": "get_doc_by_ptr", "query": "a AND b", "s": 1, "ptr": 59},
            "ptr must be an integer in range [0, 59)",
        ),
    ],
)
def test_a_value_out_of_range_gets_an_error_with_tokens_and_200(ask: Any, body: dict[str, Any], error: str) -> None:
    status, answer = ask(**body)
    assert (status, answer["error"]) == (200, error)
    assert sorted(answer) == ["error", "latency", "token_ids", "tokens"]


@pytest.mark.parametrize(
    ("content", "media_type", "status"),
    [
        (b"{", "application/json", 400),
        (b"", "application/json", 400),
        (b"\xff\xfe\x00", "application/json", 400),
        (b"[" * 100_000, "application/json", 400),
        (b"9" * 10_000, "application/json", 400),
        (b"[1, 2]", "application/json", 400),  # the API returns 500
        (b'"Paris"', "application/json", 400),
        (b'{"index": "toy"}', "text/plain", 415),
        (b"index=toy", "application/x-www-form-urlencoded", 415),
    ],
)
def test_a_body_that_is_not_a_json_object_is_refused_in_json(
    toy_url: str, content: bytes, media_type: str, status: int
) -> None:
    reply = httpx.post(toy_url, content=content, headers={"Content-Type": media_type})
    assert reply.status_code == status
    assert reply.json()["error"].startswith("[Flask] ")


def test_invalid_characters_are_harmless(toy_url: str) -> None:
    for query in (r"\ud800", r"\u0000", r"\ud83d\ude00"):
        body = f'{{"index": "toy", "query_type": "count", "query": "{query}"}}'
        reply = httpx.post(toy_url, content=body, headers={"Content-Type": "application/json"})
        assert (reply.status_code, reply.json()["count"]) == (200, 0)
    body = r'{"index": "\ud800", "query_type": "count", "query": "a", "\ud800": 1}'
    reply = httpx.post(toy_url, content=body, headers={"Content-Type": "application/json"})
    assert (reply.status_code, reply.json()["error"]) == (400, "[Flask] Invalid index: \ud800")


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 300) | st.floats() | st.text(max_size=4) | st.integers(),
    lambda inside: st.lists(inside, max_size=4) | st.dictionaries(st.text(max_size=3), inside, max_size=2),
    max_leaves=8,
)
QUERIES = st.text(st.sampled_from("Parisf ANDOR\\x\ud800\0é"), max_size=20)
IDS = st.lists(st.integers(0, 255), max_size=4)


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
@given(
    body=st.fixed_dictionaries(
        {"index": st.sampled_from(["toy"]) | ANYTHING, "query_type": st.sampled_from(QUERY_TYPES) | ANYTHING},
        optional={
            "query": QUERIES | ANYTHING,
            "query_ids": IDS | st.lists(st.lists(IDS, max_size=3), max_size=3) | ANYTHING,
            **{name: st.integers(0, 60) | ANYTHING for name in ("s", "rank", "ptr", *RANGES)},
        },
    )
)
def test_any_request_is_answered_or_refused(toy_url: str, body: dict[str, Any]) -> None:
    content = json.dumps(body).encode()  # with NaN and half surrogates
    reply = httpx.post(toy_url, content=content, headers={"Content-Type": "application/json"})
    assert reply.status_code in (200, 400), reply.text
    answer = json.loads(reply.content, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert ("error" in answer) or {"token_ids", "tokens", "latency"} <= answer.keys()
    assert reply.status_code == 200 or list(answer) == ["error"]


def test_old_names_and_ignored_keys_are_accepted(ask: Any) -> None:
    _, expected = ask(query_type="count", query="Paris")
    for extra in (
        {"corpus": "toy", "index": "no such index"},
        {"engine": "c++", "source": "test", "timestamp": 0},
        {"max_diff_tokens": 5, "max_clause_freq": 5, "maxnum": 1},  # options for clauses on one n-gram
        {"max_diff_tokens": None},
    ):
        status, answer = ask(query_type="count", query="Paris", **extra)
        assert (status, inner(answer)) == (200, inner(expected))


def test_ids_and_their_text_give_the_same_response(ask: Any) -> None:
    paris, france = list(b"Paris"), list(b"France")
    for query, ids in (
        ("Paris", paris),
        ("Paris", [[paris]]),
        ("Paris AND France", [[paris], [france]]),
        ("Paris OR France", [[paris, france]]),
    ):
        _, by_text = ask(query_type="count", query=query)
        _, by_ids = ask(query_type="count", query_ids=ids)
        assert (by_ids["count"], by_ids["doc_count"]) == (by_text["count"], by_text["doc_count"])
        assert by_ids["token_ids"] == ids
    assert ask(query_type="count", query_ids=[65535])[1]["count"] == len(TOY)
    assert ask(query_type="count", query_ids=[])[1]["count"] == 138


def test_pointers_are_listed_up_to_max_clause_freq_but_all_are_counted(ask: Any) -> None:
    _, answer = ask(query_type="find_cnf", query="a AND i", max_clause_freq=3)
    _, whole = ask(query_type="find_cnf", query="a AND i")
    assert answer["cnt"] == whole["cnt"] == sum(map(len, whole["ptrs_by_shard"])) > 3
    assert sum(map(len, answer["ptrs_by_shard"])) == 3
    assert (answer["ptrs_truncated"], whole["ptrs_truncated"]) == (True, False)
    assert answer["approx"] is False


def test_get_lists_the_index_names_at_the_same_url(toy_url: str) -> None:
    assert httpx.get(toy_url, headers={"Accept": "application/json"}).json() == ["toy"]
    assert httpx.get(toy_url).json() == ["toy"]  # clients of the API accept any type
    assert "<html" in httpx.get(toy_url, headers={"Accept": "text/html"}).text


def test_queries_that_need_the_engine_get_an_error_with_200_without_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "infini_gram.engine", None)
    with serving(Settings(indexes=(build(tmp_path, TOY, "bare"),))) as url:
        for query_type in ("ntd", "infgram_ntd", "infgram_prob"):
            reply = httpx.post(url, json={"index": "bare", "query_type": query_type, "query": "Pari"})
            assert reply.status_code == 200
            assert "pip install 'factcensus[engine]'" in reply.json()["error"]
            assert sorted(reply.json()) == ["error", "latency", "token_ids", "tokens"]
        reply = httpx.post(url, json={"index": "bare", "query_type": "prob", "query": "Paris"})
        assert reply.json()["prob"] == 1.0


def test_a_distribution_is_approximate_only_above_max_support(ask: Any) -> None:
    for support, approx in ((1000, False), (1, True), (None, False)):
        _, answer = ask(query_type="ntd", query="a", max_support=support)
        assert (answer["prompt_cnt"], answer["approx"]) == ("".join(TOY).count("a"), approx)


def test_an_index_that_infini_gram_built_is_queried_in_the_same_way(tmp_path: Path) -> None:
    own, published = build(tmp_path, TOY[:2], "own"), tmp_path / "published"
    published.mkdir()
    for name in ("tokenized.0", "table.0", "offset.0"):
        shutil.copy(own / name, published)
    lines = [json.dumps({"path": "a.jsonl", "linenum": n, "metadata": {"lang": "en"}}) + "\n" for n in range(2)]
    (published / "metadata.0").write_text("".join(lines), encoding="ascii")
    (published / "metaoff.0").write_bytes(struct.pack("<QQ", 0, len(lines[0])))
    with serving(Settings(indexes=(own, published))) as url:
        for query_type, query, option in (
            ("count", "Paris AND France", {}),
            ("find", "Paris", {}),
            ("ntd", "Pari", {}),
            ("get_doc_by_rank", "Paris", {"s": 0, "rank": 20}),
        ):
            body = {"query_type": query_type, "query": query, **option}
            first, second = (httpx.post(url, json=body | {"index": name}).json() for name in ("own", "published"))
            if query_type == "get_doc_by_rank":
                assert second.pop("metadata") in lines
                assert json.loads(first.pop("metadata"))["metadata"]["source"] == "toy"
            assert inner(first) == inner(second)


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (DeadlineError("the count was stopped"), 504, "[Flask] Web request timed out: the count was stopped"),
        (IndexFormatError("/secret/path is damaged"), 500, "[Flask] Internal server error: "),
    ],
)
def test_internal_errors_have_the_form_of_the_api_and_no_details(
    toy_url: str, monkeypatch: pytest.MonkeyPatch, error: Exception, status: int, message: str
) -> None:
    def fail(_: object) -> None:
        raise error

    monkeypatch.setattr("factcensus.api.routes.infini_gram.answer", fail)
    reply = httpx.post(toy_url, json={"index": "toy", "query_type": "count", "query": "a"})
    assert reply.status_code == status
    assert reply.json()["error"].startswith(message)
    assert "secret" not in reply.text


def test_an_unopened_index_gets_503(tmp_path: Path) -> None:
    folder = build(tmp_path, TOY, "damaged")
    (folder / "manifest.json").write_text("{", encoding="utf-8")
    with serving(Settings(indexes=(folder,))) as url:
        reply = httpx.post(url, json={"index": "damaged", "query_type": "count", "query": "a"})
    assert reply.status_code == 503
    assert "not open" in reply.json()["error"]


def documented_client(url: str, payload: dict[str, Any]) -> dict[str, Any]:
    """The example of the API documentation works with another URL."""
    result: dict[str, Any] = httpx.post(url, json=payload).json()
    return result


def test_a_client_of_the_api_works_after_changing_the_url(tmp_path: Path) -> None:
    folder = build(tmp_path, TOY, "v4_toy_bytes", shard_tokens=80)
    with started(folder, "--port", "0") as (process, url):
        with Client(url) as client:
            client.wait_ready(300)
        payload = {"index": "v4_toy_bytes", "query_type": "count", "query": "capital of France"}
        result = documented_client(f"{url}/", payload)
        assert (result["count"], result["approx"], len(result["tokens"])) == (2, False, 17)
        # Documents are found with find and then fetched by rank.
        found = documented_client(url, payload | {"query_type": "find"})
        documents = [
            documented_client(url, payload | {"query_type": "get_doc_by_rank", "s": s, "rank": rank})
            for s, (low, high) in enumerate(found["segment_by_shard"])
            for rank in range(low, high)
        ]
        assert sorted("".join(text for text, _ in each["spans"]) for each in documents) == sorted(TOY[:2])
        process.terminate()
        process.communicate(timeout=20)
    assert process.returncode == 0
