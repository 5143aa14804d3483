"""The plan of a job: its inputs and settings; its digest identifies the whole work.

Every machine makes the plan from its own command line, and compares it with the plan in the work folder. So a machine
that sees other files, settings or facts, or has another version of this program, is refused with the difference.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

from factcensus.indexer.corpus import SourceFile
from factcensus.indexer.errors import InputError
from factcensus.indexer.system.places import FileFacts, Place

#: Version of the plan and of the layout of a work folder.
FORMAT = 1
_MOST_NAMED = 5


@dataclass(frozen=True, slots=True)
class PlannedFile:
    """One source file of a plan.

    Attributes:
        url: The path, or the URL without credentials.
        name: The name in messages and tables.
        size_bytes: The size when the plan was made.
        tag: The stamp that changes with the file: an ETag, or the time of the last change.
    """

    url: str
    name: str
    size_bytes: int
    tag: str


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that determines the result of a job; JSON.

    Attributes:
        kind: The kind of job, see :data:`factcensus.indexer.work.job.KINDS`.
        settings: The settings of the job, JSON values.
        files: The source files, in the order in which they are read.
        inputs: SHA-256 of each further input, by its name in the work folder.
        code: The version of this program and of the job's format.
    """

    kind: str
    settings: Mapping[str, Any]
    files: tuple[PlannedFile, ...]
    inputs: Mapping[str, str]
    code: str

    @classmethod
    def of(
        cls,
        kind: str,
        settings: Mapping[str, Any],
        files: Sequence[SourceFile],
        inputs: Mapping[str, bytes] | None = None,
        job_format: int = 1,
    ) -> Plan:
        """Return the plan of a job; ``job_format`` is the version of the content of the job's units."""
        return cls(
            kind,
            json.loads(json.dumps(settings)),  # as it is read back
            tuple(PlannedFile(file.shown, file.name, file.size_bytes, file.modified) for file in files),
            {name: hashlib.sha256(content).hexdigest() for name, content in (inputs or {}).items()},
            f"{version('factcensus')}, {kind} {job_format}",
        )

    @property
    def digest(self) -> str:
        """SHA-256 of the plan."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()

    def to_json(self) -> bytes:
        """Return the plan as JSON; equal plans give equal bytes."""
        return json.dumps({"format": FORMAT, "digest": self.digest, **asdict(self)}, indent=1, sort_keys=True).encode()

    @classmethod
    def from_json(cls, content: bytes, place: Place) -> Plan:
        """Return the plan that a work folder holds.

        Raises:
            InputError: It is damaged, or from another version.
        """
        try:
            stored = json.loads(content)
            if (format := stored.pop("format")) != FORMAT:
                raise InputError(f"{place} has format {format}, this version reads {FORMAT}; use a new --work folder")
            digest = stored.pop("digest")
            plan = cls(**{**stored, "files": tuple(PlannedFile(**file) for file in stored["files"])})
            if plan.digest == digest:
                return plan
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            if isinstance(error, InputError):
                raise
        raise InputError(f"{place} is damaged; use a new --work folder")

    def refuse_other(self, other: Plan, folder: object) -> None:
        """Refuse to work on a folder with another plan, and name the difference.

        Raises:
            InputError: The plans differ.
        """
        if self == other:
            return
        raise InputError(
            f"the work in {folder} was planned with {_difference(self, other)}; give the same sources and options, or "
            "use a new --work folder"
        )


def _difference(here: Plan, planned: Plan) -> str:
    """Return the first difference of two plans, in words."""
    if here.code != planned.code:
        return f"version {planned.code} of factcensus, and this is {here.code}"
    if here.kind != planned.kind:
        return f"another command ({planned.kind})"
    for name in sorted({*here.settings, *planned.settings}):
        if here.settings.get(name) != planned.settings.get(name):
            return f"{name.replace('_', ' ')} {planned.settings.get(name)!r}, not {here.settings.get(name)!r}"
    for name in sorted({*here.inputs, *planned.inputs}):
        if here.inputs.get(name) != planned.inputs.get(name):
            return f"another {name.partition('.')[0].replace('_', ' ')} table"
    ours, theirs = ({file.url: file for file in plan.files} for plan in (here, planned))
    if changed := [ours[url].name for url in ours if url in theirs and ours[url] != theirs[url]]:
        return f"other content of {_named(changed)}, changed since then"
    if missing := [theirs[url].name for url in theirs if url not in ours]:
        return f"{_named(missing)}, not among the sources now"
    if added := [ours[url].name for url in ours if url not in theirs]:
        return f"fewer files, without {_named(added)}"
    return "the sources in another order"


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMED:,} more files" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more


def check_unchanged(file: SourceFile) -> None:
    """Check after reading a source file that it has not changed since the plan.

    Raises:
        InputError: It was changed or removed.
    """
    now = Place.of(file.url).facts()
    if now != FileFacts(file.size_bytes, file.modified):
        raise InputError(
            f"{file.name} was {'removed' if now is None else 'changed'} while it was read; restore it, or use a new "
            "--work folder"
        )
