"""Every request in docs/service.md is made, in order, and its answer is the one that stands below it.

After a change, ``python tests/api/test_service_docs.py`` writes the answers anew; review the difference.
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

PAGE = Path(__file__).resolve().parents[2] / "docs" / "service.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```\n", re.MULTILINE | re.DOTALL)
WIDTH = 116
#: What differs from one request or machine to the next.
CHANGING = [
    (r"\b[0-9a-f]{32}\b", "REQUEST-ID"),
    (r"\b[0-9a-f]{64}\b", "DIGEST"),  # of files that the version of Arrow has a hand in
    (r'"(bytes|bytes_per_text_byte)":\s*[\d.]+', r'"\1":0'),
    (r'"\d{4}-\d\d-\d\dT[\d:]+Z"', '"MOMENT"'),
    (r'"latency":\s*[\d.e-]+', '"latency":0'),
    (r'"infini-gram [\d.]+"', '"ENGINE"'),
    (r'"(python|version)":\s*"[\d.]+"', r'"\1":"VERSION"'),
]

Exchange = tuple[str, str, str]  # the command, the answer's language, the answer


def exchanges(text: str) -> Iterator[Exchange]:
    """Each curl command of the page and the block below it."""
    blocks = BLOCK.findall(text)
    for (language, command), (answer_language, answer) in pairwise(blocks):
        if language == "sh" and re.match(r"(job=\$\()?curl", command):
            yield command, answer_language, answer


@contextmanager
def example_service(text: str) -> Iterator[tuple[Path, str]]:
    """The page's own corpus, index and service; the folder they are in, and the URL."""
    setup, serve = [command for language, command in BLOCK.findall(text) if language == "sh"][:2]
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
                    client.wait_ready(120)
                yield Path(folder), url
            finally:
                process.terminate()


def ask(command: str, folder: Path, url: str) -> str:
    """What a command of the page prints."""
    here = command.replace("http://127.0.0.1:8080", url)
    done = subprocess.run(["bash", "-euc", here], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.replace(url, "http://127.0.0.1:8080")


def settled(answer: str, language: str) -> Any:
    """An answer without what changes each time; JSON by its value, so that line breaks are free."""
    for pattern, constant in CHANGING:
        answer = re.sub(pattern, constant, answer)
    return json.loads(answer) if language == "json" else answer.strip()


def laid_out(value: Any, indent: int = 0) -> str:
    """JSON for reading: what fits stands on one line."""
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
    """Put the answers of a running service into the page."""
    text = PAGE.read_text(encoding="utf-8")
    with example_service(text) as (folder, url):
        for command, language, old in exchanges(text):
            answer = ask(command, folder, url).strip()
            if language == "json":
                answer = laid_out(json.loads(answer))
            text = text.replace(
                f"{command}```\n\n```{language}\n{old}```", f"{command}```\n\n```{language}\n{answer}\n```"
            )
    PAGE.write_text(text, encoding="utf-8")


@pytest.mark.skipif(not shutil.which("curl"), reason="the page's requests are made with curl")
def test_every_request_has_the_answer_below_it() -> None:
    text = PAGE.read_text(encoding="utf-8")
    with example_service(text) as (folder, url):
        for command, language, answer in exchanges(text):
            assert settled(ask(command, folder, url), language) == settled(answer, language), command


def test_every_route_has_a_request() -> None:
    commands = "\n".join(command for command, _, _ in exchanges(PAGE.read_text(encoding="utf-8")))
    paths = json.loads((PAGE.parents[1] / "api" / "openapi.json").read_text(encoding="utf-8"))["paths"]
    for path in paths:
        if path not in ("/docs", "/metrics"):  # a page, and hundreds of lines
            asked = re.escape(path).replace(r"\{index\}", "people").replace(r"\{job\}", r"\$job")
            assert re.search(asked + r"['?\s]", commands), path


def test_every_kind_of_problem_is_listed() -> None:
    rows = re.findall(r"^\| `([a-z-]+)` \| (\d+) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert {kind: int(status) for kind, status in rows} == {kind: status for kind, (status, _) in KINDS.items()}


if __name__ == "__main__":
    rewrite()
