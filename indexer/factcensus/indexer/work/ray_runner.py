"""The runner for a Ray cluster: one task per unit, retried when a worker or a node is lost.

Ray runs the code that a client of its port sends, so a cluster started here must listen on loopback alone: otherwise it
is stopped again. A cluster is only joined if its address is given.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

from factcensus.indexer.errors import IndexerError, InputError, MissingExtraError
from factcensus.indexer.work.folder import WorkFolder
from factcensus.indexer.work.job import Failure, Job, Run, Unit
from factcensus.indexer.work.runners import UnitWorker

#: How often a unit is run again after its worker or node was lost.
RETRIES = 5
#: Tasks submitted at a time, which bounds the memory of the driver.
PENDING = 1000


class RayRunner:
    """Runs units as tasks of a Ray cluster.

    Args:
        address: ``local`` starts Ray on this machine, for this run, on loopback; ``auto`` joins the cluster of this
            machine; ``ray://HOST:PORT`` connects to another one.
        jobs: Maximum number of units at a time with ``local``. In a cluster, each unit reserves a processor and, if the
            job knows it, the memory that it may take.

    Raises:
        MissingExtraError: Ray is not installed.
        InputError: The address has another form.
    """

    def __init__(self, address: str, jobs: int = 1) -> None:
        if address not in ("auto", "local") and not address.startswith("ray://"):
            raise InputError(f"--ray must be auto, local or ray://HOST:PORT, got {address!r}")
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        # Otherwise Ray 2 hides the devices of a task that asks for none, and warns that this will change.
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        try:
            import ray
        except ImportError as error:
            raise MissingExtraError("ray", "cluster") from error
        self._ray: Any = ray
        self._address, self._jobs = address, jobs

    @contextmanager
    def connected(self) -> Iterator[None]:
        """Connect to the cluster, or start it, for several stages; does nothing inside another connection."""
        if self._ray.is_initialized():  # by the program that uses this library, which also ends it
            yield
            return
        here: dict[str, Any] = {}
        if self._address == "local":
            here = {"num_cpus": self._jobs, "include_dashboard": False, "_node_ip_address": "127.0.0.1"}
        try:
            with _only_loopback() if here else nullcontext():
                self._ray.init(address=self._address, log_to_driver=False, logging_level=logging.ERROR, **here)
        except ConnectionError as error:
            raise IndexerError(f"cannot connect to Ray at {self._address}: {error}") from error
        try:
            self._check_loopback()
            yield
        finally:
            self._ray.shutdown()

    def _check_loopback(self) -> None:
        address = str(self._ray.get_runtime_context().gcs_address)
        if self._address == "local" and not address.startswith(("127.", "[::1]", "localhost")):
            raise IndexerError(
                f"Ray listens on {address} instead of loopback, so other machines could run code here; "
                "start Ray yourself and give --ray auto"
            )

    def __call__(self, job: Job, folder: WorkFolder, units: Sequence[Unit], run: Run) -> Sequence[Failure]:
        """Run all units, the largest first."""
        with self.connected():
            return list(self._run(job, folder, sorted(units, key=lambda unit: -unit.size_bytes), run))

    def _run(self, job: Job, folder: WorkFolder, units: Sequence[Unit], run: Run) -> Iterator[Failure]:
        ray = self._ray
        memory, most = self._reserved(job, run)
        task = ray.remote(max_retries=RETRIES, num_cpus=1, memory=memory)(_run_unit)
        shared = ray.put((job, folder))
        waiting = iter(units)
        running: dict[Any, Unit] = {}
        done, total = 0, sum(unit.size_bytes for unit in units)
        try:
            while True:
                for unit in waiting:
                    running[task.remote(shared, unit)] = unit
                    if len(running) >= most:
                        break
                if not running:
                    return
                finished, _ = ray.wait(list(running))
                for reference in finished:
                    unit = running.pop(reference)
                    failure, notices = self._result(reference)
                    for message in notices:
                        run.notice(message)
                    done += unit.size_bytes
                    run.progress(unit.stage, done, total, "B")
                    if failure is not None:
                        yield failure
        finally:
            for reference in running:
                ray.cancel(reference, force=True)

    def _reserved(self, job: Job, run: Run) -> tuple[int | None, int]:
        """Return the bytes of memory that a unit reserves, and the maximum number of units submitted at a time."""
        if self._address == "local":  # the memory of this machine was divided by the number of units
            return None, self._jobs
        needed = int(getattr(job, "unit_bytes", 0))
        largest = int(
            max((node["Resources"].get("memory", 0) for node in self._ray.nodes() if node["Alive"]), default=0)
        )
        if not needed or not largest:
            return None, PENDING
        if needed > largest:  # Ray would wait for such a node forever
            run.notice(
                f"each unit may take {needed / 1e9:.1f} GB of memory, but the largest node of the cluster has "
                f"{largest / 1e9:.1f} GB; nodes run one unit at a time, and may run out of memory; give a smaller "
                "--memory or --shard-tokens"
            )
        return min(needed, largest), PENDING

    def _result(self, reference: Any) -> tuple[Failure | None, list[str]]:
        """Return the result of a task, or raise the original error of the unit instead of Ray's wrapper."""
        try:
            failure, notices = self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:
            raise error.cause from error
        except self._ray.exceptions.RayError as error:
            raise IndexerError(
                f"a unit lost its worker {RETRIES + 1} times ({type(error).__name__}); finished units are kept, run "
                "the same command again"
            ) from error
        return failure, notices


@contextmanager
def _only_loopback() -> Iterator[None]:
    """Allow Ray to start on loopback.

    Ray 2.60 replaces a given address of loopback by another one, unless it may not form clusters at all. It reads the
    variable, whose name is older than its use on Linux, when it is imported; its processes read it when they start.
    """
    from ray._private import ray_constants

    name, before = ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR, ray_constants.ENABLE_RAY_CLUSTER
    variable = os.environ.get(name)
    os.environ[name], ray_constants.ENABLE_RAY_CLUSTER = "0", False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before
        if variable is None:
            del os.environ[name]
        else:
            os.environ[name] = variable


#: The worker of this process, by work folder; making one may take seconds.
_workers: dict[str, UnitWorker] = {}


def _run_unit(shared: tuple[Job, WorkFolder], unit: Unit) -> tuple[Failure | None, list[str]]:
    """Run a unit in a worker process of Ray.

    A job holds no large arrays but reads them from the work folder. Arrays that Ray passes without a copy are
    read-only, and compiled code would be compiled a second time for them.
    """
    job, folder = shared
    notices: list[str] = []
    if folder.place.url not in _workers:
        _workers.clear()
        _workers[folder.place.url] = UnitWorker(job, folder)
    return _workers[folder.place.url](unit, lambda _bytes: None, notices.append), notices
