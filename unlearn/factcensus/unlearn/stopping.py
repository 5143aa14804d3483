"""Clean shutdown on SIGTERM: the signal sets a flag, which the code checks where it can stop.

The handler raises no exception. Such an exception could occur inside a ``__del__`` or a callback that swallows it; the
signal would then be lost.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from factcensus.unlearn.errors import InterruptedRunError

#: Maximum seconds of sleep between checks of the flag.
SLICE_S = 0.2


class StopRequest:
    """A flag that shows whether the process should stop."""

    def __init__(self) -> None:
        self.requested = False

    def check(self, save: Callable[[], None] | None = None) -> None:
        """Save and raise if a stop was requested.

        Raises:
            InterruptedRunError: after ``save`` has returned.
        """
        if not self.requested:
            return
        if save is None:
            raise InterruptedRunError("stopped by SIGTERM; finished work is kept, and the same command resumes")
        save()
        raise InterruptedRunError("stopped by SIGTERM; the state is saved, and the same command resumes it")


#: The request of the installed handler; the outermost ``stop_on_sigterm`` owns it.
_installed: list[StopRequest] = []


@contextmanager
def stop_on_sigterm() -> Iterator[StopRequest]:
    """Turn SIGTERM into a stop request inside the block; nested blocks share one request.

    Outside the main thread, signals are not handled.
    """
    if _installed:
        yield _installed[0]
        return
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def ask(signal_number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - signature of a signal handler
        request.requested = True

    before = signal.signal(signal.SIGTERM, ask)
    _installed.append(request)
    try:
        yield request
    finally:
        _installed.clear()
        signal.signal(signal.SIGTERM, before)


def check_stop() -> None:
    """Raise if a stop was requested; called where no work is in progress.

    Raises:
        InterruptedRunError: SIGTERM was received inside ``stop_on_sigterm``.
    """
    if _installed:
        _installed[0].check()


def sleep(seconds: float) -> None:
    """Sleep, but raise early if a stop is requested.

    Raises:
        InterruptedRunError: see :func:`check_stop`.
    """
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        check_stop()
        time.sleep(min(left, SLICE_S))
    check_stop()
