"""Counts that stop at a timeout or when the client disconnects, including the engine itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from anyio import CapacityLimiter, to_thread
from fastapi import Request

from factcensus.indexer import Deadline

Answer = TypeVar("Answer")
#: Seconds after which the connection of the client is watched; most counts are faster.
SHORT_S = 0.02
#: Parallel counts, not including batches; more threads than processors, so that short counts can overtake long ones.
THREADS = 32
_threads = ThreadPoolExecutor(THREADS, thread_name_prefix="count")


async def within(
    seconds: float, request: Request, count: Callable[[Deadline], Answer], *, limiter: CapacityLimiter | None = None
) -> Answer:
    """Run ``count`` in a thread and return its result; stop it after a timeout or when the client disconnects.

    Args:
        seconds: Timeout, from the moment the thread starts.
        request: A request whose body has been read.
        count: Called with the deadline, which it passes to every count.
        limiter: Limits the number of threads for such work.

    Raises:
        DeadlineError: The timeout was reached.
    """
    deadline = Deadline(seconds)

    def counted() -> Answer:
        with deadline:
            return count(deadline)

    async def watch() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        deadline.cancel()

    work: asyncio.Future[Answer] = (
        asyncio.get_running_loop().run_in_executor(_threads, counted)
        if limiter is None
        else asyncio.ensure_future(to_thread.run_sync(counted, limiter=limiter))
    )
    try:
        await asyncio.wait((work,), timeout=SHORT_S)
        if not work.done():
            watching = asyncio.create_task(watch())
            try:
                await asyncio.wait((work,))
            finally:
                watching.cancel()
        return work.result()
    finally:
        if not work.done():  # the request was cancelled, as on shutdown, while the thread still counts
            deadline.cancel()
            work.add_done_callback(lambda done: done.cancelled() or done.exception())
