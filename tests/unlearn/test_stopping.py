"""SIGTERM is never lost: the handler sets a flag, and the work stops at the next safe point."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from factcensus.unlearn.errors import InterruptedRunError
from factcensus.unlearn.stopping import check_stop, sleep, stop_on_sigterm

KILLS = 8
#: Imports everything a run needs, then starts one run per kill in a forked child.
CHILDREN = """
import json, os, signal, sys, time
import torch, transformers
from factcensus.unlearn import commands, run
from factcensus.unlearn.config.run_config import check_config
torch.set_num_threads(1)
for number, delay in enumerate(json.loads(sys.argv[2])):
    settings = {**json.loads(sys.argv[1]), "out": f"run{number}"}
    ready, tell = os.pipe()
    if not (child := os.fork()):
        from factcensus.unlearn.stopping import stop_on_sigterm
        code = 0
        try:
            with stop_on_sigterm():
                os.write(tell, b"x")
                run.run_unlearning(check_config(settings))
        except BaseException as error:
            code = getattr(error, "exit_code", 99)
        os._exit(code)
    os.read(ready, 1)
    time.sleep(delay)
    os.kill(child, signal.SIGTERM)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Swallows:
    """Sends the signal from a finaliser, where an exception of the handler would be swallowed."""

    def __del__(self) -> None:
        os.kill(os.getpid(), signal.SIGTERM)


def test_signal_during_a_finaliser_still_stops_the_work() -> None:
    with stop_on_sigterm():
        Swallows()
        with pytest.raises(InterruptedRunError):
            check_stop()


def test_nested_blocks_share_one_request_and_restore_the_handler() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with stop_on_sigterm():
        with stop_on_sigterm() as inner:
            os.kill(os.getpid(), signal.SIGTERM)
            assert inner.requested
        with pytest.raises(InterruptedRunError) as ended:
            check_stop()
    assert ended.value.exit_code == 130
    assert signal.getsignal(signal.SIGTERM) is before
    check_stop()


def test_a_request_ends_a_sleep_early() -> None:
    began = time.monotonic()
    with stop_on_sigterm():
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(InterruptedRunError):
            sleep(60)
    assert time.monotonic() - began < 30


def test_state_is_saved_before_stopping() -> None:
    saved: list[str] = []
    with stop_on_sigterm() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(InterruptedRunError, match="state is saved"):
            stop.check(lambda: saved.append("state"))
    assert saved == ["state"]


def test_sigterm_at_any_time_during_start_up_ends_cleanly(world: Path, model_folder: Path, tmp_path: Path) -> None:
    settings: dict[str, Any] = {
        "model": str(model_folder),
        "facts": str(world / "facts.jsonl"),
        "methods": ["simnpo", "npo", "idk"],
        "selection": {"count_column": "exposures"},
        "threads": 1,
        "training": {"passes": 200, "learning_rate": 1e-4},
    }
    delays = [random.Random(number).uniform(0.0, 2.5) for number in range(KILLS)]
    ended = subprocess.run(
        [sys.executable, "-c", CHILDREN, json.dumps(settings), json.dumps(delays)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        timeout=500,
    )
    assert ended.stdout.split() == ["130"] * KILLS, ended.stderr
    for number in range(KILLS):
        record = tmp_path / f"run{number}" / "run.json"
        if record.is_file():
            assert json.loads(record.read_text())["status"] == "interrupted"


def test_sigterm_during_imports_ends_cleanly(tmp_path: Path) -> None:
    """The handler is installed before the libraries are imported; the signal is sent at that moment."""
    (tmp_path / "run.json").write_text(json.dumps({"model": "m", "facts": "f.csv", "out": "run", "methods": ["npo"]}))
    script = (
        "import os, signal, sys\n"
        "from factcensus.indexer.cli import main\n"
        "from factcensus.unlearn import commands\n"
        "inside = commands._run\n"
        "def run(*arguments):\n"
        "    assert 'torch' not in sys.modules\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    return inside(*arguments)\n"
        "commands._run = run\n"
        "sys.exit(main(['unlearn', 'run', 'run.json']))\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300
    )
    assert ended.returncode == 130, ended.stderr
    assert "stopped by SIGTERM" in ended.stderr
    assert not (tmp_path / "run").exists()
