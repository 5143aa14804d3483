"""No option that would have no effect is ignored: the command, the function or the route names it and the remedy."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import httpx
import pytest
from test_async_client import asked
from test_service_problems import assert_problem

from factcensus.api.client import Client
from factcensus.api.errors import RejectedError
from factcensus.indexer import CountIndex, Entity, InputError, build_index
from factcensus.indexer.cli import main

TEXTS = ["Marie Curie was born in Warsaw.", "Maria Skłodowska left Warsaw.", "Paris"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small index ``ix``."""
    made = tmp_path_factory.mktemp("options")
    lines = [json.dumps({"id": f"d{number}", "text": text}) for number, text in enumerate(TEXTS)]
    (made / "c.jsonl").write_text("\n".join(lines), encoding="utf-8")
    build_index([made / "c.jsonl"], made / "ix", jobs=1)
    (made / "facts.csv").write_text("subject,object\nMarie Curie,Warsaw\n", encoding="utf-8")
    return made


#: Command lines, and parts of the message.
COMMANDS = [
    ("documents ix --text Curie --window 3", ["--window", "--object"]),
    ("documents ix --subject Curie --window 3", ["--window", "--object"]),
    ("documents ix --text Curie --subject-alias Marie", ["--subject-alias", "--subject"]),
    ("documents ix --subject Curie --object-alias Warszawa", ["--object-alias", "--object"]),
    ("documents ix --text 123 --region DE", ["--region", "--normalise"]),
    ("documents ix --text 123 --normalise digits --region DE", ["region", "phone"]),
    ("documents ix --pattern a --verbatim", ["--verbatim", "--text"]),
    ("documents ix --text a --order steps.csv", ["unknown option '--order'"]),
    ("documents ix --text a --by step:10", ["--by step:N", "factcensus count"]),
    ("documents ix --text a --anonymous", ["--anonymous", "local index"]),
    ("count ix Curie --top 3", ["--top", "--by"]),
    ("count ix Curie --most-requests 9", ["--most-requests", "local index"]),
    ("count ix Curie --requester-pays", ["--requester-pays", "local index"]),
    ("cooc ix --subject Curie --object Warsaw --order steps.csv", ["--order", "--by step:N"]),
    ("trace ix 'Marie Curie was' --by source", ["unknown option '--by'"]),
    ("ngram prob ix 'Marie Curie' --anonymous", ["--anonymous", "local index"]),
    ("index info ix --anonymous", ["--anonymous", "local index"]),
    ("index build c.jsonl --out new --dry-run --verify", ["--dry-run", "--verify"]),
    ("index build c.jsonl --out new --dry-run --work w", ["--dry-run", "--work"]),
    ("index build c.jsonl --out new --stage spool", ["--stage", "--work"]),
    ("index build c.jsonl --out new --part 0/2", ["--part", "--work"]),
    ("index delete ix --id d0 --region DE", ["--region", "--normalise"]),
    ("index delete ix --id d0 --verbatim", ["--verbatim", "--text"]),
    ("index delete ix --id d0 --asked-by me", ["--asked-by", "--record"]),
    ("index delete ix --id d0 --probe Curie", ["--probe", "--record"]),
    ("facts count facts.csv --index ix --out c.csv --text-field body", ["--text-field", "--scan"]),
    ("facts count facts.csv --scan c.jsonl --out c.csv --where true", ["--where", "index folder"]),
    ("facts count facts.csv --url http://127.0.0.1:1 --index ix --out c.csv --analyzer words", ["--analyzer", "--url"]),
    ("facts count facts.csv --url http://127.0.0.1:1 --index ix --out c.csv --jobs 2", ["--jobs", "--url"]),
    ("facts count facts.csv --index ix --out c.csv --dry-run", ["--dry-run", "local index"]),
    ("facts count facts.csv --index ix --out c.csv --anonymous", ["--anonymous", "local index"]),
    ("facts compare a.csv b.csv --title T", ["--title", "--plot"]),
    ("serve ix --analyzer words", ["--analyzer", "URL"]),
    ("serve ix --anonymous", ["--anonymous", "local index"]),
    ("serve ix --also s3://bucket/ix", ["--also", "URL"]),
    ("unlearn config --example --set seed=1", ["--example", "--set"]),
    ("unlearn config run.toml --schema", ["--schema", "run.toml"]),
    ("unlearn plan run.toml --gpu-memory 80GiB", ["--gpu-memory", "--gpus"]),
    ("world write --out w --question-copies 2 --questions-per-biography 3", ["--question-copies", "give only one"]),
    ("world pretrain w --out m --layers 2", ["--layers", "--width"]),
    ("report run --out r.html --index wiki", ["--index", "--service"]),
    ("eval run m --facts facts.csv --out r --relearn-rate 0.1", ["--relearn-rate", "--attacks"]),
    ("eval run m --facts facts.csv --out r --attacks sample --relearn-rate 0.1", ["--relearn-rate", "relearn"]),
    ("eval run m --facts facts.csv --out r --task-limit 3", ["--task-limit", "--tasks"]),
    ("eval run m --facts facts.csv --out r --neutral-documents 3", ["--neutral-documents", "--neutral"]),
    ("eval run m --facts facts.csv --out r --samples 0 --log-samples", ["--log-samples", "--samples"]),
    ("eval audit m --facts facts.csv --out a --relearn", ["--relearn", "--examples"]),
    ("eval audit m --facts facts.csv --out a --relearn-steps 3", ["--relearn-steps", "--relearn"]),
    ("eval metrics --markdown --json", ["--markdown", "--json"]),
    ("reproduce controlled --out r --plan --jobs 2", ["--plan", "--jobs"]),
]


