"""What is known of a job."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

#: ``outdated``: it was done, and then documents of its index were deleted, so its counts were removed.
State = Literal["queued", "running", "done", "failed", "outdated"]
UNFINISHED: tuple[State, ...] = ("queued", "running")


@dataclass(frozen=True, slots=True)
class Job:
    """A table of facts to count.

    Attributes:
        id: 32 hexadecimal digits that nobody can guess.
        owner: the name of the key that sent it; empty where no keys are asked for.
        index: the name of the index, and ``digest`` the content in which all its facts are counted: that of the moment
            when the job came, or a later one, if documents were deleted before it was done.
        media_type: of the table as it came, and of the result unless another one is asked for.
        windows: besides the whole document, count within so many tokens.
        facts: rows of the table.
        counted: rows whose counts are kept.
        created: seconds since 1970, as are ``started`` and ``finished``; None for what has not happened yet.
        error: why it has no result.
        generation: of the index with this digest.
        interruptions: times that the service ended while it counted the piece that comes next.
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

    def shown(self, retention_s: float) -> dict[str, Any]:
        """The job as the routes show it."""
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
    """A moment as RFC 3339 writes it."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(int(seconds), UTC).isoformat().replace("+00:00", "Z")
