"""Counts that can be stopped: by a deadline, or by whoever no longer waits for them."""

from __future__ import annotations

import os
import threading
from time import monotonic
from types import TracebackType
from typing import Self

import numpy as np

from factcensus.indexer.errors import DeadlineError, InputError

#: The flag of a count that nothing stops.
NO_LIMIT = np.zeros(1, np.uint8)


class Limit:
    """A flag that long counts look at; hand the same one to all counts of a request.

    >>> with Limit(seconds=2.0) as limit:
    ...     index.count("the", limit=limit)

    Args:
        seconds: time from entering the context; None for no deadline.

    Raises:
        InputError: that is no time.
    """

    def __init__(self, seconds: float | None = None) -> None:
        if seconds is not None and not 0 < seconds <= threading.TIMEOUT_MAX:
            raise InputError(f"a deadline is a number of seconds above 0; got {seconds:g}")
        self._seconds = seconds
        #: uint8 (1,): compiled code looks at it.
        self.flag = np.zeros(1, np.uint8)

    def cancel(self) -> None:
        """Stop all counts that were given this limit, from any thread."""
        self.flag[0] = 1

    def check(self) -> None:
        """Raise if the time is over.

        Raises:
            DeadlineError: it is, or somebody cancelled.
        """
        if self.flag[0]:
            raise DeadlineError(
                "the count was stopped before it was complete"
                + (f": it took more than {self._seconds:g} s; ask for less at a time" if self._seconds else "")
            )

    def __enter__(self) -> Self:
        if self._seconds is not None:
            _clock.add(self, monotonic() + self._seconds)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._seconds is not None:
            _clock.remove(self)


class _Clock:
    """Cancels limits at their deadlines: one thread for all, which ends when it finds none.

    It sleeps until the earliest deadline that it knew when it fell asleep, and is woken for an earlier one only: where
    counts come and go with deadlines of equal length, that is next to never.
    """

    def __init__(self) -> None:
        self._deadlines: dict[Limit, float] = {}
        self._changed = threading.Condition()
        #: When it looks again; None where no thread runs.
        self._looks_at: float | None = None

    def add(self, limit: Limit, at: float) -> None:
        with self._changed:
            self._deadlines[limit] = at
            if self._looks_at is None:
                self._looks_at = at
                threading.Thread(target=self._run, name="deadlines", daemon=True).start()
            elif at < self._looks_at:
                self._looks_at = at
                self._changed.notify()

    def remove(self, limit: Limit) -> None:
        with self._changed:
            self._deadlines.pop(limit, None)

    def _run(self) -> None:
        with self._changed:
            while self._deadlines:
                now = monotonic()
                for limit in [limit for limit, at in self._deadlines.items() if at <= now]:
                    limit.cancel()
                    del self._deadlines[limit]
                if self._deadlines:
                    self._looks_at = min(self._deadlines.values())
                    self._changed.wait(min(self._looks_at - now, threading.TIMEOUT_MAX))
            self._looks_at = None


_clock = _Clock()


def _forget_clock() -> None:
    """A forked process has the clock's memory, but not its thread."""
    global _clock
    _clock = _Clock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_clock)
