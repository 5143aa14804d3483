from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from factcensus.eval.workers import Task, TaskError, run_tasks
from factcensus.indexer.system.files import write_atomically
from factcensus.unlearn.errors import ConfigError, InterruptedRunError
from factcensus.unlearn.progress import Progress, ProgressFunction


def write(path: Path, text: str, progress: ProgressFunction) -> None:
    progress(Progress("write", 1, 1, text))
    path.write_text(f"{os.getpid()} {text}")


def fail(message: str, progress: ProgressFunction) -> None:  # noqa: ARG001 - the signature of a task
    raise ConfigError(message)


def vanish(code: int, progress: ProgressFunction) -> None:  # noqa: ARG001
    os._exit(code)


def wait(path: Path, progress: ProgressFunction) -> None:  # noqa: ARG001
    write_atomically(path, str(os.getpid()))
    time.sleep(60)
    path.with_name("waited").touch()


def quiet(name: str, progress: Progress) -> None:
    pass


def test_tasks_run_in_separate_processes_and_report_progress(tmp_path: Path) -> None:
    reports: list[tuple[str, str]] = []
    tasks = [Task(f"task {i}", write, (tmp_path / str(i), f"text {i}")) for i in range(3)]
    run_tasks(tasks, jobs=2, report=lambda name, progress: reports.append((name, progress.detail)))
    assert sorted(reports) == [(f"task {i}", f"text {i}") for i in range(3)]
    processes = {(tmp_path / str(i)).read_text().split()[0] for i in range(3)}
    assert len(processes) == 3
    assert str(os.getpid()) not in processes


def test_a_failure_names_the_task_keeps_the_exit_code_and_stops_the_others(tmp_path: Path) -> None:
    tasks = [Task("sleeper", wait, (tmp_path / "pid",)), Task("bad", fail, ("wrong\n input",))]
    with pytest.raises(TaskError) as caught:
        run_tasks(tasks, jobs=2, report=quiet)
    assert str(caught.value) == "bad: wrong input"
    assert "ConfigError: wrong\n input" in caught.value.__notes__[0]  # the traceback of the other process
    assert caught.value.exit_code == 2
    assert not (tmp_path / "waited").exists()
    if (tmp_path / "pid").exists():
        with pytest.raises(ProcessLookupError):
            os.kill(int((tmp_path / "pid").read_text()), 0)


def test_process_that_dies_without_a_message_is_detected() -> None:
    with pytest.raises(TaskError, match="gone: the process ended with code 7"):
        run_tasks([Task("gone", vanish, (7,))], jobs=1, report=quiet)


def test_a_stop_request_stops_all_processes(tmp_path: Path) -> None:
    pid = tmp_path / "pid"

    def stop() -> None:
        while not pid.exists():
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=stop)
    thread.start()
    with pytest.raises(InterruptedRunError):
        run_tasks([Task("sleeper", wait, (pid,))], jobs=1, report=quiet)
    thread.join()
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)
