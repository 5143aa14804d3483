"""The types, names and texts that an editor shows for the client and the functions of the indexer."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

import factcensus.api.client as client
import factcensus.indexer as indexer

SCRIPT = """
import asyncio

from factcensus.api.client import AsyncClient, Client, UnreachableError
from factcensus.indexer import CountIndex, Entity, read_facts, stratify, write_table

with Client("http://127.0.0.1:8080", api_key="x") as client:
    client.wait_ready(5)
    print([each.name for each in client.indexes()], client.index("wiki").documents)
    answer = client.cooccurrence("wiki", Entity("Peru", ("Republic of Peru",)), "Lima", window=10, by="source")
    number: int = answer.cooccurrence.documents
    print(number, [group.cooccurrence.pairs for group in (answer.groups or {}).values()])
    print(client.count("wiki", "Peru", filter={"source": "books"}).occurrences)
    for page in client.documents("wiki", text="Peru"):
        print([document.id for document in page.documents])
    counts = client.count_facts("wiki", [{"subject": "Peru", "object": "Lima"}], windows=[10])
    print(counts.num_rows, client.submit_facts("wiki", "facts.csv").result())
    print([span.start for span in client.trace("wiki", "Lima is").spans], client.complete("wiki", "Lim"))


async def main() -> None:
    async with AsyncClient("http://127.0.0.1:8080") as client:
        one, other = await asyncio.gather(client.count("wiki", "a"), client.cooccurrence("wiki", "a", "b"))
        print(one.documents, other.cooccurrence)
        job = await client.submit_facts("wiki", read_facts("facts.csv"))
        print(await job.wait(), await job.result())


try:
    asyncio.run(main())
except UnreachableError as error:
    print(error.detail)
with CountIndex.open("indexes/wiki") as index:
    write_table(stratify(index.count_facts("facts.csv")), "strata.parquet")
"""


def public() -> Iterator[tuple[str, Any]]:
    """Yield the public functions, classes and methods with their names."""
    for module in (client, indexer):
        for name in module.__all__:
            thing = getattr(module, name)
            yield name, thing
            if inspect.isclass(thing):
                yield from (
                    (f"{name}.{each}", value) for each, value in vars(thing).items() if not each.startswith("_")
                )


def test_everything_public_has_a_text_of_its_own() -> None:
    texts = {name: inspect.getdoc(thing) or "" for name, thing in public() if callable(thing)}
    assert len(texts) > 60
    assert [name for name, text in texts.items() if len(text.split()) < 3 or text.startswith("See ")] == []


def test_no_public_type_is_one_of_pyarrow_which_has_no_types() -> None:
    written = {name: str(inspect.signature(thing)) for name, thing in public() if inspect.isfunction(thing)}
    assert [name for name, signature in written.items() if "pa." in signature] == []
    assert "ArrowTable" in written["Client.count_facts"]


@pytest.mark.full
def test_a_strict_type_checker_knows_every_type(tmp_path: Path, missing: Callable[[str], NoReturn]) -> None:
    (tmp_path / "script.py").write_text(SCRIPT, encoding="utf-8")
    (tmp_path / "pyrightconfig.json").write_text('{"typeCheckingMode": "strict"}', encoding="utf-8")
    command = [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, "--outputjson", "script.py"]
    found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    try:
        report = json.loads(found.stdout)
    except ValueError:
        missing(f"pyright does not run: {found.stderr[-200:]}")
    assert [each["message"] for each in report["generalDiagnostics"]] == []
