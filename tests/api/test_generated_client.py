"""A client that a generator makes from the OpenAPI document has every body type, and its answers are typed."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from factcensus.api.formats import FORMATS
from factcensus.indexer import CountIndex

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "rest-api.md").read_text(encoding="utf-8")
NAME = "generated_client_of_factcensus"


@pytest.fixture(scope="module")
def generated(
    tmp_path_factory: pytest.TempPathFactory, missing: Callable[[str], NoReturn]
) -> Iterator[Callable[[str], ModuleType]]:
    """Generate a client with the settings of the documentation; return a function that imports its modules."""
    if importlib.util.find_spec("openapi_python_client") is None:
        missing("openapi-python-client is not installed: pip install 'factcensus[dev]'")
    folder = tmp_path_factory.mktemp("generated")
    [settings] = re.findall(r"```yaml\n(content_type_overrides:.*?)```", PAGE, re.DOTALL)
    (folder / "generator.yml").write_text(f"post_hooks: []\n{settings}", encoding="utf-8")
    command = [sys.executable, "-c", "from openapi_python_client.cli import app; app()", "generate", "--meta", "none"]
    command += ["--path", str(ROOT / "api" / "openapi.json"), "--config", str(folder / "generator.yml")]
    made = subprocess.run([*command, "--output-path", str(folder / NAME)], capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stdout + made.stderr
    assert "WARNING" not in made.stdout + made.stderr
    sys.path.insert(0, str(folder))
    yield lambda module: importlib.import_module(f"{NAME}.{module}")
    sys.path.remove(str(folder))
    for name in [each for each in sys.modules if each.partition(".")[0] == NAME]:
        del sys.modules[name]


def test_every_body_type_of_a_fact_table_is_kept(generated: Callable[[str], ModuleType]) -> None:
    source = Path(str(generated("api.facts.count_facts").__file__)).read_text(encoding="utf-8")
    assert re.findall(r'headers\["Content-Type"\] = "([^"]+)"', source) == [format.media_type for format in FORMATS]


@pytest.fixture
def client(generated: Callable[[str], ModuleType], url: str) -> Iterator[Any]:
    with generated("client").Client(base_url=url, headers={"Accept": "application/json"}) as made:
        yield made


def test_a_text_is_counted_with_a_typed_body_and_answer(
    generated: Callable[[str], ModuleType], client: Any, index: CountIndex
) -> None:
    count, body = generated("api.counts.count").sync, generated("models").CountBody(text="Paris")
    answer = count("tiny", client=client, body=body)
    assert type(answer).__name__ == "CountAnswer"
    assert (answer.documents, answer.tokens) == (index.count("Paris").documents, ["paris"])
    refused = count("absent", client=client, body=body)
    assert (type(refused).__name__, refused.status) == ("Problem", 404)


def test_facts_are_counted_as_json_and_as_a_parquet_file(
    generated: Callable[[str], ModuleType], client: Any, index: CountIndex
) -> None:
    table = pa.table({"subject": ["Marie Curie"], "object": ["Warsaw"]})
    expected = index.count_facts(table)["cooccurrence_documents"].to_pylist()
    file = BytesIO()
    pq.write_table(table, file)
    body = generated("models").FactsBody.from_dict({"facts": table.to_pylist()})
    for sent in (body, generated("types").File(payload=BytesIO(file.getvalue()))):
        reply = generated("api.facts.count_facts").sync_detailed("tiny", client=client, body=sent)
        assert reply.status_code == 200, reply.content
        assert type(reply.parsed).__name__ == "FactsAnswer"
        assert [fact["cooccurrence_documents"] for fact in reply.parsed.facts] == expected
