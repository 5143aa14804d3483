"""Work on many machines: the options of commands that share their work, and the commands for a work folder."""

from __future__ import annotations

from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any

import click

from factcensus.indexer.cli.command import Function, argument, command, group, option
from factcensus.indexer.cli.options import PLACE, Value, json_option
from factcensus.indexer.errors import InputError
from factcensus.indexer.system.console import print_json, print_table

if TYPE_CHECKING:
    from factcensus.indexer.system.places import Place
    from factcensus.indexer.work import Job, WorkFolder
    from factcensus.indexer.work.job import Progress, Runner

HEADING = "work on many machines"
#: Maximum number of files that are listed as missing.
_MOST_LISTED = 20


class Part(Value):
    """A share ``K/N`` of the units: those whose number leaves the remainder K when it is divided by N."""

    name = "part"
    expected = "K/N with K from 0 to N-1"

    def read(self, text: str) -> tuple[int, int]:
        """Convert a text to (K, N)."""
        part, slash, parts = text.partition("/")
        if not (slash and part.isdecimal() and parts.isdecimal() and text.isascii() and int(part) < int(parts)):
            raise ValueError
        return int(part), int(parts)


@dataclass(frozen=True, slots=True)
class WorkChoice:
    """The work folder of a command, and the runner of its units."""

    work: Place | None
    part: tuple[int, int] | None
    ray: str | None

    @property
    def folder(self) -> WorkFolder:
        """The work folder."""
        from factcensus.indexer.work import WorkFolder

        assert self.work is not None
        return WorkFolder(self.work)

    def runner(self, jobs: int) -> Runner:
        """Return the runner: this machine, this machine's share, or Ray."""
        from factcensus.indexer.work.runners import load_runner

        if self.ray is not None:
            return load_runner("ray", address=self.ray, jobs=jobs)
        part, parts = self.part or (0, 1)
        return load_runner("local", jobs=jobs, part=part, parts=parts)


def work_options(function: Function) -> Function:
    """Add ``--work``, ``--part`` and ``--ray``; the function receives a :class:`WorkChoice` as ``work``."""

    @wraps(function)
    def with_work(*, work: Place | None, part: tuple[int, int] | None, ray: str | None, **others: Any) -> Any:
        if work is None and (part is not None or ray is not None):
            raise InputError(f"{'--part' if part else '--ray'} has no effect without --work; give a work folder")
        if part is not None and ray is not None:
            raise InputError("--part and --ray cannot be combined; give only one of them")
        return function(work=WorkChoice(work, part, ray), **others)

    added: Any = with_work
    for add in (
        option(
            "--ray",
            metavar="ADDRESS",
            heading=HEADING,
            help="let a Ray cluster run the units: auto (the cluster of this machine), local (a new one, on loopback), "
            "or ray://HOST:PORT",
        ),
        option(
            "--part",
            type=Part(),
            metavar="K/N",
            heading=HEADING,
            help="run every N-th unit, beginning with unit K (0 to N-1); for job arrays",
        ),
        option(
            "--work",
            type=PLACE,
            metavar="URL",
            heading=HEADING,
            help="a folder or URL that all machines can access; it keeps finished units for later runs",
        ),
    ):
        added = add(added)
    return added  # type: ignore[no-any-return]


work_argument = argument("work", type=PLACE, metavar="URL", help="the work folder, as given to --work")


def _opened(place: Place) -> tuple[WorkFolder, Job]:
    from factcensus.indexer.work import WorkFolder, job_of

    folder = WorkFolder(place)
    return folder, job_of(folder.plan())


@command("status", example="factcensus work status s3://bucket/work/dolma")
@work_argument
@json_option
def status(work: Place, as_json: bool) -> None:
    """Show how much of a work folder is done, and which files are missing or failed."""
    from factcensus.indexer.work.job import progress_of

    folder, job = _opened(work)
    now, failures = progress_of(job, folder), folder.failures()
    failed = {f"{stage} {number}": message for (stage, number), message in sorted(failures.items())}
    missing = [name for unit in now.missing for name in unit.files]
    if as_json:
        print_json(
            {
                "work": str(work),
                "digest": folder.plan().digest,
                "finished": now.stage is None,
                "stages": [
                    {"stage": stage, "units": now.units.get(stage), "finished": now.finished.get(stage, 0)}
                    for stage in job.stages
                ],
                "missing": missing,
                "failed": failed,
            }
        )
        return
    print_table(
        [[stage, now.finished.get(stage, 0), now.units.get(stage, "not known yet")] for stage in job.stages],
        ["stage", "finished", "units"],
    )
    _print_missing(now, missing, failed)


def _print_missing(now: Progress, missing: list[str], failed: dict[str, str]) -> None:
    if missing:
        print(f"\nmissing in {now.stage}: {len(now.missing):,} units")
        for name in missing[:_MOST_LISTED]:
            print(f"  {name}")
        if len(missing) > _MOST_LISTED:
            print(f"  … and {len(missing) - _MOST_LISTED:,} more")
    for unit, message in list(failed.items())[:_MOST_LISTED]:
        print(f"failed: {unit}: {message}")


@command("finish", example="factcensus work finish s3://bucket/work/dolma --out counts.parquet")
@work_argument
@option("--out", required=True, type=PLACE, metavar="URL", help="the result: a table, or the folder of an index")
@option(
    "--allow-missing",
    is_flag=True,
    help="make a table without the missing units, marked as not exact, and list the missing files",
)
def finish(work: Place, out: Place, allow_missing: bool) -> None:
    """Make the result of a work folder from all finished units."""
    folder, job = _opened(work)
    print(job.finish(folder, out, allow_missing=allow_missing))


work_group: click.Group = group("work", "Show and finish work that several machines share.", [status, finish])