@pytest.mark.parametrize(("line", "parts"), COMMANDS, ids=[line for line, _ in COMMANDS])
def test_a_command_refuses_an_option_without_effect(
    line: str, parts: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    before = sorted(folder.rglob("*"))
    assert main(shlex.split(line)) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    for part in parts:
        assert part in printed.err
    assert sorted(folder.rglob("*")) == before, "nothing is written"


#: Arguments of ``CountIndex.find_documents``, and fields of ``POST …/documents``, with the named remedy.
QUERIES: list[tuple[dict[str, Any], str]] = [
    ({"text": "Curie", "window": 3}, "object"),
    ({"subject": {"name": "Curie"}, "window": 3}, "object"),
    ({"pattern": "a", "window": 3}, "object"),
    ({"object": {"name": "Warsaw"}}, "subject"),
    ({"text": "Curie", "object": {"name": "Warsaw"}}, "subject"),
    ({"text": "123", "region": "DE"}, "phone"),
    ({"text": "123", "normalise": "email", "region": "DE"}, "phone"),
    ({"subject": {"name": "Curie"}, "verbatim": True}, "text"),
    ({"subject": {"name": "Curie"}, "normalise": "digits"}, "text"),
]
_QUERY_IDS = [" ".join(query) for query, _ in QUERIES]


def arguments(query: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a body as arguments of a Python function."""
    return {name: Entity(value["name"]) if isinstance(value, dict) else value for name, value in query.items()}


@pytest.mark.parametrize(("query", "remedy"), QUERIES, ids=_QUERY_IDS)
def test_python_refuses_an_argument_without_effect(query: dict[str, Any], remedy: str, index: CountIndex) -> None:
    with pytest.raises(InputError, match=remedy):
        index.find_documents(**arguments(query))


@pytest.mark.parametrize(("query", "remedy"), QUERIES, ids=_QUERY_IDS)
def test_the_route_and_both_clients_refuse_a_field_without_effect(
    query: dict[str, Any], remedy: str, http: httpx.Client, url: str
) -> None:
    problem = assert_problem(http.post("/v1/indexes/tiny/documents", json=query), 422, "invalid-request")
    assert remedy in problem["detail"]
    with Client(url) as client, pytest.raises(RejectedError, match=remedy):
        next(client.documents("tiny", **arguments(query)))

    with pytest.raises(RejectedError, match=remedy):
        asked(url, lambda client: anext(client.documents("tiny", **arguments(query))))


def test_aliases_of_a_subject_alone_count_any_of_its_names(http: httpx.Client, url: str, index: CountIndex) -> None:
    subject = Entity("Curie", ("Skłodowska", "Paris"))
    expected = index.find_documents(subject=subject, limit=50)
    assert expected.total > index.find_documents(subject="Curie").total
    body = {"subject": {"name": subject.name, "aliases": list(subject.aliases)}, "limit": 20}
    assert http.post("/v1/indexes/tiny/documents", json=body).json()["total"] == expected.total
    with Client(url) as client:
        assert next(client.documents("tiny", subject=subject)).total == expected.total
    page = asked(url, lambda client: anext(client.documents("tiny", subject=subject)))
    assert page.total == expected.total


@pytest.mark.parametrize(
    ("fields", "part"),
    [
        ({"subject": "Curie", "window": "3"}, "a window need an object"),
        ({"subject": "Curie", "subject_alias": "Marie"}, "aliases"),
        ({"subject": "Curie", "by": "", "only": "wiki"}, "column"),
    ],
)
def test_the_page_refuses_a_field_without_effect(fields: dict[str, str], part: str, http: httpx.Client) -> None:
    reply = http.get("/", params={"index": "tiny", **fields}, headers={"Accept": "text/html"})
    assert reply.status_code == 422
    assert part in reply.text
