"""Counts that end: at the deadline, or when the client has gone; the engine itself stops then."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from anyio import CapacityLimiter, to_thread
from fastapi import Request

from factcensus.indexer import Limit

Answer = TypeVar("Answer")
#: Most counts take less: only for the others, somebody looks whether the client is still there.
SHORT_S = 0.02
#: Counts at the same time, besides batches. More threads than processors, so that short counts pass long ones.
THREADS = 32
_threads = ThreadPoolExecutor(THREADS, thread_name_prefix="count")


async def within(
    seconds: float, request: Request, count: Callable[[Limit], Answer], *, limiter: CapacityLimiter | None = None
) -> Answer:
    """What ``count`` gives, in a thread, with a limit that is reached after so many seconds, or when nobody waits.

    Args:
        seconds: from the moment at which a thread takes the work.
        request: whose body has been read.
        count: takes the limit and hands it to every count.
        limiter: threads that may do such work at the same time.

    Raises:
        DeadlineError: the limit was reached.
    """
    limit = Limit(seconds)

    def counted() -> Answer:
        with limit:
            return count(limit)

    async def watch() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        limit.cancel()

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
        if not work.done():  # the request itself was cancelled, as at the service's end, and the thread still counts
            limit.cancel()
            work.add_done_callback(lambda done: done.cancelled() or done.exception())
