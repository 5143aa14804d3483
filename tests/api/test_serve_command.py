"""``factcensus serve`` as a process: it prints its URL, shuts down in order, and reports errors in one line."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from loopback import until

from factcensus.api.client import Client
from factcensus.api.errors import ListenError
from factcensus.api.server import listen

COMMAND = [sys.executable, "-m", "factcensus", "serve"]


def run(*arguments: str | Path, **env: str) -> subprocess.CompletedProcess[str]:
    command = [*COMMAND, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, env=os.environ | env)


@contextmanager
def started(*arguments: str | Path, **env: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Yield the process and the URL that it printed; end the process if it still runs."""
    command = [*COMMAND, *map(str, arguments)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | env
    ) as process:
        try:
            assert process.stderr is not None
            line = process.stderr.readline()
            found = re.search(r"http://\S+", line)
            assert found, line
            yield process, found[0]
        finally:
            if process.poll() is None:
                process.terminate()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_the_response_body_does_not_wait_for_the_acknowledgement_of_the_headers(host: str) -> None:
    try:
        listener = listen(host, 0)
    except ListenError:
        pytest.skip(f"nothing can listen on {host} here")
    with listener, socket.create_connection(listener.getsockname()[:2]), listener.accept()[0] as accepted:
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_causes_an_orderly_shutdown(index_folder: Path, number: signal.Signals) -> None:
    with started(index_folder, "--port", "0") as (process, url):
        with Client(url) as client:
            client.wait_ready(300)
            assert client.count("tiny", "Paris").documents == 3
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+", url)
        process.send_signal(number)
        out, errors = process.communicate(timeout=60)
    assert process.returncode == 0
    assert out == ""
    assert re.search(r"INFO \w{32} POST /v1/indexes/tiny/count 200 \d+\.\d ms", errors)
    assert "/readyz" not in errors
    assert "Traceback" not in errors


def is_refused(url: str) -> bool:
    """Return whether the service accepts no connection."""
    try:
        httpx.get(f"{url}/healthz")
    except httpx.TransportError:
        return True
    return False


def test_a_request_in_flight_is_answered_after_the_signal(index_folder: Path) -> None:
    body = b'{"text": "Paris"}'
    with started(index_folder, "--port", "0") as (process, url):
        connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=60)
        connection.putrequest("POST", "/v1/indexes/tiny/count")
        connection.putheader("Content-Type", "application/json")
        connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body[:5])
        until(lambda: "factcensus_http_requests_in_flight 2.0" in httpx.get(f"{url}/metrics").text)
        process.terminate()
        until(lambda: is_refused(url))
        connection.send(body[5:])
        answer = connection.getresponse()
        assert (answer.status, json.loads(answer.read())["documents"]) == (200, 3)
        connection.close()
        process.communicate(timeout=60)
    assert process.returncode == 0


def test_the_environment_sets_options_that_are_not_given(index_folder: Path) -> None:
    env = {"FACTCENSUS_PORT": "0", "FACTCENSUS_HOST": "localhost", "FACTCENSUS_LOG_LEVEL": "warning"}
    with started(index_folder, **env) as (process, url):
        with Client(url) as client:
            client.wait_ready(300)
        process.terminate()
        _, errors = process.communicate(timeout=60)
    assert errors in ("", "factcensus: compiling counting code for this machine; later commands reuse it\n")


def test_two_folders_with_the_same_name_are_wrong_usage(index_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(index_folder, tmp_path / "tiny")
    refused = run(index_folder, tmp_path / "tiny", "--port", "0")
    assert refused.returncode == 2
    assert re.fullmatch(r"factcensus: error: two index folders are named 'tiny' .*\n", refused.stderr)


@pytest.mark.parametrize(
    "arguments", [["index", "--port", "x"], ["index", "--port", "65536"], ["index", "--port", "-1"], ["--bogus"]]
)
def test_wrong_usage_is_one_line_with_exit_status_2(arguments: list[str]) -> None:
    refused = run(*arguments)
    assert refused.returncode == 2
    assert re.fullmatch(r"factcensus( serve)?: error: .*\n", refused.stderr)


def test_a_missing_folder_is_wrong_usage(tmp_path: Path) -> None:
    refused = run(tmp_path / "absent", "--port", "0")
    assert refused.returncode == 2
    assert refused.stderr == f"factcensus: error: no index folder at {tmp_path / 'absent'}\n"


def test_an_invalid_variable_is_wrong_usage(index_folder: Path) -> None:
    refused = run(index_folder, FACTCENSUS_MAX_FACTS="many")
    assert refused.returncode == 2
    assert "FACTCENSUS_MAX_FACTS is 'many'" in refused.stderr


def test_a_damaged_index_fails_before_the_server_starts(index_folder: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(index_folder, damaged)
    (damaged / "manifest.json").write_text("{", encoding="utf-8")
    refused = run(index_folder, damaged, "--port", "0")
    assert refused.returncode == 1
    assert re.fullmatch(r"factcensus: error: .*damaged.*\n", refused.stderr)


def test_a_port_in_use_is_reported(index_folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = run(index_folder, "--port", str(port))
    assert refused.returncode == 1
    assert re.fullmatch(
        rf"factcensus: error: cannot listen on 127\.0\.0\.1 port {port}: .*choose another --port.*\n", refused.stderr
    )


def test_help_is_fast_and_shows_an_example() -> None:
    code = (
        "import sys; from factcensus.indexer.cli.root import build_root; build_root(); "
        "print(*({'fastapi', 'uvicorn', 'numba', 'pyarrow', 'httpx', 'torch'} & set(sys.modules)))"
    )
    quick = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (quick.returncode, quick.stdout, quick.stderr) == (0, "\n", "")
    shown = run("--help")
    assert shown.returncode == 0
    assert "example:\n  factcensus serve " in shown.stdout
    assert "8080" in shown.stdout


@pytest.mark.parametrize("command", [["--help"], ["serve", "--help"]])
def test_help_does_not_load_the_libraries_of_the_service(command: list[str]) -> None:
    check = (
        "import sys\nfrom factcensus.indexer.cli import main\n"
        f"try: main({command!r})\nexcept SystemExit: pass\n"
        "sys.exit(', '.join({'pydantic', 'fastapi', 'uvicorn', 'numba'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=False, timeout=300)
    assert (done.returncode, done.stderr) in ((0, ""), (1, "\n")), done.stderr
