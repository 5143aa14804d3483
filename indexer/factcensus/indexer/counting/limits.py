"""Counts that can be stopped: by a deadline, or by whoever no longer waits for them."""

from __future__ import annotations

import threading
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
        self._timer: threading.Timer | None = None
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
            self._timer = threading.Timer(self._seconds, self.cancel)
            self._timer.daemon = True
            self._timer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
