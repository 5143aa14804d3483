"""Every request in the service's docs pages returns the response shown below it.

After a change, ``python tests/api/test_service_docs.py`` updates the responses in the pages; review the difference.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from factcensus.api.client import Client
from factcensus.api.http.problems import KINDS

ROOT = Path(__file__).resolve().parents[2]
#: The first page sets up the corpus and the service that all pages use.
SERVICE = ROOT / "docs" / "service.md"
REST = ROOT / "docs" / "rest-api.md"
PAGES = (SERVICE, REST, ROOT / "docs" / "infini-gram-api.md")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```\n", re.MULTILINE | re.DOTALL)
WIDTH = 116
#: Patterns of values that differ between requests or machines, each with its replacement.
CHANGING = [
    (r"\b[0-9a-f]{32}\b", "REQUEST-ID"),
    (r"\b[0-9a-f]{64}\b", "DIGEST"),  # depends on the version of Arrow
    (r'"(bytes|bytes_per_text_byte|kept_bytes_per_text_byte)":\s*[\d.]+', r'"\1":0'),
    (r'"\d{4}-\d\d-\d\dT[\d:]+Z"', '"MOMENT"'),
    (r'"latency":\s*[\d.e-]+', '"latency":0'),
    (r'"infini-gram [\d.]+"', '"ENGINE"'),
    (r'"(python|version)":\s*"[\d.]+"', r'"\1":"VERSION"'),
]

Exchange = tuple[str, str, str]  # the command, the language of the response block, the response


def exchanges(page: Path) -> Iterator[Exchange]:
    """Yield each curl command of the page with the block below it."""
    blocks = BLOCK.findall(page.read_text(encoding="utf-8"))
    for (language, command), (answer_language, answer) in pairwise(blocks):
        if language == "sh" and re.match(r"(job=\$\()?curl", command):
            yield command, answer_language, answer


@contextmanager
def example_service() -> Iterator[tuple[Path, str]]:
    """Create the corpus and index of the docs, start the service and yield the folder and the URL."""
    blocks = BLOCK.findall(SERVICE.read_text(encoding="utf-8"))
    setup, serve = [command for language, command in blocks if language == "sh"][:2]
    bin_folder = Path(sys.executable).parent
    env = {**os.environ, "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}"}
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["bash", "-euc", setup], cwd=folder, env=env, capture_output=True, check=True)
        command = serve.replace("--port 8080", "--port 0").split()
        with subprocess.Popen(command, cwd=folder, env=env, stderr=subprocess.PIPE, text=True) as process:
            try:
                assert process.stderr is not None
                (url,) = re.findall(r"http://\S+", process.stderr.readline())
                with Client(url) as client:
                    client.wait_ready(300)
                yield Path(folder), url
            finally:
                process.terminate()


def ask(command: str, folder: Path, url: str) -> str:
    """Run a command of a page and return its output."""
    here = command.replace("http://127.0.0.1:8080", url)
    done = subprocess.run(["bash", "-euc", here], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.replace(url, "http://127.0.0.1:8080")


def settled(answer: str, language: str) -> Any:
    """Replace the values of a response that change each time, and parse JSON so that line breaks do not matter."""
    for pattern, constant in CHANGING:
        answer = re.sub(pattern, constant, answer)
    return json.loads(answer) if language == "json" else answer.strip()


def laid_out(value: Any, indent: int = 0) -> str:
    """Format JSON for readers: values that fit are on one line."""
    short = json.dumps(value, ensure_ascii=False)
    if len(short) + indent <= WIDTH or not isinstance(value, (dict, list)):
        return short
    pad = " " * (indent + 2)
    if isinstance(value, dict):
        rows = [f"{pad}{json.dumps(key)}: {laid_out(item, indent + 2)}" for key, item in value.items()]
    else:
        rows = [pad + laid_out(item, indent + 2) for item in value]
    opening, closing = "{}" if isinstance(value, dict) else "[]"
    return f"{opening}\n" + ",\n".join(rows) + f"\n{' ' * indent}{closing}"


def rewrite() -> None:
    """Replace the responses in the pages by those of a running service."""
    with example_service() as (folder, url):
        for page in PAGES:
            text = page.read_text(encoding="utf-8")
            for command, language, old in exchanges(page):
                answer = ask(command, folder, url).strip()
                if language == "json":
                    answer = laid_out(json.loads(answer))
                shown = f"{command}```\n\n```{language}\n"
                text = text.replace(f"{shown}{old}```", f"{shown}{answer}\n```")
            page.write_text(text, encoding="utf-8")


@pytest.mark.skipif(not shutil.which("curl"), reason="the requests of the pages need curl")
def test_every_request_returns_the_response_below_it() -> None:
    with example_service() as (folder, url):
        for page in PAGES:
            for command, language, answer in exchanges(page):
                assert settled(ask(command, folder, url), language) == settled(answer, language), (page.name, command)


def test_every_route_has_an_example() -> None:
    commands = "\n".join(command for page in PAGES for command, _, _ in exchanges(page))
    paths = json.loads((ROOT / "api" / "openapi.json").read_text(encoding="utf-8"))["paths"]
    for path in paths:
        if path not in ("/docs", "/metrics"):  # a page, and hundreds of lines
            asked = re.escape(path).replace(r"\{index\}", "people").replace(r"\{job\}", r"\$job")
            assert re.search(asked + r"['?\s]", commands), path


def test_every_problem_type_is_listed() -> None:
    rows = re.findall(r"^\| `([a-z-]+)` \| (\d+) \|", REST.read_text(encoding="utf-8"), re.MULTILINE)
    assert {kind: int(status) for kind, status in rows} == {kind: status for kind, (status, _) in KINDS.items()}


if __name__ == "__main__":
    rewrite()
