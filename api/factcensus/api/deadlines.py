"""Counts that end: at the deadline, or when the client has gone; the engine itself stops then."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import anyio
from anyio import CapacityLimiter, to_thread
from fastapi import Request

from factcensus.indexer import Limit

Answer = TypeVar("Answer")


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

    answers: list[Answer] = []
    failures: list[Exception] = []
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch)
            try:
                answers.append(await to_thread.run_sync(counted, limiter=limiter))
            except Exception as error:  # raised below: a task group would wrap it
                failures.append(error)
            tasks.cancel_scope.cancel()
    finally:
        limit.cancel()  # where the request itself was cancelled, as at the service's end, the thread still counts
    if failures:
        raise failures[0]
    return answers[0]
