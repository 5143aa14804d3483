"""docker-compose.yml is valid, and its commands, run as plain processes on loopback, create counts from a corpus.

``.ci/stack`` tests the images and the stack in containers, which needs a container engine.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatch
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import pytest
import yaml

from factcensus.indexer.tables.files import read_table
from servers import reserved_port

REPOSITORY = Path(__file__).resolve().parents[2]
COMPOSE = REPOSITORY / "docker-compose.yml"
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))["services"]
DOCKERFILE = (REPOSITORY / "api" / "Dockerfile").read_text(encoding="utf-8")
#: Files of the repository that are in the build context.
KEPT = (REPOSITORY / ".dockerignore").read_text(encoding="utf-8").splitlines()
#: Folder of the executables in an image; in these tests they are next to the running Python.
BIN = Path(sys.executable).parent


def compose_command() -> list[str] | None:
    """Return the command of Compose v2, or of v1, or None."""
    for command in (["docker", "compose"], ["docker-compose"]):
        found = shutil.which(command[0])
        if found and subprocess.run([*command, "version"], capture_output=True, check=False).returncode == 0:
            return command
    return None


def test_the_file_follows_the_compose_specification() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(COMPOSE)]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize("profile", [[], ["--profile", "gpu"]])
def test_compose_itself_accepts_the_file(profile: list[str]) -> None:
    command = compose_command()
    if command is None:
        pytest.skip("neither 'docker compose' nor 'docker-compose' is installed")
    checked = subprocess.run(
        [*command, *profile, "-f", str(COMPOSE), "config", "-q"], capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stderr) == (0, "")


def test_compose_accepts_the_example_for_another_corpus(tmp_path: Path) -> None:
    command = compose_command()
    if command is None:
        pytest.skip("neither 'docker compose' nor 'docker-compose' is installed")
    page = (REPOSITORY / "docs" / "service.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"^```yaml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    override = tmp_path / "docker-compose.override.yml"
    override.write_text(example, encoding="utf-8")
    merged = subprocess.run(
        [*command, "-f", str(COMPOSE), "-f", str(override), "config"], capture_output=True, text=True, check=False
    )
    assert merged.returncode == 0, merged.stderr
    services = yaml.safe_load(merged.stdout)["services"]
    assert services["corpus"]["entrypoint"] == ["true"]
    assert "/data/indexes/mine" in services["api"]["command"]
    added = len(services["indexer"]["volumes"]) - len(SERVICES["indexer"]["volumes"])
    assert added == 1, "the corpus is added to the volumes of the stack and does not replace them"


def test_every_build_uses_existing_files() -> None:
    for source in re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE):
        assert all((REPOSITORY / path).exists() for path in source.split()), source
        assert all(any(fnmatch(f"!{path}", kept) for kept in KEPT) for path in source.split()), (
            "the file is not in the build context"
        )
    for service in SERVICES.values():
        for volume in service["volumes"]:
            source = volume.partition(":")[0]
            assert not source.startswith(".") or (REPOSITORY / source).is_file()


def test_the_service_waits_for_the_index_and_the_workers_for_the_service() -> None:
    conditions = {
        name: {other: rule["condition"] for other, rule in service.get("depends_on", {}).items()}
        for name, service in SERVICES.items()
    }
    assert conditions == {
        "corpus": {},
        "indexer": {"corpus": "service_completed_successfully"},
        "api": {"indexer": "service_completed_successfully"},
        "worker": {"api": "service_healthy"},
        "worker-gpu": {"api": "service_healthy"},
    }
    assert "profiles" not in SERVICES["worker"]
    assert SERVICES["worker-gpu"]["profiles"] == ["gpu"]
    assert all("ulimits" not in service for service in SERVICES.values())


def test_every_container_is_restricted() -> None:
    for name, service in SERVICES.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["tmpfs"][0].startswith("/tmp:size="), name  # noqa: S108  # in a container
        assert re.fullmatch(r"\$\{[A-Z]+_MEMORY:-\d+g\}", service["mem_limit"]), name
        assert "limits" not in service.get("deploy", {}).get("resources", {}), (
            f"{name} would be refused together with pids_limit"
        )
        assert service["pids_limit"] > 0, name
        writable = [volume for volume in service["volumes"] if not volume.endswith(":ro")]
        assert not any(volume.startswith(".") for volume in writable), f"{name} writes to the host"
    assert SERVICES["corpus"]["network_mode"] == SERVICES["indexer"]["network_mode"] == "none"
    assert SERVICES["api"]["ports"] == ["127.0.0.1:8080:8080"]
    assert "indexes:/data/indexes:ro" in SERVICES["api"]["volumes"]


def test_the_images_contain_every_file_that_the_package_is_built_from() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    hatch = project["tool"]["hatch"]
    wheel = hatch["build"]["targets"]["wheel"]
    readme = [each["path"] for each in hatch["metadata"]["hooks"]["fancy-pypi-readme"]["fragments"] if "path" in each]
    assert readme
    needed = {*readme, *project["project"]["license-files"], *wheel["only-include"]}
    needed |= {hook["path"] for hook in wheel.get("hooks", {}).values()}
    copied = {path for line in re.findall(r"^COPY (.+) \S+$", stage("source"), re.MULTILINE) for path in line.split()}
    assert needed <= copied


def stage(name: str) -> str:
    """Return the instructions of one stage of the Dockerfile."""
    (found,) = re.findall(rf"^FROM \S+ AS {name}\n(.*?)(?=^FROM |\Z)", DOCKERFILE, re.MULTILINE | re.DOTALL)
    return str(found)


def test_every_service_is_built_from_its_target_of_the_one_dockerfile() -> None:
    builds = {name: service["build"] for name, service in SERVICES.items()}
    assert {build["dockerfile"] for build in builds.values()} == {"api/Dockerfile"}
    targets = {name: build["target"] for name, build in builds.items()}
    assert targets == {
        "corpus": "indexer",
        "indexer": "indexer",
        "api": "api",
        "worker": "worker",
        "worker-gpu": "worker",
    }


def test_images_share_a_pinned_base_and_an_unprivileged_user() -> None:
    (base,) = re.findall(r"^ARG PYTHON_IMAGE=(.+)$", DOCKERFILE, re.MULTILINE)
    assert re.fullmatch(r"python:3\.11\.\d+-slim-[a-z]+", base)
    bases = re.findall(r"^FROM (\S+) AS (\S+)$", DOCKERFILE, re.MULTILINE)
    targets = ("indexer", "api", "worker")
    assert {base for base, name in bases if name in targets} == {"runtime"}
    assert {name: base for base, name in bases}["runtime"] == "${PYTHON_IMAGE}"
    assert "--uid 10001" in stage("runtime")
    for target in targets:
        assert f"COPY --from=build-{target} " in stage(target)
        assert "\nUSER factcensus\n" in stage(target)
        assert "pip" not in stage(target), "the final image stage installs nothing"
    without_torch = "".join(
        stage(name) for name in ("build", "runtime", "build-indexer", "indexer", "build-api", "api")
    )
    assert not any("torch" in line for line in without_torch.splitlines() if not line.startswith("#"))


def test_the_stack_script_reports_a_skip_without_a_container_engine(tmp_path: Path) -> None:
    """Without a container engine it exits with status 0 and SKIPPED, or 1 if --require is given."""
    (tmp_path / "docker").write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
    (tmp_path / "unshare").write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
    for name in ("docker", "unshare"):
        (tmp_path / name).chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}",
        "STACK_DIR": str(tmp_path / "w"),
    }
    for options, code in (([], 0), (["--require"], 1)):
        done = subprocess.run(
            [REPOSITORY / ".ci" / "stack", *options], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == code, done.stdout + done.stderr
        assert "SKIPPED, not passed" in done.stdout
        assert "PASSED" not in done.stdout


class Stack:
    """The services as processes, with paths below ``/data`` and ``/config``, host names and the port replaced."""

    def __init__(self, root: Path, port: int) -> None:
        self.port = port
        self._mapping = [
            ("/data", str(root)),
            ("/var/cache/factcensus", str(root / "compiled")),
            ("/config/compose.toml", str(REPOSITORY / "unlearn" / "compose.toml")),
            ("0.0.0.0", "127.0.0.1"),  # noqa: S104  # what the file says, to be replaced
            ("http://api:", "http://127.0.0.1:"),
            ("8080", str(self.port)),
            ("$$", "$"),
        ]
        for volume in ("corpora", "indexes", "runs", "jobs"):
            (root / volume).mkdir()

    def mapped(self, text: str) -> str:
        for there, here in self._mapping:
            text = text.replace(there, here)
        return text

    def command(self, name: str) -> list[str]:
        service = SERVICES[name]
        return [self.mapped(part) for part in (*service.get("entrypoint", ["factcensus"]), *service["command"])]

    def environment(self, name: str) -> dict[str, str]:
        own = {key: self.mapped(value) for key, value in SERVICES[name].get("environment", {}).items()}
        return {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", **own}

    def run(self, name: str, command: list[str] | None = None, timeout_s: float = 600) -> None:
        done = subprocess.run(
            command or self.command(name),
            env=self.environment(name),
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_s,
        )
        assert done.returncode == 0, f"{name}: {done.stderr[-3000:]}"

    def wait_healthy(self, name: str) -> None:
        _, *test = (self.mapped(part) for part in SERVICES[name]["healthcheck"]["test"])
        deadline = time.monotonic() + 300
        while subprocess.run(test, env=self.environment(name), capture_output=True, check=False).returncode:
            assert time.monotonic() < deadline, f"{name} did not become healthy"
            time.sleep(0.2)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stack, Path]]:
    """Run all services before the worker in the order of their dependencies; end the service by its process id."""
    root = tmp_path_factory.mktemp("data")
    order = TopologicalSorter({name: service.get("depends_on", {}) for name, service in SERVICES.items()})
    before_api = [name for name in order.static_order() if not name.startswith(("api", "worker"))]
    with reserved_port() as port:
        stack = Stack(root, port)
        for name in before_api:
            stack.run(name)
        with subprocess.Popen(
            stack.command("api"), env=stack.environment("api"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as api:
            try:
                stack.wait_healthy("api")
                yield stack, root
            finally:
                api.terminate()
                assert api.wait(60) == 0


def test_the_commands_create_strata_from_a_corpus(stack: tuple[Stack, Path]) -> None:
    services, root = stack
    *shell, script = services.command("worker")
    counting = "\n".join(line for line in script.splitlines() if re.match(r"mkdir|factcensus facts", line))
    services.run("worker", [*shell, counting])
    strata = read_table(root / "runs" / "cpu" / "strata.parquet").to_pylist()
    # A biography mentions the person once per fact; a copy as a question names both too.
    exact = [fact for fact in strata if fact["role"] in ("forget", "bystander")]
    assert exact
    assert all(fact["cooccurrence_documents"] == fact["exposures"] for fact in exact)
    assert {fact["index"] for fact in strata} == {"world"}


def test_a_second_start_keeps_existing_files(stack: tuple[Stack, Path]) -> None:
    services, root = stack
    before = (root / "indexes" / "world" / "manifest.json").stat().st_mtime_ns
    services.run("corpus")
    services.run("indexer")
    assert (root / "indexes" / "world" / "manifest.json").stat().st_mtime_ns == before


@pytest.mark.full
def test_the_worker_writes_a_report(stack: tuple[Stack, Path]) -> None:
    services, root = stack
    services.run("worker", timeout_s=1800)
    assert (root / "runs" / "cpu" / "report.html").stat().st_size > 10_000
    services.run("worker", timeout_s=1800)  # like a second `up`
