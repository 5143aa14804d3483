"""A build hook that compiles the counting code into the wheel if this machine has a C compiler.

Without one, or if compiling fails, the wheel contains only Python, and Numba compiles the code when it is first used.
FACTCENSUS_NATIVE=0 skips this step.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

COMPILERS = ("cc", "gcc", "clang")
KERNELS = "factcensus/indexer/kernels"
#: Compiling takes about two CPU minutes, in several processes.
MOST_SECONDS = 1200


class KernelHook(BuildHookInterface):  # type: ignore[type-arg]  # its parameter is the configuration of a builder
    """Adds the extension module to wheels. Editable installations compile when code is first used."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        """Return the packages that compilation imports: those of a plain installation."""
        if not self._wanted():
            return []
        project = tomllib.loads((Path(self.root) / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        return [*project["dependencies"], "setuptools>=70"]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile the code, and add the files to the wheel."""
        if version == "editable" or not self._wanted():
            return
        self._folder = tempfile.mkdtemp(prefix="factcensus-kernels-")
        parts = [str(Path(self.root) / part) for part in ("indexer", "api", "unlearn", "eval")]
        paths = [*parts, *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = os.environ | {"FACTCENSUS_NATIVE": "0", "PYTHONPATH": os.pathsep.join(paths)}
        command = [sys.executable, "-m", "factcensus.indexer.kernels.ahead", self._folder]
        try:
            done = subprocess.run(
                command, env=environment, check=True, capture_output=True, text=True, timeout=MOST_SECONDS
            )
        except (OSError, subprocess.SubprocessError) as error:
            details = (getattr(error, "stderr", None) or str(error)).strip()
            self.app.display_warning(
                f"the counting code is not compiled; it will be compiled when it is first used\n{details}"
            )
            return
        if done.stderr.strip():  # functions that are left out
            self.app.display_warning(done.stderr.strip())
        for file in Path(self._folder).iterdir():
            if file.name == "native.json" or file.name.startswith("_native."):
                build_data["force_include"][str(file)] = f"{KERNELS}/{file.name}"
        build_data["pure_python"] = False
        build_data["infer_tag"] = True

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:  # noqa: ARG002
        """Remove the temporary folder."""
        if folder := getattr(self, "_folder", None):
            shutil.rmtree(folder, ignore_errors=True)

    def _wanted(self) -> bool:
        wanted = self.target_name == "wheel" and os.environ.get("FACTCENSUS_NATIVE") != "0"
        return wanted and any(map(shutil.which, COMPILERS))
