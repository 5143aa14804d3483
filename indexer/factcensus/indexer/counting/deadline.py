"""Deadlines: counts stop at a deadline, or when they are cancelled."""

from __future__ import annotations

import os
import threading
from time import monotonic
from types import TracebackType
from typing import Self

import numpy as np

from factcensus.indexer.errors import DeadlineError, InputError

#: The flag of a count without a deadline.
NO_DEADLINE = np.zeros(1, np.uint8)


class Deadline:
    """A stop flag that long counts check; share one deadline among all counts of a request.

    >>> with Deadline(seconds=2.0) as deadline:
    ...     index.count("the", deadline=deadline)

    Args:
        seconds: Time after entering the context; None for a deadline that only :meth:`cancel` sets.

    Raises:
        InputError: The time is not a positive number.
    """

    def __init__(self, seconds: float | None = None) -> None:
        if seconds is not None and not 0 < seconds <= threading.TIMEOUT_MAX:
            raise InputError(f"a deadline must be a number of seconds above 0, got {seconds:g}")
        self._seconds = seconds
        self._ends_at: float | None = None
        #: uint8 (1,): checked by compiled code.
        self.flag = np.zeros(1, np.uint8)

    def cancel(self) -> None:
        """Stop all counts with this deadline; may be called from any thread."""
        self.flag[0] = 1

    @property
    def remaining_s(self) -> float | None:
        """Seconds until the deadline, 0 after it; None without one, or before the context was entered."""
        return None if self._ends_at is None else max(0.0, self._ends_at - monotonic())

    def check(self) -> None:
        """Check that the count may continue.

        Raises:
            DeadlineError: The deadline passed, or it was cancelled.
        """
        if self.flag[0]:
            raise DeadlineError(
                "the count was stopped before it was complete"
                + (f": it took more than {self._seconds:g} s; count less at a time" if self._seconds else "")
            )

    def __enter__(self) -> Self:
        if self._seconds is not None:
            self._ends_at = monotonic() + self._seconds
            _clock.add(self, self._ends_at)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._seconds is not None:
            _clock.remove(self)


class _Clock:
    """Cancels counts at their deadlines, with one thread that ends when no deadline is left.

    The thread sleeps until the earliest known deadline and is only woken for an earlier one. If all counts have
    deadlines of equal length, that almost never happens.
    """

    def __init__(self) -> None:
        self._ends: dict[Deadline, float] = {}
        self._changed = threading.Condition()
        #: The time of its next check; None if no thread runs.
        self._looks_at: float | None = None

    def add(self, deadline: Deadline, at: float) -> None:
        with self._changed:
            self._ends[deadline] = at
            if self._looks_at is None:
                self._looks_at = at
                threading.Thread(target=self._run, name="deadlines", daemon=True).start()
            elif at < self._looks_at:
                self._looks_at = at
                self._changed.notify()

    def remove(self, deadline: Deadline) -> None:
        with self._changed:
            self._ends.pop(deadline, None)

    def _run(self) -> None:
        with self._changed:
            while self._ends:
                now = monotonic()
                for deadline in [deadline for deadline, at in self._ends.items() if at <= now]:
                    deadline.cancel()
                    del self._ends[deadline]
                if self._ends:
                    self._looks_at = min(self._ends.values())
                    self._changed.wait(min(self._looks_at - now, threading.TIMEOUT_MAX))
            self._looks_at = None


_clock = _Clock()


def _forget_clock() -> None:
    """Reset the clock in a forked process, which inherits its memory but not its thread."""
    global _clock
    _clock = _Clock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_clock)
