"""The record of a job."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

#: ``outdated``: documents were deleted from the index after the job was done, so its counts were removed.
State = Literal["queued", "running", "done", "failed", "outdated"]
UNFINISHED: tuple[State, ...] = ("queued", "running")


@dataclass(frozen=True, slots=True)
class NewJob:
    """A checked table that is to be counted as a job.

    Attributes:
        windows: Windows in addition to the whole document.
        facts: Rows of the table.
        size: Bytes of the table.
        media_type: Default media type of the result.
        owner: Name of the key that sent the table.
        name: Name of the uploaded file; empty for a table in a request body.
    """

    windows: Sequence[int]
    facts: int
    size: int
    media_type: str
    owner: str
    name: str = ""


@dataclass(frozen=True, slots=True)
class Job:
    """A table of facts to count.

    Attributes:
        id: 32 random hexadecimal digits.
        owner: Name of the key that sent the job; empty if API keys are disabled.
        index: Name of the index.
        digest: Digest of the index generation on which all facts are counted: the generation at the time of the
            request, or a later one if documents were deleted before the job was done.
        media_type: Media type of the table sent, and the default one of the result.
        windows: Windows in tokens, in addition to the whole document.
        facts: Rows of the table.
        counted: Rows whose counts are stored.
        created: Seconds since 1970, like ``started`` and ``finished``; None for events that have not happened.
        error: The reason why there is no result.
        generation: Number of the index generation with this digest.
        interruptions: Number of times that the service ended while it counted the next piece.
        name: Name of the uploaded file; empty for a table in a request body.
    """

    id: str
    owner: str
    index: str
    digest: str | None
    media_type: str
    windows: tuple[int, ...]
    state: State
    facts: int
    counted: int
    created: float
    started: float | None
    finished: float | None
    error: str | None
    generation: int | None
    interruptions: int = 0
    name: str = ""

    def shown(self, retention_s: float) -> dict[str, Any]:
        """Return the job in the form of the routes."""
        expires = None if self.finished is None else self.finished + retention_s
        return {
            "id": self.id,
            "state": self.state,
            "index": self.index,
            "index_digest": self.digest,
            "index_generation": self.generation,
            "windows": list(self.windows),
            "facts": self.facts,
            "counted": self.counted,
            "created": _moment(self.created),
            "started": _moment(self.started),
            "finished": _moment(self.finished),
            "expires": _moment(expires),
            "error": self.error,
            "status_url": f"/v1/jobs/{self.id}",
            "result_url": f"/v1/jobs/{self.id}/result" if self.state == "done" else None,
        }


def _moment(seconds: float | None) -> str | None:
    """Format a time as in RFC 3339."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(int(seconds), UTC).isoformat().replace("+00:00", "Z")
