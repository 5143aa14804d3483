"""The examples run as a reader would run them: notebooks in a real kernel, and units with options that exist."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import nbformat
import pytest
import yaml
from nbclient import NotebookClient

from factcensus.api.commands import add_commands
from factcensus.indexer.environment import known_variables

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.mark.filterwarnings("ignore")  # of the kernel's libraries
@pytest.mark.parametrize("notebook", sorted(EXAMPLES.glob("*.ipynb")), ids=lambda path: path.stem)
def test_every_cell_of_a_notebook_runs_and_runs_again(notebook: Path, tmp_path: Path) -> None:
    cells = nbformat.read(notebook, as_version=4)
    assert not [cell for cell in cells.cells if cell.get("outputs")], "notebooks are stored without outputs"
    resources = {"metadata": {"path": str(tmp_path)}}
    for _ in range(2):
        NotebookClient(cells, timeout=600, kernel_name="python3", resources=resources).execute()
    shown = [output for cell in cells.cells for output in cell.get("outputs", []) if "data" in output]
    assert any("text/html" in output["data"] for output in shown), "answers are shown as tables"


def served(arguments: list[str]) -> Any:
    """Parse the arguments of ``factcensus serve``; raises an error for unknown options."""
    root = click.Group()
    add_commands(root)
    return root.commands["serve"].make_context("serve", arguments)


def test_the_systemd_unit_uses_options_and_variables_that_exist() -> None:
    unit = (EXAMPLES / "factcensus.service").read_text(encoding="utf-8")
    (command,) = re.findall(r"^ExecStart=\S+/factcensus serve (.*)$", unit, re.MULTILINE)
    assert served(shlex.split(command))
    assert set(re.findall(r"^#?\s*Environment=(\w+)=", unit, re.MULTILINE)) <= set(known_variables())


def test_the_systemd_unit_creates_the_folders_that_the_service_needs() -> None:
    unit = (EXAMPLES / "factcensus.service").read_text(encoding="utf-8")
    (created,) = re.findall(r"^StateDirectory=(.*)$", unit, re.MULTILINE)
    needed = re.findall(r"^Environment=FACTCENSUS_(?:INDEXES_IN|JOBS_FOLDER)=(.*)$", unit, re.MULTILINE)
    assert needed == [f"/var/lib/{folder}" for folder in created.split()]


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="checking a unit needs systemd-analyze")
def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    unit = (EXAMPLES / "factcensus.service").read_text(encoding="utf-8")
    installed = tmp_path / "factcensus.service"
    installed.write_text(unit.replace("/opt/factcensus/bin/factcensus", sys.executable), encoding="utf-8")
    done = subprocess.run(["systemd-analyze", "verify", installed], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_kubernetes_manifest_uses_options_variables_and_routes_that_exist() -> None:
    text = (EXAMPLES / "kubernetes.yaml").read_text(encoding="utf-8")
    objects = list(yaml.safe_load_all(text))
    assert [each["kind"] for each in objects] == ["PersistentVolumeClaim", "Deployment", "Service"]
    pod = objects[1]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["args"][0] == "serve"
    assert served(container["args"][1:])
    assert {each["name"] for each in container["env"]} <= set(known_variables())
    (keys_file,) = re.findall(r"--from-file=(\S+)", text)
    assert {"name": "FACTCENSUS_KEYS_FILE", "value": f"/etc/factcensus/{keys_file}"} in container["env"]
    probes = {container[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "readiness", "liveness")}
    assert probes == {"/readyz", "/healthz"}
    assert {each["name"] for each in container["volumeMounts"]} == {each["name"] for each in pod["volumes"]}
    assert pod["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault", "the restricted security standard"
    dockerfile = (EXAMPLES.parent / "api" / "Dockerfile").read_text(encoding="utf-8")
    assert f"--uid {pod['securityContext']['runAsUser']}" in dockerfile
