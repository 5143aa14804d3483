"""The work folder: the plan, its inputs, and one object per finished unit.

Layout::

    plan.json                 see :mod:`plan`
    NAME                      further inputs of the plan, such as facts.parquet
    STAGE/000012              the object of a finished unit
    failed/STAGE-000012       why a unit failed last; removed when it is done
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from factcensus.indexer.errors import InputError
from factcensus.indexer.system.places import NoFileError, Place
from factcensus.indexer.work.job import Unit
from factcensus.indexer.work.plan import Plan

PLAN = "plan.json"
_FAILED = "failed"


class WorkFolder:
    """A work folder; picklable.

    Attributes:
        place: Where it is.
    """

    def __init__(self, place: Place) -> None:
        self.place = place

    def __str__(self) -> str:
        return str(self.place)

    def claim(self, plan: Plan, inputs: Mapping[str, bytes]) -> None:
        """Write the plan and its inputs to a new folder, or check that an existing folder has the same plan.

        Machines that start at the same time write the same bytes.

        Raises:
            InputError: The folder has another plan, or cannot be written.
        """
        stored = self._stored_plan()
        if stored is not None:
            plan.refuse_other(stored, self)
            return
        self.place.check_writable()
        for name, content in inputs.items():
            (self.place / name).write(content)
        (self.place / PLAN).write(plan.to_json())

    def plan(self) -> Plan:
        """Return the plan.

        Raises:
            InputError: This is not a work folder.
        """
        plan = self._stored_plan()
        if plan is None:
            raise InputError(f"{self} is not a work folder: it has no {PLAN}; give a folder that was used with --work")
        return plan

    def _stored_plan(self) -> Plan | None:
        place = self.place / PLAN
        try:
            return Plan.from_json(place.read(), place)
        except NoFileError:
            return None

    def input(self, name: str) -> bytes:
        """Return another input file of the plan."""
        return (self.place / name).read()

    def done(self, stage: str) -> set[int]:
        """Return the numbers of the finished units of a stage, with one listing."""
        names = (self.place / stage).files() if (self.place / stage).is_folder() else {}
        return {int(name) for name in names if re.fullmatch(r"\d{6,}", name)}

    def has(self, unit: Unit) -> bool:
        """Return whether a unit is finished."""
        return self._object(unit).facts() is not None

    def read(self, unit: Unit) -> bytes:
        """Return the object of a finished unit."""
        return self._object(unit).read()

    def finish(self, unit: Unit, content: bytes) -> None:
        """Write the object of a unit atomically, and delete the record of its failures."""
        self._object(unit).write(content)
        if self._failure(unit).exists():
            self._failure(unit).delete()

    def fail(self, unit: Unit, message: str) -> None:
        """Record why a unit failed, for ``work status``."""
        self._failure(unit).write(message.encode())

    def failures(self) -> dict[tuple[str, int], str]:
        """Return the messages of failed units, by stage and number."""
        folder = self.place / _FAILED
        found = {}
        for name in folder.files() if folder.is_folder() else ():
            stage, _, number = name.rpartition("-")
            if stage and number.isdecimal():
                found[stage, int(number)] = (folder / name).read().decode(errors="replace")
        return found

    def _object(self, unit: Unit) -> Place:
        return self.place / f"{unit.stage}/{unit.number:06d}"

    def _failure(self, unit: Unit) -> Place:
        return self.place / f"{_FAILED}/{unit.stage}-{unit.number:06d}"
