"""An orderly end on SIGTERM: the signal sets a flag, and the work looks at the flag where it can stop.

The handler raises nothing. An exception from a handler appears wherever the interpreter happens to be, which may be
inside a ``__del__`` or a callback that swallows it: the signal is then lost and the work goes on.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from factcensus.unlearn.errors import InterruptedRunError

#: Longest sleep without a look at the flag, in seconds.
SLICE_S = 0.2


class StopRequest:
    """Whether the process was asked to end."""

    def __init__(self) -> None:
        self.requested = False

    def check(self, save: Callable[[], None] | None = None) -> None:
        """Save and leave if a stop was requested.

        Raises:
            InterruptedRunError: after ``save`` has returned.
        """
        if not self.requested:
            return
        if save is None:
            raise InterruptedRunError("stopped by SIGTERM; finished work is kept, and the same command continues")
        save()
        raise InterruptedRunError("stopped by SIGTERM; the state is saved, and the same command continues it")


#: The request that the handler sets while one is installed; the outermost ``stop_on_sigterm`` owns it.
_installed: list[StopRequest] = []


@contextmanager
def stop_on_sigterm() -> Iterator[StopRequest]:
    """Turn SIGTERM into a request for as long as this lasts; nested uses share one request.

    Outside the main thread signals are left alone.
    """
    if _installed:
        yield _installed[0]
        return
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def ask(signal_number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the signature of a handler
        request.requested = True

    before = signal.signal(signal.SIGTERM, ask)
    _installed.append(request)
    try:
        yield request
    finally:
        _installed.clear()
        signal.signal(signal.SIGTERM, before)


def check_stop() -> None:
    """Leave here if a stop was requested; for places where nothing is half done.

    Raises:
        InterruptedRunError: SIGTERM arrived since ``stop_on_sigterm`` was entered.
    """
    if _installed:
        _installed[0].check()


def sleep(seconds: float) -> None:
    """Sleep, and leave early if a stop is requested.

    Raises:
        InterruptedRunError: as ``check_stop``.
    """
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        check_stop()
        time.sleep(min(left, SLICE_S))
    check_stop()
